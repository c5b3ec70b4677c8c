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

void Screening::prepare_prefix(int64_t q) {
  Query& query = queries_[q];
  double along[prefix_width] = {}, inside = 0;
  query.centred_square = 0;
  for (int64_t j = 0; j < d_; ++j) {
    const double centred = query.x[j] - a_ * prefix_.origin[j];
    query.centred_square += centred * centred;
    for (int64_t k = 0; k < prefix_width; ++k) along[k] += directions_[j * prefix_width + k] * centred;
  }
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

void Screening::prefix_tile(int64_t row, int count, float* values) const {
  float bias[prefix_tile_rows];
  for (int r = 0; r < count; ++r) bias[r] = prefix_bias(row + r);
  set_.screen->prefix_values(prefix_.rows.data() + row * prefix_width, count, bias, prefix_queries_.data(), static_cast<int>(groups_), values,
                             prefix_tile_rows);
}

void Screening::pass_over_prefix(int64_t chunk, int worker) {
  std::vector<float>& values = work_[worker].values;
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

// Queries of which a large part of the sample reaches the prefix's threshold are left to the digits.
void Screening::try_prefix_on_sample(int64_t group) {
  const auto size = static_cast<int>(sample_.size());
  float bias[screening_sample], values[screening_sample * digit_lanes];
  for (int k = 0; k < size; ++k) bias[k] = prefix_bias(sample_[k]);
  set_.screen->prefix_values(sample_prefix_.data(), size, bias, prefix_queries_.data() + group * prefix_width * digit_lanes, 1, values, size);
  for (int64_t lane = 0; lane < digit_lanes && group * digit_lanes + lane < count_; ++lane) {
    Query& query = queries_[group * digit_lanes + lane];
    if (!query.open) continue;
    const float threshold = prefix_threshold(query);
    int staying = 0;
    for (int k = 0; k < size; ++k) staying += values[k * digit_lanes + lane] >= threshold;
    query.listed = staying <= size / 10;
  }
}

void Screening::list_by_prefix(int64_t chunk, int worker) {
  std::vector<float> thresholds(static_cast<size_t>(block_));
  std::vector<float>& values = work_[worker].values;
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
