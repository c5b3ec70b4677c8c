// The kernels of dense.h, written once and compiled per instruction set by dense_<set>.cpp, which defines, in an unnamed namespace:
//   Register, register_lanes   float32 lanes of one register: 16, 8 or 4
//   tile_registers             registers of queries per tile; tile_rows * tile_registers sums live in registers
//   packs_columns              whether columns of rows are copied side by side before they meet several registers of weights
//   zero_register(), load_register(p), store_register(p, x), spread_register(x), fuse(sum, x, y)
//   larger(x, y), where_at_least(x, least, value): value where x >= least, else 0
//   Eight, spread_eight(x), fuse_eight(sum, x, y), widened_bytes(p)   eight float32 lanes; the same of eight bytes
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

}  // namespace

#include "dense_weights_body.h"

namespace {

constexpr int tile_rows = 6;
constexpr int registers_per_group = digit_lanes / register_lanes;
constexpr int tile_floats = tile_rows * tile_registers * register_lanes;
constexpr int panel_tiles = 22;            // rows of a panel stay in the second-level cache while groups pass
constexpr int64_t panel_lanes_bytes = 65536;  // lanes of the steps that a panel meets at once: they stay near the first-level cache

// result[u][r] += sums of Rows rows and Count registers, in chains, or =. A function of its own: see digits_body.h.
template <int Rows, int Count>
[[gnu::noinline]] void float_tile(const float* values, int64_t row_stride, int64_t step_stride, int64_t steps, int64_t chain,
                                  const float* shrink, const float* const* lanes, bool fresh, float* result) {
  const float* from[Count];
#pragma GCC unroll 8
  for (int u = 0; u < Count; ++u) from[u] = lanes[u];
  for (int64_t start = 0, link = 0; start < steps; start += chain, ++link) {
    const Register back = spread_register(shrink != nullptr ? shrink[link] : 1.0f);
    const int64_t end = steps - start < chain ? steps : start + chain;
    Register sum[Rows][Count];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int u = 0; u < Count; ++u) sum[r][u] = zero_register();
    for (int64_t s = start; s < end; ++s) {
      // Columns of many rows: the next line of each, which no stride tells the hardware.
      if (row_stride == 1) __builtin_prefetch(values + s * step_stride + 16);
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
        Register total = fresh && start == 0 ? zero_register() : load_register(to);
        fuse(total, sum[r][u], back);
        store_register(to, total);
      }
  }
}

template <int Count>
void float_rows(const float* values, int64_t row_stride, int64_t step_stride, int rows, int64_t steps, int64_t chain, const float* shrink,
                const float* const* lanes, bool fresh, float* result) {
  switch (rows) {
    case 1:
      return float_tile<1, Count>(values, row_stride, step_stride, steps, chain, shrink, lanes, fresh, result);
    case 2:
      return float_tile<2, Count>(values, row_stride, step_stride, steps, chain, shrink, lanes, fresh, result);
    case 3:
      return float_tile<3, Count>(values, row_stride, step_stride, steps, chain, shrink, lanes, fresh, result);
    case 4:
      return float_tile<4, Count>(values, row_stride, step_stride, steps, chain, shrink, lanes, fresh, result);
    case 5:
      return float_tile<5, Count>(values, row_stride, step_stride, steps, chain, shrink, lanes, fresh, result);
    default:
      return float_tile<tile_rows, Count>(values, row_stride, step_stride, steps, chain, shrink, lanes, fresh, result);
  }
}

// take(sums, row, rows, register, registers, first) receives the sums of every tile over every `span` of steps, in their order.
// Tiles of rows lie tile_stride apart. The order of panels, groups, parts of spans and tiles changes no bit.
template <class Take>
void tiled_products(const float* values, int64_t tile_stride, int64_t row_stride, int64_t step_stride, int count, int64_t steps,
                    const float* lanes, int groups, int64_t chain, int64_t span, const float* shrink, const Take& take) {
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
            const float* back = shrink != nullptr ? shrink + s / chain : nullptr;
            switch (taken) {
              case 1:
                float_rows<1>(first, row_stride, step_stride, rows, length, chain, back, from, s == start, result);
                break;
              case 2:
                float_rows<2>(first, row_stride, step_stride, rows, length, chain, back, from, s == start, result);
                break;
              case 3:
                if constexpr (tile_registers > 2) {
                  float_rows<3>(first, row_stride, step_stride, rows, length, chain, back, from, s == start, result);
                }
                break;
              default:
                float_rows<tile_registers>(first, row_stride, step_stride, rows, length, chain, back, from, s == start, result);
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
              int64_t chain, int64_t chains, const float* shrink, double* out, int64_t out_rows) {
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
  tiled_products(values, tile_rows * row_stride, row_stride, step_stride, count, steps, lanes, groups, chain, chain * chains, shrink, add);
}

// values [rows][columns] in tiles of columns, [tile][rows][tile_rows], a line apart so that they do not meet in the same cache lines.
constexpr int64_t packed_tile(int64_t rows) { return rows * tile_rows + 16; }

// Eight values are copied where six belong: the next row overwrites the others.
[[maybe_unused]] void pack_columns(const float* values, int rows, int64_t columns, float* packed) {
  for (int r = 0; r < rows; ++r) {
    float* to = packed + r * tile_rows;
    for (int64_t j = 0; j < columns; j += tile_rows, to += packed_tile(rows)) {
      store_vector(to, load_vector<Singles>(values + r * columns + j));
    }
  }
}

void fold_columns(const float* values, float* packed, bool fresh, int64_t columns, int rows, const float* lanes, int groups,
                  int64_t chain, const DenseFold* folds) {
  const auto fold = [=](const float* sums, int row, int tile, int first_register, int taken, bool) {
    for (int u = 0; u < taken; ++u) {
      const DenseFold& to = folds[(first_register + u) / registers_per_group];
      const int lane = (first_register + u) % registers_per_group * register_lanes;
      for (int i = 0; i < register_lanes; i += 4) {
        const auto keep = load_vector<QuarterDoubles>(to.keep + lane + i), factor = load_vector<QuarterDoubles>(to.factor + lane + i);
        for (int r = 0; r < tile; ++r) {
          double* total = to.sums + (row + r) * digit_lanes + lane + i;
          const auto sum = load_vector<QuarterSingles>(sums + (u * tile + r) * register_lanes + i);
          const auto part = __builtin_convertvector(sum, QuarterDoubles);
          store_vector(total, load_vector<QuarterDoubles>(total) * keep + part * factor);
        }
      }
    }
  };
  if constexpr (packs_columns) {
    if (fresh) pack_columns(values, rows, columns, packed);
    tiled_products(packed, packed_tile(rows), 1, tile_rows, static_cast<int>(columns), rows, lanes, groups, chain, rows, nullptr, fold);
  } else {
    tiled_products(values, tile_rows, 1, columns, static_cast<int>(columns), rows, lanes, groups, chain, rows, nullptr, fold);
  }
}

typedef uint64_t Words __attribute__((vector_size(32), aligned(8)));

// columns[c][block] = byte 8 block + c of eight rows, which `row` points at: 32 columns. 8 x 8 at a time (Warren, Hacker's Delight, 7-3).
[[gnu::noinline]] void transpose_rows(const uint8_t* const* row, int64_t column, uint64_t (*columns)[4]) {
  Words x[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) x[r] = load_vector<Words>(row[r] + column);
  const auto swap = [](Words& low, Words& high, int shift, uint64_t mask) {
    const Words differing = ((low >> shift) ^ high) & mask;
    high ^= differing;
    low ^= differing << shift;
  };
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) swap(x[k], x[k + 4], 32, 0x00000000ffffffff);
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) swap(x[k + k / 2 * 2], x[k + k / 2 * 2 + 2], 16, 0x0000ffff0000ffff);
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) swap(x[2 * k], x[2 * k + 1], 8, 0x00ff00ff00ff00ff);
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) store_vector(columns[c], x[c]);
}

// Sixty-four rows of 32 columns fill a line of each.
void transpose_bytes(const uint8_t* rows, int64_t stride, int64_t count, int64_t columns, uint8_t* out, int64_t out_stride) {
  alignas(64) uint64_t eight[8][4];
  for (int64_t first = 0; first < count; first += 64) {
    for (int64_t column = 0; column < columns; column += 32) {
      const int64_t taken = columns - column < 32 ? columns - column : 32;
      for (int64_t i = first; i < first + 64 && i < count; i += 8) {
        const uint8_t* row[8];
        for (int64_t r = 0; r < 8; ++r) row[r] = rows + (i + r < count ? i + r : count - 1) * stride;
        transpose_rows(row, column, eight);
        for (int64_t j = 0; j < taken; ++j) __builtin_memcpy(out + (column + j) * out_stride + i, &eight[j % 8][j / 8], 8);
      }
    }
  }
}

constexpr int single_blocks = 4;  // of eight rows

// Eight rows to a register: what a lane of `products` does, for 32 rows at once.
void single_products(const uint8_t* rows, int64_t stride, int count, int64_t d, const float* centre, const float* stretch, const float* x,
                     int64_t chains, const float* shrink, double* out) {
  constexpr int64_t chain = regimes::single_chain;
  alignas(64) uint64_t columns[single_blocks][8][4];
  for (int first = 0; first < count; first += 8 * single_blocks) {
    const uint8_t* row[single_blocks][8];
    alignas(64) float stretches[8 * single_blocks];
    for (int r = 0; r < 8 * single_blocks; ++r) {
      const int at = first + r < count ? first + r : count - 1;
      row[r / 8][r % 8] = rows + at * stride;
      stretches[r] = stretch[at];
    }
    Eight factors[single_blocks];
#pragma GCC unroll 4
    for (int b = 0; b < single_blocks; ++b) factors[b] = load_vector<Eight>(stretches + 8 * b);
    alignas(64) double totals[8 * single_blocks];
    alignas(64) float parts[8 * single_blocks];
    const uint8_t* next = row[0][0] + 8 * single_blocks * stride;  // the rows after these, fetched line by line
    for (int64_t start = 0, link = 0; start < d; start += chain, ++link) {
      const uint8_t* ahead = next + start * 8 * single_blocks;
      for (int64_t line = 0; line < 8 * single_blocks * chain; line += 64) __builtin_prefetch(ahead + line, 0, 2);
#pragma GCC unroll 4
      for (int b = 0; b < single_blocks; ++b) transpose_rows(row[b], start, columns[b]);
      Eight sum[single_blocks];
#pragma GCC unroll 4
      for (int b = 0; b < single_blocks; ++b) sum[b] = Eight{};
      const Eight back = spread_eight(shrink[link]);
      const int64_t length = d - start < chain ? d - start : chain;
      for (int64_t j = 0; j < length; ++j) {
        const Eight middle = spread_eight(centre[start + j]), factor = spread_eight(x[start + j]);
#pragma GCC unroll 4
        for (int b = 0; b < single_blocks; ++b) {
          fuse_eight(sum[b], (widened_bytes(&columns[b][j % 8][j / 8]) - middle) * factors[b], factor);
        }
      }
#pragma GCC unroll 4
      for (int b = 0; b < single_blocks; ++b) {
        Eight total = link % chains == 0 ? Eight{} : load_vector<Eight>(parts + 8 * b);
        fuse_eight(total, sum[b], back);
        store_vector(parts + 8 * b, total);
      }
      if (link % chains + 1 < chains && start + chain < d) continue;
      for (int r = 0; r < 8 * single_blocks; ++r) totals[r] = (link < chains ? 0 : totals[r]) + static_cast<double>(parts[r]);
    }
    for (int r = 0; r < 8 * single_blocks && first + r < count; ++r) out[first + r] = totals[r];
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
void centre_rows_of(const DataView& data, int64_t first_row, int rows, const double* origin, const float* stretch, float* values,
                    double* half_square) {
  const double scale = data.scale, shift = data.shift;
  const int64_t columns = data.columns;
  for (int r = 0; r < rows; ++r) {
    const Stored* stored = static_cast<const Stored*>(data.stored) + (first_row + r) * columns;
    float* row = values + r * columns;
    const auto own = static_cast<double>(stretch[r]);
    double squares[8] = {};
    int64_t j = 0;
    for (; j + 8 <= columns; j += 8) {
      for (int lane = 0; lane < 8; ++lane) {
        const double centred = static_cast<double>(stored[j + lane]) * scale + shift - origin[j + lane];
        row[j + lane] = static_cast<float>(centred * own);
        squares[lane] += centred * centred;
      }
    }
    for (; j < columns; ++j) {
      const double centred = static_cast<double>(stored[j]) * scale + shift - origin[j];
      row[j] = static_cast<float>(centred * own);
      squares[j % 8] += centred * centred;
    }
    double square = 0;
    for (int lane = 0; lane < 8; ++lane) square += squares[lane];
    half_square[r] = square / 2;
  }
}

void centre_rows(const DataView& data, int64_t first_row, int rows, const double* origin, const float* stretch, float* values,
                 double* half_square) {
  switch (data.dtype) {
    case Dtype::u8:
      return centre_rows_of<uint8_t>(data, first_row, rows, origin, stretch, values, half_square);
    case Dtype::f16:
      return centre_rows_of<regimes::Half>(data, first_row, rows, origin, stretch, values, half_square);
    case Dtype::f32:
      return centre_rows_of<float>(data, first_row, rows, origin, stretch, values, half_square);
    case Dtype::f64:
      return centre_rows_of<double>(data, first_row, rows, origin, stretch, values, half_square);
  }
}

void centre_bytes(const uint8_t* bytes, int64_t stride, int rows, int64_t columns, const uint8_t* centre, const float* stretch, float* values) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* from = bytes + r * stride;
    float* row = values + r * columns;
    for (int64_t j = 0; j < columns; ++j) row[j] = static_cast<float>(static_cast<int32_t>(from[j]) - static_cast<int32_t>(centre[j])) * stretch[r];
  }
}

}  // namespace

#include "dense_mixture_body.h"

namespace {

constexpr regimes::DenseKernels dense_table{logits, weights, strip_weights, products, single_products, transpose_bytes, fold_columns, listed_products,
                                            accumulate, centre_rows, centre_bytes, centre_lanes, fix_lanes, component_forms,
                                            scatter_scores};

}  // namespace
