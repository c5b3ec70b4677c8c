// The inner loops over space-ordered tiles (core/boxes.h) for d <= 12, one table per instruction set: one query against one tile, a
// lane per datum. Sums stay in lanes until a chunk is done; which lane a datum meets depends on its place alone.
#pragma once

#include <cstdint>

#include "../core/boxes.h"

namespace regimes {

// State of single-precision sums: 8 lanes each of these, then of d components of sum w (y - centre of the query).
struct SmallSums {
  enum : int { weight, gap, squares, energy, energy_squared, displacement, rounding, rounding_squared, spread, moments };
  static constexpr int count(int64_t d) { return moments + static_cast<int>(d); }
};

// State of float64 sums: 8 lanes each of these (log_sum_exp.h), then of d components of sum w (y - heaviest datum).
struct ExactSums {
  enum : int { rest, gap, gap_squared, squares, moments };
  static constexpr int count(int64_t d) { return moments + static_cast<int>(d); }
};

// One query seen from one tile with centre c: logits are -slope |t - delta|^2 in powers of two.
struct SmallTile {
  const float* rows;           // [d][box_tile] delta
  const float* bias;           // [box_tile] or null
  float slope;                 // log2(e) a^2 / (2 b^2)
  float start;                 // log2 weight of the tile over the reference logit
  float t[box_dimensions];     // x / a - c
  double shift[box_dimensions];  // c - centre of the query
  double rounding;             // see posterior_small.cpp
  double radius;               // sqrt(slope) max |delta|
};

struct SmallKernels {
  // upper[tile] >= the float64 logit of every row of the tile; inverse_twice_b2 = 1 / (2 b^2).
  void (*upper_bounds)(const double* low, const double* high, const double* heaviest, int64_t padded, int64_t d, const double* x,
                       double a, double inverse_twice_b2, double* upper);

  // Adds a tile to a state of SmallSums. w_i = 2^(start + bias_i - slope |t - delta_i|^2), 0 below 2^-60; the sums are
  //   weight w, gap w log2 w, squares w^2, energy w q, energy_squared w q^2 (rounded up), displacement radius^2 w q,
  //   rounding w, rounding_squared rounding^2 w, spread radius w, moments w (shift + delta),
  // with q = start - log2 w >= slope |t - delta|^2.
  // weights [box_tile] receives w where not null.
  void (*add_tile)(const SmallTile& tile, int64_t d, double* state, float* weights);

  // logits[i] = max(-|x - a y_i|^2 / (2 b^2), -1e307) + bias_i for y [d][box_tile], with the roundings of Kernels::squared_distances.
  void (*tile_logits)(const double* rows, const double* bias, int64_t d, const double* x, double a, double inverse_twice_b2,
                      double* logits);

  // Adds a tile to a state of ExactSums: w_i = exp(logit_i - max), moments about `origin`. In place of the logits stands w_i.
  void (*add_exact)(double* logits, const double* rows, int64_t d, double max, const double* origin, double* state);
};

// Null where the instruction set was not compiled or this machine lacks it.
const SmallKernels* small_avx512();
const SmallKernels* small_avx2();
const SmallKernels* small_portable();

}  // namespace regimes
