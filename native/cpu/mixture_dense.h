// Full and low-rank Gaussians where many components carry weight: logits and scores from products in float32, with bounds that are
// checked query by query. With f = x - a m and a diagonal G, S^-1 = G - B^T M B:
//   low rank  G = 1 / (a^2 psi + b^2), B = basis G, M = map^T (I - N^-1) map (gaussian.h)
//   full      G = p, the precision that most axes share, B the eigenvectors of the others, M = p - their precisions
//   t = B f, h = M t, q = f^T G f - t . h,   S^-1 f = G f - B^T h
// f^T G f is summed in float64; t = B x' - a B (m - c), x' = x - a c about the mean c of the means, and sum_k r_k B_k^T h_k are the two
// products. A product joins chains of 16 in float32, four chains in float32, and these in float64.
//
// Bounds, u = 2^-24. Roundings in products count as independent errors of mean zero, as in posterior_dense.h: a weighted sum of them
// exceeds `deviations` times the root of its summed squares with probability 2 exp(-deviations^2 / 2). A rounding is at most u times
// the partial sum, which is at most the product of the norms of what entered it, so that
//   |h . dt| <= deviations u X H,  H^2 = sum_i h_i^2 |B_i|^2,  X^2 = 16 max |x'_chain|^2 + 3 max |x'_chains|^2 + max x'_j^2
//   |d sum r B^T h| <= deviations u sqrt(16 16 + 3 64 + 4) sqrt(sum r^2 (H^2 + |a G m'|^2))
// The errors of logits move log p by their average, the score by sum r_k d_k (S_k^-1 f_k - average). All else is deterministic.
#pragma once

#include <vector>

#include "cpu.h"
#include "gaussians_at.h"
#include "line_bytes.h"

namespace regimes {

class MixtureDense {
 public:
  // True for requests that this path can answer.
  static bool applies(const Instructions& set, const Target& target, const PosteriorRequest& request);

  MixtureDense(const Instructions& set, const Target& target, const GaussiansAt& at);
  Status build(const Execution& execution);

  // So few components are cheaper in float64.
  int64_t few() const;

  // For the queries x[queries[i]] of a block; squares[k * stride + queries[i]] = f^T diag f with the diagonal of a low-rank component, or
  // |f|^2. known (null: none): a component of each query of the block whose logit is known in float64. Work areas of at most about
  // 300 MB.
  Status run(const double* x, const std::vector<int32_t>& queries, const double* squares, int64_t stride, const int32_t* known,
             const double* known_logits, ThreadPool& pool, const Execution& execution);

  // Of query i of the list. `answered`: score and bounds are valid and meet the contract, and the components at least `reach` count.
  bool answered(int64_t i) const { return answered_[i] != 0; }
  double logit(int64_t k, int64_t i) const { return logit_[k * stride_ + i]; }
  float upper(int64_t k, int64_t i) const;  // of the logit
  const double* score(int64_t i) const { return score_.data() + i * d_; }
  double error_score(int64_t i) const { return error_score_[i]; }
  double error_log_density(int64_t i) const { return error_log_density_[i]; }

 private:
  void build_rows(int64_t first, int64_t end, ThreadPool& pool, const Execution& execution);
  void answer_block(const double* x, const int32_t* queries, int64_t first, int64_t count, const double* squares, int64_t stride,
                    const int32_t* known, const double* known_logits, ThreadPool& pool, const Execution& execution);
  void pack(const double* x, const int32_t* queries, int64_t first, int64_t group, int64_t count);
  void find_logits(int64_t first_component, int64_t end_component, int64_t group, int64_t groups, const int32_t* queries, int64_t first,
                   int64_t count, const double* squares, int64_t stride);
  bool weigh(int64_t query, const double* squares, int64_t stride, int32_t at, int32_t known, double known_logit);
  void add_columns(int64_t first_component, int64_t end_component, int64_t column, int64_t group, int64_t groups, int64_t first);
  void answer(const double* x, int64_t query, int64_t group, int lane);

  const Instructions& set_;
  const Target& target_;
  const GaussiansAt& at_;
  const int64_t n_, d_;
  const bool full_;
  std::vector<double> origin_;                 // [d] c
  std::vector<int64_t> start_;                 // [n + 1] first row of each component in B
  std::vector<int32_t> axes_;                  // full: [rows] eigenvector of each row
  std::vector<double> ground_;                 // [n] full: p, low rank: 1
  std::vector<double> least_, most_;           // [n] extremes of G; of S^-1 the largest
  std::vector<double> shared_error_;           // [n] relative deviation of the axes that share p
  std::vector<double> matrix_;                 // full: [rows] p - precision; low rank: [n][rank][rank] M
  std::vector<double> second_order_;           // [n] |M| sum_i |B_i|^2
  std::vector<double> row_square_, offset_;    // [rows] |B_i|^2, a B_i . (m - c)
  std::vector<double> load_;                   // [n] a |G (m - c)|
  int64_t tile_ = 1;                           // components at hand at once
  int64_t built_ = -1;                         // first component of those whose rows are at hand
  std::vector<float> rows_;                    // [rows of the tile and its components][d]: B, then G (m - c)
  std::vector<float> diagonal_;                // low rank: [components of the tile][d] G

  // Of the list of queries.
  int64_t stride_ = 0;
  std::vector<double> logit_, weight_;         // [n][stride]
  std::vector<float> spread_, certain_;        // [n][stride] H; deterministic error of the logit
  std::vector<uint8_t> answered_;
  std::vector<double> chain_, moved_;          // X deviations u; |x' - float(x')|
  std::vector<double> error_score_, error_log_density_, scale_, speed_, moved_weights_, second_;
  std::vector<double> score_;                  // [queries][d]

  // Of the block.
  LineBytes lanes_, h_;                        // [groups][d][16] x', [groups][rows][16] h
  std::vector<double> sums_, gains_;           // [groups][d][16] sum r (a G m' + B^T h), and low rank: sum r G
};

}  // namespace regimes
