#include "simulate_carried.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/request_part.h"
#include "../core/thread_pool.h"
#include "certificate.h"
#include "posterior_listed.h"
#include "posterior_refined.h"
#include "posterior_small.h"
#include "screening.h"

namespace regimes {
namespace {

constexpr int64_t least_evaluations = 8;    // that must follow for a list to be worth its making
constexpr int64_t most_listed = 32768;      // rows of a list: 128 MB for a block of 256 trajectories that wait to go alone
constexpr int64_t most_lists = 64;          // of a trajectory; then it carries nothing more
constexpr int64_t copied_values = 1 << 17;  // lists below, a megabyte, are copied together
constexpr double allowed_drift = 5;         // of zeta - lse, nats: what a coarse grid makes of it before the list is renewed

double most_negative_log_weight(const Target& target) {
  double least = 0;
  for (int64_t i = 0; target.log_weights && i < target.n; ++i) {
    if (target.log_weights[i] > no_weight) least = std::min(least, target.log_weights[i]);
  }
  return -least;
}

// One trajectory. Logits are l_i without log pi_i and relative to the star, whose row need not stay in the list.
struct Trajectory {
  bool settled = false;          // D is the star from here on
  int64_t lists = 0;             // made so far
  std::vector<int32_t> numbers;  // rows of the target that stay, ascending
  std::vector<int32_t> places;   // where they lie in the view
  std::vector<double> logits;    // with log pi_i, not relative
  DataView view;
  std::vector<double> copy;      // behind the view, empty: the view is the target's
  std::vector<double> star;      // y_star
  int64_t node = -1;             // evaluation that the certificate stands at
  std::vector<double> x;         // its state
  std::vector<double> noise;     // fresh noise since, as it enters the next state
  bool drew = false;
  bool noisy = false;            // noise enters later: theta and zeta count, not the bound
  Certificate certificate;
  int64_t expiry = 0;            // first evaluation that theta does not reach
  double log_cap = 0;            // log L
  double log_delta = 0;
  double unspent = 1;            // share of L that may still be dropped
  int64_t single_since = -1;     // evaluation from which one row alone carried weight; -1: several do
};

class Carried : public CarriedBlock {
 public:
  Carried(const Instructions& set, const Target& target, const SimulateRequest& request, const CarryPlan& plan, int64_t first, int64_t rows)
      : set_(set), target_(target), request_(request), plan_(plan), first_(first), n_(static_cast<double>(target.n)),
        log_count_(target.log_weights ? 0 : std::log(n_)), weight_range_(most_negative_log_weight(target)),
        log_dropped_(std::log(request.carry.dropped)), most_(std::min(target.n / 4, most_listed)),
        trajectories_(static_cast<size_t>(rows)) {}

  Status together(int64_t e, const std::vector<int64_t>& rows, const PosteriorRequest& pass, const Execution& execution,
                  std::vector<uint8_t>& leaves) override {
    std::vector<int64_t> first, again;  // places in `rows` of those to make a first list for, and another one
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t lists = trajectories_[rows[i]].lists;
      if (lists > 0 && request_.carry.refreshes) ++request_.carry.refreshes[first_ + rows[i]];
      if (worth(e, pass) && lists < most_lists) (lists == 0 ? first : again).push_back(static_cast<int64_t>(i));
    }
    for (const auto& places : {first, again}) {
      if (!places.empty()) make_lists(e, rows, places, pass, execution, leaves);
      if (execution.cancelled()) return Status::failure(Code::cancelled, "");
    }
    std::vector<int64_t> rest;
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (!leaves[i]) rest.push_back(static_cast<int64_t>(i));
    }
    if (rest.empty()) return {};
    if (rest.size() == rows.size()) return posterior_points(set_, target_, pass, execution);
    const RequestPart part(pass, target_.d, target_.class_count, std::move(rest));
    const Status status = posterior_points(set_, target_, part.request(), execution);
    if (status.ok()) part.scatter();
    return status;
  }

  bool alone(int64_t e, int64_t row, const PosteriorRequest& pass) override {
    Trajectory& t = trajectories_[row];
    if (!(t.settled ? answer_settled(t, pass) : carry(t, e, pass))) {
      const int64_t lists = t.lists;
      t = {};
      t.lists = lists;
      return false;
    }
    if (request_.carry.carried_steps) ++request_.carry.carried_steps[first_ + row];
    return true;
  }

  void drew(int64_t step, int64_t row, const double* z) override {
    Trajectory& t = trajectories_[row];
    const double factor = plan_.noise_of_step[step];
    if (factor == 0 || !t.noisy || t.settled) return;
    for (int64_t j = 0; j < target_.d; ++j) t.noise[j] = (t.drew ? t.noise[j] : 0) + factor * z[j];
    t.drew = true;
  }

  void finish(int64_t row) override { trajectories_[row] = {}; }

 private:
  bool worth(int64_t e, const PosteriorRequest& pass) const {
    return e >= plan_.first && plan_.left(e) > least_evaluations && plan_.evaluations[e].is_parent && refined_applies(target_, pass);
  }

  // Half of what may fail is for the first list, the rest is for the others alike.
  double log_delta(int64_t lists) const {
    return std::log(request_.carry.failure_probability / (lists == 0 ? 2 : 2 * static_cast<double>(most_lists - 1)));
  }

  // log of what X^(1 / theta) lacks to the mass of the dropped.
  double spread(double theta) const { return theta > 1 ? (1 - 1 / theta) * log_count_ : 0; }

  double log_cap(const Exponent& exponent, double log_delta) const {
    return exponent.largest * (log_dropped_ - allowed_drift - spread(exponent.largest)) + log_delta;
  }

  // Distance below the largest logit from which data are dropped at once, for the list made at evaluation e.
  double reach_from(int64_t e, int64_t lists) const {
    const double least = canonical_reach(target_.n) + 1;
    if (!plan_.noisy_after[e]) return least + weight_range_;
    const Exponent exponent = exponent_from(plan_, e);
    return std::max(least, (std::log(2 * n_) - log_cap(exponent, log_delta(lists))) / exponent.theta) + weight_range_;
  }

  ScreeningScope scope(int64_t e, int64_t lists) const { return {most_, reach_from(e, lists), 0.3}; }

  // One screening for the rows at `places`, which have all made a list before or all none.
  void make_lists(int64_t e, const std::vector<int64_t>& rows, const std::vector<int64_t>& places, const PosteriorRequest& pass,
                  const Execution& execution, std::vector<uint8_t>& leaves) {
    ThreadPool pool(execution.threads);
    const auto count = static_cast<int64_t>(places.size());
    Screening screening(set_, target_, pass.a, pass.b, scope(e, trajectories_[rows[places[0]]].lists), count, pool, execution);
    std::vector<double> x;
    for (const int64_t i : places) x.insert(x.end(), pass.x.row(i), pass.x.row(i) + target_.d);
    for (int64_t first = 0; first < count && !execution.cancelled(); first += screening.block()) {
      const int64_t block = std::min(screening.block(), count - first);
      screening.run(x.data() + first * target_.d, block);
      if (execution.cancelled()) return;
      pool.run(block, [&](int64_t q, int) {
        const int64_t at = places[first + q];
        if (screening.open(q)) leaves[at] = begin(trajectories_[rows[at]], e, screening, q, pass, at) ? 1 : 0;
      });
    }
  }

  // A list from the candidates of a screening with reach_from, and the answer from it.
  bool begin(Trajectory& t, int64_t e, const Screening& screening, int64_t q, const PosteriorRequest& pass, int64_t at) const {
    const int64_t d = target_.d;
    screening.collect(q, t.places, t.logits);
    if (t.places.empty()) return false;
    t.numbers = t.places;
    t.view = target_.points;
    t.copy.clear();
    const auto top = std::max_element(t.logits.begin(), t.logits.end()) - t.logits.begin();
    const double largest = t.logits[top], star = largest - target_.log_weight(t.numbers[top]);
    t.star.resize(static_cast<size_t>(d));
    set_.kernels->convert(target_.points, t.numbers[top] * d, d, t.star.data());
    t.x.assign(pass.x.row(at), pass.x.row(at) + d);
    t.noise.resize(static_cast<size_t>(d));
    t.noisy = plan_.noisy_after[e];
    t.single_since = -1;
    double log_sum;
    if (!answer(t, e, pass, at, log_sum)) return false;
    t.node = e;
    t.drew = false;
    t.certificate = {-(screening.reach() - weight_range_) + (largest - star), log_sum - star, 1};
    if (t.noisy) {
      const Exponent exponent = exponent_from(plan_, e);
      t.certificate.theta = exponent.theta;
      t.expiry = exponent.expiry;
      t.log_delta = log_delta(t.lists);
      t.log_cap = log_cap(exponent, t.log_delta);
      t.unspent = 0.5;
    }
    ++t.lists;
    drop(t, star, screening.reach() - weight_range_);
    settle(t, e);
    return true;
  }

  // Readings over the list, whose logits are known.
  bool answer(Trajectory& t, int64_t e, const PosteriorRequest& pass, int64_t at, double& log_sum) const {
    const double largest = *std::max_element(t.logits.begin(), t.logits.end());
    const double least = largest - canonical_reach(target_.n) - 2 * ListedPosterior::rounding(target_, largest);
    RowList list;
    for (size_t k = 0; k < t.logits.size(); ++k) {
      if (t.logits[k] < least) continue;
      list.places.push_back(t.places[k]);
      list.numbers.push_back(t.numbers[k]);
      list.logits.push_back(t.logits[k]);
    }
    ListedPosterior posterior(set_, target_, pass);
    if (!posterior.answer(at, t.view, list)) return false;
    log_sum = posterior.log_sum();
    if (list.count() > 1) t.single_since = -1;
    if (list.count() == 1 && t.single_since < 0) t.single_since = e;
    return true;
  }

  // One evaluation from the list; false where its certificate no longer holds.
  bool carry(Trajectory& t, int64_t e, const PosteriorRequest& pass) const {
    const CarryPlan::Evaluation& to = plan_.evaluations[e];
    if (!from_node(to.parent, t.node) || (t.noisy && e >= t.expiry)) return false;
    const Motion motion = measure(plan_.evaluations[t.node], to, t.x.data(), pass.x.row(0), t.drew ? t.noise.data() : nullptr, t.star.data(), target_.d);
    const Certificate next = t.certificate.after(to, motion);
    const double star = -motion.square / (2 * to.b * to.b);
    gather(t);
    const auto count = static_cast<int64_t>(t.places.size());
    set_.screen->row_distances(t.view, t.places.data(), count, pass.x.row(0), to.a, t.logits.data());
    for (int64_t k = 0; k < count; ++k) t.logits[k] = target_.log_weight(t.numbers[k]) - t.logits[k] / (2 * to.b * to.b);
    double log_sum;
    if (!answer(t, e, pass, 0, log_sum) || !holds(t, next, log_sum - star - 4 * ListedPosterior::rounding(target_, star))) return false;
    if (!to.is_parent) return true;
    t.certificate = next;
    t.node = e;
    std::copy_n(pass.x.row(0), target_.d, t.x.data());
    if (!to.same) t.drew = false;
    drop(t, star, canonical_reach(target_.n) + 1);
    settle(t, e);
    return true;
  }

  // Whether the parent is the node, or the same state seen again.
  bool from_node(int64_t parent, int64_t node) const {
    while (parent > node && plan_.evaluations[parent].same) --parent;
    return parent >= 0 && parent == node;
  }

  // Whether the dropped weigh at most `dropped` beside a list of this log sum, relative to the star.
  bool holds(const Trajectory& t, const Certificate& c, double log_sum) const {
    if (!t.noisy) return c.bound + log_count_ - log_sum <= log_dropped_;
    return (t.log_cap - t.log_delta) / c.theta + spread(c.theta) + c.zeta - log_sum <= log_dropped_;
  }

  // Drops data further than `reach` below the largest, which is beyond what enters the sums; with noise, those whose share in what may
  // still be dropped is an eighth at most in all.
  void drop(Trajectory& t, double star, double reach) const {
    const auto count = static_cast<double>(t.logits.size());
    const Certificate& c = t.certificate;
    const auto relative = [&](size_t k) { return t.logits[k] - target_.log_weight(t.numbers[k]) - star; };
    double least = *std::max_element(t.logits.begin(), t.logits.end()) - star - reach;
    if (t.noisy) least = std::min(least, c.zeta + (t.log_cap + std::log(t.unspent / (8 * count))) / c.theta);
    double gone = -std::numeric_limits<double>::infinity();
    size_t kept = 0;
    for (size_t k = 0; k < t.logits.size(); ++k) {
      const double logit = relative(k);
      if (logit < least) {
        gone = std::max(gone, logit);
        if (t.noisy) t.unspent -= std::exp(c.theta * (logit - c.zeta) - t.log_cap);
        continue;
      }
      t.numbers[kept] = t.numbers[k];
      t.places[kept] = t.places[k];
      t.logits[kept++] = t.logits[k];
    }
    t.numbers.resize(kept);
    t.places.resize(kept);
    t.logits.resize(kept);
    t.certificate.bound = std::max(c.bound, gone);
  }

  // Rows that lie together are read faster, and faster still as values; a copy is made anew when half of it is gone.
  void gather(Trajectory& t) const {
    const DataView& data = target_.points;
    const int64_t d = target_.d, count = static_cast<int64_t>(t.places.size());
    if (count * d > copied_values || (!t.copy.empty() && 2 * count > t.view.rows)) return;
    std::vector<double> copy(static_cast<size_t>(count * d));
    for (int64_t k = 0; k < count; ++k) {
      set_.kernels->convert(data, t.numbers[k] * d, d, copy.data() + k * d);
      t.places[k] = static_cast<int32_t>(k);
    }
    t.copy = std::move(copy);
    t.view = {t.copy.data(), count, d, Dtype::f64, 1, 0};
  }

  // With one datum left and steady steps to the end, p* only scales: bounds on what was dropped can but fall, and D is that datum.
  void settle(Trajectory& t, int64_t e) const {
    if (t.numbers.size() != 1 || t.single_since < 0 || !plan_.steady_after[e] || plan_.oldest_after[e] < t.single_since) return;
    if (t.noisy && t.expiry < static_cast<int64_t>(plan_.evaluations.size())) return;
    t.settled = true;
    set_.kernels->convert(target_.points, t.numbers[0] * target_.d, target_.d, t.star.data());
  }

  bool answer_settled(Trajectory& t, const PosteriorRequest& pass) const {
    PosteriorRequest other = pass;
    other.denoised = nullptr;
    other.path = nullptr;
    const bool readings = other.log_density || other.entropy || other.sum_squares || other.nearest_index || other.nearest_weight ||
                          other.class_weights || other.survivors;
    if (readings) {
      RowList list{t.places, t.numbers, {0}};
      set_.screen->row_distances(t.view, t.places.data(), 1, pass.x.row(0), pass.a, list.logits.data());
      list.logits[0] = target_.log_weight(t.numbers[0]) - list.logits[0] / (2 * pass.b * pass.b);
      ListedPosterior(set_, target_, other).answer(0, t.view, list);
    }
    if (pass.denoised) std::copy_n(t.star.data(), target_.d, pass.denoised);
    if (pass.path) *pass.path = static_cast<uint8_t>(Path::refined);
    return true;
  }

  const Instructions& set_;
  const Target& target_;
  const SimulateRequest& request_;
  const CarryPlan& plan_;
  const int64_t first_;
  const double n_;
  const double log_count_;     // log n for uniform weights, which logits leave out; 0 for weights that sum to 1
  const double weight_range_;  // of log pi below 0
  const double log_dropped_;
  const int64_t most_;
  std::vector<Trajectory> trajectories_;
};

}  // namespace

std::unique_ptr<CarriedBlock> carry_points(const Instructions& set, const Target& target, const SimulateRequest& request, const CarryPlan& plan,
                                           int64_t first, int64_t rows) {
  PosteriorRequest pass;
  const bool possible = target.kind == Target::Kind::points && request.precision != Precision::float64 && target.layouts != nullptr &&
                        !small_applies(target, pass) && refined_applies(target, pass) && plan.left(plan.first) > least_evaluations;
  if (!possible) return nullptr;
  return std::make_unique<Carried>(set, target, request, plan, first, rows);
}

}  // namespace regimes
