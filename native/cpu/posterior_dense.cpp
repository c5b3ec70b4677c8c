// Over 400 lines because the products of bytes and of float32 rows share the blocks, the exponentials, the sums and the bounds: two files
// would repeat them.
#include "posterior_dense.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../core/layouts.h"
#include "../core/thread_pool.h"
#include "readings.h"
#include "line_bytes.h"

namespace regimes {
namespace {

constexpr int group_lanes = digit_lanes;
constexpr int halves = group_lanes / lanes;
constexpr int groups_at_once = 4;               // groups whose products are formed together
constexpr int64_t most_groups = 16;             // queries of a block: 256
constexpr int64_t most_runs = 16;               // runs of chunks whose sums are formed apart, whatever the threads
constexpr int64_t sums_bytes = int64_t{1} << 27;  // of the denoised sums of a block of queries
// Products summed in float32 before the sum joins a second one in float32, of `chains` such sums, before float64 takes over.
constexpr int64_t first_chain = 32, second_chain = 64, chains = 4;
constexpr double deviations = 6;                // see posterior_dense.h: 3e-8
constexpr double unit = 0x1p-24;

// Rows per block: a whole number of steps of every kernel, at most what the second-level cache holds beside the queries.
int64_t rows_of_block(int64_t d) {
  int64_t rows = 512;
  while (rows > 64 && rows * d > (int64_t{1} << 19)) rows /= 2;
  return rows;
}

// out[j][rows of a block] = row[j] of `count` rows of bytes, 8 x 8 at a time (Warren, Hacker's Delight, 7-3).
void transpose_bytes(const uint8_t* rows, int64_t stride, int64_t count, int64_t d, uint8_t* out, int64_t out_stride) {
  for (int64_t i = 0; i < count; i += 8) {
    const int64_t in_rows = std::min<int64_t>(8, count - i);
    for (int64_t j = 0; j < d; j += 8) {
      const int64_t columns = std::min<int64_t>(8, d - j);
      uint64_t x[8] = {};
      for (int64_t r = 0; r < in_rows; ++r) std::memcpy(&x[r], rows + (i + r) * stride + j, static_cast<size_t>(columns));
      const auto swap = [&x](int low, int high, int shift, uint64_t mask) {
        const uint64_t differing = ((x[low] >> shift) ^ x[high]) & mask;
        x[high] ^= differing;
        x[low] ^= differing << shift;
      };
      for (int k = 0; k < 4; ++k) swap(k, k + 4, 32, 0x00000000ffffffff);
      for (const int k : {0, 1, 4, 5}) swap(k, k + 2, 16, 0x0000ffff0000ffff);
      for (const int k : {0, 2, 4, 6}) swap(k, k + 1, 8, 0x00ff00ff00ff00ff);
      for (int64_t c = 0; c < columns; ++c) std::memcpy(out + (j + c) * out_stride + i, &x[c], 8);
    }
  }
}

// The queries of a block: what the kernels read, and what bounds need.
struct Queries {
  int64_t count = 0, groups = 0;
  std::vector<double> centred;   // [count][d] x'
  std::vector<double> displacement;  // [count][d] e
  std::vector<double> slope;     // [groups * 16] kappa step, factor of the products
  std::vector<double> offset;    // [groups * 16] what the logits leave out, the same for all components
  std::vector<double> norm, moved, chain, largest;  // [count] |x'|, |e|, what the chains round, and the largest entry
  LineBytes packed;                // integer: packed groups; float: [groups][d][16]
};

// Sums of 16 queries over a run of rows.
struct GroupSums {
  LaneAccumulators scalars[halves];
  double second[group_lanes] = {};  // sum_i w_i |y'_i|^2 / 2, relative to the lane's maximum
  double fourth[group_lanes] = {};  // sum_i (w_i |y'_i|^2 / 2)^2, relative to its square
  double lost[group_lanes] = {};    // sum_i |w_i - W_i|, likewise
  explicit GroupSums(int32_t class_count) : scalars{LaneAccumulators(class_count), LaneAccumulators(class_count)} {}
  double max(int lane) const { return scalars[lane / lanes].sums[lane % lanes].max; }
};

class DensePosterior {
 public:
  DensePosterior(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                 DenseProducts products, std::vector<uint8_t>& answered)
      : digits_(*set.digits), dense_(*set.dense), target_(target), rows_(target.layouts->digits), request_(request), execution_(execution),
        answered_(answered), pool_(execution.threads), n_(target.n), d_(target.d),
        bytes_(rows_.lossless), integer_(bytes_ && digits_.faster_than_floats),
        fixed_(integer_ || (bytes_ && products == DenseProducts::exact)),
        denoise_(wants_denoised(request)),
        class_count_(request.class_weights ? target.class_count : 0), kappa_(request.a / (request.b * request.b)),
        uniform_(target.uniform()),
        reach_(canonical_reach(target.n)), origin_norm_(length(rows_.origin.data())), block_(rows_of_block(target.d)) {
    largest_scale_ = *std::max_element(rows_.scale.begin(), rows_.scale.end());
    const int64_t chunks = chunk_count(n_);
    run_rows_ = (chunks + most_runs - 1) / most_runs * chunk_rows;
    runs_ = (n_ + run_rows_ - 1) / run_rows_;
    groups_per_block_ = std::clamp<int64_t>(sums_bytes / (runs_ * d_ * group_lanes * static_cast<int64_t>(sizeof(double))), 1, most_groups);
  }

  Status run() {
    const int64_t queries = request_.x.rows, step = groups_per_block_ * group_lanes;
    for (int64_t first = 0; first < queries && !execution_.cancelled(); first += step) {
      first_ = first;
      prepare(std::min(step, queries - first));
      find_sums();
      if (execution_.cancelled()) break;
      pool_.run(queries_.count, [&](int64_t q, int) { answered_[first_ + q] = answer(q) ? 1 : 0; });
      if (execution_.progress) execution_.progress(static_cast<double>(first + queries_.count) / static_cast<double>(queries));
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  void prepare(int64_t count) {
    Queries& q = queries_;
    q.count = count;
    q.groups = (count + group_lanes - 1) / group_lanes;
    const int64_t padded = q.groups * group_lanes, group_bytes = fixed_ ? digits_.group_bytes(d_, planes()) : d_ * group_lanes * 4;
    q.centred.assign(static_cast<size_t>(count * d_), 0);
    q.displacement.assign(static_cast<size_t>(count * d_), 0);
    q.slope.assign(static_cast<size_t>(padded), 0);
    q.offset.assign(static_cast<size_t>(padded), 0);
    q.norm.assign(static_cast<size_t>(count), 0);
    q.moved = q.chain = q.largest = q.norm;
    q.packed = LineBytes(q.groups * group_bytes);
    pool_.run(q.groups, [&](int64_t g, int) {
      std::vector<int32_t> fixed(fixed_ ? static_cast<size_t>(group_lanes * d_) : 0);
      float* single = reinterpret_cast<float*>(q.packed.data() + g * group_bytes);
      for (int lane = 0; lane < group_lanes; ++lane) {
        const int64_t query = g * group_lanes + lane;
        if (query >= count) {
          for (int64_t j = 0; !fixed_ && j < d_; ++j) single[j * group_lanes + lane] = 0;
          continue;
        }
        centre(query);
        fixed_ ? round_to_fixed(query, fixed.data() + lane * d_) : round_to_single(query, single + lane);
        q.moved[query] = length(q.displacement.data() + query * d_);
      }
      if (fixed_) digits_.pack_group(fixed.data(), d_, planes(), q.packed.data() + g * group_bytes);
    });
  }

  int planes() const { return digits_.full_planes; }

  double length(const double* v) const {
    double square = 0;
    for (int64_t j = 0; j < d_; ++j) square += v[j] * v[j];
    return std::sqrt(square);
  }

  void centre(int64_t query) {
    double* x = queries_.centred.data() + query * d_;
    const double* from = request_.x.row(first_ + query);
    for (int64_t j = 0; j < d_; ++j) x[j] = std::fma(-request_.a, rows_.origin[j], from[j]);
    queries_.norm[query] = length(x);
  }

  // <x_q, y'> = step sum_j X_j (u_j - centre_j), X_j = round(scale_j x'_j / step).
  void round_to_fixed(int64_t query, int32_t* fixed) {
    const double* x = queries_.centred.data() + query * d_;
    double largest = 0;
    for (int64_t j = 0; j < d_; ++j) largest = std::max(largest, std::abs(rows_.scale[j] * x[j]));
    const double step = largest > 0 ? largest / digits_.limit_full : 1;
    int64_t centre = 0;
    for (int64_t j = 0; j < d_; ++j) {
      const double limit = digits_.limit_full, exact = std::clamp(rows_.scale[j] * x[j] / step, -limit, limit);
      fixed[j] = static_cast<int32_t>(std::lrint(exact));
      centre += int64_t{fixed[j]} * rows_.centre[j];
      if (rows_.scale[j] > 0) queries_.displacement[query * d_ + j] = x[j] - fixed[j] * step / rows_.scale[j];
    }
    queries_.slope[query] = kappa_ * step;
    queries_.offset[query] = kappa_ * step * static_cast<double>(centre);
  }

  // <x_q, y'> = sum_j x_qj y'_j, or with bytes sum_j X_j (u_j - centre_j), X_j = scale_j x_qj.
  void round_to_single(int64_t query, float* lane) {
    const double* x = queries_.centred.data() + query * d_;
    for (int64_t j = 0; j < d_; ++j) {
      const double scale = bytes_ ? rows_.scale[j] : 1;
      lane[j * group_lanes] = static_cast<float>(scale * x[j]);
      if (scale > 0) queries_.displacement[query * d_ + j] = x[j] - static_cast<double>(lane[j * group_lanes]) / scale;
      queries_.largest[query] = std::max(queries_.largest[query], std::abs(x[j]));
    }
    // Squares of the partial sums that are rounded, in units of |y'_i|^2: within chains, and of the sums of chains.
    const auto longest = [&](int64_t width) {
      double most = 0;
      for (int64_t first = 0; first < d_; first += width) {
        double square = 0;
        for (int64_t j = first; j < std::min(first + width, d_); ++j) square += x[j] * x[j];
        most = std::max(most, square);
      }
      return most;
    };
    const double within = static_cast<double>(first_chain) * longest(first_chain);
    queries_.chain[query] = std::sqrt(within + static_cast<double>(chains - 1) * longest(first_chain * chains));
    queries_.slope[query] = kappa_;
  }

  void find_sums() {
    const int64_t groups = queries_.groups;
    sums_.assign(static_cast<size_t>(runs_ * groups), GroupSums(class_count_));
    if (denoise_) denoised_.assign(static_cast<size_t>(runs_ * groups * d_ * group_lanes), 0.0);
    // Groups of an item share the work on the rows; how they are dealt out changes no bit.
    const int64_t parts = std::clamp<int64_t>((2 * pool_.size() + runs_ - 1) / runs_, 1, (groups + groups_at_once - 1) / groups_at_once);
    const int64_t share = (groups + parts - 1) / parts;
    pool_.run(runs_ * parts, [&](int64_t item, int) {
      const int64_t first = item % parts * share;
      if (first < groups) sum_run(item / parts, first, std::min(first + share, groups));
    });
    if (execution_.cancelled()) return;
    pool_.run(groups, [&](int64_t g, int) {
      for (int64_t run = 1; run < runs_; ++run) merge(g, run);
    });
  }

  // What one worker needs for a block of rows.
  struct Work {
    std::vector<double> logits, products, half_square, bias;  // of the rows: 1/2 |y'|^2, and what logits have from the row alone
    std::vector<float> values, weights, half_square_single;
    std::vector<int32_t> integers;
    std::vector<uint8_t> transposed;
    LineBytes packed;
    std::vector<double> masses;
  };

  void sum_run(int64_t run, int64_t first_group, int64_t end_group) {
    Work work;
    work.logits.resize(static_cast<size_t>(groups_at_once * block_ * group_lanes));
    work.weights.resize(work.logits.size());
    work.half_square.resize(static_cast<size_t>(block_));
    work.bias.resize(work.half_square.size());
    work.half_square_single.resize(work.half_square.size());
    work.masses.resize(static_cast<size_t>(class_count_) * lanes);
    if (denoise_) work.products.resize(static_cast<size_t>(groups_at_once * d_ * group_lanes));
    if (integer_) {
      work.integers.resize(work.logits.size());
      work.packed = LineBytes(groups_at_once * digits_.group_bytes(block_, planes()));
      if (denoise_) work.transposed.resize(static_cast<size_t>(d_ * block_ + digit_padding));
    } else if (denoise_ || !fixed_) {
      work.values.resize(static_cast<size_t>(block_ * d_));
    }
    const int64_t end = std::min((run + 1) * run_rows_, n_);
    for (int64_t row = run * run_rows_; row < end; row += block_) {
      if (execution_.cancelled()) return;
      const int count = static_cast<int>(std::min(block_, end - row));
      if (bytes_) {
        std::copy_n(rows_.half_square.data() + row, count, work.half_square.data());
        const uint8_t* bytes = rows_.rows + row * rows_.stride;
        if (!work.values.empty()) dense_.centre_bytes(bytes, rows_.stride, count, d_, rows_.centre.data(), work.values.data());
      } else {
        dense_.centre_rows(target_.points, row, count, rows_.origin.data(), work.values.data(), work.half_square.data());
      }
      for (int r = 0; r < count; ++r) {
        work.half_square_single[r] = static_cast<float>(work.half_square[r]);
        work.bias[r] = -kappa_ * request_.a * work.half_square[r] + target_.log_weight(row + r);
      }
      if (integer_ && denoise_) {
        transpose_bytes(rows_.rows + row * rows_.stride, rows_.stride, count, d_, work.transposed.data(), block_);
      }
      for (int64_t g = first_group; g < end_group; g += groups_at_once) {
        if (execution_.cancelled()) return;
        sum_block(run, row, count, g, static_cast<int>(std::min<int64_t>(groups_at_once, end_group - g)), work);
      }
    }
  }

  // How the sums of a run (times keep) and the products of a block (less total times the centre, times factor) make the new sums.
  struct Fold {
    int64_t group;
    double keep[group_lanes], factor[group_lanes], total[group_lanes];
  };

  void sum_block(int64_t run, int64_t row, int count, int64_t first_group, int groups, Work& work) {
    if (fixed_) {
      const char* packed = queries_.packed.data() + first_group * digits_.group_bytes(d_, planes());
      const uint8_t* bytes = rows_.rows + row * rows_.stride;
      digits_.group_products(bytes, rows_.stride, count, d_, packed, groups, planes(), work.logits.data(), block_);
    } else {
      const float* lanes_of = reinterpret_cast<const float*>(queries_.packed.data()) + first_group * d_ * group_lanes;
      dense_.products(work.values.data(), d_, 1, count, d_, lanes_of, groups, first_chain, chains, work.logits.data(), block_);
    }
    // Groups that have weight in this block move together to the second product.
    Fold folds[groups_at_once];
    int active_count = 0;
    for (int g = 0; g < groups; ++g) {
      folds[active_count].group = first_group + g;
      if (weigh(run, row, count, work, work.logits.data() + g * block_ * group_lanes, active_count, folds[active_count])) ++active_count;
    }
    if (!denoise_ || active_count == 0) return;
    if (integer_) {
      digits_.group_products(work.transposed.data(), block_, static_cast<int>(d_), count, work.packed.data(), active_count, planes(),
                             work.products.data(), d_);
    } else {
      dense_.products(work.values.data(), 1, d_, static_cast<int>(d_), count, work.weights.data(), active_count, second_chain, chains,
                      work.products.data(), d_);
    }
    for (int k = 0; k < active_count; ++k) {
      const Fold& fold = folds[k];
      double* sums = denoised_.data() + (run * queries_.groups + fold.group) * d_ * group_lanes;
      dense_.accumulate(sums, work.products.data() + k * d_ * group_lanes, d_, fold.keep, fold.factor, fold.total,
                        integer_ ? rows_.centre.data() : nullptr);
    }
  }

  // Products -> logits, weights and sums of one group over a block; the weights become group `place` of the second product. False when
  // no lane has weight there.
  bool weigh(int64_t run, int64_t row, int count, Work& work, double* logits, int place, Fold& fold) {
    const int64_t group = fold.group;
    GroupSums& sums = sums_[run * queries_.groups + group];
    DenseSums block;
    double max[group_lanes], floor[group_lanes];
    dense_.logits(logits, count, queries_.slope.data() + group * group_lanes, work.bias.data(), max);
    bool any = false;
    for (int lane = 0; lane < group_lanes; ++lane) {
      floor[lane] = sums.max(lane) - reach_;
      any = any || !(max[lane] < floor[lane]);
    }
    if (!any) return false;

    // The kernels of float32 sum over `count` steps per group, so that groups lie `count` apart.
    float* weights = work.weights.data() + (integer_ ? 0 : place * count * group_lanes);
    dense_.weights(logits, count, max, work.half_square_single.data(), static_cast<float>(integer_ ? digits_.limit_full : 0), weights,
                   integer_ ? work.integers.data() : nullptr, &block);
    if (integer_ && denoise_) {
      digits_.pack_lanes(work.integers.data(), count, planes(), work.packed.data() + place * digits_.group_bytes(count, planes()));
    }
    for (int lane = 0; lane < group_lanes; ++lane) {
      const double before = sums.max(lane), after = std::max(before, max[lane]);
      const bool counts = !(max[lane] < floor[lane]);
      fold.keep[lane] = before == after ? 1 : std::exp(before - after);
      const double scale = counts ? std::exp(max[lane] - after) : 0, step = integer_ ? 1 / static_cast<double>(digits_.limit_full) : 1;
      fold.factor[lane] = scale * step;
      fold.total[lane] = integer_ ? block.total[lane] : 0;
      sums.second[lane] = sums.second[lane] * fold.keep[lane] + block.second[lane] * scale;
      sums.fourth[lane] = sums.fourth[lane] * fold.keep[lane] * fold.keep[lane] + block.fourth[lane] * scale * scale;
      sums.lost[lane] = sums.lost[lane] * fold.keep[lane] + block.lost[lane] * fold.factor[lane];
      int index = 0;
      while (max[lane] > before && logits[index * group_lanes + lane] != max[lane]) ++index;
      block.halves[lane / lanes].index[lane % lanes] = index;
    }
    for (int half = 0; half < halves; ++half) {
      if (class_count_ > 0) {
        std::fill(work.masses.begin(), work.masses.end(), 0.0);
        for (int r = 0; r < count; ++r) {
          double* mass = work.masses.data() + int64_t{target_.classes[row + r]} * lanes;
          for (int lane = 0; lane < lanes; ++lane) mass[lane] += static_cast<double>(weights[r * group_lanes + half * lanes + lane]);
        }
      }
      sums.scalars[half].add(block.halves[half], row, work.masses.data(), floor + half * lanes);
    }
    return true;
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
    }
    for (int half = 0; half < halves; ++half) into.scalars[half].merge(from.scalars[half]);
    if (!denoise_) return;
    const double zero[group_lanes] = {};
    dense_.accumulate(denoised_.data() + g * d_ * group_lanes, denoised_.data() + (run * queries_.groups + g) * d_ * group_lanes, d_, first,
                      second, zero, nullptr);
  }

  // Readings and bounds of a query; false when a bound exceeds the contract.
  bool answer(int64_t q) {
    const int64_t at = first_ + q;
    const int lane = static_cast<int>(q % group_lanes);
    GroupSums& group = sums_[q / group_lanes];
    LogSumExp<double>& sums = group.scalars[lane / lanes].sums[lane % lanes];
    sums.rest = std::max(sums.rest, 0.0);
    sums.squares = std::max(sums.squares, 0.0);
    const double a = request_.a, b2 = request_.b * request_.b, whole = 1 + sums.rest, norm_x = queries_.norm[q];
    const double* displacement = queries_.displacement.data() + q * d_;

    std::vector<double> denoised(denoise_ ? static_cast<size_t>(d_) : 0);
    double along = 0, square = 0;
    for (int64_t j = 0; j < static_cast<int64_t>(denoised.size()); ++j) {
      denoised[j] = (bytes_ ? rows_.scale[j] : 1) * denoised_[(q / group_lanes * d_ + j) * group_lanes + lane] / whole;
      along += denoised[j] * displacement[j];
      square += denoised[j] * denoised[j];
    }
    const double norm = std::sqrt(square);
    sums.max += kappa_ * along - queries_.offset[q] - norm_x * norm_x / (2 * b2);

    const Bounds bounds = bounds_of(q, sums, group, lane, norm);
    const double log_density = read_scalars(target_, request_, at, group.scalars[lane / lanes], lane % lanes, uniform_);
    const double constant = std::abs(log_density_constant(d_, request_.b));
    const double terms = kappa_ * (norm_x + a * largest()) * largest() + norm_x * norm_x / b2 + std::abs(log_density) + constant;
    const double error_log_density = bounds.log_density + 0x1p-53 * (64 * terms + static_cast<double>(d_) * norm_x * norm_x / b2);
    if (request_.error_log_density) request_.error_log_density[at] = error_log_density;
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(n_);
    if (request_.path) request_.path[at] = static_cast<uint8_t>(Path::dense);
    bool within = error_log_density <= log_density_contract;
    if (denoise_) {
      double norm_mean = 0, norm_query = 0;
      for (int64_t j = 0; j < d_; ++j) {
        const double mean = rows_.origin[j] + denoised[j], x = request_.x(at, j);
        norm_mean += mean * mean;
        norm_query += x * x;
        if (request_.denoised) request_.denoised[at * d_ + j] = mean;
        if (request_.score) request_.score[at * d_ + j] = std::fma(a, mean, -x) / b2;
      }
      const double scale = (std::sqrt(norm_query) + a * std::sqrt(norm_mean)) / b2;
      const double error_score = kappa_ * bounds.denoised + 8 * 0x1p-53 * scale;
      if (request_.error_score) request_.error_score[at] = error_score;
      within = within && error_score <= score_contract * scale;
    }
    return within;
  }

  double largest() const { return rows_.largest_norm + rows_.largest_residual; }  // of |y'|

  struct Bounds {
    double log_density, denoised;
  };

  Bounds bounds_of(int64_t q, const LogSumExp<double>& sums, const GroupSums& group, int lane, double norm) const {
    constexpr double small = 0x1p-53;
    const double whole = 1 + sums.rest, far = largest(), gap = sums.gap / whole, norm_x = queries_.norm[q];
    const double spread = std::max(2 * group.second[lane] / whole - norm * norm, 0.0) + 1e-4 * far * far;
    const double moved = queries_.moved[q] + 4 * small * (norm_x + request_.a * origin_norm_);
    // Deterministic errors of single logits beyond the displacement: of the rows, and of the float64 operations.
    const double row = (bytes_ ? rows_.largest_residual : 0) + 2 * small * (far + origin_norm_);
    const double half_square = small * (static_cast<double>(d_) + 16) * request_.a * far * far;
    const double product = 8 * small * norm_x * (far + (fixed_ ? 256 * largest_scale_ * std::sqrt(static_cast<double>(d_)) : 0));
    const double logit = kappa_ * ((norm_x + request_.a * far) * row + half_square + product);
    // `deviations` times the deviation of a logit, in units of |y'_i|, for the errors that are taken as random: of chains, and of rows
    // rounded to float32. root = sqrt(sum w^2), root_two >= sqrt(sum w^2 |y'|^2), root_four = sqrt(sum w^2 |y'|^4).
    const double chain = queries_.chain[q] + (bytes_ ? 0 : queries_.largest[q]);
    const double chance = fixed_ ? 0 : deviations * kappa_ * unit * chain;
    const double root = std::sqrt(sums.sum_squares()), root_four = 2 * std::sqrt(group.fourth[lane]) / whole;
    const double root_two = std::sqrt(root * root_four), square_of = (chance * far) * (chance * far);
    const double weights = (16 + gap) * unit, sums_of = 40 * unit, dropped = 2 * std::exp(-dropped_logits);
    const double shift = kappa_ * far * moved;

    double denoised = kappa_ * spread * moved * std::exp(4 * shift) + row + 2 * logit * std::sqrt(spread);
    denoised += chance * (root_four + norm * root_two) + (far + norm) * (square_of + weights + dropped) + norm * sums_of;
    denoised += integer_ ? group.lost[lane] / whole * far : static_cast<double>(second_chain + chains + 2) * unit * far;
    double log_density = shift * shift / 2 + logit + weights + sums_of + dropped + chance * root_two + square_of;
    log_density += denoise_ ? kappa_ * moved * denoised : shift;
    return {1.01 * log_density, 1.01 * denoised};
  }

  const DigitKernels& digits_;
  const DenseKernels& dense_;
  const Target& target_;
  const DigitRows& rows_;
  const PosteriorRequest& request_;
  const Execution& execution_;
  std::vector<uint8_t>& answered_;
  ThreadPool pool_;
  const int64_t n_, d_;
  const bool bytes_;    // rows are read as bytes
  const bool integer_;  // weights are integers too
  const bool fixed_;    // queries are in fixed point
  const bool denoise_;
  const int32_t class_count_;
  const double kappa_, uniform_, reach_, origin_norm_;
  const int64_t block_;  // rows whose sums are formed at once
  double largest_scale_ = 0;
  int64_t run_rows_ = 0, runs_ = 0, groups_per_block_ = 1;

  // The block of queries at hand.
  int64_t first_ = 0;
  Queries queries_;
  std::vector<GroupSums> sums_;   // [runs][groups], merged into the first run
  std::vector<double> denoised_;  // [runs][groups][d][16], likewise
};

}  // namespace

bool dense_applies(const Target& target, const PosteriorRequest& request) {
  return request.precision != Precision::float64 && !wants_second_moments(request) && request.top == 0 && target.layouts != nullptr &&
         target.layouts->digits.rows != nullptr;
}

bool dense_exact_applies(const Instructions& set, const Target& target) {
  return target.layouts->digits.lossless && !set.digits->faster_than_floats;
}

DenseProducts dense_preferred(const Instructions& set, const Target& target, const PosteriorRequest& request) {
  if (!dense_exact_applies(set, target)) return DenseProducts::fast;
  // The random part of the bound of the denoised mean for a query of noise alone and sqrt(sum w^2) = 0.1, in units of the contract's.
  const double a = request.a, b = request.b, far = target.layouts->digits.largest_norm;
  const double chain = b * std::sqrt(static_cast<double>(first_chain * (first_chain + (chains - 1) * chains)));
  const double error = deviations * a / (b * b) * unit * chain * far * far * 0.1;
  const double contract = score_contract * b * std::sqrt(static_cast<double>(target.d)) / a;
  return error > contract / 4 ? DenseProducts::exact : DenseProducts::fast;
}

Status posterior_dense(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                       DenseProducts products, std::vector<uint8_t>& answered) {
  return DensePosterior(set, target, request, execution, products, answered).run();
}

}  // namespace regimes
