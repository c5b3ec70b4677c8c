// Checks the covariances of a mixture and decomposes full ones, once, before any operation.
#pragma once

#include "operations.h"
#include "status.h"

namespace regimes {

// k components in d dimensions. Fills eigenvalues (ascending, tiny negative ones become 0) and eigenvectors of full covariances
// and makes those exactly symmetric. Failures name the component:
//   Code::shape      an array of the wrong length
//   Code::nonfinite  a NaN or infinite entry
//   Code::range      an entry too large to be squared and summed
//   Code::not_psd    a negative variance, or lambda_min < -1e-10 lambda_max
//   Code::domain     a matrix whose asymmetry exceeds 1e-12 of its largest entry
Status prepare(Covariances& covariances, int64_t k, int64_t d, const Execution& execution);

}  // namespace regimes
