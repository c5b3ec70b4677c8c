// The covariance of a target as a linear operator, and as a matrix.
#pragma once

#include <functional>
#include <vector>

#include "moments.h"
#include "operations.h"
#include "thread_pool.h"

namespace regimes {

// C = (1/normaliser) sum_i w_i (y_i - c_i)(y_i - c_i)^T, plus sum_k pi_k C_k for a mixture, times gain^2 (see Moments).
class Covariance {
 public:
  // Every reference must outlive the object.
  Covariance(const Target& target, const Moments& moments, ThreadPool& pool, const Execution& execution);

  int64_t dimension() const { return d_; }
  double trace() const { return trace_; }

  // out = C block; both [padded(d), columns], columns a multiple of block_grain, padding rows 0. One pass over the data.
  // False when cancelled.
  bool multiply(int64_t columns, const double* block, double* out) const;

  // C itself, [d, d]. False when cancelled.
  bool dense(std::vector<double>& matrix, const std::function<void(double)>& report) const;

  // For points: the n x n matrix with the non-zero eigenvalues of C. False when cancelled.
  bool gram(std::vector<double>& matrix, const std::function<void(double)>& report) const;

 private:
  bool add_rows(int64_t columns, const double* block, double* out) const;
  bool add_factors(int64_t columns, const double* block, double* out) const;
  void average_components();

  const Target& target_;
  const Moments& moments_;
  ThreadPool& pool_;
  const Execution& execution_;
  int64_t d_;
  double trace_ = 0;
  // sum_k pi_k C_k of a mixture but for its factors: a diagonal [d], and [padded(d), padded(d)] for full covariances.
  std::vector<double> diagonal_;
  std::vector<double> full_;
};

}  // namespace regimes
