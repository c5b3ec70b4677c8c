#include "simulate_adaptive.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <string>

#include "simulate.h"
#include "thread_pool.h"

namespace regimes {
namespace {

constexpr int64_t most_steps = 100000;
constexpr double first_step = 0.05;  // of lambda; the second step is the estimate's
constexpr uint8_t unset = 255;

// Dormand and Prince 1980, RK5(4)7M: stages at c, their combinations, and the difference of the fifth- and fourth-order results. The
// last stage is evaluated at the fifth-order result: it is the first one of the next step.
constexpr int stages = 7;
constexpr double node[stages] = {0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1, 1};
constexpr double coefficient[stages][stages - 1] = {
    {},
    {1.0 / 5},
    {3.0 / 40, 9.0 / 40},
    {44.0 / 45, -56.0 / 15, 32.0 / 9},
    {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729},
    {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656},
    {35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84},
};
constexpr double difference[stages] = {71.0 / 57600, 0, -71.0 / 16695, 71.0 / 1920, -17253.0 / 339200, 22.0 / 525, -1.0 / 40};

// The flow of u = x / a in lambda = log(a / b), du/dlambda = D(u) - u, with D = E[x_0 | x_0 + sigma z = u], sigma = e^-lambda.
class Flow {
 public:
  Flow(const Backend& backend, const Target& target, const SimulateRequest& request, const Adaptive& adaptive, const Execution& execution)
      : backend_(backend), target_(target), request_(request), adaptive_(adaptive), execution_(execution), d_(target.d),
        slope_(static_cast<size_t>(request.count * target.d)), step_(static_cast<size_t>(request.count), first_step) {}

  // u [count, d] from level k - 1 to level k.
  Status advance(int64_t k, double* u) {
    const ReverseStep& from = request_.steps[k - 1];
    const ReverseStep& to = request_.steps[k];
    const double begin = lambda_of(from), end = lambda_of(to);
    ThreadPool pool(static_cast<int>(std::min<int64_t>(execution_.threads, request_.count)));
    inner_.threads = std::max(1, execution_.threads / pool.size());
    inner_.stop = execution_.stop;
    path_ = unset;
    Status failure;
    pool.run(request_.count, [&](int64_t r, int) {
      if (stopped_.load(std::memory_order_relaxed)) return;
      const Status status = advance_one(r, begin, end, k == 1, u + r * d_);
      const std::lock_guard lock(mutex_);
      if (!status.ok()) {
        if (failure.ok() || failure.code == Code::cancelled) failure = status;
        stopped_ = true;
      } else if (execution_.progress) {
        execution_.progress(static_cast<double>(++done_) / static_cast<double>(request_.count * (request_.step_count - 1)));
      }
    });
    if (request_.path) request_.path[k] = path_;
    return failure;
  }

  // D at the state that `advance` ended in.
  double denoised(int64_t i, double u) const { return slope_[i] + u; }

 private:
  static double lambda_of(const ReverseStep& level) { return std::log(level.a / level.b); }

  Status slope_at(double lambda, const double* u, double* slope) {
    PosteriorRequest pass;
    pass.x = {u, 1, d_};
    pass.a = 1;
    pass.b = std::exp(-lambda);
    pass.precision = request_.precision;
    pass.denoised = slope;
    uint8_t path = unset;
    pass.path = &path;
    const Status status = backend_.posterior(target_, pass, inner_);
    for (int64_t j = 0; j < d_; ++j) slope[j] -= u[j];
    uint8_t stated = path_.load(std::memory_order_relaxed);
    while (stated != path && stated != paths_mixed && !path_.compare_exchange_weak(stated, stated == unset ? path : paths_mixed)) {
    }
    return status;
  }

  Status advance_one(int64_t r, double begin, double end, bool first, double* u) {
    std::vector<double> memory(static_cast<size_t>((stages + 1) * d_));
    const auto k = [&](int stage) { return memory.data() + stage * d_; };
    double* trial = k(stages);
    double* slope = slope_.data() + r * d_;
    if (first) {
      const Status status = slope_at(begin, u, slope);
      if (!status.ok()) return status;
    }
    double& h = step_[r];
    double lambda = begin;
    for (int64_t tried = 0; lambda < end; ++tried) {
      if (execution_.cancelled() || stopped_.load(std::memory_order_relaxed)) return Status::failure(Code::cancelled, "");
      const bool last = lambda + h >= end;
      const double length = last ? end - lambda : h;
      if (tried == most_steps || !(lambda + length > lambda)) {
        return Status::failure(Code::domain, "trajectory " + std::to_string(request_.first + static_cast<uint64_t>(r)) +
                                                 " needs too many steps: loosen the tolerance, or ask for precision \"float64\"");
      }
      std::copy_n(slope, d_, k(0));
      for (int stage = 1; stage < stages; ++stage) {
        std::copy_n(u, d_, trial);
        for (int i = 0; i < stage; ++i) {
          const double factor = length * coefficient[stage][i];
          const double* earlier = k(i);
          for (int64_t j = 0; factor != 0 && j < d_; ++j) trial[j] += factor * earlier[j];
        }
        const Status status = slope_at(last && node[stage] == 1 ? end : lambda + node[stage] * length, trial, k(stage));
        if (!status.ok()) return status;
      }
      double square = 0, scaled = 0;
      for (int64_t j = 0; j < d_; ++j) {
        double error = 0;
        for (int stage = 0; stage < stages; ++stage) error += difference[stage] * k(stage)[j];
        error *= length;
        const double allowed = adaptive_.absolute + adaptive_.relative * std::max(std::abs(u[j]), std::abs(trial[j]));
        square += error * error;
        scaled += (error / allowed) * (error / allowed);
      }
      const double size = std::sqrt(scaled / static_cast<double>(d_));
      const double growth = size <= 1e-8 ? 10 : 0.9 * std::pow(size, -0.2);  // NaN where the trial left the range of float64
      if (!(size <= 1)) {
        ++adaptive_.rejected[r];
        h = length * (growth > 0.1 ? growth : 0.1);
        continue;
      }
      ++adaptive_.accepted[r];
      adaptive_.error[r] += std::sqrt(square / static_cast<double>(d_));
      std::copy_n(trial, d_, u);
      std::copy_n(k(stages - 1), d_, slope);
      lambda = last ? end : lambda + length;
      // A step cut short by a level says nothing against the length that was meant.
      h = last ? std::max(h, length * std::min(growth, 10.0)) : length * std::clamp(growth, 0.2, 10.0);
    }
    return {};
  }

  const Backend& backend_;
  const Target& target_;
  const SimulateRequest& request_;
  const Adaptive& adaptive_;
  const Execution& execution_;
  const int64_t d_;
  Execution inner_;
  std::vector<double> slope_, step_;  // of each trajectory
  std::atomic<uint8_t> path_{unset};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  int64_t done_ = 0;
};

Status check(const SimulateRequest& request) {
  for (int64_t k = 0; k < request.step_count; ++k) {
    const ReverseStep& level = request.steps[k];
    const bool falls = k == 0 || level.a / level.b > request.steps[k - 1].a / request.steps[k - 1].b;
    if (level.kind != ReverseStep::Kind::denoise || level.in != 0 || level.out != -1 || !(level.a > 0) || !(level.b > 0) || !falls) {
      return Status::failure(Code::shape, "level " + std::to_string(k) + " of the flow is none");
    }
    if (level.record < -1 || level.record >= request.observed.records) return Status::failure(Code::shape, "no such record");
  }
  return request.step_count >= 2 ? Status{} : Status::failure(Code::shape, "a flow needs two levels");
}

// The observations of one record alone.
Observations row_of(const Observations& all, int64_t record, int64_t count, const Target& target) {
  Observations row = all;
  row.records = 1;
  const auto shift = [&](auto*& base, int64_t width) { base = base == nullptr ? nullptr : base + record * count * width; };
  shift(row.states, target.d);
  shift(row.denoised, target.d);
  shift(row.norm, 1);
  shift(row.projections, row.direction_count);
  shift(row.log_density, 1);
  shift(row.entropy, 1);
  shift(row.sum_squares, 1);
  shift(row.nearest_index, 1);
  shift(row.nearest_weight, 1);
  shift(row.class_weights, target.class_count);
  shift(row.survivors, 1);
  return row;
}

}  // namespace

Status simulate_adaptive(const Backend& backend, const Target& target, const SimulateRequest& request, const Adaptive& adaptive,
                         const Execution& execution) {
  Status status = check(request);
  if (!status.ok()) return status;
  const int64_t size = request.count * target.d;
  Execution quiet;
  quiet.threads = execution.threads;
  quiet.stop = execution.stop;
  // Starts and records are what `simulate` makes of a program without steps, and of one that only looks.
  SimulateRequest part = request;
  part.registers = 1;
  part.result = 0;
  part.step_count = 0;
  part.carry = {};
  part.path = nullptr;
  status = simulate(backend, target, part, quiet);
  part.start_target = nullptr;
  part.start_component = nullptr;
  part.step_count = 1;

  Flow flow(backend, target, request, adaptive, execution);
  std::vector<double> u(request.x, request.x + size), state(u);
  std::fill_n(adaptive.accepted, request.count, 0);
  std::fill_n(adaptive.rejected, request.count, 0);
  std::fill_n(adaptive.error, request.count, 0.0);
  for (int64_t k = 0; status.ok() && k < request.step_count; ++k) {
    ReverseStep level = request.steps[k];
    if (k == 0) {
      for (double& value : u) value /= level.a;
      if (request.path) request.path[0] = unset;
    } else {
      status = flow.advance(k, u.data());
      for (int64_t i = 0; i < size; ++i) state[i] = level.a * u[i];
    }
    if (!status.ok() || level.record < 0) continue;
    part.observed = row_of(request.observed, level.record, request.count, target);
    part.start = {state.data(), request.count, target.d};
    part.x = nullptr;
    level.record = 0;
    part.steps = &level;
    uint8_t seen = unset;
    part.path = &seen;
    status = simulate(backend, target, part, quiet);
    uint8_t* stated = request.path ? request.path + k : nullptr;
    if (stated && seen != unset && *stated != seen) *stated = *stated == unset ? seen : paths_mixed;
  }
  if (!status.ok()) return status;
  for (int64_t i = 0; i < size; ++i) request.x[i] = adaptive.end_denoised ? flow.denoised(i, u[i]) : state[i];
  return {};
}

}  // namespace regimes
