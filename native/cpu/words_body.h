// The kernels of words.h, written once and compiled per instruction set by words_<set>.cpp, which defines, in an unnamed namespace, the
// lanes and floats of its set (lanes_<set>.h, floats_<set>.h) and
//   Sums, sum_lanes            32-bit sums of one register: 16 or 8
//   tile_rows, tile_units      rows, and registers of lanes, of a tile: as many sums live in registers
//   packs_columns              whether columns of rows are copied side by side before they meet several tiles of lanes
//   zero_sums(), load_words(p), store_words(p, x), spread_word(x), multiply(sums, row, lanes), add(x, y), shifted(x, places)
//   store_doubles(p, x), fold_sums(sums, keep, factor, product)   sums[i] = sums[i] keep[i] + product[i] factor[i], each operation rounded,
//                              as DenseKernels::accumulate rounds, which serves the lists
//   Wholes                     sixteen whole numbers: floored(floats), floats_of(wholes), store_joined(p, low, high), no_wholes(),
//                              bytes_less(bytes, centre), wholes_of(halves), fractions_of(bits, own)
// No inline function of the standard library here, for the reason given in kernels_body.h.
#pragma once

#include "words.h"

namespace {

using regimes::digit_lanes;

constexpr int units_per_group = digit_lanes / sum_lanes;

// Where a chain goes: totals += round(sum / 2^shift).
struct Flush {
  Sums half;
  __m128i places;
};

inline Flush flush_of(int shift) { return {spread_word(shift > 0 ? 1 << (shift - 1) : 0), _mm_cvtsi32_si128(shift)}; }
inline Sums flushed(Sums total, Sums sum, const Flush& flush) { return add(total, shifted(add(sum, flush.half), flush.places)); }

// The sums of one chain. A function of its own: see digits_body.h.
template <int Rows, int Units>
[[gnu::noinline]] void chain_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* const* lanes,
                                  const Flush& flush, Sums* totals) {
  const int32_t* from[Units];
#pragma GCC unroll 8
  for (int u = 0; u < Units; ++u) from[u] = lanes[u];
  Sums sum[Rows][Units];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int u = 0; u < Units; ++u) sum[r][u] = zero_sums();
  for (int64_t s = 0; s < steps; ++s) {
    // Columns of many rows: the next line of each, which no stride tells the hardware.
    if (row_stride == 1) __builtin_prefetch(rows + s * step_stride + 16);
    Sums query[Units];
#pragma GCC unroll 8
    for (int u = 0; u < Units; ++u) query[u] = load_words(from[u] + s * digit_lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Sums row = spread_word(rows[r * row_stride + s * step_stride]);
#pragma GCC unroll 8
      for (int u = 0; u < Units; ++u) multiply(sum[r][u], row, query[u]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int u = 0; u < Units; ++u) totals[r * Units + u] = flushed(totals[r * Units + u], sum[r][u], flush);
}

template <int Units>
void chain_rows(int count, const int32_t* rows, int64_t row_stride, int64_t step_stride, int64_t steps, const int32_t* const* lanes,
                const Flush& flush, Sums* totals) {
  switch (count) {
    case 1:
      return chain_tile<1, Units>(rows, row_stride, step_stride, steps, lanes, flush, totals);
    case 2:
      return chain_tile<2, Units>(rows, row_stride, step_stride, steps, lanes, flush, totals);
    case 3:
      return chain_tile<3, Units>(rows, row_stride, step_stride, steps, lanes, flush, totals);
    case 4:
      return chain_tile<4, Units>(rows, row_stride, step_stride, steps, lanes, flush, totals);
    case 5:
      return chain_tile<5, Units>(rows, row_stride, step_stride, steps, lanes, flush, totals);
    default:
      return chain_tile<tile_rows, Units>(rows, row_stride, step_stride, steps, lanes, flush, totals);
  }
}

// The sums of all chains of `count` rows.
template <int Units>
void row_tile(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* const* lanes, Sums* totals) {
  const Flush flush = flush_of(shift);
  for (int i = 0; i < count * Units; ++i) totals[i] = zero_sums();
  for (int64_t first = 0; first < steps; first += chain) {
    const int32_t* from[Units];
    for (int u = 0; u < Units; ++u) from[u] = lanes[u] + first * digit_lanes;
    const int64_t length = steps - first < chain ? steps - first : chain;
    chain_rows<Units>(count, rows + first * step_stride, row_stride, step_stride, length, from, flush, totals);
  }
}

// `to(unit, row, sums)` for every register of lanes and every row; tiles of rows lie tile_stride apart.
template <class To>
void tiles(const int32_t* rows, int64_t tile_stride, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain,
           int shift, const int32_t* lanes, int groups, To to) {
  static_assert(tile_units == 2 || tile_units == 4);
  Sums totals[tile_rows * tile_units];
  const int units = groups * units_per_group;
  for (int unit = 0; unit < units; unit += tile_units) {
    const int together = units - unit < tile_units ? units - unit : tile_units;
    const int32_t* from[tile_units];
    for (int u = 0; u < together; ++u) {
      from[u] = lanes + ((unit + u) / units_per_group * steps * digit_lanes + (unit + u) % units_per_group * sum_lanes);
    }
    for (int r = 0; r < count; r += tile_rows) {
      const int32_t* first = rows + r / tile_rows * tile_stride;
      const int taken = count - r < tile_rows ? count - r : tile_rows;
      switch (together) {
        case 1:
          row_tile<1>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
          break;
        case 2:
          row_tile<2>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
          break;
        case 3:
          row_tile<tile_units == 4 ? 3 : 1>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
          break;
        default:
          row_tile<tile_units>(first, row_stride, step_stride, taken, steps, chain, shift, from, totals);
      }
      for (int u = 0; u < together; ++u) {
        for (int i = 0; i < taken; ++i) to(unit + u, r + i, totals[i * together + u]);
      }
    }
  }
}

void products(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
              const int32_t* lanes, int groups, double* out, int64_t out_rows) {
  tiles(rows, tile_rows * row_stride, row_stride, step_stride, count, steps, chain, shift, lanes, groups, [&](int64_t unit, int64_t row, Sums sum) {
    store_doubles(out + (unit / units_per_group * out_rows + row) * digit_lanes + unit % units_per_group * sum_lanes, sum);
  });
}

constexpr int64_t packed_tile(int64_t steps) { return steps * tile_rows + 16; }

// Eight words are copied where six belong: the next step overwrites the others.
[[maybe_unused]] void pack_columns(const int32_t* rows, int64_t step_stride, int columns, int64_t steps, int32_t* packed) {
  for (int64_t s = 0; s < steps; ++s) {
    int32_t* to = packed + s * tile_rows;
    for (int j = 0; j < columns; j += tile_rows, to += packed_tile(steps)) __builtin_memcpy(to, rows + s * step_stride + j, 32);
  }
}

void fold_columns(const int32_t* rows, int64_t step_stride, int32_t* packed, bool fresh, int columns, int64_t steps, int64_t chain, int shift,
                  const int32_t* lanes, int groups, const regimes::DenseFold* folds) {
  const auto fold = [&](int64_t unit, int64_t row, Sums sum) {
    const regimes::DenseFold& into = folds[unit / units_per_group];
    const int64_t lane = unit % units_per_group * sum_lanes;
    fold_sums(into.sums + row * digit_lanes + lane, into.keep + lane, into.factor + lane, sum);
  };
  if constexpr (packs_columns) {
    if (fresh) pack_columns(rows, step_stride, columns, steps, packed);
    tiles(packed, packed_tile(steps), 1, tile_rows, columns, steps, chain, shift, lanes, groups, fold);
  } else {
    tiles(rows, tile_rows, 1, step_stride, columns, steps, chain, shift, lanes, groups, fold);
  }
}

template <int Registers>
void listed_tile(const int32_t* rows, int64_t step_stride, const regimes::ListedWords& list, int64_t steps, int64_t chain, int shift,
                 int64_t columns, double* out) {
  const Flush flush = flush_of(shift);
  Sums total[Registers];
#pragma GCC unroll 8
  for (int u = 0; u < Registers; ++u) total[u] = zero_sums();
  int at = 0;
  for (int64_t first = 0; first < steps && at < list.count; first += chain) {
    if (list.steps[at] >= first + chain) continue;
    Sums sum[Registers];
#pragma GCC unroll 8
    for (int u = 0; u < Registers; ++u) sum[u] = zero_sums();
    for (; at < list.count && list.steps[at] < first + chain; ++at) {
      const int32_t* row = rows + list.steps[at] * step_stride;
      const Sums word = spread_word(list.words[at]);
#pragma GCC unroll 8
      for (int u = 0; u < Registers; ++u) multiply(sum[u], load_words(row + u * sum_lanes), word);
    }
#pragma GCC unroll 8
    for (int u = 0; u < Registers; ++u) total[u] = flushed(total[u], sum[u], flush);
  }
  int32_t values[Registers * sum_lanes];
  for (int u = 0; u < Registers; ++u) store_words(values + u * sum_lanes, total[u]);
  for (int64_t j = 0; j < columns; ++j) out[j * digit_lanes] = values[j];
}

void listed_products(const int32_t* rows, int64_t step_stride, int64_t columns, const regimes::ListedWords& list, int64_t steps,
                     int64_t chain, int shift, double* out) {
  constexpr int registers = 8;
  int64_t j = 0;
  for (; j + registers * sum_lanes <= columns; j += registers * sum_lanes) {
    listed_tile<registers>(rows + j, step_stride, list, steps, chain, shift, registers * sum_lanes, out + j * digit_lanes);
  }
  for (; j < columns; j += sum_lanes) {
    const int64_t left = columns - j < sum_lanes ? columns - j : sum_lanes;
    listed_tile<1>(rows + j, step_stride, list, steps, chain, shift, left, out + j * digit_lanes);
  }
}

// Of a row alone (the mixer "lowbias32" of Ellis's search for hash functions).
inline uint32_t bits_of(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x7feb352du;
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  return h ^ (h >> 16);
}

// Sixteen columns of a row rounded up or down at random, and their variances added.
inline Wholes round_row(const float* values, Floats shrink, Floats unit, Floats inverse, const int32_t* bits, uint32_t own, Floats& variance) {
  const Floats scaled = load(values) * shrink * inverse, fraction = (scaled - floats_of(floored(scaled))) * unit;
  variance = multiply_add(fraction, unit - fraction, variance);
  return floored(scaled + fractions_of(bits, own));
}

double largest_sum(Floats parts, double largest) {
  float each[digit_lanes];
  store(each, parts);
  double sum = 0;
  for (const float part : each) sum += static_cast<double>(part);
  return largest < sum ? sum : largest;
}

double pack_rows(const float* values, int64_t first_row, int rows, int64_t columns, const float* shrink, const float* unit,
                 const float* inverse, const int32_t* bits, int32_t* words, int64_t stride) {
  double largest = 0;
  for (int r = 0; r < rows; r += 2) {
    const float *low = values + r * columns, *high = r + 1 < rows ? low + columns : nullptr;
    const uint32_t of_low = bits_of(static_cast<uint32_t>(first_row + r) + 1), of_high = bits_of(static_cast<uint32_t>(first_row + r) + 2);
    int32_t* to = words + r / 2 * stride;
    const Floats shrink_low = spread(shrink[r]), shrink_high = spread(high != nullptr ? shrink[r + 1] : 0);
    Floats variance_low = spread(0), variance_high = variance_low;
    const auto sixteen = [&](const float* first, const float* second, const float* step, const float* factor, const int32_t* column, int32_t* out) {
      const Floats units = load(step), factors = load(factor);
      const Wholes of_first = round_row(first, shrink_low, units, factors, column, of_low, variance_low);
      store_joined(out, of_first, second != nullptr ? round_row(second, shrink_high, units, factors, column, of_high, variance_high) : no_wholes());
    };
    int64_t j = 0;
    for (; j + digit_lanes <= columns; j += digit_lanes) {
      sixteen(low + j, high != nullptr ? high + j : nullptr, unit + j, inverse + j, bits + j, to + j);
    }
    if (j < columns) {
      float first[digit_lanes] = {}, second[digit_lanes] = {}, step[digit_lanes] = {}, factor[digit_lanes] = {};
      int32_t column[digit_lanes] = {}, out[digit_lanes];
      for (int64_t k = j; k < columns; ++k) {
        first[k - j] = low[k];
        second[k - j] = high != nullptr ? high[k] : 0;
        step[k - j] = unit[k];
        factor[k - j] = inverse[k];
        column[k - j] = bits[k];
      }
      sixteen(first, high != nullptr ? second : nullptr, step, factor, column, out);
      for (int64_t k = j; k < columns; ++k) to[k] = out[k - j];
    }
    largest = largest_sum(variance_high, largest_sum(variance_low, largest));
  }
  return largest;
}

void pack_bytes(const uint8_t* rows, int64_t row_stride, int count, int64_t columns, const uint8_t* centre, int32_t* words, int64_t stride) {
  for (int r = 0; r < count; r += 2) {
    const uint8_t *low = rows + r * row_stride, *high = r + 1 < count ? low + row_stride : nullptr;
    for (int64_t j = 0; j < columns; j += digit_lanes) {
      store_joined(words + r / 2 * stride + j, bytes_less(low + j, centre + j), high != nullptr ? bytes_less(high + j, centre + j) : no_wholes());
    }
  }
}

void pack_weights(const float* weights, int rows, int64_t chain, float most_sum, const float* dither, const float* half_square,
                  int32_t* words, double* factor, double* variance) {
  const Floats zero = spread(0);
  Floats most = zero, heaviest = zero;
  const int span = static_cast<int>(2 * chain);
  for (int first = 0; first < rows; first += span) {
    const int end = rows - first < span ? rows : first + span;
    Floats sum = zero;
    for (int r = first; r < end; ++r) {
      const Floats weight = load(weights + r * digit_lanes);
      sum = sum + weight;
      heaviest = max(heaviest, weight);
    }
    most = max(most, sum);
  }
  // Of lanes without weight: so large that their steps do not count.
  const Floats largest = spread(32765.0f), room = spread((most_sum - static_cast<float>(span)) * (1 - 0x1p-14f)), least = spread(1e-30f);
  const Floats inverse = max(max(most / room, heaviest / largest), where_above(least, most, least));
  const Floats scale = spread(1.0f) / inverse;
  Floats spread_of = zero;
  for (int r = 0; r < rows; r += 2) {
    Wholes half[2] = {no_wholes(), no_wholes()};
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      if (r + i == rows) break;
      const Floats scaled = load(weights + (r + i) * digit_lanes) * scale;
      half[i] = floored(scaled + spread(dither[r + i]));
      const Floats fraction = scaled - floats_of(floored(scaled));
      spread_of = multiply_add(subtract_product(fraction, fraction, fraction), spread(2 * half_square[r + i]), spread_of);
    }
    store_joined(words + r / 2 * digit_lanes, half[0], half[1]);
  }
  float scales[digit_lanes], spreads[digit_lanes];
  store(scales, scale);
  store(spreads, spread_of);
  for (int lane = 0; lane < digit_lanes; ++lane) {
    factor[lane] = static_cast<double>(scales[lane]);
    variance[lane] = static_cast<double>(spreads[lane]);
  }
}

// Operation by operation as above.
void pack_single(const float* weights, int rows, int64_t chain, float most_sum, const float* dither, const float* half_square,
                 int32_t* whole, double* factor, double* variance) {
  const int span = static_cast<int>(2 * chain);
  float most = 0, heaviest = 0, spread_of = 0;
  for (int first = 0; first < rows; first += span) {
    const int end = rows - first < span ? rows : first + span;
    float sum = 0;
    for (int r = first; r < end; ++r) {
      sum += weights[r];
      heaviest = heaviest < weights[r] ? weights[r] : heaviest;
    }
    most = most < sum ? sum : most;
  }
  const float room = (most_sum - static_cast<float>(span)) * (1 - 0x1p-14f), by_sum = most / room, by_size = heaviest / 32765.0f;
  const float inverse = by_sum < by_size ? by_size : by_sum, scale = 1.0f / (most <= 1e-30f && inverse < 1e-30f ? 1e-30f : inverse);
  for (int r = 0; r < rows; ++r) {
    const float scaled = weights[r] * scale, fraction = scaled - static_cast<float>(static_cast<int32_t>(scaled));
    whole[r] = static_cast<int32_t>(scaled + dither[r]);
    spread_of = __builtin_fmaf(__builtin_fmaf(-fraction, fraction, fraction), 2 * half_square[r], spread_of);
  }
  *factor = static_cast<double>(scale);
  *variance = static_cast<double>(spread_of);
}

void interleave(const int16_t* rows, int64_t stride, int count, int64_t columns, int32_t* out, int64_t out_stride) {
  for (int r = 0; r < count; r += 2) {
    const int16_t *low = rows + r * stride, *high = r + 1 < count ? low + stride : nullptr;
    for (int64_t j = 0; j < columns; j += digit_lanes) {
      store_joined(out + r / 2 * out_stride + j, wholes_of(low + j), high != nullptr ? wholes_of(high + j) : no_wholes());
    }
  }
}

void pack_scaled(const float* weights, int rows, const float* factor, const float* dither, int chain, float norm_limit, int32_t* words,
                 double* step) {
  Floats largest = spread(0), longest = largest;
  for (int first = 0; first < rows; first += chain) {
    const int end = rows - first < chain ? rows : first + chain;
    Floats square = spread(0);
    for (int r = first; r < end; ++r) {
      const Floats value = load(weights + r * digit_lanes) * spread(factor[r]);
      largest = max(largest, value);
      square = multiply_add(value, value, square);
    }
    longest = max(longest, square);
  }
  // A rounding adds at most 1 to an entry, sqrt(chain) to a norm; the last factor covers the float32 roundings here.
  const float slack = static_cast<float>(chain);  // >= sqrt(chain)
  const Floats by_norm = square_root(longest) / spread(norm_limit - slack);
  const Floats by_size = largest / spread(static_cast<float>(regimes::word_limit - 1));
  const Floats unit = max(by_norm, by_size) * spread(1.0001f), least = spread(1e-30f);
  const Floats inverse = where_above(unit, least, spread(1.0f) / max(unit, least));
  float steps[digit_lanes];
  store(steps, where_above(unit, least, unit));
  for (int lane = 0; lane < digit_lanes; ++lane) step[lane] = static_cast<double>(steps[lane]);
  const auto word_of = [&](int row) {
    return floored(multiply_add(load(weights + row * digit_lanes), inverse * spread(factor[row]), spread(dither[row])));
  };
  for (int r = 0; r < rows; r += 2) store_joined(words + r / 2 * digit_lanes, word_of(r), r + 1 < rows ? word_of(r + 1) : no_wholes());
}

constexpr regimes::WordKernels word_table{products, interleave, pack_scaled, fold_columns, listed_products, pack_rows, pack_bytes, pack_weights,
                                          pack_single};

}  // namespace
