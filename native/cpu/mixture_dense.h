// Full and low-rank Gaussians where many components may carry weight: logits and scores from products in float32 of the rows of
// mixture_rows.h, with bounds that are checked query by query. With t = B f, h = M t:
//   q = f^T G f - t . h,   S^-1 f = G f - B^T h,   sum_k r_k S_k^-1 f_k = x' sum r G - sum_k r_k (l_k + B_k^T h_k)
// A product joins chains in float32, several chains in float32, and these in float64. The components whose errors weigh most are
// refined: their logits are summed in float64.
//
// Bounds, u = 2^-24. Roundings in products count as independent errors of mean zero, as in posterior_dense.h: a weighted sum of them
// exceeds `deviations` times the root of its summed squares with probability 2 exp(-deviations^2 / 2). A rounding is at most u times
// the partial sum, which is at most the product of the norms of what entered it, so that with chains of c, m together,
//   |dl_k|^2 <= deviations^2 u^2 (X^2 (H^2 + |l|^2) + Y^2 |D|^2 / 4),  H^2 = sum_i h_i^2 |B_i|^2,
//   X^2 = (c + 1) max |x'_chain|^2 + (m - 1) max |x'_chains|^2 + max x'_j^2, Y likewise of x'^2 - level,
//   |d sum r (l + B^T h)|^2 <= deviations^2 u^2 (c g_c + (m - 1) g_mc + 6) sum r^2 (H^2 + |l|^2)
// where |sum of s rows|^2 <= g_s sum of their squares: g_s = s, or 3 where rows of B are orthonormal and s at a time. What the first
// product rounds in h moves the score by sum r_k B_k^T M_k dt_k, and sum_i |P_i|^2 <= |x'_chain|^2 for partial sums P_i over a chain of
// orthonormal rows, B^T M B <= G for any:
//   full      |B^T M dt|^2 <= deviations^2 u^2 |M|^2 (c + m + 1) |x'|^2
//   low rank  |B^T M dt|^2 <= deviations^2 |B^T M|^2 sum_i |dt_i|^2 <= deviations^2 u^2 max G |M| X^2 sum_i |B_i|^2
// The errors of logits move log p by their average, the score by sum r_k d_k (S_k^-1 f_k - average). All else is deterministic.
#pragma once

#include <memory>
#include <vector>

#include "../core/kept_preparation.h"
#include "chain_stretch.h"
#include "cpu.h"
#include "line_bytes.h"
#include "mixture_listed.h"

namespace regimes {

class MixtureDense {
 public:
  // True for requests that this path can answer.
  static bool applies(const Instructions& set, const Target& target, const PosteriorRequest& request);

  MixtureDense(const Instructions& set, const Target& target, const MixtureRows& rows);

  // The queries x[queries[i]]; those near few components `listed` answers. Work areas of at most about 300 MB. Code::cancelled.
  Status run(const double* x, const std::vector<int32_t>& queries, MixtureListed& listed, ThreadPool& pool, const Execution& execution);

  // Of query i of the list. `answered`: score and bounds are valid and meet the contract.
  bool answered(int64_t i) const { return answered_[i] != 0; }
  double logit(int64_t k, int64_t i) const { return logit_[k * stride_ + i]; }
  float upper(int64_t k, int64_t i) const;  // of the logit
  const double* score(int64_t i) const { return score_.get() + i * d_; }
  double error_score(int64_t i) const { return error_score_[i]; }
  double error_log_density(int64_t i) const { return error_log_density_[i]; }

 private:
  // A run of components whose rows pass together.
  struct Part {
    int64_t first, end;
  };
  // 16 queries as the first products take them.
  struct Packed {
    LineBytes lanes, squares;  // [groups][d][16]
    std::vector<CentredLanes> norms;
    int64_t groups = 0;

    const float* x(int64_t group, int64_t d) const { return reinterpret_cast<const float*>(lanes.data()) + group * d * digit_lanes; }
    const float* square(int64_t group, int64_t d) const { return reinterpret_cast<const float*>(squares.data()) + group * d * digit_lanes; }
  };

  // Of one worker.
  struct Scratch {
    std::vector<double> product, curved;
  };
  // Of the block at hand: work areas that may serve the next call.
  struct Areas : KeptPreparation::Work {
    Packed packed;
    std::vector<float> h;                      // [parts][groups][rows][16]
    LineBytes factors, weights;                // of the sums
    std::vector<Scratch> scratch;

    int64_t bytes() const;
  };

  const MixtureRows::Tile& tile_of(int64_t first, int64_t end, ThreadPool& pool, const Execution& execution);
  void pack(const double* x, const int32_t* queries, int64_t count, ThreadPool& pool, Packed& packed) const;
  void answer_block(const double* x, const int32_t* queries, int64_t first, int64_t count, MixtureListed& listed, ThreadPool& pool,
                    const Execution& execution);
  void find_logits(const MixtureRows::Tile& tile, const Part& part, const Packed& packed, int64_t group, int64_t groups, int64_t first,
                   int64_t count, Scratch& scratch);
  float* h_of(const Part& part, int64_t group, int64_t all_groups) {
    return areas_.h.data() + (rows_.start(part.first) * all_groups + group * (rows_.start(part.end) - rows_.start(part.first))) * digit_lanes;
  }
  void settle(const double* x, const int32_t* queries, std::vector<int32_t> open, std::vector<int32_t>& wide, ThreadPool& pool,
              const Execution& execution);
  bool weigh(int64_t query, std::vector<int32_t>& wanted);
  void refine(const double* x, const int32_t* queries, std::vector<ExactForm>& forms, ThreadPool& pool, const Execution& execution);
  void sum_products(const double* x, const int32_t* queries, std::vector<int32_t>& wide, int64_t first, int64_t groups, ThreadPool& pool,
                    const Execution& execution);
  void finish(int64_t query);
  double moved_of(const CentredLanes& norms, int lane) const;
  // Of x', for |x'|: roundings in float64 beside those relative to f.
  double lost(double norm) const { return 0x1p-50 * (norm + rows_.farthest()); }

  const Instructions& set_;
  const Target& target_;
  const MixtureRows& rows_;
  const GaussiansAt& at_;
  const int64_t n_, d_;
  const bool full_;
  const ChainStretch chain_stretch_;           // of the products that give logits
  int64_t sum_chain_ = 0;                      // of the products that give scores
  int64_t least_size_;                         // of a component's rows of B
  MixtureRows::Tile tile_;                     // where not all rows are at hand
  std::vector<Part> parts_;

  // Of the list of queries.
  int64_t stride_ = 0;
  std::vector<double> logit_, weight_;         // [n][stride]
  std::vector<float> ground_;                  // [n][stride] f^T G f
  std::vector<float> spread_;                  // [n][stride] sqrt(H^2 + |l|^2)
  std::vector<float> shaken_, certain_;        // [n][stride] errors of the logit: `deviations` times the random one; deterministic
  std::vector<uint8_t> refined_;               // [n][stride]
  std::vector<uint8_t> answered_;
  std::vector<double> error_score_, error_log_density_, scale_, speed_, moved_weights_, second_, rough_, dropped_, norm_;
  std::vector<double> product_error_, moved_;  // of x': of products with it, and as it is rounded
  std::vector<double> limit_;                  // of moved_weights_
  std::unique_ptr<double[]> score_;            // [queries][d]

  Areas areas_;
};

}  // namespace regimes
