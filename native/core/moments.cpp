#include "moments.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "dense_block.h"
#include "ordered_sum.h"

namespace regimes {
namespace {

double largest_deviation(const Covariances& covariances) {
  const auto largest = [](const std::vector<double>& values) {
    double result = 0;
    for (const double value : values) result = std::max(result, std::abs(value));
    return result;
  };
  return std::max(std::sqrt(largest(covariances.values)), largest(covariances.factors));
}

// Reads rows as (y - centre) gain into a scratch row of the worker.
class RowReader {
 public:
  RowReader(const DataView& rows, int workers) : rows_(rows), scratch_(static_cast<size_t>(workers) * rows.columns) {}

  const double* read(int64_t i, int worker, const double* centre, double gain) {
    double* row = scratch_.data() + worker * rows_.columns;
    load_centred(rows_, i, 0, rows_.columns, centre, gain, row);
    return row;
  }

 private:
  DataView rows_;
  std::vector<double> scratch_;
};

// Sum of w_i (y_i - m) gain over the rows of each class, into class_offsets. Rows are taken class by class, in tasks of unit_rows,
// so that memory does not grow with the number of classes times threads.
bool sum_classes(Moments& moments, int64_t class_count, RowReader& reader, ThreadPool& pool, const Execution& execution) {
  const int64_t n = moments.rows.rows;
  const int64_t d = moments.rows.columns;
  std::vector<int64_t> start(class_count + 1, 0);
  for (const int32_t c : moments.class_of) ++start[c + 1];
  std::partial_sum(start.begin(), start.end(), start.begin());
  std::vector<int64_t> order(n);
  std::vector<int64_t> next(start.begin(), start.end() - 1);
  for (int64_t i = 0; i < n; ++i) order[next[moments.class_of[i]]++] = i;

  struct Task {
    int64_t begin, end;
    int64_t extra;  // index of its own partial sum, -1: the offsets of its class
    int32_t c;
  };
  std::vector<Task> tasks;
  int64_t extras = 0;
  for (int32_t c = 0; c < class_count; ++c) {
    for (int64_t begin = start[c]; begin < start[c + 1]; begin += unit_rows) {
      tasks.push_back({begin, std::min(begin + unit_rows, start[c + 1]), begin == start[c] ? -1 : extras++, c});
    }
  }
  moments.class_offsets.assign(class_count * d, 0.0);
  std::vector<double> partials(extras * d, 0.0);
  const auto sum_of = [&](const Task& task) {
    return task.extra < 0 ? moments.class_offsets.data() + task.c * d : partials.data() + task.extra * d;
  };
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const Task& task = tasks[index];
    double* sum = sum_of(task);
    for (int64_t at = task.begin; at < task.end && !execution.cancelled(); ++at) {
      const double* row = reader.read(order[at], worker, moments.mean.data(), moments.gain);
      const double weight = moments.weight(order[at]);
      for (int64_t k = 0; k < d; ++k) sum[k] += weight * row[k];
    }
  });
  if (execution.cancelled()) return false;
  for (size_t first = 0; first < tasks.size();) {
    size_t last = first;
    while (last < tasks.size() && tasks[last].c == tasks[first].c) ++last;
    merge_tree(static_cast<int64_t>(last - first), [&](int64_t i, int64_t j) {
      add_to(sum_of(tasks[first + i]), sum_of(tasks[first + j]), d);
    });
    first = last;
  }
  return true;
}

// Class fractions, offsets and means. False when cancelled.
bool compute_classes(const Target& target, Moments& moments, RowReader& reader, ThreadPool& pool, const Execution& execution) {
  const int64_t n = moments.rows.rows;
  const int64_t d = moments.rows.columns;
  int64_t class_count = target.class_count;
  if (target.classes != nullptr) {
    moments.class_of.assign(target.classes, target.classes + n);
  } else {
    if (target.kind == Target::Kind::points) return true;
    class_count = n;
    moments.class_of.resize(n);
    std::iota(moments.class_of.begin(), moments.class_of.end(), 0);
  }
  std::vector<double> mass(class_count, 0.0);
  std::vector<double> squares(class_count, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    const double weight = moments.weight(i);
    mass[moments.class_of[i]] += weight;
    squares[moments.class_of[i]] += weight * weight;
  }
  if (!sum_classes(moments, class_count, reader, pool, execution)) return false;
  moments.class_fractions.resize(class_count);
  moments.class_means.resize(class_count * d);
  double freedom = 0;
  for (int64_t c = 0; c < class_count; ++c) {
    moments.class_fractions[c] = mass[c] / moments.total_weight;
    if (mass[c] > 0) freedom += mass[c] - squares[c] / mass[c];
    for (int64_t k = 0; k < d; ++k) {
      double& offset = moments.class_offsets[c * d + k];
      offset = mass[c] > 0 ? offset / mass[c] : 0;
      moments.class_means[c * d + k] = moments.mean[k] + offset / moments.gain;
    }
  }
  if (moments.within && target.kind == Target::Kind::points) moments.normaliser = freedom;
  return true;
}

}  // namespace

DataView component_rows(const Target& target) {
  if (target.kind == Target::Kind::points) return target.points;
  return {target.means.data, target.n, target.d, Dtype::f64, 1, 0};
}

Status compute_moments(const Target& target, bool within, ThreadPool& pool, const Execution& execution, Moments& moments) {
  const Status cancelled = Status::failure(Code::cancelled, "");
  const bool points = target.kind == Target::Kind::points;
  if (within && points && target.classes == nullptr) {
    return Status::failure(Code::shape, "the within-class covariance needs classes, and the target has none");
  }
  const int64_t n = target.n;
  const int64_t d = target.d;
  moments = Moments{};
  moments.within = within;
  moments.rows = component_rows(target);
  if (target.log_weights != nullptr) {
    moments.weights.resize(n);
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += moments.weights[i] = std::exp(target.log_weights[i]);
    for (double& weight : moments.weights) weight /= total;
  }
  moments.total_weight = moments.weights.empty() ? static_cast<double>(n) : 1;

  // Deviations from the first row, not the values, are summed: a constant data set has mean and scatter exact, a large offset
  // costs no digits.
  RowReader reader(moments.rows, pool.size());
  const std::vector<double> zero(d, 0.0);
  std::vector<double> origin(d);
  load_centred(moments.rows, 0, 0, d, zero.data(), 1, origin.data());
  std::vector<double> largest(pool.size(), points ? 0 : largest_deviation(*target.covariances));
  std::vector<double> sum(d + 1);
  bool done = ordered_sum(pool, execution, n, unit_rows, d, sum.data(), [&](int64_t begin, int64_t end, int worker, double* partial) {
    for (int64_t i = begin; i < end && !execution.cancelled(); ++i) {
      const double* row = reader.read(i, worker, origin.data(), 1);
      const double weight = moments.weight(i);
      double deviation = largest[worker];
      for (int64_t k = 0; k < d; ++k) {
        partial[k] += weight * row[k];
        deviation = std::max(deviation, std::abs(row[k]));
      }
      largest[worker] = deviation;
    }
  });
  if (!done) return cancelled;
  const double spread = *std::max_element(largest.begin(), largest.end());
  if (!(spread < 0x1p511)) return Status::failure(Code::range, "the rows spread over more than 1e153; scale the data down");
  moments.gain = std::ldexp(1.0, spread > 0 ? -std::max(std::ilogb(spread), -1000) : 0);
  moments.mean.resize(d);
  for (int64_t k = 0; k < d; ++k) moments.mean[k] = origin[k] + sum[k] / moments.total_weight;

  // Second pass: what rounding left of the mean, and the squares about it.
  done = ordered_sum(pool, execution, n, unit_rows, d + 1, sum.data(), [&](int64_t begin, int64_t end, int worker, double* partial) {
    for (int64_t i = begin; i < end && !execution.cancelled(); ++i) {
      const double* row = reader.read(i, worker, moments.mean.data(), moments.gain);
      const double weight = moments.weight(i);
      for (int64_t k = 0; k < d; ++k) partial[k] += weight * row[k];
      partial[d] += weight * dot(row, row, d);
    }
  });
  if (!done) return cancelled;
  for (int64_t k = 0; k < d; ++k) moments.mean[k] += sum[k] / moments.total_weight / moments.gain;
  moments.scatter = std::max(0.0, sum[d] - dot(sum.data(), sum.data(), d) / moments.total_weight);

  double squared_weights = 0;
  for (const double weight : moments.weights) squared_weights += weight * weight;
  moments.freedom = moments.weights.empty() ? static_cast<double>(n - 1) : 1 - squared_weights;
  moments.normaliser = points ? moments.freedom : moments.total_weight;
  if (!compute_classes(target, moments, reader, pool, execution)) return cancelled;
  if (within) {
    done = ordered_sum(pool, execution, n, unit_rows, 1, &moments.scatter, [&](int64_t begin, int64_t end, int worker, double* partial) {
      for (int64_t i = begin; i < end && !execution.cancelled(); ++i) {
        const double* row = reader.read(i, worker, moments.centre(i), moments.gain);
        partial[0] += moments.weight(i) * dot(row, row, d);
      }
    });
    if (!done) return cancelled;
  }
  return {};
}

}  // namespace regimes
