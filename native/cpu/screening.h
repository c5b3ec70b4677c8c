// Screening: for a block of queries, a superset of the rows whose logit l_i = log pi_i - |x - a y_i|^2 / (2 b^2) lies within a reach of
// the query's largest. What lies below the canonical reach, log n + 37, carries a mass of less than 2^-53 in all.
//
// Three rigorous upper bounds of a logit, each cheaper than the next one:
//   prefix   the same as the digits, of a projection to few coordinates, which shortens distances (PrefixRows), in float32
//   digits   |x - a y_i| >= |x_q - a image_i| - rho - a residual_i, rho = |x - x_q|, with the exact integer products of one digit
//            plane (DigitRows); x_q is the query rounded to fixed point. Rows of even length count as having the largest residual
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

inline constexpr int64_t screening_sample = 512;  // rows that tell how many will stay, at most
inline constexpr int64_t prepared_together = 16;  // queries, at most, that meet what they share while it is near
inline constexpr int digit_tile_rows = 64;        // rows whose largest value is remembered, without a prefix
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
  // All of them, ascending, in place of what the vectors held.
  void collect(int64_t q, std::vector<int32_t>& rows, std::vector<double>& logits) const;

 private:
  struct Query {
    const double* x = nullptr;
    bool open = true;
    bool listed = false;  // has candidates
    double best = -std::numeric_limits<double>::infinity();   // largest logit known,
    int64_t best_row = -1;                                    // that of this row;
    double floor = -std::numeric_limits<double>::infinity();  // what the logit of a row that stays reaches by now,
    double radius = std::numeric_limits<double>::infinity();  // and how far off it is at most
  };

  // The digits of the rows, and the queries of the block in their fixed point.
  struct Digits {
    struct Query {
      double square = 0;          // |x_q|^2 about the origin of the rows
      double displacement = 0;    // |x - x_q|, rounded up
      double step = 0;            // of the fixed point
      double centre = 0;          // step sum_k X_k centre_k, which values of uneven rows leave out,
      double in_threshold = 0;    // and which the threshold of even rows contains
      double radius = 0;          // in values: the digit_radius of its time
      bool ready = false;         // all of this is known
      bool sampled = false;       // its values of the sample are there
    };
    explicit Digits(const DigitRows& digit_rows);

    const DigitRows& rows;
    const bool uneven;
    int64_t single_bytes = 0;
    std::vector<double> centre, per_scale;  // [d] per_scale: 1 / scale, 0 where that is 0
    std::vector<Query> queries;
    LineVector<int32_t> fixed;          // [block][d] X
    LineBytes singles;                  // [block][single_bytes] X as single_products reads it
    LineVector<double> sample_values;   // [block][sample_stride], without slack
    LineVector<double> tile_most;       // [tiles][block]
    std::vector<double> least_slack;    // [tiles]

    bool exist() const { return rows.rows != nullptr; }
    const char* single(int64_t q) const { return singles.data() + q * single_bytes; }
    const uint8_t* row(int64_t i) const { return rows.rows + i * rows.stride; }
  };

  // The same of the prefix.
  struct Prefix {
    struct Query {
      double square = 0, displacement = 0;  // |x_q|^2 about the origin of the rows, |F(x') - x_q|
      ProjectedQuery rounded{0, 0, 0, 0};
    };
    explicit Prefix(const PrefixRows& prefix_rows);

    const PrefixRows& rows;
    double origin_norm = 0;
    std::vector<double> per_scale;         // [columns] 1 / scale, or 0 for a narrow column: there the query is not rounded
    std::vector<double> centre_per_scale;  // [columns], likewise
    int64_t query_bytes = 0;
    std::vector<Query> queries;
    LineBytes packed;                   // [block][query_bytes]
    LineVector<float> bias;             // [tiles][64]
    LineVector<float> least_slack;      // [tiles]
    LineBytes sample;                   // tiles of the sample's rows
    LineVector<float> sample_gain, sample_slack, sample_bias;
    LineVector<float> sample_values;    // [block][sample_stride], without slack
    // Of the pass over all tiles.
    std::vector<int64_t> members;
    std::vector<ProjectedQuery> member_queries;
    std::vector<const char*> member_packed;
    LineVector<float> tile_most;        // [tiles][members]

    bool exists() const { return !rows.empty(); }
    const uint8_t* tile(int64_t t) const { return rows.tiles.data() + t * projected_tile * rows.columns; }
    ProjectedRows of_rows(int64_t t) const {
      const int64_t row = t * projected_tile;
      return {rows.gain.data() + row, rows.residual.data() + row, bias.data() + row};
    }
    const char* query(int64_t q) const { return packed.data() + q * query_bytes; }
  };

  Candidates& list(int64_t chunk, int64_t q) { return lists_[chunk * block_ + q]; }
  void set_best(Query& query, double best) const;
  // In units of <x', y'>: the logit times b^2 / a, less what all rows share.
  double bias_of(int64_t row, double half_square) const { return std::max(gain_ * target_.log_weight(row) - a_ * half_square, -1e300); }
  // A row stays when its value reaches the threshold: DigitRowTerms, in plain form.
  struct RowTerms {
    double gain, slack, bias;
  };
  RowTerms terms_of(int64_t row) const {
    if (!digits_.uneven) return {1, 0, bias_of(row, digits_.rows.half_square[row])};
    const double slack = digits_.rows.residual[row];
    return {digits_.rows.gain[row], slack, bias_of(row, digits_.rows.half_square[row] - 0.5 * slack * slack)};
  }
  static double value(const Digits::Query& query, double product, const RowTerms& row, double radius) {
    return row.gain * (product * query.step - query.centre) + (row.slack * radius + row.bias);
  }
  double value(int64_t q, double product, int64_t row) const { return value(digits_.queries[q], product, terms_of(row), digits_.queries[q].radius); }
  // The same of the rows that stand side by side, as kernels read it.
  struct TileTerms {
    double gain[digit_tile_rows], slack[digit_tile_rows], bias[digit_tile_rows];
    bool uneven;

    DigitRowTerms view() const { return {uneven ? gain : nullptr, slack, bias}; }
  };
  TileTerms tile_terms(int64_t row, int count) const;
  struct LaneTerms {
    std::vector<double> step, centre, radius;

    DigitLaneTerms view(int64_t lane) const { return {step.data() + lane, centre.data() + lane, radius.data() + lane}; }
  };
  LaneTerms lane_terms(const std::vector<int64_t>& members) const;
  double longest(double square, double reached, double largest_norm, double largest_residual) const;
  double wanted(int64_t q, double square, double rho, double longest) const;
  double threshold(int64_t q) const;
  // What a row's slack counts in, by the best logit known now.
  double digit_radius(int64_t q) const {
    return digits_.uneven ? (queries_[q].radius + digits_.queries[q].displacement) * (1 + 0x1p-50) : 0;
  }
  void set_radius(int64_t q) { digits_.queries[q].radius = digit_radius(q); }
  float prefix_radius(int64_t q) const;
  float prefix_threshold(int64_t q) const;
  void improve_best(Query& query, int64_t row) const;

  // Calls body(first, count, worker) for groups of queries: large ones, but enough of them for all threads.
  template <class Body>
  void in_groups(int64_t total, const Body& body) {
    const int64_t together = std::clamp<int64_t>(total / (2 * pool_.size()), 4, prepared_together);
    pool_.run((total + together - 1) / together, [&](int64_t task, int worker) {
      body(task * together, std::min(together, total - task * together), worker);
    });
  }

  void prepare(int64_t first, int64_t count, const double* x, int worker);
  void prepare_digits(const std::vector<int64_t>& members);
  void prepare_digits(int64_t q, int worker);

  // screening_prefix.cpp
  void prepare_prefix(int64_t first, int64_t count, int worker);
  float prefix_bias(int64_t row) const { return static_cast<float>(std::max(bias_of(row, static_cast<double>(prefix_.rows.half_square[row])), -1e37)); }
  void prepare_prefix_sample();
  void seed_from_prefix_of_sample(int64_t q);
  bool stays_alike_by_prefix(int64_t q, double share) const;
  void find_by_prefix();
  void pass_over_prefix(int64_t chunk);
  void seed_from_prefix(int64_t first, int64_t count);
  void list_by_prefix(int64_t chunk, const std::vector<float>& thresholds, const std::vector<float>& less);

  // screening_sample.cpp
  void prepare_sample();
  bool more_than(double share, int64_t staying) const;
  void find_samples(const std::vector<int64_t>& members);
  bool stays_alike(int64_t q, double share) const;
  void try_sample();
  std::vector<int64_t> try_sample_again();

  // screening_tiles.cpp
  void find_by_tiles();
  void pass_over_tiles(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed);
  void tile_values(int64_t row, int count, int64_t q, double* values) const;
  void seed_from_tiles(int64_t q);
  bool list_by_tiles(int64_t q);

  void list_rows(const std::vector<int64_t>& members);
  std::vector<DigitLine> pack_members(const std::vector<int64_t>& members) const;
  void list_by_groups(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed);
  void list_by_singles(int64_t chunk, int worker, const std::vector<int64_t>& members);
  void list_masks(int64_t chunk, int64_t first, int count, const uint16_t* masks, int groups, const int64_t* members);

  void drop_by_digits(const std::vector<int64_t>& members);
  void find_values(int64_t chunk, int64_t q);
  void drop(int64_t chunk, int64_t q);
  void find_logits(int64_t chunk, int64_t q);
  int64_t listed(int64_t q) const;

  const Instructions& set_;
  const Target& target_;
  const double a_, b_;
  ThreadPool& pool_;
  const Execution& execution_;
  const int64_t n_, d_, chunks_, block_, most_;
  const double reach_, share_, listed_share_, largest_log_weight_, smallest_log_weight_, gain_;
  Prefix prefix_;
  Digits digits_;
  std::vector<int32_t> sample_;  // of the rows that have weight,
  double sampled_rows_ = 0;      // so many
  int64_t sample_stride_ = 0;    // between the values of two queries

  // Work areas of each thread.
  struct Work {
    LineVector<double> products, parts, projections;
    LineVector<float> floats;
    LineVector<int32_t> fixed;
  };
  std::vector<Work> work_;

  // The block of queries at hand.
  int64_t count_ = 0;
  std::vector<Query> queries_;
  std::vector<Candidates> lists_;  // [chunks][block]
};

}  // namespace regimes
