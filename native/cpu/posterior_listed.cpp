#include "posterior_listed.h"

#include <algorithm>
#include <cmath>

#include "readings.h"

namespace regimes {
namespace {

constexpr int64_t sum_block = 512;  // rows whose weighted sum is formed before it enters the denoised mean
// Above, even differences of logits to about 100 bits do not tell the weights.
constexpr double most_uncertainty = 1e-3;

// Whether the rounding of a logit could be seen in a weight.
bool rounding_shows(int64_t d, double largest) { return chain_units(d) * 0x1p-53 * std::abs(largest) > 1e-9; }

// Leaves the rows whose logit reaches `least`, in their order.
void keep_from(double least, RowList& list) {
  size_t kept = 0;
  for (size_t k = 0; k < list.places.size(); ++k) {
    if (list.logits[k] < least) continue;
    list.places[kept] = list.places[k];
    if (!list.numbers.empty()) list.numbers[kept] = list.numbers[k];
    list.logits[kept++] = list.logits[k];
  }
  list.places.resize(kept);
  if (!list.numbers.empty()) list.numbers.resize(kept);
  list.logits.resize(kept);
}

int64_t place_of_largest(const std::vector<double>& logits) { return std::max_element(logits.begin(), logits.end()) - logits.begin(); }

}  // namespace

ListedPosterior::ListedPosterior(const Instructions& set, const Target& target, const PosteriorRequest& request)
    : set_(set), target_(target), request_(request), d_(target.d), reach_(canonical_reach(target.n)), uniform_(target.uniform()),
      sums_(request.class_weights ? target.class_count : 0) {}

double ListedPosterior::rounding(const Target& target, double logit) {
  return 2 * chain_units(target.d) * 0x1p-53 * (std::abs(logit) + canonical_reach(target.n));
}

bool ListedPosterior::answer(int64_t at, const DataView& view, RowList& list) {
  if (list.count() == 0) return false;
  const double largest = list.logits[place_of_largest(list.logits)];
  // What the rounding of two logits can hide stays, until their difference is known.
  keep_from(largest - reach_ - (rounding_shows(d_, largest) ? rounding(target_, largest) : 0), list);
  if (!refine_logits(at, view, list) || request_.top > list.count()) return false;
  find_sums(list);
  const LogSumExp<double>& sums = sums_.sums[0];
  const double log_density = read_scalars(target_, request_, at, sums_, 0, uniform_);
  if (request_.top > 0) read_leading(at, list);
  if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(list.count());
  if (request_.path) request_.path[at] = static_cast<uint8_t>(Path::refined);

  ErrorModel model = points_error_model(d_, request_.b);
  model.dropped = dropped_mass;
  model.relative = extended_ || list.count() == 1;
  model.peak_units = extended_ ? 8 : model.logit_units;
  if (extended_) model.logit_units = 8;
  model.logit_offset = uncertainty_ * 0x1p53;
  if (!wants_denoised(request_)) {
    read_bounds(target_, request_, at, sums, uniform_, model, log_density, 1, nullptr);
    return true;
  }
  find_denoised(view, list);
  read_bounds(target_, request_, at, sums, uniform_, model, log_density, static_cast<double>(list.count()), denoised_.data());
  if (request_.denoised) std::copy_n(denoised_.data(), d_, request_.denoised + at * d_);
  const double b2 = request_.b * request_.b;
  if (request_.score) set_.screen->score_of(denoised_.data(), request_.x.row(at), d_, request_.a, b2, request_.score + at * d_);
  return true;
}

// Where the rounding of a logit shows, differences of logits from distances to about 100 bits take the place of logits, and tell
// who survives. False where even they are too coarse.
bool ListedPosterior::refine_logits(int64_t at, const DataView& view, RowList& list) {
  extended_ = false;
  uncertainty_ = reference_ = 0;
  top_ = place_of_largest(list.logits);
  if (list.count() == 1 || !rounding_shows(d_, list.logits[top_])) return true;
  uncertainty_ = extended_uncertainty(at, list.logits[top_]);
  if (!(uncertainty_ < most_uncertainty)) return false;
  reference_ = make_relative(at, view, list);
  keep_from(*std::max_element(list.logits.begin(), list.logits.end()) - reach_, list);
  if (list.count() == 1) uncertainty_ = 0;
  top_ = place_of_largest(list.logits);
  return true;
}

// Of the difference of two logits near `largest`: of sums of squares to about 100 bits, and of the differences x - a y in them,
// whose errors are relative to |x| where they cancel.
double ListedPosterior::extended_uncertainty(int64_t at, double largest) const {
  const double square = set_.kernels->weighted_square(request_.x.row(at), nullptr, d_), peak = std::abs(largest) + reach_;
  return 0x1p-103 * ((static_cast<double>(d_) / 8 + 16) * peak + 2 * std::sqrt(peak) * std::sqrt(square) / request_.b);
}

// Replaces logits by their differences to the largest, which it returns.
double ListedPosterior::make_relative(int64_t at, const DataView& view, RowList& list) {
  const int64_t count = list.count();
  std::vector<double> high(static_cast<size_t>(count)), low(high.size());
  set_.screen->row_distances_extended(view, list.places.data(), count, request_.x.row(at), request_.a, high.data(), low.data());
  const double twice_b2 = 2 * request_.b * request_.b, own = target_.log_weight(list.number(top_));
  for (int64_t k = 0; k < count; ++k) {
    list.logits[k] = (target_.log_weight(list.number(k)) - own) - ((high[k] - high[top_]) + (low[k] - low[top_])) / twice_b2;
  }
  extended_ = true;
  return own - high[top_] / twice_b2;
}

void ListedPosterior::find_sums(RowList& list) {
  const int64_t count = list.count(), padded = (count + 7) / 8 * 8;
  const double largest = list.logits[top_];
  list.logits.resize(static_cast<size_t>(padded), -1e308);
  exponentials_.resize(static_cast<size_t>(padded));
  ListSums sums;
  set_.screen->list_sums(list.logits.data(), padded, largest, top_, exponentials_.data(), &sums);
  LogSumExp<double>& total = sums_.sums[0];
  total = LogSumExp<double>::single(reference_ + largest, list.number(top_));
  total.rest = sums.rest;
  total.gap = sums.gap;
  total.gap_squared = sums.gap_squared;
  total.squares = sums.squares;
  std::fill(sums_.classes.begin(), sums_.classes.end(), 0.0);
  for (int64_t k = 0; k < count && !sums_.classes.empty(); ++k) sums_.classes[target_.classes[list.number(k)] * lanes] += exponentials_[k];
}

void ListedPosterior::read_leading(int64_t at, const RowList& list) const {
  std::vector<int32_t> order(list.places.size());
  for (size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int32_t>(k);
  std::partial_sort(order.begin(), order.begin() + request_.top, order.end(), [&](int32_t i, int32_t j) {
    return list.logits[i] > list.logits[j] || (list.logits[i] == list.logits[j] && i < j);
  });
  for (int64_t k = 0; k < request_.top; ++k) {
    request_.top_index[at * request_.top + k] = list.number(order[k]);
    request_.top_weight[at * request_.top + k] = exponentials_[order[k]] / (1 + sums_.sums[0].rest);
  }
}

void ListedPosterior::find_denoised(const DataView& view, const RowList& list) {
  const double inverse = 1 / (1 + sums_.sums[0].rest);
  for (double& weight : exponentials_) weight *= inverse;
  std::vector<double> part;
  for (int64_t first = 0; first < list.count(); first += sum_block) {
    std::vector<double>& sums = first == 0 ? denoised_ : part;
    sums.assign(static_cast<size_t>(d_), 0.0);
    set_.screen->add_listed_rows(view, list.places.data() + first, exponentials_.data() + first, std::min(sum_block, list.count() - first),
                                 sums.data());
    for (int64_t j = 0; first > 0 && j < d_; ++j) denoised_[j] += part[j];
  }
}

}  // namespace regimes
