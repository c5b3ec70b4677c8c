// The test whether float data are bytes times one scale plus one shift: whether their distinct values lie on a grid of 256 levels.
#pragma once

#include <cstdint>
#include <vector>

#include "operations.h"
#include "thread_pool.h"
#include "views.h"

namespace regimes {

inline constexpr int64_t byte_levels = 256;

// Distances from the centre, and norms, of this range and their squares are normal floats.
inline constexpr double most_norm = 1e15;
inline constexpr double least_norm = 1e-15;

// Values that are base + k step for k = 0 ... 255, up to their rounding: u = (stored - first) per_step, rounded to the nearest.
struct ByteGrid {
  bool found = false;
  double first = 0;     // stored value of level 0
  double per_step = 0;  // levels per stored unit
  double base = 0;      // value of level 0
  double step = 0;      // >= 0
  double rounding = 0;  // |value - (base + u step)| is at most this, and the level's deviation where there are any
  std::vector<float> deviations;  // [256]
};

// One pass over rows of float16, float32 or float64; `grid` stays not found unless every value of the data is within two units in the last
// place of the largest of a level. The outcome does not depend on the threads. False when cancelled.
bool find_byte_grid(const DataView& view, ThreadPool& pool, const Execution& execution, ByteGrid& grid);

}  // namespace regimes
