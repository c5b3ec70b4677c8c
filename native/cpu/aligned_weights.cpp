#include "aligned_weights.h"

#include <algorithm>
#include <cmath>

#include "dense_queries.h"

namespace regimes {
namespace {

constexpr int groups_at_once = 4;                        // through one product
constexpr double heaviest_share = 1.0 / 512, lightest_share = 1.0 / 4096;
constexpr double logit_budget = 2e-6;                    // of the score's contract
constexpr int64_t most_heavy = 128;                      // so few that count are all formed in float64
constexpr int64_t alone_of = 64;                         // beside this part of all, or fewer, the score leaves out the others if it may
constexpr double left_out_budget = 5e-7;                 // of the score's size
constexpr double most_left_out = 1e-6;                   // share of the weights
constexpr double least_alone = 1.0 / 64;                 // part of what may be left out in one component
constexpr double margin = 0.05;                          // more than a logit of the products is off by

}  // namespace

void AlignedWeights::find(const double* x, int64_t count, ThreadPool& pool, const Execution& execution) {
  x_ = x;
  each_.assign(static_cast<size_t>(count), {});
  const int64_t groups = queries_.groups;
  const int64_t size = groups * n_ * digit_lanes;
  if (size > areas.size) areas.weights = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(size));
  areas.size = std::max(size, areas.size);
  areas.blocks.resize(static_cast<size_t>(rows_.blocks * groups));
  areas.heavy_scores.assign(scores_ ? static_cast<size_t>(count * d_) : 0, 0.0);
  masses_.assign(static_cast<size_t>(groups * class_count_ * digit_lanes), 0.0);
  const int64_t quads = (groups + groups_at_once - 1) / groups_at_once;
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.size()));
  pool.run(rows_.blocks * quads, [&](int64_t item, int worker) {
    if (execution.cancelled()) return;
    weigh(item / quads, item % quads * groups_at_once, scratch[worker]);
  });
  if (execution.cancelled()) return;
  pool.run(groups, [&](int64_t group, int) { combine(group, execution); });
}

// exp(logit - largest of the block) of a block of components for up to four groups.
void AlignedWeights::weigh(int64_t b, int64_t group, std::vector<double>& scratch) {
  const int64_t first = b * rows_.block;
  const int count = static_cast<int>(std::min(rows_.block, n_ - first));
  const int groups = static_cast<int>(std::min<int64_t>(groups_at_once, queries_.groups - group));
  const auto size = static_cast<size_t>(groups * count * digit_lanes);
  scratch.resize(static_cast<size_t>(groups_at_once * rows_.block * digit_lanes * 2 * rows_.features + rows_.block * digit_lanes));
  double *products = scratch.data(), *logits = products + size * static_cast<size_t>(2 * rows_.features);
  for (int f = 0; f < rows_.features; ++f) {
    const AlignedFeature& own = rows_.feature[f];
    double* out = products + size * static_cast<size_t>(2 * f);
    if (!rows_.in_words) {
      const float* lanes_of = reinterpret_cast<const float*>(queries_.packed[f].words.data()) + group * d_ * digit_lanes;
      set_.dense->products(own.matrix->values.data() + first * d_, d_, 1, count, d_, lanes_of, groups, first_chain, chains,
                           queries_.chain_stretch().shrink.data(), out, count);
      continue;
    }
    const auto* words = reinterpret_cast<const int32_t*>(own.matrix->words.data() + first * rows_.stride);
    const auto* lanes_of = reinterpret_cast<const int32_t*>(queries_.packed[f].words.data()) + group * queries_.steps() * digit_lanes;
    set_.words->products(words, rows_.stride / 2, 1, count, queries_.steps(), rows_.column_chain, rows_.column_shift, lanes_of, groups, out,
                         count);
    const char* digits = queries_.packed[f].digits.data() + group * set_.digits->group_bytes(d_, 1);
    const uint8_t* bytes = own.matrix->bytes.data() + first * rows_.byte_stride;
    set_.digits->group_products(bytes, rows_.byte_stride, count, d_, digits, groups, 1, out + size, count);
  }
  const double none[digit_lanes] = {};
  float least[digit_lanes];
  std::fill(least, least + digit_lanes, -87.0f);
  for (int g = 0; g < groups; ++g) {
    const int64_t at = (group + g) * digit_lanes;
    LogitTerm terms[2 * AlignedRows::most_features];
    int term = 0;
    for (int f = 0; f < rows_.features; ++f) {
      const double *out = products + size * static_cast<size_t>(2 * f) + static_cast<size_t>(g * count * digit_lanes);
      const double* factor = rows_.feature[f].in_logit.data() + first;
      terms[term++] = {out, factor, queries_.packed[f].step.data() + at, none};
      const PackedForms& packed = queries_.packed[f];
      if (rows_.in_words) terms[term++] = {out + size, factor, packed.rest_step.data() + at, packed.rest_offset.data() + at};
    }
    double max[digit_lanes];
    set_.kernels->sum_terms(terms, term, count, rows_.bias.data() + first, rows_.gain.data() + first, queries_.square.data() + at, logits,
                            max);
    set_.dense->weights(logits, count, max, least, rows_.excess.data() + first, 0, own_weights(group + g, first), nullptr,
                        digit_lanes, &areas.blocks[b * queries_.groups + group + g].dense);
  }
}

void AlignedWeights::combine(int64_t g, const Execution& execution) {
  if (class_count_ > 0) add_masses(g);
  std::vector<double> scratch(static_cast<size_t>(2 * d_));
  std::vector<Heavies> heavies(digit_lanes);
  double total[digit_lanes] = {};
  int64_t top_block[digit_lanes] = {};
  const int64_t first = g * digit_lanes, end = std::min(queries_.count, first + digit_lanes);
  for (int64_t q = first; q < end; ++q) total[q - first] = add_blocks(q, top_block[q - first]);
  find_heavy(g, total, top_block, heavies.data());
  for (int64_t q = first; q < end; ++q) {
    if (queries_.each[q].attempted && !execution.cancelled()) weigh_heavy(q, scratch, heavies[q - first]);
  }
  for (int64_t q = first; q < end; ++q) {
    if (queries_.each[q].attempted) add_light(q, total[q - first], heavies[q - first]);
  }
}

// Class masses of all components, relative to each query's largest logit; weigh_heavy corrects them for the heavy ones.
void AlignedWeights::add_masses(int64_t g) {
  double most[digit_lanes];
  std::fill(most, most + digit_lanes, -INFINITY);
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    for (int lane = 0; lane < digit_lanes; ++lane) most[lane] = std::max(most[lane], max_of(b, g, lane));
  }
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    float scale[digit_lanes];
    for (int lane = 0; lane < digit_lanes; ++lane) scale[lane] = static_cast<float>(std::exp(max_of(b, g, lane) - most[lane]));
    for (int64_t k = b * rows_.block; k < std::min(n_, (b + 1) * rows_.block); ++k) {
      const float* weight = weights(g, k);
      double* mass = masses_.data() + (g * class_count_ + target_.classes[k]) * digit_lanes;
      for (int lane = 0; lane < digit_lanes; ++lane) mass[lane] += static_cast<double>(weight[lane] * scale[lane]);
    }
  }
}

// The sums of blocks of a query relative to its largest logit: their total, and the block of the largest.
double AlignedWeights::add_blocks(int64_t q, int64_t& top_block) {
  AlignedSums& own = each_[q];
  const int lane = static_cast<int>(q % digit_lanes), part = lane % lanes;
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    if (!(max_of(b, q / digit_lanes, lane) > own.max)) continue;
    own.max = max_of(b, q / digit_lanes, lane);
    top_block = b;
  }
  double total = 0;
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    AlignedBlockSums& of_block = own_block(b, q);
    const LaneSums& sums = of_block.dense.halves[lane / lanes];
    const double shift = own.max - sums.max[part], scale = std::exp(-shift), mass = scale * (1 + std::max(sums.rest[part], 0.0));
    total += mass;
    of_block.light[lane] = mass;
    of_block.gap[lane] = scale * sums.gap[part] + shift * mass;
    of_block.squares[lane] = scale * scale * (1 + std::max(sums.squares[part], 0.0));
    of_block.excess[lane] = scale * of_block.dense.second[lane];
  }
  return total;
}

// Exact weights and scores of the heavy ones in place of the approximate ones.
void AlignedWeights::weigh_heavy(int64_t q, std::vector<double>& scratch, Heavies& heavies) {
  const AlignedSums& own = each_[q];
  const int lane = static_cast<int>(q % digit_lanes);
  const int64_t g = q / digit_lanes;
  if (heavies.all) {
    for (int64_t b = 0; b < rows_.blocks; ++b) own_block(b, q).light[lane] = 0;
    for (int32_t c = 0; c < class_count_; ++c) masses_[(g * class_count_ + c) * digit_lanes + lane] = 0;
  }
  const double ground = queries_.ground_form(q);
  const bool spherical = rows_.features == 1;
  double *f = scratch.data(), *precision = f + d_, *pull = scores_ ? areas.heavy_scores.data() + q * d_ : nullptr;
  for (size_t i = 0; i < heavies.each.size(); ++i) {
    Heavy& heavy = heavies.each[i];
    const int64_t k = heavy.component, b = k / rows_.block;
    if (i + 1 < heavies.each.size()) fetch(heavies.each[i + 1].component);
    heavy.logit = exact_logit(q, k, f, precision) + ground;
    const double weight = std::exp(heavy.logit - own.max);
    if (heavy.logit > heavies.top) {
      heavies.top = heavy.logit;
      heavies.top_component = k;
    }
    if (scores_) set_.kernels->add_weighted(weight * (spherical ? precision[0] : 1), f, spherical ? nullptr : precision, d_, pull);
    heavies.total += weight;
    const double before = heavies.all ? 0 : heavy.approximate;
    if (class_count_ > 0) masses_[(g * class_count_ + target_.classes[k]) * digit_lanes + lane] += weight - before;
    if (!heavies.all) own_block(b, q).gap[lane] += heavy.approximate * std::log(heavy.approximate);
  }
}

// The sums of a query: of the light ones block by block, and of the heavy ones.
void AlignedWeights::add_light(int64_t q, double total, const Heavies& heavies) {
  AlignedSums& own = each_[q];
  const int lane = static_cast<int>(q % digit_lanes);
  const double top = heavies.top, ground = queries_.ground_form(q);
  double gap = 0, squares = 0;
  const double drop = left_out_share(q) * total / static_cast<double>(rows_.blocks);
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    AlignedBlockSums& sums = own_block(b, q);
    if (sums.light[lane] == 0) continue;
    own.light += sums.light[lane];
    gap += std::max(sums.gap[lane], 0.0);
    squares += sums.squares[lane];
    if (!heavies.alone && sums.light[lane] > drop) {
      own.excess += sums.excess[lane];
      continue;
    }
    own.left_out += sums.light[lane];
    sums.light[lane] = 0;
  }
  own.light += heavies.trimmed;
  own.left_out += heavies.trimmed;
  squares += heavies.trimmed_squares;
  own.whole = own.light + heavies.total;
  // Relative to the heaviest.
  const double shift = top - own.max, scale = std::exp(-shift);
  own.sums.max = top - ground;
  own.sums.index = heavies.top_component;
  own.sums.rest = own.light * scale;
  own.sums.gap = std::max(gap + shift * own.light, 0.0) * scale;
  own.sums.squares = squares * scale * scale;
  own.sums.gap_squared = (canonical_reach(n_) + 3) * own.sums.gap;
  for (const Heavy& heavy : heavies.each) {
    const double below = top - heavy.logit;
    if (heavies.all && below <= canonical_reach(n_)) ++own.survivors;
    if (heavy.component == heavies.top_component) continue;
    const double weight = std::exp(-below);
    own.sums.rest += weight;
    own.sums.gap += weight * below;
    own.sums.gap_squared += weight * below * below;
    own.sums.squares += weight * weight;
  }
}

// The light components of a block, from the weights of the lanes that are `marked`: in chains in float32, as those of all components.
void AlignedWeights::sum_light(int64_t g, int64_t b, const bool* marked) {
  double light[digit_lanes] = {}, squares[digit_lanes] = {}, excess[digit_lanes] = {};
  const int64_t end = std::min(n_, (b + 1) * rows_.block);
  for (int64_t first = b * rows_.block; first < end; first += strip_rows) {
    float sum[digit_lanes] = {}, square[digit_lanes] = {}, moved[digit_lanes] = {};
    for (int64_t k = first; k < std::min(end, first + strip_rows); ++k) {
      const float *weight = weights(g, k), factor = rows_.excess[k];
      for (int lane = 0; lane < digit_lanes; ++lane) {
        sum[lane] += weight[lane];
        square[lane] += weight[lane] * weight[lane];
        moved[lane] += weight[lane] * factor;
      }
    }
    for (int lane = 0; lane < digit_lanes; ++lane) {
      light[lane] += static_cast<double>(sum[lane]);
      squares[lane] += static_cast<double>(square[lane]);
      excess[lane] += static_cast<double>(moved[lane]);
    }
  }
  for (int lane = 0; lane < digit_lanes; ++lane) {
    if (!marked[lane]) continue;
    AlignedBlockSums& sums = own_block(b, g * digit_lanes + lane);
    const double factor = scale(b, g * digit_lanes + lane);
    sums.light[lane] = factor * light[lane];
    sums.squares[lane] = factor * factor * squares[lane];
    sums.excess[lane] = factor * excess[lane];
  }
}

// What exact_logit will read: rows lie far apart.
void AlignedWeights::fetch(int64_t k) const {
  const double* mean = target_.means.row(k);
  const double* values = target_.covariances->values.data() + k * d_;
  for (int64_t j = 0; j < d_; j += 8) {
    __builtin_prefetch(mean + j, 0, 2);
    if (rows_.features > 1) __builtin_prefetch(values + j, 0, 2);
  }
}

// The logit of a component in float64; f = x - a m_k, precision = 1 / S_k ([1] where spherical).
double AlignedWeights::exact_logit(int64_t q, int64_t k, double* f, double* precision) const {
  const Kernels& kernels = *set_.kernels;
  const bool spherical = rows_.features == 1;
  const double* values = target_.covariances->values.data() + (spherical ? k : k * d_);
  const double* x = x_ + q * d_;
  kernels.differences(&x, 1, target_.means.row(k), rows_.a, nullptr, d_, f);
  for (int64_t j = 0; j < (spherical ? 1 : d_); ++j) precision[j] = 1 / (rows_.a * rows_.a * values[j] + rows_.b * rows_.b);
  const double form = spherical ? precision[0] * kernels.weighted_square(f, nullptr, d_) : kernels.weighted_square(f, precision, d_);
  return target_.log_weight(k) - at_.half_log_det(k) - 0.5 * form;
}

// The share from which on a component is heavy: what logits of lighter ones may move the score by stays near the budget.
double AlignedWeights::heavy_share(int64_t q) const {
  double moved = 0, ground = 0;
  for (int64_t b = 0; b < rows_.blocks; ++b) moved = std::max(moved, std::sqrt(queries_.logit_variance(q, b)) * queries_.farthest(q, b));
  for (int64_t j = 0; j < d_; ++j) ground = std::max(ground, rows_.ground[j]);
  const double root = logit_budget * ground * queries_.each[q].norm / std::max(moved, 1e-300);
  return std::clamp(root * root, lightest_share, heaviest_share);
}

// The share that the score may leave out: what moves it by left_out_budget at most.
double AlignedWeights::left_out_share(int64_t q) const {
  double farthest = 0, ground = 0;
  for (int64_t b = 0; b < rows_.blocks; ++b) farthest = std::max(farthest, queries_.farthest(q, b));
  for (int64_t j = 0; j < d_; ++j) ground = std::max(ground, rows_.ground[j]);
  return std::min(left_out_budget * ground * queries_.each[q].norm / std::max(farthest, 1e-300), most_left_out);
}

// Of 16 queries, and taken out of the weights: all within the canonical reach of the largest where they are few; else so few that the
// score may leave out all others; else those of at least heavy_share. The largest always, the first of its block whose weight is 1 there.
void AlignedWeights::find_heavy(int64_t g, const double* total, const int64_t* top_block, Heavies* out) {
  double least[digit_lanes];
  bool open[digit_lanes] = {}, few[digit_lanes], many[digit_lanes] = {};
  for (int lane = 0; lane < digit_lanes; ++lane) {
    few[lane] = open[lane] = g * digit_lanes + lane < queries_.count && queries_.each[g * digit_lanes + lane].attempted;
    least[lane] = std::exp(-canonical_reach(n_) - margin);
  }
  collect(g, least, top_block, few, most_heavy, out);
  for (int lane = 0; lane < digit_lanes; ++lane) {
    out[lane].all = few[lane];
    few[lane] = open[lane] = open[lane] && !few[lane];
    if (few[lane]) least[lane] = least_alone * left_out_share(g * digit_lanes + lane) * total[lane];
  }
  collect(g, least, top_block, few, n_ / alone_of, out);
  move(g, out, few, false);
  for (int lane = 0; lane < digit_lanes; ++lane) {
    const int64_t q = g * digit_lanes + lane;
    out[lane].alone = few[lane] && trim(q, total[lane], out[lane]);
    few[lane] = few[lane] && !out[lane].alone;
    many[lane] = open[lane] && !out[lane].alone;
    if (many[lane]) least[lane] = heavy_share(q) * total[lane];
  }
  move(g, out, few, true);
  collect(g, least, top_block, many, n_, out);
  move(g, out, many, false);
}

// Whether the score may leave out all but the listed ones; if so, the lightest of these become light ones while that stays so.
bool AlignedWeights::trim(int64_t q, double total, Heavies& heavies) const {
  const double most = left_out_share(q) * total;
  double left_out = 0;
  for (int64_t b = 0; b < rows_.blocks; ++b) left_out += block(b, q / digit_lanes).light[q % digit_lanes];
  if (left_out > most) return false;
  std::vector<double> weights;
  for (const Heavy& heavy : heavies.each) weights.push_back(heavy.approximate);
  std::sort(weights.begin(), weights.end());
  size_t kept = 0;
  while (kept + 1 < weights.size() && left_out + weights[kept] <= most) left_out += weights[kept++];
  std::erase_if(heavies.each, [&](const Heavy& heavy) {
    if (heavy.approximate >= weights[kept]) return false;
    heavies.trimmed += heavy.approximate;
    heavies.trimmed_squares += heavy.approximate * heavy.approximate;
    return true;
  });
  return true;
}

// The heavy ones of the wanted lanes leave the weights and the sums of the light ones, or come back.
void AlignedWeights::move(int64_t g, const Heavies* heavies, const bool* wanted, bool back) {
  std::vector<uint8_t> touched(static_cast<size_t>(rows_.blocks * digit_lanes));
  for (int lane = 0; lane < digit_lanes; ++lane) {
    if (!wanted[lane]) continue;
    for (const Heavy& heavy : heavies[lane].each) {
      own_weights(g, heavy.component)[lane] = back ? heavy.stored : 0;
      touched[heavy.component / rows_.block * digit_lanes + lane] = 1;
    }
  }
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    bool marked[digit_lanes], any = false;
    for (int lane = 0; lane < digit_lanes; ++lane) any |= marked[lane] = touched[b * digit_lanes + lane] != 0;
    if (any) sum_light(g, b, marked);
  }
}

// The components of weight `least` and more of the open lanes; a lane that has more than `most` is closed.
void AlignedWeights::collect(int64_t g, const double* least, const int64_t* top_block, bool* open, int64_t most, Heavies* out) const {
  bool found[digit_lanes] = {};
  for (int lane = 0; lane < digit_lanes; ++lane) {
    if (open[lane]) out[lane].each.clear();
  }
  for (int64_t b = 0; b < rows_.blocks; ++b) {
    float floor[digit_lanes];  // of stored weights
    double scale[digit_lanes] = {};
    bool any = false;
    for (int lane = 0; lane < digit_lanes; ++lane) {
      floor[lane] = INFINITY;
      if (!open[lane]) continue;
      scale[lane] = std::exp(max_of(b, g, lane) - each_[g * digit_lanes + lane].max);
      if (scale[lane] >= least[lane]) floor[lane] = static_cast<float>(0.999 * least[lane] / scale[lane]);
      if (b == top_block[lane]) floor[lane] = std::min(floor[lane], 1.0f);
      any = any || floor[lane] <= 1;
    }
    if (!any) continue;
    const float* weight = weights(g, b * rows_.block);
    for (int64_t k = b * rows_.block; k < std::min(n_, (b + 1) * rows_.block); ++k, weight += digit_lanes) {
      int reached = 0;
      for (int lane = 0; lane < digit_lanes; ++lane) reached |= weight[lane] >= floor[lane] ? 1 : 0;
      if (reached == 0) continue;
      for (int lane = 0; lane < digit_lanes; ++lane) {
        if (!open[lane] || !(weight[lane] >= floor[lane])) continue;
        const double value = scale[lane] * static_cast<double>(weight[lane]);
        const bool top = b == top_block[lane] && !found[lane] && weight[lane] >= 1;
        found[lane] = found[lane] || top;
        if (!(value > 0) || (value < least[lane] && !top)) continue;
        if (static_cast<int64_t>(out[lane].each.size()) == most) {
          open[lane] = false;
          floor[lane] = INFINITY;
          continue;
        }
        out[lane].each.push_back({static_cast<int32_t>(k), value, weight[lane], 0});
      }
    }
  }
}

}  // namespace regimes
