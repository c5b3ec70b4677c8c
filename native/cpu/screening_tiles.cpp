// The part of screening for data without a prefix: one pass of the digits that keeps the largest value of every tile and query, and
// with it the largest logit; then the few tiles that reach the threshold, query by query.
#include <algorithm>
#include <limits>

#include "../core/chunks.h"
#include "screening.h"

namespace regimes {
namespace {

constexpr int64_t groups_together = 4;  // whose products stay in the first-level cache
constexpr int64_t most_listed = 12;     // more than this share of the tiles is faster in groups of queries

}  // namespace

// Values of the rows of one tile for one query: the bits that a group gives.
void Screening::tile_values(int64_t row, int count, int64_t q, double* values) const {
  set_.digits->single_products(digits_.row(row), digits_.rows.stride, nullptr, count, d_, digits_.single(q), 1, values);
  for (int r = 0; r < count; ++r) values[r] = value(q, values[r], row + r);
}

void Screening::pass_over_tiles(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed) {
  const auto count = static_cast<int64_t>(members.size()), groups = (count + digit_lanes - 1) / digit_lanes;
  const int64_t group_bytes = set_.digits->group_bytes(d_, 1), end = std::min((chunk + 1) * chunk_rows, n_);
  LineVector<double>& products = work_[worker].products;
  products.resize(std::max(products.size(), static_cast<size_t>(groups_together * digit_lanes * digit_tile_rows)));
  const LaneTerms lanes = lane_terms(members);
  const void* singles[few_queries];
  for (int64_t k = 0; packed == nullptr && k < count; ++k) singles[k] = digits_.single(members[k]);
  double largest[digit_lanes];
  for (int64_t row = chunk * chunk_rows; row < end; row += digit_tile_rows) {
    if (execution_.cancelled()) return;
    const int rows = static_cast<int>(std::min<int64_t>(digit_tile_rows, end - row));
    double* to = digits_.tile_most.data() + row / digit_tile_rows * block_;
    const TileTerms terms = tile_terms(row, rows);
    digits_.least_slack[row / digit_tile_rows] = *std::min_element(terms.slack, terms.slack + rows);
    if (packed == nullptr) {
      set_.digits->several_products(digits_.row(row), digits_.rows.stride, nullptr, rows, d_, singles, static_cast<int>(count),
                                    products.data(), digit_tile_rows);
      for (int64_t k = 0; k < count; ++k) {
        const double* of_query = products.data() + k * digit_tile_rows;
        double best = -std::numeric_limits<double>::infinity();
        for (int r = 0; r < rows; ++r) best = std::max(best, value(members[k], of_query[r], row + r));
        to[members[k]] = best;
      }
      continue;
    }
    for (int64_t g = 0; g < groups; g += groups_together) {
      const int64_t taken = std::min(groups_together, groups - g);
      set_.digits->group_products(digits_.row(row), digits_.rows.stride, rows, d_, static_cast<const char*>(packed) + g * group_bytes,
                                  static_cast<int>(taken), 1, products.data(), digit_tile_rows);
      for (int64_t k = 0; k < taken; ++k) {
        set_.screen->digit_maxima(products.data() + k * digit_tile_rows * digit_lanes, rows, terms.view(), lanes.view((g + k) * digit_lanes), largest);
        for (int64_t i = (g + k) * digit_lanes; i < std::min((g + k + 1) * digit_lanes, count); ++i) to[members[i]] = largest[i % digit_lanes];
      }
    }
  }
}

// The largest logit known becomes that of the most promising row of all.
void Screening::seed_from_tiles(int64_t q) {
  int64_t best = 0;
  for (int64_t tile = 1; tile * digit_tile_rows < n_; ++tile) {
    if (digits_.tile_most[tile * block_ + q] > digits_.tile_most[best * block_ + q]) best = tile;
  }
  double values[digit_tile_rows];
  const int64_t first = best * digit_tile_rows;
  const int count = static_cast<int>(std::min<int64_t>(digit_tile_rows, n_ - first));
  tile_values(first, count, q, values);
  improve_best(queries_[q], first + (std::max_element(values, values + count) - values));
}

// False: so many tiles reach the threshold that the query is better off in a group.
bool Screening::list_by_tiles(int64_t q) {
  // Since the pass over all tiles the radius shrank.
  const double least = threshold(q), before = digits_.queries[q].radius;
  set_radius(q);
  const double less = std::max(before - digits_.queries[q].radius, 0.0) * (1 - 0x1p-40);
  const int64_t tiles = (n_ + digit_tile_rows - 1) / digit_tile_rows;
  const auto reaches = [&](int64_t tile) { return digits_.tile_most[tile * block_ + q] >= least + less * digits_.least_slack[tile]; };
  int64_t reaching = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) reaching += reaches(tile);
  if (reaching * most_listed > std::max(tiles, most_listed)) return false;
  double values[digit_tile_rows];
  for (int64_t tile = 0; tile < tiles; ++tile) {
    if (!reaches(tile)) continue;
    const int64_t first = tile * digit_tile_rows;
    const int count = static_cast<int>(std::min<int64_t>(digit_tile_rows, n_ - first));
    tile_values(first, count, q, values);
    for (int r = 0; r < count; ++r) {
      if (values[r] >= least) list(first / chunk_rows, q).rows.push_back(static_cast<int32_t>(first + r));
    }
  }
  return true;
}

void Screening::find_by_tiles() {
  std::vector<int64_t> members;
  for (int64_t q = 0; q < count_; ++q) {
    if (queries_[q].open) members.push_back(q);
  }
  if (members.empty()) return;
  digits_.tile_most.resize(static_cast<size_t>((n_ + digit_tile_rows - 1) / digit_tile_rows * block_));
  digits_.least_slack.resize(static_cast<size_t>((n_ + digit_tile_rows - 1) / digit_tile_rows));
  for (const int64_t q : members) set_radius(q);
  const bool singly = static_cast<int64_t>(members.size()) <= few_queries;
  const std::vector<DigitLine> packed = singly ? std::vector<DigitLine>() : pack_members(members);
  pool_.run(chunks_, [&](int64_t chunk, int worker) { pass_over_tiles(chunk, worker, members, singly ? nullptr : packed.data()); });
  if (execution_.cancelled()) return;
  pool_.run(static_cast<int64_t>(members.size()), [&](int64_t i, int) { seed_from_tiles(members[i]); });
  members = try_sample_again();
  pool_.run(static_cast<int64_t>(members.size()), [&](int64_t i, int) { queries_[members[i]].listed = list_by_tiles(members[i]); });
}

}  // namespace regimes
