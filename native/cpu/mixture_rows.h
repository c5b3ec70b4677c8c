// The rows by which products in float32 give logits and scores of full and low-rank Gaussians at one (a, b). With f = x - a m and a
// diagonal G, S^-1 = G - B^T M B:
//   low rank  G = 1 / (a^2 psi + b^2), B = basis G, M = map^T (I - N^-1) map (gaussian.h)
//   full      G = p, the precision that most axes share, B the eigenvectors of the others, M = p - their precisions
// About the mean c of the means, x' = x - a c, m' = m - c,
//   B f = B x' - a B m',   f^T G f = scale sum_j common_j x'_j^2 + D . (x'^2 - level) - 2 l . x' + constant,   l = a G m'
// with, for low rank, the mean G of all components as `common` and D = G - common; for full p as `scale`, common = 1 and D = 0.
// Rows are stretched by factors of their own (dither.h), so that products of rows that agree round each in its own way.
#pragma once

#include <cmath>
#include <vector>

#include "cpu.h"
#include "gaussians_at.h"

namespace regimes {

// A component's form at a query, in float64: f^T S^-1 f, f^T G f, and a bound of |B^T h|; negative before it is known.
struct ExactForm {
  int32_t component, query;
  double form = -1, ground = 0, norm = 0;
  int64_t place = 0;  // of its h
};

class MixtureRows {
 public:
  // The rows of components [first, end) in float32.
  struct Tile {
    int64_t first = 0, end = 0;
    std::vector<float> values;      // [start(end) - start(first)][stride] B, then l, of each component, stretched
    std::vector<float> deviations;  // low rank: [end - first][stride] D, as l of the component
  };

  // What belongs to one component.
  struct Component {
    double scale = 1, constant = 0;  // of f^T G f
    double least = 0, most = 0;      // smallest of G, largest of S^-1
    double shared_error = 0;         // relative deviation of the axes that share p
    double norm = 0;                 // |M|
    double second_order = 0;         // |M| sum_i |B_i|^2
    double load = 0, deviation = 0;  // |l|, |D|
    double largest = 0;              // max_j |D_j|
  };

  MixtureRows(const Instructions& set, const Target& target, const GaussiansAt& at);
  Status build(ThreadPool& pool, const Execution& execution);  // Code::cancelled

  const GaussiansAt& at() const { return at_; }
  bool full() const { return full_; }
  int64_t stride() const { return stride_; }                      // of the rows: d, and more
  int64_t start(int64_t k) const { return start_[k]; }            // first row of component k, start(n) of all
  int64_t size(int64_t k) const { return start_[k + 1] - start_[k] - 1; }  // rows of B
  int64_t tile_components() const { return tile_; }
  const Component& component(int64_t k) const { return components_[k]; }
  const double* row_square(int64_t k) const { return row_square_.data() + start_[k]; }  // |B_i|^2
  const double* shrink(int64_t k) const { return shrink_.data() + start_[k]; }          // 1 / stretch of the rows, that of l last
  const double* offset(int64_t k) const { return offset_.data() + start_[k]; }          // a B_i . m'
  // M: full [size], its diagonal; low rank [rank, rank].
  const double* matrix(int64_t k) const { return matrix_.data() + (full_ ? start_[k] : k * rank_ * rank_); }
  const std::vector<double>& origin() const { return origin_; }   // [d] c
  const std::vector<double>& common() const { return common_; }   // [d]
  const std::vector<double>& level() const { return level_; }     // [d], empty for full
  double least_common() const { return least_common_; }
  double farthest() const { return farthest_; }           // a (|c| + max_k |m'_k|)
  double steepest() const { return steepest_; }           // largest `most`
  double most_common() const { return most_common_; }
  // Whether float32 holds precisions and the squares they meet.
  bool in_float32() const { return least_ >= 0x1p-100 && steepest_ <= 0x1p100; }
  // The tile of all components, or null: then fill() makes those of tile_components() at a time.
  const Tile* whole() const { return tile_ == n_ ? &whole_ : nullptr; }
  void fill(int64_t first, int64_t end, Tile& tile, ThreadPool& pool, const Execution& execution) const;

  // One component in float64, for count <= solver_vectors queries at a time. Each query's result is independent of its neighbours.
  class Exact {
   public:
    explicit Exact(const MixtureRows& rows);
    void load(int64_t k);
    // form = f^T S^-1 f, ground = f^T G f, norm >= |B^T h|; h [count][size] stays here.
    void forms(const double* const* x, int count, double* form, double* ground, double* norm);
    const double* h(int v) const { return h_.data() + v * size_; }
    int64_t size() const { return size_; }
    const double* weight() const { return weight_.data(); }  // low rank: G
    // out [count][d] = f - basis^T h, which is G^-1 S^-1 f, of a low-rank component.
    void pulls(const double* const* x, const double* const* h, int count, double* out);

   private:
    const MixtureRows& rows_;
    const Kernels& kernels_;
    int64_t k_ = -1, size_ = 0;
    const double* mean_ = nullptr;
    const double* basis_ = nullptr;
    std::vector<double> scratch_, weight_, variance_, loaded_, t_, h_;
  };

  // Fills the forms at queries x[index[form.query]], index null: x[form.query]; they are then in the order of their components.
  // h, where not null, receives h of each at form.place * rank.
  void exact_forms(const double* x, const int32_t* index, std::vector<ExactForm>& forms, double* h, ThreadPool& pool,
                   const Execution& execution) const;

  int64_t bytes() const;

 private:
  void weights_of(int64_t k, double* weight) const;
  int64_t axis(int64_t k, int64_t i) const { return full_ && i >= shared_first_[k] ? i + shared_end_[k] - shared_first_[k] : i; }
  void describe(int64_t k);
  void fill_component(int64_t k, Tile& tile) const;

  const Instructions& set_;
  const Target& target_;
  const GaussiansAt& at_;
  const int64_t n_, d_, rank_, stride_;
  const bool full_;
  int64_t tile_ = 1;
  double least_common_ = 1, most_common_ = 1, farthest_ = 0, steepest_ = 0, least_ = INFINITY;
  std::vector<double> origin_, common_, level_;
  std::vector<int64_t> start_;
  std::vector<int64_t> shared_first_, shared_end_;  // full: [n] the axes that share p
  std::vector<double> row_square_, shrink_, offset_, matrix_;
  std::vector<Component> components_;
  Tile whole_;
};

}  // namespace regimes
