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

inline constexpr int64_t projected_together = 16;

// F of `count` <= projected_together rows x' [count][d] in float32, whose squared norms are given, into out [count][columns], and bounds on
// the distance of each from what stands there.
void project_on_prefix(const PrefixRows& prefix, const float* rows, int64_t count, const double* squares, double* out, double* errors);

// |value| as a float that is not smaller.
float rounded_up(double value);

}  // namespace regimes
