// One pass over the Gaussians of a mixture for 8 lanes: logits l_k = log pi_k - q_k / 2 - 1/2 log det(S_k / b^2) and their sums.
#pragma once

#include <vector>

#include "../core/gaussian.h"
#include "lane_blocks.h"

namespace regimes {

class MixturePass {
 public:
  MixturePass(const Kernels& kernels, const Target& target, int32_t class_count)
      : kernels_(kernels), target_(target), class_count_(class_count), logits_(static_cast<size_t>(target.n) * lanes),
        solved_(static_cast<size_t>(target.d) * lanes),
        scratch_(static_cast<size_t>(2 * target.d + 2 * target.covariances->rank) * lanes),
        exponentials_(static_cast<size_t>(class_count > 0 ? block_rows * lanes : 0)) {}

  // The accumulators of the lanes x [d][8] at (a, b); logits() holds the logits afterwards.
  LaneAccumulators run(const GaussiansAt& at, const double* x, double a, double b) {
    for (int64_t k = 0; k < target_.n; ++k) {
      double* logit = logits_.data() + k * lanes;
      kernels_.gaussian_solve(at.views[k], x, a, b, solved_.data(), logit, scratch_.data());
      const double bias = (target_.log_weights ? target_.log_weights[k] : 0) - at.half_log_det[k];
      for (int lane = 0; lane < lanes; ++lane) logit[lane] = std::max(-0.5 * logit[lane], -1e307) + bias;
    }
    const int64_t chunks = chunk_count(target_.n);
    std::vector<LaneAccumulators> partials(static_cast<size_t>(chunks), LaneAccumulators(class_count_));
    std::vector<double> masses(static_cast<size_t>(class_count_) * lanes);
    double floor[lanes];
    std::fill(floor, floor + lanes, -INFINITY);
    for (int64_t block = 0; block < target_.n; block += block_rows) {
      const int count = static_cast<int>(std::min(block_rows, target_.n - block));
      LaneSums sums;
      kernels_.block_sums(logits_.data() + block * lanes, count, floor, &sums, class_count_ > 0 ? exponentials_.data() : nullptr);
      if (class_count_ > 0) {
        std::fill(masses.begin(), masses.end(), 0.0);
        kernels_.add_class_sums(exponentials_.data(), target_.classes + block, count, masses.data());
      }
      partials[block / chunk_rows].add(sums, block, masses.data(), floor);
    }
    merge_tree(chunks, [&](int64_t i, int64_t j) { partials[i].merge(partials[j]); });
    return partials[0];
  }

  std::vector<double>& logits() { return logits_; }
  std::vector<double>& solved() { return solved_; }
  std::vector<double>& scratch() { return scratch_; }

 private:
  const Kernels& kernels_;
  const Target& target_;
  const int32_t class_count_;
  std::vector<double> logits_;   // [n][8]
  std::vector<double> solved_;   // [d][8]
  std::vector<double> scratch_;
  std::vector<double> exponentials_;
};

}  // namespace regimes
