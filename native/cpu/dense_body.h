// The kernels of dense.h, written once and compiled per instruction set by dense_<set>.cpp, which defines, in an unnamed namespace:
//   Register, register_lanes   float32 lanes of one register: 16, 8 or 4
//   tile_registers             registers of queries per tile; tile_rows * tile_registers sums live in registers
//   packs_columns              whether columns of rows are copied side by side before they meet several registers of weights
//   zero_register(), load_register(p), store_register(p, x), spread_register(x), fuse(sum, x, y)
//   larger(x, y), where_at_least(x, least, value): value where x >= least, else 0
//   load_doubled(p), narrowed_difference(x, y)   as many float64 lanes; float32(x - y)
// Element by element, GCC's and Clang's vector types serve every set. No inline function of the standard library here, for the reason
// given in kernels_body.h.
// Over 400 lines because all kernels share the registers and the chains.
#pragma once

#include "dense.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors pass between functions of this file alone

namespace {

using regimes::DataView;
using regimes::DenseFold;
using regimes::DenseSums;
using regimes::digit_lanes;
using regimes::Dtype;
using regimes::ListedRows;

typedef double Doubles __attribute__((vector_size(64), aligned(8)));
typedef double QuarterDoubles __attribute__((vector_size(32), aligned(8)));  // what AVX2 compares in one instruction
typedef float QuarterSingles __attribute__((vector_size(16), aligned(4)));
typedef int32_t QuarterWholes __attribute__((vector_size(16), aligned(4)));
typedef float Singles __attribute__((vector_size(32), aligned(4)));
typedef int32_t Wholes __attribute__((vector_size(sizeof(Register)), aligned(4)));

template <class Vector, class Value>
inline Vector load_vector(const Value* p) {
  Vector x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
// By value: GCC 12 gives a temporary behind a reference a slot without the alignment of a vector.
template <class Vector, class Value>
inline __attribute__((always_inline)) void store_vector(Value* p, Vector x) {
  __builtin_memcpy(p, &x, sizeof(x));
}

void logits(double* products, int rows, const double* slope, const double* bias, double* max) {
  constexpr int width = 4, parts = digit_lanes / width;
  QuarterDoubles factor[parts], largest[parts];
#pragma GCC unroll 4
  for (int i = 0; i < parts; ++i) {
    factor[i] = load_vector<QuarterDoubles>(slope + i * width);
    largest[i] = QuarterDoubles{} - 1.7e308;
  }
  for (int r = 0; r < rows; ++r) {
    double* row = products + r * digit_lanes;
#pragma GCC unroll 4
    for (int i = 0; i < parts; ++i) {
      const QuarterDoubles logit = load_vector<QuarterDoubles>(row + i * width) * factor[i] + bias[r];
      largest[i] = logit > largest[i] ? logit : largest[i];
      store_vector(row + i * width, logit);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < parts; ++i) store_vector(max + i * width, largest[i]);
}

// x y + z
inline Register times_plus(Register x, Register y, float z) {
  Register sum = spread_register(z);
  fuse(sum, x, y);
  return sum;
}

// exp(x) for -87 <= x <= 0, relative error below 4 2^-24: x = n ln 2 + r, Taylor's polynomial of degree 7 on |r| <= ln 2 / 2.
inline Register exponential_of(Register x) {
  const Register shifted = times_plus(x, spread_register(0x1.715476p+0f), 0x1.8p23f), n = shifted - spread_register(0x1.8p23f);
  Register r = x;
  fuse(r, n, spread_register(-0x1.62e4p-1f));  // ln 2 in two parts
  fuse(r, n, spread_register(-0x1.7f7d1cp-20f));
  Register q = spread_register(1.98412698e-4f);
  q = times_plus(q, r, 1.38888889e-3f);
  q = times_plus(q, r, 8.33333333e-3f);
  q = times_plus(q, r, 4.16666667e-2f);
  q = times_plus(q, r, 1.66666667e-1f);
  q = times_plus(q, r, 0.5f);
  Register value = r;
  fuse(value, q, r * r);
  value = value + spread_register(1.0f);
  return (Register)((Wholes)value + ((Wholes)shifted << 23));
}

constexpr int sum_chain = regimes::strip_rows;  // rows whose sums are formed in 32 bits

// Sums of a chain, a lane each, and what they become in float64: totals[sum][lane], in the order of the members.
struct ChainSums {
  Register rest, drop, squares, second, fourth, lost;  // drop: sum w (logit - max)
  Wholes total, kept;                                  // total: at most 32 times 2^23
};
constexpr int sum_kinds = 8;

template <class Quarter, class Part>
inline void add_lanes(double* totals, Part part) {
  Quarter quarters[register_lanes / 4];
  __builtin_memcpy(quarters, &part, sizeof(part));
#pragma GCC unroll 4
  for (int i = 0; i < register_lanes / 4; ++i) {
    store_vector(totals + 4 * i, load_vector<QuarterDoubles>(totals + 4 * i) + __builtin_convertvector(quarters[i], QuarterDoubles));
  }
}

inline void add_chain(double (*totals)[digit_lanes], const ChainSums& sums, int first_lane) {
  add_lanes<QuarterSingles>(totals[0] + first_lane, sums.rest);
  add_lanes<QuarterSingles>(totals[1] + first_lane, sums.drop);
  add_lanes<QuarterSingles>(totals[2] + first_lane, sums.squares);
  add_lanes<QuarterSingles>(totals[3] + first_lane, sums.second);
  add_lanes<QuarterSingles>(totals[4] + first_lane, sums.fourth);
  add_lanes<QuarterSingles>(totals[5] + first_lane, sums.lost);
  add_lanes<QuarterWholes>(totals[6] + first_lane, sums.total);
  add_lanes<QuarterWholes>(totals[7] + first_lane, sums.kept);
}

// Rows of a chain, register_lanes of the 16 lanes. The half squares are those of rows, or [row][16].
template <bool Whole, bool Stored, bool Strip>
inline __attribute__((always_inline)) void weigh_chain(const double* logits, int rows, const double* max, const float* least,
                                                       const float* half_square, float limit, float* weights, int32_t* integers,
                                                       ChainSums& result) {
  const auto top = load_doubled(max);
  const Register lowest = load_register(least), bottom = spread_register(-87.0f), faint = spread_register(-43.0f);
  const Register zero = spread_register(0.0f), half = spread_register(0.5f), scale = spread_register(limit);
  ChainSums sums{zero, zero, zero, zero, zero, zero, Wholes{}, Wholes{}};
  for (int r = 0; r < rows; ++r) {
    const Register x = narrowed_difference(load_doubled(logits + r * digit_lanes), top);
    const Register bounded = larger(x, bottom), value = where_at_least(x, bottom, exponential_of(bounded));
    // Squares of smaller weights would not be normal numbers.
    const Register strong = where_at_least(x, faint, value), stored = where_at_least(x, lowest, value);
    sums.rest = sums.rest + value;
    fuse(sums.drop, value, bounded);
    fuse(sums.squares, strong, strong);
    const Register moment = strong * (Strip ? load_register(half_square + r * digit_lanes) : spread_register(half_square[r]));
    sums.second = sums.second + moment;
    if constexpr (!Whole) fuse(sums.fourth, moment, moment);
    if constexpr (Stored) store_register(weights + r * digit_lanes, stored);
    if constexpr (Whole) {
      Register rounded = half;
      fuse(rounded, stored, scale);
      const Wholes integer = __builtin_convertvector(rounded, Wholes);
      Register difference = -__builtin_convertvector(integer, Register);
      fuse(difference, value, scale);
      sums.lost = sums.lost + (Register)((Wholes)difference & 0x7fffffff);
      sums.total += integer;
      sums.kept -= (Wholes)(integer != 0);
      __builtin_memcpy(integers + r * digit_lanes, &integer, sizeof(integer));
    } else {
      sums.kept -= (Wholes)(stored != zero);
    }
  }
  result = sums;
}

// The maximum itself, exp(0) = 1, is left out of rest and squares.
inline void write_sums(const double (*totals)[digit_lanes], int lane, int to, double max, DenseSums* sums) {
  regimes::LaneSums& half = sums->halves[to / 8];
  half.max[to % 8] = max;
  half.rest[to % 8] = totals[0][lane] - 1;
  half.gap[to % 8] = -totals[1][lane];
  half.gap_squared[to % 8] = 0;
  half.squares[to % 8] = totals[2][lane] - 1;
  sums->second[to] = totals[3][lane];
  sums->fourth[to] = totals[4][lane];
  sums->lost[to] = totals[5][lane];
  sums->total[to] = totals[6][lane];
  sums->kept[to] = static_cast<int32_t>(totals[7][lane]);
}

template <bool Whole, bool Stored>
void weights_of(const double* logits, int rows, const double* max, const float* least, const float* half_square, float limit, float* weights,
                int32_t* integers, int lanes_used, DenseSums* sums) {
  alignas(64) double totals[sum_kinds][digit_lanes] = {};
  for (int lane = 0; lane < lanes_used; lane += register_lanes) {
    for (int first = 0; first < rows; first += sum_chain) {
      const int64_t at = int64_t{first} * digit_lanes + lane;
      ChainSums chain;
      weigh_chain<Whole, Stored, false>(logits + at, rows - first < sum_chain ? rows - first : sum_chain, max + lane, least + lane,
                                        half_square + first, limit, Stored ? weights + at : nullptr, Whole ? integers + at : nullptr, chain);
      add_chain(totals, chain, lane);
    }
  }
  for (int lane = 0; lane < lanes_used; ++lane) write_sums(totals, lane, lane, max[lane], sums);
}

void weights(const double* logits, int rows, const double* max, const float* least, const float* half_square, float limit, float* weights,
             int32_t* integers, int lanes_used, DenseSums* sums) {
  if (!integers) return weights_of<false, true>(logits, rows, max, least, half_square, limit, weights, integers, lanes_used, sums);
  if (weights) return weights_of<true, true>(logits, rows, max, least, half_square, limit, weights, integers, lanes_used, sums);
  weights_of<true, false>(logits, rows, max, least, half_square, limit, weights, integers, lanes_used, sums);
}

template <bool Whole>
void strip_weights_of(const double* logits, const double* max, const float* least, const float* half_square, float limit, float* weights,
                      int32_t* integers, int to, DenseSums* sums) {
  alignas(64) double totals[sum_kinds][digit_lanes] = {};
  for (int lane = 0; lane < digit_lanes; lane += register_lanes) {
    ChainSums chain;
    weigh_chain<Whole, true, true>(logits + lane, sum_chain, max, least, half_square + lane, limit, weights + lane,
                                   Whole ? integers + lane : nullptr, chain);
    add_chain(totals, chain, lane);
  }
  for (int kind = 0; kind < sum_kinds; ++kind) {
    for (int chain = 1; chain < digit_lanes; ++chain) totals[kind][0] += totals[kind][chain];
  }
  write_sums(totals, 0, to, max[0], sums);
}

void strip_weights(const double* logits, double max, float least, const float* half_square, float limit, float* weights, int32_t* integers,
                   int to, DenseSums* sums) {
  double tops[register_lanes];
  float lowest[register_lanes];
  for (int lane = 0; lane < register_lanes; ++lane) {
    tops[lane] = max;
    lowest[lane] = least;
  }
  if (integers) return strip_weights_of<true>(logits, tops, lowest, half_square, limit, weights, integers, to, sums);
  strip_weights_of<false>(logits, tops, lowest, half_square, limit, weights, integers, to, sums);
}

constexpr int tile_rows = 6;
constexpr int registers_per_group = digit_lanes / register_lanes;
constexpr int tile_floats = tile_rows * tile_registers * register_lanes;
constexpr int panel_tiles = 22;            // rows of a panel stay in the second-level cache while groups pass
constexpr int64_t panel_lanes_bytes = 65536;  // lanes of the steps that a panel meets at once: they stay near the first-level cache

// result[u][r] += sums of Rows rows and Count registers, in chains, or =. A function of its own: see digits_body.h.
template <int Rows, int Count>
[[gnu::noinline]] void float_tile(const float* values, int64_t row_stride, int64_t step_stride, int64_t steps, int64_t chain,
                                  const float* const* lanes, bool fresh, float* result) {
  const float* from[Count];
#pragma GCC unroll 8
  for (int u = 0; u < Count; ++u) from[u] = lanes[u];
  for (int64_t start = 0; start < steps; start += chain) {
    const int64_t end = steps - start < chain ? steps : start + chain;
    Register sum[Rows][Count];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int u = 0; u < Count; ++u) sum[r][u] = zero_register();
    for (int64_t s = start; s < end; ++s) {
      Register query[Count];
#pragma GCC unroll 8
      for (int u = 0; u < Count; ++u) query[u] = load_register(from[u] + s * digit_lanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Register value = spread_register(values[r * row_stride + s * step_stride]);
#pragma GCC unroll 8
        for (int u = 0; u < Count; ++u) fuse(sum[r][u], value, query[u]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int u = 0; u < Count; ++u) {
        float* to = result + (u * Rows + r) * register_lanes;
        store_register(to, fresh && start == 0 ? sum[r][u] : sum[r][u] + load_register(to));
      }
  }
}

template <int Count>
void float_rows(const float* values, int64_t row_stride, int64_t step_stride, int rows, int64_t steps, int64_t chain,
                const float* const* lanes, bool fresh, float* result) {
  switch (rows) {
    case 1:
      return float_tile<1, Count>(values, row_stride, step_stride, steps, chain, lanes, fresh, result);
    case 2:
      return float_tile<2, Count>(values, row_stride, step_stride, steps, chain, lanes, fresh, result);
    case 3:
      return float_tile<3, Count>(values, row_stride, step_stride, steps, chain, lanes, fresh, result);
    case 4:
      return float_tile<4, Count>(values, row_stride, step_stride, steps, chain, lanes, fresh, result);
    case 5:
      return float_tile<5, Count>(values, row_stride, step_stride, steps, chain, lanes, fresh, result);
    default:
      return float_tile<tile_rows, Count>(values, row_stride, step_stride, steps, chain, lanes, fresh, result);
  }
}

// take(sums, row, rows, register, registers, first) receives the sums of every tile over every `span` of steps, in their order. Tiles of rows lie
// tile_stride apart. The order of panels, groups, parts of spans and tiles changes no bit.
template <class Take>
void tiled_products(const float* values, int64_t tile_stride, int64_t row_stride, int64_t step_stride, int count, int64_t steps,
                    const float* lanes, int groups, int64_t chain, int64_t span, const Take& take) {
  alignas(64) float sums[panel_tiles * tile_floats];
  const int registers = groups * registers_per_group, tiles = (count + tile_rows - 1) / tile_rows;
  for (int panel = 0; panel < tiles; panel += panel_tiles) {
    const int panel_end = panel + panel_tiles < tiles ? panel + panel_tiles : tiles;
    for (int u = 0; u < registers; u += tile_registers) {
      const int taken = registers - u < tile_registers ? registers - u : tile_registers;
      const int64_t fitting = panel_lanes_bytes / (taken * register_lanes * static_cast<int64_t>(sizeof(float))) / chain * chain;
      const int64_t part = fitting < chain ? chain : fitting;
      for (int64_t start = 0; start < steps; start += span) {
        const int64_t end = steps - start < span ? steps : start + span;
        for (int64_t s = start; s < end; s += part) {
          const int64_t length = end - s < part ? end - s : part;
          const float* from[tile_registers] = {};
          for (int i = 0; i < taken; ++i) {
            const int group = (u + i) / registers_per_group, lane = (u + i) % registers_per_group * register_lanes;
            from[i] = lanes + (group * steps + s) * digit_lanes + lane;
          }
          for (int tile = panel; tile < panel_end; ++tile) {
            const int rows = count - tile * tile_rows < tile_rows ? count - tile * tile_rows : tile_rows;
            const float* first = values + tile * tile_stride + s * step_stride;
            float* result = sums + (tile - panel) * tile_floats;
            switch (taken) {
              case 1:
                float_rows<1>(first, row_stride, step_stride, rows, length, chain, from, s == start, result);
                break;
              case 2:
                float_rows<2>(first, row_stride, step_stride, rows, length, chain, from, s == start, result);
                break;
              case 3:
                if constexpr (tile_registers > 2) float_rows<3>(first, row_stride, step_stride, rows, length, chain, from, s == start, result);
                break;
              default:
                float_rows<tile_registers>(first, row_stride, step_stride, rows, length, chain, from, s == start, result);
            }
          }
        }
        for (int tile = panel; tile < panel_end; ++tile) {
          const int row = tile * tile_rows, rows = count - row < tile_rows ? count - row : tile_rows;
          take(sums + (tile - panel) * tile_floats, row, rows, u, taken, start == 0);
        }
      }
    }
  }
}

void products(const float* values, int64_t row_stride, int64_t step_stride, int count, int64_t steps, const float* lanes, int groups,
              int64_t chain, int64_t chains, double* out, int64_t out_rows) {
  const auto add = [=](const float* sums, int row, int tile, int first_register, int taken, bool first) {
    for (int u = 0; u < taken; ++u) {
      const int group = (first_register + u) / registers_per_group, lane = (first_register + u) % registers_per_group * register_lanes;
      for (int r = 0; r < tile; ++r) {
        const float* sum = sums + (u * tile + r) * register_lanes;
        double* total = out + (group * out_rows + row + r) * digit_lanes + lane;
#pragma GCC unroll 4
        for (int i = 0; i < register_lanes; i += 4) {
          const QuarterDoubles part = __builtin_convertvector(load_vector<QuarterSingles>(sum + i), QuarterDoubles);
          store_vector(total + i, first ? part : load_vector<QuarterDoubles>(total + i) + part);
        }
      }
    }
  };
  tiled_products(values, tile_rows * row_stride, row_stride, step_stride, count, steps, lanes, groups, chain, chain * chains, add);
}

// values [rows][columns] in tiles of columns, [tile][rows][tile_rows]. Eight values are copied where six belong: the next row overwrites
// the others.
[[maybe_unused]] void pack_columns(const float* values, int rows, int64_t columns, float* packed) {
  constexpr int64_t together = 8;  // tiles whose columns share the lines of a row
  const int64_t tiles = (columns + tile_rows - 1) / tile_rows;
  for (int64_t first = 0; first < tiles; first += together) {
    const int64_t end = tiles - first < together ? tiles : first + together;
    for (int r = 0; r < rows - 1; ++r) {
      for (int64_t tile = first; tile < end; ++tile) {
        store_vector(packed + (tile * rows + r) * tile_rows, load_vector<Singles>(values + r * columns + tile * tile_rows));
      }
    }
    for (int64_t tile = first; tile < end; ++tile) {
      const float* last = values + (rows - 1) * columns + tile * tile_rows;
      for (int j = 0; j < tile_rows; ++j) packed[(tile * rows + rows - 1) * tile_rows + j] = last[j];
    }
  }
}

void fold_columns(const float* values, float* packed, bool fresh, int64_t columns, int rows, const float* lanes, int groups, int64_t chain, const DenseFold* folds) {
  const auto fold = [=](const float* sums, int row, int tile, int first_register, int taken, bool) {
    for (int u = 0; u < taken; ++u) {
      const DenseFold& to = folds[(first_register + u) / registers_per_group];
      const int lane = (first_register + u) % registers_per_group * register_lanes;
      for (int i = 0; i < register_lanes; i += 4) {
        const QuarterDoubles keep = load_vector<QuarterDoubles>(to.keep + lane + i), factor = load_vector<QuarterDoubles>(to.factor + lane + i);
        for (int r = 0; r < tile; ++r) {
          double* total = to.sums + (row + r) * digit_lanes + lane + i;
          const auto part = __builtin_convertvector(load_vector<QuarterSingles>(sums + (u * tile + r) * register_lanes + i), QuarterDoubles);
          store_vector(total, load_vector<QuarterDoubles>(total) * keep + part * factor);
        }
      }
    }
  };
  if constexpr (packs_columns) {
    if (fresh) pack_columns(values, rows, columns, packed);
    tiled_products(packed, int64_t{tile_rows} * rows, 1, tile_rows, static_cast<int>(columns), rows, lanes, groups, chain, rows, fold);
  } else {
    tiled_products(values, tile_rows, 1, columns, static_cast<int>(columns), rows, lanes, groups, chain, rows, fold);
  }
}

constexpr int listed_registers = 4 * tile_registers;

// Count registers of columns of a list, in the chains of `float_tile`: rows that are not listed would add zeros.
template <int Count>
[[gnu::noinline]] void listed_tile(const float* values, int64_t stride, const ListedRows& list, int64_t steps, int64_t chain,
                                   int64_t chains, int64_t columns, double* out) {
  int at = 0;
  for (int64_t span = 0; span < steps; span += chain * chains) {
    float sums[Count * register_lanes] = {};
    for (int64_t start = span; start < span + chain * chains && start < steps; start += chain) {
      if (at == list.count || list.rows[at] >= start + chain) continue;
      Register sum[Count];
#pragma GCC unroll 16
      for (int u = 0; u < Count; ++u) sum[u] = zero_register();
      for (; at < list.count && list.rows[at] < start + chain; ++at) {
        const float* row = values + list.rows[at] * stride;
        const Register weight = spread_register(list.weights[at]);
#pragma GCC unroll 16
        for (int u = 0; u < Count; ++u) fuse(sum[u], load_register(row + u * register_lanes), weight);
      }
#pragma GCC unroll 16
      for (int u = 0; u < Count; ++u) {
        store_register(sums + u * register_lanes, sum[u] + load_register(sums + u * register_lanes));
      }
    }
    for (int64_t j = 0; j < columns; ++j) out[j * digit_lanes] = span == 0 ? sums[j] : out[j * digit_lanes] + sums[j];
  }
}

void listed_products(const float* values, int64_t stride, int64_t columns, const ListedRows& list, int64_t steps, int64_t chain,
                     int64_t chains, double* out) {
  constexpr int64_t whole = listed_registers * register_lanes;
  int64_t j = 0;
  for (; j + whole <= columns; j += whole) {
    listed_tile<listed_registers>(values + j, stride, list, steps, chain, chains, whole, out + j * digit_lanes);
  }
  for (; j < columns; j += register_lanes) {
    const int64_t left = columns - j < register_lanes ? columns - j : register_lanes;
    listed_tile<1>(values + j, stride, list, steps, chain, chains, left, out + j * digit_lanes);
  }
}

void accumulate(double* sums, const double* products, int64_t columns, const double* keep, const double* factor, const double* total,
                const uint8_t* centre) {
  for (int half = 0; half < digit_lanes; half += 8) {
    const Doubles kept = load_vector<Doubles>(keep + half), gain = load_vector<Doubles>(factor + half);
    const Doubles whole = load_vector<Doubles>(total + half);
    for (int64_t j = 0; j < columns; ++j) {
      double* sum = sums + j * digit_lanes + half;
      Doubles product = load_vector<Doubles>(products + j * digit_lanes + half);
      if (centre) product -= whole * static_cast<double>(centre[j]);
      store_vector(sum, load_vector<Doubles>(sum) * kept + product * gain);
    }
  }
}

template <class Stored>
void centre_rows_of(const DataView& data, int64_t first_row, int rows, const double* origin, float* values, double* half_square) {
  const double scale = data.scale, shift = data.shift;
  const int64_t columns = data.columns;
  for (int r = 0; r < rows; ++r) {
    const Stored* stored = static_cast<const Stored*>(data.stored) + (first_row + r) * columns;
    float* row = values + r * columns;
    double squares[8] = {};
    int64_t j = 0;
    for (; j + 8 <= columns; j += 8) {
      for (int lane = 0; lane < 8; ++lane) {
        const double centred = static_cast<double>(stored[j + lane]) * scale + shift - origin[j + lane];
        row[j + lane] = static_cast<float>(centred);
        squares[lane] += centred * centred;
      }
    }
    for (; j < columns; ++j) {
      const double centred = static_cast<double>(stored[j]) * scale + shift - origin[j];
      row[j] = static_cast<float>(centred);
      squares[j % 8] += centred * centred;
    }
    double square = 0;
    for (int lane = 0; lane < 8; ++lane) square += squares[lane];
    half_square[r] = square / 2;
  }
}

void centre_rows(const DataView& data, int64_t first_row, int rows, const double* origin, float* values, double* half_square) {
  switch (data.dtype) {
    case Dtype::u8:
      return centre_rows_of<uint8_t>(data, first_row, rows, origin, values, half_square);
    case Dtype::f16:
      return centre_rows_of<regimes::Half>(data, first_row, rows, origin, values, half_square);
    case Dtype::f32:
      return centre_rows_of<float>(data, first_row, rows, origin, values, half_square);
    case Dtype::f64:
      return centre_rows_of<double>(data, first_row, rows, origin, values, half_square);
  }
}

void centre_bytes(const uint8_t* bytes, int64_t stride, int rows, int64_t columns, const uint8_t* centre, float* values) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* from = bytes + r * stride;
    float* row = values + r * columns;
    for (int64_t j = 0; j < columns; ++j) row[j] = static_cast<float>(static_cast<int32_t>(from[j]) - static_cast<int32_t>(centre[j]));
  }
}

constexpr regimes::DenseKernels dense_table{logits, weights, strip_weights, products, fold_columns, listed_products, accumulate, centre_rows, centre_bytes};

}  // namespace
