#include "prefix_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "chunks.h"
#include "dense_block.h"
#include "philox.h"
#include "row_projection.h"
#include "symmetric_eigen.h"

namespace regimes {
namespace {

constexpr int64_t kept = prefix_width - 1;
static_assert(prefix_width == projection_lanes);

// Below, a prefix costs as much as the bytes of the row, or its few tiles are done before it could help.
constexpr int64_t least_dimension = 65;
constexpr int64_t least_rows = 2000;
// A prefix that leaves more than this share of the squared lengths tells few rows apart.
constexpr double least_captured = 0.3;

Status cancelled() { return Status::failure(Code::cancelled, ""); }

// Floats (y_i - c) gain of rows of the target.
class CentredFloats {
 public:
  CentredFloats(const Target& target, const std::vector<double>& origin, int workers)
      : view_(target.points), origin_(origin), scratch_(static_cast<size_t>(workers) * view_.columns) {}

  // Returns |y_i - c|^2 gain^2, relative error below (d + 8) 2^-53.
  double read(int64_t i, double gain, int worker, float* out) {
    double* row = scratch_.data() + worker * view_.columns;
    load_centred(view_, i, 0, view_.columns, origin_.data(), gain, row);
    for (int64_t j = 0; j < view_.columns; ++j) out[j] = static_cast<float>(row[j]);
    return dot(row, row, view_.columns);
  }

 private:
  DataView view_;
  const std::vector<double>& origin_;
  std::vector<double> scratch_;
};

// Makes rows [count, d] orthonormal; what is linearly dependent is replaced by random directions (count <= d / 2).
void orthonormalise(std::vector<double>& rows, int64_t count, int64_t d) {
  uint64_t fresh = 0;
  for (int64_t i = 0; i < count; ++i) {
    double* row = rows.data() + i * d;
    const double before = std::sqrt(dot(row, row, d));
    double length = before > 0 ? 1 : 0;
    for (int64_t j = 0; j < d && before > 0; ++j) row[j] /= before;
    // Three removals leave 2^-53 along the others, however close to them the row was.
    for (int pass = 0; pass < 3 && length > 1e-6; ++pass) {
      for (int64_t k = 0; k < i; ++k) {
        const double* other = rows.data() + k * d;
        const double along = dot(row, other, d);
        for (int64_t j = 0; j < d; ++j) row[j] -= along * other[j];
      }
      length = std::sqrt(dot(row, row, d));
      if (length > 1e-6) {
        for (int64_t j = 0; j < d; ++j) row[j] /= length;
      }
    }
    if (!(length > 1e-6)) {
      normals(0, (uint64_t{1} << 32) + fresh++, step_krylov, d, row);
      --i;
    }
  }
}

// The leading directions about c of a strided sample, [prefix_width, d] with the least one last, and the share of the sample's
// squared lengths that `kept` of them hold. False when cancelled.
bool sample_directions(const Target& target, const DigitRows& digits, double gain, ThreadPool& pool, const Execution& execution,
                       std::vector<double>& directions, double& captured) {
  const int64_t n = target.n;
  const int64_t d = target.d;
  constexpr int64_t most_elements = int64_t{1} << 24;
  const int64_t count = std::min({n, chunk_rows / 2, std::max<int64_t>(2 * prefix_width, most_elements / d)});
  std::vector<float> sample(count * d), coordinates(count * prefix_width), panel(d * prefix_width);
  std::vector<double> squares(count);
  CentredFloats reader(target, digits.origin, pool.size());
  constexpr int64_t grain = 128;  // rows of one, columns of the other: half a kilobyte of a row at a time
  const auto in_blocks = [&](int64_t total, const auto& body) {
    pool.run((total + grain - 1) / grain, [&](int64_t task, int worker) {
      if (!execution.cancelled()) body(task * grain, std::min(grain, total - task * grain), worker);
    });
  };
  in_blocks(count, [&](int64_t first, int64_t rows, int worker) {
    for (int64_t i = first; i < first + rows; ++i) squares[i] = reader.read(i * n / count, gain, worker, sample.data() + i * d);
  });
  double total = 0;
  for (const double square : squares) total += square;

  const auto project = [&] {
    for (int64_t j = 0; j < d; ++j) {
      for (int64_t r = 0; r < prefix_width; ++r) panel[j * prefix_width + r] = static_cast<float>(directions[r * d + j]);
    }
    in_blocks(count, [&](int64_t first, int64_t rows, int) {
      project_rows(sample.data() + first * d, d, rows, d, panel.data(), coordinates.data() + first * prefix_width);
    });
  };
  directions.resize(prefix_width * d);
  for (int64_t k = 0; k < prefix_width * d; ++k) {
    const auto words = philox4x32({static_cast<uint32_t>(k), step_krylov, 0, 1}, {0, 0});
    directions[k] = static_cast<double>(words[0]) * 0x1p-32 - 0.5;
  }
  orthonormalise(directions, prefix_width, d);
  // The spectrum of data with a useful prefix decays: three steps bring the captured share within percents of the largest possible.
  constexpr int steps = 3;
  for (int step = 0; step < steps; ++step) {
    project();
    std::fill(panel.begin(), panel.end(), 0.0f);
    in_blocks(d, [&](int64_t first, int64_t columns, int) {
      accumulate_columns(sample.data() + first, d, count, columns, coordinates.data(), panel.data() + first * prefix_width);
    });
    if (execution.cancelled()) return false;
    for (int64_t j = 0; j < d; ++j) {
      for (int64_t r = 0; r < prefix_width; ++r) directions[r * d + j] = static_cast<double>(panel[j * prefix_width + r]);
    }
    orthonormalise(directions, prefix_width, d);
  }
  project();
  if (execution.cancelled()) return false;
  std::vector<double> gram(prefix_width * prefix_width, 0.0), values(prefix_width), vectors(prefix_width * prefix_width);
  for (int64_t i = 0; i < count; ++i) {
    const float* f = coordinates.data() + i * prefix_width;
    for (int64_t r = 0; r < prefix_width; ++r) {
      for (int64_t s = 0; s < prefix_width; ++s) gram[r * prefix_width + s] += static_cast<double>(f[r]) * static_cast<double>(f[s]);
    }
  }
  if (!symmetric_eigen(std::move(gram), prefix_width, values.data(), vectors.data()).ok()) return true;
  std::vector<double> rotated(prefix_width * d, 0.0);
  double held = 0;
  for (int64_t r = 0; r < prefix_width; ++r) {
    const int64_t from = prefix_width - 1 - r;  // values ascend
    if (r < kept) held += values[from];
    for (int64_t s = 0; s < prefix_width; ++s) {
      const double factor = vectors[from * prefix_width + s];
      for (int64_t j = 0; j < d; ++j) rotated[r * d + j] += factor * directions[s * d + j];
    }
  }
  orthonormalise(rotated, prefix_width, d);
  directions = std::move(rotated);
  captured = total > 0 ? held / total : 0;
  return true;
}

}  // namespace

float rounded_up(double value) {
  const float nearest = static_cast<float>(value);
  return static_cast<double>(nearest) < value ? std::nextafter(nearest, std::numeric_limits<float>::infinity()) : nearest;
}

Status build_prefix(const Target& target, const DigitRows& digits, ThreadPool& pool, const Execution& execution, PrefixRows& prefix) {
  prefix = PrefixRows{};
  const int64_t n = target.n;
  const int64_t d = target.d;
  if (d < least_dimension || n < least_rows || digits.largest_norm == 0) return {};
  const double gain = std::ldexp(1.0, -std::ilogb(digits.largest_norm));
  std::vector<double> directions;
  double captured = 0;
  if (!sample_directions(target, digits, gain, pool, execution, directions, captured)) return cancelled();
  if (captured < least_captured) return {};

  prefix.directions.assign(d * prefix_width, 0.0);
  std::vector<float> panel(d * prefix_width, 0.0f);
  for (int64_t j = 0; j < d; ++j) {
    for (int64_t r = 0; r < kept; ++r) {
      prefix.directions[j * prefix_width + r] = directions[r * d + j];
      panel[j * prefix_width + r] = static_cast<float>(directions[r * d + j]);
    }
  }
  // Each coordinate: both factors and their product rounded once, then the two levels of additions; by Cauchy-Schwarz relative to
  // |U_r| |y'|. The last two terms: the defect of U in <x'_perp, U^T U y'>, and products below the normal floats.
  const auto chain = static_cast<double>(projection_chain(d));
  const double units = 1.01 * 0x1p-24 * (chain + std::ceil(static_cast<double>(d) / chain) + 4);
  const double relative = std::sqrt(static_cast<double>(kept)) * units + 1e-11;
  const double underflow = static_cast<double>(d) * 0x1p-140;
  const double square_slack = (static_cast<double>(d) + 16) * 0x1p-52 + 1e-11;

  prefix.rows.resize(n * prefix_width);
  prefix.half_square.resize(n);
  std::vector<double> lengths(n);
  constexpr int64_t block = 16;
  std::vector<float> tiles(pool.size() * block * d);
  CentredFloats reader(target, digits.origin, pool.size());
  pool.run(chunk_count(n), [&](int64_t chunk, int worker) {
    float* tile = tiles.data() + worker * block * d;
    const int64_t end = std::min((chunk + 1) * chunk_rows, n);
    for (int64_t first = chunk * chunk_rows; first < end && !execution.cancelled(); first += block) {
      const int64_t count = std::min(block, end - first);
      float* out = prefix.rows.data() + first * prefix_width;
      double squares[block];
      for (int64_t r = 0; r < count; ++r) squares[r] = reader.read(first + r, 1, worker, tile + r * d);
      project_rows(tile, d, count, d, panel.data(), out);
      for (int64_t r = 0; r < count; ++r, out += prefix_width) {
        const double largest = squares[r] * (1 + square_slack);
        const double length = std::sqrt(largest) * (1 + 0x1p-50);
        double along = 0;
        for (int64_t k = 0; k < kept; ++k) along += static_cast<double>(out[k]) * static_cast<double>(out[k]);
        const double sure = std::max(0.0, std::sqrt(along) * (1 - 0x1p-45) - relative * length - underflow);
        out[kept] = rounded_up(std::sqrt(std::max(0.0, largest - sure * sure)) * (1 + 0x1p-50));
        prefix.half_square[first + r] = static_cast<float>(0.5 * squares[r] * (1 - 0x1p-21));
        lengths[first + r] = length;
      }
    }
  });
  if (execution.cancelled()) return cancelled();
  double all = 0;
  double left = 0;
  for (int64_t i = 0; i < n; ++i) {
    prefix.largest_norm = std::max(prefix.largest_norm, lengths[i]);
    all += lengths[i] * lengths[i];
    const double rest = static_cast<double>(prefix.rows[i * prefix_width + kept]);
    left += rest * rest;
  }
  prefix.captured = std::clamp(1 - left / all, 0.0, 1.0);
  prefix.rounding = relative * prefix.largest_norm + underflow;
  prefix.origin = digits.origin;
  return {};
}

}  // namespace regimes
