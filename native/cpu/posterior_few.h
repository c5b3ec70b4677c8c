// posterior over few Gaussians in few dimensions, where the bookkeeping of a pass (mixture_pass.h) would cost more than its arithmetic.
#pragma once

#include "cpu.h"

namespace regimes {

// True for spherical and diagonal mixtures with at most 64 components and 2048 numbers of means, and no second moments or rankings.
bool few_applies(const Target& target, const PosteriorRequest& request);

// The same operations in the same order as posterior_mixture: the same bits.
Status posterior_few(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution);

}  // namespace regimes
