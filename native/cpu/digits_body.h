// The integer products of digits.h over 32-bit sums, written once and compiled per instruction set by digits_<set>.cpp, which
// defines, in an unnamed namespace, and includes this file after them:
//   Digit                signed type of one digit; digit_bits of it are used, balanced: -2^(bits-1) ... 2^(bits-1) - 1
//   planes_full          digits of a query in full precision
//   column_block         columns whose sums cannot leave 32 bits: 255 * 2^(digit_bits - 1) * column_block < 2^31
//   Sums, sum_lanes      register of 32-bit sums, and how many it has: 16, or 8 with two registers per group
//   zero_sums, broadcast4(p), load_digits(p), multiply(sums, row, digits), add_scaled(out, sums, factor, first), total(sums),
//                        totals(four sums, out): the total of each
//   widen, widen_row     whether rows become 16-bit words before they meet digits, and how
//   load_row, single_columns  columns of a row in one register, ready for multiply, and how many
//   tile_units           registers of queries per tile: tile_rows * tile_units sums live in registers
//   queries_at_once      single queries that meet four rows together
// A step multiplies 4 bytes of a row (4 columns, or 2 widened ones) with 4 bytes of digits for each of the 16 queries:
// packed group [plane][step][16 queries][4 bytes]; packed single query [plane][column].
// No inline function of the standard library here, for the reason given in kernels_body.h.
#pragma once

#include "digits.h"

namespace {

using regimes::digit_lanes;

constexpr int tile_rows = 6;
constexpr int64_t columns_per_step = 4 / sizeof(Digit);
constexpr int64_t column_padding = 64;
constexpr int units_per_plane = digit_lanes / sum_lanes;
static_assert(int64_t{255} * (int64_t{1} << (digit_bits - 1)) * column_block < (int64_t{1} << 31));

constexpr int64_t padded(int64_t d) { return (d + column_padding - 1) / column_padding * column_padding; }
constexpr int64_t plane_bytes(int64_t d) { return digit_lanes * padded(d) * static_cast<int64_t>(sizeof(Digit)); }

constexpr int32_t limit_of(int planes) {
  const int32_t base = int32_t{1} << digit_bits, largest = base / 2 - 1;
  int32_t limit = 0;
  for (int p = 0; p < planes; ++p) limit = limit * base + largest;
  return limit;
}

constexpr double plane_factor(int plane) { return static_cast<double>(int64_t{1} << (digit_bits * plane)); }

int64_t group_bytes(int64_t d, int planes) { return planes * plane_bytes(d); }
int64_t single_bytes(int64_t d, int planes) { return planes * padded(d) * static_cast<int64_t>(sizeof(Digit)); }

// The digit of the lowest plane; x becomes what the higher planes hold.
inline Digit split(int32_t& x) {
  constexpr int32_t half = int32_t{1} << (digit_bits - 1);
  const int32_t carried = (x + half) >> digit_bits, digit = x - carried * (2 * half);
  x = carried;
  return static_cast<Digit>(digit);
}

void pack_single(const int32_t* x, int64_t d, int planes, void* packed) {
  Digit* out = static_cast<Digit*>(packed);
  const int64_t width = padded(d);
  if (planes == 1) {  // the digit is the number
    for (int64_t k = 0; k < d; ++k) out[k] = static_cast<Digit>(x[k]);
    for (int64_t k = d; k < width; ++k) out[k] = 0;
    return;
  }
  for (int64_t k = 0; k < width; ++k) {
    int32_t rest = k < d ? x[k] : 0;
    for (int p = 0; p < planes; ++p) out[p * width + k] = split(rest);
  }
}

void pack_group(const int32_t* x, int64_t d, int planes, void* packed) {
  Digit* out = static_cast<Digit*>(packed);
  const int64_t width = padded(d);
  for (int lane = 0; lane < digit_lanes; ++lane) {
    for (int64_t k = 0; k < width; ++k) {
      const int64_t at = (k / columns_per_step * digit_lanes + lane) * columns_per_step + k % columns_per_step;
      int32_t rest = k < d ? x[lane * d + k] : 0;
      for (int p = 0; p < planes; ++p) out[p * width * digit_lanes + at] = split(rest);
    }
  }
}

void pack_lanes(const int32_t* x, int64_t d, int planes, void* packed) {
  constexpr int per_step = static_cast<int>(columns_per_step), bits = 8 * static_cast<int>(sizeof(Digit));
  constexpr int32_t half = int32_t{1} << (digit_bits - 1);
  uint32_t* out = static_cast<uint32_t*>(packed);
  const int64_t steps = padded(d) / per_step, plane_steps = steps * digit_lanes;
  for (int64_t s = 0; s < steps; ++s) {
    int32_t rest[per_step][digit_lanes] = {};
    for (int c = 0; c < per_step && s * per_step + c < d; ++c) {
      __builtin_memcpy(rest[c], x + (s * per_step + c) * digit_lanes, sizeof(rest[c]));
    }
    for (int p = 0; p < planes; ++p) {
      uint32_t* step = out + p * plane_steps + s * digit_lanes;
      for (int lane = 0; lane < digit_lanes; ++lane) {
        uint32_t bytes = 0;
        for (int c = 0; c < per_step; ++c) {
          const int32_t carried = (rest[c][lane] + half) >> digit_bits;
          const auto digit = static_cast<uint32_t>(rest[c][lane] - carried * (2 * half));
          bytes |= (digit & ((uint32_t{1} << bits) - 1)) << (bits * c);
          rest[c][lane] = carried;
        }
        step[lane] = bytes;
      }
    }
  }
}

// A register of digits, and where its sums go: out[row][16] += factor * sum.
struct Unit {
  const char* digits;
  double* out;
  double factor;
  bool first;  // write instead of add
};

// The sums of Rows rows and Units registers over `steps` steps. A function of its own, ending in plain stores, with zeros that the
// compiler cannot merge: otherwise GCC 12 keeps sums in memory.
template <int Rows, int Units>
[[gnu::noinline]] void product_tile(const char* rows, int64_t stride, int64_t steps, const Unit* unit, Sums* result) {
  Sums sum[Rows][Units];
  const char* digits[Units];
#pragma GCC unroll 8
  for (int u = 0; u < Units; ++u) digits[u] = unit[u].digits;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int u = 0; u < Units; ++u) sum[r][u] = zero_sums();
  for (int64_t s = 0; s < steps; ++s) {
    Sums digit[Units];
#pragma GCC unroll 8
    for (int u = 0; u < Units; ++u) digit[u] = load_digits(digits[u] + s * 64);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Sums row = broadcast4(rows + r * stride + s * 4);
#pragma GCC unroll 8
      for (int u = 0; u < Units; ++u) multiply(sum[r][u], row, digit[u]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int u = 0; u < Units; ++u) result[r * Units + u] = sum[r][u];
}

template <int Units>
void product_rows(const char* rows, int64_t stride, int count, int64_t steps, const Unit* unit) {
  Sums sum[tile_rows * Units];
  switch (count) {
    case 1:
      product_tile<1, Units>(rows, stride, steps, unit, sum);
      break;
    case 2:
      product_tile<2, Units>(rows, stride, steps, unit, sum);
      break;
    case 3:
      product_tile<3, Units>(rows, stride, steps, unit, sum);
      break;
    case 4:
      product_tile<4, Units>(rows, stride, steps, unit, sum);
      break;
    case 5:
      product_tile<5, Units>(rows, stride, steps, unit, sum);
      break;
    default:
      product_tile<tile_rows, Units>(rows, stride, steps, unit, sum);
  }
  for (int r = 0; r < count; ++r) {
    // Planes of one group stand side by side and meet in registers.
    for (int u = 0; u < Units;) {
      double* out = unit[u].out + r * digit_lanes;
      Products products = unit[u].first ? zero_products() : load_products(out);
      const double* same = unit[u].out;
      for (; u < Units && unit[u].out == same; ++u) add_scaled(products, sum[r * Units + u], unit[u].factor);
      store_products(out, products);
    }
  }
}

[[maybe_unused]] void group_products(const uint8_t* rows, int64_t stride, int count, int64_t d, const void* packed, int groups,
                                     int planes, double* out, int64_t out_rows) {
  constexpr int64_t word_stride = column_block + 64;  // a multiple of 4096 bytes would put all rows into the same cache lines
  alignas(64) uint16_t words[widen ? tile_rows * word_stride : 1];
  const int units = groups * planes * units_per_plane;
  for (int64_t column = 0; column < d; column += column_block) {
    const int64_t columns = d - column < column_block ? d - column : column_block;
    const int64_t steps = (columns + columns_per_step - 1) / columns_per_step;
    for (int first = 0; first < count; first += tile_rows) {
      const int tile = count - first < tile_rows ? count - first : tile_rows;
      const char* source = reinterpret_cast<const char*>(rows + first * stride + column);
      int64_t source_stride = stride;
      if constexpr (widen) {
        for (int r = 0; r < tile; ++r) widen_row(rows + (first + r) * stride + column, steps * columns_per_step, words + r * word_stride);
        source = reinterpret_cast<const char*>(words);
        source_stride = word_stride * static_cast<int64_t>(sizeof(uint16_t));
      }
      for (int u = 0; u < units;) {
        const int taken = units - u < tile_units ? units - u : tile_units;
        Unit unit[tile_units] = {};
        for (int i = 0; i < taken; ++i) {
          const int part = (u + i) % units_per_plane, run = (u + i) / units_per_plane, plane = run % planes, group = run / planes;
          unit[i].digits = static_cast<const char*>(packed) + run * plane_bytes(d) + column / columns_per_step * 64 + part * 4 * sum_lanes;
          unit[i].out = out + (group * out_rows + first) * digit_lanes + part * sum_lanes;
          unit[i].factor = plane_factor(plane);
          unit[i].first = plane == 0 && column == 0;
        }
        u += taken;
        switch (taken) {
          case 1:
            product_rows<1>(source, source_stride, tile, steps, unit);
            break;
          case 2:
            product_rows<2>(source, source_stride, tile, steps, unit);
            break;
          case 3:
            if constexpr (tile_units > 2) product_rows<3>(source, source_stride, tile, steps, unit);
            break;
          default:
            product_rows<tile_units>(source, source_stride, tile, steps, unit);
        }
      }
    }
  }
}

constexpr int rows_at_once = 4;
constexpr int64_t lines_ahead = 128;  // of rows that follow one another: about what memory delivers during its latency

// The sums of Rows rows and Vectors vectors of digits over columns [from, to); rows share the digits, vectors the rows. Fetched meanwhile:
// the same part of the rows `next`, as gathered rows come from anywhere in memory, or, of rows that follow one another (InOrder), the
// lines at a distance, one after the other. A function of its own for the reason given at product_tile.
template <int Rows, int Vectors, bool InOrder>
[[gnu::noinline]] void single_tile(const uint8_t* const* rows, const uint8_t* const* following, const Digit* const* vectors, int64_t from,
                                   int64_t to, Sums* result) {
  Sums sum[Rows][Vectors];
  const uint8_t *row[Rows], *next[Rows];
  const Digit* digits[Vectors];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    row[r] = rows[r];
    next[r] = following[r];
  }
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) digits[v] = vectors[v];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[r][v] = zero_sums();
  for (int64_t k = from; k < to; k += 64) {
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      if constexpr (InOrder) {
        __builtin_prefetch(row[0] + k * Rows + (lines_ahead + r) * 64, 0, 2);
      } else {
        __builtin_prefetch(next[r] + k);
      }
    }
#pragma GCC unroll 8
    for (int64_t part = k; part < k + 64; part += single_columns) {
      Sums digit[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) digit[v] = load_digits(reinterpret_cast<const char*>(digits[v] + part));
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const Sums bytes = load_row(row[r] + part);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) multiply(sum[r][v], bytes, digit[v]);
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v)
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) result[v * Rows + r] = sum[r][v];
}

// sums[v][r] over all columns.
template <int Rows, int Vectors, bool InOrder>
inline void single_sums(const uint8_t* const* row, const uint8_t* const* next, int64_t d, const Digit* const* digits, double (*sums)[rows_at_once]) {
  for (int v = 0; v < Vectors; ++v) {
    for (int r = 0; r < Rows; ++r) sums[v][r] = 0;
  }
  for (int64_t column = 0; column < d; column += column_block) {
    Sums part[Vectors * Rows];
    single_tile<Rows, Vectors, InOrder>(row, next, digits, column, column + column_block < d ? column + column_block : d, part);
    for (int v = 0; v < Vectors; ++v) {
      if constexpr (Rows == 4) {
        int32_t whole[4];
        totals(part[v * 4], part[v * 4 + 1], part[v * 4 + 2], part[v * 4 + 3], whole);
        for (int r = 0; r < 4; ++r) sums[v][r] += static_cast<double>(whole[r]);
      } else {
        for (int r = 0; r < Rows; ++r) sums[v][r] += static_cast<double>(total(part[v * Rows + r]));
      }
    }
  }
}

// Calls write(i, rows, sums) for the sums of rows i ... of the list or, without one, of all.
template <int Vectors, class Write>
inline void single_rows(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const Digit* const* digits,
                        Write write) {
  const auto row_at = [=](int64_t i) { return rows + (index ? int64_t{index[i]} : i) * stride; };
  const uint8_t *row[rows_at_once], *next[rows_at_once];
  double sums[Vectors][rows_at_once];
  int64_t i = 0;
  for (; i + rows_at_once <= count; i += rows_at_once) {
    for (int r = 0; r < rows_at_once; ++r) {
      row[r] = row_at(i + r);
      next[r] = row_at(i + r + rows_at_once < count ? i + r + rows_at_once : count - 1);
    }
    if (index) {
      single_sums<rows_at_once, Vectors, false>(row, next, d, digits, sums);
    } else {
      single_sums<rows_at_once, Vectors, true>(row, next, d, digits, sums);
    }
    write(i, rows_at_once, sums);
  }
  for (; i < count; ++i) {
    row[0] = row_at(i);
    next[0] = row_at(i + 1 < count ? i + 1 : i);
    single_sums<1, Vectors, false>(row, next, d, digits, sums);
    write(i, 1, sums);
  }
}

template <int Planes>
void single_products_of(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const Digit* packed, double* out) {
  const Digit* digits[Planes];
  for (int p = 0; p < Planes; ++p) digits[p] = packed + p * padded(d);
  single_rows<Planes>(rows, stride, index, count, d, digits, [&](int64_t i, int many, const double (*sums)[rows_at_once]) {
    for (int r = 0; r < many; ++r) {
      double product = sums[0][r];
      for (int p = 1; p < Planes; ++p) product += plane_factor(p) * sums[p][r];
      out[i + r] = product;
    }
  });
}

void single_products(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* packed, int planes,
                     double* out) {
  const Digit* digits = static_cast<const Digit*>(packed);
  if (planes == 1) return single_products_of<1>(rows, stride, index, count, d, digits, out);
  single_products_of<planes_full>(rows, stride, index, count, d, digits, out);
}

// The first `Most` of the queries, or all of fewer.
template <int Most>
void several_products_of(int queries, const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d,
                         const void* const* packed, double* out, int64_t out_stride) {
  if constexpr (Most > 1) {
    if (queries < Most) return several_products_of<Most - 1>(queries, rows, stride, index, count, d, packed, out, out_stride);
  }
  const Digit* digits[Most];
  for (int q = 0; q < Most; ++q) digits[q] = static_cast<const Digit*>(packed[q]);
  single_rows<Most>(rows, stride, index, count, d, digits, [&](int64_t i, int many, const double (*sums)[rows_at_once]) {
    for (int q = 0; q < Most; ++q) {
      for (int r = 0; r < many; ++r) out[q * out_stride + i + r] = sums[q][r];
    }
  });
}

void several_products(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* const* packed,
                      int queries, double* out, int64_t out_stride) {
  // As many rows as stay in the first-level caches while the queries pass.
  constexpr int64_t together = 16;
  for (int64_t i = 0; i < count; i += together) {
    const int64_t many = count - i < together ? count - i : together;
    const uint8_t* from = index ? rows : rows + i * stride;
    const int32_t* listed = index ? index + i : nullptr;
    for (int q = 0; q < queries; q += queries_at_once) {
      several_products_of<queries_at_once>(queries - q, from, stride, listed, many, d, packed + q, out + q * out_stride + i, out_stride);
    }
  }
}

// `groups` is group_products, or a kernel that reads the same packed groups; `listed` as in digits.h.
constexpr regimes::DigitKernels make_digits(const char* name, bool faster_than_words, decltype(regimes::DigitKernels::group_products) groups,
                                            decltype(regimes::DigitKernels::listed_sums) listed) {
  return {name,         planes_full, limit_of(1), limit_of(planes_full), sizeof(Digit) == 1, faster_than_words, group_bytes,
          single_bytes, pack_group,  pack_single, pack_lanes,            groups,             single_products,   several_products, listed};
}

}  // namespace
