#include "prefix_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "chunks.h"
#include "dense_block.h"
#include "philox.h"
#include "row_projection.h"
#include "symmetric_eigen.h"

namespace regimes {
namespace {

static_assert(most_prefix_columns % projection_lanes == 0 && prefix_tile_rows % 16 == 0);

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

// Makes rows [count, d] orthonormal; what is linearly dependent is replaced by random directions (count <= d / 2). Each pass removes
// what is along the others once: three leave 2^-53 of it, however close to them the row was; one is enough between steps of an iteration.
void orthonormalise(std::vector<double>& rows, int64_t count, int64_t d, int passes, ThreadPool& pool) {
  constexpr int64_t width = 2048, worthwhile = int64_t{1} << 18;  // columns of one task; elements that pay for threads
  const auto run = [&](int64_t tasks, int64_t elements, const auto& body) {
    if (elements >= worthwhile) return pool.run(tasks, [&](int64_t task, int) { body(task); });
    for (int64_t task = 0; task < tasks; ++task) body(task);
  };
  std::vector<double> along(static_cast<size_t>(count));
  uint64_t fresh = 0;
  for (int64_t i = 0; i < count; ++i) {
    double* row = rows.data() + i * d;
    const double before = std::sqrt(dot(row, row, d));
    double length = before > 0 ? 1 : 0;
    for (int64_t j = 0; j < d && before > 0; ++j) row[j] /= before;
    for (int pass = 0; pass < passes && length > 1e-6; ++pass) {
      run(i, i * d, [&](int64_t k) { along[k] = dot(row, rows.data() + k * d, d); });
      run((d + width - 1) / width, i * d, [&](int64_t task) {
        const int64_t end = std::min((task + 1) * width, d);
        for (int64_t k = 0; k < i; ++k) {
          const double *other = rows.data() + k * d, part = along[k];
          for (int64_t j = task * width; j < end; ++j) row[j] -= part * other[j];
        }
      });
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

// A strided sample of the rows.
int64_t sample_size(int64_t n, int64_t d, int64_t columns) {
  constexpr int64_t most_elements = int64_t{1} << 24;
  return std::min({n, chunk_rows / 2, std::max<int64_t>(2 * columns, most_elements / d)});
}

// directions [columns, d] as the panels that project_rows reads.
std::vector<float> panels_of(const std::vector<double>& directions, int64_t columns, int64_t d) {
  std::vector<float> panels(columns * d);
  for (int64_t r = 0; r < columns; ++r) {
    float* panel = panels.data() + r / projection_lanes * d * projection_lanes + r % projection_lanes;
    for (int64_t j = 0; j < d; ++j) panel[j * projection_lanes] = static_cast<float>(directions[r * d + j]);
  }
  return panels;
}

// The leading directions about c of a strided sample, [columns, d] with the least one last, and the share of the sample's squared
// lengths that all but that one hold. False when cancelled.
bool sample_directions(const Target& target, const DigitRows& digits, int64_t columns, double gain, ThreadPool& pool, const Execution& execution,
                       std::vector<double>& directions, double& captured) {
  const int64_t n = target.n;
  const int64_t d = target.d;
  const int64_t count = sample_size(n, d, columns), panels = columns / projection_lanes;
  std::vector<float> sample(count * d), coordinates(count * columns), sums(columns * d);  // coordinates [panels][count][32]
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
    const std::vector<float> panel = panels_of(directions, columns, d);
    in_blocks(count, [&](int64_t first, int64_t rows, int) {
      for (int64_t p = 0; p < panels; ++p) {
        project_rows(sample.data() + first * d, d, rows, d, panel.data() + p * d * projection_lanes,
                     coordinates.data() + (p * count + first) * projection_lanes);
      }
    });
  };
  directions.resize(columns * d);
  for (int64_t k = 0; k < columns * d; ++k) {
    const auto words = philox4x32({static_cast<uint32_t>(k), step_krylov, static_cast<uint32_t>(k >> 32), 1}, {0, 0});
    directions[k] = static_cast<double>(words[0]) * 0x1p-32 - 0.5;
  }
  orthonormalise(directions, columns, d, 1, pool);
  // The spectrum of data with a useful prefix decays: three steps bring the captured share within percents of the largest possible.
  constexpr int steps = 3;
  for (int step = 0; step < steps; ++step) {
    project();
    std::fill(sums.begin(), sums.end(), 0.0f);
    in_blocks(d, [&](int64_t first, int64_t width, int) {
      for (int64_t p = 0; p < panels; ++p) {
        accumulate_columns(sample.data() + first, d, count, width, coordinates.data() + p * count * projection_lanes,
                           sums.data() + (p * d + first) * projection_lanes);
      }
    });
    if (execution.cancelled()) return false;
    for (int64_t r = 0; r < columns; ++r) {
      const float* sum = sums.data() + r / projection_lanes * d * projection_lanes + r % projection_lanes;
      for (int64_t j = 0; j < d; ++j) directions[r * d + j] = static_cast<double>(sum[j * projection_lanes]);
    }
    orthonormalise(directions, columns, d, 1, pool);
  }
  project();
  if (execution.cancelled()) return false;
  std::vector<double> gram(columns * columns, 0.0), values(columns), vectors(columns * columns), f(columns);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t r = 0; r < columns; ++r) f[r] = coordinates[(r / projection_lanes * count + i) * projection_lanes + r % projection_lanes];
    for (int64_t r = 0; r < columns; ++r) {
      for (int64_t t = 0; t < columns; ++t) gram[r * columns + t] += f[r] * f[t];
    }
  }
  if (!symmetric_eigen(std::move(gram), columns, values.data(), vectors.data()).ok()) return true;
  std::vector<double> rotated(columns * d, 0.0);
  const double held = std::accumulate(values.begin() + 1, values.end(), 0.0);  // they ascend
  in_blocks(d, [&](int64_t first, int64_t width, int) {
    for (int64_t r = 0; r < columns; ++r) {
      for (int64_t t = 0; t < columns; ++t) {
        const double factor = vectors[(columns - 1 - r) * columns + t];
        for (int64_t j = first; j < first + width; ++j) rotated[r * d + j] += factor * directions[t * d + j];
      }
    }
  });
  orthonormalise(rotated, columns, d, 3, pool);
  directions = std::move(rotated);
  captured = total > 0 ? held / total : 0;
  return true;
}

// The last coordinate of F(x') from the others and |x'|^2, and a bound on the distance of all from F(x').
double finish_projection(const PrefixRows& prefix, double square, double* projection) {
  const int64_t last = prefix.columns - 1, d = static_cast<int64_t>(prefix.origin.size());
  const double slack = (static_cast<double>(d) + 16) * 0x1p-52 + 1e-11, length = std::sqrt(square) * (1 + slack);
  double along = 0;
  for (int64_t k = 0; k < last; ++k) along += projection[k] * projection[k];
  const double inside = std::sqrt(along), error = prefix.relative * length + prefix.underflow + 0x1p-45 * inside;
  const double least = std::max(0.0, inside - error), most = inside + error;
  const double high = std::sqrt(std::max(0.0, square * (1 + slack) - least * least)) * (1 + 0x1p-50);
  const double low = std::sqrt(std::max(0.0, square * (1 - slack) - most * most)) * (1 - 0x1p-50);
  projection[last] = (low + high) / 2;
  return error + (high - low) / 2 + 0x1p-50 * high;
}

// Projections of rows that are read one after the other.
class Projector {
 public:
  Projector(const Target& target, const DigitRows& digits, const PrefixRows& prefix, int workers)
      : prefix_(prefix), d_(target.d), reader_(target, digits.origin, workers), floats_(workers * block * d_) {}

  static constexpr int64_t block = projected_together;

  // F of `count` <= block rows, row_of(r), into out [count][columns], |y'|^2, and what F may be off.
  template <class RowOf>
  void project(RowOf row_of, int64_t count, int worker, double* out, double* squares, double* errors) {
    float* tile = floats_.data() + worker * block * d_;
    for (int64_t r = 0; r < count; ++r) squares[r] = reader_.read(row_of(r), 1, worker, tile + r * d_);
    project_on_prefix(prefix_, tile, count, squares, out, errors);
  }

 private:
  const PrefixRows& prefix_;
  int64_t d_;
  CentredFloats reader_;
  std::vector<float> floats_;
};

// Centres and steps of the columns from the directions of a sample's projections: their range and a little more, or five deviations about
// their mean where that is less, as few rows that lie far out must not make all others coarse.
void choose_scale(const Target& target, Projector& projector, PrefixRows& prefix) {
  const int64_t columns = prefix.columns, count = sample_size(target.n, target.d, columns);
  constexpr double infinite = std::numeric_limits<double>::infinity(), margin = 1.2, deviations = 5;
  std::vector<double> points(count * columns), squares(count), errors(count);
  for (int64_t first = 0; first < count; first += Projector::block) {
    projector.project([&](int64_t r) { return (first + r) * target.n / count; }, std::min(Projector::block, count - first), 0,
                      points.data() + first * columns, squares.data() + first, errors.data() + first);
  }
  for (int64_t i = 0; i < count; ++i) {
    const double per_length = squares[i] > 0 ? 1 / std::sqrt(squares[i]) : 0;
    for (int64_t k = 0; k < columns; ++k) points[i * columns + k] *= per_length;
  }
  prefix.centre.resize(columns);
  prefix.scale.resize(columns);
  for (int64_t k = 0; k < columns; ++k) {
    double low = infinite, high = -infinite, sum = 0, square = 0;
    for (int64_t i = 0; i < count; ++i) {
      low = std::min(low, points[i * columns + k]);
      high = std::max(high, points[i * columns + k]);
      sum += points[i * columns + k];
    }
    const double mean = sum / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) square += (points[i * columns + k] - mean) * (points[i * columns + k] - mean);
    const double half = margin * (high - low) / 2, spread = deviations * std::sqrt(square / static_cast<double>(count));
    prefix.centre[k] = half <= spread ? (low + high) / 2 : mean;
    prefix.scale[k] = std::min(half, spread) / 127;
  }
}

// Writes the image of a point of this length, which is `error` from F(y'), and what screening needs to know of it.
void write_image(const double* point, double length, double error, int64_t i, const std::vector<double>& per_step, PrefixRows& prefix) {
  const auto gain = static_cast<float>(length);
  const double factor = static_cast<double>(gain), inverse = factor > 0 ? 1 / factor : 0;
  double left[4] = {}, square[4] = {}, size[4] = {};
  for (int64_t k = 0; k < prefix.columns; k += 4) {
    uint8_t* bytes = prefix.tiles.data() + prefix.place(i, k);
    for (int lane = 0; lane < 4; ++lane) {
      const double step = prefix.scale[k + lane], centre = prefix.centre[k + lane];
      const double level = (point[k + lane] * inverse - centre) * per_step[k + lane];
      const double whole = (std::min(std::max(level, -128.0), 127.0) + 0x1.8p52) - 0x1.8p52, image = factor * (centre + whole * step);
      const double rest = point[k + lane] - image;
      bytes[lane] = static_cast<uint8_t>(static_cast<int32_t>(whole) + 128);
      square[lane] += image * image;
      left[lane] += rest * rest;
      size[lane] += std::abs(point[k + lane]) + factor * (std::abs(centre) + std::abs(whole * step));
    }
  }
  const auto total = [](const double (&lanes)[4]) { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); };
  const double roundings = 0x1p-50 * total(size);
  const float residual = rounded_up(std::sqrt(total(left)) * (1 + 0x1p-40) + roundings + error);
  const double norm = std::sqrt(total(square)), least = std::max(0.0, norm * (1 - 0x1p-45) - roundings), squared = static_cast<double>(residual) * residual;
  prefix.gain[i] = gain;
  prefix.residual[i] = residual;
  prefix.half_square[i] = -rounded_up(0.5 * (squared * (1 + 0x1p-50) - least * least * (1 - 0x1p-50)));
}

}  // namespace

float rounded_up(double value) {
  const float nearest = static_cast<float>(value);
  return static_cast<double>(nearest) < value ? std::nextafter(nearest, std::numeric_limits<float>::infinity()) : nearest;
}

int64_t prefix_columns(int64_t d) {
  return std::clamp(d / 8 / projection_lanes * projection_lanes, projection_lanes, most_prefix_columns);
}

void project_on_prefix(const PrefixRows& prefix, const float* rows, int64_t count, const double* squares, double* out, double* errors) {
  const int64_t columns = prefix.columns, d = static_cast<int64_t>(prefix.origin.size());
  float panel[projected_together * projection_lanes];
  for (int64_t k = 0; k < columns; k += projection_lanes) {
    project_rows(rows, d, count, d, prefix.directions.data() + k * d, panel);
    for (int64_t r = 0; r < count; ++r) std::copy_n(panel + r * projection_lanes, projection_lanes, out + r * columns + k);
  }
  for (int64_t r = 0; r < count; ++r) errors[r] = finish_projection(prefix, squares[r], out + r * columns);
}

Status build_prefix(const Target& target, const DigitRows& digits, ThreadPool& pool, const Execution& execution, PrefixRows& prefix) {
  prefix = PrefixRows{};
  const int64_t n = target.n;
  const int64_t d = target.d, columns = prefix_columns(d);
  if (d < least_dimension || n < least_rows || digits.largest_norm == 0) return {};
  const double gain = std::ldexp(1.0, -std::ilogb(digits.largest_norm));
  std::vector<double> directions;
  double captured = 0;
  if (!sample_directions(target, digits, columns, gain, pool, execution, directions, captured)) return cancelled();
  if (captured < least_captured) return {};
  std::fill(directions.begin() + (columns - 1) * d, directions.end(), 0.0);
  prefix.columns = columns;
  prefix.directions = panels_of(directions, columns, d);
  prefix.origin = digits.origin;
  // Each coordinate: both factors and their product rounded once, then the two levels of additions; by Cauchy-Schwarz relative to
  // |U_r| |y'|. The last terms: the defect of U, and products below the normal floats.
  const auto chain = static_cast<double>(projection_chain(d));
  const double units = 1.01 * 0x1p-24 * (chain + std::ceil(static_cast<double>(d) / chain) + 4);
  prefix.relative = std::sqrt(static_cast<double>(columns)) * units + 1e-11;
  prefix.underflow = static_cast<double>(d) * 0x1p-140;

  Projector projector(target, digits, prefix, pool.size());
  choose_scale(target, projector, prefix);
  const int64_t places = (n + prefix_tile_rows - 1) / prefix_tile_rows * prefix_tile_rows;
  prefix.tiles.resize(places * columns);
  prefix.gain.resize(places);
  prefix.residual.resize(places);
  prefix.half_square.resize(places);
  std::vector<double> points(pool.size() * Projector::block * columns), per_step(columns), held(chunk_count(n)), all(held.size());
  for (int64_t k = 0; k < columns; ++k) per_step[k] = prefix.scale[k] > 0 ? 1 / prefix.scale[k] : 0;
  pool.run(chunk_count(n), [&](int64_t chunk, int worker) {
    double* point = points.data() + worker * Projector::block * columns;
    const int64_t end = std::min((chunk + 1) * chunk_rows, n);
    for (int64_t first = chunk * chunk_rows; first < end && !execution.cancelled(); first += Projector::block) {
      const int64_t count = std::min(Projector::block, end - first);
      double squares[Projector::block], errors[Projector::block];
      projector.project([&](int64_t r) { return first + r; }, count, worker, point, squares, errors);
      for (int64_t r = 0; r < count; ++r) {
        const double* of_row = point + r * columns;
        write_image(of_row, std::sqrt(squares[r]), errors[r], first + r, per_step, prefix);
        all[chunk] += squares[r];
        held[chunk] += squares[r] - of_row[columns - 1] * of_row[columns - 1];
      }
    }
  });
  if (execution.cancelled()) return cancelled();
  for (int64_t i = 0; i < n; ++i) {
    const auto residual = static_cast<double>(prefix.residual[i]);
    prefix.largest_residual = std::max(prefix.largest_residual, residual);
    prefix.largest_norm = std::max(prefix.largest_norm, (static_cast<double>(prefix.gain[i]) + residual) * (1 + 0x1p-22));
  }
  double centre = 0;
  for (const double c : prefix.centre) centre += c * c;
  prefix.centre_norm = std::sqrt(centre) * (1 + 0x1p-45);
  double inside = 0, total = 0;
  for (size_t chunk = 0; chunk < all.size(); ++chunk) {
    inside += held[chunk];
    total += all[chunk];
  }
  prefix.captured = std::clamp(inside / total, 0.0, 1.0);
  return {};
}

}  // namespace regimes
