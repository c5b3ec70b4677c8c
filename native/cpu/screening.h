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
#include <limits>
#include <vector>

#include "../core/layouts.h"
#include "../core/thread_pool.h"
#include "cpu.h"
#include "line_bytes.h"

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
inline constexpr int64_t screening_seeds = 16;    // rows whose logit is computed to find the scale of the largest
inline constexpr int64_t prefix_tile_rows = 32;   // rows whose largest bound is remembered
inline constexpr int digit_tile_rows = 64;        // the same of the digits, without a prefix
inline constexpr int64_t few_queries = 16;        // so few see the rows as single queries

// Rows of one chunk that stay for one query, ascending, and a number for each: the digit product, then the logit.
struct Candidates {
  std::vector<int32_t> rows;
  std::vector<double> values;
};

class Screening {
 public:
  // The target has layouts; a > 0. Queries with more candidates than the scope allows are closed. References must outlive the object.
  // `queries`: how many there will be in all.
  Screening(const Instructions& set, const Target& target, double a, double b, const ScreeningScope& scope, int64_t queries, ThreadPool& pool,
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
    bool sampled = false;       // its products with the sample are there
    int32_t staying = 0;        // rows of the sample that reach the prefix's threshold
    double best = -std::numeric_limits<double>::infinity();  // largest logit known
    double centred_square = 0;  // |x'|^2, x' = x - a c of the prefix
    double fixed_square = 0;    // |x'_q|^2 of the digits
    double displacement = 0;    // |x - x_q|, rounded up
    double step = 0;            // of the fixed point
    double centre_product = 0;  // sum_k X_k centre_k
  };

  Candidates& list(int64_t chunk, int64_t q) { return lists_[chunk * block_ + q]; }
  double digit_bias(int64_t row) const;
  // What digit_threshold is compared with, from a product.
  double digit_value(const Query& query, double product, double bias) const { return product * query.step + bias; }
  const char* single(int64_t q) const { return singles_.data() + q * single_bytes_; }
  float prefix_bias(int64_t row) const;
  double digit_threshold(const Query& query) const;
  float prefix_threshold(const Query& query) const;
  double floor_of(const Query& query) const;

  void prepare(int64_t group, const double* x, int worker);
  void prepare_prefix(int64_t first, int64_t count);
  void prepare_digits(int64_t q, int worker);
  void improve_best(Query& query, const int32_t* rows, int64_t count) const;
  void pass_over_prefix(int64_t chunk, int worker);
  void prefix_tile(int64_t row, int count, float* values) const;
  void prepare_sample();
  void find_prefix_of_sample(int64_t group);
  void find_samples(const std::vector<int64_t>& members);
  void count_staying_by_prefix(int64_t group);
  int64_t staying(int64_t q) const;
  void try_sample();
  void try_sample_again();
  void close_if_alike(int64_t q);
  void seed_from_prefix(int64_t q);
  void list_by_prefix(int64_t chunk, int worker);
  void find_by_tiles();
  void pass_over_tiles(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed);
  void tile_values(int64_t row, int count, int64_t q, double* values) const;
  void seed_from_tiles(int64_t q);
  void list_by_tiles(int64_t q);
  std::vector<DigitLine> pack_members(const std::vector<int64_t>& members) const;
  void list_by_digits(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed);
  void list_by_singles(int64_t chunk, int worker, const std::vector<int64_t>& members);
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
  const int64_t single_bytes_;
  std::vector<int32_t> sample_;
  std::vector<double> sample_bias_;
  std::vector<float> prefix_sample_, prefix_sample_bias_;  // their rows of the prefix

  // Work areas of each thread.
  struct Work {
    LineVector<float> values;
    LineVector<double> products, centred, weighted;
    std::vector<uint16_t> masks;
  };
  std::vector<Work> work_;

  // The block of queries at hand.
  int64_t count_ = 0, groups_ = 0;
  std::vector<Query> queries_;
  LineVector<int32_t> fixed_;          // [block][d] X
  LineBytes singles_;                  // [block][single_bytes] X as single_products reads it
  LineVector<double> sample_values_;   // [block][sample] of the digits
  LineVector<float> prefix_sample_values_;  // [groups][sample][16]
  LineVector<float> prefix_queries_;  // [groups][prefix_width][16]
  LineVector<float> tile_largest_;    // [tiles][block]
  LineVector<double> tile_most_;      // [tiles][block] of the digits
  LineVector<float> chunk_best_;      // [chunks][block]
  std::vector<int32_t> chunk_where_;   // [chunks][block]
  std::vector<Candidates> lists_;      // [chunks][block]
};

}  // namespace regimes
