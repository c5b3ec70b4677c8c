// Logits, exponentials and their sums of dense.h, written over what dense_body.h and the instruction set define; included by it alone.
#pragma once

#include "dense.h"

namespace {

void logits(double* products, int rows, const double* shrink, const double* slope, const double* bias, double* max) {
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
      const QuarterDoubles logit = load_vector<QuarterDoubles>(row + i * width) * shrink[r] * factor[i] + bias[r];
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
void weights_of(const double* logits, int rows, const double* max, const float* least, const float* half_square, float limit,
                float* weights, int32_t* integers, int lanes_used, DenseSums* sums) {
  alignas(64) double totals[sum_kinds][digit_lanes] = {};
  for (int lane = 0; lane < lanes_used; lane += register_lanes) {
    for (int first = 0; first < rows; first += sum_chain) {
      const int64_t at = int64_t{first} * digit_lanes + lane;
      ChainSums chain;
      weigh_chain<Whole, Stored, false>(logits + at, rows - first < sum_chain ? rows - first : sum_chain, max + lane, least + lane,
                                        half_square + first, limit, Stored ? weights + at : nullptr, Whole ? integers + at : nullptr,
                                        chain);
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

}  // namespace
