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

// Where a chain goes: totals += round(sum / 2^shift).
struct Flush {
  Sums half;
  __m128i places;
};

inline Flush flush_of(int shift) { return {_mm512_set1_epi32(shift > 0 ? 1 << (shift - 1) : 0), _mm_cvtsi32_si128(shift)}; }
inline Sums flushed(Sums total, Sums sum, const Flush& flush) {
  return _mm512_add_epi32(total, _mm512_sra_epi32(_mm512_add_epi32(sum, flush.half), flush.places));
}

// The sums of one chain. A function of its own: see digits_body.h.
template <int Rows, int Groups>
[[gnu::noinline]] void chain_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* lanes,
                                  int64_t group_stride, const Flush& flush, Sums* totals) {
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
    for (int g = 0; g < Groups; ++g) totals[r * Groups + g] = flushed(totals[r * Groups + g], sum[r][g], flush);
}

template <int Groups>
void chain_rows(int count, const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* lanes,
                int64_t group_stride, const Flush& flush, Sums* totals) {
  switch (count) {
    case 1:
      return chain_tile<1, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, flush, totals);
    case 2:
      return chain_tile<2, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, flush, totals);
    case 3:
      return chain_tile<3, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, flush, totals);
    case 4:
      return chain_tile<4, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, flush, totals);
    case 5:
      return chain_tile<5, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, flush, totals);
    default:
      return chain_tile<tile_rows, Groups>(rows, row_stride, step_stride, steps, lanes, group_stride, flush, totals);
  }
}

// The sums of all chains of `count` rows.
template <int Groups>
void row_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* lanes, Sums* totals) {
  const Flush flush = flush_of(shift);
  for (int i = 0; i < count * Groups; ++i) totals[i] = _mm512_setzero_si512();
  for (int64_t first = 0; first < steps; first += chain) {
    const int64_t length = steps - first < chain ? steps - first : chain;
    chain_rows<Groups>(count, rows + first * step_stride, row_stride, step_stride, length, lanes + first * digit_lanes, steps * digit_lanes,
                       flush, totals);
  }
}

inline __m512d low_doubles(Sums x) { return _mm512_cvtepi32_pd(_mm512_castsi512_si256(x)); }
inline __m512d high_doubles(Sums x) { return _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(x, 1)); }

// `to(group, row, sums)` for every group and row.
template <class To>
void tiles(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
           const int32_t* lanes, int groups, To to) {
  Sums totals[tile_rows * tile_groups];
  for (int g = 0; g < groups; g += tile_groups) {
    const int32_t* from = lanes + g * steps * digit_lanes;
    const int together = groups - g < tile_groups ? groups - g : tile_groups;
    for (int r = 0; r < count; r += tile_rows) {
      const int32_t* first = rows + r * row_stride;
      const int taken = count - r < tile_rows ? count - r : tile_rows;
      switch (together) {
        case 1:
          row_tile<1>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
          break;
        case 2:
          row_tile<2>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
          break;
        case 3:
          row_tile<3>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
          break;
        default:
          row_tile<tile_groups>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
      }
      for (int k = 0; k < together; ++k) {
        for (int i = 0; i < taken; ++i) to(g + k, r + i, totals[i * together + k]);
      }
    }
  }
}

void products(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* lanes, int groups, double* out, int64_t out_rows) {
  tiles(rows, row_stride, step_stride, count, steps, chain, shift, lanes, groups, [&](int64_t group, int64_t row, Sums sum) {
    double* at = out + (group * out_rows + row) * digit_lanes;
    _mm512_storeu_pd(at, low_doubles(sum));
    _mm512_storeu_pd(at + 8, high_doubles(sum));
  });
}

// In the roundings of DenseKernels::accumulate, which serves the lists.
inline void fold(double* sums, const double* keep, const double* factor, __m512d product) {
  const __m512d kept = _mm512_mul_pd(_mm512_loadu_pd(sums), _mm512_loadu_pd(keep));
  _mm512_storeu_pd(sums, _mm512_add_pd(kept, _mm512_mul_pd(product, _mm512_loadu_pd(factor))));
}

void fold_columns(const int32_t* rows, int64_t step_stride, int columns, int64_t steps, int64_t chain, int shift, const int32_t* lanes,
                  int groups, const regimes::DenseFold* folds) {
  tiles(rows, 1, step_stride, columns, steps, chain, shift, lanes, groups, [&](int64_t group, int64_t row, Sums sum) {
    const regimes::DenseFold& into = folds[group];
    double* at = into.sums + row * digit_lanes;
    fold(at, into.keep, into.factor, low_doubles(sum));
    fold(at + 8, into.keep + 8, into.factor + 8, high_doubles(sum));
  });
}

template <int Registers>
void listed_tile(const int32_t* rows, int64_t step_stride, const regimes::ListedWords& list, int64_t steps, int64_t chain, int shift,
                 int64_t columns, double* out) {
  const Flush flush = flush_of(shift);
  Sums total[Registers];
#pragma GCC unroll 8
  for (int u = 0; u < Registers; ++u) total[u] = _mm512_setzero_si512();
  int at = 0;
  for (int64_t first = 0; first < steps && at < list.count; first += chain) {
    if (list.steps[at] >= first + chain) continue;
    Sums sum[Registers];
#pragma GCC unroll 8
    for (int u = 0; u < Registers; ++u) sum[u] = _mm512_setzero_si512();
    for (; at < list.count && list.steps[at] < first + chain; ++at) {
      const int32_t* row = rows + list.steps[at] * step_stride;
      const Sums word = _mm512_set1_epi32(list.words[at]);
#pragma GCC unroll 8
      for (int u = 0; u < Registers; ++u) multiply(sum[u], _mm512_loadu_si512(row + u * digit_lanes), word);
    }
#pragma GCC unroll 8
    for (int u = 0; u < Registers; ++u) total[u] = flushed(total[u], sum[u], flush);
  }
  int32_t values[Registers * digit_lanes];
  for (int u = 0; u < Registers; ++u) _mm512_storeu_si512(values + u * digit_lanes, total[u]);
  for (int64_t j = 0; j < columns; ++j) out[j * digit_lanes] = values[j];
}

void listed_products(const int32_t* rows, int64_t step_stride, int64_t columns, const regimes::ListedWords& list, int64_t steps,
                     int64_t chain, int shift, double* out) {
  constexpr int registers = 8;
  int64_t j = 0;
  for (; j + registers * digit_lanes <= columns; j += registers * digit_lanes) {
    listed_tile<registers>(rows + j, step_stride, list, steps, chain, shift, registers * digit_lanes, out + j * digit_lanes);
  }
  for (; j < columns; j += digit_lanes) {
    const int64_t left = columns - j < digit_lanes ? columns - j : digit_lanes;
    listed_tile<1>(rows + j, step_stride, list, steps, chain, shift, left, out + j * digit_lanes);
  }
}

inline Sums join(Sums low, Sums high) {
  return _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(high, 16));
}

// Of a row alone (the mixer "lowbias32" of Ellis's search for hash functions).
inline uint32_t bits_of(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x7feb352du;
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  return h ^ (h >> 16);
}

// A register of a row rounded up or down at random, and the sum of the variances.
inline Sums round_row(const float* values, __mmask16 valid, __m512 unit, __m512 inverse, Sums bits, __m512& variance) {
  const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(valid, values), inverse), low = _mm512_floor_ps(scaled);
  const __m512 fraction = _mm512_mul_ps(_mm512_sub_ps(scaled, low), unit);
  variance = _mm512_fmadd_ps(fraction, _mm512_sub_ps(unit, fraction), variance);
  const __m512 dither = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(bits, 8)), _mm512_set1_ps(0x1p-24f));
  return _mm512_cvtps_epi32(_mm512_floor_ps(_mm512_add_ps(scaled, dither)));
}

double pack_rows(const float* values, int64_t first_row, int rows, int64_t columns, const float* unit, const float* inverse,
                 const int32_t* bits, int32_t* words, int64_t stride) {
  const auto sum_of = [](__m512 parts) { return static_cast<double>(_mm512_reduce_add_ps(parts)); };
  double largest = 0;
  for (int r = 0; r < rows; r += 2) {
    const float *low = values + r * columns, *high = r + 1 < rows ? low + columns : nullptr;
    const Sums of_low = _mm512_set1_epi32(static_cast<int>(bits_of(static_cast<uint32_t>(first_row + r) + 1)));
    const Sums of_high = _mm512_set1_epi32(static_cast<int>(bits_of(static_cast<uint32_t>(first_row + r) + 2)));
    int32_t* to = words + r / 2 * stride;
    __m512 variance_low = _mm512_setzero_ps(), variance_high = variance_low;
    for (int64_t j = 0; j < columns; j += digit_lanes) {
      const auto valid = static_cast<__mmask16>(columns - j < digit_lanes ? (1u << (columns - j)) - 1 : 0xffffu);
      const __m512 step = _mm512_maskz_loadu_ps(valid, unit + j), factor = _mm512_maskz_loadu_ps(valid, inverse + j);
      const Sums column = _mm512_maskz_loadu_epi32(valid, bits + j);
      const Sums first = round_row(low + j, valid, step, factor, _mm512_xor_si512(column, of_low), variance_low);
      const Sums none = _mm512_setzero_si512();
      const Sums second = high ? round_row(high + j, valid, step, factor, _mm512_xor_si512(column, of_high), variance_high) : none;
      _mm512_mask_storeu_epi32(to + j, valid, join(first, second));
    }
    const double one = sum_of(variance_low), other = sum_of(variance_high);
    largest = largest < one ? one : largest;
    largest = largest < other ? other : largest;
  }
  return largest;
}

void pack_weights(const float* weights, int rows, int64_t chain, const float* dither, const float* half_square, int32_t* words,
                  double* factor, double* variance) {
  const __m512 zero = _mm512_setzero_ps();
  __m512 most = zero, heaviest = zero;
  const int span = static_cast<int>(2 * chain);
  for (int first = 0; first < rows; first += span) {
    const int end = rows - first < span ? rows : first + span;
    __m512 sum = zero;
    for (int r = first; r < end; ++r) {
      const __m512 weight = _mm512_loadu_ps(weights + r * digit_lanes);
      sum = _mm512_add_ps(sum, weight);
      heaviest = _mm512_max_ps(heaviest, weight);
    }
    most = _mm512_max_ps(most, sum);
  }
  // Of lanes without weight: so large that their steps do not count.
  const __m512 largest = _mm512_set1_ps(32765.0f), room = _mm512_set1_ps((65535.0f - static_cast<float>(span)) * (1 - 0x1p-14f));
  const __mmask16 some = _mm512_cmp_ps_mask(most, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
  const __m512 scale = _mm512_mask_min_ps(_mm512_set1_ps(1e30f), some, _mm512_div_ps(room, most), _mm512_div_ps(largest, heaviest));
  __m512 spread = zero;
  for (int r = 0; r < rows; r += 2) {
    Sums half[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      if (r + i == rows) break;
      const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(weights + (r + i) * digit_lanes), scale);
      half[i] = _mm512_cvttps_epi32(_mm512_add_ps(scaled, _mm512_set1_ps(dither[r + i])));
      const __m512 fraction = _mm512_sub_ps(scaled, _mm512_cvtepi32_ps(_mm512_cvttps_epi32(scaled)));
      spread = _mm512_fmadd_ps(_mm512_fnmadd_ps(fraction, fraction, fraction), _mm512_set1_ps(2 * half_square[r + i]), spread);
    }
    _mm512_storeu_si512(words + r / 2 * digit_lanes, join(half[0], half[1]));
  }
  _mm512_storeu_pd(factor, _mm512_cvtps_pd(_mm512_castps512_ps256(scale)));
  _mm512_storeu_pd(factor + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(scale, 1)));
  _mm512_storeu_pd(variance, _mm512_cvtps_pd(_mm512_castps512_ps256(spread)));
  _mm512_storeu_pd(variance + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(spread, 1)));
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

void pack_scaled(const float* weights, int rows, const float* factor, const float* dither, int chain, float norm_limit, int32_t* words,
                 double* step) {
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
  // A rounding adds at most 1 to an entry, sqrt(chain) to a norm; the last factor covers the float32 roundings here.
  const float slack = static_cast<float>(chain);  // >= sqrt(chain)
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
      const __m512 raised = _mm512_fmadd_ps(_mm512_loadu_ps(weights + row * digit_lanes), scale, _mm512_set1_ps(dither[row]));
      return _mm512_cvttps_epi32(raised);
    };
    Sums word = word_of(r);
    if (r + 1 < rows) word = _mm512_or_si512(word, _mm512_slli_epi32(word_of(r + 1), 16));
    _mm512_storeu_si512(words + r / 2 * digit_lanes, word);
  }
}

constexpr regimes::WordKernels table{products, interleave, pack_scaled, fold_columns, listed_products, pack_rows, pack_weights};

}  // namespace

const regimes::WordKernels* regimes::words_vnni() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return supported ? &table : nullptr;
}
