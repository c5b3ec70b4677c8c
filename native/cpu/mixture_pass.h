// One pass over the Gaussians of a mixture for a block of queries: float64 logits l_k = log pi_k - q_k / 2 - 1/2 log det(S_k / b^2) of
// those components that matter, and their sums. Components are dropped by rigorous bounds alone: what enters the sums of a cut pass
// are exactly those with l_k >= max - (log n + 37), whichever way they were found. Full and low-rank mixtures are answered by
// mixture_listed.h and mixture_dense.h instead where these meet the contract: functions of the query and the mixture alone.
#pragma once

#include <memory>
#include <vector>

#include "../core/log_sum_exp.h"
#include "gaussian_solver.h"
#include "mixture_dense.h"
#include "prepared_mixture.h"

namespace regimes {

class MixturePass {
 public:
  struct Entry {
    double logit;
    int32_t component;
    int32_t query;
  };

  // The queries that share one pass, so that what it keeps stays below 200 MB.
  static int64_t block_queries(int64_t n);

  // `screened`: only the components that can enter the sums are evaluated; otherwise all. `cut`: the sums are over those that count.
  // `dense`: float32 may answer.
  MixturePass(const Instructions& set, const Target& target, bool cut, bool screened, bool dense);
  // Prepares for (a, b); errors as of prepare_mixture.
  Status build(double a, double b, ThreadPool& pool, const Execution& execution);
  const GaussiansAt& at() const { return prepared_->at; }

  // x [count, d]. `guess` [count], or null: a component near the heaviest for each query; its logit is always evaluated.
  Status run(const double* x, int64_t count, const int32_t* guess, ThreadPool& pool, const Execution& execution);

  // Evaluated components of query q by index; those before cut() enter the sums where the pass is not screened.
  const Entry* begin(int64_t q) const { return entries_.data() + first_[q]; }
  const Entry* end(int64_t q) const { return entries_.data() + first_[q + 1]; }
  const LogSumExp<double>& sums(int64_t q) const { return sums_[q]; }
  double least(int64_t q) const { return least_[q]; }          // smallest logit that entered the sums
  double lead(int64_t q) const { return lead_[q]; }            // sums of one component: all others lie so far below it; else 0
  int64_t survivors(int64_t q) const { return survivors_[q]; }
  double guess_logit(int64_t q) const { return guess_logit_[q]; }
  // Whether query q has a score with bounds of its own, and how it was found; others are left to GaussianSolver.
  bool answered(int64_t q) const { return dense_ && (listed_->answered(q) || in_float32(q)); }
  Path path(int64_t q) const;
  const double* score(int64_t q) const { return in_float32(q) ? dense_->score(place_[q]) : listed_->score(q); }
  double error_score(int64_t q) const { return in_float32(q) ? dense_->error_score(place_[q]) : listed_->error_score(q); }
  double error_log_density(int64_t q) const { return in_float32(q) ? dense_->error_log_density(place_[q]) : listed_->error_log_density(q); }

 private:
  bool in_float32(int64_t q) const { return place_[q] >= 0 && dense_->answered(place_[q]); }
  void find_squares(const double* x, int64_t count, ThreadPool& pool, const Execution& execution);
  Status answer(const double* x, int64_t count, ThreadPool& pool, const Execution& execution);
  bool crowded() const;
  void find_guesses(const double* x, int64_t count, ThreadPool& pool, const Execution& execution);
  void evaluate_guesses(const double* x, int64_t count, ThreadPool& pool, const Execution& execution);
  void evaluate(const double* x, int64_t count, ThreadPool& pool, const Execution& execution);
  void evaluate_component(GaussianSolver& solver, std::vector<double>& scratch, int64_t k, const double* x, const std::vector<int32_t>& queries,
                          bool limited, std::vector<Entry>& out) const;
  double certain_reach(double logit) const;
  void sum_up(int64_t q);
  double bias(int64_t k) const { return target_.log_weight(k) - at().half_log_det(k); }

  const Instructions& set_;
  const Target& target_;
  const int64_t n_, d_;
  const bool cut_, screened_;
  const double reach_;
  const bool wants_dense_;
  std::shared_ptr<const PreparedMixture> prepared_;
  const MixtureBounds* bounds_ = nullptr;    // screened, where the target has bytes and float32 is not wanted
  const MixtureBytes* row_bytes_ = nullptr;  // low rank, where most queries may be near few components
  std::unique_ptr<MixtureListed> listed_;
  std::unique_ptr<MixtureDense> dense_;    // and listed_, or neither
  int64_t stride_ = 0;
  std::vector<double> square_;             // [n][stride] low rank: |f|^2 in units of the diagonal of S_k, full: |f|^2
  std::vector<float> bound_;               // [n][stride] of logits; empty without bounds
  std::vector<int32_t> place_;             // [count] of each query in the float32 pass, or -1
  std::vector<int32_t> guess_;
  std::vector<double> guess_logit_, cutoff_, least_, lead_;
  std::vector<int64_t> first_, survivors_;
  std::vector<Entry> entries_;
  std::vector<LogSumExp<double>> sums_;
};

}  // namespace regimes
