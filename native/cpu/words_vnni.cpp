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

// Adds round(P / 2^shift) of one chain to `total`, or starts it. A function of its own: see digits_body.h.
template <int Rows, int Groups>
[[gnu::noinline]] void chain_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* lanes,
                                  int64_t group_stride, int shift, bool first, Sums* total) {
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
  const Sums half = _mm512_set1_epi32(shift > 0 ? 1 << (shift - 1) : 0);
  const __m128i places = _mm_cvtsi32_si128(shift);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) {
      const Sums rounded = _mm512_sra_epi32(_mm512_add_epi32(sum[r][g], half), places);
      total[r * Groups + g] = first ? rounded : _mm512_add_epi32(total[r * Groups + g], rounded);
    }
}

template <int Groups>
void chain_rows(int count, const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* lanes,
                int64_t group_stride, int shift, bool first, Sums* total) {
  switch (count) {
    case 1:
      return chain_tile<1, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, shift, first, total);
    case 2:
      return chain_tile<2, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, shift, first, total);
    case 3:
      return chain_tile<3, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, shift, first, total);
    case 4:
      return chain_tile<4, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, shift, first, total);
    case 5:
      return chain_tile<5, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, shift, first, total);
    default:
      return chain_tile<tile_rows, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, shift, first, total);
  }
}

template <int Groups>
void row_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* lanes, double* out, int64_t out_rows) {
  Sums total[tile_rows * Groups];
  const int sums = count * Groups;
  for (int64_t start = 0; start < steps; start += chain) {
    const int64_t length = steps - start < chain ? steps - start : chain;
    chain_rows<Groups>(count, rows + start * step_stride, row_stride, step_stride, length, lanes + start * digit_lanes, steps * digit_lanes,
                       shift, start == 0, total);
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

void interleave(const int16_t* rows, int64_t stride, int count, int64_t columns, int32_t* out, int64_t out_stride) {
  for (int r = 0; r < count; r += 2) {
    const int16_t* low = rows + r * stride;
    const int16_t* high = r + 1 < count ? low + stride : nullptr;
    int32_t* to = out + r / 2 * out_stride;
    for (int64_t j = 0; j < columns; j += 16) {
      Sums word = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low + j)));
      if (high != nullptr) {
        const Sums other = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(high + j)));
        word = _mm512_or_si512(word, _mm512_slli_epi32(other, 16));
      }
      _mm512_storeu_si512(to + j, word);
    }
  }
}

void pack_scaled(const float* weights, int rows, const float* factor, int chain, float norm_limit, int32_t* words, double* step) {
  __m512 largest = _mm512_setzero_ps(), longest = _mm512_setzero_ps();
  for (int first = 0; first < rows; first += chain) {
    const int end = rows - first < chain ? rows : first + chain;
    __m512 square = _mm512_setzero_ps();
    for (int r = first; r < end; ++r) {
      const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(weights + r * digit_lanes), _mm512_set1_ps(factor[r]));
      largest = _mm512_max_ps(largest, value);
      square = _mm512_fmadd_ps(value, value, square);
    }
    longest = _mm512_max_ps(longest, square);
  }
  // A rounding adds at most 1/2 to an entry, sqrt(chain) / 2 to a norm; the last factor covers the float32 roundings here.
  const float slack = 0.5f * static_cast<float>(chain);  // >= sqrt(chain) / 2 for chains of one row and more
  const __m512 by_norm = _mm512_div_ps(_mm512_sqrt_ps(longest), _mm512_set1_ps(norm_limit - slack));
  const __m512 by_size = _mm512_div_ps(largest, _mm512_set1_ps(static_cast<float>(regimes::word_limit - 1)));
  const __m512 unit = _mm512_mul_ps(_mm512_max_ps(by_norm, by_size), _mm512_set1_ps(1.0001f));
  const __mmask16 some = _mm512_cmp_ps_mask(unit, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
  const __m512 inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0f), unit), kept = _mm512_maskz_mov_ps(some, unit);
  _mm512_storeu_pd(step, _mm512_cvtps_pd(_mm512_castps512_ps256(kept)));
  _mm512_storeu_pd(step + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(kept, 1)));
  for (int r = 0; r < rows; r += 2) {
    const auto word_of = [&](int row) {
      const __m512 scale = _mm512_mul_ps(inverse, _mm512_set1_ps(factor[row]));
      return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(weights + row * digit_lanes), scale));
    };
    Sums word = word_of(r);
    if (r + 1 < rows) word = _mm512_or_si512(word, _mm512_slli_epi32(word_of(r + 1), 16));
    _mm512_storeu_si512(words + r / 2 * digit_lanes, word);
  }
}

constexpr regimes::WordKernels table{products, interleave, pack_scaled};

}  // namespace

const regimes::WordKernels* regimes::words_vnni() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return supported ? &table : nullptr;
}
