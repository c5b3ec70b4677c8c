// The backend "reference": the definitions in float64. It fixes what every other backend must compute and is chosen with
// DIFFUSION_REGIMES_BACKEND=reference.
#pragma once

#include "../core/operations.h"

namespace regimes {

const Backend& reference_backend();

}  // namespace regimes
