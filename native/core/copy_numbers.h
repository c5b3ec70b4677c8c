// Copies of a caller's numbers, in float64, looked at on the way.
#pragma once

#include <cstdint>

namespace regimes {

// `to` may be `from` itself. Returns max |x|, 0 for no numbers, NaN where one of them is not finite.
double copy_numbers(const float* from, int64_t count, double* to);
double copy_numbers(const double* from, int64_t count, double* to);

}  // namespace regimes
