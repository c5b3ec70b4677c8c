// The kernels of kernels.h, written once over `Lanes` and compiled once per instruction set by kernels_<set>.cpp, which defines
// Lanes, the tile sizes distance_rows, distance_groups, pair_rows, and includes this file. Everything here is in an unnamed
// namespace and uses no inline function of the standard library: a definition compiled for AVX-512 must never be picked by the
// linker for a machine without it.
#pragma once

#include "kernels.h"

namespace {

using regimes::DataView;
using regimes::Dtype;
using regimes::Half;
using regimes::LaneSums;
using regimes::ScreenQueries;
using regimes::ScreenRow;

constexpr int64_t inner_block = 32;
constexpr int64_t outer_block = 1024;

inline int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

template <class Stored>
void convert_as(const DataView& data, int64_t first, int64_t count, double* values) {
  const Stored* stored = static_cast<const Stored*>(data.stored) + first;
  const double scale = data.scale, shift = data.shift;
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) store(values + k, widen(stored + k) * broadcast(scale) + broadcast(shift));
  for (; k < count; ++k) values[k] = static_cast<double>(stored[k]) * scale + shift;
}

void convert(const DataView& data, int64_t first, int64_t count, double* values) {
  switch (data.dtype) {
    case Dtype::u8:
      return convert_as<uint8_t>(data, first, count, values);
    case Dtype::f16:
      return convert_as<Half>(data, first, count, values);
    case Dtype::f32:
      return convert_as<float>(data, first, count, values);
    case Dtype::f64:
      return convert_as<double>(data, first, count, values);
  }
}

// exp(x) for x <= 0, to about one unit in the last place; 0 below -708, so that no denormal arises. x = n ln 2 + r with ln 2 in two
// parts, the first short enough for an exact product; the polynomial is the Chebyshev interpolant of (e^r - 1 - r) / r^2.
inline Lanes exponential(Lanes x) {
  const Lanes magic = broadcast(0x1.8p52);
  const Lanes power = multiply_add(x, broadcast(0x1.71547652b82fep+0), magic);
  const Lanes n = power - magic;
  Lanes r = multiply_add(n, broadcast(-0x1.62e42fefa0000p-1), x);
  r = multiply_add(n, broadcast(-0x1.cf79abc9e3b3ap-40), r);
  Lanes q = broadcast(0x1.af389ed28db09p-26);
  q = multiply_add(q, r, broadcast(0x1.28917c8be7ad6p-22));
  q = multiply_add(q, r, broadcast(0x1.71de0db2f585ep-19));
  q = multiply_add(q, r, broadcast(0x1.a019b914985a9p-16));
  q = multiply_add(q, r, broadcast(0x1.a01a01a7c2f03p-13));
  q = multiply_add(q, r, broadcast(0x1.6c16c17889ef9p-10));
  q = multiply_add(q, r, broadcast(0x1.11111111109b5p-7));
  q = multiply_add(q, r, broadcast(0x1.5555555553d68p-5));
  q = multiply_add(q, r, broadcast(0x1.5555555555556p-3));
  q = multiply_add(q, r, broadcast(0x1.0000000000001p-1));
  const Lanes result = scale_by_power(multiply_add(r * r, q, r) + broadcast(1), power);
  return select(less(x, broadcast(-708)), broadcast(0), result);
}

// |x_g - a y_r|^2 for Groups groups of lanes and Rows rows at once: the sums stay in registers for 32 coordinates.
template <int Rows, int Groups>
inline void distance_tile(const double* x, const double* y, int64_t d, double a, double* out, int64_t out_rows) {
  const Lanes factor = broadcast(a);
  Lanes total[Rows][Groups];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) total[r][g] = broadcast(0);
  for (int64_t outer = 0; outer < d; outer += outer_block) {
    const int64_t outer_end = smaller(outer + outer_block, d);
    Lanes middle[Rows][Groups];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int g = 0; g < Groups; ++g) middle[r][g] = broadcast(0);
    for (int64_t inner = outer; inner < outer_end; inner += inner_block) {
      const int64_t inner_end = smaller(inner + inner_block, outer_end);
      Lanes sum[Rows][Groups];
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int g = 0; g < Groups; ++g) sum[r][g] = broadcast(0);
      for (int64_t k = inner; k < inner_end; ++k) {
        Lanes query[Groups];
#pragma GCC unroll 8
        for (int g = 0; g < Groups; ++g) query[g] = load(x + (g * d + k) * 8);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const Lanes value = broadcast(y[r * d + k]);
#pragma GCC unroll 8
          for (int g = 0; g < Groups; ++g) {
            const Lanes difference = subtract_product(query[g], factor, value);
            sum[r][g] = multiply_add(difference, difference, sum[r][g]);
          }
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int g = 0; g < Groups; ++g) middle[r][g] = middle[r][g] + sum[r][g];
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int g = 0; g < Groups; ++g) total[r][g] = total[r][g] + middle[r][g];
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) store(out + (g * out_rows + r) * 8, total[r][g]);
}

template <int Groups>
void distance_rows_of(const double* x, const double* y, int rows, int64_t d, double a, double* out, int64_t out_rows) {
  int r = 0;
  for (; r + distance_rows <= rows; r += distance_rows) {
    distance_tile<distance_rows, Groups>(x, y + r * d, d, a, out + r * 8, out_rows);
  }
  for (; r < rows; ++r) distance_tile<1, Groups>(x, y + r * d, d, a, out + r * 8, out_rows);
}

void squared_distances(const double* x, int groups, const double* y, int rows, int64_t d, double a, double* out,
                       int64_t out_rows) {
  int g = 0;
  for (; g + distance_groups <= groups; g += distance_groups) {
    distance_rows_of<distance_groups>(x + g * d * 8, y, rows, d, a, out + g * out_rows * 8, out_rows);
  }
  for (; g < groups; ++g) distance_rows_of<1>(x + g * d * 8, y, rows, d, a, out + g * out_rows * 8, out_rows);
}

template <int Rows>
inline void pair_tile(const double* o, const double* z, const double* y, int64_t d, double* q, double* v) {
  Lanes q_total[Rows], v_total[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) q_total[r] = v_total[r] = broadcast(0);
  for (int64_t inner = 0; inner < d; inner += inner_block) {
    const int64_t inner_end = smaller(inner + inner_block, d);
    Lanes q_sum[Rows], v_sum[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) q_sum[r] = v_sum[r] = broadcast(0);
    for (int64_t k = inner; k < inner_end; ++k) {
      const Lanes origin = load(o + k * 8), noise = load(z + k * 8);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Lanes difference = origin - broadcast(y[r * d + k]);
        q_sum[r] = multiply_add(difference, difference, q_sum[r]);
        v_sum[r] = multiply_add(noise, difference, v_sum[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      q_total[r] = q_total[r] + q_sum[r];
      v_total[r] = v_total[r] + v_sum[r];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    store(q + r * 8, q_total[r]);
    store(v + r * 8, v_total[r]);
  }
}

void pair_products(const double* o, const double* z, const double* y, int rows, int64_t d, double* q, double* v) {
  int r = 0;
  for (; r + pair_rows <= rows; r += pair_rows) pair_tile<pair_rows>(o, z, y + r * d, d, q + r * 8, v + r * 8);
  for (; r < rows; ++r) pair_tile<1>(o, z, y + r * d, d, q + r * 8, v + r * 8);
}

void scale_distances(double* logits, int rows, double inverse_twice_b2, const double* bias) {
  const Lanes factor = broadcast(-inverse_twice_b2), least = broadcast(-1e307);
  for (int r = 0; r < rows; ++r) {
    Lanes logit = max(load(logits + r * 8) * factor, least);
    if (bias != nullptr) logit = logit + broadcast(bias[r]);
    store(logits + r * 8, logit);
  }
}

// Four interleaved partial sums: they hide the latency and shorten the chains of roundings.
constexpr int chains = 4;

bool block_sums(const double* logits, int rows, const double* floor, LaneSums* sums, double* exponentials) {
  Lanes best[chains];
#pragma GCC unroll 4
  for (int c = 0; c < chains; ++c) best[c] = load(logits);
  int first = 0;
  for (; first + chains <= rows; first += chains) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; ++c) best[c] = max(best[c], load(logits + (first + c) * 8));
  }
  for (; first < rows; ++first) best[0] = max(best[0], load(logits + first * 8));
  const Lanes maximum = max(max(best[0], best[1]), max(best[2], best[3]));
  const Lanes least = load(floor);
  const Lanes zero = broadcast(0), one = broadcast(1);
  store(sums->max, maximum);
  if (all(less(maximum, least))) return false;

  Lanes rest[chains], gap[chains], gap_squared[chains], squares[chains];
  for (int c = 0; c < chains; ++c) rest[c] = gap[c] = gap_squared[c] = squares[c] = zero;
  Lanes ties = zero, from_end = zero;
  for (int start = 0; start < rows; start += chains) {
    const int end = start + chains < rows ? start + chains : rows;
#pragma GCC unroll 4
    for (int r = start; r < end; ++r) {
      const int c = r - start;
      const Lanes logit = load(logits + r * 8);
      const Mask below = less(logit, least);
      if (all(below)) {
        if (exponentials != nullptr) store(exponentials + r * 8, zero);
        const Mask top = equal(logit, maximum);
        ties = ties + select(top, one, zero);
        from_end = max(from_end, select(top, broadcast(rows - r), zero));
        continue;
      }
      const Mask top = equal(logit, maximum);
      const Lanes distance = maximum - logit;
      const Lanes value = select(below, zero, exponential(logit - maximum));
      const Lanes other = select(top, zero, value);
      const Lanes weighted = value * distance;
      rest[c] = rest[c] + other;
      squares[c] = multiply_add(other, other, squares[c]);
      gap[c] = gap[c] + weighted;
      gap_squared[c] = multiply_add(weighted, distance, gap_squared[c]);
      ties = ties + select(top, one, zero);
      from_end = max(from_end, select(top, broadcast(rows - r), zero));
      if (exponentials != nullptr) store(exponentials + r * 8, value);
    }
  }
  const Lanes extra = ties - one;
  store(sums->index, broadcast(rows) - from_end);
  store(sums->rest, ((rest[0] + rest[1]) + (rest[2] + rest[3])) + extra);
  store(sums->squares, ((squares[0] + squares[1]) + (squares[2] + squares[3])) + extra);
  store(sums->gap, (gap[0] + gap[1]) + (gap[2] + gap[3]));
  store(sums->gap_squared, (gap_squared[0] + gap_squared[1]) + (gap_squared[2] + gap_squared[3]));
  return true;
}

void add_class_sums(const double* exponentials, const int32_t* classes, int rows, double* sums) {
  for (int r = 0; r < rows; ++r) {
    double* sum = sums + int64_t{classes[r]} * 8;
    store(sum, load(sum) + load(exponentials + r * 8));
  }
}

void weights(double* logits, int64_t rows, const double* maximum, const double* inverse, const double* cutoff,
             uint8_t* active) {
  const Lanes top = load(maximum), factor = load(inverse), least = load(cutoff), zero = broadcast(0);
  for (int64_t r = 0; r < rows; ++r) {
    const Lanes logit = load(logits + r * 8);
    const Mask below = less(logit, least);
    active[r] = all(below) ? 0 : 1;
    Lanes weight = zero;
    if (active[r]) weight = select(below, zero, exponential(logit - top) * factor);
    store(logits + r * 8, weight);
  }
}

template <int Count>
inline void add_rows_of(const double* weight, const double* rows, int64_t columns, double* sum) {
  int64_t j = 0;
  for (; j + 8 <= columns; j += 8) {
    Lanes total = load(sum + j);
#pragma GCC unroll 4
    for (int r = 0; r < Count; ++r) total = multiply_add(broadcast(weight[r]), load(rows + r * columns + j), total);
    store(sum + j, total);
  }
  for (; j < columns; ++j) {
    for (int r = 0; r < Count; ++r) sum[j] = multiply_add(weight[r], rows[r * columns + j], sum[j]);
  }
}

void add_rows(const double* const* weights, const double* rows, int count, int64_t columns, double* sums) {
  for (int lane = 0; lane < 8; ++lane) {
    double weight[4] = {0, 0, 0, 0};
    bool any = false;
    for (int r = 0; r < count; ++r) {
      weight[r] = weights[r][lane];
      any = any || weight[r] != 0;
    }
    if (!any) continue;
    double* sum = sums + lane * columns;
    switch (count) {
      case 1:
        add_rows_of<1>(weight, rows, columns, sum);
        break;
      case 2:
        add_rows_of<2>(weight, rows, columns, sum);
        break;
      case 3:
        add_rows_of<3>(weight, rows, columns, sum);
        break;
      default:
        add_rows_of<4>(weight, rows, columns, sum);
    }
  }
}

inline double lane_total(Lanes x) {
  double v[8];
  store(v, x);
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

void row_moments(const double* row, const double* m, const double* u, int64_t d, double* square, double* product) {
  Lanes squares = broadcast(0), products = broadcast(0);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    const Lanes difference = load(row + j) - load(m + j);
    squares = multiply_add(difference, difference, squares);
    if (u != nullptr) products = multiply_add(difference, load(u + j), products);
  }
  double square_tail = 0, product_tail = 0;
  for (; j < d; ++j) {
    const double difference = row[j] - m[j];
    square_tail = multiply_add(difference, difference, square_tail);
    if (u != nullptr) product_tail = multiply_add(difference, u[j], product_tail);
  }
  *square = lane_total(squares) + square_tail;
  *product = lane_total(products) + product_tail;
}

void add_difference(double weight, const double* row, const double* m, int64_t d, double* sums) {
  const Lanes factor = broadcast(weight);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) store(sums + j, multiply_add(factor, load(row + j) - load(m + j), load(sums + j)));
  for (; j < d; ++j) sums[j] = multiply_add(weight, row[j] - m[j], sums[j]);
}

}  // namespace

#include "kernels_gaussian_body.h"
#include "kernels_sweep_body.h"

namespace {

constexpr regimes::Kernels make_kernels(const char* name) {
  return {name,          convert,         squared_distances, pair_products,      float_pair_products, scale_distances,  integer_pairs,
          pair_sums,     float_pair_sums, block_sums,        add_class_sums,     weights,             add_rows,         row_moments,
          add_difference, differences,    weighted_square,   weighted_distances, row_products,        add_combinations, add_weighted,
          round_to_digits, weighted_bytes, screen_bounds, sum_terms};
}

}  // namespace
