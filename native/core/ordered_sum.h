// Sums over rows with the same bits for any number of threads: partial sums over units of `grain` rows, merged by merge_tree.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "chunks.h"
#include "operations.h"
#include "thread_pool.h"

namespace regimes {

// Units of a quarter chunk keep all threads busy on small sets; four of them make one chunk of the tree.
inline constexpr int64_t unit_rows = chunk_rows / 4;

inline void add_to(double* into, const double* from, int64_t count) {
  for (int64_t k = 0; k < count; ++k) into[k] += from[k];
}

// total[0 ... width) = sum of what body(first_row, end_row, worker, partial) adds to its zeroed partial [width], over all units.
// Groups of a power of two of units are complete subtrees of the merge tree, so only one group and one partial per level of the
// tree above it are in memory. False when cancelled; the body polls too where a unit is long.
template <class Body>
bool ordered_sum(ThreadPool& pool, const Execution& execution, int64_t rows, int64_t grain, int64_t width, double* total,
                 const Body& body) {
  constexpr int64_t most_doubles = int64_t{1} << 25;
  const int64_t units = (rows + grain - 1) / grain;
  const auto least = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(pool.size())));
  int64_t group = 4 * least;
  while (group > least && group * width > most_doubles) group /= 2;

  std::vector<double> partials(static_cast<size_t>(std::min(group, units) * width));
  std::vector<std::vector<double>> levels;  // levels[l]: the sum of a complete run of 2^l groups, or empty
  for (int64_t first = 0; first < units; first += group) {
    const int64_t count = std::min(group, units - first);
    pool.run(count, [&](int64_t index, int worker) {
      double* partial = partials.data() + index * width;
      std::fill(partial, partial + width, 0.0);
      const int64_t begin = (first + index) * grain;
      if (!execution.cancelled()) body(begin, std::min(begin + grain, rows), worker, partial);
    });
    if (execution.cancelled()) return false;
    merge_tree(count, [&](int64_t i, int64_t j) { add_to(partials.data() + i * width, partials.data() + j * width, width); });
    size_t level = 0;
    for (; level < levels.size() && !levels[level].empty(); ++level) {
      add_to(partials.data(), levels[level].data(), width);
      levels[level].clear();
    }
    if (level == levels.size()) levels.emplace_back();
    levels[level].assign(partials.data(), partials.data() + width);
  }
  // The incomplete end of the tree: later runs fold into earlier, longer ones.
  std::fill(total, total + width, 0.0);
  bool empty = true;
  for (const std::vector<double>& level : levels) {
    if (level.empty()) continue;
    if (empty) {
      std::copy(level.begin(), level.end(), total);
    } else {
      add_to(total, level.data(), width);
    }
    empty = false;
  }
  return true;
}

}  // namespace regimes
