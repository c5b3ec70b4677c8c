// Compiled with -mavx2 -mfma.
#include <immintrin.h>

#include <cstdint>

namespace {

using Register = __m256;
constexpr int register_lanes = 8, tile_registers = 2;
inline Register zero_register() {
  Register zero = _mm256_setzero_ps();
  asm("" : "+x"(zero));  // apart from the other zeros: GCC 12 keeps sums that it has merged in memory
  return zero;
}
inline Register load_register(const float* p) { return _mm256_loadu_ps(p); }
inline void store_register(float* p, Register x) { _mm256_storeu_ps(p, x); }
inline Register spread_register(float x) { return _mm256_set1_ps(x); }
inline void fuse(Register& sum, Register x, Register y) { sum = _mm256_fmadd_ps(x, y, sum); }

}  // namespace

#include "dense_body.h"

const regimes::DenseKernels* regimes::dense_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &dense_table : nullptr;
}
