// Sixteen 32-bit sums and sixteen whole numbers in one AVX-512 register, for words_body.h.
#pragma once

#include "lanes_avx512.h"
#include "floats_avx512.h"

namespace {

using Sums = __m512i;
constexpr int sum_lanes = 16, tile_rows = 6, tile_units = 4;
constexpr bool packs_columns = false;

inline Sums zero_sums() {
  Sums zero = _mm512_setzero_si512();
  asm("" : "+v"(zero));  // apart from the other zeros: GCC 12 keeps sums that it has merged in memory
  return zero;
}
inline Sums load_words(const int32_t* p) { return _mm512_loadu_si512(p); }
inline Sums spread_word(int32_t x) { return _mm512_set1_epi32(x); }
inline Sums add(Sums x, Sums y) { return _mm512_add_epi32(x, y); }
inline Sums shifted(Sums x, __m128i places) { return _mm512_sra_epi32(x, places); }
inline __m512d low_doubles(Sums x) { return _mm512_cvtepi32_pd(_mm512_castsi512_si256(x)); }
inline __m512d high_doubles(Sums x) { return _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(x, 1)); }
inline void store_words(int32_t* p, Sums x) { _mm512_storeu_si512(p, x); }
inline void store_doubles(double* p, Sums x) {
  _mm512_storeu_pd(p, low_doubles(x));
  _mm512_storeu_pd(p + 8, high_doubles(x));
}
inline void fold_half(double* sums, const double* keep, const double* factor, __m512d product) {
  const __m512d kept = _mm512_mul_pd(_mm512_loadu_pd(sums), _mm512_loadu_pd(keep));
  _mm512_storeu_pd(sums, _mm512_add_pd(kept, _mm512_mul_pd(product, _mm512_loadu_pd(factor))));
}
inline void fold_sums(double* sums, const double* keep, const double* factor, Sums product) {
  fold_half(sums, keep, factor, low_doubles(product));
  fold_half(sums + 8, keep + 8, factor + 8, high_doubles(product));
}

struct Wholes {
  __m512i v;
};
inline Wholes floored(Floats x) { return {_mm512_cvt_roundps_epi32(x.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}; }
inline Floats floats_of(Wholes x) { return {_mm512_cvtepi32_ps(x.v)}; }
inline void store_joined(int32_t* p, Wholes low, Wholes high) {
  store_words(p, _mm512_or_si512(_mm512_and_si512(low.v, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(high.v, 16)));
}
inline Wholes no_wholes() { return {_mm512_setzero_si512()}; }
inline Wholes bytes_less(const uint8_t* p, const uint8_t* centre) {
  return {_mm512_sub_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
                           _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(centre))))};
}
inline Wholes wholes_of(const int16_t* p) { return {_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
// In [0, 1), of 24 of the bits of each, combined with `own`.
inline Floats fractions_of(const int32_t* bits, uint32_t own) {
  const __m512i mixed = _mm512_xor_si512(load_words(bits), _mm512_set1_epi32(static_cast<int>(own)));
  return {_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(mixed, 8)), _mm512_set1_ps(0x1p-24f))};
}

}  // namespace
