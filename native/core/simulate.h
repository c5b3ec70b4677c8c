// Reverse trajectories: the interpreter of SimulateRequest's programs over a backend's posterior. Blocks of trajectories run their
// whole program one after the other, on one thread each, with the state in cache or nearly so; a single block shares its threads
// inside `posterior`. Where state is carried (carry_plan.h), a trajectory leaves its block once few data can matter to it, and runs on
// alone. Which block a trajectory lies in changes no bit of it.
#pragma once

#include <string>

#include "operations.h"
#include "status.h"

namespace regimes {

// Observations of trajectory `index` of a request that are read off its state x [d], into row `record`; `mean`, where not null, is its
// denoised mean.
void observe_state(const SimulateRequest& request, int32_t record, int64_t index, int64_t d, const double* x, const double* mean);

// Whether an evaluation needs a pass over the target, for its mean or for its readings.
bool wants_pass(const SimulateRequest& request, const ReverseStep& step);

// Asks for what observations want of a pass, from `place` (record times count plus trajectory) on; all but the denoised mean.
void want_readings(const Observations& seen, int64_t place, int32_t class_count, PosteriorRequest& pass);

// Code::nonfinite for trajectory `index` of a request.
Status left_range(const SimulateRequest& request, int64_t index, const std::string& where);

// Code::shape for a program that leaves its registers, Code::nonfinite for a trajectory that leaves the range of float64.
Status simulate(const Backend& backend, const Target& target, const SimulateRequest& request, const Execution& execution);

}  // namespace regimes
