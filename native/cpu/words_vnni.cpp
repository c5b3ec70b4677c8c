// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mavx512vnni -mfma.
#include "words.h"

#include <immintrin.h>

namespace {

using regimes::digit_lanes;
using Sums = __m512i;

constexpr int tile_rows = 6, tile_groups = 4;

inline Sums zero_sums() {
  Sums zero = _mm512_setzero_si512();
  asm("" : "+v"(zero));  // apart from the other zeros: GCC 12 keeps sums that it has merged in memory
  return zero;
}
// As an intrinsic, GCC 12 copies the sums between registers around every instruction.
inline void multiply(Sums& sums, Sums row, Sums lanes) { asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(row), "v"(lanes)); }

// The sums of one chain. A function of its own: see digits_body.h.
template <int Rows, int Groups>
[[gnu::noinline]] void chain_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* lanes,
                                  int64_t group_stride, Sums* result) {
  const int32_t* from[Groups];
#pragma GCC unroll 8
  for (int g = 0; g < Groups; ++g) from[g] = lanes + g * group_stride;
  Sums sum[Rows][Groups];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) sum[r][g] = zero_sums();
  for (int64_t s = 0; s < steps; ++s) {
    Sums query[Groups];
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) query[g] = _mm512_load_si512(from[g] + s * digit_lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Sums row = _mm512_set1_epi32(rows[r * row_stride + s * step_stride]);
#pragma GCC unroll 8
      for (int g = 0; g < Groups; ++g) multiply(sum[r][g], row, query[g]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) result[r * Groups + g] = sum[r][g];
}

template <int Groups>
void chain_rows(int count, const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* lanes,
                int64_t group_stride, Sums* result) {
  switch (count) {
    case 1:
      return chain_tile<1, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, result);
    case 2:
      return chain_tile<2, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, result);
    case 3:
      return chain_tile<3, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, result);
    case 4:
      return chain_tile<4, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, result);
    case 5:
      return chain_tile<5, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, result);
    default:
      return chain_tile<tile_rows, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, result);
  }
}

template <int Groups>
void row_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* lanes, double* out, int64_t out_rows) {
  const Sums half = _mm512_set1_epi32(shift > 0 ? 1 << (shift - 1) : 0);
  const __m128i places = _mm_cvtsi32_si128(shift);
  Sums total[tile_rows * Groups], part[tile_rows * Groups];
  const int sums = count * Groups;
  for (int i = 0; i < sums; ++i) total[i] = _mm512_setzero_si512();
  for (int64_t first = 0; first < steps; first += chain) {
    const int64_t length = steps - first < chain ? steps - first : chain;
    chain_rows<Groups>(count, rows + first * step_stride, row_stride, step_stride, length, lanes + first * digit_lanes, steps * digit_lanes, part);
    for (int i = 0; i < sums; ++i) total[i] = _mm512_add_epi32(total[i], _mm512_sra_epi32(_mm512_add_epi32(part[i], half), places));
  }
  for (int i = 0; i < sums; ++i) {
    double* to = out + (i % Groups * out_rows + i / Groups) * digit_lanes;
    _mm512_storeu_pd(to, _mm512_cvtepi32_pd(_mm512_castsi512_si256(total[i])));
    _mm512_storeu_pd(to + 8, _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(total[i], 1)));
  }
}

void products(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* lanes, int groups, double* out, int64_t out_rows) {
  for (int g = 0; g < groups; g += tile_groups) {
    const int32_t* from = lanes + g * steps * digit_lanes;
    for (int r = 0; r < count; r += tile_rows) {
      const int32_t* first = rows + r * row_stride;
      const int taken = count - r < tile_rows ? count - r : tile_rows;
      double* to = out + (g * out_rows + r) * digit_lanes;
      switch (groups - g) {
        case 1:
          row_tile<1>(first, row_stride, step_stride, taken, steps, chain, shift, from, to, out_rows);
          break;
        case 2:
          row_tile<2>(first, row_stride, step_stride, taken, steps, chain, shift, from, to, out_rows);
          break;
        case 3:
          row_tile<3>(first, row_stride, step_stride, taken, steps, chain, shift, from, to, out_rows);
          break;
        default:
          row_tile<tile_groups>(first, row_stride, step_stride, taken, steps, chain, shift, from, to, out_rows);
      }
    }
  }
}

constexpr regimes::WordKernels table{products};

}  // namespace

const regimes::WordKernels* regimes::words_vnni() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return supported ? &table : nullptr;
}
