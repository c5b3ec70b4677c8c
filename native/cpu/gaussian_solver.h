// S^-1 and C of one Gaussian applied to up to 8 vectors at a time; each vector's result is independent of its neighbours.
#pragma once

#include <vector>

#include "../core/gaussian.h"
#include "kernels.h"

namespace regimes {

inline constexpr int solver_vectors = 8;

class GaussianSolver {
 public:
  GaussianSolver(const Kernels& kernels, int64_t d, int64_t rank);

  // Component `g` at (a, b); what it points to must stay.
  void load(const GaussianView& g, double a, double b);

  // Quadratic forms q = f^T S^-1 f of f = x - a m (or x itself, not `centred`) for `count` <= 8 vectors, and what the calls below
  // need. With limits (full only): a form that is sure to exceed its limit, for all that rounding (relatively `slack`) can do, may
  // come out as infinity; then only forms are valid.
  void forms(const double* const* x, int count, bool centred, double* q, const double* limits = nullptr, double slack = 0);
  // Forms of a full covariance estimated from a stride through its eigenvectors.
  void estimates(const double* const* x, int count, double* q);

  // out [count][d] = S^-1 f, and C S^-1 f.
  void pulls(int count, double* out);
  void moves(int count, double* out);

  double precision_trace() const;  // tr S^-1
  double inner_trace() const;      // tr C S^-1

 private:
  void back_substitute(int count);
  void combine(const double* c, int count);
  double inner_solved(int64_t j) const;

  const Kernels& kernels_;
  const int64_t d_;
  GaussianView g_;
  double a_ = 0, b_ = 0;
  std::vector<double> precision_;      // 1 / (a^2 v + b^2), [1] or [d]
  std::vector<double> root_;           // low rank: its square root
  std::vector<double> difference_;     // [8][d]
  std::vector<double> coefficients_;   // [8][d] full, [8][rank] low rank
  std::vector<double> second_;         // likewise
  std::vector<double> partial_;        // [8][d]
  std::vector<double> mapped_;         // [8][rank]
};

}  // namespace regimes
