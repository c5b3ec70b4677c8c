// Sixteen float32 lanes in one AVX-512 register.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

struct Floats {
  __m512 v;
};

inline Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Floats x) { _mm512_storeu_ps(p, x.v); }
inline Floats spread(float x) { return {_mm512_set1_ps(x)}; }
inline Floats operator+(Floats x, Floats y) { return {_mm512_add_ps(x.v, y.v)}; }
inline Floats operator-(Floats x, Floats y) { return {_mm512_sub_ps(x.v, y.v)}; }
inline Floats operator*(Floats x, Floats y) { return {_mm512_mul_ps(x.v, y.v)}; }
inline Floats operator/(Floats x, Floats y) { return {_mm512_div_ps(x.v, y.v)}; }
inline Floats square_root(Floats x) { return {_mm512_sqrt_ps(x.v)}; }
inline Floats max(Floats x, Floats y) { return {_mm512_max_ps(x.v, y.v)}; }
inline Floats multiply_add(Floats x, Floats y, Floats z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
// Bit i: x_i >= y_i.
inline uint32_t at_least(Floats x, Floats y) { return _mm512_cmp_ps_mask(x.v, y.v, _CMP_GE_OQ); }
// Bit i: x_i >= y_i, eight float64 lanes.
inline uint32_t at_least(Lanes x, Lanes y) { return _mm512_cmp_pd_mask(x.v, y.v, _CMP_GE_OQ); }

inline Floats subtract_product(Floats z, Floats x, Floats y) { return {_mm512_fnmadd_ps(x.v, y.v, z.v)}; }
// value where x >= least, else 0.
inline Floats where_above(Floats x, Floats least, Floats value) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, least.v, _CMP_GE_OQ), value.v)};
}
// x - floor(x), and p 2^floor(x).
inline Floats above_whole(Floats x) { return {_mm512_reduce_ps(x.v, 0x09)}; }
inline Floats scale_by_whole(Floats p, Floats x) { return {_mm512_scalef_ps(p.v, x.v)}; }
// Lanes i and i + 8 added, as float64.
inline Lanes fold(Floats x) {
  return {_mm512_cvtps_pd(_mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1)))};
}
// Eight float64 lanes, rounded.
inline void narrow(float* p, Lanes x) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(x.v)); }

// 2^(k / 16) for the whole number k held in the low bits of `magic` = k / 16 + 1.5 * 2^19, as in lanes_avx512.h.
#define REGIMES_FLOATS_LOOKUP
alignas(64) constexpr uint32_t float_sixteenths[16] = {
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
inline Floats power_of_sixteenths(Floats magic) {
  const __m512i k = _mm512_castps_si512(magic.v), powers = _mm512_permutexvar_epi32(k, _mm512_load_si512(float_sixteenths));
  return {_mm512_castsi512_ps(_mm512_add_epi32(powers, _mm512_slli_epi32(k, 19)))};
}

}  // namespace
