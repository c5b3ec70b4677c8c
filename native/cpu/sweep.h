// What the parts of sweep share: the extent of its work areas, and the coupled draws.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/draws.h"
#include "../core/log_sum_exp.h"
#include "../core/operations.h"

namespace regimes {

// Work areas of a sweep over points, whatever its size: coordinates of the draws at hand and their sums stay below this, as far as one
// group of draws at one time does.
inline constexpr int64_t sweep_bytes = int64_t{1} << 28;

// Draws are handled in groups of 16. Rows are cut into `spans` that depend on n alone, each with sums of its own, folded in order; so
// how many draws and times are at hand together cannot change a bit.
inline constexpr int64_t draw_group = 16;

struct SweepExtent {
  int64_t span_rows = 0;
  int64_t spans = 0;
  int64_t draws = 0;  // at hand together, a multiple of draw_group
  int64_t times = 0;  // at hand together
  int64_t bytes = 0;  // for coordinates and sums
};

SweepExtent sweep_extent(int64_t n, int64_t d, int64_t draws, int64_t times, int64_t class_count);

// Classes whose weights the request needs.
inline int64_t sweep_classes(const Target& target, const SweepRequest& r) { return r.class_squares || r.class_entropy ? target.class_count : 0; }

}  // namespace regimes
