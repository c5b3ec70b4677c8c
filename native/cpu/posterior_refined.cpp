#include "posterior_refined.h"

#include <algorithm>
#include <cmath>

#include "../core/thread_pool.h"
#include "posterior_dense.h"
#include "readings.h"
#include "screening.h"

namespace regimes {
namespace {

constexpr int64_t sum_block = 512;  // rows whose weighted sum is formed before it enters the denoised mean
// Above, even differences of logits to about 100 bits do not tell the weights.
constexpr double most_uncertainty = 1e-3;

// More rows cost more one by one in float64 than all of them do together: in the dense path, or where that does not apply, in float64.
int64_t most_candidates(const Target& target, const PosteriorRequest& request) { return target.n / (dense_applies(target, request) ? 24 : 8); }

// The survivors of one query in ascending order, and what the sums over them need.
struct Survivors {
  std::vector<int32_t> rows;
  std::vector<double> logits;        // padded to a multiple of 8
  std::vector<double> exponentials;  // exp(logit - max)
  LaneAccumulators sums;             // in lane 0
  bool extended = false;             // logits are differences to the largest, to about 100 bits
  double uncertainty = 0;            // of such a difference, besides its relative rounding
  double reference = 0;              // what they lack to logits
  int64_t top = 0;                   // place of the largest

  explicit Survivors(int32_t class_count) : sums(class_count) {}
  int64_t count() const { return static_cast<int64_t>(rows.size()); }
};

class RefinedPosterior {
 public:
  RefinedPosterior(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                   std::vector<uint8_t>& answered)
      : set_(set), target_(target), request_(request), execution_(execution), answered_(answered), pool_(execution.threads),
        screening_(set, target, request.a, request.b, most_candidates(target, request), pool_, execution), d_(target.d), chunks_(chunk_count(target.n)),
        uniform_(target.uniform()) {}

  Status run() {
    const int64_t queries = request_.x.rows;
    for (int64_t first = 0; first < queries; first += screening_.block()) {
      const int64_t count = std::min(screening_.block(), queries - first);
      screening_.run(request_.x.row(first), count);
      if (execution_.cancelled()) break;
      pool_.run(count, [&](int64_t q, int) {
        if (screening_.open(q) && !execution_.cancelled()) answered_[first + q] = answer(q, first + q) ? 1 : 0;
      });
      if (execution_.progress) execution_.progress(static_cast<double>(first + count) / static_cast<double>(queries));
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  // False when more components are asked for than survive, and where the weights of several cannot be told.
  bool answer(int64_t q, int64_t at) {
    Survivors survivors(request_.class_weights ? target_.class_count : 0);
    collect(q, survivors);
    if (survivors.count() == 0 || !refine_logits(at, survivors) || request_.top > survivors.count()) return false;
    find_sums(survivors);
    const double log_density = read_scalars(target_, request_, at, survivors.sums, 0, uniform_);
    if (request_.top > 0) read_leading(at, survivors);
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(survivors.count());
    if (request_.path) request_.path[at] = static_cast<uint8_t>(Path::refined);

    ErrorModel model = points_error_model(d_, request_.b);
    model.dropped = dropped_mass;
    model.relative = survivors.extended || survivors.count() == 1;
    model.peak_units = survivors.extended ? 8 : model.logit_units;
    if (survivors.extended) model.logit_units = 8;
    model.logit_offset = survivors.uncertainty * 0x1p53;
    if (!wants_denoised(request_)) {
      read_bounds(target_, request_, at, survivors.sums.sums[0], uniform_, model, log_density, 1, nullptr);
      return true;
    }
    const std::vector<double> denoised = find_denoised(survivors);
    read_bounds(target_, request_, at, survivors.sums.sums[0], uniform_, model, log_density, static_cast<double>(survivors.count()), denoised.data());
    if (request_.denoised) std::copy_n(denoised.data(), d_, request_.denoised + at * d_);
    const double b2 = request_.b * request_.b;
    for (int64_t j = 0; request_.score && j < d_; ++j) {
      request_.score[at * d_ + j] = std::fma(request_.a, denoised[j], -request_.x(at, j)) / b2;
    }
    return true;
  }

  void collect(int64_t q, Survivors& survivors) const {
    double largest = -INFINITY;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      for (const double logit : screening_.candidates(chunk, q).values) largest = std::max(largest, logit);
    }
    // What the rounding of two logits can hide stays, until their difference is known.
    const double least = largest - screening_.reach() - (rounding_shows(largest) ? 2 * rounding_of(largest) : 0);
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const Candidates& part = screening_.candidates(chunk, q);
      for (size_t k = 0; k < part.rows.size(); ++k) {
        if (part.values[k] < least) continue;
        survivors.rows.push_back(part.rows[k]);
        survivors.logits.push_back(part.values[k]);
      }
    }
  }

  double rounding_of(double logit) const { return chain_units(d_) * 0x1p-53 * (std::abs(logit) + screening_.reach()); }
  // Whether the rounding of a logit could be seen in a weight.
  bool rounding_shows(double largest) const { return chain_units(d_) * 0x1p-53 * std::abs(largest) > 1e-9; }

  // Where the rounding of a logit shows, differences of logits from distances to about 100 bits take the place of logits, and tell
  // who survives. False where even they are too coarse.
  bool refine_logits(int64_t at, Survivors& survivors) {
    survivors.top = std::max_element(survivors.logits.begin(), survivors.logits.end()) - survivors.logits.begin();
    if (survivors.count() == 1 || !rounding_shows(survivors.logits[survivors.top])) return true;
    survivors.uncertainty = extended_uncertainty(at, survivors.logits[survivors.top]);
    if (!(survivors.uncertainty < most_uncertainty)) return false;
    survivors.reference = make_relative(at, survivors, survivors.top);
    const double least = *std::max_element(survivors.logits.begin(), survivors.logits.end()) - screening_.reach();
    size_t kept = 0;
    for (size_t k = 0; k < survivors.rows.size(); ++k) {
      if (survivors.logits[k] < least) continue;
      survivors.rows[kept] = survivors.rows[k];
      survivors.logits[kept++] = survivors.logits[k];
    }
    survivors.rows.resize(kept);
    survivors.logits.resize(kept);
    if (kept == 1) survivors.uncertainty = 0;
    survivors.top = std::max_element(survivors.logits.begin(), survivors.logits.end()) - survivors.logits.begin();
    return true;
  }

  // Of the difference of two logits near `largest`: of sums of squares to about 100 bits, and of the differences x - a y in them,
  // whose errors are relative to |x| where they cancel.
  double extended_uncertainty(int64_t at, double largest) const {
    double norm = 0;
    for (int64_t j = 0; j < d_; ++j) norm += request_.x(at, j) * request_.x(at, j);
    const double peak = std::abs(largest) + screening_.reach();
    return 0x1p-103 * ((static_cast<double>(d_) / 8 + 16) * peak + 2 * std::sqrt(peak) * std::sqrt(norm) / request_.b);
  }

  void find_sums(Survivors& survivors) {
    const int64_t count = survivors.count(), padded = (count + 7) / 8 * 8, top = survivors.top;
    const double largest = survivors.logits[top];
    survivors.logits.resize(static_cast<size_t>(padded), -1e308);
    survivors.exponentials.resize(static_cast<size_t>(padded));
    ListSums sums;
    set_.screen->list_sums(survivors.logits.data(), padded, largest, top, survivors.exponentials.data(), &sums);
    LogSumExp<double>& total = survivors.sums.sums[0];
    total = LogSumExp<double>::single(survivors.reference + largest, survivors.rows[top]);
    total.rest = sums.rest;
    total.gap = sums.gap;
    total.gap_squared = sums.gap_squared;
    total.squares = sums.squares;
    for (int64_t k = 0; k < count && !survivors.sums.classes.empty(); ++k) {
      survivors.sums.classes[target_.classes[survivors.rows[k]] * lanes] += survivors.exponentials[k];
    }
  }

  // Replaces logits by their differences to that of row `top`, which it returns.
  double make_relative(int64_t at, Survivors& survivors, int64_t top) {
    const int64_t count = survivors.count();
    std::vector<double> high(static_cast<size_t>(count)), low(high.size());
    set_.screen->row_distances_extended(target_.points, survivors.rows.data(), count, request_.x.row(at), request_.a, high.data(), low.data());
    const double twice_b2 = 2 * request_.b * request_.b, own = target_.log_weight(survivors.rows[top]);
    for (int64_t k = 0; k < count; ++k) {
      survivors.logits[k] = (target_.log_weight(survivors.rows[k]) - own) - ((high[k] - high[top]) + (low[k] - low[top])) / twice_b2;
    }
    survivors.extended = true;
    return own - high[top] / twice_b2;
  }

  void read_leading(int64_t at, const Survivors& survivors) const {
    std::vector<int32_t> order(survivors.rows.size());
    for (size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int32_t>(k);
    std::partial_sort(order.begin(), order.begin() + request_.top, order.end(), [&](int32_t i, int32_t j) {
      return survivors.logits[i] > survivors.logits[j] || (survivors.logits[i] == survivors.logits[j] && i < j);
    });
    for (int64_t k = 0; k < request_.top; ++k) {
      request_.top_index[at * request_.top + k] = survivors.rows[order[k]];
      request_.top_weight[at * request_.top + k] = survivors.exponentials[order[k]] / (1 + survivors.sums.sums[0].rest);
    }
  }

  std::vector<double> find_denoised(Survivors& survivors) const {
    const double inverse = 1 / (1 + survivors.sums.sums[0].rest);
    for (double& weight : survivors.exponentials) weight *= inverse;
    std::vector<double> denoised(static_cast<size_t>(d_)), part(denoised.size());
    for (int64_t first = 0; first < survivors.count(); first += sum_block) {
      std::fill(part.begin(), part.end(), 0.0);
      set_.screen->add_listed_rows(target_.points, survivors.rows.data() + first, survivors.exponentials.data() + first,
                                   std::min(sum_block, survivors.count() - first), part.data());
      for (int64_t j = 0; j < d_; ++j) denoised[j] += part[j];
    }
    return denoised;
  }

  const Instructions& set_;
  const Target& target_;
  const PosteriorRequest& request_;
  const Execution& execution_;
  std::vector<uint8_t>& answered_;
  ThreadPool pool_;
  Screening screening_;
  const int64_t d_, chunks_;
  const double uniform_;
};

}  // namespace

bool refined_applies(const Target& target, const PosteriorRequest& request) {
  const Layouts* layouts = target.layouts;
  // Screening counts in units of b^2 / a.
  return layouts != nullptr && (layouts->digits.rows != nullptr || !layouts->prefix.rows.empty()) && request.a > 0 &&
         std::isfinite(request.b * request.b / request.a) && !wants_second_moments(request);
}

Status posterior_refined(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                         std::vector<uint8_t>& answered) {
  return RefinedPosterior(set, target, request, execution, answered).run();
}

}  // namespace regimes
