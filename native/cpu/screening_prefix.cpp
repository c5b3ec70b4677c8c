// The part of screening that reads PrefixRows: float32 upper bounds of <x', y'_i> from the leading principal directions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/chunks.h"
#include "screening.h"

namespace regimes {

float Screening::prefix_bias(int64_t row) const {
  return static_cast<float>(std::max(b_ * b_ / a_ * target_.log_weight(row) - a_ * static_cast<double>(prefix_.half_square[row]), -1e37));
}

float Screening::prefix_threshold(const Query& query) const {
  const double norm = std::sqrt(query.centred_square), longest = prefix_.largest_norm, spread = b_ * b_ / a_ * std::abs(smallest_log_weight_);
  // Thirty-three roundings of sums that hold the bias, |bias| <= a longest^2 / 2 + spread.
  const double margin = 0x1p-24 * (48 * norm * longest + 18 * a_ * longest * longest + 36 * spread) + prefix_.rounding * norm;
  const double wanted = (b_ * b_ * floor_of(query) + 0.5 * query.centred_square) / a_;
  return std::nextafter(static_cast<float>(wanted - margin - 1e-13 * std::abs(wanted)), -std::numeric_limits<float>::infinity());
}

void Screening::prepare_prefix(int64_t first, int64_t count) {
  std::vector<double> coordinates(static_cast<size_t>(count * prefix_width)), squares(static_cast<size_t>(count));
  set_.screen->prefix_coordinates(queries_[first].x, count, d_, a_, prefix_.origin.data(), prefix_.directions.data(), coordinates.data(),
                                  squares.data());
  for (int64_t q = first; q < first + count; ++q) {
    Query& query = queries_[q];
    query.centred_square = squares[q - first];
    const double* along = coordinates.data() + (q - first) * prefix_width;
    double inside = 0;
    float* lane = prefix_queries_.data() + (q / digit_lanes) * prefix_width * digit_lanes + q % digit_lanes;
    for (int64_t k = 0; k < prefix_width - 1; ++k) {
      lane[k * digit_lanes] = static_cast<float>(along[k]);
      inside += along[k] * along[k];
    }
    // What the prefix leaves, rounded up.
    const double rest = std::max(0.0, query.centred_square - inside) + 0x1p-52 * static_cast<double>(d_ + 8) * query.centred_square;
    lane[(prefix_width - 1) * digit_lanes] = static_cast<float>(std::sqrt(rest));
    // Float32 must hold every product, and the bounds their meaning.
    const double largest = std::sqrt(query.centred_square) * prefix_.largest_norm + a_ * prefix_.largest_norm * prefix_.largest_norm;
    if (!(largest < 1e30) || !(b_ * b_ / a_ * std::abs(smallest_log_weight_) < 1e30)) query.open = false;
  }
}

void Screening::prefix_tile(int64_t row, int count, float* values) const {
  float bias[prefix_tile_rows];
  for (int r = 0; r < count; ++r) bias[r] = prefix_bias(row + r);
  set_.screen->prefix_values(prefix_.rows.data() + row * prefix_width, count, bias, prefix_queries_.data(), static_cast<int>(groups_), values,
                             prefix_tile_rows);
}

void Screening::pass_over_prefix(int64_t chunk, int worker) {
  LineVector<float>& values = work_[worker].values;
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += prefix_tile_rows) {
    if (execution_.cancelled()) return;
    const int count = static_cast<int>(std::min(prefix_tile_rows, end - row));
    prefix_tile(row, count, values.data());
    for (int64_t g = 0; g < groups_; ++g) {
      const int64_t at = g * digit_lanes;
      set_.screen->maxima(values.data() + g * prefix_tile_rows * digit_lanes, count, static_cast<int32_t>(row),
                          tile_largest_.data() + (row / prefix_tile_rows) * block_ + at,
                          chunk_best_.data() + chunk * block_ + at, chunk_where_.data() + chunk * block_ + at);
    }
  }
}

// Finds the scale of the largest logit from the most promising row of every chunk.
void Screening::seed_from_prefix(int64_t q) {
  if (!queries_[q].open) return;
  std::vector<int64_t> order(static_cast<size_t>(chunks_));
  for (int64_t chunk = 0; chunk < chunks_; ++chunk) order[chunk] = chunk;
  const int64_t count = std::min(screening_seeds, chunks_);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t i, int64_t j) {
    const float left = chunk_best_[i * block_ + q], right = chunk_best_[j * block_ + q];
    return left > right || (left == right && i < j);
  });
  int32_t rows[screening_seeds];
  for (int64_t k = 0; k < count; ++k) rows[k] = chunk_where_[order[k] * block_ + q];
  improve_best(queries_[q], rows, count);
}

void Screening::list_by_prefix(int64_t chunk, int worker) {
  std::vector<float> thresholds(static_cast<size_t>(block_));
  LineVector<float>& values = work_[worker].values;
  std::vector<uint16_t>& masks = work_[worker].masks;
  std::vector<int64_t> members(static_cast<size_t>(count_));
  for (int64_t q = 0; q < block_; ++q) {
    if (q < count_) members[q] = q;
    const bool wanted = q < count_ && queries_[q].open && queries_[q].listed;
    thresholds[q] = wanted ? prefix_threshold(queries_[q]) : std::numeric_limits<float>::infinity();
  }
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += prefix_tile_rows) {
    if (execution_.cancelled()) return;
    const float* largest = tile_largest_.data() + (row / prefix_tile_rows) * block_;
    bool any = false;
    for (int64_t q = 0; q < count_; ++q) any |= largest[q] >= thresholds[q];
    if (!any) continue;
    const int count = static_cast<int>(std::min(prefix_tile_rows, end - row));
    prefix_tile(row, count, values.data());
    for (int64_t g = 0; g < groups_; ++g) {
      set_.screen->reach(values.data() + g * prefix_tile_rows * digit_lanes, count, thresholds.data() + g * digit_lanes, masks.data() + g, groups_);
    }
    list_masks(chunk, row, count, masks.data(), members);
  }
}

}  // namespace regimes
