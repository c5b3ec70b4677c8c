// Screening: for a block of queries, a superset of the rows whose logit l_i = log pi_i - |x - a y_i|^2 / (2 b^2) lies within a reach of
// the query's largest. What lies below the canonical reach, log n + 37, carries a mass of less than 2^-53 in all.
//
// Three rigorous upper bounds of a logit, each cheaper than the next one:
//   prefix   <x', y'_i> <= <U x', f_i> + |x'_perp| p_i in float32, 32 products per row (PrefixRows)
//   digits   |x - a y_i| >= |x_q - a image_i| - rho, rho = |x - x_q| + a residual, with the exact integer products of one digit
//            plane (DigitRows); x_q is the query rounded to fixed point
//   float64  the logit itself, for seeds: the largest known logit minus the reach is what a row must reach to stay
// Rows that stay are a function of the query and the data alone up to the slack of the bounds, and so is the decision that too many
// stay (`open`): queries are handled together only for speed.
#pragma once

#include <algorithm>
#include <vector>

#include "../core/layouts.h"
#include "../core/thread_pool.h"
#include "cpu.h"

namespace regimes {

// What stays: rows within `reach` of the largest logit, for queries with at most `most` of them, n / 4 or less.
struct ScreeningScope {
  int64_t most;
  double reach;
  double share = 0;  // of a sample of the rows, once the largest logit is known; 0: a tenth, or without a prefix half more than `most`
};

// Queries handled together, a multiple of digit_lanes: many, so that rows are read from memory once for all of them; fewer for very
// many rows, so that candidates, `most` rows of 12 bytes a query once the thresholds are final, stay below about 256 MB.
inline int64_t screened_queries(int64_t n, int64_t most) {
  return std::clamp<int64_t>((int64_t{1} << 24) / std::max(most, n / 8 + 1) / digit_lanes * digit_lanes, digit_lanes, 256);
}

inline constexpr int64_t screening_sample = 512;  // rows that tell how many will stay
inline constexpr int64_t prefix_tile_rows = 32;   // rows whose largest bound is remembered
inline constexpr int digit_tile_rows = 64;        // the same of the digits, without a prefix
inline constexpr int64_t few_queries = 3;         // so few see the rows one by one

// Rows of one chunk that stay for one query, ascending, and a number for each: the digit product, then the logit.
struct Candidates {
  std::vector<int32_t> rows;
  std::vector<double> values;
};

class Screening {
 public:
  // The target has layouts; a > 0. Queries with more candidates than the scope allows are closed. References must outlive the object.
  Screening(const Instructions& set, const Target& target, double a, double b, const ScreeningScope& scope, ThreadPool& pool,
            const Execution& execution);

  // Distance below the largest logit up to which a row counts.
  double reach() const { return reach_; }

  // Queries per call of run.
  int64_t block() const { return block_; }

  // Screens x [count, d], count <= block(). Stops early when the execution is cancelled.
  void run(const double* x, int64_t count);

  // False: so many rows would stay that screening does not pay; no candidates are given.
  bool open(int64_t q) const { return queries_[q].open; }
  // Candidates of query q in a chunk, with their float64 logits.
  const Candidates& candidates(int64_t chunk, int64_t q) const { return lists_[chunk * block_ + q]; }
  // All of them, ascending.
  void collect(int64_t q, std::vector<int32_t>& rows, std::vector<double>& logits) const;

 private:
  struct Query {
    const double* x = nullptr;
    bool open = true;
    bool listed = false;        // has candidates from the prefix, or from tiles
    double best = 0;            // largest logit known
    double centred_square = 0;  // |x'|^2, x' = x - a c of the prefix
    double fixed_square = 0;    // |x'_q|^2 of the digits
    double displacement = 0;    // |x - x_q|, rounded up
    double step = 0;            // of the fixed point
    double centre_product = 0;  // sum_k X_k centre_k
    std::vector<int32_t> fixed; // X
    std::vector<DigitLine> packed;  // X as single_products reads it
    std::vector<double> sample;     // what digit_threshold is compared with, of the rows of the sample
  };

  Candidates& list(int64_t chunk, int64_t q) { return lists_[chunk * block_ + q]; }
  double digit_bias(int64_t row) const;
  float prefix_bias(int64_t row) const;
  double digit_threshold(const Query& query) const;
  float prefix_threshold(const Query& query) const;
  double floor_of(const Query& query) const;

  void prepare_prefix(int64_t q);
  void prepare_digits(int64_t q);
  void improve_best(Query& query, const int32_t* rows, int64_t count) const;
  void pass_over_prefix(int64_t chunk, int worker);
  void prefix_tile(int64_t row, int count, float* values) const;
  void try_sample(int64_t q);
  int64_t staying(int64_t q) const;
  void seed(int64_t q);
  void try_prefix_on_sample(int64_t group);
  void list_by_prefix(int64_t chunk, int worker);
  void find_by_tiles();
  void pass_over_tiles(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed);
  void tile_values(int64_t row, int count, const Query& query, double* values) const;
  void seed_from_tiles(int64_t q);
  void list_by_tiles(int64_t q);
  std::vector<DigitLine> pack_members(const std::vector<int64_t>& members) const;
  void list_by_digits(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed);
  void list_singly(int64_t chunk, int worker, const std::vector<int64_t>& members);
  void list_masks(int64_t chunk, int64_t first, int count, const uint16_t* masks, const std::vector<int64_t>& members);
  void digit_values(int64_t chunk, int64_t q);
  void drop(int64_t chunk, int64_t q);
  void find_logits(int64_t chunk, int64_t q);
  int64_t listed(int64_t q) const;

  const Instructions& set_;
  const Target& target_;
  const DigitRows& digits_;
  const PrefixRows& prefix_;
  const double a_, b_;
  ThreadPool& pool_;
  const Execution& execution_;
  const int64_t n_, d_, chunks_, block_, most_;
  const double reach_, share_;
  double largest_log_weight_ = 0, smallest_log_weight_ = 0;
  const bool with_prefix_, with_digits_;
  const std::vector<double> levels_;   // bytes of the digits' centre, as numbers
  std::vector<int32_t> sample_;
  std::vector<float> sample_prefix_;   // their rows of the prefix
  std::vector<double> directions_;     // [d][prefix_width] the basis of the prefix

  // Work areas of each thread.
  struct Work {
    std::vector<float> values;
    std::vector<double> products;
    std::vector<uint16_t> masks;
  };
  std::vector<Work> work_;

  // The block of queries at hand.
  int64_t count_ = 0, groups_ = 0;
  std::vector<Query> queries_;
  std::vector<float> prefix_queries_;  // [groups][prefix_width][16]
  std::vector<float> tile_largest_;    // [tiles][block]
  std::vector<double> tile_most_;      // [tiles][block] of the digits
  std::vector<float> chunk_best_;      // [chunks][block]
  std::vector<int32_t> chunk_where_;   // [chunks][block]
  std::vector<Candidates> lists_;      // [chunks][block]
};

}  // namespace regimes
