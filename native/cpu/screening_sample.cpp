// The part of screening that looks at a sample of the rows: it seeds the scale of the largest logit, closes queries that see most rows
// alike, and leaves those to the digits whose rows the prefix does not tell apart. The prefix is asked first, the digits only where it
// leaves doubt.
#include <algorithm>
#include <cmath>
#include <limits>

#include "screening.h"

namespace regimes {
namespace {

constexpr int64_t sampled_together = 8;  // queries that meet the rows while those are near

}  // namespace

void Screening::prepare_sample() {
  const int64_t step = std::max<int64_t>(1, n_ / screening_sample);
  for (int64_t row = step / 2; row < n_ && static_cast<int64_t>(sample_.size()) < screening_sample; row += step) {
    sample_.push_back(static_cast<int32_t>(row));
  }
  if (with_digits_) sample_values_.resize(static_cast<size_t>(block_) * sample_.size());
  if (with_prefix_) prefix_sample_values_.resize(static_cast<size_t>(block_) * sample_.size());
  for (const int32_t row : sample_) {
    if (with_digits_) sample_bias_.push_back(digit_bias(row));
    if (!with_prefix_) continue;
    prefix_sample_bias_.push_back(prefix_bias(row));
    const float* from = prefix_.rows.data() + row * prefix_width;
    prefix_sample_.insert(prefix_sample_.end(), from, from + prefix_width);
  }
}

// The sample as a group of queries sees it through the prefix; its most promising row seeds the largest logit.
void Screening::find_prefix_of_sample(int64_t group) {
  const auto size = static_cast<int64_t>(sample_.size());
  float* values = prefix_sample_values_.data() + group * size * digit_lanes;
  set_.screen->prefix_values(prefix_sample_.data(), static_cast<int>(size), prefix_sample_bias_.data(),
                             prefix_queries_.data() + group * prefix_width * digit_lanes, 1, values, size);
  float largest[digit_lanes], best[digit_lanes];
  int32_t where[digit_lanes] = {};
  std::fill(best, best + digit_lanes, -std::numeric_limits<float>::infinity());
  set_.screen->maxima(values, static_cast<int>(size), 0, largest, best, where);
  for (int64_t q = group * digit_lanes; q < std::min((group + 1) * digit_lanes, count_); ++q) {
    if (queries_[q].open) improve_best(queries_[q], &sample_[where[q % digit_lanes]], 1);
  }
}

// How many rows of the sample reach the prefix's threshold of the best logit known by now, of every query.
void Screening::count_staying_by_prefix(int64_t group) {
  const auto size = static_cast<int64_t>(sample_.size());
  const float* values = prefix_sample_values_.data() + group * size * digit_lanes;
  float thresholds[digit_lanes];
  int32_t counts[digit_lanes] = {};
  for (int64_t lane = 0; lane < digit_lanes; ++lane) {
    const int64_t q = group * digit_lanes + lane;
    thresholds[lane] = q < count_ && queries_[q].open ? prefix_threshold(queries_[q]) : std::numeric_limits<float>::infinity();
  }
  for (int64_t k = 0; k < size; ++k) {
    for (int64_t lane = 0; lane < digit_lanes; ++lane) counts[lane] += values[k * digit_lanes + lane] >= thresholds[lane];
  }
  for (int64_t q = group * digit_lanes; q < std::min((group + 1) * digit_lanes, count_); ++q) queries_[q].staying = counts[q % digit_lanes];
}

// Rows of the sample that reach the digits' threshold of that logit.
int64_t Screening::staying(int64_t q) const {
  const auto size = static_cast<int64_t>(sample_.size());
  const double threshold = digit_threshold(queries_[q]), *values = sample_values_.data() + q * size;
  int64_t count = 0;
  for (int64_t k = 0; k < size; ++k) count += values[k] >= threshold;
  return count;
}

// The sample's products with these queries.
void Screening::find_samples(const std::vector<int64_t>& members) {
  const auto size = static_cast<int64_t>(sample_.size()), count = static_cast<int64_t>(members.size());
  pool_.run((count + sampled_together - 1) / sampled_together, [&](int64_t task, int worker) {
    const int64_t first = task * sampled_together, many = std::min(sampled_together, count - first);
    const void* singles[sampled_together] = {};
    for (int64_t k = 0; k < many; ++k) singles[k] = single(members[first + k]);
    LineVector<double>& products = work_[worker].products;
    products.resize(std::max(products.size(), static_cast<size_t>(many * size)));
    set_.digits->several_products(digits_.rows, digits_.stride, sample_.data(), size, d_, singles, static_cast<int>(many), products.data(), size);
    for (int64_t k = 0; k < many; ++k) {
      Query& query = queries_[members[first + k]];
      query.sampled = true;
      double* values = sample_values_.data() + members[first + k] * size;
      for (int64_t i = 0; i < size; ++i) values[i] = digit_value(query, products[k * size + i], sample_bias_[i]);
    }
  });
}

// Closes queries that see more than half of the sample alike: nothing tells their rows apart.
void Screening::try_sample() {
  const auto size = static_cast<int64_t>(sample_.size());
  const double most = std::max(0.5, 1.5 * share_) * static_cast<double>(size);
  if (!with_digits_) return;
  if (with_prefix_) pool_.run(groups_, [&](int64_t group, int) { count_staying_by_prefix(group); });
  std::vector<int64_t> members;
  for (int64_t q = 0; q < count_; ++q) {
    if (queries_[q].open && (!with_prefix_ || queries_[q].staying > most)) members.push_back(q);
  }
  find_samples(members);
  pool_.run(static_cast<int64_t>(members.size()), [&](int64_t i, int) {
    const int64_t q = members[i];
    Query& query = queries_[q];
    const double* values = sample_values_.data() + q * size;
    improve_best(query, &sample_[std::max_element(values, values + size) - values], 1);
    // Without a prefix the sample says nothing of the largest logit: a query drawn forward lies about b sqrt(d) from a row.
    const double known = query.best, typical = -0.5 * static_cast<double>(d_) - std::log(static_cast<double>(n_));
    if (!with_prefix_) query.best = std::max(known, typical);
    if (static_cast<double>(staying(q)) > most) query.open = false;
    query.best = known;
  });
}

// With the largest logit known better: queries of which a large part of the sample reaches the prefix's threshold are left to the digits,
// and closed where it reaches theirs.
void Screening::try_sample_again() {
  pool_.run(groups_, [&](int64_t group, int) { count_staying_by_prefix(group); });
  std::vector<int64_t> members;
  for (int64_t q = 0; q < count_; ++q) {
    Query& query = queries_[q];
    query.listed = query.open && query.staying <= static_cast<int32_t>(sample_.size()) / 10;
    if (query.open && !query.listed && with_digits_ && !query.sampled) members.push_back(q);
  }
  find_samples(members);
  for (int64_t q = 0; q < count_; ++q) {
    if (!queries_[q].listed) close_if_alike(q);
  }
}

void Screening::close_if_alike(int64_t q) {
  Query& query = queries_[q];
  if (query.open && with_digits_ && static_cast<double>(staying(q)) > share_ * static_cast<double>(sample_.size())) query.open = false;
}

}  // namespace regimes
