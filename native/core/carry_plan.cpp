#include "carry_plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

namespace regimes {
namespace {

constexpr size_t most_terms = 64;  // of a register; a program that remembers more is not followed

// What a register holds: a combination of evaluated states X_e (e = -1: the start), denoised means D_e and noises.
struct Atom {
  enum class Kind : uint8_t { state, denoised, noise };
  Kind kind;
  int64_t index;
  auto operator<=>(const Atom&) const = default;
};
using Held = std::map<Atom, double>;

class Planner {
 public:
  explicit Planner(const SimulateRequest& request) : request_(request), registers_(static_cast<size_t>(request.registers)) {
    registers_[0] = Held{{{Atom::Kind::state, -1}, 1.0}};
    plan_.noise_of_step.assign(static_cast<size_t>(request.step_count), 0.0);
  }

  CarryPlan run() {
    for (int64_t k = 0; k < request_.step_count; ++k) {
      const ReverseStep& step = request_.steps[k];
      if (step.kind == ReverseStep::Kind::combine) {
        combine(k, step);
      } else {
        denoise(k, step);
      }
    }
    const size_t count = plan_.evaluations.size();
    plan_.noisy_after.assign(count, 0);
    plan_.steady_after.assign(count, 1);
    plan_.oldest_after.assign(count, static_cast<int64_t>(count));
    for (size_t e = count; e-- > 1;) {
      plan_.noisy_after[e - 1] = plan_.noisy_after[e] || plan_.evaluations[e].noise > 0;
      plan_.steady_after[e - 1] = plan_.steady_after[e] && plan_.evaluations[e].steady;
      plan_.oldest_after[e - 1] = std::min(plan_.oldest_after[e], plan_.evaluations[e].oldest);
    }
    return std::move(plan_);
  }

 private:
  void combine(int64_t k, const ReverseStep& step) {
    Held sum;
    bool known = true;
    for (int32_t term = 0; term < step.term_count; ++term) {
      const auto& read = registers_[request_.terms[step.first_term + term]];
      known = known && read.has_value();
      for (const auto& [atom, factor] : read.value_or(Held{})) sum[atom] += request_.factors[step.first_term + term] * factor;
    }
    if (step.noise != 0) {
      sum[{Atom::Kind::noise, step.draw}] += step.noise;
      drawn_at_.emplace(step.draw, k);
    }
    registers_[step.out] = known && sum.size() <= most_terms ? std::optional(std::move(sum)) : std::nullopt;
  }

  void denoise(int64_t k, const ReverseStep& step) {
    const auto e = static_cast<int64_t>(plan_.evaluations.size());
    CarryPlan::Evaluation here;
    here.step = k;
    here.a = step.a;
    here.b = step.b;
    plan_.evaluations.push_back(here);
    const std::optional<Held>& state = registers_[step.in];
    if (e > 0 && state.has_value() && follows(e, e - 1, *state)) {
      trunk_ = e - 1;
    } else if (!(trunk_ >= 0 && state.has_value() && follows(e, trunk_, *state))) {
      trunk_ = -1;
      plan_.first = e;
    }
    if (trunk_ >= 0) plan_.evaluations[trunk_].is_parent = true;
    for (const auto& [atom, factor] : state.value_or(Held{})) {
      if (atom.kind == Atom::Kind::noise) seen_.insert(atom.index);
    }
    registers_[step.in] = Held{{{Atom::Kind::state, e}, 1.0}};
    if (step.out >= 0) registers_[step.out] = Held{{{Atom::Kind::denoised, e}, 1.0}};
  }

  // Whether the state of evaluation e comes from that of p by the rule; then fills in what the plan says of it.
  bool follows(int64_t e, int64_t p, const Held& state) {
    const CarryPlan::Evaluation& from = plan_.evaluations[p];
    CarryPlan::Evaluation& to = plan_.evaluations[e];
    double own = 0, still = -to.a, size = std::abs(to.a), noise = 0;
    bool older = false;
    int64_t oldest = e;
    for (const auto& [atom, factor] : state) {
      if (atom.kind == Atom::Kind::state) {
        (atom.index == p ? own : size) += atom.index == p ? factor : std::abs(factor);
        older = older || (atom.index != p && factor != 0);
      } else if (atom.kind == Atom::Kind::denoised) {
        still += factor;
        size += std::abs(factor);
        oldest = std::min(oldest, atom.index);
      } else if (!seen_.contains(atom.index)) {
        // Noise that came after the parent's evaluation and that nothing has met before.
        if (drawn_at_.at(static_cast<uint32_t>(atom.index)) < from.step || p != e - 1) return false;
        noise += factor * factor;
      }
    }
    if (p != e - 1 && draws_after(from.step, state)) return false;
    if (!(from.a > 0) || !(to.a > 0)) return false;
    to.same = state.size() == 1 && own == 1 && to.a == from.a && to.b == from.b && p == e - 1;
    const double ratio = to.a / (to.b * to.b), tau = from.a * from.a / (from.b * from.b);
    // Without noise every kappa is right; that of the exact flow is best where a method mixes earlier states.
    to.kappa = noise == 0 && older ? (to.a / to.b) / (from.a / from.b) : own * ratio * (from.b * from.b / from.a);
    to.gain = ratio * to.a - to.kappa * tau;
    to.noise = noise * ratio * ratio;
    if (to.same) {
      to.kappa = 1;
      to.gain = 0;
    } else if (!(to.kappa > 0) || !(to.gain > 1e-12 * ratio * to.a)) {
      return false;
    }
    still += own * from.a;
    size += std::abs(own * from.a);
    to.steady = to.same || (!older && to.kappa >= 1 - 1e-12 && std::abs(still) <= 1e-13 * size);
    to.oldest = oldest;
    to.parent = p;
    for (const auto& [atom, factor] : state) {
      if (atom.kind == Atom::Kind::noise && !seen_.contains(atom.index)) {
        plan_.noise_of_step[drawn_at_.at(static_cast<uint32_t>(atom.index))] = factor;
      }
    }
    return true;
  }

  bool draws_after(int64_t step, const Held& state) const {
    return std::any_of(state.begin(), state.end(), [&](const auto& term) {
      return term.first.kind == Atom::Kind::noise && drawn_at_.at(static_cast<uint32_t>(term.first.index)) > step;
    });
  }

  const SimulateRequest& request_;
  std::vector<std::optional<Held>> registers_;
  std::map<uint32_t, int64_t> drawn_at_;  // step that draws a noise first
  std::set<int64_t> seen_;                // noises of evaluated states
  int64_t trunk_ = -1;                    // the last evaluation that is a parent
  CarryPlan plan_;
};

}  // namespace

CarryPlan plan_carry(const SimulateRequest& request) { return Planner(request).run(); }

}  // namespace regimes
