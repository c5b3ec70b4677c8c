// One Gaussian component at one (a, b), and what rounding does to its logit and pull. S = a^2 C + b^2 I.
#pragma once

#include <cstdint>

#include "error_bound.h"
#include "operations.h"

namespace regimes {

// The parts a type does not need are null. Low rank: with E = diag(1 / (a^2 psi + b^2)) and Q = map basis E^(1/2), whose rows are
// orthonormal and span the columns of E^(1/2) W, C = psi + E^(-1/2) Q^T spread Q E^(-1/2), N = I + a^2 spread:
//   S^-1 = E^(1/2) [I - Q^T Q + Q^T N^-1 Q] E^(1/2),  det S = det N / det E.
// Nothing is subtracted but the projection, so no b is too small.
struct GaussianView {
  Covariances::Type type = Covariances::Type::spherical;
  int64_t d = 0;
  int64_t rank = 0;               // rows of the basis
  const double* mean = nullptr;   // [d]
  const double* values = nullptr; // spherical [1], diagonal [d], low_rank psi [d], full: eigenvalues [d]
  const double* basis = nullptr;  // full: eigenvectors [d, d]; low_rank [rank, d], W^T unless its columns are close to dependent
  const double* map = nullptr;    // low_rank [rank, rank]
  const double* inner = nullptr;  // low_rank: lower Cholesky factor of N [rank, rank]
  const double* spread = nullptr; // low_rank [rank, rank]
};

// Extremes over the components of a mixture at one (a, b).
struct GaussianExtremes {
  double smallest_variance = 0;  // smallest eigenvalue of any S_k
  double condition = 1;          // largest ratio of eigenvalues within one S_k
  double loading = 0;            // full: largest of a^2 lambda_max / 2 tr S^-1, how errors of eigenvalues enter log det S
};

// Full: the decomposition is exact for a matrix within 10 d u lambda_max, which moves a quadratic form relatively by that times the
// condition number, and log det S by `loading` times it. Low rank: a residual next to W is known to the root of the condition number.
ErrorModel mixture_error_model(const Target& mixture, const GaussianExtremes& extremes);

// Code::range where rounding would reach a tenth of a quadratic form: a singular covariance with noise beneath its own rounding.
Status check_conditioning(const ErrorModel& model, double b);

}  // namespace regimes
