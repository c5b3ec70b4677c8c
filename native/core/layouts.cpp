#include "layouts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "byte_grid.h"
#include "dense_block.h"
#include "prefix_rows.h"
#include "row_pieces.h"
#include "sampled_mean.h"

namespace regimes {
namespace {

constexpr double least_range = 1e-290;  // of a column: one over a level must be a number

Status cancelled() { return Status::failure(Code::cancelled, ""); }

uint8_t nearest_level(double level) { return static_cast<uint8_t>(std::clamp(std::rint(level), 0.0, 255.0)); }

int64_t square_sum(const uint8_t* row, const uint8_t* centre, int64_t d) {
  int64_t total = 0;
  constexpr int64_t slice = 1 << 14;  // 2^14 255^2 < 2^31
  for (int64_t first = 0; first < d; first += slice) {
    const int64_t end = std::min(first + slice, d);
    int32_t sum = 0;
    for (int64_t j = first; j < end; ++j) {
      const auto offset = static_cast<int16_t>(row[j] - centre[j]);
      sum += offset * offset;
    }
    total += sum;
  }
  return total;
}

template <class Stored>
void to_levels(const Stored* stored, const ByteGrid& grid, int64_t d, uint8_t* out) {
  for (int64_t j = 0; j < d; ++j) {
    out[j] = static_cast<uint8_t>(static_cast<int32_t>((static_cast<double>(stored[j]) - grid.first) * grid.per_step + 0.5));
  }
}

// sqrt(sum of the squared deviations) of a row.
double deviation_of(const uint8_t* row, const std::vector<float>& deviations, int64_t d) {
  double sum[4] = {};
  int64_t j = 0;
  for (; j + 4 <= d; j += 4) {
    for (int k = 0; k < 4; ++k) {
      const double deviation = deviations[row[j + k]];
      sum[k] += deviation * deviation;
    }
  }
  for (; j < d; ++j) sum[0] += static_cast<double>(deviations[row[j]]) * static_cast<double>(deviations[row[j]]);
  return std::sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// Rows on one grid: integers throughout.
bool fill_lossless(const DataView& view, const ByteGrid& grid, ThreadPool& pool, const Execution& execution, DigitRows& digits) {
  const int64_t n = view.rows;
  const int64_t d = view.columns;
  digits.lossless = true;
  digits.scale.assign(d, grid.step);
  const std::vector<double> mean = sampled_mean(view, execution);
  double most = 0;
  for (int64_t j = 0; j < d; ++j) {
    digits.centre[j] = grid.step > 0 ? nearest_level((mean[j] - grid.base) / grid.step) : 0;
    digits.origin[j] = grid.base + digits.centre[j] * grid.step;
    most = std::max(most, std::abs(digits.origin[j]));
  }
  // The centre is rounded too.
  const double rounding = std::sqrt(static_cast<double>(d)) * (grid.rounding + 0x1p-51 * (most + 255 * grid.step)) * (1 + 0x1p-40);
  if (!(rounding < most_norm) || (grid.step > 0 && grid.step < least_range)) return true;
  uint8_t* bytes_out = nullptr;
  const bool in_place = view.dtype == Dtype::u8 && (view.scale > 0 || grid.step == 0);
  if (!in_place) {
    digits.owned.resize(n * d + digit_padding);
    bytes_out = digits.owned.data();
  }
  digits.rows = in_place ? static_cast<const uint8_t*>(view.stored) : bytes_out;
  return for_rows(n, d, pool, execution, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * d;
      if (!in_place) {
        if (view.dtype == Dtype::u8) to_levels(static_cast<const uint8_t*>(view.stored) + at, grid, d, bytes_out + at);
        if (view.dtype == Dtype::f16) to_levels(static_cast<const Half*>(view.stored) + at, grid, d, bytes_out + at);
        if (view.dtype == Dtype::f32) to_levels(static_cast<const float*>(view.stored) + at, grid, d, bytes_out + at);
        if (view.dtype == Dtype::f64) to_levels(static_cast<const double*>(view.stored) + at, grid, d, bytes_out + at);
      }
      const auto squares = static_cast<double>(square_sum(digits.rows + at, digits.centre.data(), d));
      digits.half_square[i] = 0.5 * squares * grid.step * grid.step;
      const double deviation = grid.deviations.empty() ? 0 : deviation_of(digits.rows + at, grid.deviations, d);
      digits.residual[i] = rounded_up(rounding + deviation * (1 + 0x1p-20));
    }
  });
}

// Smallest and largest value of every column. False when cancelled.
template <class Stored>
bool column_extremes(const DataView& view, ThreadPool& pool, const Execution& execution, std::vector<double>& low,
                     std::vector<double>& high) {
  const auto* stored = static_cast<const Stored*>(view.stored);
  const int64_t d = view.columns;
  std::vector<Stored> smallest(pool.size() * d), largest(pool.size() * d);
  for (int64_t k = 0; k < pool.size() * d; ++k) smallest[k] = largest[k] = stored[k % d];
  const bool done = for_rows(view.rows, d, pool, execution, [&](int64_t begin, int64_t end, int worker) {
    Stored* least = smallest.data() + worker * d;
    Stored* most = largest.data() + worker * d;
    for (int64_t i = begin; i < end; ++i) {
      const Stored* row = stored + i * d;
      for (int64_t j = 0; j < d; ++j) {
        least[j] = row[j] < least[j] ? row[j] : least[j];
        most[j] = row[j] > most[j] ? row[j] : most[j];
      }
    }
  });
  for (int64_t j = 0; j < d; ++j) {
    for (int worker = 1; worker < pool.size(); ++worker) {
      smallest[j] = std::min(smallest[j], smallest[worker * d + j]);
      largest[j] = std::max(largest[j], largest[worker * d + j]);
    }
    const double first = static_cast<double>(smallest[j]) * view.scale + view.shift;
    const double last = static_cast<double>(largest[j]) * view.scale + view.shift;
    low[j] = std::min(first, last);
    high[j] = std::max(first, last);
  }
  return done;
}

// Whether levels per column are twice as fine for most rows when they count in units of a row's distance from the mean: where few rows are
// much longer than the others. Then `low` and `high` become extremes of (y_j - mean_j) / |y - mean| in a sample, and a little more.
bool levels_in_lengths(const DataView& view, const std::vector<double>& mean, std::vector<double>& low, std::vector<double>& high) {
  constexpr double margin = 1.2, deviations = 4.5;
  const int64_t d = view.columns, count = std::clamp<int64_t>((int64_t{1} << 22) / d, 1, std::min<int64_t>(view.rows, 2048));
  std::vector<double> row(d), sum(d, 0.0), square(d, 0.0), least(d, 1.0), most(d, -1.0), lengths;
  for (int64_t i = 0; i < count; ++i) {
    load_centred(view, i * view.rows / count, 0, d, mean.data(), 1, row.data());
    const double length = std::sqrt(dot(row.data(), row.data(), d));
    if (!(length > 0)) continue;
    lengths.push_back(length);
    for (int64_t j = 0; j < d; ++j) {
      const double part = row[j] / length;
      sum[j] += part;
      square[j] += part * part;
      least[j] = std::min(least[j], part);
      most[j] = std::max(most[j], part);
    }
  }
  if (lengths.empty()) return false;
  const auto middle = lengths.begin() + static_cast<int64_t>(lengths.size() / 2);
  std::nth_element(lengths.begin(), middle, lengths.end());
  const auto rows = static_cast<double>(lengths.size());
  double in_lengths = 0, plain = 0;
  for (int64_t j = 0; j < d; ++j) {
    const double average = sum[j] / rows, deviation = std::sqrt(std::max(square[j] / rows - average * average, 0.0));
    const double half = std::max(margin * (most[j] - least[j]) / 2, deviations * deviation), centre = (least[j] + most[j]) / 2;
    least[j] = centre - half;
    most[j] = centre + half;
    in_lengths += 4 * half * half * *middle * *middle;
    plain += (high[j] - low[j]) * (high[j] - low[j]);
  }
  if (!(plain > 4 * in_lengths)) return false;
  low = std::move(least);
  high = std::move(most);
  return true;
}

// Rows rounded to 256 levels per column.
bool fill_rounded(const DataView& view, ThreadPool& pool, const Execution& execution, DigitRows& digits) {
  const int64_t n = view.rows;
  const int64_t d = view.columns;
  std::vector<double> low(d), high(d), per_step(d, 0.0), bias(d);
  const bool done = view.dtype == Dtype::f16   ? column_extremes<Half>(view, pool, execution, low, high)
                    : view.dtype == Dtype::f32 ? column_extremes<float>(view, pool, execution, low, high)
                                               : column_extremes<double>(view, pool, execution, low, high);
  if (!done) return false;
  const std::vector<double> mean = sampled_mean(view, execution);
  for (int64_t j = 0; j < d; ++j) {
    if (!(high[j] - low[j] < most_norm)) return true;
  }
  digits.scale.assign(d, 0.0);
  const bool in_lengths = levels_in_lengths(view, mean, low, high);
  if (in_lengths) digits.gain.resize(n);
  for (int64_t j = 0; j < d; ++j) {
    const double range = high[j] - low[j], middle = in_lengths ? 0 : mean[j];
    // Narrower columns count as constant; their residual is measured like any other.
    if (range > least_range) {
      digits.scale[j] = range / (byte_levels - 1);
      per_step[j] = (byte_levels - 1) / range;
      digits.centre[j] = nearest_level((middle - low[j]) * per_step[j]);
    }
    digits.origin[j] = in_lengths ? mean[j] : low[j] + digits.centre[j] * digits.scale[j];
    bias[j] = digits.centre[j];
  }
  digits.owned.resize(n * d + digit_padding);
  std::vector<double> scratch(pool.size() * 2 * d);
  const double length = static_cast<double>(d);
  const bool filled = for_rows(n, d, pool, execution, [&](int64_t begin, int64_t end, int worker) {
    double* offset = scratch.data() + worker * 2 * d;
    double* image = offset + d;
    for (int64_t i = begin; i < end; ++i) {
      uint8_t* out = digits.owned.data() + i * d;
      load_centred(view, i, 0, d, digits.origin.data(), 1, offset);
      const double square_offset = dot(offset, offset, d);
      if (in_lengths) digits.gain[i] = static_cast<float>(std::sqrt(square_offset));
      const double gain = in_lengths ? static_cast<double>(digits.gain[i]) : 1, inverse = gain > 0 ? 1 / gain : 0;
      for (int64_t j = 0; j < d; ++j) {
        double level = offset[j] * inverse * per_step[j] + bias[j] + 0.5;
        level = level > 0 ? level : 0;
        level = level < 255 ? level : 255;
        out[j] = static_cast<uint8_t>(static_cast<int32_t>(level));
        image[j] = gain * (digits.scale[j] * (out[j] - bias[j]));
        offset[j] -= image[j];
      }
      const double square_image = dot(image, image, d);
      digits.half_square[i] = 0.5 * square_image;
      // The sum of squares; then the roundings of y - c, of the image and of their difference, relative to |y'| and |image|.
      const double left = std::sqrt(dot(offset, offset, d)) * (1 + (length + 16) * 0x1p-53);
      const double rounding = 0x1p-51 * (std::sqrt(square_offset) + std::sqrt(square_image)) * (1 + length * 0x1p-50);
      const double residual = left + rounding + 1e-150 * length;
      digits.residual[i] = residual < most_norm ? rounded_up(residual) : std::numeric_limits<float>::infinity();
    }
  });
  digits.rows = digits.owned.data();
  return filled;
}

// What the prefix needs of the digits where there is no room for them: a centre and the largest distance from it.
Status find_centre(const Target& target, ThreadPool& pool, const Execution& execution, DigitRows& digits) {
  const DataView& view = target.points;
  digits = DigitRows{};
  digits.origin = sampled_mean(view, execution);
  std::vector<double> scratch(pool.size() * view.columns), largest(pool.size(), 0.0);
  const bool done = for_rows(view.rows, view.columns, pool, execution, [&](int64_t begin, int64_t end, int worker) {
    double* offset = scratch.data() + worker * view.columns;
    for (int64_t i = begin; i < end; ++i) {
      load_centred(view, i, 0, view.columns, digits.origin.data(), 1, offset);
      const double square = dot(offset, offset, view.columns);
      largest[worker] = std::isnan(square) ? std::numeric_limits<double>::infinity() : std::max(largest[worker], square);
    }
  });
  if (!done) return cancelled();
  digits.largest_norm = std::sqrt(*std::max_element(largest.begin(), largest.end()));
  return {};
}

// For the same numbers the same, in whichever type: float16 counts as float32.
int64_t bytes_of_boxes(const Target& target) {
  if (target.d > box_dimensions) return 0;
  const int64_t width = std::max<int64_t>(element_bytes(target.points.dtype), target.points.dtype == Dtype::f16 ? 4 : 1);
  return target.n * (4 + target.d * (4 + width) + (target.log_weights != nullptr ? 12 : 0));
}

Status build_digits(const Target& target, ThreadPool& pool, const Execution& execution, DigitRows& digits) {
  const DataView& view = target.points;
  digits = DigitRows{};
  digits.stride = target.d;
  digits.centre.assign(target.d, 0);
  digits.origin.assign(target.d, 0.0);
  digits.half_square.resize(target.n);
  digits.residual.resize(target.n);
  ByteGrid grid;
  bool done = true;
  switch (view.dtype) {
    case Dtype::u8: {
      grid.found = true;
      grid.step = std::abs(view.scale);
      grid.first = view.scale < 0 ? 255 : 0;
      grid.per_step = view.scale < 0 ? -1 : 1;
      grid.base = grid.first * view.scale + view.shift;
      grid.rounding = 4 * 0x1p-52 * (std::abs(grid.base) + 256 * grid.step);
      break;
    }
    case Dtype::f16:
    case Dtype::f32:
    case Dtype::f64:
      done = find_byte_grid(view, pool, execution, grid);
      break;
  }
  if (done) {
    done = grid.found ? fill_lossless(view, grid, pool, execution, digits) : fill_rounded(view, pool, execution, digits);
  }
  if (!done) return cancelled();
  double largest = 0;
  bool representable = digits.rows != nullptr;
  for (int64_t i = 0; i < target.n && representable; ++i) {
    largest = std::max(largest, digits.half_square[i]);
    digits.largest_residual = std::max(digits.largest_residual, static_cast<double>(digits.residual[i]));
    if (!digits.gain.empty()) digits.largest_gain = i == 0 ? digits.gain[0] : std::max(digits.largest_gain, digits.gain[i]);
    representable = std::isfinite(digits.half_square[i]) && std::isfinite(digits.residual[i]);
  }
  digits.largest_norm = std::sqrt(2 * largest) * (1 + (static_cast<double>(target.d) + 16) * 0x1p-53);
  const double norm = digits.largest_norm;
  representable = representable && norm < most_norm && (norm == 0 || norm > least_norm);
  if (!representable) digits = DigitRows{};
  return execution.cancelled() ? cancelled() : Status{};
}

template <class Element>
int64_t bytes_of(const std::vector<Element>& values) {
  return static_cast<int64_t>(values.capacity() * sizeof(Element));
}

int64_t bytes_of(const DigitRows& digits) {
  return bytes_of(digits.owned) + bytes_of(digits.centre) + bytes_of(digits.scale) + bytes_of(digits.origin) + bytes_of(digits.half_square) +
         bytes_of(digits.gain) + bytes_of(digits.residual);
}

}  // namespace

Status build_layouts(const Target& target, const Execution& execution, Layouts& layouts, int64_t budget) {
  layouts = Layouts{};
  ThreadPool pool(execution.threads);
  const int64_t box_bytes = bytes_of_boxes(target);
  const int64_t digit_bytes = target.n * (target.points.dtype == Dtype::u8 ? 12 : 16 + target.d);
  const int64_t prefix_bytes = target.n * (12 + prefix_columns(target.d));
  const bool with_boxes = box_bytes <= budget;
  if (with_boxes) budget -= box_bytes;
  const bool with_digits = digit_bytes <= budget;
  if (with_digits) budget -= digit_bytes;
  const bool with_prefix = prefix_bytes <= budget;
  Status status;
  if (with_digits) {
    status = build_digits(target, pool, execution, layouts.digits);
  } else if (with_prefix) {
    status = find_centre(target, pool, execution, layouts.digits);
  }
  if (!status.ok()) return status;
  const double norm = layouts.digits.largest_norm;
  const bool in_range = with_digits ? layouts.digits.rows != nullptr : norm > least_norm && norm < most_norm;
  if (with_prefix && in_range) status = build_prefix(target, layouts.digits, pool, execution, layouts.prefix);
  if (!status.ok()) return status;
  if (!with_digits) layouts.digits = DigitRows{};
  if (with_boxes) status = build_boxes(target, execution, layouts.boxes);
  if (!status.ok()) return status;
  const DigitRows& digits = layouts.digits;
  const PrefixRows& prefix = layouts.prefix;
  layouts.bytes = layouts.boxes.bytes() + bytes_of(digits) + bytes_of(prefix.tiles) + bytes_of(prefix.gain) + bytes_of(prefix.residual) +
                  bytes_of(prefix.half_square) + bytes_of(prefix.directions) + bytes_of(prefix.origin);
  return {};
}

}  // namespace regimes
