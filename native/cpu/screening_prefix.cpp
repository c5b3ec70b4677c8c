// The part of screening that reads PrefixRows.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/chunks.h"
#include "../core/dense_block.h"
#include "../core/prefix_rows.h"
#include "screening.h"

namespace regimes {
namespace {

static_assert(projected_tile == prefix_tile_rows && chunk_rows % projected_tile == 0 && screening_sample % projected_tile == 0);
static_assert(prepared_together <= projected_together);

constexpr double narrowest = 64;   // columns that are narrower than the widest by this factor count as narrow
constexpr int64_t most_seeds = 12;  // tiles whose most promising row is looked at: one for `rows_per_seed` rows, as many as pay
constexpr int64_t rows_per_seed = 5000;
constexpr int tile_queries = 64;    // that a tile meets together when its rows are listed
constexpr float most_radius = 1e18f;  // of queries that know a component with a weight
constexpr float absent = -1e37f;    // bias of rows that are not there, or of which nothing is known
constexpr float not_listed = std::numeric_limits<float>::infinity();

int64_t tiles_of(int64_t rows) { return (rows + projected_tile - 1) / projected_tile; }

}  // namespace

Screening::Prefix::Prefix(const PrefixRows& prefix_rows) : rows(prefix_rows) {
  if (rows.empty()) return;
  origin_norm = std::sqrt(dot(rows.origin.data(), rows.origin.data(), static_cast<int64_t>(rows.origin.size())));
  const double least = *std::max_element(rows.scale.begin(), rows.scale.end()) / narrowest;
  for (size_t k = 0; k < rows.scale.size(); ++k) {
    per_scale.push_back(rows.scale[k] > least ? 1 / rows.scale[k] : 0);
    centre_per_scale.push_back(rows.scale[k] > least ? rows.centre[k] / rows.scale[k] : 0);
  }
}

// Projects the queries as their rows were projected, and rounds the projections.
void Screening::prepare_prefix(int64_t first, int64_t count, int worker) {
  const PrefixRows& rows = prefix_.rows;
  const int64_t columns = rows.columns;
  Work& work = work_[worker];
  work.parts.resize(std::max(work.parts.size(), static_cast<size_t>(2 * columns)));
  work.floats.resize(static_cast<size_t>(prepared_together * d_));
  work.projections.resize(static_cast<size_t>(prepared_together * columns));
  work.fixed.resize(static_cast<size_t>(columns));
  double squares[prepared_together], sizes[prepared_together], errors[prepared_together];
  for (int64_t r = 0; r < count; ++r) {
    squares[r] = set_.screen->centred_floats(queries_[first + r].x, d_, a_, rows.origin.data(), work.floats.data() + r * d_);
    sizes[r] = std::sqrt(squares[r]) + 2 * a_ * prefix_.origin_norm;  // >= |x| + a |c|
  }
  project_on_prefix(rows, work.floats.data(), count, squares, work.projections.data(), errors);
  for (int64_t r = 0; r < count; ++r) {
    const int64_t q = first + r;
    const double* projection = work.projections.data() + r * columns;
    // The roundings of x' = x - a c in float64 come on top.
    const double moved = errors[r] + 0x1p-51 * sizes[r];
    // Float32 must hold x' and every product, and the bounds their meaning.
    const double largest = std::sqrt(squares[r]) * rows.largest_norm + a_ * rows.largest_norm * rows.largest_norm;
    queries_[q].open = squares[r] < 1e60 && largest < 1e30 && gain_ * std::abs(smallest_log_weight_) < 1e30;
    if (!queries_[q].open) continue;
    Prefix::Query& query = prefix_.queries[q];
    RoundedQuery rounded;
    set_.screen->round_query(projection, columns, 0,
                             {rows.centre.data(), rows.scale.data(), prefix_.per_scale.data(), prefix_.centre_per_scale.data(), projected_limit},
                             work.parts.data(), work.fixed.data(), &rounded);
    const auto step = static_cast<float>(rounded.step);
    queries_[q].open = static_cast<double>(step) == rounded.step;
    if (!queries_[q].open) continue;
    int32_t sum = 0;
    for (int64_t k = 0; k < columns; ++k) sum += work.fixed[k];
    // In narrow columns the query is as it is, and what its digits miss there counts in full.
    double offset = rounded.centre;
    for (int64_t k = 0; k < columns; ++k) {
      if (prefix_.per_scale[k] > 0) continue;
      const double missed = std::abs(work.parts[k] - rounded.step * work.fixed[k]);
      offset += projection[k] * rows.centre[k] + 128 * (1 + 0x1p-40) * missed;
    }
    query.rounded = {128 * sum, step, static_cast<float>(offset), 0};
    query.square = rounded.square;
    query.displacement = std::sqrt(rounded.displacement_square) * (1 + 1e-12) + 0x1p-50 * rounded.size + moved;
    set_.projected->pack(work.fixed.data(), columns, prefix_.packed.data() + q * prefix_.query_bytes);
  }
}

// With |x_q - a image_i| <= r + rho + a residual_i the square of the right side has, beside (r + rho)^2, the terms 2 a residual_i (r + rho),
// which the slack of a row times this radius adds, and (a residual_i)^2, which its half_square holds.
float Screening::prefix_radius(int64_t q) const { return rounded_up((queries_[q].radius + prefix_.queries[q].displacement) * (1 + 0x1p-50)); }

// What the value of a row that stays reaches.
float Screening::prefix_threshold(int64_t q) const {
  const Prefix::Query& query = prefix_.queries[q];
  const PrefixRows& rows = prefix_.rows;
  const double norm = std::sqrt(query.square), reached = queries_[q].radius + query.displacement, spread = gain_ * std::abs(smallest_log_weight_);
  const double far = longest(query.square, reached, rows.largest_norm, rows.largest_residual);
  // The roundings in float32: of gain offset and of gain product, twice; of slack and bias; of their sum. |product + offset| is at most |x_q|
  // |image| / gain. On the portable path each product is rounded too.
  const double products = norm * far * (5 + 3 * rows.centre_norm), rest = 2 * a_ * far * far + 4 * (spread + rows.largest_residual * reached);
  const double margin = 0x1p-24 * 1.01 * (products + rest) + 0x1p-140;
  const double least = wanted(q, query.square, query.displacement, far);
  // The last term: a threshold to which something is added in float32 (list_by_prefix).
  const double lowered = std::max(least - margin - 0x1p-22 * std::abs(least), -3e38);
  return std::nextafter(static_cast<float>(lowered), -std::numeric_limits<float>::infinity());
}

// Tiles of the sample's rows.
void Screening::prepare_prefix_sample() {
  const PrefixRows& rows = prefix_.rows;
  const auto size = static_cast<int64_t>(sample_.size());
  prefix_.sample.resize(tiles_of(size) * projected_tile * rows.columns);
  prefix_.sample_gain.assign(static_cast<size_t>(tiles_of(size) * projected_tile), 0);
  prefix_.sample_slack.assign(prefix_.sample_gain.size(), 0);
  prefix_.sample_bias.assign(prefix_.sample_gain.size(), absent);
  prefix_.sample_values.resize(static_cast<size_t>(block_ * sample_stride_));
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t k = 0; k < rows.columns; k += 4) {
      std::copy_n(rows.tiles.data() + rows.place(sample_[i], k), 4, reinterpret_cast<uint8_t*>(prefix_.sample.data()) + rows.place(i, k));
    }
    prefix_.sample_gain[i] = rows.gain[sample_[i]];
    prefix_.sample_slack[i] = rows.residual[sample_[i]];
    prefix_.sample_bias[i] = prefix_bias(sample_[i]);
  }
}

// The values of the sample without slack; the largest logit known becomes that of its most promising row.
void Screening::seed_from_prefix_of_sample(int64_t q) {
  const auto size = static_cast<int64_t>(sample_.size());
  float* values = prefix_.sample_values.data() + q * sample_stride_;
  for (int64_t first = 0; first < size; first += projected_tile) {
    const auto* tile = reinterpret_cast<const uint8_t*>(prefix_.sample.data()) + first * prefix_.rows.columns;
    const ProjectedRows of_rows{prefix_.sample_gain.data() + first, prefix_.sample_slack.data() + first, prefix_.sample_bias.data() + first};
    set_.projected->tile_values(tile, prefix_.rows.columns, prefix_.query(q), prefix_.queries[q].rounded, of_rows, values + first);
  }
  improve_best(queries_[q], sample_[std::max_element(values, values + size) - values]);
}

// Whether more than a share of the sample reaches the prefix's threshold of the best logit known by now.
bool Screening::stays_alike_by_prefix(int64_t q, double share) const {
  const auto size = static_cast<int64_t>(sample_.size());
  const float least = prefix_threshold(q), radius = prefix_radius(q), *values = prefix_.sample_values.data() + q * sample_stride_;
  int32_t staying = 0;
  for (int64_t i = 0; i < size; ++i) staying += values[i] + prefix_.sample_slack[i] * radius >= least;
  return more_than(share, staying);
}

void Screening::pass_over_prefix(int64_t chunk) {
  const auto count = static_cast<int64_t>(prefix_.members.size());
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  for (int64_t row = chunk * chunk_rows; row < end; row += projected_tile) {
    if (execution_.cancelled()) return;
    const int64_t tile = row / projected_tile;
    float* bias = prefix_.bias.data() + row;
    for (int64_t r = 0; r < projected_tile; ++r) bias[r] = row + r < n_ ? prefix_bias(row + r) : absent;
    const float* slack = prefix_.rows.residual.data() + row;
    prefix_.least_slack[tile] = *std::min_element(slack, slack + std::min<int64_t>(projected_tile, end - row));
    set_.projected->tile_maxima(prefix_.tile(tile), prefix_.rows.columns, prefix_.member_packed.data(), prefix_.member_queries.data(),
                                static_cast<int>(count), prefix_.of_rows(tile), prefix_.tile_most.data() + tile * count);
  }
}

// The largest logit known becomes that of the most promising row of a few tiles that may hold a larger one, for some of the members.
void Screening::seed_from_prefix(int64_t first, int64_t count) {
  const int64_t tiles = tiles_of(n_), stride = static_cast<int64_t>(prefix_.members.size());
  const int64_t kept = std::min(std::clamp<int64_t>(n_ / rows_per_seed, 1, most_seeds), tiles);
  struct Tile {
    float most = -std::numeric_limits<float>::infinity();
    int64_t tile = 0;
  };
  Tile best[prepared_together][most_seeds];  // descending
  float least[prepared_together];       // their last ones
  for (int64_t i = 0; i < count; ++i) least[i] = prefix_threshold(prefix_.members[first + i]);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const float* most = prefix_.tile_most.data() + tile * stride + first;
    bool any = false;
    for (int64_t i = 0; i < count; ++i) any |= most[i] > least[i];
    for (int64_t i = 0; any && i < count; ++i) {
      if (!(most[i] > least[i])) continue;
      int64_t at = kept - 1;
      for (; at > 0 && most[i] > best[i][at - 1].most; --at) best[i][at] = best[i][at - 1];
      best[i][at] = {most[i], tile};
      least[i] = std::max(least[i], best[i][kept - 1].most);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t q = prefix_.members[first + i];
    for (int64_t k = 0; k < kept && best[i][k].most >= prefix_threshold(q); ++k) {
      float values[projected_tile];
      const int64_t tile = best[i][k].tile;
      set_.projected->tile_values(prefix_.tile(tile), prefix_.rows.columns, prefix_.query(q), prefix_.queries[q].rounded, prefix_.of_rows(tile), values);
      const int64_t row = tile * projected_tile + (std::max_element(values, values + projected_tile) - values);
      improve_best(queries_[q], std::min(row, n_ - 1));
    }
  }
}

// The rows of the tiles that reach a query's threshold; each tile meets all its queries while it is near. Since the pass over all tiles the
// radius of a query shrank, by no less than `less`.
void Screening::list_by_prefix(int64_t chunk, const std::vector<float>& thresholds, const std::vector<float>& less) {
  const auto count = static_cast<int64_t>(prefix_.members.size());
  const int64_t end = std::min((chunk + 1) * chunk_rows, n_);
  int64_t reaching[tile_queries];
  const char* packed[tile_queries];
  ProjectedQuery rounded[tile_queries];
  float least[tile_queries];
  uint64_t masks[tile_queries];
  for (int64_t row = chunk * chunk_rows; row < end; row += projected_tile) {
    if (execution_.cancelled()) return;
    const int64_t tile = row / projected_tile;
    const float *most = prefix_.tile_most.data() + tile * count, slack = prefix_.least_slack[tile];
    for (int64_t member = 0; member < count;) {
      int many = 0;
      for (; member < count && many < tile_queries; ++member) {
        reaching[many] = member;
        many += most[member] >= thresholds[member] + less[member] * slack ? 1 : 0;
      }
      for (int i = 0; i < many; ++i) {
        const int64_t q = prefix_.members[reaching[i]];
        packed[i] = prefix_.query(q);
        rounded[i] = prefix_.queries[q].rounded;
        least[i] = thresholds[reaching[i]];
      }
      set_.projected->tile_masks(prefix_.tile(tile), prefix_.rows.columns, packed, rounded, many, prefix_.of_rows(tile), least, masks);
      for (int i = 0; i < many; ++i) {
        std::vector<int32_t>& rows = list(chunk, prefix_.members[reaching[i]]).rows;
        for (uint64_t mask = n_ - row < projected_tile ? masks[i] & ((uint64_t{1} << (n_ - row)) - 1) : masks[i]; mask != 0; mask &= mask - 1) {
          rows.push_back(static_cast<int32_t>(row + __builtin_ctzll(mask)));
        }
      }
    }
  }
}

// One pass over all rows keeps the largest value of every tile and query, and with it the scale of the largest logit; then the tiles that
// reach a threshold give the candidates.
void Screening::find_by_prefix() {
  prefix_.members.clear();
  prefix_.member_queries.clear();
  prefix_.member_packed.clear();
  for (int64_t q = 0; q < count_; ++q) {
    if (!queries_[q].open) continue;
    prefix_.queries[q].rounded.radius = prefix_radius(q);
    queries_[q].open = prefix_.queries[q].rounded.radius < most_radius;
    if (!queries_[q].open) continue;
    prefix_.members.push_back(q);
    prefix_.member_queries.push_back(prefix_.queries[q].rounded);
    prefix_.member_packed.push_back(prefix_.query(q));
  }
  const auto count = static_cast<int64_t>(prefix_.members.size());
  if (count == 0) return;
  prefix_.bias.resize(static_cast<size_t>(tiles_of(n_) * projected_tile));
  prefix_.least_slack.resize(static_cast<size_t>(tiles_of(n_)));
  prefix_.tile_most.resize(static_cast<size_t>(tiles_of(n_) * count));
  pool_.run(chunks_, [&](int64_t chunk, int) { pass_over_prefix(chunk); });
  if (execution_.cancelled()) return;
  in_groups(count, [&](int64_t first, int64_t many, int) { seed_from_prefix(first, many); });
  for (const int64_t q : try_sample_again()) queries_[q].listed = true;
  std::vector<float> thresholds(static_cast<size_t>(count), not_listed), less(thresholds.size(), 0);
  for (int64_t member = 0; member < count; ++member) {
    const int64_t q = prefix_.members[member];
    if (!queries_[q].listed) continue;
    float& radius = prefix_.queries[q].rounded.radius;
    radius = prefix_radius(q);
    thresholds[member] = prefix_threshold(q);
    less[member] = (prefix_.member_queries[member].radius - radius) * (1 - 0x1p-20f);
  }
  pool_.run(chunks_, [&](int64_t chunk, int) { list_by_prefix(chunk, thresholds, less); });
}

}  // namespace regimes
