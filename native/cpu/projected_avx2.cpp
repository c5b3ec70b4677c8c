// Compiled with -mavx2 -mfma.
#include "lanes_avx2.h"
#include "floats_avx2.h"
#include "projected_words.h"

namespace {

// Of four rows each: sums over the even and the odd pairs of columns side by side.
struct Totals {
  __m256i sums[4];
};
struct RowBytes {
  const uint8_t* at;
};
using QueryDigits = __m256i;
constexpr int groups_together = 1, queries_together = 2;

inline Totals zero_totals() {
  Totals zero = {{_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()}};
  asm("" : "+x"(zero.sums[0]), "+x"(zero.sums[1]), "+x"(zero.sums[2]), "+x"(zero.sums[3]));
  return zero;
}
inline RowBytes load_rows(const uint8_t* p) { return {p}; }
inline QueryDigits load_query(const char* packed, int64_t step, int64_t) {
  int64_t words;
  __builtin_memcpy(&words, packed + 8 * step, 8);
  return _mm256_set1_epi64x(words);
}
// As intrinsics, GCC 12 keeps some of the sums in memory.
inline void add_products(__m256i& sums, __m256i rows, __m256i digits) {
  __m256i pairs;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sums), "=&x"(pairs) : "x"(rows), "x"(digits));
}
inline void multiply(Totals& total, RowBytes rows, QueryDigits digits) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    add_products(total.sums[k], _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.at + 16 * k))), digits);
  }
}
// Eight rows of two registers.
inline __m256 whole_half(__m256i first, __m256i second, int32_t centre) {
  const __m256i sums = _mm256_permute4x64_epi64(_mm256_hadd_epi32(first, second), 0xd8);
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, _mm256_set1_epi32(centre)));
}
inline Floats whole(const Totals& total, int32_t centre) {
  return {whole_half(total.sums[0], total.sums[1], centre), whole_half(total.sums[2], total.sums[3], centre)};
}
inline float largest_lane(Floats x) {
  const __m256 half = _mm256_max_ps(x.low, x.high);
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_shuffle_ps(most, most, 1)));
}

}  // namespace

#include "projected_body.h"

const regimes::ProjectedKernels* regimes::projected_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &projected_table : nullptr;
}
