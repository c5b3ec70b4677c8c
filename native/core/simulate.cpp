#include "simulate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>
#include <string>

#include "carry_plan.h"
#include "draws.h"
#include "observations.h"
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
    for (int64_t k = 0; k < request.step_count && run_block_ != nullptr && request.path != nullptr; ++k) {
      if (evaluation_of_[k] >= 0 && wants_pass(request, request.steps[k])) request.path[evaluation_of_[k]] = static_cast<uint8_t>(Path::float64);
    }
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
    std::vector<double> registers;          // [register][row][d]
    std::unique_ptr<CarriedBlock> carried;  // null: nothing is carried
    std::vector<int64_t> together;          // rows that go step by step with one another
    std::vector<std::pair<int64_t, int64_t>> left;  // row and the step from which it goes alone
  };

  Status run_block(int64_t first, int64_t rows) {
    if (run_block_ != nullptr) return run_whole(first, rows);
    Block block{first, rows, std::vector<double>(static_cast<size_t>(request_.registers * rows * d_)), nullptr, {}, {}};
    if (request_.carry.wanted && backend_.carry != nullptr) block.carried = backend_.carry(target_, request_, plan_, first, rows);
    std::vector<int64_t> all(static_cast<size_t>(rows));
    std::iota(all.begin(), all.end(), int64_t{0});
    std::map<int64_t, std::vector<int64_t>> due = {{0, std::move(all)}};  // rows by the step from which they go together
    Status status = start(first, rows, block.registers.data());
    while (status.ok() && !due.empty()) {
      status = run_together(block, due);
      if (status.ok()) status = run_left(block, due);
    }
    return status.ok() ? finish(block.registers.data() + request_.result * rows * d_, first, rows) : status;
  }

  Status run_whole(int64_t first, int64_t rows) {
    std::vector<double> x(static_cast<size_t>(rows * d_));
    Status status = start(first, rows, x.data());
    if (status.ok()) status = run_block_(target_, request_, first, rows, x.data(), [this](int64_t steps) { advanced(steps); }, inner_);
    return status.ok() ? finish(x.data(), first, rows) : status;
  }

  Status finish(const double* end, int64_t first, int64_t rows) const {
    const Status status = in_range(end, first, rows, largest_state(1, d_), "the end");
    if (status.ok() && request_.x != nullptr) std::copy_n(end, rows * d_, request_.x + first * d_);
    return status;
  }

  // From the first step with rows due, step by step, until none is left in company.
  Status run_together(Block& block, std::map<int64_t, std::vector<int64_t>>& due) {
    std::vector<double> z(static_cast<size_t>(d_));
    block.together.clear();
    for (int64_t k = due.begin()->first; k < request_.step_count && !(block.together.empty() && due.empty()); ++k) {
      if (const auto here = due.find(k); here != due.end()) {
        block.together.insert(block.together.end(), here->second.begin(), here->second.end());
        std::sort(block.together.begin(), block.together.end());
        due.erase(here);
      }
      const auto going = static_cast<int64_t>(block.together.size());
      if (going == 0) continue;
      const ReverseStep& step = request_.steps[k];
      if (step.kind == ReverseStep::Kind::combine) {
        for (int64_t i = 0; i < going && !execution_.cancelled(); ++i) combine(step, block, block.together[i], z.data());
      } else {
        const Status status = denoise_together(k, block);
        if (!status.ok()) return status;
      }
      if (stopped()) return Status::failure(Code::cancelled, "");
      advanced(going);
    }
    due.clear();  // what is due at the end of the program has come to it
    return {};
  }

  // The rows that left, one after the other; those that have to meet all data again become due.
  Status run_left(Block& block, std::map<int64_t, std::vector<int64_t>>& due) {
    Status status;
    std::mutex mutex;
    ThreadPool pool(inner_.threads);
    pool.run(static_cast<int64_t>(block.left.size()), [&](int64_t i, int) {
      const auto [row, from] = block.left[i];
      int64_t k = from;
      const Status end = run_alone(block, row, k);
      advanced(k - from);
      const std::lock_guard lock(mutex);
      if (!end.ok() && (status.ok() || status.code == Code::cancelled)) status = end;
      if (end.ok() && k < request_.step_count) due[k].push_back(row);
    });
    block.left.clear();
    return status;
  }

  // From step k on, for one trajectory, whose state is in cache all the while; k becomes the step that it cannot do alone.
  Status run_alone(Block& block, int64_t row, int64_t& k) {
    std::vector<double> z(static_cast<size_t>(d_));
    for (; k < request_.step_count; ++k) {
      if (stopped()) return Status::failure(Code::cancelled, "");
      const ReverseStep& step = request_.steps[k];
      if (step.kind == ReverseStep::Kind::combine) {
        combine(step, block, row, z.data());
        if (step.noise != 0) block.carried->drew(k, row, z.data());
      } else {
        bool alone = true;
        const Status status = denoise(k, block, row, 1, [&](const PosteriorRequest& pass) {
          alone = block.carried->alone(evaluation_of_[k], row, pass);
          if (!alone && pass.path != nullptr) *pass.path = unset;
          return Status{};
        });
        if (!status.ok()) return status;
        if (!alone) return {};
        observe(k, block, row);
      }
    }
    block.carried->finish(row);
    return {};
  }

  bool stopped() const { return execution_.cancelled() || failed_.load(std::memory_order_relaxed); }

  // In order, whichever thread comes first.
  void advanced(int64_t steps) {
    if (!execution_.progress) return;
    const std::lock_guard lock(mutex_);
    done_ += steps;
    execution_.progress(static_cast<double>(done_) / static_cast<double>(total_));
  }

  Status in_range(const double* x, int64_t first, int64_t rows, double largest, const std::string& where) const {
    // The bits of |x| are ordered as |x| is, NaN last: the sign of a difference of integers says what a branch would, and fills vectors.
    const auto limit = std::bit_cast<uint64_t>(largest);
    for (int64_t i = 0; i < rows * d_; i += d_) {
      uint64_t signs = 0;
      for (int64_t j = 0; j < d_; ++j) signs |= limit - (std::bit_cast<uint64_t>(x[i + j]) & ~(uint64_t{1} << 63));
      if (signs >> 63 == 0) continue;
      return left_range(request_, first + i / d_, where);
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

  // Evaluation at step k for `rows` trajectories of the block from `row` on: `answer` fills the request for them.
  template <class Answer>
  Status denoise(int64_t k, Block& block, int64_t row, int64_t rows, const Answer& answer) {
    const ReverseStep& step = request_.steps[k];
    const int64_t evaluation = evaluation_of_[k], first = block.first + row;
    const auto at = [&](int32_t index) { return block.registers.data() + (index * block.rows + row) * d_; };
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
    std::vector<uint8_t> path(request_.path != nullptr ? static_cast<size_t>(rows) : 0, unset);
    if (request_.path != nullptr) pass.path = path.data();
    pass.denoised = out;
    if (step.record >= 0) {
      const int64_t place = step.record * request_.count + first;
      want_readings(seen, place, target_.class_count, pass);
      if (out == nullptr && seen.denoised) pass.denoised = seen.denoised + place * d_;
    }
    if (wants_pass(request_, step)) {
      const Status status = answer(pass);
      if (!status.ok()) return status;
      if (request_.path != nullptr && !path.empty() && path[0] != unset) state_path(evaluation, path);
    }
    return {};
  }

  Status denoise_together(int64_t k, Block& block) {
    const std::vector<int64_t> members = block.together;
    const bool all = static_cast<int64_t>(members.size()) == block.rows;
    std::vector<uint8_t> leaves(members.size(), 0);
    const auto answer = [&](const PosteriorRequest& request) {
      return block.carried == nullptr ? backend_.posterior(target_, request, inner_)
                                      : block.carried->together(evaluation_of_[k], members, request, inner_, leaves);
    };
    const Status status = denoise(k, block, 0, block.rows, [&](const PosteriorRequest& pass) {
      if (all) return answer(pass);
      const RequestPart part(pass, d_, target_.class_count, members);
      const Status done = answer(part.request());
      if (!done.ok()) return done;
      if (pass.path != nullptr) std::fill_n(pass.path, block.rows, part.request().path[0]);  // those elsewhere say nothing here
      part.scatter();
      return done;
    });
    if (!status.ok()) return status;
    block.together.clear();
    for (size_t i = 0; i < members.size(); ++i) {
      observe(k, block, members[i]);
      if (leaves[i]) {
        block.left.emplace_back(members[i], k + 1);
      } else {
        block.together.push_back(members[i]);
      }
    }
    return {};
  }

  // What is read off the state itself at step k.
  void observe(int64_t k, const Block& block, int64_t row) const {
    const ReverseStep& step = request_.steps[k];
    if (step.record < 0) return;
    const auto at = [&](int32_t index) { return block.registers.data() + (index * block.rows + row) * d_; };
    observe_state(request_, step.record, block.first + row, d_, at(step.in), step.out >= 0 ? at(step.out) : nullptr);
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
  const RunBlock run_block_ = backend_.run_block != nullptr ? backend_.run_block(target_) : nullptr;
  const Normals draw_normals_ = d_ <= few_numbers ? Normals{normals} : backend_.normals;
  std::vector<int64_t> evaluation_of_;  // [steps]
  CarryPlan plan_;                      // where something may be carried
  Execution inner_;  // of the operations inside a block: no progress of their own
  int64_t total_ = 1, done_ = 0;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  Status status_;
};

}  // namespace

Status left_range(const SimulateRequest& request, int64_t index, const std::string& where) {
  return Status::failure(Code::nonfinite, "trajectory " + std::to_string(request.first + static_cast<uint64_t>(index)) +
                                              " left the range of float64 before " + where);
}

Status simulate(const Backend& backend, const Target& target, const SimulateRequest& request, const Execution& execution) {
  const Status status = check(target, request);
  return status.ok() ? Simulation(backend, target, request, execution).run() : status;
}

}  // namespace regimes
