// Eigenvalues and eigenvectors of the covariance of a target, and products of its rows with vectors.
#pragma once

#include "operations.h"
#include "status.h"

namespace regimes {

// The covariance (points: unbiased, see moments.h for weights and `within`; mixtures: of the law), three ways:
//
//   leading      `count` pairs (at most d) by block Krylov with Rayleigh-Ritz from random start vectors, matrix free. Stops when all
//                residuals <= tolerance * largest eigenvalue (a tolerance below 1e-13 counts as that), or after 1000 passes; the
//                residuals are exact either way. Repeated eigenvalues are found up to the block size, max(8, count) <= 64.
//   class_means  the Krylov space of the centred class means alone, in which v^T (C + s I)^-1 v is accurate for every difference v of
//                class means: stops when the error bound is 1e-10 relative at s = 1e-3 of the largest eigenvalue, or at
//                max(400, 2 classes) vectors. The leading pairs are those of this space: a direction orthogonal to it is not seen.
//   complete     all eigenvalues, min(n - 1, d) for points and d for mixtures, by a dense solver for min(n, d) <= 4096 (mixtures: d);
//                no residuals and no vectors; error below min(n, d) 2^-50 of the largest.
//
// Eigenvalues are in squared data units, the mean in data units. Each vector has its largest component positive. The bits do not
// depend on the threads. Code::shape for a request without its classes or too large for `complete`, Code::range, Code::cancelled.
Status spectrum(const Target& target, const SpectrumRequest& request, const Execution& execution, SpectrumResult& result);

// The mean [d] and the whole covariance C [d, d] in data units (points: unbiased), d <= 4096. Code::shape, Code::range, Code::cancelled.
Status covariance_matrix(const Target& target, const Execution& execution, double* mean, double* matrix);

// out [n, count] = (y_i - c) . v_j (rows are the means for mixtures). Code::shape for vectors of another length than d, or
// Centre::of_class without classes; Code::cancelled.
Status project(const Target& target, const ProjectRequest& request, const Execution& execution);

}  // namespace regimes
