// The components of a mixture at one (a, b): log-determinants of all, small factors of the low-rank ones (4 rank^2 numbers each).
#pragma once

#include <cstdint>
#include <vector>

#include "../core/gaussian.h"
#include "../core/mixture_screen.h"
#include "../core/thread_pool.h"
#include "kernels.h"

namespace regimes {

class GaussiansAt {
 public:
  GaussiansAt(const Kernels& kernels, const Target& mixture, double a, double b);

  // Fills everything below; Code::cancelled, Code::range as in check_conditioning.
  Status build(ThreadPool& pool, const Execution& execution);

  double a() const { return a_; }
  double b() const { return b_; }
  double half_log_det(int64_t k) const { return half_log_det_[k]; }  // 1/2 log det(S_k / b^2)
  // With a screen, but for low rank: the largest c with S_k^-1 >= c D^2 (mixture_bounds.h).
  double precision_scale(int64_t k) const { return precision_scale_[k]; }
  const std::vector<double>& shared_precision() const { return shared_precision_; }  // D^2 [d]; empty for the other types
  const ErrorModel& model() const { return model_; }
  // Component k. `scratch` [rank d] receives the basis of a low-rank component whose columns are close to dependent.
  GaussianView view(int64_t k, double* scratch) const;
  // Low rank: map^T (I - N^-1) map [rank, rank], zeros beyond the kept rank (gaussian.h).
  void reduction(int64_t k, double* matrix) const;
  int64_t bytes() const;
  int64_t scratch_size() const { return low_rank_ ? rank_ * d_ : 0; }

 private:
  struct Part {
    GaussianExtremes extremes;
    bool any = false;
  };

  void diagonal_part(int64_t k, Part& part);
  void low_rank_part(int64_t k, Part& part, std::vector<double>& rows);
  void scaled_rows(int64_t k, bool half, double* rows) const;
  int64_t independent_basis(int64_t k, double* rows, double* basis, double* loads) const;

  const Kernels& kernels_;
  const Target& target_;
  const Covariances& c_;
  const int64_t n_, d_, rank_;
  const double a_, b_;
  const bool low_rank_;
  std::vector<double> half_log_det_, precision_scale_, shared_precision_;
  std::vector<double> inner_, spread_;     // [n][rank][rank]
  std::vector<double> map_;                // [n][rank][rank]
  std::vector<int32_t> kept_rank_;         // [n]
  std::vector<uint8_t> dependent_;         // [n] columns too close to dependent for their Gram matrix
  ErrorModel model_;
};

}  // namespace regimes
