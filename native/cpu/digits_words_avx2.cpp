// Compiled with -mavx2 -mfma. Rows widened to 16 bits, digits of 13 bits in 16; the same digits as words-avx512, so the same products.
#include <immintrin.h>

#include <cstdint>

namespace {

using Digit = int16_t;
using Sums = __m256i;
constexpr int digit_bits = 13, planes_full = 2, sum_lanes = 8, tile_units = 2;
constexpr int64_t column_block = 2048, single_columns = 16;
constexpr int queries_at_once = 2;
constexpr bool widen = true;

inline Sums zero_sums() {
  Sums zero = _mm256_setzero_si256();
  asm("" : "+x"(zero));
  return zero;
}
inline Sums load_digits(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Sums load_row(const uint8_t* p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Sums broadcast4(const char* p) {
  int32_t words;
  __builtin_memcpy(&words, p, 4);
  return _mm256_set1_epi32(words);
}
// As intrinsics, GCC 12 keeps some of the sums in memory.
inline void multiply(Sums& sums, Sums row, Sums digits) {
  Sums pairs;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sums), "=&x"(pairs) : "x"(row), "x"(digits));
}
inline int32_t total(Sums sums) {
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}
inline void totals(Sums a, Sums b, Sums c, Sums d, int32_t* out) {
  const Sums each = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_add_epi32(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1)));
}
struct Products {
  __m256d low, high;
};
inline Products zero_products() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
inline Products load_products(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
inline void store_products(double* p, const Products& x) {
  _mm256_storeu_pd(p, x.low);
  _mm256_storeu_pd(p + 4, x.high);
}
inline void add_scaled(Products& x, Sums sums, double factor) {
  const __m256d scale = _mm256_set1_pd(factor);
  x.low = _mm256_fmadd_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(sums)), scale, x.low);
  x.high = _mm256_fmadd_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(sums, 1)), scale, x.high);
}
// `columns` bytes, rounded up to a register: the words after them meet no digit.
inline void widen_row(const uint8_t* row, int64_t columns, uint16_t* words) {
  for (int64_t k = 0; k < columns; k += 16) _mm256_store_si256(reinterpret_cast<__m256i*>(words + k), load_row(row + k));
}

}  // namespace

#include "digits_body.h"

namespace {
constexpr regimes::DigitKernels table = make_digits("words-avx2", false, group_products, nullptr);
}

const regimes::DigitKernels* regimes::digits_words_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &table : nullptr;
}
