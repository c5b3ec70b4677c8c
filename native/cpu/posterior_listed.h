// The readings of one query over a list of rows that holds all those whose float64 logit lies within log n + 37 of the largest: the
// arithmetic of the refined path, which does not see what else the list holds, nor who made it.
#pragma once

#include <vector>

#include "cpu.h"
#include "lane_blocks.h"

namespace regimes {

struct RowList {
  std::vector<int32_t> places;  // in the view, ascending
  std::vector<int32_t> numbers; // of the target; empty: the places
  std::vector<double> logits;

  int64_t count() const { return static_cast<int64_t>(places.size()); }
  int32_t number(int64_t k) const { return numbers.empty() ? places[k] : numbers[k]; }
};

class ListedPosterior {
 public:
  ListedPosterior(const Instructions& set, const Target& target, const PosteriorRequest& request);

  // Fills the readings of query `at` from rows of `view`, stored as the target's. `list` is left with the rows that enter the sums, and
  // its logits with work. False, nothing written, when the weights of several cannot be told, or more are asked for than there are.
  bool answer(int64_t at, const DataView& view, RowList& list);

  // log sum exp of the logits of the last answer.
  double log_sum() const { return sums_.sums[0].log_sum(); }
  // Twice what rounding can have moved a logit by, in units of |x - a y|^2 / (2 b^2).
  static double rounding(const Target& target, double logit);

 private:
  bool refine_logits(int64_t at, const DataView& view, RowList& list);
  double extended_uncertainty(int64_t at, double largest) const;
  double make_relative(int64_t at, const DataView& view, RowList& list);
  void find_sums(RowList& list);
  void read_leading(int64_t at, const RowList& list) const;
  void find_denoised(const DataView& view, const RowList& list);

  const Instructions& set_;
  const Target& target_;
  const PosteriorRequest& request_;
  const int64_t d_;
  const double reach_, uniform_;

  // The query at hand.
  std::vector<double> exponentials_;  // exp(logit - max), padded to a multiple of 8
  LaneAccumulators sums_;             // in lane 0
  std::vector<double> denoised_;
  bool extended_ = false;             // logits are differences to the largest, to about 100 bits
  double uncertainty_ = 0;            // of such a difference, besides its relative rounding
  double reference_ = 0;              // what they lack to logits
  int64_t top_ = 0;                   // place of the largest
};

}  // namespace regimes
