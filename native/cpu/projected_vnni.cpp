// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mavx512vnni -mfma. Queries in two digits of eight bits.
#include "lanes_avx512.h"
#include "floats_avx512.h"

namespace {

struct Totals {
  __m512i low, high;
};
using RowBytes = __m512i;
struct QueryDigits {
  __m512i low, high;
};
constexpr int groups_together = 4, queries_together = 3;

inline Totals zero_totals() {
  Totals zero = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  asm("" : "+v"(zero.low), "+v"(zero.high));
  return zero;
}
inline RowBytes load_rows(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline __m512i spread_bytes(const char* p) {
  int32_t bytes;
  __builtin_memcpy(&bytes, p, 4);
  return _mm512_set1_epi32(bytes);
}
inline QueryDigits load_query(const char* packed, int64_t step, int64_t steps) {
  return {spread_bytes(packed + 4 * step), spread_bytes(packed + 4 * (steps + step))};
}
// As an intrinsic, GCC 12 copies the sums between registers around every instruction.
inline void multiply(Totals& total, RowBytes rows, const QueryDigits& digits) {
  asm("vpdpbusd %2, %1, %0" : "+v"(total.low) : "v"(rows), "v"(digits.low));
  asm("vpdpbusd %2, %1, %0" : "+v"(total.high) : "v"(rows), "v"(digits.high));
}
inline Floats whole(const Totals& total, int32_t centre) {
  const __m512i sum = _mm512_add_epi32(total.low, _mm512_slli_epi32(total.high, 8));
  return {_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(centre)))};
}
inline float largest_lane(Floats x) { return _mm512_reduce_max_ps(x.v); }

int64_t packed_bytes(int64_t columns) { return (2 * columns + 63) / 64 * 64; }
// [digit][column], the lower one first, balanced.
void pack_query(const int32_t* x, int64_t columns, void* packed) {
  int8_t* out = static_cast<int8_t*>(packed);
  for (int64_t k = 0; k < columns; ++k) {
    const int32_t high = (x[k] + 128) >> 8;
    out[k] = static_cast<int8_t>(x[k] - 256 * high);
    out[columns + k] = static_cast<int8_t>(high);
  }
}

}  // namespace

#include "projected_body.h"

const regimes::ProjectedKernels* regimes::projected_vnni() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
  return supported ? &projected_table : nullptr;
}
