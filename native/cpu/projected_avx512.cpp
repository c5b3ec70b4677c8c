// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma.
#include "lanes_avx512.h"
#include "floats_avx512.h"
#include "projected_words.h"

namespace {

// Of rows 0 ... 7 and 8 ... 15: sums over the even and the odd pairs of columns side by side.
struct Totals {
  __m512i low, high;
};
struct RowBytes {
  __m512i low, high;
};
using QueryDigits = __m512i;
constexpr int groups_together = 4, queries_together = 3;

inline Totals zero_totals() {
  Totals zero = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  asm("" : "+v"(zero.low), "+v"(zero.high));
  return zero;
}
inline RowBytes load_rows(const uint8_t* p) {
  return {_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
          _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32)))};
}
inline QueryDigits load_query(const char* packed, int64_t step, int64_t) {
  int64_t words;
  __builtin_memcpy(&words, packed + 8 * step, 8);
  return _mm512_set1_epi64(words);
}
// As intrinsics, GCC 12 keeps some of the sums in memory.
inline void add_products(__m512i& sums, __m512i rows, __m512i digits) {
  __m512i pairs;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sums), "=&v"(pairs) : "v"(rows), "v"(digits));
}
inline void multiply(Totals& total, const RowBytes& rows, QueryDigits digits) {
  add_products(total.low, rows.low, digits);
  add_products(total.high, rows.high, digits);
}
inline Floats whole(const Totals& total, int32_t centre) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(_mm512_permutex2var_epi32(total.low, even, total.high), _mm512_permutex2var_epi32(total.low, odd, total.high));
  return {_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(centre)))};
}
inline float largest_lane(Floats x) { return _mm512_reduce_max_ps(x.v); }

}  // namespace

#include "projected_body.h"

const regimes::ProjectedKernels* regimes::projected_avx512() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return supported ? &projected_table : nullptr;
}
