// Few Gaussians in few dimensions: all of them in float64, 8 queries side by side.
#pragma once

#include "cpu.h"

namespace regimes {

// All readings but second moments, for a target with is_few (few_gaussians.h); the same bits whichever of them are asked for.
Status posterior_few(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution);

}  // namespace regimes
