// The probability-flow ODE with error control: every trajectory takes steps of its own, as long as its own error estimate allows, so
// that neighbours, threads and batches change no bit of it.
#pragma once

#include "operations.h"
#include "status.h"

namespace regimes {

struct Adaptive {
  // A step is taken where the root mean square over coordinates of error_j / (absolute + relative max(|u_j|, |u'_j|)) is at most 1;
  // u = x / a is in data units.
  double absolute = 1e-6;
  double relative = 1e-6;
  bool end_denoised = false;     // x becomes E[x_0 | x_t] at the last level
  int32_t* accepted = nullptr;   // [count] steps taken
  int32_t* rejected = nullptr;   // [count] steps tried and undone; seven evaluations per step, of which the first is the last one's
  double* error = nullptr;       // [count] sum of the estimates of the steps taken, root mean square over coordinates, data units
};

// request.steps are evaluations of register 0 at the levels (a, b) where the flow starts, stops and ends, the noisiest first, without
// outputs; their records are filled. request.path [levels] has the paths of the evaluations on the way to each level, and there.
// Failures are those of `simulate`, and Code::domain where a trajectory needs more steps than 10^5 between two levels.
Status simulate_adaptive(const Backend& backend, const Target& target, const SimulateRequest& request, const Adaptive& adaptive,
                         const Execution& execution);

}  // namespace regimes
