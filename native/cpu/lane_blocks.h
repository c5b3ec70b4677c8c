// What the algorithms share around the kernels: blocks of rows, lanes of queries, and the way a block's sums enter the accumulators.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/chunks.h"
#include "../core/log_sum_exp.h"
#include "kernels.h"

namespace regimes {

// Rows whose sums are formed at once; a chunk is a whole number of blocks.
inline constexpr int64_t block_rows = 512;
static_assert(chunk_rows % block_rows == 0);

// Rows converted to float64 at a time: about 256 KB, so that they stay in the second-level cache while the queries pass.
inline int64_t tile_rows(int64_t d) { return std::clamp<int64_t>((int64_t{1} << 18) / (8 * d), 8, 64); }

inline int64_t group_count(int64_t queries) { return (queries + lanes - 1) / lanes; }

// x [queries, d] -> [groups][d][8]; empty lanes repeat the last query.
inline std::vector<double> to_lanes(const double* x, int64_t queries, int64_t d) {
  std::vector<double> out(static_cast<size_t>(group_count(queries) * d * lanes));
  for (int64_t q = 0; q < group_count(queries) * lanes; ++q) {
    const double* row = x + std::min(q, queries - 1) * d;
    double* lane = out.data() + (q / lanes) * d * lanes + q % lanes;
    for (int64_t k = 0; k < d; ++k) lane[k * lanes] = row[k];
  }
  return out;
}

// The accumulators of 8 lanes, with class masses [class][8] relative to each lane's maximum where classes are wanted.
struct LaneAccumulators {
  LogSumExp<double> sums[lanes];
  std::vector<double> classes;

  explicit LaneAccumulators(int32_t class_count = 0) : classes(static_cast<size_t>(class_count) * lanes, 0.0) {}

  // Folds a block whose first row has global index `first`; lanes whose maximum lies below `floor` are left out.
  void add(const LaneSums& block, int64_t first, const double* block_classes, const double* floor) {
    for (int lane = 0; lane < lanes; ++lane) {
      if (block.max[lane] < floor[lane]) continue;
      LogSumExp<double> one;
      one.max = block.max[lane];
      one.index = first + static_cast<int64_t>(block.index[lane]);
      one.rest = block.rest[lane];
      one.gap = block.gap[lane];
      one.gap_squared = block.gap_squared[lane];
      one.squares = block.squares[lane];
      merge_lane(lane, one, block_classes);
    }
  }

  void merge(const LaneAccumulators& other) {
    for (int lane = 0; lane < lanes; ++lane) merge_lane(lane, other.sums[lane], other.classes.data());
  }

 private:
  void merge_lane(int lane, const LogSumExp<double>& other, const double* other_classes) {
    const MergeScales<double> scale = sums[lane].merge(other);
    for (size_t k = static_cast<size_t>(lane); k < classes.size(); k += lanes) {
      classes[k] = scale.first * classes[k] + scale.second * other_classes[k];
    }
  }
};


}  // namespace regimes
