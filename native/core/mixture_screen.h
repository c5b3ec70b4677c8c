// The means of a mixture as bytes, for rigorous lower bounds of its quadratic forms (cpu/mixture_bounds.h), built once per target:
// m_k = origin + image_k + remainder, image_kj = scale_j (u_kj - centre_j), |remainder_k| <= residual_k.
#pragma once

#include <cstdint>
#include <vector>

#include "operations.h"

namespace regimes {

struct MixtureScreen {
  int64_t stride = 0;                    // d, rounded up to 64
  std::vector<uint8_t> rows;             // [n][stride] and 64 readable bytes
  std::vector<uint8_t> centre;           // [d]
  std::vector<double> scale;             // [d] >= 0
  std::vector<double> origin;            // [d]
  std::vector<double> image_square;      // [n] |image_k|^2
  std::vector<double> byte_norm;         // [n] |u_k - centre|, rounded up
  std::vector<double> residual;          // [n] rounded up
  std::vector<double> largest_residual;  // [d] max_k |remainder_kj|, rounded up
  std::vector<double> largest_variance;  // [d] max_k of the diagonal (low rank: of psi); empty for spherical and full
};

// Whether screening can pay: not for full covariances, whose eigenvectors cut forms short, nor for a handful of components.
bool wants_screen(const Target& mixture);

// After prepare(). A few passes over the means; the bits do not depend on the threads. Code::cancelled.
Status build_screen(const Target& mixture, const Execution& execution, MixtureScreen& screen);

}  // namespace regimes
