// Statistics of the stored values of a data set (before scale and shift), for its scaling and its warnings.
#pragma once

#include "operations.h"
#include "status.h"

namespace regimes {

// Mean and population variance over all finite entries (corrected two-pass about the mean: no loss under a large offset), extremes,
// non-finite entries (count, and the first in row-major order; -1 when none), and the number of distinct rows (exact: rows of equal
// hash are compared; -0 equals 0). Without finite entries the moments are 0. Memory: 24 bytes per row.
// Code::range when the variance exceeds float64, Code::cancelled.
Status statistics(const DataView& view, const Execution& execution, Statistics& result);

}  // namespace regimes
