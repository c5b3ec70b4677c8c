// Trajectories that ran in the span of a reduction (lib/sampler/reduction.ts), in all d dimensions: x = U^T y + p with p outside the span,
// drawn from its joint law at the end (value 0) and at the records (value 1 + record):
//   p_v = constant_v q + start_v p(0) + sum_{j <= v} factor_vj e_j,   e_j = (1 - U^T U) normals(seed, trajectory, first_draw + j).
#pragma once

#include "operations.h"
#include "philox.h"
#include "status.h"

namespace regimes {

struct LiftRequest {
  int64_t d = 0;
  int64_t dimension = 0;              // r, of y
  const double* basis = nullptr;      // U [r, d], orthonormal
  const double* rest = nullptr;       // q [d]
  double variance = 0;                // v, in all directions of the complement
  const double* constant = nullptr;   // [1 + records]
  const double* start = nullptr;      // [1 + records]
  const double* factor = nullptr;     // [1 + records, 1 + records], lower triangular; e_j is not drawn where factor_jj = 0
  MatrixView rows;                    // starts [count, d], whose part outside the span is p(0); data = null: none
  uint64_t seed = 0;
  uint64_t first = 0;
  int64_t count = 0;
  uint32_t first_draw = 0;
  const double* ends = nullptr;       // y at the end [count, r]
  const double* states = nullptr;     // y at the records [records, count, r]
  const double* denoised = nullptr;   // E[y_0 | y], with seen.denoised
  const double* log_density = nullptr;  // log p(y), with seen.log_density
  const double* a = nullptr;          // [records]
  const double* b = nullptr;          // [records]
  double* x = nullptr;                // [count, d]
  Observations seen;                  // states, denoised, norm, projections, log_density
};

// A trajectory's numbers are a function of (seed, its number, its y) alone. Code::cancelled.
Status lift(Normals draw_normals, const LiftRequest& request, const Execution& execution);

}  // namespace regimes
