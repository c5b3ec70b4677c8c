#include "screening.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/chunks.h"
#include "../core/dense_block.h"
#include "../core/error_bound.h"
#include "../core/row_projection.h"

namespace regimes {
namespace {

constexpr int64_t rows_together = 256;  // that few queries see one after the other
constexpr int64_t groups_together = 4;  // whose products stay in the first-level cache
constexpr int64_t listed_singly = 4;    // candidates whose logits cost less than the query's digits

// The least log weight of a component that takes part.
double smallest_log_weight(const Target& target) {
  double least = 0;
  for (int64_t i = 0; target.log_weights && i < target.n; ++i) {
    if (target.log_weights[i] > no_weight) least = std::min(least, target.log_weights[i]);
  }
  return least;
}

double largest_log_weight(const Target& target) {
  return target.log_weights ? *std::max_element(target.log_weights, target.log_weights + target.n) : 0;
}

// Without a prefix the largest logit is known exactly before the rows that stay are counted.
double share_of(const ScreeningScope& scope, const Target& target) {
  if (scope.share > 0) return scope.share;
  return target.layouts->prefix.empty() ? 1.5 * static_cast<double>(scope.most) / static_cast<double>(target.n) : 0.1;
}

// A block no larger than the queries there are.
int64_t block_of(int64_t n, int64_t most, int64_t queries) {
  return std::min(screened_queries(n, most), (queries + digit_lanes - 1) / digit_lanes * digit_lanes);
}

// Where the sample says that the prefix leaves no larger a share of the rows, they are listed and read one by one; otherwise a query reads
// all rows through the digits, in groups with others: at once where groups are as fast as on AMX.
double listed_share(const Instructions& set, const Target& target) {
  if (target.layouts->digits.rows == nullptr) return 0.15;
  return set.digits->faster_than_words ? 0.05 : 0.12;
}

}  // namespace

Screening::Digits::Digits(const DigitRows& digit_rows) : rows(digit_rows), uneven(!digit_rows.gain.empty()) {
  if (!exist()) return;
  centre.assign(rows.centre.begin(), rows.centre.end());
  for (const double scale : rows.scale) per_scale.push_back(scale > 0 ? 1 / scale : 0);
}

Screening::Screening(const Instructions& set, const Target& target, double a, double b, const ScreeningScope& scope, int64_t queries,
                     ThreadPool& pool, const Execution& execution)
    : set_(set), target_(target), a_(a), b_(b), pool_(pool), execution_(execution), n_(target.n), d_(target.d), chunks_(chunk_count(target.n)),
      block_(block_of(target.n, scope.most, queries)), most_(scope.most), reach_(scope.reach), share_(share_of(scope, target)),
      listed_share_(listed_share(set, target)),
      largest_log_weight_(largest_log_weight(target)), smallest_log_weight_(smallest_log_weight(target)), gain_(b * b / a),
      prefix_(target.layouts->prefix), digits_(target.layouts->digits), work_(static_cast<size_t>(pool.size())),
      queries_(static_cast<size_t>(block_)), lists_(static_cast<size_t>(chunks_ * block_)) {
  if (prefix_.exists()) {
    prefix_.query_bytes = set.projected->query_bytes(prefix_.rows.columns);
    prefix_.queries.resize(static_cast<size_t>(block_));
    prefix_.packed.resize(block_ * prefix_.query_bytes);
  }
  if (digits_.exist()) {
    digits_.single_bytes = set.digits->single_bytes(d_, 1);
    digits_.queries.resize(static_cast<size_t>(block_));
    digits_.fixed.resize(static_cast<size_t>(block_ * d_));
    digits_.singles.resize(block_ * digits_.single_bytes);
  }
  prepare_sample();
}

// The floor lies below the largest known logit by the reach and by twice its rounding.
void Screening::set_best(Query& query, double best) const {
  query.best = best;
  query.floor = best - reach_ - 0x1p-52 * chain_units(d_) * std::abs(best);
  query.radius = b_ * std::sqrt(2 * std::max(0.0, largest_log_weight_ - query.floor)) * (1 + 0x1p-50);
}

// What the value of a row that stays reaches, about the centre: then |x_q - a image| <= r + rho, with r^2 / (2 b^2) = log pi - floor.
// `square` is |x_q|^2, `longest` the largest norm of the images.
double Screening::wanted(int64_t q, double square, double rho, double longest) const {
  const double size = std::sqrt(square) + a_ * longest;
  return (b_ * b_ * queries_[q].floor + 0.5 * square - rho * (queries_[q].radius + 0.5 * rho) - 1e-14 * size * size) / a_;
}

// The longest a row that stays can be: |x_q - a image| <= `reached` + a residual.
double Screening::longest(double square, double reached, double largest_norm, double largest_residual) const {
  return std::min(largest_norm + largest_residual, 1.01 * ((std::sqrt(square) + reached) / a_ + largest_residual));
}

double Screening::threshold(int64_t q) const {
  const Digits::Query& query = digits_.queries[q];
  const DigitRows& rows = digits_.rows;
  const double far = longest(query.square, queries_[q].radius + query.displacement, rows.largest_norm, rows.largest_residual);
  // The product of a row about the centre is the difference of two that may be much larger.
  if (digits_.uneven) return wanted(q, query.square, query.displacement, far) - 0x1p-50 * far * std::abs(query.centre);
  const double least = wanted(q, query.square, query.displacement + a_ * rows.largest_residual, far);
  return least + query.in_threshold - 0x1p-50 * std::abs(query.in_threshold);
}

Screening::TileTerms Screening::tile_terms(int64_t row, int count) const {
  TileTerms tile;
  tile.uneven = digits_.uneven;
  for (int r = 0; r < count; ++r) {
    const RowTerms terms = terms_of(row + r);
    tile.gain[r] = terms.gain;
    tile.slack[r] = terms.slack;
    tile.bias[r] = terms.bias;
  }
  return tile;
}

// In the lanes of whole groups; those without a member are zero.
Screening::LaneTerms Screening::lane_terms(const std::vector<int64_t>& members) const {
  const size_t count = (members.size() + digit_lanes - 1) / digit_lanes * digit_lanes;
  LaneTerms lanes{std::vector<double>(count), std::vector<double>(count), std::vector<double>(count)};
  for (size_t k = 0; k < members.size(); ++k) {
    const Digits::Query& query = digits_.queries[members[k]];
    lanes.step[k] = query.step;
    lanes.centre[k] = query.centre;
    lanes.radius[k] = query.radius;
  }
  return lanes;
}

// The largest logit known is at least that of this row.
void Screening::improve_best(Query& query, int64_t row) const {
  if (row == query.best_row) return;
  const auto index = static_cast<int32_t>(row);
  double distance = 0;
  set_.screen->row_distances(target_.points, &index, 1, query.x, a_, &distance);
  const double logit = target_.log_weight(row) - distance / (2 * b_ * b_);
  if (!(logit > query.best)) return;
  set_best(query, logit);
  query.best_row = row;
}

void Screening::run(const double* x, int64_t count) {
  count_ = count;
  for (auto& candidates : lists_) {
    candidates.rows.clear();
    candidates.values.clear();
  }
  in_groups(count_, [&](int64_t first, int64_t many, int worker) { prepare(first, many, x, worker); });
  try_sample();
  prefix_.exists() ? find_by_prefix() : find_by_tiles();
  if (execution_.cancelled()) return;

  // Queries with too many candidates, or with none yet, see all rows through the digits.
  const bool many = digits_.exist() && !set_.digits->faster_than_words;
  const int64_t most_listed = many ? std::max(most_, n_ / 8) : most_;
  std::vector<int64_t> unlisted, uncertain;
  for (int64_t q = 0; q < count_; ++q) {
    Query& query = queries_[q];
    if (!query.open) continue;
    const int64_t candidates = query.listed ? listed(q) : n_;
    if (candidates > most_listed) {
      query.open = digits_.exist();
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) list(chunk, q).rows.clear();
      if (query.open) unlisted.push_back(q);
    }
    if (query.open && candidates > listed_singly) uncertain.push_back(q);
  }
  if (digits_.exist()) {
    prepare_digits(uncertain);
    list_rows(unlisted);
    drop_by_digits(uncertain);
  }
  if (execution_.cancelled()) return;
  for (int64_t q = 0; q < count_; ++q) {
    if (queries_[q].open && listed(q) > most_) queries_[q].open = false;
  }
  pool_.run(chunks_ * count_, [&](int64_t item, int) { find_logits(item / count_, item % count_); });
}

void Screening::prepare(int64_t first, int64_t count, const double* x, int worker) {
  for (int64_t q = first; q < first + count; ++q) {
    queries_[q] = {};
    queries_[q].x = x + q * d_;
  }
  if (prefix_.exists()) prepare_prefix(first, count, worker);
  for (int64_t q = first; digits_.exist() && q < first + count; ++q) {
    digits_.queries[q].ready = digits_.queries[q].sampled = false;
    if (!prefix_.exists()) prepare_digits(q, worker);
  }
}

// For queries whose digits are not known yet.
void Screening::prepare_digits(const std::vector<int64_t>& members) {
  pool_.run(static_cast<int64_t>(members.size()), [&](int64_t i, int worker) {
    if (!digits_.queries[members[i]].ready) prepare_digits(members[i], worker);
  });
}

void Screening::prepare_digits(int64_t q, int worker) {
  Digits::Query& query = digits_.queries[q];
  const DigitRows& rows = digits_.rows;
  LineVector<double>& parts = work_[worker].parts;
  parts.resize(std::max(parts.size(), static_cast<size_t>(2 * d_)));
  int32_t* fixed = digits_.fixed.data() + q * d_;
  RoundedQuery rounded;
  set_.screen->round_query(queries_[q].x, d_, a_,
                           {rows.origin.data(), rows.scale.data(), digits_.per_scale.data(), digits_.centre.data(), set_.digits->limit_one}, parts.data(), fixed,
                           &rounded);
  query.step = rounded.step;
  (digits_.uneven ? query.centre : query.in_threshold) = rounded.centre;
  query.square = rounded.square;
  query.displacement = std::sqrt(rounded.displacement_square) * (1 + 1e-12) + 0x1p-50 * rounded.size;
  query.ready = true;
  set_.digits->pack_single(fixed, d_, 1, digits_.singles.data() + q * digits_.single_bytes);
}

// All rows that reach the thresholds of those members.
void Screening::list_rows(const std::vector<int64_t>& members) {
  if (members.empty()) return;
  for (const int64_t q : members) set_radius(q);
  if (static_cast<int64_t>(members.size()) <= few_queries) {
    pool_.run(chunks_, [&](int64_t chunk, int worker) { list_by_singles(chunk, worker, members); });
  } else {
    const std::vector<DigitLine> packed = pack_members(members);
    pool_.run(chunks_, [&](int64_t chunk, int worker) { list_by_groups(chunk, worker, members, packed.data()); });
  }
}

// Groups of those members, packed for one digit plane.
std::vector<DigitLine> Screening::pack_members(const std::vector<int64_t>& members) const {
  const int64_t bytes = set_.digits->group_bytes(d_, 1);
  const int64_t groups = (static_cast<int64_t>(members.size()) + digit_lanes - 1) / digit_lanes;
  std::vector<DigitLine> packed(static_cast<size_t>(groups * bytes) / sizeof(DigitLine));
  std::vector<int32_t> lanes_of(static_cast<size_t>(digit_lanes * d_));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t lane = 0; lane < digit_lanes; ++lane) {
      const size_t member = std::min(static_cast<size_t>(g * digit_lanes + lane), members.size() - 1);
      std::copy_n(digits_.fixed.data() + members[member] * d_, d_, lanes_of.data() + lane * d_);
    }
    set_.digits->pack_group(lanes_of.data(), d_, 1, packed.data() + g * bytes / static_cast<int64_t>(sizeof(DigitLine)));
  }
  return packed;
}

// For so few queries that lanes would lie idle.
void Screening::list_by_singles(int64_t chunk, int worker, const std::vector<int64_t>& members) {
  const auto count = static_cast<int>(members.size());
  LineVector<double>& products = work_[worker].products;
  products.resize(std::max(products.size(), static_cast<size_t>(few_queries * rows_together)));
  std::vector<RowTerms> terms(rows_together);
  const void* singles[few_queries];
  double thresholds[few_queries];
  for (int k = 0; k < count; ++k) {
    singles[k] = digits_.single(members[k]);
    thresholds[k] = threshold(members[k]);
  }
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += rows_together) {
    if (execution_.cancelled()) return;
    const int64_t rows = std::min(rows_together, end - row);
    set_.digits->several_products(digits_.row(row), digits_.rows.stride, nullptr, rows, d_, singles, count, products.data(), rows_together);
    for (int64_t r = 0; r < rows; ++r) terms[r] = terms_of(row + r);
    for (int k = 0; k < count; ++k) {
      const double* of_query = products.data() + k * rows_together;
      const Digits::Query& query = digits_.queries[members[k]];
      for (int64_t r = 0; r < rows; ++r) {
        if (!(value(query, of_query[r], terms[r], query.radius) >= thresholds[k])) continue;
        list(chunk, members[k]).rows.push_back(static_cast<int32_t>(row + r));
      }
    }
  }
}

void Screening::list_by_groups(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed) {
  const auto count = static_cast<int64_t>(members.size());
  const int64_t groups = (count + digit_lanes - 1) / digit_lanes, bytes = set_.digits->group_bytes(d_, 1);
  const LaneTerms lanes = lane_terms(members);
  std::vector<double> thresholds(static_cast<size_t>(groups * digit_lanes), std::numeric_limits<double>::infinity());
  for (int64_t k = 0; k < count; ++k) thresholds[k] = threshold(members[k]);
  LineVector<double>& products = work_[worker].products;
  products.resize(std::max(products.size(), static_cast<size_t>(groups_together * digit_lanes * digit_tile_rows)));
  uint16_t masks[digit_tile_rows * groups_together];
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += digit_tile_rows) {
    if (execution_.cancelled()) return;
    const int rows = static_cast<int>(std::min<int64_t>(digit_tile_rows, end - row));
    const TileTerms terms = tile_terms(row, rows);
    for (int64_t first = 0; first < groups; first += groups_together) {
      const auto taken = static_cast<int>(std::min(groups_together, groups - first));
      set_.digits->group_products(digits_.row(row), digits_.rows.stride, rows, d_, static_cast<const char*>(packed) + first * bytes, taken, 1, products.data(),
                                  digit_tile_rows);
      for (int g = 0; g < taken; ++g) {
        const int64_t lane = (first + g) * digit_lanes;
        set_.screen->digit_reach(products.data() + g * digit_tile_rows * digit_lanes, rows, terms.view(), lanes.view(lane),
                                 thresholds.data() + lane, masks + g, taken);
      }
      list_masks(chunk, row, rows, masks, taken, members.data() + first * digit_lanes);
    }
  }
}

// Rows first ... first + count - 1 enter the lists of the members whose bits are set; lanes without a member have none.
void Screening::list_masks(int64_t chunk, int64_t first, int count, const uint16_t* masks, int groups, const int64_t* members) {
  for (int r = 0; r < count; ++r) {
    for (int g = 0; g < groups; ++g) {
      for (uint32_t mask = masks[r * groups + g]; mask != 0; mask &= mask - 1) {
        list(chunk, members[g * digit_lanes + __builtin_ctz(mask)]).rows.push_back(static_cast<int32_t>(first + r));
      }
    }
  }
}

// Of the candidates of those members, those stay that the digits do not rule out.
void Screening::drop_by_digits(const std::vector<int64_t>& members) {
  const auto count = static_cast<int64_t>(members.size());
  for (const int64_t q : members) set_radius(q);
  pool_.run(chunks_ * count, [&](int64_t item, int) { find_values(item / count, members[item % count]); });
  if (execution_.cancelled()) return;
  pool_.run(count, [&](int64_t i, int) {
    const int64_t q = members[i];
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
    if (best_row >= 0) improve_best(queries_[q], best_row);
  });
  pool_.run(chunks_ * count, [&](int64_t item, int) { drop(item / count, members[item % count]); });
}

void Screening::find_values(int64_t chunk, int64_t q) {
  Candidates& part = list(chunk, q);
  if (part.rows.empty() || execution_.cancelled()) return;
  part.values.resize(part.rows.size());
  set_.digits->single_products(digits_.rows.rows, digits_.rows.stride, part.rows.data(), static_cast<int64_t>(part.rows.size()), d_,
                               digits_.single(q), 1, part.values.data());
  for (size_t k = 0; k < part.rows.size(); ++k) part.values[k] = value(q, part.values[k], part.rows[k]);
}

// Keeps the rows that reach the threshold of the best logit known by now.
void Screening::drop(int64_t chunk, int64_t q) {
  Candidates& part = list(chunk, q);
  if (part.rows.empty() || execution_.cancelled()) return;
  const double least = threshold(q);
  size_t kept = 0;
  for (size_t k = 0; k < part.rows.size(); ++k) {
    if (part.values[k] >= least) part.rows[kept++] = part.rows[k];
  }
  part.rows.resize(kept);
  part.values.resize(kept);
}

void Screening::find_logits(int64_t chunk, int64_t q) {
  Candidates& part = list(chunk, q);
  if (!queries_[q].open || part.rows.empty() || execution_.cancelled()) return;
  part.values.resize(part.rows.size());
  if (part.rows.size() == 1 && part.rows[0] == queries_[q].best_row) {
    part.values[0] = queries_[q].best;
    return;
  }
  set_.screen->row_distances(target_.points, part.rows.data(), static_cast<int64_t>(part.rows.size()), queries_[q].x, a_, part.values.data());
  for (size_t k = 0; k < part.rows.size(); ++k) part.values[k] = target_.log_weight(part.rows[k]) - part.values[k] / (2 * b_ * b_);
}

void Screening::collect(int64_t q, std::vector<int32_t>& rows, std::vector<double>& logits) const {
  rows.clear();
  logits.clear();
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
