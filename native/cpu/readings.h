// From accumulators to the readings of one query: shared by points and mixtures, so that both fill the request alike.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "../core/dense_block.h"
#include "../core/error_bound.h"
#include "../core/operations.h"
#include "lane_blocks.h"

namespace regimes {

inline double log_density_constant(int64_t d, double b) { return 0.5 * static_cast<double>(d) * std::log(2 * std::numbers::pi * b * b); }

inline bool wants_denoised(const PosteriorRequest& r) {
  return r.denoised || r.score || r.covariance_trace || r.covariance_products || r.jacobian_products || r.divergence || r.error_score;
}

// The least a at which D = (x + b^2 score) / a keeps the precision of a score from float32.
inline constexpr double least_signal = 0.1;

inline bool wants_second_moments(const PosteriorRequest& r) {
  return r.covariance_trace || r.covariance_products || r.jacobian_products || r.divergence;
}

// Readings of query q that follow from its accumulator alone. `uniform` is log n for uniform weights, which the logits leave out.
inline double read_scalars(const Target& target, const PosteriorRequest& r, int64_t q, const LaneAccumulators& lanes_of, int lane,
                           double uniform) {
  const LogSumExp<double>& sums = lanes_of.sums[lane];
  const double log_density = sums.log_sum() - uniform - log_density_constant(target.d, r.b);
  if (r.log_density) r.log_density[q] = log_density;
  // Of weights that are all alike float32 may sum a little more than there is.
  const auto n = static_cast<double>(target.n);
  if (r.entropy) r.entropy[q] = std::min(sums.entropy(), std::log(n));
  if (r.sum_squares) r.sum_squares[q] = std::max(sums.sum_squares(), 1 / n);
  if (r.nearest_index) r.nearest_index[q] = static_cast<int32_t>(sums.index);
  if (r.nearest_weight) r.nearest_weight[q] = sums.top_weight();
  if (r.class_weights) {
    double total = 0;
    for (int32_t c = 0; c < target.class_count; ++c) total += lanes_of.classes[c * lanes + lane];
    for (int32_t c = 0; c < target.class_count; ++c) r.class_weights[q * target.class_count + c] = lanes_of.classes[c * lanes + lane] / total;
  }
  return log_density;
}

// Bounds of query q; `terms`, `lead` and `denoised` as in error_bound.h, denoised null where the score is not formed from it.
inline void read_bounds(const Target& target, const PosteriorRequest& r, int64_t q, const LogSumExp<double>& sums, double uniform,
                        const ErrorModel& model, double log_density, double terms, const double* denoised, double lead = 0) {
  if (!r.error_log_density && !r.error_score) return;
  const double norm_x = dot(r.x.row(q), r.x.row(q), target.d), norm_mean = denoised ? dot(denoised, denoised, target.d) : 0;
  const double energy = sums.mean_energy() + uniform, total = 1 + sums.rest;
  const double squared_energy = sums.mean_squared_energy() + uniform * (2 * sums.mean_energy() + uniform);
  const LogitMoments logits{energy, squared_energy, sums.gap / total, sums.gap_squared / total, sums.rest, lead};
  const ErrorBound bound = error_bound(model, logits, target.n, terms, r.b, log_density, target.d, std::sqrt(norm_x), r.a * std::sqrt(norm_mean));
  if (r.error_log_density) r.error_log_density[q] = bound.log_density;
  if (r.error_score) r.error_score[q] = bound.score;
}

// Components in order of descending logit, ties by index: the first `top` of `logits` with stride 8.
void read_top(const double* logits, int64_t n, const LogSumExp<double>& sums, int64_t top, int32_t* index, double* weight);

}  // namespace regimes
