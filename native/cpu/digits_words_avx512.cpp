// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma. Rows widened to 16 bits, digits of 13 bits in 16.
#include <immintrin.h>

#include <cstdint>

namespace {

using Digit = int16_t;
using Sums = __m512i;
constexpr int digit_bits = 13, planes_full = 2, sum_lanes = 16, tile_units = 4;
constexpr int64_t column_block = 2048, single_columns = 32;
constexpr int queries_at_once = 4;
constexpr bool widen = true;

inline Sums zero_sums() {
  Sums zero = _mm512_setzero_si512();
  asm("" : "+v"(zero));
  return zero;
}
inline Sums load_digits(const char* p) { return _mm512_loadu_si512(p); }
inline Sums load_row(const uint8_t* p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Sums broadcast4(const char* p) {
  int32_t words;
  __builtin_memcpy(&words, p, 4);
  return _mm512_set1_epi32(words);
}
// As intrinsics, GCC 12 keeps some of the sums in memory.
inline void multiply(Sums& sums, Sums row, Sums digits) {
  Sums pairs;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sums), "=&v"(pairs) : "v"(row), "v"(digits));
}
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
// `columns` bytes, rounded up to a register: the words after them meet no digit.
inline void widen_row(const uint8_t* row, int64_t columns, uint16_t* words) {
  for (int64_t k = 0; k < columns; k += 32) _mm512_store_si512(words + k, load_row(row + k));
}

}  // namespace

#include "digits_body.h"

namespace {
constexpr regimes::DigitKernels table = make_digits("words-avx512", false, group_products, nullptr);
}

const regimes::DigitKernels* regimes::digits_words_avx512() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return supported ? &table : nullptr;
}
