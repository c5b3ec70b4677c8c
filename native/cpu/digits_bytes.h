// Bytes times signed bytes by VNNI: four products and their sum per 32-bit lane in one instruction. What digits_body.h asks for.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

using Digit = int8_t;
using Sums = __m512i;
constexpr int digit_bits = 8, planes_full = 3, sum_lanes = 16, tile_units = 4;
constexpr int64_t column_block = 4096, single_columns = 64;
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
