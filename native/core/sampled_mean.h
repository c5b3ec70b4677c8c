#pragma once

#include <vector>

#include "operations.h"

namespace regimes {

// Mean over at most 4096 rows, evenly spaced: where the centre goes need not be exact. Rows farther from it than four times the median
// distance have no say, twice over: few that are far out would pull it away from all others, which would share what rounds in it.
std::vector<double> sampled_mean(const DataView& view, const Execution& execution);

}  // namespace regimes
