// Queries near few low-rank Gaussians, in float64: logits and scores of exactly the components whose float64 logits lie within
// log n + listed_logits of the largest, where they are at most most(). Rough logits with errors, from bytes (mixture_bytes.h) or float32
// (mixture_dense.h), only tell which components need not be looked at: whichever they are, the same queries are answered, with the
// same bits.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "mixture_rows.h"

namespace regimes {

// Left out weighs less than exp(-listed_logits) = 2e-8.
inline constexpr double listed_logits = 18;

class MixtureListed {
 public:
  struct Entry {
    int32_t component;
    double logit, weight;
    int64_t place;  // of its h
  };

  MixtureListed(const Instructions& set, const Target& target, const MixtureRows& rows);

  // Components of an answer; 0: none are given.
  int64_t most() const { return most_; }

  // Forgets all answers; there will be `count` queries.
  void start(int64_t count);

  // Tries the queries x[queries[i]], of which |logit_k - logits[k * stride + i]| <= errors[k * stride + i]. `decisive`: leaves no query
  // that could be answered, however many components must be looked at. Code::cancelled.
  Status answer(const double* x, const std::vector<int32_t>& queries, const double* logits, const float* errors, int64_t stride, bool decisive,
                ThreadPool& pool, const Execution& execution);

  // Of query q. Answers meet the contract.
  bool answered(int64_t q) const { return !answers_[q].entries.empty(); }
  const std::vector<Entry>& entries(int64_t q) const { return answers_[q].entries; }  // by component
  const double* score(int64_t q) const { return score_.get() + q * d_; }
  double error_score(int64_t q) const { return answers_[q].error_score; }
  double error_log_density(int64_t q) const { return answers_[q].error_log_density; }

 private:
  struct Answer {
    std::vector<Entry> entries;
    double error_score = 0, error_log_density = 0;
  };

  bool weigh(const ExactForm* forms, int64_t count, Answer& answer) const;
  void sum_scores(const double* x, const std::vector<int32_t>& queries, ThreadPool& pool, const Execution& execution);

  const Instructions& set_;
  const Target& target_;
  const MixtureRows& rows_;
  const GaussiansAt& at_;
  const int64_t n_, d_, most_;
  double highest_ = -INFINITY;  // logit where f = 0
  std::vector<Answer> answers_;
  std::unique_ptr<double[]> score_;  // [count][d], of answers alone
  std::vector<double> h_;            // of all forms of a call, [forms][rank]
};

}  // namespace regimes
