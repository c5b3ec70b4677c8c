#include "byte_grid.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "prefix_rows.h"
#include "row_pieces.h"

namespace regimes {
namespace {

// The distinct values of a stream of numbers, as long as there are at most 256: an open hash table of four times that size.
template <class Stored>
class DistinctValues {
 public:
  // False once there are too many.
  bool add(Stored value) {
    if (value == last_) return true;
    last_ = value;
    using Bits = std::conditional_t<sizeof(Stored) == 8, uint64_t, uint32_t>;
    const auto bits = std::bit_cast<Bits>(value + Stored{0});  // -0 is 0
    auto at = static_cast<uint32_t>(static_cast<uint64_t>(bits) * 0x9E3779B97F4A7C15u >> 54);
    while (used_[at]) {
      if (slots_[at] == bits) return true;
      at = (at + 1) % slot_count;
    }
    if (static_cast<int64_t>(values_.size()) == byte_levels) return false;
    used_[at] = true;
    slots_[at] = bits;
    values_.push_back(value);
    return true;
  }

  const std::vector<Stored>& values() const { return values_; }

 private:
  static constexpr uint32_t slot_count = 1024;
  std::vector<Stored> values_;
  std::vector<uint64_t> slots_ = std::vector<uint64_t>(slot_count, 0);
  std::vector<uint8_t> used_ = std::vector<uint8_t>(slot_count, 0);
  Stored last_ = std::numeric_limits<Stored>::quiet_NaN();
};

// |value - (base + u step)| of the distinct values; the largest.
template <class Value>
double measure_deviations(ByteGrid& grid, int64_t count, const std::vector<int64_t>& level, const Value& value) {
  double largest = 0;
  grid.deviations.assign(byte_levels, 0.0f);
  for (int64_t k = 0; k < count; ++k) {
    const double deviation = std::abs(value(k) - grid.base - static_cast<double>(level[k]) * grid.step);
    grid.deviations[level[k]] = std::max(grid.deviations[level[k]], rounded_up(deviation));
    largest = std::max(largest, deviation);
  }
  return largest;
}

// The coarsest grid from the smallest to the largest of the distinct stored values that holds the others.
template <class Stored>
ByteGrid find_grid(const DataView& view, std::vector<Stored> distinct) {
  ByteGrid grid;
  const auto count = static_cast<int64_t>(distinct.size());
  if (!std::all_of(distinct.begin(), distinct.end(), [](Stored stored) { return std::isfinite(stored); }) || count == 0) return grid;
  std::sort(distinct.begin(), distinct.end(), [&](Stored x, Stored y) { return view.scale < 0 ? y < x : x < y; });
  const auto value = [&](int64_t k) { return static_cast<double>(distinct[k]) * view.scale + view.shift; };
  grid.first = static_cast<double>(distinct.front());
  grid.base = value(0);
  const double range = value(count - 1) - grid.base;
  const double span = static_cast<double>(distinct.back()) - grid.first;
  const double largest = std::max(std::abs(grid.base), std::abs(value(count - 1)));
  // Of the values, of the products with the step, and of the deviations themselves.
  grid.rounding = 4 * 0x1p-52 * (largest + range);
  grid.found = range == 0;  // one value
  if (!(range > least_norm * 1e-10 && range < most_norm && std::abs(span) > 1e-290)) return grid;
  double stored_largest = 0;
  for (const Stored stored : distinct) stored_largest = std::max(stored_largest, std::abs(static_cast<double>(stored)));
  // Two units in the last place of the largest stored value, at the base and at the value itself.
  const double tolerance = 4 * static_cast<double>(std::numeric_limits<Stored>::epsilon()) * stored_largest * std::abs(view.scale) + grid.rounding;
  std::vector<int64_t> level(count);
  for (int64_t steps = count - 1; steps < byte_levels; ++steps) {
    grid.step = range / static_cast<double>(steps);
    // Coarser roundings than this are not roundings of a grid: byte data then lose what the bits below them hold.
    if (tolerance > grid.step / 1024) return grid;
    for (int64_t k = 0; k < count; ++k) level[k] = std::llrint((value(k) - grid.base) / grid.step);
    const double deviation = measure_deviations(grid, count, level, value);
    if (deviation > tolerance) continue;
    grid.found = true;
    grid.per_step = static_cast<double>(steps) / span;
    // The extremes are rounded like all others: a line through all of them lies closer, unless they were exact.
    ByteGrid line = grid;
    double mean_level = 0, mean_offset = 0, slope = 0, square = 0;
    for (int64_t k = 0; k < count; ++k) mean_level += static_cast<double>(level[k]) / static_cast<double>(count);
    for (int64_t k = 0; k < count; ++k) mean_offset += (value(k) - grid.base) / static_cast<double>(count);
    for (int64_t k = 0; k < count; ++k) {
      const double offset = static_cast<double>(level[k]) - mean_level;
      slope += offset * (value(k) - grid.base - mean_offset);
      square += offset * offset;
    }
    line.step = slope / square;
    line.base = grid.base + (mean_offset - line.step * mean_level);
    return measure_deviations(line, count, level, value) < deviation ? line : grid;
  }
  return grid;
}

// In what distinct values of a stored type are compared: float16 as float32, so that the same numbers give the same grid.
template <class Stored>
using Compared = std::conditional_t<std::is_same_v<Stored, Half>, float, Stored>;

template <class Stored>
bool detect_grid(const DataView& view, ThreadPool& pool, const Execution& execution, ByteGrid& grid) {
  const auto* stored = static_cast<const Stored*>(view.stored);
  std::vector<DistinctValues<Compared<Stored>>> found(pool.size());
  std::atomic<bool> too_many{false};
  const bool done = for_rows(view.rows, view.columns, pool, execution, [&](int64_t begin, int64_t end, int worker) {
    if (too_many.load(std::memory_order_relaxed)) return;
    DistinctValues<Compared<Stored>>& values = found[worker];
    for (int64_t k = begin * view.columns; k < end * view.columns; ++k) {
      if (!values.add(stored[k])) return too_many.store(true);
    }
  });
  if (!done) return false;
  DistinctValues<Compared<Stored>> all;
  for (const auto& values : found) {
    for (const auto value : values.values()) {
      if (too_many || !all.add(value)) return true;
    }
  }
  grid = find_grid(view, all.values());
  return true;
}

}  // namespace

bool find_byte_grid(const DataView& view, ThreadPool& pool, const Execution& execution, ByteGrid& grid) {
  if (view.dtype == Dtype::f16) return detect_grid<Half>(view, pool, execution, grid);
  return view.dtype == Dtype::f32 ? detect_grid<float>(view, pool, execution, grid) : detect_grid<double>(view, pool, execution, grid);
}

}  // namespace regimes
