#include "lift.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "thread_pool.h"

namespace regimes {
namespace {

constexpr int64_t item_rows = 16;  // trajectories between polls

double dot(const double* u, const double* v, int64_t d) {
  double sum[4] = {}, tail = 0;
  int64_t j = 0;
  for (; j + 4 <= d; j += 4) {
    for (int lane = 0; lane < 4; ++lane) sum[lane] += u[j + lane] * v[j + lane];
  }
  for (; j < d; ++j) tail += u[j] * v[j];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + tail;
}

void add(double factor, const double* x, int64_t d, double* sum) {
  for (int64_t j = 0; j < d; ++j) sum[j] += factor * x[j];
}

class Lift {
 public:
  Lift(Normals draw_normals, const LiftRequest& request)
      : draw_normals_(draw_normals), r_(request), d_(request.d), values_(1 + request.seen.records),
        p_(static_cast<size_t>(values_ * d_)), noise_(static_cast<size_t>(d_)), state_(noise_.size()), away_(noise_.size()) {}

  void trajectory(int64_t row) {
    std::fill(p_.begin(), p_.end(), 0.0);
    for (int64_t v = 0; v < values_; ++v) add(r_.constant[v], r_.rest, d_, value(v));
    if (r_.rows.data != nullptr) {
      std::copy_n(r_.rows.row(row), d_, noise_.data());
      outside();
      for (int64_t v = 0; v < values_; ++v) add(r_.start[v], noise_.data(), d_, value(v));
    }
    for (int64_t j = 0; j < values_; ++j) {
      if (!(r_.factor[j * values_ + j] > 0)) continue;
      draw_normals_(r_.seed, r_.first + static_cast<uint64_t>(row), r_.first_draw + static_cast<uint32_t>(j), d_, noise_.data());
      outside();
      for (int64_t v = j; v < values_; ++v) add(r_.factor[v * values_ + j], noise_.data(), d_, value(v));
    }
    for (int64_t record = 0; record < r_.seen.records; ++record) observe(record, row);
    std::copy_n(value(0), d_, r_.x + row * d_);
    add_span(r_.ends + row * r_.dimension, r_.x + row * d_);
  }

 private:
  double* value(int64_t v) { return p_.data() + v * d_; }

  // noise_ = (1 - U^T U) noise_.
  void outside() {
    for (int64_t i = 0; i < r_.dimension; ++i) {
      const double* u = r_.basis + i * d_;
      add(-dot(u, noise_.data(), d_), u, d_, noise_.data());
    }
  }

  // x += U^T y.
  void add_span(const double* y, double* x) const {
    for (int64_t i = 0; i < r_.dimension; ++i) add(y[i], r_.basis + i * d_, d_, x);
  }

  void observe(int64_t record, int64_t row) {
    const Observations& seen = r_.seen;
    const double *p = value(1 + record), a = r_.a[record], b = r_.b[record];
    const int64_t place = record * r_.count + row;
    double* state = seen.states != nullptr ? seen.states + place * d_ : state_.data();
    std::copy_n(p, d_, state);
    add_span(r_.states + place * r_.dimension, state);
    if (seen.norm) seen.norm[place] = std::sqrt(dot(state, state, d_));
    for (int64_t k = 0; seen.projections && k < seen.direction_count; ++k) {
      seen.projections[place * seen.direction_count + k] = dot(state, seen.directions + k * d_, d_);
    }
    if (!seen.denoised && !seen.log_density) return;
    // The complement is one Gaussian N(q, v).
    const double width = a * a * r_.variance + b * b;
    std::copy_n(p, d_, away_.data());
    add(-a, r_.rest, d_, away_.data());
    if (seen.denoised) {
      double* mean = seen.denoised + place * d_;
      std::copy_n(r_.rest, d_, mean);
      add(a * r_.variance / width, away_.data(), d_, mean);
      add_span(r_.denoised + place * r_.dimension, mean);
    }
    if (seen.log_density) {
      const double dimensions = static_cast<double>(d_ - r_.dimension), square = dot(away_.data(), away_.data(), d_);
      seen.log_density[place] = r_.log_density[place] - (dimensions * std::log(2 * std::numbers::pi * width) + square / width) / 2;
    }
  }

  const Normals draw_normals_;
  const LiftRequest& r_;
  const int64_t d_, values_;
  std::vector<double> p_;  // [1 + records][d]
  std::vector<double> noise_, state_, away_;
};

}  // namespace

Status lift(Normals draw_normals, const LiftRequest& request, const Execution& execution) {
  const int64_t items = (request.count + item_rows - 1) / item_rows;
  ThreadPool pool(static_cast<int>(std::min<int64_t>(execution.threads, std::max<int64_t>(items, 1))));
  std::vector<Lift> lifts(static_cast<size_t>(pool.size()), Lift(draw_normals, request));
  pool.run(items, [&](int64_t item, int worker) {
    const int64_t end = std::min(request.count, (item + 1) * item_rows);
    for (int64_t row = item * item_rows; row < end && !execution.cancelled(); ++row) lifts[static_cast<size_t>(worker)].trajectory(row);
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
