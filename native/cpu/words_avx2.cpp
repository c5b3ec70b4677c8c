// Compiled with -mavx2 -mfma. A product is a multiplication of pairs and an addition.
#include "lanes_avx2.h"
#include "floats_avx2.h"

namespace {

using Sums = __m256i;
constexpr int sum_lanes = 8, tile_rows = 6, tile_units = 2;
constexpr bool packs_columns = true;

inline Sums zero_sums() {
  Sums zero = _mm256_setzero_si256();
  asm("" : "+x"(zero));
  return zero;
}
inline Sums load_words(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void store_words(int32_t* p, Sums x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
inline Sums spread_word(int32_t x) { return _mm256_set1_epi32(x); }
// As intrinsics, GCC 12 keeps some of the sums in memory.
inline void multiply(Sums& sums, Sums row, Sums lanes) {
  Sums pairs;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sums), "=&x"(pairs) : "x"(row), "x"(lanes));
}
inline Sums add(Sums x, Sums y) { return _mm256_add_epi32(x, y); }
inline Sums shifted(Sums x, __m128i places) { return _mm256_sra_epi32(x, places); }
inline __m256d low_doubles(Sums x) { return _mm256_cvtepi32_pd(_mm256_castsi256_si128(x)); }
inline __m256d high_doubles(Sums x) { return _mm256_cvtepi32_pd(_mm256_extracti128_si256(x, 1)); }
inline void store_doubles(double* p, Sums x) {
  _mm256_storeu_pd(p, low_doubles(x));
  _mm256_storeu_pd(p + 4, high_doubles(x));
}
inline void fold_half(double* sums, const double* keep, const double* factor, __m256d product) {
  const __m256d kept = _mm256_mul_pd(_mm256_loadu_pd(sums), _mm256_loadu_pd(keep));
  _mm256_storeu_pd(sums, _mm256_add_pd(kept, _mm256_mul_pd(product, _mm256_loadu_pd(factor))));
}
inline void fold_sums(double* sums, const double* keep, const double* factor, Sums product) {
  fold_half(sums, keep, factor, low_doubles(product));
  fold_half(sums + 4, keep + 4, factor + 4, high_doubles(product));
}

// Sixteen whole numbers.
struct Wholes {
  __m256i low, high;
};
inline Wholes floored(Floats x) { return {_mm256_cvtps_epi32(_mm256_floor_ps(x.low)), _mm256_cvtps_epi32(_mm256_floor_ps(x.high))}; }
inline Floats floats_of(Wholes x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
inline __m256i joined(__m256i low, __m256i high) {
  return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(high, 16));
}
inline void store_joined(int32_t* p, Wholes low, Wholes high) {
  store_words(p, joined(low.low, high.low));
  store_words(p + 8, joined(low.high, high.high));
}
inline Wholes no_wholes() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline __m256i less(const uint8_t* p, const uint8_t* centre) {
  return _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
                          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(centre))));
}
inline Wholes bytes_less(const uint8_t* p, const uint8_t* centre) { return {less(p, centre), less(p + 8, centre + 8)}; }
inline Wholes wholes_of(const int16_t* p) {
  return {_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
// In [0, 1), of 24 of the bits of each, combined with `own`.
inline __m256 fraction_of(const int32_t* bits, uint32_t own) {
  const __m256i mixed = _mm256_xor_si256(load_words(bits), _mm256_set1_epi32(static_cast<int>(own)));
  return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(mixed, 8)), _mm256_set1_ps(0x1p-24f));
}
inline Floats fractions_of(const int32_t* bits, uint32_t own) { return {fraction_of(bits, own), fraction_of(bits + 8, own)}; }

}  // namespace

#include "words_body.h"

const regimes::WordKernels* regimes::words_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &word_table : nullptr;
}
