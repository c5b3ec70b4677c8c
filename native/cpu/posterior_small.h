// posterior over points with d <= 12 from space-ordered tiles (core/boxes.h): what the driver calls where it applies.
#pragma once

#include "cpu.h"

namespace regimes {

// True for points with boxes, a precision below float64 and no second moments.
bool small_applies(const Target& target, const PosteriorRequest& request);

// All readings but second moments, at precision "exact".
Status posterior_small(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution);

}  // namespace regimes
