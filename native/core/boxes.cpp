#include "boxes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "thread_pool.h"

namespace regimes {
namespace {

using Range = std::pair<int64_t, int64_t>;  // places [first, end)

// Where a run of `count` places is cut: near the middle, at a multiple of the grain.
int64_t cut_of(int64_t count) {
  const int64_t grain = count > chunk_rows ? chunk_rows : box_tile;
  return std::min((count / 2 + grain - 1) / grain * grain, (count - 1) / grain * grain);
}

// Orders the places of a range so that those before the cut have the smaller values along the widest direction, ties by row.
int64_t split(const DataView& points, Range range, int32_t* order) {
  const auto [first, end] = range;
  int64_t widest = 0;
  double width = -1;
  for (int64_t k = 0; k < points.columns; ++k) {
    double low = INFINITY, high = -INFINITY;
    for (int64_t place = first; place < end; ++place) {
      const double value = points.value(order[place], k);
      low = std::min(low, value);
      high = std::max(high, value);
    }
    if (high - low > width) {
      width = high - low;
      widest = k;
    }
  }
  std::vector<std::pair<double, int32_t>> keys(static_cast<size_t>(end - first));
  for (int64_t place = first; place < end; ++place) keys[place - first] = {points.value(order[place], widest), order[place]};
  const int64_t cut = cut_of(end - first);
  std::nth_element(keys.begin(), keys.begin() + cut, keys.end());
  for (int64_t place = first; place < end; ++place) order[place] = keys[place - first].second;
  return first + cut;
}

void fill_tile(const Target& target, int64_t tile, Boxes& boxes) {
  const int64_t d = target.d, first = tile * box_tile, count = std::min(box_tile, target.n - first);
  int32_t* order = boxes.order.data() + first;
  std::sort(order, order + count);
  const DataView& points = target.points;
  double* centre = boxes.centre.data() + tile * d;
  float* rows = boxes.rows.data() + first * d;
  for (int64_t k = 0; k < d; ++k) {
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < count; ++i) {
      const double value = points.value(order[i], k);
      low = std::min(low, value);
      high = std::max(high, value);
    }
    boxes.low[k * boxes.padded + tile] = low;
    boxes.high[k * boxes.padded + tile] = high;
    centre[k] = 0.5 * low + 0.5 * high;
    for (int64_t i = 0; i < count; ++i) rows[k * box_tile + i] = static_cast<float>(points.value(order[i], k) - centre[k]);
    const int64_t size = element_bytes(points.dtype);
    uint8_t* stored = boxes.stored.data() + (first * d + k * box_tile) * size;
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t* from = static_cast<const uint8_t*>(points.stored) + (int64_t{order[i]} * d + k) * size;
      std::memcpy(stored + i * size, from, static_cast<size_t>(size));
    }
  }
  double radius = 0;
  for (int64_t i = 0; i < count; ++i) {
    double square = 0;
    for (int64_t k = 0; k < d; ++k) {
      const double difference = points.value(order[i], k) - centre[k];
      square += difference * difference;
    }
    radius = std::max(radius, std::sqrt(square));
  }
  boxes.radius[tile] = radius * (1 + 1e-12);
  boxes.heaviest[tile] = boxes.spread[tile] = 0;
  if (boxes.log_weights_of(tile) == nullptr) return;

  const int64_t at = boxes.weighted ? first : 0;
  double heaviest = target.log_weights ? no_weight : 0.0, lightest = 0;
  for (int64_t i = 0; i < box_tile; ++i) {
    const double weight = i >= count ? no_weight : target.log_weights ? target.log_weights[order[i]] : 0;
    boxes.log_weights[at + i] = weight;
    heaviest = std::max(heaviest, weight);
    if (weight > no_weight) lightest = std::min(lightest, weight);
  }
  for (int64_t i = 0; i < box_tile; ++i) {
    const double ratio = (boxes.log_weights[at + i] - heaviest) * 1.4426950408889634;
    boxes.bias[at + i] = boxes.log_weights[at + i] <= no_weight ? -1e30f : static_cast<float>(std::max(ratio, -1e30));
  }
  boxes.heaviest[tile] = heaviest;
  boxes.spread[tile] = heaviest > no_weight ? std::max(heaviest - lightest, 0.0) : 0.0;
}

}  // namespace

int64_t Boxes::bytes() const {
  const auto size = [](const auto& v) { return static_cast<int64_t>(v.capacity() * sizeof(v[0])); };
  return size(order) + size(low) + size(high) + size(centre) + size(radius) + size(heaviest) + size(spread) + size(rows) + size(bias) +
         size(log_weights) + size(stored);
}

Status build_boxes(const Target& target, const Execution& execution, Boxes& boxes) {
  boxes = Boxes{};
  if (target.kind != Target::Kind::points || target.d > box_dimensions || target.n == 0) return {};
  const int64_t n = target.n, d = target.d, tiles = (n + box_tile - 1) / box_tile;
  boxes.padded = (tiles + 7) / 8 * 8;
  boxes.weighted = target.log_weights != nullptr;
  boxes.order.assign(static_cast<size_t>(tiles * box_tile), -1);
  for (int64_t i = 0; i < n; ++i) boxes.order[i] = static_cast<int32_t>(i);

  ThreadPool pool(execution.threads);
  std::vector<Range> level{{0, n}};
  while (!level.empty()) {
    std::vector<int64_t> cuts(level.size(), 0);
    pool.run(static_cast<int64_t>(level.size()), [&](int64_t index, int) {
      if (level[index].second - level[index].first <= box_tile || execution.cancelled()) return;
      cuts[index] = split(target.points, level[index], boxes.order.data());
    });
    if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
    std::vector<Range> next;
    for (size_t index = 0; index < level.size(); ++index) {
      if (cuts[index] == 0) continue;
      next.emplace_back(level[index].first, cuts[index]);
      next.emplace_back(cuts[index], level[index].second);
    }
    level = std::move(next);
  }

  boxes.tiles = tiles;
  boxes.low.resize(static_cast<size_t>(d * boxes.padded));
  boxes.high.resize(boxes.low.size());
  boxes.centre.resize(static_cast<size_t>(tiles * d));
  boxes.radius.resize(static_cast<size_t>(tiles));
  boxes.heaviest.resize(static_cast<size_t>(boxes.padded));
  boxes.spread.resize(static_cast<size_t>(tiles));
  boxes.rows.assign(static_cast<size_t>(tiles * d * box_tile), 0.0f);
  boxes.bias.resize(static_cast<size_t>((boxes.weighted ? tiles : 1) * box_tile));
  boxes.log_weights.resize(boxes.bias.size());
  boxes.stored.assign(static_cast<size_t>(tiles * d * box_tile * element_bytes(target.points.dtype)), 0);
  pool.run(tiles, [&](int64_t tile, int) {
    if (!execution.cancelled()) fill_tile(target, tile, boxes);
  });
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  for (int64_t tile = tiles; tile < boxes.padded; ++tile) {
    for (int64_t k = 0; k < d; ++k) {
      boxes.low[k * boxes.padded + tile] = boxes.low[k * boxes.padded + tiles - 1];
      boxes.high[k * boxes.padded + tile] = boxes.high[k * boxes.padded + tiles - 1];
    }
    boxes.heaviest[tile] = no_weight;
  }
  boxes.largest_radius = *std::max_element(boxes.radius.begin(), boxes.radius.end());
  return {};
}

}  // namespace regimes
