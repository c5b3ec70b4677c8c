// What the observers of a simulation see: readings off a state itself, and those that need a pass over the target.
#pragma once

#include "operations.h"

namespace regimes {

// Observations of trajectory `index` of a request that are read off its state x [d], into row `record`; `mean`, where not null, is its
// denoised mean.
void observe_state(const SimulateRequest& request, int32_t record, int64_t index, int64_t d, const double* x, const double* mean);

// Whether an evaluation needs a pass over the target, for its mean or for its readings.
bool wants_pass(const SimulateRequest& request, const ReverseStep& step);

// Asks for what observations want of a pass, from `place` (record times count plus trajectory) on; all but the denoised mean.
void want_readings(const Observations& seen, int64_t place, int32_t class_count, PosteriorRequest& pass);

}  // namespace regimes
