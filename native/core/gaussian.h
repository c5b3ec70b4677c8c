// The components of a mixture at one (a, b): S_k = a^2 C_k + b^2 I, its determinant and traces.
#pragma once

#include <cstdint>
#include <vector>

#include "error_bound.h"
#include "operations.h"

namespace regimes {

// One Gaussian component at one (a, b); the parts a type does not need are null.
struct GaussianView {
  enum class Type { spherical, diagonal, full, low_rank };
  Type type;
  int64_t d;
  int64_t rank;
  const double* mean;          // [d]
  const double* values;        // spherical [1], diagonal [d], low_rank psi [d], full: eigenvalues [d]
  const double* eigenvectors;  // full: [d, d], rows u_r
  const double* factors;       // low_rank: W [d, rank]
  const double* capacitance;   // low_rank: lower Cholesky factor of I + a^2 W^T E W, [rank, rank]
};

struct GaussiansAt {
  std::vector<GaussianView> views;
  std::vector<double> half_log_det;     // 1/2 log det(S_k / b^2) >= 0
  std::vector<double> precision_trace;  // tr S_k^-1
  std::vector<double> inner_trace;      // tr C_k S_k^-1
  std::vector<double> capacitances;     // what the views of low-rank components point to
};

GaussiansAt gaussians_at(const Target& mixture, double a, double b);

// Rounding of the quadratic forms and solves grows with the condition number of S_k where they pass through an eigenbasis (full)
// or subtract a low-rank part.
ErrorModel mixture_error_model(const Target& mixture, double a, double b);

// Code::range where rounding would reach 1e-3 of a quadratic form: a low-rank covariance whose diagonal and noise are too small
// beside its factors for its solve to mean anything in float64.
Status check_conditioning(const Target& mixture, double a, double b);

}  // namespace regimes
