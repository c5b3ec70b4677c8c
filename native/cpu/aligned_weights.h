// Weights of many components for a block of queries (mixture_aligned.h): exp(l - max) of all from products, in float32 and block by block;
// those of the heavy ones anew in float64, with their scores.
#pragma once

#include <memory>
#include <vector>

#include "../core/log_sum_exp.h"
#include "aligned_queries.h"

namespace regimes {

// What the weights of a query sum to.
struct AlignedSums {
  double max = -INFINITY;       // largest logit of the products, without the ground's part
  double light = 0, whole = 0;  // sum of exp(l - max) over the light and over all
  double left_out = 0;          // part of them, light components that take no part in the score
  double excess = 0;            // sum over the other light ones of exp(l - max) (P_k - P), in units of the rows
  LogSumExp<double> sums;       // of all, logits with the ground's part; gap_squared is a bound
  int64_t survivors = 0;        // components that entered, where all are heavy; 0: all
};

// Sums of a block of components for 16 queries.
struct AlignedBlockSums {
  DenseSums dense;
  // Of the light ones, e = exp(l - max) with the largest of all: sum e, 0 where the score leaves the block out, sum e^2,
  // sum e (max - l), sum e (P_k - P).
  double light[digit_lanes], squares[digit_lanes], gap[digit_lanes], excess[digit_lanes];
};

// Work areas of AlignedWeights that may serve again.
struct AlignedWeightAreas {
  int64_t size = 0;
  std::unique_ptr<float[]> weights;      // [groups][n][16]
  std::vector<AlignedBlockSums> blocks;  // [blocks][groups]
  std::vector<double> heavy_scores;      // [count][d]

  int64_t bytes() const {
    return size * 4 + static_cast<int64_t>(blocks.capacity() * sizeof(AlignedBlockSums) + heavy_scores.capacity() * sizeof(double));
  }
};

class AlignedWeights {
 public:
  // `scores`: the heavy ones' are wanted.
  AlignedWeights(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows& rows,
                 const AlignedQueries& queries, bool scores, int32_t class_count)
      : set_(set), target_(target), at_(at), rows_(rows), queries_(queries), scores_(scores), class_count_(class_count), n_(rows.n),
        d_(rows.d) {}

  // For the `count` queries x that `queries` holds.
  void find(const double* x, int64_t count, ThreadPool& pool, const Execution& execution);

  AlignedWeightAreas areas;

  const AlignedSums& of(int64_t q) const { return each_[q]; }
  const AlignedBlockSums& block(int64_t b, int64_t group) const { return areas.blocks[b * queries_.groups + group]; }
  // [n - row][16] exp(l - largest of its block), 0 for the heavy ones.
  const float* weights(int64_t group, int64_t row) const { return areas.weights.get() + (group * n_ + row) * digit_lanes; }
  // exp(largest of a block - max).
  double scale(int64_t b, int64_t q) const {
    return std::exp(max_of(b, q / digit_lanes, static_cast<int>(q % digit_lanes)) - each_[q].max);
  }
  const double* heavy_score(int64_t q) const { return areas.heavy_scores.data() + q * d_; }  // sum of exp(l - max) S_k^-1 (x - a m_k)
  double class_mass(int64_t q, int32_t c) const { return masses_[(q / digit_lanes * class_count_ + c) * digit_lanes + q % digit_lanes]; }

 private:
  struct Heavy {
    int32_t component;
    double approximate;  // exp(l - max) from the products, > 0
    float stored;        // the same relative to the largest of its block
    double logit;        // in float64
  };
  struct Heavies {
    std::vector<Heavy> each;
    bool all = false;             // whether these are all that count
    bool alone = false;           // whether the score leaves out all others
    double trimmed = 0, trimmed_squares = 0;  // sums over those that left `each` again, as light ones
    double top = -INFINITY, total = 0;  // largest logit, sum of exp(l - max)
    int64_t top_component = 0;
  };

  void weigh(int64_t b, int64_t group, std::vector<double>& scratch);
  void combine(int64_t group, const Execution& execution);
  void add_masses(int64_t group);
  double add_blocks(int64_t q, int64_t& top_block);
  void weigh_heavy(int64_t q, std::vector<double>& scratch, Heavies& heavies);
  void move(int64_t group, const Heavies* heavies, const bool* wanted, bool back);
  void sum_light(int64_t group, int64_t b, const bool* marked);
  void add_light(int64_t q, double total, const Heavies& heavies);
  void fetch(int64_t k) const;
  double exact_logit(int64_t q, int64_t k, double* f, double* precision) const;
  double heavy_share(int64_t q) const;
  double left_out_share(int64_t q) const;
  void find_heavy(int64_t group, const double* total, const int64_t* top_block, Heavies* out);
  bool trim(int64_t q, double total, Heavies& heavies) const;
  void collect(int64_t group, const double* least, const int64_t* top_block, bool* open, int64_t most, Heavies* out) const;
  AlignedBlockSums& own_block(int64_t b, int64_t q) { return areas.blocks[b * queries_.groups + q / digit_lanes]; }
  float* own_weights(int64_t group, int64_t row) { return areas.weights.get() + (group * n_ + row) * digit_lanes; }
  double max_of(int64_t b, int64_t group, int lane) const { return block(b, group).dense.halves[lane / lanes].max[lane % lanes]; }

  const Instructions& set_;
  const Target& target_;
  const GaussiansAt& at_;
  const AlignedRows& rows_;
  const AlignedQueries& queries_;
  const bool scores_;
  const int32_t class_count_;
  const int64_t n_, d_;
  const double* x_ = nullptr;
  std::vector<AlignedSums> each_;          // [count]
  std::vector<double> masses_;             // [groups][classes][16]
};

}  // namespace regimes
