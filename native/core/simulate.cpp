#include "simulate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <string>

#include "draws.h"
#include "philox.h"
#include "thread_pool.h"

namespace regimes {
namespace {

constexpr int64_t most_rows = 256;                   // of a block: what one pass over the data serves well
constexpr int64_t register_bytes = int64_t{1} << 27;  // of the registers of a block
constexpr int64_t few_numbers = 4;                    // fewer than a vector kernel makes at once: the definition is faster

// Squared distances over 2 b^2 from a state up to here stay finite, beside components that were checked with the request.
double largest_state(double b, int64_t d) { return std::min(1e150, 1e152 * b / std::sqrt(static_cast<double>(d))); }

Status check(const Target& target, const SimulateRequest& request) {
  const auto wrong = [](const char* what, int64_t step) { return Status::failure(Code::shape, std::string(what) + " at step " + std::to_string(step)); };
  const auto there = [&](int32_t index) { return index >= 0 && index < request.registers; };
  for (int64_t k = 0; k < request.step_count; ++k) {
    const ReverseStep& step = request.steps[k];
    if (step.kind == ReverseStep::Kind::combine) {
      if (!there(step.out) || step.draw >= first_reserved_step) return wrong("no such register or draw", k);
      for (int32_t term = 0; term < step.term_count; ++term) {
        const int32_t read = request.terms[step.first_term + term];
        if (!there(read) || (term >= 3 && read == step.out)) return wrong("no such register, or one written before it is read", k);
      }
    } else {
      if (!there(step.in) || (step.out != -1 && !there(step.out)) || step.in == step.out) return wrong("no such register, or one that is read and written", k);
      if (!(step.b > 0) || !(step.a >= 0)) return wrong("a and b have to be positive", k);
      if (step.record < -1 || step.record >= request.observed.records) return wrong("no such record", k);
    }
  }
  if (!there(request.result)) return wrong("no such register", request.step_count);
  if (request.start.data != nullptr && (request.start.rows != request.count || request.start.columns != target.d)) {
    return Status::failure(Code::shape, "the start has another shape");
  }
  return {};
}

class Simulation {
 public:
  Simulation(const Backend& backend, const Target& target, const SimulateRequest& request, const Execution& execution)
      : backend_(backend), target_(target), request_(request), execution_(execution), d_(target.d) {
    for (int64_t k = 0; k < request.step_count; ++k) evaluations_ += request.steps[k].kind == ReverseStep::Kind::denoise;
    if (request.path != nullptr) std::fill_n(request.path, evaluations_, unset);
  }

  Status run() {
    const int threads = execution_.threads;
    const int64_t bytes_of_row = (request_.registers + 1) * d_ * static_cast<int64_t>(sizeof(double));
    const int64_t share = (request_.count + threads - 1) / threads;
    const int64_t most = std::clamp<int64_t>(std::min(share, register_bytes / bytes_of_row), 1, request_.batch > 0 ? request_.batch : most_rows);
    int64_t blocks = (request_.count + most - 1) / most;
    if (blocks > threads) blocks = std::min((blocks + threads - 1) / threads * threads, request_.count);  // no thread ends early
    const int64_t rows = (request_.count + blocks - 1) / blocks;
    blocks = (request_.count + rows - 1) / rows;
    total_ = blocks * std::max<int64_t>(1, request_.step_count);
    ThreadPool pool(blocks > 1 ? threads : 1);
    inner_.threads = static_cast<int>(std::max<int64_t>(1, threads / blocks));
    inner_.stop = execution_.stop;
    pool.run(blocks, [&](int64_t block, int) {
      if (failed_.load(std::memory_order_relaxed)) return;
      const Status status = run_block(block * rows, std::min(rows, request_.count - block * rows));
      if (status.ok()) return;
      const std::lock_guard lock(mutex_);
      if (status_.ok() || status_.code == Code::cancelled) status_ = status;
      failed_ = true;
    });
    return status_;
  }

 private:
  static constexpr uint8_t unset = 255;

  Status run_block(int64_t first, int64_t rows) {
    std::vector<double> registers(static_cast<size_t>(request_.registers * rows * d_)), z(static_cast<size_t>(d_));
    const auto at = [&](int32_t index) { return registers.data() + index * rows * d_; };
    Status status = start(first, rows, at(0));
    int64_t evaluation = 0;
    for (int64_t k = 0; status.ok() && k < request_.step_count; ++k) {
      const ReverseStep& step = request_.steps[k];
      if (step.kind == ReverseStep::Kind::combine) {
        combine(step, first, rows, registers.data(), z.data());
      } else {
        status = denoise(step, evaluation++, first, rows, at(step.in), step.out < 0 ? nullptr : at(step.out));
      }
      if (execution_.cancelled() || failed_.load(std::memory_order_relaxed)) return Status::failure(Code::cancelled, "");
      if (execution_.progress) tell_progress();
    }
    const double* end = at(request_.result);
    if (status.ok()) status = in_range(end, first, rows, largest_state(1, d_), "the end");
    if (status.ok() && request_.x != nullptr) std::copy_n(end, rows * d_, request_.x + first * d_);
    return status;
  }

  Status in_range(const double* x, int64_t first, int64_t rows, double largest, const std::string& where) const {
    // The bits of |x| are ordered as |x| is, NaN last: the sign of a difference of integers says what a branch would, and fills vectors.
    const auto limit = std::bit_cast<uint64_t>(largest);
    for (int64_t i = 0; i < rows * d_; i += d_) {
      uint64_t signs = 0;
      for (int64_t j = 0; j < d_; ++j) signs |= limit - (std::bit_cast<uint64_t>(x[i + j]) & ~(uint64_t{1} << 63));
      if (signs >> 63 == 0) continue;
      return Status::failure(Code::nonfinite, "trajectory " + std::to_string(request_.first + static_cast<uint64_t>(first + i / d_)) +
                                                  " left the range of float64 before " + where);
    }
    return {};
  }

  // In order, whichever thread comes first.
  void tell_progress() {
    const std::lock_guard lock(mutex_);
    execution_.progress(static_cast<double>(++done_) / static_cast<double>(total_));
  }

  Status start(int64_t first, int64_t rows, double* x) const {
    const uint64_t number = request_.first + static_cast<uint64_t>(first);
    if (request_.start.data != nullptr) {
      for (int64_t r = 0; r < rows; ++r) std::copy_n(request_.start.row(first + r), d_, x + r * d_);
      return {};
    }
    if (request_.start_target != nullptr) {
      SampleRequest draws{request_.start_a, request_.start_b, request_.seed, number, rows, x, nullptr};
      if (request_.start_component != nullptr) draws.component = request_.start_component + first;
      return sample(*request_.start_target, draws, inner_);
    }
    for (int64_t r = 0; r < rows && !execution_.cancelled(); ++r) {
      draw_normals_(request_.seed, number + static_cast<uint64_t>(r), step_noise, d_, x + r * d_);
      for (int64_t j = 0; j < d_; ++j) x[r * d_ + j] *= request_.start_b;
    }
    return {};
  }

  void combine(const ReverseStep& step, int64_t first, int64_t rows, double* registers, double* z) const {
    const int32_t* terms = request_.terms + step.first_term;
    const double* factors = request_.factors + step.first_term;
    for (int64_t r = 0; r < rows && !execution_.cancelled(); ++r) {
      const auto row = [&](int32_t index) { return registers + (index * rows + r) * d_; };
      double* out = row(step.out);
      if (step.noise != 0) draw_normals_(request_.seed, request_.first + static_cast<uint64_t>(first + r), step.draw, d_, z);
      // The sum of the first three terms in one sweep; the register written may be one of those read.
      const int32_t count = step.term_count;
      const double* const p[3] = {count > 0 ? row(terms[0]) : out, count > 1 ? row(terms[1]) : out, count > 2 ? row(terms[2]) : out};
      const double f[3] = {count > 0 ? factors[0] : 0, count > 1 ? factors[1] : 0, count > 2 ? factors[2] : 0};
      switch (std::min(count, 3)) {
        case 0: std::fill_n(out, d_, 0.0); break;
        case 1: for (int64_t j = 0; j < d_; ++j) out[j] = f[0] * p[0][j]; break;
        case 2: for (int64_t j = 0; j < d_; ++j) out[j] = f[0] * p[0][j] + f[1] * p[1][j]; break;
        default: for (int64_t j = 0; j < d_; ++j) out[j] = f[0] * p[0][j] + f[1] * p[1][j] + f[2] * p[2][j];
      }
      for (int32_t term = 3; term < count; ++term) {
        const double* more = row(terms[term]);
        for (int64_t j = 0; j < d_; ++j) out[j] += factors[term] * more[j];
      }
      if (step.noise != 0) {
        for (int64_t j = 0; j < d_; ++j) out[j] += step.noise * z[j];
      }
    }
  }

  Status denoise(const ReverseStep& step, int64_t evaluation, int64_t first, int64_t rows, const double* x, double* out) {
    const Status fit = in_range(x, first, rows, largest_state(step.b, d_), "evaluation " + std::to_string(evaluation));
    if (!fit.ok()) return fit;
    const Observations& seen = request_.observed;
    PosteriorRequest pass;
    pass.x = {x, rows, d_};
    pass.a = step.a;
    pass.b = step.b;
    pass.precision = request_.precision;
    std::vector<uint8_t> path(request_.path != nullptr ? static_cast<size_t>(rows) : 0);
    if (request_.path != nullptr) pass.path = path.data();
    pass.denoised = out;
    if (step.record >= 0) {
      const int64_t place = step.record * request_.count + first;
      const auto of = [&](auto* base, int64_t width) { return base == nullptr ? nullptr : base + place * width; };
      pass.log_density = of(seen.log_density, 1);
      pass.entropy = of(seen.entropy, 1);
      pass.sum_squares = of(seen.sum_squares, 1);
      pass.nearest_index = of(seen.nearest_index, 1);
      pass.nearest_weight = of(seen.nearest_weight, 1);
      pass.class_weights = of(seen.class_weights, target_.class_count);
      pass.survivors = of(seen.survivors, 1);
      if (out == nullptr) pass.denoised = of(seen.denoised, d_);
    }
    const bool wanted = pass.denoised || pass.log_density || pass.entropy || pass.sum_squares || pass.nearest_index || pass.nearest_weight ||
                        pass.class_weights || pass.survivors;
    if (wanted) {
      const Status status = backend_.posterior(target_, pass, inner_);
      if (!status.ok()) return status;
      state_path(evaluation, path);
    }
    if (step.record >= 0) observe(step.record * request_.count + first, rows, x, out);
    return {};
  }

  // What is read off the state itself.
  void observe(int64_t place, int64_t rows, const double* x, const double* denoised) const {
    const Observations& seen = request_.observed;
    if (seen.states) std::copy_n(x, rows * d_, seen.states + place * d_);
    if (seen.denoised && denoised) std::copy_n(denoised, rows * d_, seen.denoised + place * d_);
    const auto dot = [this](const double* u, const double* v) {
      double sum = 0;
      for (int64_t j = 0; j < d_; ++j) sum += u[j] * v[j];
      return sum;
    };
    for (int64_t r = 0; r < rows; ++r) {
      const double* state = x + r * d_;
      if (seen.norm) seen.norm[place + r] = std::sqrt(dot(state, state));
      for (int64_t p = 0; seen.projections && p < seen.direction_count; ++p) {
        seen.projections[(place + r) * seen.direction_count + p] = dot(state, seen.directions + p * d_);
      }
    }
  }

  void state_path(int64_t evaluation, const std::vector<uint8_t>& paths) {
    if (request_.path == nullptr) return;
    const bool same = std::all_of(paths.begin(), paths.end(), [&](uint8_t path) { return path == paths[0]; });
    const uint8_t here = same ? paths[0] : paths_mixed;
    const std::lock_guard lock(mutex_);
    uint8_t& stated = request_.path[evaluation];
    stated = stated == unset || stated == here ? here : paths_mixed;
  }

  const Backend& backend_;
  const Target& target_;
  const SimulateRequest& request_;
  const Execution& execution_;
  const int64_t d_;
  const Normals draw_normals_ = d_ <= few_numbers ? Normals{normals} : backend_.normals;
  Execution inner_;  // of the operations inside a block: no progress of their own
  int64_t evaluations_ = 0, total_ = 1, done_ = 0;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  Status status_;
};

}  // namespace

Status simulate(const Backend& backend, const Target& target, const SimulateRequest& request, const Execution& execution) {
  const Status status = check(target, request);
  return status.ok() ? Simulation(backend, target, request, execution).run() : status;
}

}  // namespace regimes
