// The part of screening that looks at a sample of the rows: it seeds the scale of the largest logit, closes queries that see most rows
// alike, and leaves those to the digits whose rows the prefix does not tell apart. The prefix is asked first, the digits only where it
// leaves doubt.
#include <algorithm>
#include <cmath>
#include <limits>

#include "screening.h"

namespace regimes {
namespace {

// The rows that have weight; empty: all.
std::vector<int32_t> weighted_rows(const Target& target) {
  std::vector<int32_t> rows;
  for (int64_t i = 0; target.log_weights && i < target.n; ++i) {
    if (target.log_weights[i] > no_weight) rows.push_back(static_cast<int32_t>(i));
  }
  return rows;
}

}  // namespace

// Evenly spread, but at no single distance: rows may come in a rhythm.
void Screening::prepare_sample() {
  const std::vector<int32_t> weighted = weighted_rows(target_);
  const int64_t rows = weighted.empty() ? n_ : static_cast<int64_t>(weighted.size());
  sampled_rows_ = static_cast<double>(rows);
  const int64_t count = std::min(rows, std::clamp<int64_t>(rows / 64, screening_sample / 4, screening_sample));
  constexpr double golden = 0.6180339887498949;
  for (int64_t i = 0; i < count; ++i) {
    const double turns = static_cast<double>(i) * golden, within = rows > 4 * count ? turns - std::floor(turns) : 0;
    const auto at = static_cast<int64_t>((static_cast<double>(i) + within) * static_cast<double>(rows) / static_cast<double>(count));
    sample_.push_back(weighted.empty() ? static_cast<int32_t>(at) : weighted[at]);
  }
  // An odd number of lines, so that the values of many queries do not compete for the same places of the cache.
  constexpr int64_t line = 16;
  sample_stride_ = (static_cast<int64_t>(sample_.size()) + projected_tile - 1) / projected_tile * projected_tile + line;
  if (digits_.exist()) digits_.sample_values.resize(static_cast<size_t>(block_ * sample_stride_));
  if (prefix_.exists()) prepare_prefix_sample();
}

// The digits' values of the sample for these queries.
void Screening::find_samples(const std::vector<int64_t>& members) {
  prepare_digits(members);
  std::vector<RowTerms> terms;
  for (const int32_t row : sample_) terms.push_back(terms_of(row));
  const auto size = static_cast<int64_t>(sample_.size()), count = static_cast<int64_t>(members.size());
  in_groups(count, [&](int64_t first, int64_t many, int worker) {
    const void* singles[prepared_together] = {};
    for (int64_t k = 0; k < many; ++k) singles[k] = digits_.single(members[first + k]);
    LineVector<double>& products = work_[worker].products;
    products.resize(std::max(products.size(), static_cast<size_t>(many * size)));
    set_.digits->several_products(digits_.rows.rows, digits_.rows.stride, sample_.data(), size, d_, singles, static_cast<int>(many),
                                  products.data(), size);
    for (int64_t k = 0; k < many; ++k) {
      Digits::Query& query = digits_.queries[members[first + k]];
      query.sampled = true;
      double* values = digits_.sample_values.data() + members[first + k] * sample_stride_;
      for (int64_t i = 0; i < size; ++i) values[i] = value(query, products[k * size + i], terms[i], 0);
    }
  });
}

// Whether more than a share of all rows stays, by how many of the sample do.
bool Screening::more_than(double share, int64_t staying) const {
  return static_cast<double>(staying) * sampled_rows_ > share * static_cast<double>(n_) * static_cast<double>(sample_.size());
}

// By the digits' values of the sample and the best logit known by now.
bool Screening::stays_alike(int64_t q, double share) const {
  const auto size = static_cast<int64_t>(sample_.size());
  const double least = threshold(q), *values = digits_.sample_values.data() + q * sample_stride_;
  const double reached = digit_radius(q);
  int64_t staying = 0;
  for (int64_t k = 0; k < size; ++k) staying += (digits_.uneven ? values[k] + digits_.rows.residual[sample_[k]] * reached : values[k]) >= least;
  return more_than(share, staying);
}

// Closes queries that see more than half of the sample alike: nothing tells their rows apart.
void Screening::try_sample() {
  const double most = std::max(0.5, 1.5 * share_);
  std::vector<int64_t> members;
  for (int64_t q = 0; q < count_; ++q) {
    if (queries_[q].open) members.push_back(q);
  }
  if (prefix_.exists()) {
    std::vector<uint8_t> alike(members.size());
    pool_.run(static_cast<int64_t>(members.size()), [&](int64_t i, int) {
      seed_from_prefix_of_sample(members[i]);
      alike[i] = stays_alike_by_prefix(members[i], most) ? 1 : 0;
    });
    size_t kept = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      if (alike[i] != 0) members[kept++] = members[i];
    }
    members.resize(kept);
  }
  if (!digits_.exist()) return;
  find_samples(members);
  pool_.run(static_cast<int64_t>(members.size()), [&](int64_t i, int) {
    Query& query = queries_[members[i]];
    const auto size = static_cast<int64_t>(sample_.size());
    const double* values = digits_.sample_values.data() + members[i] * sample_stride_;
    improve_best(query, sample_[std::max_element(values, values + size) - values]);
    // Without a prefix the sample says nothing of the largest logit: a query drawn forward lies about b sqrt(d) from a row.
    const double known = query.best, typical = -0.5 * static_cast<double>(d_) - std::log(static_cast<double>(n_));
    if (!prefix_.exists()) set_best(query, std::max(known, typical));
    query.open = !stays_alike(members[i], most);
    set_best(query, known);
  });
}

// With the largest logit known better: closes queries that see too much of the sample alike, and returns those whose rows the
// first bound tells apart.
std::vector<int64_t> Screening::try_sample_again() {
  std::vector<int64_t> first, rest, unknown;
  for (int64_t q = 0; q < count_; ++q) {
    if (!queries_[q].open) continue;
    if (prefix_.exists() && !stays_alike_by_prefix(q, listed_share_)) {
      first.push_back(q);
      continue;
    }
    rest.push_back(q);
    if (digits_.exist() && !digits_.queries[q].sampled) unknown.push_back(q);
  }
  if (!digits_.exist()) return first;
  find_samples(unknown);
  for (const int64_t q : rest) queries_[q].open = !stays_alike(q, share_);
  if (prefix_.exists()) return first;
  rest.erase(std::remove_if(rest.begin(), rest.end(), [&](int64_t q) { return !queries_[q].open; }), rest.end());
  return rest;
}

}  // namespace regimes
