// Builds PrefixRows: a randomised subspace iteration on a sample (Halko, Martinsson and Tropp 2011) finds the directions, one pass
// over the rows their coordinates.
#pragma once

#include "layouts.h"
#include "thread_pool.h"

namespace regimes {

// Needs digits.origin and norms within the range of DigitRows. Leaves `prefix` empty where it would not pay. Code::cancelled.
Status build_prefix(const Target& target, const DigitRows& digits, ThreadPool& pool, const Execution& execution, PrefixRows& prefix);

// How many columns F has: an eighth of the dimensions, so that two digits of a query cost a quarter of one of the rows.
int64_t prefix_columns(int64_t d);

// |value| as a float that is not smaller.
float rounded_up(double value);

}  // namespace regimes
