// The part of screening for data without a prefix: one pass of the digits that keeps the largest value of every tile and query, and
// with it the largest logit; then the few tiles that reach the threshold, query by query.
#include <algorithm>
#include <limits>

#include "../core/chunks.h"
#include "screening.h"

namespace regimes {
namespace {

constexpr int64_t groups_at_once = 4;   // whose products stay in the first-level cache
constexpr int64_t most_listed = 12;     // more than this share of the tiles is faster in groups of queries

}  // namespace

// Values of the rows of one tile for one query: the bits that a group gives.
void Screening::tile_values(int64_t row, int count, int64_t q, double* values) const {
  set_.digits->single_products(digits_.rows + row * digits_.stride, digits_.stride, nullptr, count, d_, single(q), 1, values);
  for (int r = 0; r < count; ++r) values[r] = digit_value(queries_[q], values[r], digit_bias(row + r));
}

void Screening::pass_over_tiles(int64_t chunk, int worker, const std::vector<int64_t>& members, const void* packed) {
  const auto count = static_cast<int64_t>(members.size()), groups = (count + digit_lanes - 1) / digit_lanes;
  const int64_t group_bytes = set_.digits->group_bytes(d_, 1), end = std::min((chunk + 1) * chunk_rows, n_);
  LineVector<double>& products = work_[worker].products;
  std::vector<double> steps(static_cast<size_t>(groups * digit_lanes), 0.0);
  const void* singles[few_queries];
  for (int64_t k = 0; k < count; ++k) {
    steps[k] = queries_[members[k]].step;
    if (packed == nullptr) singles[k] = single(members[k]);
  }
  double bias[digit_tile_rows], largest[groups_at_once * digit_lanes];
  for (int64_t row = chunk * chunk_rows; row < end; row += digit_tile_rows) {
    if (execution_.cancelled()) return;
    const int rows = static_cast<int>(std::min<int64_t>(digit_tile_rows, end - row));
    double* to = tile_most_.data() + row / digit_tile_rows * block_;
    for (int r = 0; r < rows; ++r) bias[r] = digit_bias(row + r);
    if (packed == nullptr) {
      set_.digits->several_products(digits_.rows + row * digits_.stride, digits_.stride, nullptr, rows, d_, singles, static_cast<int>(count),
                                    products.data(), digit_tile_rows);
      for (int64_t k = 0; k < count; ++k) {
        const double* of_query = products.data() + k * digit_tile_rows;
        double most = -std::numeric_limits<double>::infinity();
        for (int r = 0; r < rows; ++r) most = std::max(most, digit_value(queries_[members[k]], of_query[r], bias[r]));
        to[members[k]] = most;
      }
      continue;
    }
    for (int64_t g = 0; g < groups; g += groups_at_once) {
      const int64_t taken = std::min(groups_at_once, groups - g);
      const char* group = static_cast<const char*>(packed) + g * group_bytes;
      set_.digits->group_products(digits_.rows + row * digits_.stride, digits_.stride, rows, d_, group, static_cast<int>(taken), 1,
                                  products.data(), digit_tile_rows);
      for (int64_t k = 0; k < taken; ++k) {
        set_.screen->digit_maxima(products.data() + k * digit_tile_rows * digit_lanes, rows, bias, steps.data() + (g + k) * digit_lanes,
                                  largest + k * digit_lanes);
      }
      for (int64_t k = g * digit_lanes; k < std::min((g + taken) * digit_lanes, count); ++k) to[members[k]] = largest[k - g * digit_lanes];
    }
  }
}

// The largest logit known becomes that of the most promising row of all.
void Screening::seed_from_tiles(int64_t q) {
  int64_t best = 0;
  for (int64_t tile = 1; tile * digit_tile_rows < n_; ++tile) {
    if (tile_most_[tile * block_ + q] > tile_most_[best * block_ + q]) best = tile;
  }
  double values[digit_tile_rows];
  const int64_t first = best * digit_tile_rows;
  const int count = static_cast<int>(std::min<int64_t>(digit_tile_rows, n_ - first));
  tile_values(first, count, q, values);
  const auto row = static_cast<int32_t>(first + (std::max_element(values, values + count) - values));
  improve_best(queries_[q], &row, 1);
}

// Queries of which many tiles reach the threshold are left to their group.
void Screening::list_by_tiles(int64_t q) {
  Query& query = queries_[q];
  const double threshold = digit_threshold(query);
  const int64_t tiles = (n_ + digit_tile_rows - 1) / digit_tile_rows;
  int64_t reaching = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) reaching += tile_most_[tile * block_ + q] >= threshold;
  query.listed = reaching * most_listed <= std::max(tiles, most_listed);
  if (!query.listed) return;
  double values[digit_tile_rows];
  for (int64_t tile = 0; tile < tiles; ++tile) {
    if (!(tile_most_[tile * block_ + q] >= threshold)) continue;
    const int64_t first = tile * digit_tile_rows;
    const int count = static_cast<int>(std::min<int64_t>(digit_tile_rows, n_ - first));
    tile_values(first, count, q, values);
    for (int r = 0; r < count; ++r) {
      if (values[r] >= threshold) list(first / chunk_rows, q).rows.push_back(static_cast<int32_t>(first + r));
    }
  }
}

// Groups of those members, packed for one digit plane.
std::vector<DigitLine> Screening::pack_members(const std::vector<int64_t>& members) const {
  const int64_t groups = (static_cast<int64_t>(members.size()) + digit_lanes - 1) / digit_lanes, bytes = set_.digits->group_bytes(d_, 1);
  std::vector<DigitLine> packed(static_cast<size_t>(groups * bytes) / sizeof(DigitLine));
  std::vector<int32_t> lanes_of(static_cast<size_t>(digit_lanes * d_));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t lane = 0; lane < digit_lanes; ++lane) {
      const size_t member = std::min(static_cast<size_t>(g * digit_lanes + lane), members.size() - 1);
      std::copy_n(fixed_.data() + members[member] * d_, d_, lanes_of.data() + lane * d_);
    }
    set_.digits->pack_group(lanes_of.data(), d_, 1, packed.data() + g * bytes / static_cast<int64_t>(sizeof(DigitLine)));
  }
  return packed;
}

void Screening::find_by_tiles() {
  std::vector<int64_t> members;
  for (int64_t q = 0; q < count_; ++q) {
    if (queries_[q].open) members.push_back(q);
  }
  if (members.empty()) return;
  tile_most_.resize(static_cast<size_t>((n_ + digit_tile_rows - 1) / digit_tile_rows * block_));
  const bool singly = static_cast<int64_t>(members.size()) <= few_queries;
  const std::vector<DigitLine> packed = singly ? std::vector<DigitLine>() : pack_members(members);
  pool_.run(chunks_, [&](int64_t chunk, int worker) { pass_over_tiles(chunk, worker, members, singly ? nullptr : packed.data()); });
  if (execution_.cancelled()) return;
  pool_.run(count_, [&](int64_t q, int) {
    if (!queries_[q].open) return;
    seed_from_tiles(q);
    close_if_alike(q);
    if (queries_[q].open) list_by_tiles(q);
  });
}

}  // namespace regimes
