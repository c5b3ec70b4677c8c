// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma.
#include <immintrin.h>

#include <cstdint>

namespace {

using Register = __m512;
constexpr int register_lanes = 16, tile_registers = 4;
constexpr bool packs_columns = false;
inline Register zero_register() {
  Register zero = _mm512_setzero_ps();
  asm("" : "+v"(zero));  // apart from the other zeros: GCC 12 keeps sums that it has merged in memory
  return zero;
}
inline Register load_register(const float* p) { return _mm512_loadu_ps(p); }
inline void store_register(float* p, Register x) { _mm512_storeu_ps(p, x); }
inline Register spread_register(float x) { return _mm512_set1_ps(x); }
inline void fuse(Register& sum, Register x, Register y) { sum = _mm512_fmadd_ps(x, y, sum); }
inline Register larger(Register x, Register y) { return _mm512_max_ps(x, y); }
inline Register where_at_least(Register x, Register least, Register value) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, least, _CMP_GE_OQ), value);
}
struct Doubled {
  __m512d low, high;
};
inline Doubled load_doubled(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
inline Register narrowed_difference(Doubled x, Doubled y) {
  const __m256 low = _mm512_cvtpd_ps(_mm512_sub_pd(x.low, y.low)), high = _mm512_cvtpd_ps(_mm512_sub_pd(x.high, y.high));
  return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

}  // namespace

#include "dense_body.h"

const regimes::DenseKernels* regimes::dense_avx512() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
  return supported ? &dense_table : nullptr;
}
