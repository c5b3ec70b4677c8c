// Rigorous bounds on the rounding error of a float64 posterior, for the float64 values of x, the data, a and b given. With
// u = 2^-53, logits l_i <= 0 (without the constant of the log density), E = sum w |l| and E2 = sum w l^2:
//   each logit is within  e_i = (logit_units |l_i| + logit_offset) u  of its exact value (sums of squares: positive terms in bounded
//   chains), each weight within e_i + sum_units u, relatively, up to a common factor.
//   |d log p| <= u [logit_units E + logit_offset + sum_units + 4 |log p| + 8 |d/2 log 2 pi b^2|] + what was left out
// (`relative`: with max l - l_i in place of |l_i|, and peak_units u |max l| for the log density)
//   |d s|     <= sum_i w_i |d log w_i| (|v_i| + |s|) + error of each v_i, of the sum, and of Tweedie's formula, where
//   |v_i| = |S_i^-1 (a m_i - x)| <= sqrt(2 |l_i| / s_min), s_min the smallest eigenvalue of any S_i = a^2 C_i + b^2 I.
// The first of these terms is of first order in e_i, times exp(2 e) for the others. Two bounds hold whatever e_i is, and the least of the
// three counts: the weight that all but the heaviest component may have, and |s| itself, since E <= |max l| + log n.
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
  double dropped = 4e-22;        // mass of the components left out of the sums: their logits lie log(n / dropped) or more below the largest
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

// Moments of the logits under the weights: sum w |l|, sum w l^2, the same of max l - l, and the ratio of all weights but the largest to
// that one. `lead`: logits outside `rest` lie at least so far below the largest, where more is known than the model's `dropped` says.
struct LogitMoments {
  double energy;
  double squared_energy;
  double gap;
  double squared_gap;
  double rest = INFINITY;
  double lead = 0;
};

// `terms` is the number of components in the sum for the denoised mean, `norm_x` = |x|, `norm_mean` = a |D|.
inline ErrorBound error_bound(const ErrorModel& model, const LogitMoments& logits, int64_t n, double terms, double b, double log_density,
                              int64_t d, double norm_x, double norm_mean) {
  constexpr double u = 0x1p-53;
  // Exponentials of a block: chains of 128 and their merge, 8 merges inside a chunk, the tree, and 4 for each exponential and shift.
  const double count = static_cast<double>(n), sum_units = 160 + 8 * (8 + std::log2(count + 1));
  const double constant = std::abs(0.5 * static_cast<double>(d) * std::log(2 * std::numbers::pi * b * b));
  const double energy = logits.energy, peak = std::max(energy - logits.gap, 0.0);  // peak = |max l|
  // Errors of logits per nat of the computed ones, not the exact ones; between two logits 2 top + slope (max l - l_i).
  const double slope = u * model.logit_units / (1 - 2 * u * model.logit_units), kept = 1 - slope;  // check_conditioning: at most 1/8
  const double top = (model.relative ? 0 : slope * peak) + u * model.logit_offset;
  const double of_logits = slope * (model.relative ? logits.gap : energy) + (model.relative ? u * model.peak_units * peak : 0);
  // What the logits of single components may hide: mass left out of the sums, that of all but the heaviest, terms of higher order.
  double missed = n > 1 ? model.dropped : 0, raised = missed, others = logits.rest, higher = 1;
  if (!(2 * top + 1000 * slope < 1e-4)) {
    const double size = std::log(count), lead = n > 1 ? std::max(logits.lead, size - std::log(model.dropped)) : INFINITY;
    const double mass = size + 2 * top - kept * lead, farthest = std::exp(std::min(700.0, slope * (size + 50)));
    missed = std::exp(std::min(mass, 0.0));
    raised = std::log1p(std::exp(-std::abs(mass))) + std::max(mass, 0.0) + slope * slope * logits.squared_gap * farthest;
    others = std::exp(std::min(0.0, 2 * top + slope * size + kept * std::log(logits.rest)));
    higher = farthest * std::exp(std::min(700.0, of_logits + top));
  }
  const double log_error = of_logits + u * (model.logit_offset + sum_units + 4 * std::abs(log_density) + 8 * constant) + raised;

  const double root = std::sqrt(std::max(energy, 0.0)), speed = std::sqrt(2 / model.smallest_variance);
  // >= sum w |error of l per slope| (sqrt|l| + sqrt E)
  const double weighted = model.relative ? logits.gap * (std::sqrt(peak) + root) + 0.5 * (logits.gap + logits.squared_gap)
                                         : std::sqrt(std::max(logits.squared_energy, 0.0)) * root + energy * root;
  const double first_order = higher * (slope * weighted + 2 * u * model.logit_offset * root);
  const double of_others = (others + logits.rest) * (std::sqrt(peak + top + 1050) + root);
  const double of_missed = missed * (std::sqrt(energy + 150) + root);
  const double at_most = std::sqrt(peak + top + 50) + root;
  const double of_weights = std::min(std::min(first_order, of_others) + of_missed, at_most) + 2 * u * sum_units * root;
  const double chain = std::min(terms, 512 + count / 512) + 4;
  const double of_sum = u * (model.velocity_units + chain) * root;
  const double of_tweedie = model.tweedie ? u * (chain * norm_x + 6 * (norm_x + norm_mean)) / (b * b) : 0;
  return {1.01 * log_error, 1.01 * (speed * (of_weights + of_sum) + of_tweedie)};
}

}  // namespace regimes
