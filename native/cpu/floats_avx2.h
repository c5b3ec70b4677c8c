// Sixteen float32 lanes in two AVX2 registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

struct Floats {
  __m256 low, high;
};

inline Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Floats x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
inline Floats spread(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Floats operator+(Floats x, Floats y) { return {_mm256_add_ps(x.low, y.low), _mm256_add_ps(x.high, y.high)}; }
inline Floats operator-(Floats x, Floats y) { return {_mm256_sub_ps(x.low, y.low), _mm256_sub_ps(x.high, y.high)}; }
inline Floats operator*(Floats x, Floats y) { return {_mm256_mul_ps(x.low, y.low), _mm256_mul_ps(x.high, y.high)}; }
inline Floats operator/(Floats x, Floats y) { return {_mm256_div_ps(x.low, y.low), _mm256_div_ps(x.high, y.high)}; }
inline Floats square_root(Floats x) { return {_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)}; }
inline Floats max(Floats x, Floats y) { return {_mm256_max_ps(x.low, y.low), _mm256_max_ps(x.high, y.high)}; }
inline Floats multiply_add(Floats x, Floats y, Floats z) {
  return {_mm256_fmadd_ps(x.low, y.low, z.low), _mm256_fmadd_ps(x.high, y.high, z.high)};
}
// Bit i: x_i >= y_i.
inline uint32_t at_least(Floats x, Floats y) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.low, y.low, _CMP_GE_OQ))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.high, y.high, _CMP_GE_OQ))) << 8;
}
// Bit i: x_i >= y_i, eight float64 lanes.
inline uint32_t at_least(Lanes x, Lanes y) {
  return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_cmp_pd(x.low, y.low, _CMP_GE_OQ))) |
         static_cast<uint32_t>(_mm256_movemask_pd(_mm256_cmp_pd(x.high, y.high, _CMP_GE_OQ))) << 4;
}

inline Floats subtract_product(Floats z, Floats x, Floats y) {
  return {_mm256_fnmadd_ps(x.low, y.low, z.low), _mm256_fnmadd_ps(x.high, y.high, z.high)};
}
// value where x >= least, else 0.
inline Floats where_above(Floats x, Floats least, Floats value) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.low, least.low, _CMP_GE_OQ), value.low),
          _mm256_and_ps(_mm256_cmp_ps(x.high, least.high, _CMP_GE_OQ), value.high)};
}
// x - floor(x), and p 2^floor(x).
inline Floats above_whole(Floats x) {
  return {_mm256_sub_ps(x.low, _mm256_floor_ps(x.low)), _mm256_sub_ps(x.high, _mm256_floor_ps(x.high))};
}
inline __m256 scale_half_by_whole(__m256 p, __m256 x) {
  const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(_mm256_floor_ps(x)), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
}
inline Floats scale_by_whole(Floats p, Floats x) { return {scale_half_by_whole(p.low, x.low), scale_half_by_whole(p.high, x.high)}; }
// Lanes i and i + 8 added, as float64.
inline Lanes fold(Floats x) {
  const __m256 sum = _mm256_add_ps(x.low, x.high);
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(sum)), _mm256_cvtps_pd(_mm256_extractf128_ps(sum, 1))};
}
// Eight float64 lanes, rounded.
inline void narrow(float* p, Lanes x) {
  _mm_storeu_ps(p, _mm256_cvtpd_ps(x.low));
  _mm_storeu_ps(p + 4, _mm256_cvtpd_ps(x.high));
}

}  // namespace
