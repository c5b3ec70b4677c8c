// Eight float64 lanes in one AVX-512 register.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "../core/views.h"

namespace {

struct Lanes {
  __m512d v;
};
using Mask = __mmask8;

inline Lanes load(const double* p) { return {_mm512_loadu_pd(p)}; }
// Eight stored elements as float64.
inline Lanes widen(const uint8_t* p) { return {_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))}; }
inline Lanes widen(const regimes::Half* p) {
  const __m256i halves = _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(_mm512_cvtph_ps(halves)))};
}
inline Lanes widen(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
inline Lanes widen(const double* p) { return load(p); }
inline Lanes widen(const int32_t* p) { return {_mm512_cvtepi32_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline void store(double* p, Lanes x) { _mm512_storeu_pd(p, x.v); }
// Whole numbers, as integers.
inline void store(int32_t* p, Lanes x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtpd_epi32(x.v)); }
inline Lanes broadcast(double x) { return {_mm512_set1_pd(x)}; }
inline Lanes operator+(Lanes x, Lanes y) { return {_mm512_add_pd(x.v, y.v)}; }
inline Lanes operator-(Lanes x, Lanes y) { return {_mm512_sub_pd(x.v, y.v)}; }
inline Lanes operator*(Lanes x, Lanes y) { return {_mm512_mul_pd(x.v, y.v)}; }
inline Lanes operator/(Lanes x, Lanes y) { return {_mm512_div_pd(x.v, y.v)}; }
inline Lanes max(Lanes x, Lanes y) { return {_mm512_max_pd(x.v, y.v)}; }
inline Lanes square_root(Lanes x) { return {_mm512_sqrt_pd(x.v)}; }
// x y + z, rounded once.
inline Lanes multiply_add(Lanes x, Lanes y, Lanes z) { return {_mm512_fmadd_pd(x.v, y.v, z.v)}; }
// z - x y, rounded once.
inline Lanes subtract_product(Lanes z, Lanes x, Lanes y) { return {_mm512_fnmadd_pd(x.v, y.v, z.v)}; }
inline Mask less(Lanes x, Lanes y) { return _mm512_cmp_pd_mask(x.v, y.v, _CMP_LT_OQ); }
inline Mask equal(Lanes x, Lanes y) { return _mm512_cmp_pd_mask(x.v, y.v, _CMP_EQ_OQ); }
inline Lanes select(Mask m, Lanes yes, Lanes no) { return {_mm512_mask_blend_pd(m, no.v, yes.v)}; }
inline bool any(Mask m) { return m != 0; }
inline bool all(Mask m) { return m == 0xff; }
inline double multiply_add(double x, double y, double z) { return __builtin_fma(x, y, z); }
// x 2^n for the whole number n held in the low bits of `magic` = n + 1.5 * 2^52.
inline Lanes scale_by_power(Lanes x, Lanes magic) {
  return {_mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(x.v), _mm512_slli_epi64(_mm512_castpd_si512(magic.v), 52)))};
}


// 2^(k / 16) for the whole number k held in the low bits of `magic` = k / 16 + 1.5 * 2^48: the bits of 2^(j / 16), j = 0 ... 15, less
// j << 48, looked up by the low 4 bits of k, plus k << 48.
#define REGIMES_LANES_LOOKUP
alignas(64) constexpr uint64_t sixteenths[16] = {
    0x3ff0000000000000, 0x3fefb5586cf9890f, 0x3fef72b83c7d517b, 0x3fef387a6e756238,
    0x3fef06fe0a31b715, 0x3feedea64c123422, 0x3feebfdad5362a27, 0x3feeab07dd485429,
    0x3feea09e667f3bcd, 0x3feea11473eb0187, 0x3feeace5422aa0db, 0x3feec49182a3f090,
    0x3feee89f995ad3ad, 0x3fef199bdd85529c, 0x3fef5818dcfba487, 0x3fefa4afa2a490da};
inline Lanes power_of_sixteenths(Lanes magic) {
  const __m512i k = _mm512_castpd_si512(magic.v), low = _mm512_load_si512(sixteenths), high = _mm512_load_si512(sixteenths + 8);
  return {_mm512_castsi512_pd(_mm512_add_epi64(_mm512_permutex2var_epi64(low, k, high), _mm512_slli_epi64(k, 48)))};
}

}  // namespace
