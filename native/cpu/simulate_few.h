// Whole reverse trajectories over few Gaussians (few_gaussians.h): tiles of trajectories, 8 side by side in lanes, go through many steps of
// the program while their state is in the first cache, and a combination that follows a denoised mean is one sweep with it.
#pragma once

#include "../core/operations.h"
#include "cpu.h"

namespace regimes {

// RunBlock of operations.h for a target with is_few.
Status simulate_few(const Instructions& set, const Target& target, const SimulateRequest& request, int64_t first, int64_t rows, double* x,
                    const std::function<void(int64_t)>& advanced, const Execution& execution);

}  // namespace regimes
