// Rigorous bounds on the rounding error of a float64 posterior, for the float64 values of x, the data, a and b given. With
// u = 2^-53, logits l_i <= 0 (without the constant of the log density), E = sum w |l| and E2 = sum w l^2:
//   each logit is within  logit_units u |l_i|            of its exact value (sums of squares: positive terms in bounded chains),
//   each weight is within (logit_units |l_i| + sum_units) u of its exact value, relatively, up to a common factor.
// First order in u with every constant rounded up; the terms of second order are below 1e-10 of it.
//   |d log p| <= u [logit_units E + sum_units + 4 |log p| + 8 |d/2 log 2 pi b^2|]
// (`relative`: with max l - l_i in place of |l_i|, and peak_units u |max l| for the log density)
//   |d s|     <= sum_i w_i |d log w_i| (|v_i| + |s|) + error of each v_i, of the sum, and of Tweedie's formula, where
//   |v_i| = |S_i^-1 (a m_i - x)| <= sqrt(2 |l_i| / s_min), s_min the smallest eigenvalue of any S_i = a^2 C_i + b^2 I.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "operations.h"

namespace regimes {

struct ErrorModel {
  double logit_units = 0;        // see above
  double velocity_units = 0;     // relative error of v_i, in u
  double smallest_variance = 0;  // s_min
  bool tweedie = false;          // the score is formed as (a D - x) / b^2 from a summed D, not as a sum of v_i
  bool relative = false;         // logit_units count in |max l - l_i|: differences of logits are known better than logits,
  double peak_units = 0;         // and max l itself to this many u |max l|
  double logit_offset = 0;       // absolute error of a logit besides, in u
  double dropped = 4e-22;        // mass of the components left out of the sums, whose logits lie 37 or more below the largest
};

// Units for sums of `d` positive terms in chains of 32 and 32 and d / 1024 additions, plus the roundings of each term and scaling.
inline double chain_units(int64_t d) {
  const double length = static_cast<double>(d);
  return std::min(length, 32.0) + std::min(std::ceil(length / 32), 32.0) + std::ceil(length / 1024) + 12;
}

// Points: a logit is a scaled sum of squares of once-rounded differences (twice-rounded on the portable path).
inline ErrorModel points_error_model(int64_t d, double b) { return {chain_units(d), 4, b * b, true}; }

struct ErrorBound {
  double log_density;
  double score;
};

// Moments of the logits under the weights: sum w |l|, sum w l^2, and the same of max l - l.
struct LogitMoments {
  double energy;
  double squared_energy;
  double gap;
  double squared_gap;
};

// `terms` is the number of components in the sum for the denoised mean, `norm_x` = |x|, `norm_mean` = a |D|.
inline ErrorBound error_bound(const ErrorModel& model, const LogitMoments& logits, int64_t n, double terms, double b, double log_density,
                              int64_t d, double norm_x, double norm_mean) {
  constexpr double u = 0x1p-53;
  // Exponentials of a block: chains of 128 and their merge, 8 merges inside a chunk, the tree, and 4 for each exponential and shift.
  const double sum_units = 160 + 8 * (8 + std::log2(static_cast<double>(n) + 1));
  const double constant = std::abs(0.5 * static_cast<double>(d) * std::log(2 * std::numbers::pi * b * b));
  const double energy = logits.energy, peak = energy - logits.gap;  // peak = |max l|
  const double of_logits = model.logit_units * (model.relative ? logits.gap : energy) + (model.relative ? model.peak_units * std::abs(peak) : 0);
  const double log_error = u * (of_logits + model.logit_offset + sum_units + 4 * std::abs(log_density) + 8 * constant) + model.dropped;

  const double root = std::sqrt(std::max(energy, 0.0)), speed = std::sqrt(2 / model.smallest_variance);
  // >= sum w |error of l in units| (sqrt|l| + sqrt E)
  const double weighted = model.relative
                              ? logits.gap * (std::sqrt(std::max(peak, 0.0)) + root) + 0.5 * (logits.gap + logits.squared_gap)
                              : std::sqrt(std::max(logits.squared_energy, 0.0)) * root + energy * root;
  const double of_weights = speed * (model.logit_units * weighted + 2 * (sum_units + model.logit_offset) * root);
  const double chain = std::min(terms, 512 + static_cast<double>(n) / 512) + 4;
  const double of_sum = (model.velocity_units + chain) * speed * root;
  const double of_tweedie = model.tweedie ? (chain * norm_x + 6 * (norm_x + norm_mean)) / (b * b) : 0;
  const double dropped = model.dropped * speed * (std::sqrt(energy + 100 + std::log(static_cast<double>(n))) + root);
  return {1.01 * log_error, 1.01 * u * (of_weights + of_sum + of_tweedie) + dropped};
}

}  // namespace regimes
