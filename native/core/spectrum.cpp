#include "spectrum.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "covariance.h"
#include "dense_block.h"
#include "krylov.h"
#include "moments.h"
#include "ordered_sum.h"
#include "symmetric_eigen.h"

namespace regimes {
namespace {

constexpr int64_t most_dense = 4096;
constexpr int64_t most_basis = 400;
constexpr int most_passes = 1000;

Status cancelled() { return Status::failure(Code::cancelled, ""); }

// What the parts of one call share.
struct Task {
  const Target& target;
  const SpectrumRequest& request;
  const Execution& execution;
  ThreadPool& pool;
  const Moments& moments;
  const Covariance& covariance;

  void report(double fraction) const {
    if (execution.progress) execution.progress(fraction);
  }
};

// |C u - theta u| of the first `count` Ritz pairs.
std::vector<double> residuals(const KrylovSpace& space, const Ritz& pairs, int64_t count) {
  std::vector<double> vectors = space.combine(pairs.coefficients.data(), count, false);
  const std::vector<double> images = space.combine(pairs.coefficients.data(), count, true);
  std::vector<double> result(count);
  const int64_t stride = space.stride();
  for (int64_t j = 0; j < count; ++j) {
    double* difference = vectors.data() + j * stride;
    for (int64_t k = 0; k < stride; ++k) difference[k] = images[j * stride + k] - pairs.values[j] * difference[k];
    result[j] = std::sqrt(dot(difference, difference, stride));
  }
  return result;
}

// Relative error bound of v^T (C + s)^-1 v for the class means v (rows, in the space), the worst of them. With x the Galerkin
// solution and r = v - (C + s) x, the error is r^T (C + s)^-1 r <= |r|^2 / s.
double quadratic_form_error(const KrylovSpace& space, const Ritz& pairs, const std::vector<double>& rows, int64_t count) {
  const int64_t m = space.size();
  const int64_t stride = space.stride();
  const double shift = 1e-3 * pairs.values[0];
  if (!(shift > 0)) return 0;
  std::vector<double> solutions(count * m, 0.0);
  std::vector<double> forms(count, 0.0);
  std::vector<double> coordinates(m);
  for (int64_t c = 0; c < count; ++c) {
    for (int64_t i = 0; i < m; ++i) coordinates[i] = dot(space.basis(i), rows.data() + c * stride, stride);
    for (int64_t j = 0; j < m; ++j) {
      const double along = dot(pairs.coefficients.data() + j * m, coordinates.data(), m);
      const double solved = along / (pairs.values[j] + shift);
      forms[c] += along * solved;
      for (int64_t i = 0; i < m; ++i) solutions[c * m + i] += solved * pairs.coefficients[j * m + i];
    }
  }
  const std::vector<double> x = space.combine(solutions.data(), count, false);
  std::vector<double> r = space.combine(solutions.data(), count, true);
  double worst = 0;
  for (int64_t c = 0; c < count; ++c) {
    double* row = r.data() + c * stride;
    for (int64_t k = 0; k < stride; ++k) row[k] += shift * x[c * stride + k] - rows[c * stride + k];
    if (forms[c] > 0) worst = std::max(worst, dot(row, row, stride) / shift / forms[c]);
  }
  return worst;
}

std::vector<double> class_offset_rows(const Moments& moments, int64_t stride) {
  const int64_t d = moments.rows.columns;
  const auto classes = static_cast<int64_t>(moments.class_fractions.size());
  std::vector<double> rows(classes * stride, 0.0);
  for (int64_t c = 0; c < classes; ++c) std::copy_n(moments.class_offsets.data() + c * d, d, rows.data() + c * stride);
  return rows;
}

// Grows `space` until the request is met; `pairs` are the Ritz pairs of the final space.
Status grow(const Task& task, KrylovSpace& space, Ritz& pairs, int64_t count) {
  const bool means = task.request.class_means;
  const int64_t d = task.target.d;
  const int64_t stride = space.stride();
  const double tolerance = task.request.tolerance > 1e-13 ? task.request.tolerance : 1e-13;
  const std::vector<double> offsets = means ? class_offset_rows(task.moments, stride) : std::vector<double>();
  const auto classes = static_cast<int64_t>(offsets.size()) / stride;

  std::vector<double> block;
  int64_t width = 0;
  if (means) {
    block = offsets;
    double longest = 0;
    for (int64_t c = 0; c < classes; ++c) longest = std::max(longest, dot(block.data() + c * stride, block.data() + c * stride, stride));
    // Scaled rows are of order 1: what is below 1e-14 per coordinate is rounding of the means (so are all of them for one class).
    const double rounding = 1e-14 * std::sqrt(static_cast<double>(d));
    width = space.orthonormalise(block, classes, std::max(1e-12 * std::sqrt(longest), rounding));
  } else {
    width = std::min(d, std::clamp<int64_t>(padded(count), 8, 64));
    block.resize(width * stride);
    space.fill_random(block, 0, width);
  }

  double first_error = 0;
  double furthest = 0;
  int64_t checked = 0;
  for (int pass = 0; width > 0; ++pass) {
    if (!space.append(block, width)) return cancelled();
    const int64_t added = width;
    const bool full = space.size() + std::min(added, d - space.size()) > space.capacity();
    const bool last = space.size() == d || pass == most_passes || (means && full);
    // Ritz pairs cost size^3: on large spaces only after growth by a tenth.
    if (space.size() >= count && (last || full || space.size() <= 128 || 10 * space.size() >= 11 * checked)) {
      checked = space.size();
      const Status status = space.ritz(pairs);
      if (!status.ok()) return status;
      double error = 0;
      double goal = 0;
      if (means) {
        error = quadratic_form_error(space, pairs, offsets, classes);
        goal = 1e-10;
      } else {
        for (const double residual : residuals(space, pairs, count)) error = std::max(error, residual);
        goal = tolerance * pairs.values[0];
      }
      if (last || error <= goal) return {};
      if (first_error == 0) first_error = error;
      furthest = std::max(furthest, std::log(first_error / error) / std::log(first_error / goal));
      task.report(0.1 + 0.8 * std::clamp(furthest, 0.0, 1.0));
    }

    block.assign(space.image(space.size() - added), space.image(space.size() - added) + added * stride);
    const int64_t wanted = std::min(added, d - space.size());
    width = std::min(wanted, space.orthonormalise(block, added, (means ? 1e-12 : 2e-14) * space.scale()));
    if (full) {
      // After the new block was made orthogonal to the whole space: it then holds the residuals of the pairs that are kept.
      space.restart(pairs, std::max(count + added, space.capacity() / 2));
      checked = 0;
    }
    if (!means && width < wanted) {
      // The space is invariant in the lost directions: random ones find what it cannot see.
      space.fill_random(block, width, wanted);
      width = wanted;
    }
  }
  return space.ritz(pairs);
}

// sd over rows of (u . (y - c))^2 for scaled vectors [count, stride]; scaled squared. Empty when cancelled.
bool projection_deviation(const Task& task, const std::vector<double>& vectors, const std::vector<double>& values, int64_t stride,
                          std::vector<double>& deviation) {
  const auto count = static_cast<int64_t>(values.size());
  const Moments& moments = task.moments;
  const int64_t d = task.target.d;
  const double total = moments.total_weight;
  std::vector<double> expected(count);
  for (int64_t j = 0; j < count; ++j) expected[j] = values[j] * moments.normaliser / total;
  std::vector<double> row(task.pool.size() * stride, 0.0);
  std::vector<double> sums(2 * count);
  const bool done = ordered_sum(task.pool, task.execution, moments.rows.rows, unit_rows, 2 * count, sums.data(),
                                [&](int64_t begin, int64_t end, int worker, double* partial) {
    double* y = row.data() + worker * stride;
    for (int64_t i = begin; i < end && !task.execution.cancelled(); ++i) {
      load_centred(moments.rows, i, 0, d, moments.centre(i), moments.gain, y);
      for (int64_t j = 0; j < count; ++j) {
        const double along = dot(y, vectors.data() + j * stride, d);
        const double excess = along * along - expected[j];
        partial[2 * j] += moments.weight(i) * excess;
        partial[2 * j + 1] += moments.weight(i) * excess * excess;
      }
    }
  });
  if (!done) return false;
  for (int64_t j = 0; j < count && moments.freedom > 0; ++j) {
    deviation[j] = std::sqrt(std::max(0.0, sums[2 * j + 1] - sums[2 * j] * sums[2 * j] / total) / moments.freedom);
  }
  return true;
}

// Makes the largest component of each row positive.
void fix_signs(std::vector<double>& rows, int64_t count, int64_t stride) {
  for (int64_t j = 0; j < count; ++j) {
    double* row = rows.data() + j * stride;
    const double* largest = std::max_element(row, row + stride, [](double x, double y) { return std::abs(x) < std::abs(y); });
    if (*largest >= 0) continue;
    for (int64_t k = 0; k < stride; ++k) row[k] = -row[k];
  }
}

Status leading(const Task& task, SpectrumResult& result) {
  const bool means = task.request.class_means;
  const int64_t d = task.target.d;
  const auto classes = static_cast<int64_t>(task.moments.class_fractions.size());
  int64_t count = std::clamp<int64_t>(task.request.count, 0, d);
  if (count == 0 && !means) return {};

  // Capacity: at most about half a gigabyte of basis and products, but room for a restart.
  const int64_t affordable = (int64_t{1} << 29) / (16 * d);
  const int64_t least = means ? 2 * classes : count + 3 * std::clamp<int64_t>(padded(count), 8, 64);
  const int64_t capacity = std::min(d, std::max(least, std::min(std::max(most_basis, 2 * count), affordable)));
  KrylovSpace space(task.covariance, capacity, task.pool, task.execution);
  const int64_t stride = space.stride();
  Ritz pairs;
  Status status = grow(task, space, pairs, means ? 0 : count);
  if (!status.ok()) return status;

  const int64_t m = space.size();
  count = std::min(count, m);
  std::vector<double> vectors = space.combine(pairs.coefficients.data(), means ? m : count, false);
  fix_signs(vectors, means ? m : count, stride);
  const double gain = task.moments.gain;
  const auto unscaled = [&](double value) { return value / gain / gain; };
  // The covariance is positive semi-definite by construction: a negative Ritz value is rounding of 0.
  for (double& value : pairs.values) value = std::max(value, 0.0);

  result.residuals = residuals(space, pairs, count);
  for (double& residual : result.residuals) residual = unscaled(residual);
  for (const double value : pairs.values) result.ritz_values.push_back(unscaled(value));
  result.eigenvalues.assign(result.ritz_values.begin(), result.ritz_values.begin() + count);
  for (int64_t j = 0; j < count; ++j) result.vectors.insert(result.vectors.end(), &vectors[j * stride], &vectors[j * stride] + d);
  result.projection_deviation.assign(count, 0.0);
  if (task.target.kind == Target::Kind::points && count > 0) {
    const std::vector<double> values(pairs.values.begin(), pairs.values.begin() + count);
    if (!projection_deviation(task, vectors, values, stride, result.projection_deviation)) return cancelled();
    for (double& deviation : result.projection_deviation) deviation = unscaled(deviation);
  }
  if (!means) return {};
  for (int64_t j = 0; j < m; ++j) result.ritz_vectors.insert(result.ritz_vectors.end(), &vectors[j * stride], &vectors[j * stride] + d);
  result.class_coordinates.resize(classes * m);
  for (int64_t c = 0; c < classes; ++c) {
    for (int64_t j = 0; j < m; ++j) {
      result.class_coordinates[c * m + j] = dot(task.moments.class_offsets.data() + c * d, vectors.data() + j * stride, d) / gain;
    }
  }
  return {};
}

Status complete(const Task& task, SpectrumResult& result) {
  const bool points = task.target.kind == Target::Kind::points;
  const int64_t n = task.target.n;
  const int64_t d = task.target.d;
  const int64_t size = points ? std::min(n, d) : d;
  if (size > most_dense) {
    return Status::failure(Code::shape, "a complete spectrum needs " + std::string(points ? "min(n, d)" : "d") +
                                            " <= " + std::to_string(most_dense) + ", here n = " + std::to_string(n) +
                                            " and d = " + std::to_string(d) + "; ask for leading eigenvalues instead");
  }
  const auto report = [&](double fraction) { task.report(0.1 + 0.7 * fraction); };
  std::vector<double> matrix;
  const bool done = points && n < d ? task.covariance.gram(matrix, report) : task.covariance.dense(matrix, report);
  if (!done) return cancelled();
  std::vector<double> values(size);
  const Status status = symmetric_eigen(std::move(matrix), size, values.data(), nullptr, task.execution);
  if (!status.ok()) return status;
  const int64_t kept = points ? std::min(n - 1, d) : d;
  for (int64_t j = 0; j < kept; ++j) {
    result.eigenvalues.push_back(std::max(0.0, values[size - 1 - j]) / task.moments.gain / task.moments.gain);
  }
  return {};
}

}  // namespace

Status spectrum(const Target& target, const SpectrumRequest& request, const Execution& execution, SpectrumResult& result) {
  result = SpectrumResult{};
  if (request.class_means && !request.complete && target.classes == nullptr && target.kind == Target::Kind::points) {
    return Status::failure(Code::shape, "class means were asked for, and the target has no classes");
  }
  ThreadPool pool(execution.threads);
  Moments moments;
  Status status = compute_moments(target, request.within, pool, execution, moments);
  if (!status.ok()) return status;
  const Covariance covariance(target, moments, pool, execution);
  const Task task{target, request, execution, pool, moments, covariance};
  task.report(0.1);
  result.trace = covariance.trace() / moments.gain / moments.gain;
  result.mean = moments.mean;
  result.class_fractions = moments.class_fractions;
  if (!std::isfinite(result.trace)) return Status::failure(Code::range, "the variance of the rows exceeds float64; scale the data down");
  status = request.complete ? complete(task, result) : leading(task, result);
  if (status.ok() && execution.cancelled()) return cancelled();
  if (status.ok()) task.report(1);
  return status;
}

Status covariance_matrix(const Target& target, const Execution& execution, double* mean, double* matrix) {
  const int64_t d = target.d;
  if (d > most_dense) {
    return Status::failure(Code::shape, "a covariance matrix needs d <= " + std::to_string(most_dense) + ", here d = " + std::to_string(d));
  }
  ThreadPool pool(execution.threads);
  Moments moments;
  const Status status = compute_moments(target, false, pool, execution, moments);
  if (!status.ok()) return status;
  const Covariance covariance(target, moments, pool, execution);
  std::vector<double> scaled;
  const auto report = [&](double fraction) {
    if (execution.progress) execution.progress(fraction);
  };
  if (!covariance.dense(scaled, report)) return cancelled();
  for (int64_t j = 0; j < d * d; ++j) matrix[j] = scaled[j] / moments.gain / moments.gain;
  if (!std::all_of(matrix, matrix + d * d, [](double entry) { return std::isfinite(entry); })) {
    return Status::failure(Code::range, "the variance of the rows exceeds float64; scale the data down");
  }
  std::copy(moments.mean.begin(), moments.mean.end(), mean);
  return {};
}

Status project(const Target& target, const ProjectRequest& request, const Execution& execution) {
  const int64_t d = target.d;
  const int64_t count = request.vectors.rows;
  const bool of_class = request.centre == ProjectRequest::Centre::of_class;
  if (request.vectors.columns != d) {
    return Status::failure(Code::shape, "the vectors have " + std::to_string(request.vectors.columns) + " coordinates and the rows " +
                                            std::to_string(d));
  }
  if (of_class && target.classes == nullptr && target.kind == Target::Kind::points) {
    return Status::failure(Code::shape, "rows cannot be centred on their class means: the target has no classes");
  }
  ThreadPool pool(execution.threads);
  Moments moments;
  moments.rows = component_rows(target);
  moments.mean.assign(d, 0.0);
  if (request.centre != ProjectRequest::Centre::none) {
    const Status status = compute_moments(target, of_class, pool, execution, moments);
    if (!status.ok()) return status;
  }
  // Sixteen rows meet a vector while it is in cache.
  constexpr int64_t grain = 16;
  std::vector<double> rows(pool.size() * grain * d);
  pool.run((target.n + grain - 1) / grain, [&](int64_t task, int worker) {
    double* block = rows.data() + worker * grain * d;
    const int64_t first = task * grain, end = std::min(first + grain, target.n);
    for (int64_t i = first; i < end; ++i) load_centred(moments.rows, i, 0, d, moments.centre(i), 1, block + (i - first) * d);
    for (int64_t j = 0; j < count && !execution.cancelled(); ++j) {
      for (int64_t i = first; i < end; ++i) request.out[i * count + j] = dot(block + (i - first) * d, request.vectors.row(j), d);
    }
  });
  return execution.cancelled() ? cancelled() : Status{};
}

}  // namespace regimes
