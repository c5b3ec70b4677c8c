// Compiled with -mavx2 -mfma.
#include <immintrin.h>

#include <cstdint>

namespace {

using Register = __m256;
constexpr int register_lanes = 8, tile_registers = 2;
constexpr bool packs_columns = true;
inline Register zero_register() {
  Register zero = _mm256_setzero_ps();
  asm("" : "+x"(zero));  // apart from the other zeros: GCC 12 keeps sums that it has merged in memory
  return zero;
}
inline Register load_register(const float* p) { return _mm256_loadu_ps(p); }
inline void store_register(float* p, Register x) { _mm256_storeu_ps(p, x); }
inline Register spread_register(float x) { return _mm256_set1_ps(x); }
inline void fuse(Register& sum, Register x, Register y) { sum = _mm256_fmadd_ps(x, y, sum); }
inline Register larger(Register x, Register y) { return _mm256_max_ps(x, y); }
inline Register where_at_least(Register x, Register least, Register value) {
  return _mm256_and_ps(_mm256_cmp_ps(x, least, _CMP_GE_OQ), value);
}
struct Doubled {
  __m256d low, high;
};
inline Doubled load_doubled(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
inline Register narrowed_difference(Doubled x, Doubled y) {
  return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_sub_pd(x.high, y.high)), _mm256_cvtpd_ps(_mm256_sub_pd(x.low, y.low)));
}

}  // namespace

#include "dense_body.h"

const regimes::DenseKernels* regimes::dense_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &dense_table : nullptr;
}
