#include "mixture_aligned.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "dense_queries.h"
#include "line_bytes.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int group_lanes = digit_lanes;
constexpr int groups_at_once = 4;                        // through one product
constexpr int64_t most_groups = 16;
constexpr int64_t weight_bytes = int64_t{1} << 26;       // of a block of queries
constexpr int64_t slice_columns = 192;
constexpr double least_signal = 0.1;                     // D = (x + b^2 score) / a loses precision below
constexpr double heaviest_share = 1.0 / 256, lightest_share = 1.0 / 4096;
constexpr double left_out = 1e-10;                        // share of the weights in blocks that the sums of scores leave out, in all
constexpr double logit_budget = 2e-6;                    // of the score's contract
constexpr int64_t most_heavy = 128;                      // so few that count are all formed in float64
constexpr double largest_deviation = 0.02 / 6;           // of a logit, beyond which no attempt is made
constexpr double deviations = 6, unit = 0x1p-24, small = 0x1p-53;

// What the products of a query with the rows of one feature are.
struct Form {
  double deviation = 0;  // of <z, R>, apart for every component: words: absolute, floats: in units of |R|
  double coherent = 0;   // and from what the query's own rounding leaves, in units of |R|
  double certain = 0;    // and what is not random, likewise
};

struct Query {
  Form form[AlignedRows::most_features];
  double norm = 0, norm_four = 0;  // |x'|, (sum x'^4)^(1/4)
  double largest = 0;              // max |x'_j|
  bool attempted = false;
  double max = -INFINITY;          // largest approximate logit, without the ground's part
  double light = 0, whole = 0;     // sum of exp(l - max) over the light and over all
  double excess = 0;               // sum over the light of exp(l - max) (P_k - P)
  LogSumExp<double> sums;          // of all, logits with the ground's part; gap_squared is a bound
  int64_t survivors = 0;           // 0: all
};

struct Heavy {
  int32_t component;
  double approximate;  // exp(l - max) from the products, > 0
  double logit;        // in float64
};

struct Heavies {
  std::vector<Heavy> each;
  std::vector<int64_t> blocks;  // that hold them, ascending
  bool all = false;             // whether these are all that count
};

struct LightSums {
  double light = 0, squares = 0, excess = 0;
};

// Sums of a block of components for 16 queries.
struct BlockSums {
  DenseSums dense;
  // Of the light ones, e = exp(l - max) with the largest of all: sum e, 0 where the block is left out, sum e^2, sum e (max - l),
  // sum e (P_k - P).
  double light[group_lanes], squares[group_lanes], gap[group_lanes], excess[group_lanes];
};

class AlignedPass {
 public:
  AlignedPass(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows& rows, const PosteriorRequest& request,
              ThreadPool& pool, const Execution& execution)
      : set_(set), target_(target), at_(at), rows_(rows), request_(request), pool_(pool), execution_(execution), n_(rows.n), d_(rows.d),
        wants_score_(request.score || request.denoised || request.error_score), class_count_(request.class_weights ? target.class_count : 0),
        steps_((rows.d + 1) / 2) {}

  Status run(std::vector<uint8_t>& answered) {
    const int64_t queries = request_.x.rows;
    const int64_t groups = std::clamp<int64_t>(weight_bytes / (n_ * group_lanes * 4), 1, most_groups), step = groups * group_lanes;
    for (int64_t first = 0; first < queries && !execution_.cancelled(); first += step) {
      first_ = first;
      count_ = std::min(step, queries - first);
      answer_block(answered.data() + first);
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  void answer_block(uint8_t* answered) {
    groups_ = (count_ + group_lanes - 1) / group_lanes;
    each_.assign(static_cast<size_t>(count_), {});
    prepare();
    if (std::none_of(each_.begin(), each_.end(), [](const Query& q) { return q.attempted; })) return;
    find_weights();
    if (execution_.cancelled()) return;
    score_.assign(static_cast<size_t>(count_ * d_), 0.0);
    masses_.assign(static_cast<size_t>(groups_ * class_count_ * group_lanes), 0.0);
    pool_.run(groups_, [&](int64_t g, int) { combine(g); });
    if (wants_score_) sum_scores();
    if (execution_.cancelled()) return;
    pool_.run(count_, [&](int64_t q, int) { answered[q] = each_[q].attempted && answer(q) ? 1 : 0; });
  }

  // --- queries ---

  // z, packed: integers and 8 bits of what they leave, or floats.
  struct Packed {
    LineBytes words, digits;
    std::vector<double> step, rest_step, rest_offset;  // [groups * 16]
  };

  void prepare() {
    const auto size = static_cast<size_t>(groups_ * group_lanes);
    square_.assign(size, 0.0);
    centred_.assign(static_cast<size_t>(count_ * d_), 0.0);
    for (int f = 0; f < rows_.features; ++f) {
      Packed& packed = packed_[f];
      packed.words = LineBytes(groups_ * (rows_.in_words ? steps_ : d_) * group_lanes * 4);
      if (rows_.in_words) packed.digits = LineBytes(groups_ * set_.digits->group_bytes(d_, 1));
      for (auto* v : {&packed.step, &packed.rest_step, &packed.rest_offset}) v->assign(size, 0.0);
    }
    pool_.run(groups_, [&](int64_t g, int) { pack(g); });
  }

  void pack(int64_t g) {
    std::vector<double> z(static_cast<size_t>(d_));
    std::vector<int32_t> whole(static_cast<size_t>(d_)), rest(rows_.in_words ? static_cast<size_t>(group_lanes * d_) : 0);
    for (int f = 0; f < rows_.features; ++f) {
      std::fill(rest.begin(), rest.end(), 0);
      for (int lane = 0; lane < group_lanes; ++lane) {
        const int64_t q = g * group_lanes + lane;
        if (q >= count_) break;
        double* centred = centred_.data() + q * d_;
        if (f == 0) centre(q, centred);
        for (int64_t j = 0; j < d_; ++j) z[j] = f == 0 ? centred[j] : centred[j] * centred[j] - square_[q];
        rows_.in_words ? pack_words(f, g, lane, z, whole, rest) : pack_floats(f, g, lane, z);
      }
      if (rows_.in_words) {
        set_.digits->pack_group(rest.data(), d_, 1, packed_[f].digits.data() + g * set_.digits->group_bytes(d_, 1));
      }
    }
    for (int64_t q = g * group_lanes; q < std::min(count_, (g + 1) * group_lanes); ++q) {
      double square = 0;
      for (int64_t b = 0; b < rows_.blocks; ++b) square = std::max(square, logit_variance(q, b));
      each_[q].attempted = std::sqrt(square) <= largest_deviation;
    }
  }

  // x' and what is read off it.
  void centre(int64_t q, double* centred) {
    Query& own = each_[q];
    const double* x = request_.x.row(first_ + q);
    set_.kernels->differences(&x, 1, rows_.origin.data(), rows_.a, nullptr, d_, centred);
    double squares = 0, fourths = 0;
    for (int64_t j = 0; j < d_; ++j) {
      const double square = centred[j] * centred[j];
      squares += square;
      fourths += square * square;
      own.largest = std::max(own.largest, std::abs(centred[j]));
    }
    own.norm = std::sqrt(squares);
    own.norm_four = std::pow(fourths, 0.25);
    square_[q] = rows_.features == 1 ? squares : squares / static_cast<double>(d_);
  }

  void pack_words(int f, int64_t g, int lane, std::vector<double>& z, std::vector<int32_t>& whole, std::vector<int32_t>& rest) {
    const Kernels& kernels = *set_.kernels;
    Packed& packed = packed_[f];
    const int64_t q = g * group_lanes + lane;
    double largest = 0, longest = 0;
    for (int64_t first = 0; first < d_; first += 2 * rows_.column_chain) {
      double part = 0;
      for (int64_t j = first; j < std::min(d_, first + 2 * rows_.column_chain); ++j) {
        part += z[j] * z[j];
        largest = std::max(largest, std::abs(z[j]));
      }
      longest = std::max(longest, part);
    }
    // |X| of a chain is at most `most`, so that its products with rows stay within 31 bits.
    const double most = (0x1p31 - 0x1p20) / std::max(rows_.feature[f].matrix->row_norm, 1.0) - std::sqrt(static_cast<double>(rows_.column_chain));
    const double limit = longest > 0 ? std::min<double>(word_limit, std::floor(most * largest / std::sqrt(longest))) : word_limit;
    double step = 0, sum = 0, rest_step = 0, rest_sum = 0;
    kernels.round_to_digits(z.data(), d_, static_cast<int32_t>(limit), nullptr, whole.data(), &step, &sum);
    auto* words = reinterpret_cast<int32_t*>(packed.words.data()) + g * steps_ * group_lanes;
    double square = 0, moved = 0;
    for (int64_t j = 0; j < d_; j += 2) {
      const auto low = static_cast<uint32_t>(whole[j]) & 0xffff, high = j + 1 < d_ ? static_cast<uint32_t>(whole[j + 1]) << 16 : 0;
      words[j / 2 * group_lanes + lane] = static_cast<int32_t>(low | high);
    }
    for (int64_t j = 0; j < d_; ++j) {
      square += z[j] * z[j];
      z[j] -= step * whole[j];
      moved += z[j] * z[j];
    }
    const double left = kernels.round_to_digits(z.data(), d_, set_.digits->limit_one, nullptr, rest.data() + lane * d_, &rest_step, &rest_sum);
    packed.step[q] = step * static_cast<double>(int64_t{1} << rows_.column_shift);
    packed.rest_step[q] = 256 * rest_step;
    packed.rest_offset[q] = 128 * rest_sum;
    Form& form = each_[q].form[f];
    // Rows are off by 1/2 at most, what the query's words leave meets rows that are off by 128, and sums of chains are rounded to 2^shift.
    const double chains_of = std::ceil(static_cast<double>(steps_) / static_cast<double>(rows_.column_chain)), rounded = packed.step[q];
    form.deviation = std::sqrt((square + 0x1p16 * moved + chains_of * rounded * rounded) / 12);
    form.coherent = std::max(rest_step, std::sqrt(12 * left / static_cast<double>(d_))) / std::sqrt(12.0);
    form.certain = 0x1p-45 * std::sqrt(square);
  }

  void pack_floats(int f, int64_t g, int lane, const std::vector<double>& z) {
    auto* to = reinterpret_cast<float*>(packed_[f].words.data()) + g * d_ * group_lanes;
    const int64_t q = g * group_lanes + lane;
    double square = 0, moved = 0, largest = 0, longest[2] = {}, part[2] = {};
    for (int64_t j = 0; j < d_; ++j) {
      const float single = static_cast<float>(z[j]);
      to[j * group_lanes + lane] = single;
      const double rest = z[j] - static_cast<double>(single);
      square += z[j] * z[j];
      moved += rest * rest;
      largest = std::max(largest, z[j] * z[j]);
      for (int level = 0; level < 2; ++level) {
        part[level] += z[j] * z[j];
        longest[level] = std::max(longest[level], part[level]);
        if ((j + 1) % (level == 0 ? first_chain : first_chain * chains) == 0) part[level] = 0;
      }
    }
    packed_[f].step[q] = 1;
    Form& form = each_[q].form[f];
    form.deviation = unit * std::sqrt(static_cast<double>(first_chain) * longest[0] + static_cast<double>(chains - 1) * longest[1] + largest);
    form.certain = std::sqrt(moved) + 0x1p-45 * std::sqrt(square);
  }

  // --- logits and weights ---

  // T^2 of the logits of a block.
  double logit_variance(int64_t q, int64_t b) const {
    double square = 0;
    for (int f = 0; f < rows_.features; ++f) {
      const AlignedBlock& size = rows_.largest[b];
      const double t = each_[q].form[f].deviation * (rows_.in_words ? size.in_logit[f] : size.loaded[f]);
      square += t * t;
    }
    return square;
  }

  void find_weights() {
    const int64_t size = groups_ * n_ * group_lanes;
    if (size > weights_size_) weights_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(size));
    weights_size_ = std::max(size, weights_size_);
    blocks_.resize(static_cast<size_t>(rows_.blocks * groups_));
    const int64_t quads = (groups_ + groups_at_once - 1) / groups_at_once;
    std::vector<std::vector<double>> scratch(static_cast<size_t>(pool_.size()));
    pool_.run(rows_.blocks * quads, [&](int64_t item, int worker) {
      if (execution_.cancelled()) return;
      weigh(item / quads, item % quads * groups_at_once, scratch[worker]);
    });
  }

  // exp(logit - largest of the block) of a block of components for up to four groups.
  void weigh(int64_t b, int64_t group, std::vector<double>& scratch) {
    const int64_t first = b * rows_.block;
    const int count = static_cast<int>(std::min(rows_.block, n_ - first)), groups = static_cast<int>(std::min<int64_t>(groups_at_once, groups_ - group));
    const auto size = static_cast<size_t>(groups * count * group_lanes);
    scratch.resize(static_cast<size_t>(groups_at_once * rows_.block * group_lanes * 2 * rows_.features + rows_.block * group_lanes));
    double *products = scratch.data(), *logits = products + size * static_cast<size_t>(2 * rows_.features);
    for (int f = 0; f < rows_.features; ++f) {
      const AlignedFeature& own = rows_.feature[f];
      double* out = products + size * static_cast<size_t>(2 * f);
      if (!rows_.in_words) {
        const float* lanes_of = reinterpret_cast<const float*>(packed_[f].words.data()) + group * d_ * group_lanes;
        set_.dense->products(own.matrix->values.data() + first * d_, d_, 1, count, d_, lanes_of, groups, first_chain, chains, out, count);
        continue;
      }
      const auto* words = reinterpret_cast<const int32_t*>(own.matrix->words.data() + first * rows_.stride);
      const auto* lanes_of = reinterpret_cast<const int32_t*>(packed_[f].words.data()) + group * steps_ * group_lanes;
      set_.words->products(words, rows_.stride / 2, 1, count, steps_, rows_.column_chain, rows_.column_shift, lanes_of, groups, out, count);
      const char* digits = packed_[f].digits.data() + group * set_.digits->group_bytes(d_, 1);
      set_.digits->group_products(own.matrix->bytes.data() + first * rows_.byte_stride, rows_.byte_stride, count, d_, digits, groups, 1, out + size, count);
    }
    const double none[group_lanes] = {};
    float least[group_lanes];
    std::fill(least, least + group_lanes, -87.0f);
    for (int g = 0; g < groups; ++g) {
      const int64_t at = (group + g) * group_lanes;
      LogitTerm terms[2 * AlignedRows::most_features];
      int term = 0;
      for (int f = 0; f < rows_.features; ++f) {
        const double *out = products + size * static_cast<size_t>(2 * f) + static_cast<size_t>(g * count * group_lanes);
        const double* factor = rows_.feature[f].in_logit.data() + first;
        terms[term++] = {out, factor, packed_[f].step.data() + at, none};
        if (rows_.in_words) terms[term++] = {out + size, factor, packed_[f].rest_step.data() + at, packed_[f].rest_offset.data() + at};
      }
      double max[group_lanes];
      set_.kernels->sum_terms(terms, term, count, rows_.bias.data() + first, rows_.gain.data() + first, square_.data() + at, logits, max);
      set_.dense->weights(logits, count, max, least, rows_.excess.data() + first, 0, weights_of(group + g, first), nullptr,
                          group_lanes / lanes, &blocks_[b * groups_ + group + g].dense);
    }
  }

  float* weights_of(int64_t group, int64_t row) { return weights_.get() + (group * n_ + row) * group_lanes; }
  const float* weights_of(int64_t group, int64_t row) const { return weights_.get() + (group * n_ + row) * group_lanes; }
  BlockSums& block(int64_t b, int64_t q) { return blocks_[b * groups_ + q / group_lanes]; }

  // --- what the weights of a query make ---

  void combine(int64_t g) {
    if (class_count_ > 0) add_masses(g);
    std::vector<double> scratch(static_cast<size_t>(2 * d_));
    std::vector<Heavies> heavies(group_lanes);
    double total[group_lanes] = {};
    int64_t top_block[group_lanes] = {};
    const int64_t first = g * group_lanes, end = std::min(count_, first + group_lanes);
    for (int64_t q = first; q < end; ++q) total[q - first] = add_blocks(q, top_block[q - first]);
    find_heavy(g, total, top_block, heavies.data());
    for (int64_t q = first; q < end; ++q) {
      if (each_[q].attempted && !execution_.cancelled()) combine_query(q, total[q - first], scratch, heavies[q - first]);
    }
  }

  // Class masses of all components, relative to each query's largest logit; combine_query corrects them for the heavy ones.
  void add_masses(int64_t g) {
    double most[group_lanes];
    std::fill(most, most + group_lanes, -INFINITY);
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      for (int lane = 0; lane < group_lanes; ++lane) most[lane] = std::max(most[lane], max_of(b, g, lane));
    }
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      float scale[group_lanes];
      for (int lane = 0; lane < group_lanes; ++lane) scale[lane] = static_cast<float>(std::exp(max_of(b, g, lane) - most[lane]));
      for (int64_t k = b * rows_.block; k < std::min(n_, (b + 1) * rows_.block); ++k) {
        const float* weight = weights_of(g, k);
        double* mass = masses_.data() + (g * class_count_ + target_.classes[k]) * group_lanes;
        for (int lane = 0; lane < group_lanes; ++lane) mass[lane] += static_cast<double>(weight[lane] * scale[lane]);
      }
    }
  }

  double max_of(int64_t b, int64_t g, int lane) const { return blocks_[b * groups_ + g].dense.halves[lane / lanes].max[lane % lanes]; }

  // The sums of blocks of a query relative to its largest logit: their total, and the block of the largest.
  double add_blocks(int64_t q, int64_t& top_block) {
    Query& own = each_[q];
    const int lane = static_cast<int>(q % group_lanes), part = lane % lanes;
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      if (!(max_of(b, q / group_lanes, lane) > own.max)) continue;
      own.max = max_of(b, q / group_lanes, lane);
      top_block = b;
    }
    double total = 0;
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      BlockSums& own_block = block(b, q);
      const LaneSums& sums = own_block.dense.halves[lane / lanes];
      const double shift = own.max - sums.max[part], scale = std::exp(-shift), mass = scale * (1 + std::max(sums.rest[part], 0.0));
      total += mass;
      own_block.light[lane] = mass;
      own_block.gap[lane] = scale * sums.gap[part] + shift * mass;
      own_block.squares[lane] = scale * scale * (1 + std::max(sums.squares[part], 0.0));
      own_block.excess[lane] = scale * own_block.dense.second[lane];
    }
    return total;
  }

  void combine_query(int64_t q, double total, std::vector<double>& scratch, Heavies& heavies) {
    Query& own = each_[q];
    const int lane = static_cast<int>(q % group_lanes);
    const int64_t g = q / group_lanes;
    double gap = 0, squares = 0;
    heavies.blocks.clear();
    if (heavies.all) {
      for (int64_t b = 0; b < rows_.blocks; ++b) block(b, q).light[lane] = 0;
      for (int32_t c = 0; c < class_count_; ++c) masses_[(g * class_count_ + c) * group_lanes + lane] = 0;
    }

    // Exact weights and scores of the heavy ones in place of the approximate ones.
    const double ground = ground_form(q);
    const bool spherical = rows_.features == 1;
    double *f = scratch.data(), *precision = f + d_, *pull = score_.data() + q * d_;
    double top = -INFINITY, heavy_total = 0;
    int64_t top_component = 0;
    for (size_t i = 0; i < heavies.each.size(); ++i) {
      Heavy& heavy = heavies.each[i];
      const int64_t k = heavy.component, b = k / rows_.block;
      if (i + 1 < heavies.each.size()) fetch(heavies.each[i + 1].component);
      heavy.logit = exact_logit(q, k, f, precision) + ground;
      const double weight = std::exp(heavy.logit - own.max);
      if (heavy.logit > top) {
        top = heavy.logit;
        top_component = k;
      }
      if (wants_score_) set_.kernels->add_weighted(weight * (spherical ? precision[0] : 1), f, spherical ? nullptr : precision, d_, pull);
      heavy_total += weight;
      if (class_count_ > 0) masses_[(g * class_count_ + target_.classes[k]) * group_lanes + lane] += weight - (heavies.all ? 0 : heavy.approximate);
      weights_of(g, k)[lane] = 0;
      if (heavies.all) continue;
      block(b, q).gap[lane] += heavy.approximate * std::log(heavy.approximate);
      if (heavies.blocks.empty() || heavies.blocks.back() != b) heavies.blocks.push_back(b);
    }
    // Sums anew where a heavy one has left.
    for (const int64_t b : heavies.blocks) {
      LightSums sums = light_sums(q, b);
      block(b, q).light[lane] = sums.light;
      block(b, q).squares[lane] = sums.squares;
      block(b, q).excess[lane] = sums.excess;
    }
    const double drop = left_out * total / static_cast<double>(rows_.blocks);
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      BlockSums& sums = block(b, q);
      if (!(sums.light[lane] > drop)) sums.light[lane] = 0;
      if (sums.light[lane] == 0) continue;
      own.light += sums.light[lane];
      own.excess += sums.excess[lane];
      gap += std::max(sums.gap[lane], 0.0);
      squares += sums.squares[lane];
    }
    own.whole = own.light + heavy_total;
    // Relative to the heaviest.
    const double shift = top - own.max, scale = std::exp(-shift);
    own.sums.max = top - ground;
    own.sums.index = top_component;
    own.sums.rest = own.light * scale;
    own.sums.gap = std::max(gap + shift * own.light, 0.0) * scale;
    own.sums.squares = squares * scale * scale;
    own.sums.gap_squared = (canonical_reach(n_) + 3) * own.sums.gap;
    for (const Heavy& heavy : heavies.each) {
      const double below = top - heavy.logit;
      if (heavies.all && below <= canonical_reach(n_)) ++own.survivors;
      if (heavy.component == top_component) continue;
      const double weight = std::exp(-below);
      own.sums.rest += weight;
      own.sums.gap += weight * below;
      own.sums.gap_squared += weight * below * below;
      own.sums.squares += weight * weight;
    }
  }

  // Of the light components of a block, from their weights.
  LightSums light_sums(int64_t q, int64_t b) const {
    const int lane = static_cast<int>(q % group_lanes);
    const int64_t g = q / group_lanes;
    const double scale = std::exp(max_of(b, g, lane) - each_[q].max);
    LightSums sums;
    for (int64_t k = b * rows_.block; k < std::min(n_, (b + 1) * rows_.block); ++k) {
      const double weight = static_cast<double>(weights_of(g, k)[lane]);
      if (weight == 0) continue;
      sums.light += weight;
      sums.squares += weight * weight;
      sums.excess += weight * static_cast<double>(rows_.excess[k]);
    }
    sums.light *= scale;
    sums.squares *= scale * scale;
    sums.excess *= scale;
    return sums;
  }

  // 1/2 sum_j P_j x'_j^2, which the logits here leave out.
  double ground_form(int64_t q) const { return 0.5 * set_.kernels->weighted_square(centred_.data() + q * d_, rows_.ground.data(), d_); }

  // What exact_logit will read: rows lie far apart.
  void fetch(int64_t k) const {
    const double* mean = target_.means.row(k);
    const double* values = target_.covariances->values.data() + k * d_;
    for (int64_t j = 0; j < d_; j += 8) {
      __builtin_prefetch(mean + j);
      if (rows_.features > 1) __builtin_prefetch(values + j);
    }
  }

  // The logit of a component in float64; f = x - a m_k, precision = 1 / S_k ([1] where spherical).
  double exact_logit(int64_t q, int64_t k, double* f, double* precision) const {
    const Kernels& kernels = *set_.kernels;
    const bool spherical = rows_.features == 1;
    const double* values = target_.covariances->values.data() + (spherical ? k : k * d_);
    const double* x = request_.x.row(first_ + q);
    kernels.differences(&x, 1, target_.means.row(k), rows_.a, nullptr, d_, f);
    for (int64_t j = 0; j < (spherical ? 1 : d_); ++j) precision[j] = 1 / (rows_.a * rows_.a * values[j] + rows_.b * rows_.b);
    const double form = spherical ? precision[0] * kernels.weighted_square(f, nullptr, d_) : kernels.weighted_square(f, precision, d_);
    return target_.log_weight(k) - at_.half_log_det(k) - 0.5 * form;
  }

  // The share from which on a component is heavy: what logits of lighter ones may move the score by stays near the budget.
  double heavy_share(int64_t q) const {
    double moved = 0, ground = 0;
    for (int64_t b = 0; b < rows_.blocks; ++b) moved = std::max(moved, std::sqrt(logit_variance(q, b)) * farthest(q, b));
    for (int64_t j = 0; j < d_; ++j) ground = std::max(ground, rows_.ground[j]);
    const double root = logit_budget * ground * each_[q].norm / std::max(moved, 1e-300);
    return std::clamp(root * root, lightest_share, heaviest_share);
  }

  // Of 16 queries: all within the canonical reach of the largest where they are few, else those of at least heavy_share; the largest
  // always, the first of its block whose weight is 1 there.
  void find_heavy(int64_t g, const double* total, const int64_t* top_block, Heavies* out) const {
    double least[group_lanes];
    bool wanted[group_lanes] = {};
    for (int lane = 0; lane < group_lanes; ++lane) {
      wanted[lane] = g * group_lanes + lane < count_ && each_[g * group_lanes + lane].attempted;
      least[lane] = std::exp(-canonical_reach(n_) - 2 * deviations * largest_deviation);
      out[lane].all = wanted[lane];
    }
    collect(g, least, top_block, wanted, most_heavy, out);
    for (int lane = 0; lane < group_lanes; ++lane) {
      wanted[lane] = wanted[lane] && !out[lane].all;
      if (wanted[lane]) least[lane] = heavy_share(g * group_lanes + lane) * total[lane];
    }
    collect(g, least, top_block, wanted, n_, out);
  }

  // The components of weight `least` and more of the wanted lanes; a lane that has more than `most` is given up: `all` becomes false.
  void collect(int64_t g, const double* least, const int64_t* top_block, const bool* wanted, int64_t most, Heavies* out) const {
    bool open[group_lanes], found[group_lanes] = {};
    for (int lane = 0; lane < group_lanes; ++lane) {
      open[lane] = wanted[lane];
      if (open[lane]) out[lane].each.clear();
    }
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      float floor[group_lanes];  // of stored weights
      double scale[group_lanes] = {};
      bool any = false;
      for (int lane = 0; lane < group_lanes; ++lane) {
        floor[lane] = INFINITY;
        if (!open[lane]) continue;
        scale[lane] = std::exp(max_of(b, g, lane) - each_[g * group_lanes + lane].max);
        if (scale[lane] >= least[lane]) floor[lane] = static_cast<float>(0.999 * least[lane] / scale[lane]);
        if (b == top_block[lane]) floor[lane] = std::min(floor[lane], 1.0f);
        any = any || floor[lane] <= 1;
      }
      if (!any) continue;
      const float* weight = weights_of(g, b * rows_.block);
      for (int64_t k = b * rows_.block; k < std::min(n_, (b + 1) * rows_.block); ++k, weight += group_lanes) {
        int reached = 0;
        for (int lane = 0; lane < group_lanes; ++lane) reached |= weight[lane] >= floor[lane] ? 1 : 0;
        if (reached == 0) continue;
        for (int lane = 0; lane < group_lanes; ++lane) {
          if (!open[lane] || !(weight[lane] >= floor[lane])) continue;
          const double value = scale[lane] * static_cast<double>(weight[lane]);
          const bool top = b == top_block[lane] && !found[lane] && weight[lane] >= 1;
          found[lane] = found[lane] || top;
          if (!(value > 0) || (value < least[lane] && !top)) continue;
          if (static_cast<int64_t>(out[lane].each.size()) == most) {
            open[lane] = out[lane].all = false;
            floor[lane] = INFINITY;
            continue;
          }
          out[lane].each.push_back({static_cast<int32_t>(k), value, 0});
        }
      }
    }
  }

  // --- scores ---

  // A and B of all queries: the weights of every block of components, then column by column.
  void sum_scores() {
    const int64_t features = rows_.features;
    const int64_t block_words = (rows_.in_words ? (rows_.block + 1) / 2 : rows_.block) * group_lanes;
    packed_weights_ = LineBytes(features * rows_.blocks * groups_ * block_words * 4);
    weight_step_.assign(static_cast<size_t>(features * rows_.blocks * groups_ * group_lanes), 0.0);
    sums_.assign(static_cast<size_t>(features * groups_ * d_ * group_lanes), 0.0);
    live_.assign(static_cast<size_t>(rows_.blocks * groups_), 0);
    pool_.run(rows_.blocks * groups_, [&](int64_t item, int) {
      if (!execution_.cancelled()) pack_weights(item / groups_, item % groups_, block_words);
    });
    const int64_t slices = (d_ + slice_columns - 1) / slice_columns;
    pool_.run(slices, [&](int64_t slice, int) { sum_columns(slice * slice_columns, block_words); });
  }

  // Weights of feature f lie [block][group], a block of `rows` components and `groups` groups without gaps.
  int64_t packed_at(int f, int64_t b, int64_t group, int rows, int64_t block_words) const {
    const int64_t own = (rows_.in_words ? (rows + 1) / 2 : rows) * group_lanes;
    return (f * rows_.blocks + b) * groups_ * block_words + group * own;
  }

  void pack_weights(int64_t b, int64_t group, int64_t block_words) {
    const int64_t first = b * rows_.block;
    const int rows = static_cast<int>(std::min(rows_.block, n_ - first));
    const BlockSums& sums = blocks_[b * groups_ + group];
    bool any = false;
    for (int lane = 0; lane < group_lanes; ++lane) any = any || live(sums, group * group_lanes + lane);
    live_[b * groups_ + group] = any ? 1 : 0;
    for (int f = 0; f < rows_.features; ++f) {
      const AlignedFeature& own = rows_.feature[f];
      char* to = packed_weights_.data() + packed_at(f, b, group, rows, block_words) * 4;
      double* step = weight_step_.data() + ((f * rows_.blocks + b) * groups_ + group) * group_lanes;
      const float *weight = weights_of(group, first), *factor = own.in_score.data() + first;
      if (rows_.in_words) {
        const double limit = (0x1p31 - 0x1p20) / std::max(own.matrix->column_norm, 1.0);
        set_.words->pack_scaled(weight, rows, factor, static_cast<int>(2 * rows_.row_chain), static_cast<float>(limit),
                                 reinterpret_cast<int32_t*>(to), step);
        continue;
      }
      auto* singles = reinterpret_cast<float*>(to);
      for (int r = 0; r < rows; ++r) {
        for (int lane = 0; lane < group_lanes; ++lane) singles[r * group_lanes + lane] = weight[r * group_lanes + lane] * factor[r];
      }
      std::fill(step, step + group_lanes, 1.0);
    }
  }

  bool live(const BlockSums& sums, int64_t q) const {
    return q < count_ && each_[q].attempted && sums.light[q % group_lanes] > 0;
  }

  void sum_columns(int64_t column, int64_t block_words) {
    const int64_t columns = std::min(slice_columns, d_ - column);
    std::vector<double> product(static_cast<size_t>(groups_at_once * columns * group_lanes));
    std::vector<int32_t> pairs(rows_.in_words ? static_cast<size_t>((rows_.block + 1) / 2 * (columns + 16)) : 0);
    double keep[group_lanes], none[group_lanes] = {};
    std::fill(keep, keep + group_lanes, 1.0);
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      if (execution_.cancelled()) return;
      if (std::none_of(live_.begin() + b * groups_, live_.begin() + (b + 1) * groups_, [](uint8_t any) { return any != 0; })) continue;
      const int64_t first = b * rows_.block;
      const int rows = static_cast<int>(std::min(rows_.block, n_ - first));
      for (int f = 0; f < rows_.features; ++f) {
        const AlignedFeature& own = rows_.feature[f];
        if (rows_.in_words) {
          set_.words->interleave(own.matrix->words.data() + first * rows_.stride + column, rows_.stride, rows, columns, pairs.data(), columns + 16);
        }
        for (int64_t group = 0; group < groups_; group += groups_at_once) {
          const int groups = static_cast<int>(std::min<int64_t>(groups_at_once, groups_ - group));
          const uint8_t* any = live_.data() + b * groups_ + group;
          if (std::none_of(any, any + groups, [](uint8_t one) { return one != 0; })) continue;
          const char* packed = packed_weights_.data() + packed_at(f, b, group, rows, block_words) * 4;
          if (rows_.in_words) {
            set_.words->products(pairs.data(), 1, columns + 16, static_cast<int>(columns), (rows + 1) / 2, rows_.row_chain, rows_.row_shift,
                                 reinterpret_cast<const int32_t*>(packed), groups, product.data(), columns);
          } else {
            set_.dense->products(own.matrix->values.data() + first * d_ + column, 1, d_, static_cast<int>(columns), rows,
                                 reinterpret_cast<const float*>(packed), groups, second_chain, chains, product.data(), columns);
          }
          for (int g = 0; g < groups; ++g) {
            double factor[group_lanes];
            for (int lane = 0; lane < group_lanes; ++lane) factor[lane] = weight_factor(f, b, (group + g) * group_lanes + lane);
            set_.dense->accumulate(sums_.data() + ((f * groups_ + group + g) * d_ + column) * group_lanes,
                                   product.data() + g * columns * group_lanes, columns, keep, factor, none, nullptr);
          }
        }
      }
    }
  }

  // What a unit of the products of a block counts in the sums of a query.
  double weight_factor(int f, int64_t b, int64_t q) const {
    const BlockSums& sums = blocks_[b * groups_ + q / group_lanes];
    if (!live(sums, q)) return 0;
    const int lane = static_cast<int>(q % group_lanes);
    const double step = weight_step_[((f * rows_.blocks + b) * groups_ + q / group_lanes) * group_lanes + lane];
    const double shift = rows_.in_words ? static_cast<double>(int64_t{1} << rows_.row_shift) : 1;
    return step * shift * std::exp(sums.dense.halves[lane / lanes].max[lane % lanes] - each_[q].max);
  }

  // Readings and bounds of a query; false when a bound exceeds the contract.
  bool answer(int64_t q) {
    Query& own = each_[q];
    const int lane = static_cast<int>(q % group_lanes);
    const int64_t at = first_ + q, group = q / group_lanes;
    const double *centred = centred_.data() + q * d_, whole = own.whole;
    double *score = score_.data() + q * d_, square = 0, average = 0;
    for (int64_t j = 0; wants_score_ && j < d_; ++j) {
      const int64_t from = (group * d_ + j) * group_lanes + lane;
      const double own_sum = sums_[from];
      const double excess = rows_.features == 1 ? own.excess : sums_[from + groups_ * d_ * group_lanes];
      // The heavy ones, then the light: P x' + (P_k - P) x' - F_1.
      const double light = centred[j] * (own.light * rows_.ground[j] + excess) - own_sum;
      score[j] = -(score[j] + light) / whole;
      square += score[j] * score[j];
      const double relative = score[j] + rows_.ground[j] * centred[j];
      average += relative * relative;
    }
    const double size = std::sqrt(square);
    average = std::sqrt(average);

    // Summed squares of the deviations: of log p, and of the score from logits, from the rows in its sums, and from the weights there.
    double of_density = 0, of_logits = 0, of_rows = 0, of_weights = 0;
    double largest_variance = 0, farthest_of = 0, coherent = 0, certain = 0;
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      const BlockSums& sums = blocks_[b * groups_ + group];
      const double variance = logit_variance(q, b), far = farthest(q, b) + average;
      farthest_of = std::max(farthest_of, far);
      if (!(sums.light[lane] > 0)) continue;
      const double squares = sums.squares[lane] / (whole * whole);
      of_density += squares * variance;
      of_logits += squares * variance * far * far;
      largest_variance = std::max(largest_variance, variance);
      const AlignedBlock& size_of = rows_.largest[b];
      double of_query = 0, of_floats = 0;
      for (int f = 0; f < rows_.features; ++f) {
        of_query += own.form[f].coherent * size_of.loaded[f];
        of_floats += own.form[f].certain * size_of.loaded[f];
        // In A entries meet x'.
        const double length = f == 0 ? std::sqrt(static_cast<double>(d_)) : own.norm;
        if (rows_.in_words) {
          const double rounded = size_of.in_score[f] * length, rows = static_cast<double>(std::min(rows_.block, n_ - b * rows_.block));
          const double step = weight_factor(f, b, q) / (whole * static_cast<double>(int64_t{1} << rows_.row_shift));
          const double stepped = step * (f == 0 ? size_of.norm[f] : word_limit * own.norm);
          of_rows += squares * rounded * rounded / 12;
          of_weights += 1.01 * rows * stepped * stepped / 12;
        } else {
          constexpr double within = second_chain * second_chain + (chains - 1) * second_chain * chains + 8;
          const double rounded = unit * size_of.in_score_loaded[f] * (f == 0 ? 1 : own.largest);
          of_rows += squares * within * rounded * rounded;
        }
      }
      coherent = std::max(coherent, of_query);
      certain = std::max(certain, of_floats);
    }
    const double of_both = std::sqrt(of_logits) + std::sqrt(of_rows), random = std::sqrt(of_both * of_both + of_weights);
    const double gap = own.sums.gap / (1 + own.sums.rest), light = own.light / whole;
    // What moves every light weight: second order, the query's own rounding, exponentials and sums in float32.
    const double shared = deviations * deviations * largest_variance + deviations * coherent + 2 * certain + (100 + gap) * unit;
    const double moved = light > 0 ? light * shared + 2 * left_out : 0;
    LaneAccumulators totals(class_count_);
    totals.sums[0] = own.sums;
    for (int32_t c = 0; c < class_count_; ++c) totals.classes[c * lanes] = std::max(masses_[(group * class_count_ + c) * group_lanes + lane], 0.0);
    const double log_density = read_scalars(target_, request_, at, totals, 0, target_.uniform());
    const ErrorBound exact = float64_bound(q, log_density);
    const double error_log_density = exact.log_density + 1.02 * (deviations * std::sqrt(of_density) + moved);
    const double error_score = exact.score + 1.02 * (deviations * random + moved * farthest_of);
    if (request_.error_log_density) request_.error_log_density[at] = error_log_density;
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(own.survivors > 0 ? own.survivors : n_);
    if (request_.path) request_.path[at] = static_cast<uint8_t>(own.survivors > 0 ? Path::refined : Path::dense);
    if (own.survivors == 0 && error_log_density > log_density_contract) return false;
    if (!wants_score_) return true;
    if (request_.error_score) request_.error_score[at] = error_score;
    const double b2 = rows_.b * rows_.b;
    const double* x = request_.x.row(at);
    for (int64_t j = 0; j < d_; ++j) {
      if (request_.score) request_.score[at * d_ + j] = score[j];
      if (request_.denoised) request_.denoised[at * d_ + j] = std::fma(b2, score[j], x[j]) / rows_.a;
    }
    // |score| is at most the contract's scale sum r_k |S_k^-1 (x - a m_k)|.
    return own.survivors > 0 || error_score <= score_contract * size;
  }

  // Of float64 logits and sums; where one component has all the weight, errors of logits do not move the score.
  ErrorBound float64_bound(int64_t q, double log_density) const {
    ErrorModel model = at_.model();
    model.dropped = dropped_mass;
    ErrorBound bound{};
    PosteriorRequest one;
    one.x = {request_.x.row(first_ + q), 1, d_};
    one.a = rows_.a;
    one.b = rows_.b;
    const LogSumExp<double>& sums = each_[q].sums;
    one.error_log_density = &bound.log_density;
    read_bounds(target_, one, 0, sums, target_.uniform(), model, log_density, static_cast<double>(n_), nullptr);
    if (sums.rest == 0) model.logit_units = model.logit_offset = 0;
    one.error_log_density = nullptr;
    one.error_score = &bound.score;
    read_bounds(target_, one, 0, sums, target_.uniform(), model, log_density, static_cast<double>(n_), nullptr);
    // Products add terms whose sizes the logits do not show.
    bound.log_density += 64 * small * ground_form(q);
    return bound;
  }

  // Of a block, a bound on |S_k^-1 (x - a m_k) - P x'|.
  double farthest(int64_t q, int64_t b) const {
    const AlignedBlock& largest = rows_.largest[b];
    return 1.0001 * (largest.excess * each_[q].norm + largest.fourth * each_[q].norm_four + largest.in_score_loaded[0]);
  }

  const Instructions& set_;
  const Target& target_;
  const GaussiansAt& at_;
  const AlignedRows& rows_;
  const PosteriorRequest& request_;
  ThreadPool& pool_;
  const Execution& execution_;
  const int64_t n_, d_;
  const bool wants_score_;
  const int32_t class_count_;
  const int64_t steps_;  // words of a row

  // The block of queries at hand.
  int64_t first_ = 0, count_ = 0, groups_ = 0;
  std::vector<Query> each_;                      // [count]
  std::vector<double> centred_;                  // [count][d] x'
  std::vector<double> square_;                   // [groups * 16] g
  Packed packed_[AlignedRows::most_features];
  int64_t weights_size_ = 0;
  std::unique_ptr<float[]> weights_;             // [groups][n][16] exp(logit - largest of its block), 0 for the heavy ones
  std::vector<BlockSums> blocks_;                // [blocks][groups]
  std::vector<double> masses_;                   // [groups][classes][16]
  LineBytes packed_weights_;
  std::vector<double> weight_step_;              // [features][blocks][groups][16]
  std::vector<uint8_t> live_;                    // [blocks][groups] whether any query has light weight there
  std::vector<double> sums_;                     // [features][groups][d][16] sums over the light ones
  std::vector<double> score_;                    // [count][d]: sum of the heavy ones, then the score
};

}  // namespace

bool aligned_applies(const Target& target, const PosteriorRequest& request) {
  return request.precision != Precision::float64 && AlignedRows::applies(target) && request.top == 0 && !wants_second_moments(request) &&
         (request.denoised == nullptr || request.a >= least_signal);
}

Status posterior_aligned(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows& rows,
                         const PosteriorRequest& request, ThreadPool& pool, const Execution& execution, std::vector<uint8_t>& answered) {
  return AlignedPass(set, target, at, rows, request, pool, execution).run(answered);
}

}  // namespace regimes
