#include "simulate_few.h"

#include <algorithm>
#include <string>

#include "../core/observations.h"
#include "../core/simulate.h"
#include "few_gaussians.h"

namespace regimes {
namespace {

constexpr int64_t tile_bytes = int64_t{1} << 16;    // of the registers of a tile: the first cache, or nearly
constexpr int64_t level_bytes = int64_t{1} << 17;   // of what a run of steps knows of its noise levels
constexpr int64_t most_levels = 64;

using Kind = ReverseStep::Kind;

class FewTrajectories {
 public:
  FewTrajectories(const Instructions& set, const Target& target, const SimulateRequest& request, int64_t first, int64_t rows)
      : set_(set), few_(*set.few), target_(target), request_(request), first_(first), rows_(rows), d_(target.d), n_(target.n),
        vector_(d_ * few_lanes), weight_(n_ * few_lanes) {
    tile_groups_ = std::clamp<int64_t>(tile_bytes / (request.registers * vector_ * static_cast<int64_t>(sizeof(double))), 1, 32);
    registers_ = LaneNumbers(tiles() * request.registers * tile_groups_ * vector_);
    noise_ = LaneNumbers(tile_groups_ * vector_);
    mean_ = LaneNumbers(tile_groups_ * vector_);
    for (LaneNumbers* numbers : {&distances_, &logits_, &weights_}) *numbers = LaneNumbers(tile_groups_ * weight_);
    row_.resize(static_cast<size_t>(few_lanes * d_));
    mean_row_.resize(row_.size());
    plan();
  }

  Status run(double* x, const std::function<void(int64_t)>& advanced, const Execution& execution) {
    each_group([&](double* registers, int64_t from, int count) { few_.to_lanes(x + from * d_, count, d_, registers); }, 0);
    const int64_t bytes_of_level = (5 * n_ + (target_.covariances->type == Covariances::Type::diagonal ? 3 * n_ * d_ : 0)) * 8;
    const int64_t most = std::clamp<int64_t>(level_bytes / bytes_of_level, 1, most_levels);
    for (int64_t begin = 0, end = 0; begin < request_.step_count; begin = end) {
      Status status = load(begin, most, end);
      for (int64_t tile = 0; status.ok() && tile < tiles(); ++tile) {
        if (execution.cancelled()) return Status::failure(Code::cancelled, "");
        status = advance(tile, begin, end);
        advanced((end - begin) * rows_of(tile));
      }
      if (!status.ok()) return status;
    }
    each_group([&](double* registers, int64_t from, int count) { few_.from_lanes(registers, count, d_, x + from * d_); }, request_.result);
    return {};
  }

 private:
  int64_t tile_rows() const { return tile_groups_ * few_lanes; }
  int64_t tiles() const { return (rows_ + tile_rows() - 1) / tile_rows(); }
  int64_t rows_of(int64_t tile) const { return std::min(tile_rows(), rows_ - tile * tile_rows()); }
  int64_t groups_of(int64_t tile) const { return (rows_of(tile) + few_lanes - 1) / few_lanes; }
  double* lanes_of(int64_t tile, int32_t index) { return registers_.data() + (tile * request_.registers + index) * tile_groups_ * vector_; }

  // Calls body with the lanes of one register, the first row of the block in them and how many there are.
  template <class Body>
  void each_group(const Body& body, int32_t index) {
    for (int64_t from = 0; from < rows_; from += few_lanes) {
      const int64_t tile = from / tile_rows(), group = from % tile_rows() / few_lanes;
      body(lanes_of(tile, index) + group * vector_, from, static_cast<int>(std::min<int64_t>(few_lanes, rows_ - from)));
    }
  }

  // kept_[k]: somebody beyond the next step reads the mean that step k writes; joined_[k]: combination k reads the mean of step k - 1.
  void plan() {
    const int64_t steps = request_.step_count;
    kept_.assign(static_cast<size_t>(steps), 0);
    joined_.assign(static_cast<size_t>(steps), 0);
    std::vector<uint8_t> live(static_cast<size_t>(request_.registers), 0), after;  // registers read at a later step
    live[request_.result] = 1;
    after = live;
    for (int64_t k = steps; k-- > 0;) {
      const ReverseStep& step = request_.steps[k];
      const bool joins = k > 0 && step.kind == Kind::combine && request_.steps[k - 1].kind == Kind::denoise && reads(step, request_.steps[k - 1].out);
      if (step.kind == Kind::denoise && step.out >= 0) kept_[k] = k + 1 < steps && joined_[k + 1] ? after[step.out] : live[step.out];
      after = live;
      if (joins) {
        joined_[k] = 1;
        if (request_.steps[k - 1].out == step.out) after[step.out] = 0;
      }
      if (step.out >= 0) live[step.out] = 0;
      if (step.kind == Kind::denoise) {
        live[step.in] = 1;
      } else {
        for (int32_t term = 0; term < step.term_count; ++term) live[request_.terms[step.first_term + term]] = 1;
      }
    }
  }

  bool reads(const ReverseStep& step, int32_t index) const {
    const int32_t* terms = request_.terms + step.first_term;
    return index >= 0 && std::find(terms, terms + step.term_count, index) != terms + step.term_count;
  }

  // The levels of steps from `begin` on, at most `most` of them; `end` is where the run of steps ends, never between a mean and its sum.
  Status load(int64_t begin, int64_t most, int64_t& end) {
    levels_.clear();
    for (end = begin; end < request_.step_count; ++end) {
      const ReverseStep& step = request_.steps[end];
      if (step.kind == Kind::combine || !wants_pass(request_, step)) continue;
      if (static_cast<int64_t>(levels_.size()) == most) break;
      levels_.emplace_back();
      const Status status = levels_.back().build(*set_.kernels, target_, step.a, step.b);
      if (!status.ok()) return status;
    }
    return {};
  }

  Status advance(int64_t tile, int64_t begin, int64_t end) {
    size_t level = 0;
    for (int64_t k = begin; k < end; ++k) {
      const ReverseStep& step = request_.steps[k];
      if (step.kind == Kind::combine) {
        combine(step, tile, joined_[k] ? &request_.steps[k - 1] : nullptr, level);
        continue;
      }
      if (wants_pass(request_, step)) {
        const Status status = denoise(step, tile, kept_[k] != 0, levels_[level++]);
        if (!status.ok()) return status;
      } else {
        observe(step, tile, nullptr);
      }
    }
    return {};
  }

  Status denoise(const ReverseStep& step, int64_t tile, bool kept, const FewGaussians& at) {
    const int64_t groups = groups_of(tile);
    const double* x = lanes_of(tile, step.in);
    few_.distances(at.level(), x, groups, distances_.data());
    if (!few_.weigh(at.level(), distances_.data(), groups, logits_.data(), weights_.data())) {
      const Status status = lost(tile, at.level());
      if (!status.ok()) return status;
    }
    const bool seen = step.record >= 0 && request_.observed.denoised != nullptr;
    double* mean = step.out >= 0 && kept ? lanes_of(tile, step.out) : seen ? mean_.data() : nullptr;
    if (mean != nullptr) {
      FewSum sum;
      sum.x = x;
      sum.weights = weights_.data();
      sum.of_mean = 1;
      sum.out = mean;
      few_.sum(at.level(), sum, groups);
    }
    if (step.record < 0) return {};
    observe(step, tile, seen ? mean : nullptr);
    readings(step, tile, at.model());
    return {};
  }

  // The first trajectory of a tile that left the range of float64; lanes without a trajectory do not count.
  Status lost(int64_t tile, const FewLevel& level) const {
    for (int64_t row = 0; row < rows_of(tile); ++row) {
      const double distance = distances_.data()[(row / few_lanes) * weight_ + row % few_lanes];
      if (!(distance * level.half_scale[0] < 1e306)) return left_range(request_, first_ + tile * tile_rows() + row, "an evaluation");
    }
    return {};
  }

  // `denoise` is the step before where this one reads its mean, in the last level before `level`.
  void combine(const ReverseStep& step, int64_t tile, const ReverseStep* denoise, size_t level) {
    const int64_t groups = groups_of(tile);
    FewSum sum;
    terms_.clear();
    factors_.clear();
    for (int32_t term = step.first_term; term < step.first_term + step.term_count; ++term) {
      const int32_t index = request_.terms[term];
      const double factor = request_.factors[term];
      if (denoise != nullptr && index == denoise->out) {
        sum.of_mean += factor;
      } else if (denoise != nullptr && index == denoise->in) {
        sum.of_x += factor;
      } else {
        terms_.push_back(lanes_of(tile, index));
        factors_.push_back(factor);
      }
    }
    if (step.noise != 0) {
      const uint64_t number = request_.first + static_cast<uint64_t>(first_ + tile * tile_rows());
      for (int64_t g = 0; g < groups; ++g) {
        set_.lane_normals(request_.seed, number + static_cast<uint64_t>(g * few_lanes), step.draw, d_, noise_.data() + g * vector_);
      }
      terms_.push_back(noise_.data());
      factors_.push_back(step.noise);
    }
    if (denoise != nullptr) {
      sum.x = lanes_of(tile, denoise->in);
      sum.weights = weights_.data();
    }
    sum.terms = terms_.data();
    sum.factors = factors_.data();
    sum.count = static_cast<int64_t>(terms_.size());
    sum.out = lanes_of(tile, step.out);
    FewLevel none;
    none.d = d_;
    few_.sum(denoise != nullptr ? levels_[level - 1].level() : none, sum, groups);
  }

  // What is read off the state itself.
  void observe(const ReverseStep& step, int64_t tile, const double* mean) {
    if (step.record < 0) return;
    const double* x = lanes_of(tile, step.in);
    for (int64_t row = 0; row < rows_of(tile); row += few_lanes) {
      const int count = static_cast<int>(std::min<int64_t>(few_lanes, rows_of(tile) - row));
      const int64_t at = row / few_lanes * vector_;
      few_.from_lanes(x + at, count, d_, row_.data());
      if (mean != nullptr) few_.from_lanes(mean + at, count, d_, mean_row_.data());
      for (int lane = 0; lane < count; ++lane) {
        observe_state(request_, step.record, first_ + tile * tile_rows() + row + lane, d_, row_.data() + lane * d_,
                      mean != nullptr ? mean_row_.data() + lane * d_ : nullptr);
      }
    }
  }

  void readings(const ReverseStep& step, int64_t tile, const ErrorModel& model) {
    const int64_t place = step.record * request_.count + first_ + tile * tile_rows();
    PosteriorRequest pass;
    pass.a = step.a;
    pass.b = step.b;
    want_readings(request_.observed, place, target_.class_count, pass);
    for (int64_t row = 0; row < rows_of(tile); row += few_lanes) {
      const int count = static_cast<int>(std::min<int64_t>(few_lanes, rows_of(tile) - row));
      readings_.read(pass, model, logits_.data() + row / few_lanes * weight_, row, count);
    }
  }

  const Instructions& set_;
  const FewKernels& few_;
  const Target& target_;
  const SimulateRequest& request_;
  const int64_t first_, rows_, d_, n_;
  const int64_t vector_, weight_;  // numbers of 8 vectors, of 8 queries' weights
  int64_t tile_groups_ = 1;
  LaneNumbers registers_;          // [tile][register][group][d][8]
  LaneNumbers noise_, mean_;       // [group][d][8]
  LaneNumbers distances_, logits_, weights_;  // [group][n][8]
  std::vector<uint8_t> kept_, joined_;        // [steps]
  std::vector<FewGaussians> levels_;          // of the evaluations of a run of steps
  std::vector<const double*> terms_;
  std::vector<double> factors_, row_, mean_row_;
  FewReadings readings_{*set_.kernels, target_};
};

}  // namespace

Status simulate_few(const Instructions& set, const Target& target, const SimulateRequest& request, int64_t first, int64_t rows, double* x,
                    const std::function<void(int64_t)>& advanced, const Execution& execution) {
  return FewTrajectories(set, target, request, first, rows).run(x, advanced, execution);
}

}  // namespace regimes
