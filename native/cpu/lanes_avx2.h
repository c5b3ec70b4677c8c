// Eight float64 lanes in two AVX2 registers; the same results as lanes_avx512.h, bit for bit.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "../core/views.h"

namespace {

struct Lanes {
  __m256d low, high;
};
using Mask = Lanes;

inline Lanes load(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
// Eight stored elements as float64.
inline Lanes widen(const uint8_t* p) {
  const __m256i integers = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_cvtepi32_pd(_mm256_castsi256_si128(integers)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(integers, 1))};
}
inline Lanes widen(const regimes::Half* p) {
  const __m256 singles = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(singles)), _mm256_cvtps_pd(_mm256_extractf128_ps(singles, 1))};
}
inline Lanes widen(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))}; }
inline Lanes widen(const double* p) { return load(p); }
inline Lanes widen(const int32_t* p) {
  const auto* integers = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepi32_pd(_mm_loadu_si128(integers)), _mm256_cvtepi32_pd(_mm_loadu_si128(integers + 1))};
}
inline void store(double* p, Lanes x) {
  _mm256_storeu_pd(p, x.low);
  _mm256_storeu_pd(p + 4, x.high);
}
// Whole numbers, as integers.
inline void store(int32_t* p, Lanes x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_set_m128i(_mm256_cvtpd_epi32(x.high), _mm256_cvtpd_epi32(x.low)));
}
inline Lanes broadcast(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
inline Lanes operator+(Lanes x, Lanes y) { return {_mm256_add_pd(x.low, y.low), _mm256_add_pd(x.high, y.high)}; }
inline Lanes operator-(Lanes x, Lanes y) { return {_mm256_sub_pd(x.low, y.low), _mm256_sub_pd(x.high, y.high)}; }
inline Lanes operator*(Lanes x, Lanes y) { return {_mm256_mul_pd(x.low, y.low), _mm256_mul_pd(x.high, y.high)}; }
inline Lanes operator/(Lanes x, Lanes y) { return {_mm256_div_pd(x.low, y.low), _mm256_div_pd(x.high, y.high)}; }
inline Lanes max(Lanes x, Lanes y) { return {_mm256_max_pd(x.low, y.low), _mm256_max_pd(x.high, y.high)}; }
inline Lanes square_root(Lanes x) { return {_mm256_sqrt_pd(x.low), _mm256_sqrt_pd(x.high)}; }
// x y + z, rounded once.
inline Lanes multiply_add(Lanes x, Lanes y, Lanes z) {
  return {_mm256_fmadd_pd(x.low, y.low, z.low), _mm256_fmadd_pd(x.high, y.high, z.high)};
}
// z - x y, rounded once.
inline Lanes subtract_product(Lanes z, Lanes x, Lanes y) {
  return {_mm256_fnmadd_pd(x.low, y.low, z.low), _mm256_fnmadd_pd(x.high, y.high, z.high)};
}
inline Mask less(Lanes x, Lanes y) {
  return {_mm256_cmp_pd(x.low, y.low, _CMP_LT_OQ), _mm256_cmp_pd(x.high, y.high, _CMP_LT_OQ)};
}
inline Mask equal(Lanes x, Lanes y) {
  return {_mm256_cmp_pd(x.low, y.low, _CMP_EQ_OQ), _mm256_cmp_pd(x.high, y.high, _CMP_EQ_OQ)};
}
inline Lanes select(Mask m, Lanes yes, Lanes no) {
  return {_mm256_blendv_pd(no.low, yes.low, m.low), _mm256_blendv_pd(no.high, yes.high, m.high)};
}
inline bool any(Mask m) { return (_mm256_movemask_pd(m.low) | _mm256_movemask_pd(m.high)) != 0; }
inline bool all(Mask m) { return (_mm256_movemask_pd(m.low) & _mm256_movemask_pd(m.high)) == 0xf; }
inline __m256d scale_half(__m256d x, __m256d magic) {
  return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(x), _mm256_slli_epi64(_mm256_castpd_si256(magic), 52)));
}
inline double multiply_add(double x, double y, double z) { return __builtin_fma(x, y, z); }
// x 2^n for the whole number n held in the low bits of `magic` = n + 1.5 * 2^52.
inline Lanes scale_by_power(Lanes x, Lanes magic) { return {scale_half(x.low, magic.low), scale_half(x.high, magic.high)}; }

}  // namespace
