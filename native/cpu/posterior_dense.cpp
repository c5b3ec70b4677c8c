#include "posterior_dense.h"

#include <algorithm>
#include <cmath>

#include "dense_pass.h"

namespace regimes {
namespace {

constexpr double most_product = 1e37;  // that float32 holds
constexpr int64_t heavy_block = 512;  // rows whose weighted sum is formed before it enters the denoised mean

class DensePosterior : private DensePass {
 public:
  DensePosterior(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                 DenseProducts products, std::vector<uint8_t>& answered)
      : DensePass(set, target, request, execution, products), answered_(answered) {}

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
  // Readings and bounds of a query; false when a bound exceeds the contract.
  bool answer(int64_t q) {
    const int64_t at = first_ + q;
    const int lane = static_cast<int>(q % group_lanes);
    GroupSums& group = sums_[q / group_lanes];
    LogSumExp<double>& sums = group.scalars[lane / lanes].sums[lane % lanes];
    sums.rest = std::max(sums.rest, 0.0);
    sums.squares = std::max(sums.squares, 0.0);
    DenseMoments moments;
    moments.second = group.second[lane];
    moments.lost = group.lost[lane];
    moments.variance = group.variance[lane];
    moments.step = group.step[lane];
    moments.dropped = drop_[q];
    std::vector<double> denoised(denoise_ ? static_cast<size_t>(d_) : 0);
    if (denoise_) {
      int64_t stride = 0;
      const double* from = query_sums(q, &stride);
      for (int64_t j = 0; j < d_; ++j) denoised[j] = unit_of(j) * from[j * stride];
    }
    if (!lists_heavy_) {
      moments.fourth = group.fourth[lane];
      moments.squares = 1 + sums.squares;
    } else {
      mend_heavy(q, group, denoised, moments);
    }
    moments.whole = 1 + sums.rest;
    moments.gap = sums.gap;

    const double a = request_.a, b2 = request_.b * request_.b, norm_x = queries_.each[q].norm;
    if (!fixed_ && !(norm_x * std::max(1.0, with_.far) < most_product)) return false;
    const double* displacement = queries_.displacement.data() + q * d_;
    double along = 0;
    if (denoise_) {
      for (double& mean : denoised) mean /= moments.whole;
      along = dot(denoised.data(), displacement, d_);
      moments.norm = std::sqrt(dot(denoised.data(), denoised.data(), d_));
    }
    sums.max += kappa_ * along - queries_.offset[q] - norm_x * norm_x / (2 * b2);
    // Components that lie farther are below the largest logit by more than the canonical reach.
    const double within_reach = request_.b * std::sqrt(2 * std::max(reach_ - sums.max, 0.0));
    const double far = std::min(with_.far, 1.001 * (norm_x + queries_.each[q].moved + within_reach) / a);
    moments.far = far;

    const DenseErrors errors = dense_errors(with_, queries_.each[q], moments);
    const double log_density = read_scalars(target_, request_, at, group.scalars[lane / lanes], lane % lanes, uniform_);
    const double constant = std::abs(log_density_constant(d_, request_.b));
    const double terms = kappa_ * (norm_x + a * far) * far + norm_x * norm_x / b2 + std::abs(log_density) + constant;
    const double error_log_density = errors.log_density + 0x1p-53 * (64 * terms + static_cast<double>(d_) * norm_x * norm_x / b2);
    if (request_.error_log_density) request_.error_log_density[at] = error_log_density;
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(n_);
    if (request_.path) request_.path[at] = static_cast<uint8_t>(Path::dense);
    bool within = error_log_density <= log_density_contract;
    if (denoise_) {
      for (int64_t j = 0; j < d_; ++j) denoised[j] += rows_.origin[j];
      const double* x = request_.x.row(at);
      if (request_.denoised) std::copy_n(denoised.data(), d_, request_.denoised + at * d_);
      if (request_.score) set_.screen->score_of(denoised.data(), x, d_, a, b2, request_.score + at * d_);
      const double scale = (std::sqrt(dot(x, x, d_)) + a * std::sqrt(dot(denoised.data(), denoised.data(), d_))) / b2;
      const double error_score = kappa_ * errors.denoised + 8 * 0x1p-53 * scale;
      if (request_.error_score) request_.error_score[at] = error_score;
      within = within && error_score <= score_contract * scale;
    }
    return within;
  }

  // Of the sums of a column.
  double unit_of(int64_t j) const { return bytes_ ? rows_.scale[j] : words_ ? static_cast<double>(units_.unit[j]) : 1; }

  // Gives the heavy components their logits in float64 in place of those from float32 products (those from integers stay), and moves all
  // sums of query q accordingly; `moments` receive the sums of squares without them. `denoised` is the sum of e_i y'_i over all others.
  void mend_heavy(int64_t q, GroupSums& group, std::vector<double>& denoised, DenseMoments& moments) const {
    constexpr double rounding = 1e-5;  // of sums of float32, which the heavy are taken from
    const int lane = static_cast<int>(q % group_lanes);
    LaneAccumulators& half = group.scalars[lane / lanes];
    LogSumExp<double>& sums = half.sums[lane % lanes];
    std::vector<double> x(fixed_ ? 0 : static_cast<size_t>(d_));
    for (int64_t j = 0; !fixed_ && j < d_; ++j) x[j] = queries_.centred[q * d_ + j] - queries_.displacement[q * d_ + j];
    // Relative to the old maximum: sums of what is new and of what it replaces, without the component of that maximum.
    double gain = 0, squares = 0, old_squares = 0, old_fourth = 0, of_largest = 1, best = -1e308;
    int64_t best_row = -1;
    bool largest_is_heavy = false;
    moments.fourth = group.fourth[lane];
    const auto& list = group.heavy[lane];
    std::vector<int32_t> rows(list.size());
    std::vector<double> values(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const HeavyRow& heavy = list[i];
      double product = 0, half_square = fixed_ ? rows_.half_square[heavy.row] : 0, logit = heavy.logit;
      if (!fixed_) {
        set_.screen->row_products(target_.points, heavy.row, list[std::min(i + 3, list.size() - 1)].row, rows_.origin.data(), x.data(), &product,
                                  &half_square);
        logit = kappa_ * (product - request_.a * half_square) + target_.log_weight(heavy.row) + queries_.offset[q];
      }
      const double before = std::exp(heavy.logit - sums.max), value = fixed_ ? before : std::exp(logit - sums.max), change = value - before;
      rows[i] = static_cast<int32_t>(heavy.row);
      values[i] = value;
      if (class_count_ > 0) half.classes[static_cast<size_t>(target_.classes[heavy.row]) * lanes + lane % lanes] += change;
      moments.second += change * half_square;
      old_fourth += before * half_square * before * half_square;
      sums.gap += value * (sums.max - logit) - before * (sums.max - heavy.logit);
      if (heavy.row == sums.index) {
        largest_is_heavy = true;
        of_largest = value;
      } else {
        gain += change;
        squares += value * value;
        old_squares += before * before;
      }
      if (logit > best) {
        best = logit;
        best_row = heavy.row;
      }
    }
    if (denoise_) add_heavy(rows, values, denoised);
    const double others = std::max(sums.squares - old_squares, 0.0);
    moments.squares = others + (largest_is_heavy ? 0 : 1) + rounding * (1 + old_squares);
    moments.fourth = std::max(moments.fourth - old_fourth, 0.0) + rounding * old_fourth;
    sums.rest += gain;
    sums.squares = others + squares;
    if (!largest_is_heavy) return;

    // The new maximum becomes what everything is relative to.
    const double shift = best - sums.max, shrink = std::exp(-shift);
    if (best_row != sums.index) {
      sums.rest += of_largest - 1 / shrink;
      sums.squares = std::max(sums.squares + of_largest * of_largest - 1 / (shrink * shrink), 0.0);
      of_largest = 1 / shrink;
    }
    sums.index = best_row;
    sums.max = best;
    sums.gap = (sums.gap + shift * (of_largest + sums.rest)) * shrink;
    sums.rest *= shrink;
    sums.squares *= shrink * shrink;
    for (double& mean : denoised) mean *= shrink;
    moments.second *= shrink;
    moments.squares *= shrink * shrink;
    moments.fourth *= shrink * shrink;
    moments.lost *= shrink;
    moments.variance *= shrink * shrink;
    moments.step *= shrink;
  }

  // denoised += sum_i values_i y'_i
  void add_heavy(const std::vector<int32_t>& rows, const std::vector<double>& values, std::vector<double>& denoised) const {
    const auto count = static_cast<int64_t>(rows.size());
    std::vector<double> sums(denoised.size());
    for (int64_t first = 0; first < count; first += heavy_block) {
      const int64_t many = std::min(heavy_block, count - first);
      std::fill(sums.begin(), sums.end(), 0.0);
      set_.screen->add_listed_rows(target_.points, rows.data() + first, values.data() + first, many, sums.data());
      const double whole = std::accumulate(values.begin() + first, values.begin() + first + many, 0.0);
      for (int64_t j = 0; j < d_; ++j) denoised[j] += sums[j] - whole * rows_.origin[j];
    }
  }

  std::vector<uint8_t>& answered_;
};

}  // namespace

bool dense_applies(const Target& target, const PosteriorRequest& request) {
  return request.precision != Precision::float64 && !wants_second_moments(request) && request.top == 0 && target.layouts != nullptr &&
         target.layouts->digits.rows != nullptr;
}

bool dense_exact_applies(const Instructions& set, const Target& target, bool denoised) {
  return (target.layouts->digits.lossless && !set.digits->faster_than_floats) || (denoised && dense_words_apply(set, target));
}

Status posterior_dense(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                       DenseProducts products, std::vector<uint8_t>& answered) {
  return DensePosterior(set, target, request, execution, products, answered).run();
}

}  // namespace regimes
