// Bytes times signed bytes by VNNI: four products and their sum per 32-bit lane in one instruction. What digits_body.h asks for.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

using Digit = int8_t;
using Sums = __m512i;
constexpr int digit_bits = 8, planes_full = 3, sum_lanes = 16, tile_units = 4;
constexpr int64_t column_block = 4096, single_columns = 64;
constexpr int queries_at_once = 4;
constexpr bool widen = false;

inline Sums zero_sums() {
  Sums zero = _mm512_setzero_si512();
  asm("" : "+v"(zero));
  return zero;
}
inline Sums load_digits(const char* p) { return _mm512_loadu_si512(p); }
inline Sums load_row(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline Sums broadcast4(const char* p) {
  int32_t bytes;
  __builtin_memcpy(&bytes, p, 4);
  return _mm512_set1_epi32(bytes);
}
// As an intrinsic, GCC 12 copies the sums between registers around every instruction.
inline void multiply(Sums& sums, Sums row, Sums digits) { asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(row), "v"(digits)); }
inline int32_t total(Sums sums) { return _mm512_reduce_add_epi32(sums); }
inline void totals(Sums a, Sums b, Sums c, Sums d, int32_t* out) {
  const Sums ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const Sums cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const Sums each = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(each), _mm512_extracti64x4_epi64(each, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}
struct Products {
  __m512d low, high;
};
inline Products zero_products() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
inline Products load_products(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
inline void store_products(double* p, const Products& x) {
  _mm512_storeu_pd(p, x.low);
  _mm512_storeu_pd(p + 8, x.high);
}
inline void add_scaled(Products& x, Sums sums, double factor) {
  const __m512d scale = _mm512_set1_pd(factor);
  x.low = _mm512_fmadd_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(sums)), scale, x.low);
  x.high = _mm512_fmadd_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(sums, 1)), scale, x.high);
}
inline void widen_row(const uint8_t*, int64_t, uint16_t*) {}

}  // namespace

#include "digits_body.h"

namespace {

// 64 columns, four rows at a time: their bytes side by side meet the digits of four weights. 255 * 128 * 4096 < 2^31.
void listed_sums(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t columns, const void* packed, double* out,
                 int64_t out_stride) {
  constexpr int64_t width = 64;
  const char* digits = static_cast<const char*>(packed);
  const int64_t plane = padded(count);
  for (int64_t j = 0; j < columns; j += width) {
    Sums sum[planes_full][4];
#pragma GCC unroll 4
    for (int p = 0; p < planes_full; ++p)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) sum[p][k] = zero_sums();
    for (int64_t i = 0; i < count; i += 4) {
      const uint8_t* row[4];
      for (int r = 0; r < 4; ++r) row[r] = rows + index[i + r < count ? i + r : count - 1] * stride + j;  // beyond the list, digits are zero
      const Sums a = load_row(row[0]), b = load_row(row[1]), c = load_row(row[2]), d = load_row(row[3]);
      const Sums first_low = _mm512_unpacklo_epi8(a, b), first_high = _mm512_unpackhi_epi8(a, b);
      const Sums second_low = _mm512_unpacklo_epi8(c, d), second_high = _mm512_unpackhi_epi8(c, d);
      const Sums bytes[4] = {_mm512_unpacklo_epi16(first_low, second_low), _mm512_unpackhi_epi16(first_low, second_low),
                             _mm512_unpacklo_epi16(first_high, second_high), _mm512_unpackhi_epi16(first_high, second_high)};
#pragma GCC unroll 4
      for (int p = 0; p < planes_full; ++p) {
        const Sums digit = broadcast4(digits + p * plane + i);
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) multiply(sum[p][k], bytes[k], digit);
      }
    }
    alignas(64) double whole[4][digit_lanes];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      Products products = zero_products();
#pragma GCC unroll 4
      for (int p = 0; p < planes_full; ++p) add_scaled(products, sum[p][k], plane_factor(p));
      store_products(whole[k], products);
    }
    // Each quarter of a register holds 16 columns, four of them in each of the four sums.
    const int64_t left = columns - j < width ? columns - j : width;
    for (int64_t c = 0; c < left; ++c) out[(j + c) * out_stride] = whole[c % 16 / 4][c / 16 * 4 + c % 4];
  }
}

}  // namespace
