#include "simulate.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <string>

#include "carry_plan.h"
#include "draws.h"
#include "philox.h"
#include "request_part.h"
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
    int64_t evaluations = 0;
    for (int64_t k = 0; k < request.step_count; ++k) evaluation_of_.push_back(request.steps[k].kind == ReverseStep::Kind::denoise ? evaluations++ : -1);
    if (request.carry.wanted && backend.carry != nullptr) plan_ = plan_carry(request);
    if (request.path != nullptr) std::fill_n(request.path, evaluations, unset);
    if (request.carry.refreshes != nullptr) std::fill_n(request.carry.refreshes, request.count, 0);
    if (request.carry.carried_steps != nullptr) std::fill_n(request.carry.carried_steps, request.count, 0);
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
    total_ = request_.count * std::max<int64_t>(1, request_.step_count);
    ThreadPool pool(blocks > 1 ? threads : 1);
    inner_.threads = static_cast<int>(std::max<int64_t>(1, threads / blocks));
    inner_.stop = execution_.stop;
    alone_.stop = execution_.stop;
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

  struct Block {
    int64_t first, rows;
    std::vector<double> registers;                 // [register][row][d]
    std::unique_ptr<CarriedBlock> carried;         // null: nothing is carried
    std::vector<int64_t> together;                 // rows that go step by step with the others
    std::vector<std::pair<int64_t, int64_t>> left; // row and the step from which it goes alone
  };

  Status run_block(int64_t first, int64_t rows) {
    Block block{first, rows, std::vector<double>(static_cast<size_t>(request_.registers * rows * d_)), nullptr, {}, {}};
    if (request_.carry.wanted && backend_.carry != nullptr) block.carried = backend_.carry(target_, request_, plan_, first, rows);
    block.together.resize(static_cast<size_t>(rows));
    std::iota(block.together.begin(), block.together.end(), int64_t{0});
    std::vector<double> z(static_cast<size_t>(d_));
    Status status = start(first, rows, block.registers.data());
    for (int64_t k = 0; status.ok() && k < request_.step_count && !block.together.empty(); ++k) {
      const ReverseStep& step = request_.steps[k];
      const auto going = static_cast<int64_t>(block.together.size());
      if (step.kind == ReverseStep::Kind::combine) {
        for (int64_t i = 0; i < going && !execution_.cancelled(); ++i) combine(step, block, block.together[i], z.data());
      } else {
        status = denoise(k, block, first, rows, nullptr);
      }
      if (stopped()) return Status::failure(Code::cancelled, "");
      advanced(going);
    }
    if (status.ok() && !block.left.empty()) {
      std::mutex mutex;
      ThreadPool pool(inner_.threads);
      pool.run(static_cast<int64_t>(block.left.size()), [&](int64_t i, int) {
        const Status end = run_alone(block, block.left[i].first, block.left[i].second);
        if (end.ok()) return;
        const std::lock_guard lock(mutex);
        if (status.ok() || status.code == Code::cancelled) status = end;
      });
    }
    const double* end = block.registers.data() + request_.result * rows * d_;
    if (status.ok()) status = in_range(end, first, rows, largest_state(1, d_), "the end");
    if (status.ok() && request_.x != nullptr) std::copy_n(end, rows * d_, request_.x + first * d_);
    return status;
  }

  // The rest of the program for one trajectory, whose state is in cache all the while.
  Status run_alone(Block& block, int64_t row, int64_t from) {
    std::vector<double> z(static_cast<size_t>(d_));
    for (int64_t k = from; k < request_.step_count; ++k) {
      if (stopped()) return Status::failure(Code::cancelled, "");
      const ReverseStep& step = request_.steps[k];
      if (step.kind == ReverseStep::Kind::combine) {
        combine(step, block, row, z.data());
        if (step.noise != 0) block.carried->drew(k, row, z.data());
      } else {
        const Status status = denoise(k, block, block.first + row, 1, &row);
        if (!status.ok()) return status;
      }
    }
    block.carried->finish(row);
    advanced(request_.step_count - from);
    return {};
  }

  bool stopped() const { return execution_.cancelled() || failed_.load(std::memory_order_relaxed); }

  void advanced(int64_t steps) {
    const int64_t done = done_.fetch_add(steps, std::memory_order_relaxed) + steps;
    if (execution_.progress) execution_.progress(static_cast<double>(done) / static_cast<double>(total_));
  }

  Status in_range(const double* x, int64_t first, int64_t rows, double largest, const std::string& where) const {
    // Their squares first, in which the loop becomes vectors.
    double sums[8] = {};
    int64_t at = 0;
    for (; at + 8 <= rows * d_; at += 8) {
      for (int part = 0; part < 8; ++part) sums[part] += x[at + part] * x[at + part];
    }
    for (; at < rows * d_; ++at) sums[0] += x[at] * x[at];
    if (std::accumulate(sums, sums + 8, 0.0) <= largest * largest) return {};
    for (int64_t i = 0; i < rows * d_; ++i) {
      if (std::abs(x[i]) <= largest) continue;
      return Status::failure(Code::nonfinite, "trajectory " + std::to_string(request_.first + static_cast<uint64_t>(first + i / d_)) +
                                                  " left the range of float64 before " + where);
    }
    return {};
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

  void combine(const ReverseStep& step, Block& block, int64_t r, double* z) const {
    const int32_t* terms = request_.terms + step.first_term;
    const double* factors = request_.factors + step.first_term;
    const auto row = [&](int32_t index) { return block.registers.data() + (index * block.rows + r) * d_; };
    double* out = row(step.out);
    if (step.noise != 0) draw_normals_(request_.seed, request_.first + static_cast<uint64_t>(block.first + r), step.draw, d_, z);
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

  // Evaluation at step k for trajectories [first, first + rows) of the block; `alone`: for that row, which has left the others.
  Status denoise(int64_t k, Block& block, int64_t first, int64_t rows, const int64_t* alone) {
    const ReverseStep& step = request_.steps[k];
    const int64_t evaluation = evaluation_of_[k];
    const auto at = [&](int32_t index) { return block.registers.data() + (index * block.rows + first - block.first) * d_; };
    const double* x = at(step.in);
    double* out = step.out < 0 ? nullptr : at(step.out);
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
      const Status status = alone != nullptr          ? block.carried->alone(evaluation, *alone, pass, alone_)
                            : block.carried != nullptr ? together(k, block, pass)
                                                       : backend_.posterior(target_, pass, inner_);
      if (!status.ok()) return status;
      if (request_.path != nullptr) state_path(evaluation, path);
    }
    if (step.record >= 0) observe(step.record * request_.count + first, rows, x, out);
    return {};
  }

  Status together(int64_t k, Block& block, const PosteriorRequest& pass) {
    std::vector<uint8_t> leaves(block.together.size(), 0);
    const int64_t evaluation = evaluation_of_[k];
    Status status;
    if (block.left.empty()) {
      status = block.carried->together(evaluation, block.together, pass, inner_, leaves);
    } else {
      const RequestPart part(pass, d_, target_.class_count, block.together);
      status = block.carried->together(evaluation, block.together, part.request(), inner_, leaves);
      if (status.ok()) part.scatter();
      for (const auto& [row, from] : block.left) {
        if (pass.path != nullptr) pass.path[row] = pass.path[block.together[0]];  // theirs is stated where they go
      }
    }
    size_t kept = 0;
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (leaves[i]) {
        block.left.emplace_back(block.together[i], k + 1);
      } else {
        block.together[kept++] = block.together[i];
      }
    }
    block.together.resize(kept);
    return status;
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
  std::vector<int64_t> evaluation_of_;  // [steps]
  CarryPlan plan_;                      // where something may be carried
  Execution inner_;  // of the operations inside a block: no progress of their own
  Execution alone_;  // of those for one trajectory
  int64_t total_ = 1;
  std::atomic<int64_t> done_{0};
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
