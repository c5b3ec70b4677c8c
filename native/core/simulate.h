// Reverse trajectories: the interpreter of SimulateRequest's programs over a backend's posterior. Blocks of trajectories run their
// whole program one after the other, on one thread each, with the state in cache or nearly so; a single block shares its threads
// inside `posterior`. Where state is carried (carry_plan.h), a trajectory leaves its block once few data can matter to it, and runs on
// alone. Which block a trajectory lies in changes no bit of it.
#pragma once

#include <string>

#include "operations.h"
#include "status.h"

namespace regimes {

// Code::nonfinite for trajectory `index` of a request.
Status left_range(const SimulateRequest& request, int64_t index, const std::string& where);

// Code::shape for a program that leaves its registers, Code::nonfinite for a trajectory that leaves the range of float64.
Status simulate(const Backend& backend, const Target& target, const SimulateRequest& request, const Execution& execution);

}  // namespace regimes
