// The CPU backend: the algorithms of posterior and sweep over one table of kernels.
#pragma once

#include "../core/operations.h"
#include "kernels.h"

namespace regimes {

Status posterior_points(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const Execution& execution);
Status posterior_mixture(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const Execution& execution);
Status sweep_points(const Kernels& kernels, const Target& target, const SweepRequest& request, const Execution& execution);
Status sweep_mixture(const Kernels& kernels, const Target& target, const SweepRequest& request, const Execution& execution);

}  // namespace regimes
