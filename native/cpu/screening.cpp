#include "screening.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/chunks.h"
#include "../core/error_bound.h"

namespace regimes {
namespace {

constexpr int64_t rows_together = 256;  // that few queries see one after the other

double largest_log_weight(const Target& target) {
  return target.log_weights ? *std::max_element(target.log_weights, target.log_weights + target.n) : 0;
}

// The least log weight of a component that takes part.
double smallest_log_weight(const Target& target) {
  double least = 0;
  for (int64_t i = 0; target.log_weights && i < target.n; ++i) {
    if (target.log_weights[i] > no_weight) least = std::min(least, target.log_weights[i]);
  }
  return least;
}

// Without a prefix the largest logit is known exactly before the rows that stay are counted.
double share_of(const ScreeningScope& scope, const Target& target) {
  if (scope.share > 0) return scope.share;
  return target.layouts->prefix.rows.empty() ? 1.5 * static_cast<double>(scope.most) / static_cast<double>(target.n) : 0.1;
}

// A block no larger than the queries there are.
int64_t block_of(int64_t n, int64_t most, int64_t queries) {
  return std::min(screened_queries(n, most), (queries + digit_lanes - 1) / digit_lanes * digit_lanes);
}

}  // namespace

Screening::Screening(const Instructions& set, const Target& target, double a, double b, const ScreeningScope& scope, int64_t queries,
                     ThreadPool& pool, const Execution& execution)
    : set_(set), target_(target), digits_(target.layouts->digits), prefix_(target.layouts->prefix), a_(a), b_(b), pool_(pool),
      execution_(execution), n_(target.n), d_(target.d), chunks_(chunk_count(target.n)), block_(block_of(target.n, scope.most, queries)), most_(scope.most),
      reach_(scope.reach), share_(share_of(scope, target)),
      largest_log_weight_(largest_log_weight(target)), smallest_log_weight_(smallest_log_weight(target)),
      with_prefix_(!prefix_.rows.empty()), with_digits_(digits_.rows != nullptr),
      levels_(digits_.centre.begin(), digits_.centre.end()), single_bytes_(set.digits->single_bytes(target.d, 1)),
      queries_(static_cast<size_t>(block_)),
      lists_(static_cast<size_t>(chunks_ * block_)) {
  work_.resize(static_cast<size_t>(pool.size()));
  for (Work& work : work_) {
    work.values.resize(static_cast<size_t>(block_ * prefix_tile_rows));
    work.products.resize(static_cast<size_t>(block_ * digit_tile_rows));
    work.masks.resize(static_cast<size_t>(block_ / digit_lanes * digit_tile_rows));
  }
  if (with_digits_) {
    fixed_.resize(static_cast<size_t>(block_ * d_));
    singles_.resize(block_ * single_bytes_);
  }
  prepare_sample();
}

// What a row's logit must reach: below the largest known one by the reach and by twice its rounding.
double Screening::floor_of(const Query& query) const {
  return query.best - reach_ - 0x1p-52 * chain_units(d_) * std::abs(query.best);
}

// In units of <x', y'>: the logit times b^2 / a, less what all rows share.
double Screening::digit_bias(int64_t row) const {
  return std::max(b_ * b_ / a_ * target_.log_weight(row) - a_ * digits_.half_square[row], -1e300);
}

// A row stays when step P + bias reaches this: then |x_q - a image| <= radius + rho, with radius^2 / (2 b^2) = log pi - floor.
double Screening::digit_threshold(const Query& query) const {
  const double floor = floor_of(query), rho = query.displacement + a_ * digits_.largest_residual;
  const double radius = b_ * std::sqrt(2 * std::max(0.0, largest_log_weight_ - floor));
  const double size = std::sqrt(query.fixed_square) + a_ * digits_.largest_norm;
  const double wanted = b_ * b_ * floor + 0.5 * query.fixed_square - rho * (radius + 0.5 * rho) - 1e-14 * size * size;
  // The product of a row about the centre is the difference of two that may be much larger.
  const double centre = query.step * query.centre_product;
  return wanted / a_ + centre - 0x1p-50 * std::abs(centre);
}

void Screening::run(const double* x, int64_t count) {
  count_ = count;
  groups_ = (count + digit_lanes - 1) / digit_lanes;
  for (auto& candidates : lists_) {
    candidates.rows.clear();
    candidates.values.clear();
  }
  prefix_queries_.assign(static_cast<size_t>(groups_ * prefix_width * digit_lanes), 0.0f);
  pool_.run(groups_, [&](int64_t group, int worker) { prepare(group, x, worker); });
  try_sample();
  if (std::none_of(queries_.begin(), queries_.begin() + count_, [](const Query& query) { return query.open; })) return;
  if (with_prefix_) {
    const int64_t tiles = chunks_ * (chunk_rows / prefix_tile_rows);
    tile_largest_.resize(static_cast<size_t>(tiles * block_));
    chunk_best_.assign(static_cast<size_t>(chunks_ * block_), -std::numeric_limits<float>::infinity());
    chunk_where_.assign(chunk_best_.size(), 0);
    pool_.run(chunks_, [&](int64_t chunk, int worker) { pass_over_prefix(chunk, worker); });
  }
  if (execution_.cancelled()) return;
  if (!with_prefix_) find_by_tiles();
  if (with_prefix_) {
    pool_.run(count_, [&](int64_t q, int) { seed_from_prefix(q); });
    try_sample_again();
    pool_.run(chunks_, [&](int64_t chunk, int worker) { list_by_prefix(chunk, worker); });
  }
  if (execution_.cancelled()) return;

  // Queries with too many candidates of the prefix see all rows through the digits.
  std::vector<int64_t> members;
  for (int64_t q = 0; q < count_; ++q) {
    Query& query = queries_[q];
    if (!query.open) continue;
    const int64_t rows = query.listed ? listed(q) : n_;
    if (query.listed && rows <= most_) continue;
    query.open = with_digits_;
    query.listed = false;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) list(chunk, q).rows.clear();
    if (with_digits_) members.push_back(q);
  }
  if (!members.empty() && static_cast<int64_t>(members.size()) <= few_queries) {
    pool_.run(chunks_, [&](int64_t chunk, int worker) { list_by_singles(chunk, worker, members); });
  } else if (!members.empty()) {
    const std::vector<DigitLine> packed = pack_members(members);
    pool_.run(chunks_, [&](int64_t chunk, int worker) { list_by_digits(chunk, worker, members, packed.data()); });
  }
  if (execution_.cancelled()) return;
  if (with_digits_) {
    pool_.run(chunks_ * count_, [&](int64_t item, int) { digit_values(item / count_, item % count_); });
    pool_.run(count_, [&](int64_t q, int) {
      if (!queries_[q].open) return;
      int32_t best_row = -1;
      double best = -std::numeric_limits<double>::infinity();
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
        const Candidates& part = list(chunk, q);
        for (size_t k = 0; k < part.rows.size(); ++k) {
          if (part.values[k] > best) {
            best = part.values[k];
            best_row = part.rows[k];
          }
        }
      }
      if (best_row >= 0) improve_best(queries_[q], &best_row, 1);
    });
  }
  if (with_digits_) pool_.run(chunks_ * count_, [&](int64_t item, int) { drop(item / count_, item % count_); });
  for (int64_t q = 0; q < count_; ++q) {
    if (queries_[q].open && listed(q) > most_) queries_[q].open = false;
  }
  pool_.run(chunks_ * count_, [&](int64_t item, int) { find_logits(item / count_, item % count_); });
}

void Screening::prepare(int64_t group, const double* x, int worker) {
  const int64_t first = group * digit_lanes, end = std::min(first + digit_lanes, count_);
  for (int64_t q = first; q < end; ++q) {
    queries_[q] = {};
    queries_[q].x = x + q * d_;
    queries_[q].listed = with_prefix_;
  }
  if (with_prefix_) prepare_prefix(first, end - first);
  for (int64_t q = first; with_digits_ && q < end; ++q) prepare_digits(q, worker);
  if (with_prefix_) find_prefix_of_sample(group);
}

void Screening::prepare_digits(int64_t q, int worker) {
  Query& query = queries_[q];
  LineVector<double>& weighted = work_[worker].weighted;
  weighted.resize(static_cast<size_t>(d_));
  for (int64_t j = 0; j < d_; ++j) weighted[j] = digits_.scale[j] * (query.x[j] - a_ * digits_.origin[j]);
  int32_t* fixed = fixed_.data() + q * d_;
  set_.kernels->round_to_digits(weighted.data(), d_, set_.digits->limit_one, levels_.data(), fixed, &query.step, &query.centre_product);
  RoundedNorms norms;
  set_.screen->rounded_norms(query.x, d_, a_, digits_.origin.data(), fixed, digits_.scale.data(), query.step, &norms);
  query.fixed_square = norms.square;
  query.displacement = std::sqrt(norms.displacement_square) * (1 + 1e-12) + 0x1p-50 * norms.size;
  set_.digits->pack_single(fixed, d_, 1, singles_.data() + q * single_bytes_);
}

void Screening::improve_best(Query& query, const int32_t* rows, int64_t count) const {
  double distances[screening_seeds];
  set_.screen->row_distances(target_.points, rows, count, query.x, a_, distances);
  for (int64_t k = 0; k < count; ++k) {
    query.best = std::max(query.best, target_.log_weight(rows[k]) - distances[k] / (2 * b_ * b_));
  }
}

void Screening::list_masks(int64_t chunk, int64_t first, int count, const uint16_t* masks, const std::vector<int64_t>& members) {
  const int64_t groups = (static_cast<int64_t>(members.size()) + digit_lanes - 1) / digit_lanes;
  for (int r = 0; r < count; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      for (uint32_t mask = masks[r * groups + g]; mask != 0; mask &= mask - 1) {
        const int64_t member = g * digit_lanes + __builtin_ctz(mask);
        if (member < static_cast<int64_t>(members.size())) list(chunk, members[member]).rows.push_back(static_cast<int32_t>(first + r));
      }
    }
  }
}

// For so few queries that lanes would lie idle.
void Screening::list_by_singles(int64_t chunk, int worker, const std::vector<int64_t>& members) {
  const auto count = static_cast<int>(members.size());
  LineVector<double>& products = work_[worker].products;
  products.resize(std::max(products.size(), static_cast<size_t>(few_queries * rows_together)));
  const void* singles[few_queries];
  double thresholds[few_queries], bias[rows_together];
  for (int k = 0; k < count; ++k) {
    singles[k] = single(members[k]);
    thresholds[k] = digit_threshold(queries_[members[k]]);
  }
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += rows_together) {
    if (execution_.cancelled()) return;
    const int64_t rows = std::min(rows_together, end - row);
    set_.digits->several_products(digits_.rows + row * digits_.stride, digits_.stride, nullptr, rows, d_, singles, count, products.data(),
                                  rows_together);
    for (int64_t r = 0; r < rows; ++r) bias[r] = digit_bias(row + r);
    for (int k = 0; k < count; ++k) {
      const Query& query = queries_[members[k]];
      const double* of_query = products.data() + k * rows_together;
      for (int64_t r = 0; r < rows; ++r) {
        if (digit_value(query, of_query[r], bias[r]) >= thresholds[k]) list(chunk, members[k]).rows.push_back(static_cast<int32_t>(row + r));
      }
    }
  }
}

void Screening::list_by_digits(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed) {
  const int64_t groups = (static_cast<int64_t>(members.size()) + digit_lanes - 1) / digit_lanes;
  std::vector<double> thresholds(static_cast<size_t>(block_)), steps(static_cast<size_t>(block_));
  double bias[digit_tile_rows];
  for (int64_t k = 0; k < groups * digit_lanes; ++k) {
    const bool there = k < static_cast<int64_t>(members.size());
    thresholds[k] = there ? digit_threshold(queries_[members[k]]) : std::numeric_limits<double>::infinity();
    steps[k] = there ? queries_[members[k]].step : 0;
  }
  LineVector<double>& products = work_[worker].products;
  std::vector<uint16_t>& masks = work_[worker].masks;
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += digit_tile_rows) {
    if (execution_.cancelled()) return;
    const int count = static_cast<int>(std::min<int64_t>(digit_tile_rows, end - row));
    set_.digits->group_products(digits_.rows + row * digits_.stride, digits_.stride, count, d_, packed, static_cast<int>(groups), 1,
                                products.data(), digit_tile_rows);
    for (int r = 0; r < count; ++r) bias[r] = digit_bias(row + r);
    for (int64_t g = 0; g < groups; ++g) {
      set_.screen->digit_reach(products.data() + g * digit_tile_rows * digit_lanes, count, bias, steps.data() + g * digit_lanes,
                               thresholds.data() + g * digit_lanes, masks.data() + g, groups);
    }
    list_masks(chunk, row, count, masks.data(), members);
  }
}

void Screening::digit_values(int64_t chunk, int64_t q) {
  const Query& query = queries_[q];
  Candidates& part = list(chunk, q);
  if (!query.open || part.rows.empty() || execution_.cancelled()) return;
  part.values.resize(part.rows.size());
  set_.digits->single_products(digits_.rows, digits_.stride, part.rows.data(), static_cast<int64_t>(part.rows.size()), d_, single(q), 1,
                               part.values.data());
  for (size_t k = 0; k < part.rows.size(); ++k) part.values[k] = digit_value(query, part.values[k], digit_bias(part.rows[k]));
}

// Keeps the rows that reach the threshold of the best logit known by now.
void Screening::drop(int64_t chunk, int64_t q) {
  const Query& query = queries_[q];
  Candidates& part = list(chunk, q);
  if (!query.open || part.rows.empty() || execution_.cancelled()) return;
  const double threshold = digit_threshold(query);
  size_t kept = 0;
  for (size_t k = 0; k < part.rows.size(); ++k) {
    if (part.values[k] >= threshold) part.rows[kept++] = part.rows[k];
  }
  part.rows.resize(kept);
  part.values.resize(kept);
}

void Screening::find_logits(int64_t chunk, int64_t q) {
  const Query& query = queries_[q];
  Candidates& part = list(chunk, q);
  if (!query.open || part.rows.empty() || execution_.cancelled()) return;
  part.values.resize(part.rows.size());
  set_.screen->row_distances(target_.points, part.rows.data(), static_cast<int64_t>(part.rows.size()), query.x, a_, part.values.data());
  for (size_t k = 0; k < part.rows.size(); ++k) part.values[k] = target_.log_weight(part.rows[k]) - part.values[k] / (2 * b_ * b_);
}

void Screening::collect(int64_t q, std::vector<int32_t>& rows, std::vector<double>& logits) const {
  const auto total = static_cast<size_t>(listed(q));
  rows.reserve(total);
  logits.reserve(total);
  for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
    const Candidates& part = candidates(chunk, q);
    rows.insert(rows.end(), part.rows.begin(), part.rows.end());
    logits.insert(logits.end(), part.values.begin(), part.values.end());
  }
}

int64_t Screening::listed(int64_t q) const {
  int64_t total = 0;
  for (int64_t chunk = 0; chunk < chunks_; ++chunk) total += static_cast<int64_t>(candidates(chunk, q).rows.size());
  return total;
}

}  // namespace regimes
