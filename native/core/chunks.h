// The grain of every sum over components: chunks of 4096 by global index, and a merge tree whose shape depends on their number
// alone. Partial results merged in this order have the same bits for any thread count, batch split or schedule.
#pragma once

#include <cstdint>

namespace regimes {

inline constexpr int64_t chunk_rows = 4096;

inline int64_t chunk_count(int64_t n) { return (n + chunk_rows - 1) / chunk_rows; }

// Merges partials [0, count) pairwise, neighbours first, into partial 0: merge(i, j) folds j into i.
template <class Merge>
void merge_tree(int64_t count, Merge merge) {
  for (int64_t step = 1; step < count; step *= 2) {
    for (int64_t i = 0; i + step < count; i += 2 * step) merge(i, i + step);
  }
}

}  // namespace regimes
