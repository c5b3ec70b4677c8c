// The pass of the dense path over all rows (posterior_dense.h): for a block of queries, the sums over each of at most 16 runs of chunks,
// merged in the order of chunks.h. Included by posterior_dense.cpp alone, which reads the answers off the sums.
// Over 400 lines because all forms of the two products share the blocks, the weights between them and the sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "../core/dither.h"
#include "../core/thread_pool.h"
#include "dense_bounds.h"
#include "dense_words.h"
#include "posterior_dense.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int group_lanes = digit_lanes, halves = group_lanes / lanes;
constexpr int64_t strip_size = int64_t{strip_rows} * group_lanes;  // rows_of_block at most
static_assert(strip_size <= second_chain * chains);                // rows whose second products are added in float32
constexpr int groups_at_once = 4;               // groups whose products are formed together
constexpr int64_t most_groups = 64;             // queries of a block: 1024
constexpr int64_t most_runs = 16;               // runs of chunks whose sums are formed apart, whatever the threads
constexpr int64_t sums_bytes = int64_t{1} << 27;  // of the denoised sums of a block of queries
// A group of which so many lanes or fewer have weight in a row, on average over the block, sums lane by lane over lists of rows.
constexpr int64_t listed_integers = 4, listed_floats = 5, listed_words = 5;
constexpr int64_t listed_columns = 256;         // columns of a block that stay in the second-level cache while lists pass

// Rows per block: a whole number of steps of every kernel. As many as memory bears: each block passes over all sums of its queries, which
// outgrow the second-level cache where columns are many.
int64_t rows_of_block(int64_t d) {
  int64_t rows = 512;
  while (rows > 64 && rows * d > (int64_t{1} << 23)) rows /= 2;
  return rows;
}

// A row whose weight the second product leaves out, with its logit of the first.
struct HeavyRow {
  int64_t row;
  double logit;
};

// Sums of 16 queries over a run of rows.
struct GroupSums {
  LaneAccumulators scalars[halves];
  double second[group_lanes] = {};  // sum_i w_i |y'_i|^2 / 2, relative to the lane's maximum
  double fourth[group_lanes] = {};  // sum_i (w_i |y'_i|^2 / 2)^2, relative to its square
  double lost[group_lanes] = {};    // sum_i |w_i - W_i|, likewise; words: what the sums of chains round
  double variance[group_lanes] = {};  // words: of sum_i W_i y'_i, relative to the maximum's square
  double step[group_lanes] = {};    // words: largest step of W_i, relative to the maximum
  std::vector<HeavyRow> heavy[group_lanes];
  explicit GroupSums(int32_t class_count) : scalars{LaneAccumulators(class_count), LaneAccumulators(class_count)} {}
  double max(int lane) const { return scalars[lane / lanes].sums[lane % lanes].max; }
};

class DensePass {
 public:
  DensePass(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution, DenseProducts products)
      : set_(set), digits_(*set.digits), dense_(*set.dense), target_(target), rows_(target.layouts->digits), request_(request),
        execution_(execution), pool_(execution.threads), n_(target.n), d_(target.d),
        bytes_(rows_.lossless), fixed_(bytes_ && (digits_.faster_than_floats || products == DenseProducts::exact)),
        denoise_(wants_denoised(request)), words_(denoise_ && products == DenseProducts::fast && dense_words_apply(set, target)),
        integer_(bytes_ && digits_.faster_than_floats && !words_), lists_heavy_(!fixed_ || words_),
        form_(fixed_ ? DenseQueries::Form::fixed : DenseQueries::Form::single), centre_(rows_.centre.begin(), rows_.centre.end()),
        class_count_(request.class_weights ? target.class_count : 0), kappa_(request.a / (request.b * request.b)),
        uniform_(target.uniform()),
        reach_(canonical_reach(target.n)), block_(rows_of_block(target.d)), chain_stretch_(target.d, first_chain) {
    with_.a = request.a;
    with_.kappa = kappa_;
    with_.far = rows_.largest_norm + rows_.largest_residual;
    with_.typical = std::sqrt(2 * std::accumulate(rows_.half_square.begin(), rows_.half_square.end(), 0.0) / static_cast<double>(n_));
    with_.origin_norm = std::sqrt(set.kernels->weighted_square(rows_.origin.data(), nullptr, d_));
    with_.residual = bytes_ ? rows_.largest_residual : 0;
    with_.largest_scale = *std::max_element(rows_.scale.begin(), rows_.scale.end());
    with_.d = d_;
    with_.bytes = bytes_;
    with_.fixed = fixed_;
    with_.integer = integer_;
    with_.denoised = denoise_;
    with_.words = words_;
    if (words_) units_ = WordUnits(rows_);
    with_.units = units_.norm;
    const int64_t chunks = chunk_count(n_);
    run_rows_ = (chunks + most_runs - 1) / most_runs * chunk_rows;
    runs_ = (n_ + run_rows_ - 1) / run_rows_;
    groups_per_block_ = std::clamp<int64_t>(sums_bytes / (runs_ * d_ * group_lanes * static_cast<int64_t>(sizeof(double))), 1, most_groups);
  }

 protected:
  void prepare(int64_t count) {
    queries_.prepare(set_, rows_, request_.x, first_, count, request_.a, kappa_, form_, bytes_, chain_stretch_, pool_);
    drop_.resize(static_cast<size_t>(count));
    heavy_.resize(drop_.size());
    for (int64_t q = 0; q < count; ++q) {
      drop_[q] = dense_drop(with_, queries_.each[q].norm);
      heavy_[q] = dense_heavy(with_, queries_.each[q], n_);
    }
    rounded_.assign(static_cast<size_t>(runs_), 0.0);
  }

  int planes() const { return digits_.full_planes; }
  // Whether integers meet listed rows as bytes.
  bool lists_bytes() const { return integer_ || (words_ && bytes_ && digits_.listed_sums != nullptr); }

  // Groups whose queries meet the rows together; the queries of the last group meet them one by one where they are few.
  int64_t whole_groups() const { return queries_.groups - (queries_.single_count > 0 ? 1 : 0); }

  // Sums of the denoised mean: of a whole group [d][16], of a query that stands alone [d].
  double* group_sums(int64_t run, int64_t group) { return denoised_.data() + run * run_stride_ + group * d_ * group_lanes; }
  double* single_sums(int64_t run, int64_t lane) { return group_sums(run, whole_groups()) + lane * d_; }
  // The sums of query q over all runs, `stride` apart.
  const double* query_sums(int64_t q, int64_t* stride) {
    const bool alone = q >= whole_groups() * group_lanes;
    *stride = alone ? 1 : group_lanes;
    return alone ? single_sums(0, q % group_lanes) : group_sums(0, q / group_lanes) + q % group_lanes;
  }

  void find_sums() {
    const int64_t groups = queries_.groups;
    sums_.assign(static_cast<size_t>(runs_ * groups), GroupSums(class_count_));
    run_stride_ = (whole_groups() * group_lanes + queries_.single_count) * d_;
    if (denoise_) denoised_.assign(static_cast<size_t>(runs_ * run_stride_), 0.0);
    // Groups of an item share the work on the rows; how they are dealt out changes no bit.
    const int64_t parts = std::clamp<int64_t>((2 * pool_.size() + runs_ - 1) / runs_, 1, (groups + groups_at_once - 1) / groups_at_once);
    const int64_t share = (groups + parts - 1) / parts;
    work_.resize(static_cast<size_t>(pool_.size()));
    pool_.run(runs_ * parts, [&](int64_t item, int worker) {
      const int64_t first = item % parts * share;
      if (first < groups) sum_run(item / parts, first, std::min(first + share, groups), work_[worker]);
    });
    if (execution_.cancelled()) return;
    pool_.run(groups, [&](int64_t g, int) {
      for (int64_t run = 1; run < runs_; ++run) merge(g, run);
    });
    with_.rounded = std::sqrt(*std::max_element(rounded_.begin(), rounded_.end()));
  }

  // What one worker needs for a block of rows.
  struct Work {
    std::vector<double> logits, products, half_square, bias;  // of the rows: 1/2 |y'|^2, and what logits have from the row alone
    std::vector<double> shrink;     // 1 / stretch of the rows
    std::vector<float> stretch, shrink_single;  // of the rows in products of float32 (row_stretch)
    std::vector<float> values, weights, half_square_single, strip_half_square;  // values: stretched
    std::vector<int32_t> integers;
    std::vector<int32_t> words;     // of the rows, words_
    std::vector<int32_t> single_words;  // weights of a query that stands alone
    std::vector<float> dither;
    std::vector<uint16_t> heavy;    // lanes of a row that list it
    std::vector<uint8_t> transposed;
    std::vector<float> columns;     // scratch of fold_columns
    std::vector<int32_t> word_columns;  // likewise
    bool is_transposed = false;     // `transposed`, or the scratch of fold_columns, holds the block at hand
    bool has_words = false;         // `words` holds its bytes
    LineBytes packed, packed_list;
    std::vector<double> masses, single, strip_logits;
    std::vector<int32_t> listed;    // [lanes][rows of a block]
    std::vector<float> listed_weights;
    std::vector<int32_t> listed_integers;
  };

  void sum_run(int64_t run, int64_t first_group, int64_t end_group, Work& work) {
    work.logits.resize(static_cast<size_t>(groups_at_once * block_ * group_lanes));
    work.weights.resize(work.logits.size());
    work.half_square.resize(static_cast<size_t>(block_));
    work.bias.resize(work.half_square.size());
    work.half_square_single.resize(work.half_square.size());
    work.stretch.assign(work.half_square.size(), 1);
    work.shrink.assign(work.half_square.size(), 1);
    work.shrink_single.assign(work.half_square.size(), 1);
    work.masses.resize(static_cast<size_t>(class_count_) * lanes);
    if (lists_heavy_) work.heavy.resize(static_cast<size_t>(block_));
    double rounded = 0;
    if (denoise_) {
      work.products.resize(static_cast<size_t>(groups_at_once * d_ * group_lanes));
      work.listed.resize(static_cast<size_t>(group_lanes * block_));
      integer_ ? work.listed_integers.resize(work.listed.size()) : work.listed_weights.resize(work.listed.size());
    }
    if (words_) {
      work.words.resize(static_cast<size_t>(steps_of(block_) * units_.stride));
      work.word_columns.resize(static_cast<size_t>((d_ + 6) * (steps_of(block_) + 3)));
      work.dither.resize(static_cast<size_t>(block_));
      work.packed = LineBytes(groups_at_once * steps_of(block_) * group_lanes * static_cast<int64_t>(sizeof(int32_t)));
      work.listed_integers.resize(work.listed.size());
      work.single_words.resize(static_cast<size_t>(block_));
      if (fixed_) work.packed_list = LineBytes(digits_.single_bytes(block_, planes()));
    }
    if (queries_.single_count > 0) {
      work.single.resize(static_cast<size_t>(block_));
      work.strip_logits.assign(strip_size, -std::numeric_limits<double>::infinity());
      work.strip_half_square.assign(strip_size, 0.0f);
    }
    if (integer_) {
      work.integers.resize(work.logits.size());
      work.packed = LineBytes(groups_at_once * digits_.group_bytes(block_, planes()));
      work.packed_list = LineBytes(digits_.single_bytes(block_, planes()));
      if (denoise_) work.transposed.resize(static_cast<size_t>(d_ * block_ + digit_padding));
    } else if (!fixed_ || (denoise_ && !words_)) {
      work.values.resize(static_cast<size_t>(block_ * d_ + group_lanes));
      if (denoise_ && !words_) work.columns.resize(static_cast<size_t>((d_ + 6) * (block_ + 3)));
    }
    const int64_t end = std::min((run + 1) * run_rows_, n_);
    for (int64_t row = run * run_rows_; row < end; row += block_) {
      if (execution_.cancelled()) return;
      const int count = static_cast<int>(std::min(block_, end - row));
      for (int r = 0; !fixed_ && r < count; ++r) {
        work.stretch[r] = row_stretch(row + r);
        work.shrink[r] = 1 / static_cast<double>(work.stretch[r]);
        work.shrink_single[r] = static_cast<float>(work.shrink[r]);
      }
      if (bytes_) {
        std::copy_n(rows_.half_square.data() + row, count, work.half_square.data());
        const uint8_t* bytes = rows_.rows + row * rows_.stride;
        if (!work.values.empty() && whole_groups() > 0) {
          dense_.centre_bytes(bytes, rows_.stride, count, d_, rows_.centre.data(), work.stretch.data(), work.values.data());
        }
      } else {
        dense_.centre_rows(target_.points, row, count, rows_.origin.data(), work.stretch.data(), work.values.data(), work.half_square.data());
      }
      if (words_) {
        if (!bytes_) {
          rounded = std::max(rounded, set_.words->pack_rows(work.values.data(), row, count, d_, work.shrink_single.data(), units_.unit.data(),
                                                            units_.inverse.data(), units_.bits.data(), work.words.data(), units_.stride));
        }
        for (int r = 0; r < count; ++r) work.dither[r] = dither_of(row_bits(row + r));
      }
      for (int r = 0; r < count; ++r) {
        work.half_square_single[r] = static_cast<float>(work.half_square[r]);
        work.bias[r] = -kappa_ * request_.a * work.half_square[r] + target_.log_weight(row + r);
      }
      work.is_transposed = work.has_words = false;
      for (int64_t g = first_group; g < std::min(end_group, whole_groups()); g += groups_at_once) {
        if (execution_.cancelled()) return;
        sum_block(run, row, count, g, static_cast<int>(std::min<int64_t>(groups_at_once, std::min(end_group, whole_groups()) - g)), work);
      }
      if (end_group > whole_groups()) sum_singles(run, row, count, work);
    }
    if (first_group == 0) rounded_[run] = rounded;
  }

  // How the sums of a run (times keep) and the products of a block (less total times the centre, times factor) make the new sums.
  struct Fold {
    int64_t group;
    bool moves = false;  // some keep is not 1
    double keep[group_lanes], factor[group_lanes], total[group_lanes];
  };

  void sum_block(int64_t run, int64_t row, int count, int64_t first_group, int groups, Work& work) {
    first_products(row, count, first_group, groups, work);
    // Groups that have weight in much of this block move together to the second product.
    Fold folds[groups_at_once];
    int active_count = 0;
    for (int g = 0; g < groups; ++g) {
      Fold& fold = folds[active_count];
      fold.group = first_group + g;
      fold.moves = false;
      const int64_t kept = weigh(run, row, count, work, work.logits.data() + g * block_ * group_lanes, active_count, fold);
      if (!denoise_ || (kept == 0 && !fold.moves)) continue;
      if (words_) pack_words(run, count, active_count, fold, work);
      if (kept < (lists_bytes() ? listed_integers : words_ ? listed_words : listed_floats) * count) {
        list_products(row, count, active_count, fold, work);
        add_products(run, fold, work.products.data(), lists_bytes());
        continue;
      }
      if (integer_) {
        digits_.pack_lanes(work.integers.data(), count, planes(), work.packed.data() + active_count * digits_.group_bytes(count, planes()));
      }
      ++active_count;
    }
    if (active_count == 0) return;
    if (integer_) {
      if (!work.is_transposed) dense_.transpose_bytes(rows_.rows + row * rows_.stride, rows_.stride, count, d_, work.transposed.data(), block_);
      work.is_transposed = true;
      digits_.group_products(work.transposed.data(), block_, static_cast<int>(d_), count, work.packed.data(), active_count, planes(),
                             work.products.data(), d_);
    } else {
      DenseFold into[groups_at_once];
      for (int k = 0; k < active_count; ++k) into[k] = {group_sums(run, folds[k].group), folds[k].keep, folds[k].factor};
      if (words_) {
        fold_words(row, count, active_count, into, work);
      } else {
        dense_.fold_columns(work.values.data(), work.columns.data(), !work.is_transposed, d_, count, work.weights.data(), active_count,
                            second_chain, into);
      }
      work.is_transposed = true;
      return;
    }
    for (int k = 0; k < active_count; ++k) add_products(run, folds[k], work.products.data() + k * d_ * group_lanes, true);
  }

  void first_products(int64_t row, int count, int64_t first_group, int groups, Work& work) {
    if (!fixed_) {
      const float* lanes_of = reinterpret_cast<const float*>(queries_.packed.data()) + first_group * d_ * group_lanes;
      dense_.products(work.values.data(), d_, 1, count, d_, lanes_of, groups, first_chain, chains, chain_stretch_.shrink.data(),
                      work.logits.data(), block_);
      return;
    }
    const char* packed = queries_.packed.data() + first_group * digits_.group_bytes(d_, planes());
    digits_.group_products(rows_.rows + row * rows_.stride, rows_.stride, count, d_, packed, groups, planes(), work.logits.data(), block_);
  }

  // A block as the queries of the last group see it one after the other (dense_singles.h).
  void sum_singles(int64_t run, int64_t row, int count, Work& work);
  void add_single(int64_t run, int64_t row, int count, int lane, const Fold& fold, Work& work);
  void add_single_words(int64_t run, int64_t row, int count, int lane, Fold fold, Work& work);
  void add_listed_bytes(int64_t row, int listed, Work& work) const;

  // The second product of a group, lane by lane over the rows that have weight.
  void list_products(int64_t row, int count, int place, Fold& fold, Work& work) {
    int listed[group_lanes] = {};
    const int used = lanes_of(fold.group);
    double* out = work.products.data();
    std::fill_n(out, d_ * group_lanes, 0.0);
    if (lists_bytes()) {
      if (integer_) {
        list_rows(work.integers.data(), count, used, work.listed.data(), work.listed_integers.data(), listed);
      } else {
        list_halves(count, place, used, listed, fold, work);
      }
      for (int lane = 0; lane < used; ++lane) {
        const int64_t at = lane * block_;
        if (listed[lane] == 0) continue;
        digits_.pack_single(&work.listed_integers[at], listed[lane], planes(), work.packed_list.data());
        digits_.listed_sums(rows_.rows + row * rows_.stride, rows_.stride, &work.listed[at], listed[lane], d_, work.packed_list.data(),
                            out + lane, group_lanes);
      }
      return;
    }
    if (words_) return list_words(row, count, place, used, listed, work);
    const float* weights = work.weights.data() + int64_t{place} * count * group_lanes;
    list_rows(weights, count, used, work.listed.data(), work.listed_weights.data(), listed);
    for (int64_t column = 0; column < d_; column += listed_columns) {
      const int64_t columns = std::min(listed_columns, d_ - column);
      for (int lane = 0; lane < used; ++lane) {
        const int64_t at = lane * block_;
        if (listed[lane] == 0) continue;
        dense_.listed_products(work.values.data() + column, d_, columns, {&work.listed[at], &work.listed_weights[at], listed[lane]}, count,
                               second_chain, chains, out + column * group_lanes + lane);
      }
    }
  }

  static int64_t steps_of(int64_t rows) { return (rows + 1) / 2; }
  static int32_t* words_of(Work& work, int place, int count) {
    return reinterpret_cast<int32_t*>(work.packed.data()) + place * steps_of(count) * group_lanes;
  }

  // Second products of 16-bit integers, and heavy rows (dense_heavy.h).
  void pack_bytes(int64_t row, int first, int count, Work& work) const;
  void find_words(int64_t row, int count, Work& work) const;
  void pack_words(int64_t run, int count, int place, Fold& fold, Work& work);
  void count_words(GroupSums& sums, int lane, int count, double factor, double variance, Fold& fold) const;
  void fold_words(int64_t row, int count, int groups, const DenseFold* folds, Work& work) const;
  void list_words(int64_t row, int count, int place, int used, int* listed, Work& work) const;
  void list_halves(int count, int place, int used, int* listed, Fold& fold, Work& work) const;
  float least_heavy(const GroupSums& sums, int64_t q, double max, int64_t run, int64_t row, int count, double kept) const;
  int64_t list_heavy(int64_t group, int64_t run, int64_t row, int count, const double* max, const double* floor, const double* logits,
                     const DenseSums& block, float* weights, Work& work);

  int lanes_of(int64_t group) const { return static_cast<int>(std::min<int64_t>(group_lanes, queries_.count - group * group_lanes)); }

  // Rows [lanes][rows of a block] where the weights [count][16] of the first `used` lanes are not zero.
  template <class Weight>
  void list_rows(const Weight* weights, int count, int used, int32_t* rows, Weight* listed_weights, int* listed) const {
    for (int r = 0; r < count; ++r) {
      for (int lane = 0; lane < used; ++lane) {
        const Weight weight = weights[r * group_lanes + lane];
        const int64_t at = lane * block_ + listed[lane];
        rows[at] = r;
        listed_weights[at] = weight;
        listed[lane] += weight != 0;
      }
    }
  }

  // of_bytes: products with levels, not with differences from those of the centre.
  void add_products(int64_t run, const Fold& fold, const double* products, bool of_bytes) {
    dense_.accumulate(group_sums(run, fold.group), products, d_, fold.keep, fold.factor, fold.total,
                      of_bytes ? rows_.centre.data() : nullptr);
  }

  // Products -> logits, weights and sums of one group over a block; the weights become group `place` of the second product. Returns how
  // many are not zero, all lanes together.
  int64_t weigh(int64_t run, int64_t row, int count, Work& work, double* logits, int place, Fold& fold) {
    const int64_t group = fold.group;
    GroupSums& sums = sums_[run * queries_.groups + group];
    DenseSums block;
    double max[group_lanes], floor[group_lanes];
    float least[group_lanes];
    dense_.logits(logits, count, work.shrink.data(), queries_.slope.data() + group * group_lanes, work.bias.data(), max);
    const int used = lanes_of(group), used_halves = (used + lanes - 1) / lanes;
    bool any = false;
    for (int lane = 0; lane < group_lanes; ++lane) {
      floor[lane] = sums.max(lane) - reach_;
      any = any || (lane < used && !(max[lane] < floor[lane]));
      least[lane] = least_weight(sums, group * group_lanes + lane, max[lane]);
    }
    if (!any) return 0;

    // The kernels of float32 sum over `count` steps per group, so that groups lie `count` apart.
    float* weights = work.weights.data() + (integer_ ? 0 : place * count * group_lanes);
    dense_.weights(logits, count, max, least, work.half_square_single.data(), largest_integer(),
                   integer_ && class_count_ == 0 ? nullptr : weights, integer_ ? work.integers.data() : nullptr, used, &block);
    int64_t kept = 0;
    for (int lane = 0; lane < group_lanes; ++lane) {
      if (lane >= used) {
        fold.keep[lane] = fold.factor[lane] = fold.total[lane] = 0;
        block.halves[lane / lanes].index[lane % lanes] = 0;
        continue;
      }
      const double before = sums.max(lane);
      kept += fold_lane(sums, lane, max[lane], floor[lane], block, fold);
      int index = 0;
      while (max[lane] > before && index + 1 < count && logits[index * group_lanes + lane] != max[lane]) ++index;
      block.halves[lane / lanes].index[lane % lanes] = index;
    }
    for (int half = 0; half < used_halves; ++half) {
      if (class_count_ > 0) {
        std::fill(work.masses.begin(), work.masses.end(), 0.0);
        for (int r = 0; r < count; ++r) {
          double* mass = work.masses.data() + int64_t{target_.classes[row + r]} * lanes;
          for (int lane = 0; lane < lanes; ++lane) mass[lane] += static_cast<double>(weights[r * group_lanes + half * lanes + lane]);
        }
      }
      sums.scalars[half].add(block.halves[half], row, work.masses.data(), floor + half * lanes);
    }
    if (lists_heavy_) kept -= list_heavy(group, run, row, count, max, floor, logits, block, weights, work);
    if (denoise_ && sums_stretched() && kept > 0) shrink_weights(work.shrink_single.data(), count, weights);
    return kept;
  }

  // Whether the second product reads the rows that the first one read in float32.
  bool sums_stretched() const { return !fixed_ && !words_; }
  static void shrink_weights(const float* shrink, int count, float* weights) {
    typedef float Row __attribute__((vector_size(sizeof(float) * group_lanes), aligned(sizeof(float)), may_alias));
    for (int r = 0; r < count; ++r) reinterpret_cast<Row*>(weights)[r] *= shrink[r];  // left to itself, GCC 12 shuffles rows
  }

  // Moves the sums of a lane to the largest logit known after a block, and says how the block enters them. Returns its rows with weight.
  int64_t fold_lane(GroupSums& sums, int lane, double max, double floor, const DenseSums& block, Fold& fold) const {
    const double before = sums.max(lane), after = std::max(before, max);
    const bool counts = !(max < floor);
    fold.keep[lane] = before == after ? 1 : std::exp(before - after);
    fold.moves = fold.moves || before != after;
    const double scale = counts ? std::exp(max - after) : 0, step = integer_ ? 1 / static_cast<double>(digits_.limit_full) : 1;
    fold.factor[lane] = scale * step;
    fold.total[lane] = integer_ ? block.total[lane] : 0;
    sums.second[lane] = sums.second[lane] * fold.keep[lane] + block.second[lane] * scale;
    sums.fourth[lane] = sums.fourth[lane] * fold.keep[lane] * fold.keep[lane] + block.fourth[lane] * scale * scale;
    sums.lost[lane] = sums.lost[lane] * fold.keep[lane] + (integer_ ? block.lost[lane] * fold.factor[lane] : 0);
    sums.variance[lane] *= fold.keep[lane] * fold.keep[lane];
    sums.step[lane] *= fold.keep[lane];
    return counts ? block.kept[lane] : 0;
  }

  // Of the weights as integers; 0: they stay float32.
  float largest_integer() const { return static_cast<float>(integer_ ? digits_.limit_full : 0); }

  // The logarithm of the least weight, relative to the block's largest, that enters the second product: all weights below it are at
  // most the share drop / n of the sum of those known by now.
  float least_weight(const GroupSums& sums, int64_t q, double max) const {
    if (q >= queries_.count) return 0;
    const LogSumExp<double>& known = sums.scalars[q % group_lanes / lanes].sums[q % lanes];
    const double sum = known.empty() ? max : std::max(max, known.max + std::log1p(std::max(known.rest, 0.0)));
    return static_cast<float>(std::max(sum - max + std::log(drop_[q] / static_cast<double>(n_)), -87.0));
  }

  // Folds the sums of a run into those of the first.
  void merge(int64_t g, int64_t run) {
    GroupSums &into = sums_[g], &from = sums_[run * queries_.groups + g];
    double first[group_lanes], second[group_lanes];
    for (int lane = 0; lane < group_lanes; ++lane) {
      const double largest = std::max(into.max(lane), from.max(lane));
      first[lane] = std::exp(into.max(lane) - largest);
      second[lane] = std::exp(from.max(lane) - largest);
      into.second[lane] = first[lane] * into.second[lane] + second[lane] * from.second[lane];
      into.fourth[lane] = first[lane] * first[lane] * into.fourth[lane] + second[lane] * second[lane] * from.fourth[lane];
      into.lost[lane] = first[lane] * into.lost[lane] + second[lane] * from.lost[lane];
      into.variance[lane] = first[lane] * first[lane] * into.variance[lane] + second[lane] * second[lane] * from.variance[lane];
      into.step[lane] = std::max(first[lane] * into.step[lane], second[lane] * from.step[lane]);
      into.heavy[lane].insert(into.heavy[lane].end(), from.heavy[lane].begin(), from.heavy[lane].end());
    }
    for (int half = 0; half < halves; ++half) into.scalars[half].merge(from.scalars[half]);
    if (!denoise_) return;
    if (g < whole_groups()) {
      const double zero[group_lanes] = {};
      dense_.accumulate(group_sums(0, g), group_sums(run, g), d_, first, second, zero, nullptr);
      return;
    }
    for (int lane = 0; lane < queries_.single_count; ++lane) {
      double* sums_of = single_sums(0, lane);
      const double* from_run = single_sums(run, lane);
      for (int64_t j = 0; j < d_; ++j) sums_of[j] = sums_of[j] * first[lane] + from_run[j] * second[lane];
    }
  }

  const Instructions& set_;
  const DigitKernels& digits_;
  const DenseKernels& dense_;
  const Target& target_;
  const DigitRows& rows_;
  const PosteriorRequest& request_;
  const Execution& execution_;
  ThreadPool pool_;
  const int64_t n_, d_;
  const bool bytes_;    // rows are read as bytes
  const bool fixed_;    // queries are in fixed point
  const bool denoise_;
  const bool words_;    // the second product is one of 16-bit integers
  const bool integer_;  // or of bytes with weights in fixed point
  const bool lists_heavy_;
  const DenseQueries::Form form_;
  const std::vector<float> centre_;  // levels of the centre
  const int32_t class_count_;
  const double kappa_, uniform_, reach_;
  const int64_t block_;  // rows whose sums are formed at once
  DenseArithmetic with_;
  WordUnits units_;
  const ChainStretch chain_stretch_;
  int64_t run_rows_ = 0, runs_ = 0, groups_per_block_ = 1;

  // The block of queries at hand.
  int64_t first_ = 0;
  DenseQueries queries_;
  std::vector<Work> work_;        // of each thread, kept from run to run
  std::vector<double> drop_;      // [count] share of the weights that the second product may leave out
  std::vector<double> heavy_;     // [count] share of the weights from which a row is heavy
  std::vector<GroupSums> sums_;   // [runs][groups], merged into the first run
  std::vector<double> denoised_;  // [runs] of group_sums and single_sums, likewise
  std::vector<double> rounded_;   // [runs] words: the largest variance of a rounded row
  int64_t run_stride_ = 0;
};

}  // namespace
}  // namespace regimes

#include "dense_heavy.h"
#include "dense_singles.h"
