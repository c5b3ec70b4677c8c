// What passes over a mixture need at one (a, b): the Gaussians, bounds from bytes, rows for float32 products. Kept with the target for
// the next call at the same (a, b) where the target has a place for it (core/kept_preparation.h).
#pragma once

#include <memory>

#include "../core/kept_preparation.h"
#include "aligned_rows.h"
#include "mixture_bounds.h"
#include "mixture_bytes.h"
#include "mixture_rows.h"

namespace regimes {

struct PreparedMixture : KeptPreparation::Entry {
  PreparedMixture(const Instructions& set, const Target& mixture, double a_of, double b_of)
      : Entry(a_of, b_of), target(mixture), at(*set.kernels, target, a_of, b_of) {}

  const Target target;  // what it points to outlives what is kept with it
  GaussiansAt at;
  std::unique_ptr<MixtureBounds> bounds;
  std::unique_ptr<MixtureRows> rows;
  std::unique_ptr<MixtureBytes> row_bytes;
  std::shared_ptr<const AlignedRows> aligned;
};

// What a pass asks for; row_bytes need rows. What is kept for the same (a, b) stays part of it.
struct MixtureParts {
  bool bounds = false, rows = false, row_bytes = false, aligned = false;
};

// Code::cancelled, Code::range as in check_conditioning.
Status prepare_mixture(const Instructions& set, const Target& target, double a, double b, const MixtureParts& parts, ThreadPool& pool,
                       const Execution& execution, std::shared_ptr<const PreparedMixture>& prepared);

}  // namespace regimes
