#include "mixture_aligned.h"

#include <algorithm>
#include <cmath>

#include "../core/kept_preparation.h"
#include "aligned_weights.h"
#include "dense_queries.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int group_lanes = digit_lanes;
constexpr int groups_at_once = 4;                        // through one product
constexpr int64_t most_groups = 16;
constexpr int64_t weight_bytes = int64_t{1} << 26;       // of a block of queries
constexpr int64_t most_columns = 198;                    // of a slice of the sums
constexpr double deviations = 6, unit = 0x1p-24, small = 0x1p-53;

// Work areas that may serve the next call.
struct AlignedWork : KeptPreparation::Work {
  std::vector<double> centred, sums, score;
  PackedForms packed[AlignedRows::most_features];
  AlignedWeightAreas weights;
  LineBytes packed_weights;

  int64_t bytes() const {
    int64_t total = static_cast<int64_t>((centred.capacity() + sums.capacity() + score.capacity()) * sizeof(double));
    for (const PackedForms& f : packed) total += f.words.capacity() + f.digits.capacity();
    return total + weights.bytes() + packed_weights.capacity();
  }
};

class AlignedPass {
 public:
  AlignedPass(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows& rows,
              const PosteriorRequest& request, ThreadPool& pool, const Execution& execution)
      : set_(set), target_(target), at_(at), rows_(rows), request_(request), pool_(pool), execution_(execution), n_(rows.n), d_(rows.d),
        wants_score_(request.score || request.denoised || request.error_score),
        class_count_(request.class_weights ? target.class_count : 0),
        queries_(set, rows), weights_(set, target, at, rows, queries_, wants_score_, class_count_) {}

  // Before and after `run`.
  void exchange(AlignedWork& work) {
    queries_.centred.swap(work.centred);
    std::swap(queries_.packed, work.packed);
    std::swap(weights_.areas, work.weights);
    std::swap(packed_weights_, work.packed_weights);
    sums_.swap(work.sums);
    score_.swap(work.score);
  }

  Status run(std::vector<uint8_t>& answered) {
    const int64_t queries = request_.x.rows;
    const int64_t groups = std::clamp<int64_t>(weight_bytes / (n_ * group_lanes * 4), 1, most_groups), step = groups * group_lanes;
    for (int64_t first = 0; first < queries && !execution_.cancelled(); first += step) {
      first_ = first;
      count_ = std::min(step, queries - first);
      answer_block(answered.data() + first);
      if (execution_.progress) execution_.progress(static_cast<double>(first + count_) / static_cast<double>(queries));
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  void answer_block(uint8_t* answered) {
    queries_.prepare(request_.x, first_, count_, pool_);
    if (std::none_of(queries_.each.begin(), queries_.each.end(), [](const AlignedQuery& q) { return q.attempted; })) return;
    weights_.find(request_.x.row(first_), count_, pool_, execution_);
    if (execution_.cancelled()) return;
    if (wants_score_) sum_scores();
    if (execution_.cancelled()) return;
    score_.assign(wants_score_ ? static_cast<size_t>(count_ * d_) : 0, 0.0);
    pool_.run(count_, [&](int64_t q, int) { answered[q] = queries_.each[q].attempted && answer(q) ? 1 : 0; });
  }

  // A and B of all queries with light weights, side by side: the weights of every block of components, then column by column.
  void sum_scores() {
    summed_.clear();
    slot_.assign(static_cast<size_t>(count_), -1);
    for (int64_t q = 0; q < count_; ++q) {
      bool any = false;
      for (int64_t b = 0; b < rows_.blocks && !any; ++b) any = live(b, q);
      if (!any) continue;
      slot_[q] = static_cast<int64_t>(summed_.size());
      summed_.push_back(q);
    }
    if (summed_.empty()) return;
    groups_ = (static_cast<int64_t>(summed_.size()) + group_lanes - 1) / group_lanes;
    const int64_t features = rows_.features;
    const int64_t block_words = (rows_.in_words ? (rows_.block + 1) / 2 : rows_.block) * group_lanes;
    packed_weights_.resize(features * rows_.blocks * groups_ * block_words * 4);
    weight_step_.assign(static_cast<size_t>(features * rows_.blocks * groups_ * group_lanes), 0.0);
    sums_.assign(static_cast<size_t>(features * groups_ * d_ * group_lanes), 0.0);
    live_.assign(static_cast<size_t>(rows_.blocks * groups_), 0);
    pool_.run(rows_.blocks * groups_, [&](int64_t item, int) {
      if (!execution_.cancelled()) pack_weights(item / groups_, item % groups_, block_words);
    });
    // As many slices for every worker; six columns make a tile.
    const int64_t least = (d_ + most_columns - 1) / most_columns, workers = pool_.size();
    const int64_t slices = (least + workers - 1) / workers * workers;
    const int64_t columns = ((d_ + slices - 1) / slices + 5) / 6 * 6;
    pool_.run((d_ + columns - 1) / columns, [&](int64_t slice, int) {
      sum_columns(slice * columns, std::min(columns, d_ - slice * columns), block_words);
    });
  }

  // Weights of feature f lie [block][group], a block of `rows` components and `groups` groups without gaps.
  int64_t packed_at(int f, int64_t b, int64_t group, int rows, int64_t block_words) const {
    const int64_t own = (rows_.in_words ? (rows + 1) / 2 : rows) * group_lanes;
    return (f * rows_.blocks + b) * groups_ * block_words + group * own;
  }

  void pack_weights(int64_t b, int64_t group, int64_t block_words) {
    const int64_t first = b * rows_.block;
    const int rows = static_cast<int>(std::min(rows_.block, n_ - first));
    const int64_t* queries = summed_.data() + group * group_lanes;
    const int64_t count = std::min<int64_t>(static_cast<int64_t>(summed_.size()) - group * group_lanes, group_lanes);
    if (std::none_of(queries, queries + count, [&](int64_t q) { return live(b, q); })) {
      for (int f = 0; f < rows_.features; ++f) {
        char* to = packed_weights_.data() + packed_at(f, b, group, rows, block_words) * 4;
        std::fill(to, to + (rows_.in_words ? (rows + 1) / 2 : rows) * group_lanes * 4, static_cast<char>(0));
      }
      return;
    }
    live_[b * groups_ + group] = 1;
    // Where they are neighbours still, the weights lie as they are wanted.
    const bool together = count == group_lanes && queries[0] % group_lanes == 0 && queries[count - 1] == queries[0] + count - 1;
    const float* weight = weights_.weights(queries[0] / group_lanes, first);
    std::vector<float> moved(together ? 0 : static_cast<size_t>(rows * group_lanes));
    for (int64_t lane = 0; !together && lane < count; ++lane) {
      const float* from = weights_.weights(queries[lane] / group_lanes, first) + queries[lane] % group_lanes;
      for (int r = 0; r < rows; ++r) moved[r * group_lanes + lane] = from[r * group_lanes];
    }
    if (!together) weight = moved.data();
    for (int f = 0; f < rows_.features; ++f) {
      const AlignedFeature& own = rows_.feature[f];
      char* to = packed_weights_.data() + packed_at(f, b, group, rows, block_words) * 4;
      double* step = weight_step_.data() + ((f * rows_.blocks + b) * groups_ + group) * group_lanes;
      const float* factor = own.in_score.data() + first;
      if (rows_.in_words) {
        const double limit = (0x1p31 - 0x1p20) / std::max(own.matrix->column_norm, 1.0);
        set_.words->pack_scaled(weight, rows, factor, rows_.row_dither.data() + first, static_cast<int>(2 * rows_.row_chain),
                                static_cast<float>(limit), reinterpret_cast<int32_t*>(to), step);
        continue;
      }
      auto* singles = reinterpret_cast<float*>(to);
      for (int r = 0; r < rows; ++r) {
        for (int lane = 0; lane < group_lanes; ++lane) singles[r * group_lanes + lane] = weight[r * group_lanes + lane] * factor[r];
      }
      std::fill(step, step + group_lanes, 1.0);
    }
  }

  // Whether the score of a query counts light components of a block.
  bool live(int64_t b, int64_t q) const {
    return queries_.each[q].attempted && weights_.block(b, q / group_lanes).light[q % group_lanes] > 0;
  }

  void sum_columns(int64_t column, int64_t columns, int64_t block_words) {
    std::vector<double> product(static_cast<size_t>(groups_at_once * columns * group_lanes));
    std::vector<int32_t> pairs(rows_.in_words ? static_cast<size_t>((rows_.block + 1) / 2 * (columns + 16)) : 0);
    double keep[group_lanes], none[group_lanes] = {};
    std::fill(keep, keep + group_lanes, 1.0);
    for (int64_t b = 0; b < rows_.blocks; ++b) {
      if (execution_.cancelled()) return;
      const auto live_groups = live_.begin() + b * groups_;
      if (std::none_of(live_groups, live_groups + groups_, [](uint8_t any) { return any != 0; })) continue;
      const int64_t first = b * rows_.block;
      const int rows = static_cast<int>(std::min(rows_.block, n_ - first));
      for (int f = 0; f < rows_.features; ++f) {
        const AlignedFeature& own = rows_.feature[f];
        if (rows_.in_words) {
          const int16_t* words = own.matrix->words.data() + first * rows_.stride + column;
          set_.words->interleave(words, rows_.stride, rows, columns, pairs.data(), columns + 16);
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
                                 reinterpret_cast<const float*>(packed), groups, second_chain, chains, nullptr, product.data(), columns);
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

  // What a unit of the products of a block counts in the sums of a query, by its place among those with light weights.
  double weight_factor(int f, int64_t b, int64_t slot) const {
    if (slot >= static_cast<int64_t>(summed_.size()) || !live(b, summed_[slot])) return 0;
    const double step = weight_step_[((f * rows_.blocks + b) * groups_ + slot / group_lanes) * group_lanes + slot % group_lanes];
    const double shift = rows_.in_words ? static_cast<double>(int64_t{1} << rows_.row_shift) : 1;
    return step * shift * rows_.feature[f].score_unit * weights_.scale(b, summed_[slot]);
  }

  // Readings and bounds of a query; false when a bound exceeds the contract.
  bool answer(int64_t q) {
    const AlignedSums& own = weights_.of(q);
    const AlignedQuery& query = queries_.each[q];
    const int lane = static_cast<int>(q % group_lanes);
    const int64_t at = first_ + q, group = q / group_lanes;
    const double *centred = queries_.centred.data() + q * d_, *heavy = wants_score_ ? weights_.heavy_score(q) : nullptr, whole = own.whole;
    double *score = wants_score_ ? score_.data() + q * d_ : nullptr, square = 0, average = 0;
    const int64_t slot = wants_score_ ? slot_[q] : -1, own_sums = (slot / group_lanes * d_) * group_lanes + slot % group_lanes;
    const double kept = own.light - own.left_out;
    for (int64_t j = 0; wants_score_ && j < d_; ++j) {
      double light = 0;
      if (slot >= 0) {
        const int64_t from = own_sums + j * group_lanes;
        const double excess = rows_.features == 1 ? rows_.excess_unit * own.excess : sums_[from + groups_ * d_ * group_lanes];
        // P x' + (P_k - P) x' - F_1.
        light = centred[j] * (kept * rows_.ground[j] + excess) - sums_[from];
      }
      score[j] = -(heavy[j] + light) / (whole - own.left_out);
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
      const AlignedBlockSums& sums = weights_.block(b, group);
      const double variance = queries_.logit_variance(q, b), far = queries_.farthest(q, b) + average;
      farthest_of = std::max(farthest_of, far);
      if (!(sums.light[lane] > 0)) continue;
      const double squares = sums.squares[lane] / (whole * whole);
      of_density += squares * variance;
      of_logits += squares * variance * far * far;
      largest_variance = std::max(largest_variance, variance);
      const AlignedBlock& size_of = rows_.largest[b];
      double of_query = 0, of_floats = 0;
      for (int f = 0; f < rows_.features; ++f) {
        of_query += query.form[f].coherent * size_of.loaded[f];
        of_floats += query.form[f].certain * size_of.loaded[f];
        // In A entries meet x'.
        const double length = f == 0 ? std::sqrt(static_cast<double>(d_)) : query.norm;
        if (rows_.in_words) {
          const double rounded = size_of.in_score[f] * length, rows = static_cast<double>(std::min(rows_.block, n_ - b * rows_.block));
          const double step = weight_factor(f, b, slot) / (whole * static_cast<double>(int64_t{1} << rows_.row_shift));
          const double stepped = step * (f == 0 ? size_of.norm[f] : word_limit * query.norm);
          of_rows += squares * rounded * rounded / 4;
          of_weights += 1.01 * rows * stepped * stepped / 4;
        } else {
          constexpr double within = second_chain * second_chain + (chains - 1) * second_chain * chains + 8;
          const double rounded = unit * size_of.in_score_loaded[f] * (f == 0 ? 1 : query.largest);
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
    const double moved = own.survivors > 0 ? 0 : light * shared + 2 * own.left_out / whole;
    LaneAccumulators totals(class_count_);
    totals.sums[0] = own.sums;
    for (int32_t c = 0; c < class_count_; ++c) totals.classes[c * lanes] = std::max(weights_.class_mass(q, c), 0.0);
    const double log_density = read_scalars(target_, request_, at, totals, 0, target_.uniform());
    const ErrorBound exact = float64_bound(q, log_density);
    const double error_log_density = exact.log_density + 1.02 * (deviations * std::sqrt(of_density) + moved);
    const double error_score = exact.score + 1.02 * (deviations * random + moved * farthest_of);
    if (request_.error_log_density) request_.error_log_density[at] = error_log_density;
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(own.survivors > 0 ? own.survivors : n_);
    if (request_.path) request_.path[at] = static_cast<uint8_t>(own.survivors > 0 ? Path::refined : Path::dense);
    if (error_log_density > log_density_contract) return false;
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

  // Of float64 logits and sums.
  ErrorBound float64_bound(int64_t q, double log_density) const {
    ErrorModel model = at_.model();
    model.dropped = dropped_mass;
    ErrorBound bound{};
    PosteriorRequest one;
    one.x = {request_.x.row(first_ + q), 1, d_};
    one.a = rows_.a;
    one.b = rows_.b;
    one.error_log_density = &bound.log_density;
    one.error_score = &bound.score;
    read_bounds(target_, one, 0, weights_.of(q).sums, target_.uniform(), model, log_density, static_cast<double>(n_), nullptr);
    // Products add terms whose sizes the logits do not show.
    bound.log_density += 64 * small * queries_.ground_form(q);
    return bound;
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

  // The block of queries at hand.
  int64_t first_ = 0, count_ = 0;
  AlignedQueries queries_;
  AlignedWeights weights_;
  LineBytes packed_weights_;
  std::vector<int64_t> summed_, slot_;  // queries whose score counts light components, [count] their places there or -1
  int64_t groups_ = 0;                  // of them
  std::vector<double> weight_step_;  // [features][blocks][groups][16]
  std::vector<uint8_t> live_;        // [blocks][groups] whether any query has light weight there
  std::vector<double> sums_;         // [features][groups][d][16] sums over the light ones
  std::vector<double> score_;        // [count][d]
};

}  // namespace

bool aligned_applies(const Target& target, const PosteriorRequest& request) {
  return request.precision != Precision::float64 && AlignedRows::applies(target) && request.top == 0 && !wants_second_moments(request) &&
         (request.denoised == nullptr || request.a >= least_signal);
}

Status posterior_aligned(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows& rows,
                         const PosteriorRequest& request, ThreadPool& pool, const Execution& execution, std::vector<uint8_t>& answered) {
  AlignedPass pass(set, target, at, rows, request, pool, execution);
  if (target.kept == nullptr) return pass.run(answered);
  const auto left = target.kept->take_work();
  auto work = std::make_unique<AlignedWork>();
  if (left) *work = std::move(static_cast<AlignedWork&>(*left));
  pass.exchange(*work);
  const Status status = pass.run(answered);
  pass.exchange(*work);
  const int64_t bytes = work->bytes();
  target.kept->leave_work(std::move(work), bytes);
  return status;
}

}  // namespace regimes
