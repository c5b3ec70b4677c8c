// Over 400 lines because the float32 pass, its bounds and its float64 remainder share every intermediate of a tile.
#include "mixture_dense.h"

#include <algorithm>
#include <cmath>

#include "readings.h"

namespace regimes {
namespace {

constexpr int64_t chain = 16, chains = 4;
constexpr int64_t groups_at_once = 4;                       // of 16 queries, through one product
constexpr int64_t rows_at_once = 256;                       // of B, likewise
constexpr int64_t columns_at_once = 512;
constexpr int64_t tile_bytes = int64_t{1} << 26;
constexpr int64_t block_bytes = int64_t{1} << 26;           // h of the queries at hand
constexpr double unit = 0x1p-24, deviations = 6, small = 0x1p-53;
constexpr double least_signal = 0.1;  // D = (x + b^2 score) / a loses precision below
constexpr double shared_axes = 1e-11; // relative deviation of precisions that count as equal

double length(const double* v, int64_t d) {
  double square = 0;
  for (int64_t j = 0; j < d; ++j) square += v[j] * v[j];
  return std::sqrt(square);
}

// The longest run of eigenvalues that share a precision, of those the one nearest to the middle: [first, end).
std::pair<int64_t, int64_t> shared_run(const double* values, int64_t d, double a, double b) {
  std::pair<int64_t, int64_t> best{d / 2, d / 2 + 1};
  int64_t first = 0;
  for (int64_t end = 1; end <= d; ++end) {
    const double width = 0.5 * shared_axes * (a * a * values[end - 1] + b * b);
    while (a * a * (values[end - 1] - values[first]) > width) ++first;
    if (end - first > best.second - best.first) best = {first, end};
  }
  return best;
}

}  // namespace

bool MixtureDense::applies(const Instructions& set, const Target& target, const PosteriorRequest& request) {
  const Covariances& c = *target.covariances;
  return set.dense != nullptr && request.precision == Precision::exact && target.n > 1 && target.d >= 32 && request.top == 0 &&
         !wants_second_moments(request) && (request.denoised == nullptr || request.a >= least_signal) &&
         (c.type == Covariances::Type::full || (c.type == Covariances::Type::low_rank && c.rank > 0));
}

MixtureDense::MixtureDense(const Instructions& set, const Target& target, const GaussiansAt& at)
    : set_(set), target_(target), at_(at), n_(target.n), d_(target.d), full_(target.covariances->type == Covariances::Type::full) {}

int64_t MixtureDense::few() const { return std::max<int64_t>(1, full_ ? n_ / 4 : n_ / 16); }

Status MixtureDense::build(const Execution& execution) {
  const double a = at_.a(), b = at_.b();
  origin_.assign(static_cast<size_t>(d_), 0.0);
  for (int64_t k = 0; k < n_; ++k) {
    if (k % 64 == 0 && execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
    for (int64_t j = 0; j < d_; ++j) origin_[j] += target_.means.row(k)[j] / static_cast<double>(n_);
  }
  start_.assign(static_cast<size_t>(n_ + 1), 0);
  ground_.assign(static_cast<size_t>(n_), 1.0);
  for (auto* v : {&least_, &most_, &shared_error_, &second_order_, &load_}) v->assign(static_cast<size_t>(n_), 0.0);
  for (int64_t k = 0; k < n_; ++k) {
    int64_t rows = target_.covariances->rank;
    if (full_) {
      const double* values = target_.covariances->eigenvalues.data() + k * d_;
      const auto [first, end] = shared_run(values, d_, a, b);
      const double p = ground_[k] = 1 / (a * a * values[first] + b * b);
      least_[k] = p;
      most_[k] = 1 / (a * a * values[0] + b * b);
      shared_error_[k] = shared_axes;
      for (int64_t axis = 0; axis < d_; ++axis) {
        if (axis >= first && axis < end) continue;
        axes_.push_back(static_cast<int32_t>(axis));
        matrix_.push_back(p - 1 / (a * a * values[axis] + b * b));
      }
      rows = d_ - (end - first);
    }
    start_[k + 1] = start_[k] + rows;
  }
  row_square_.assign(static_cast<size_t>(start_[n_]), 0.0);
  offset_.assign(row_square_.size(), 0.0);
  if (!full_) matrix_.assign(static_cast<size_t>(n_ * target_.covariances->rank * target_.covariances->rank), 0.0);
  const int64_t widest = std::max<int64_t>(1, start_[n_] / n_) + 2;
  tile_ = std::clamp<int64_t>(tile_bytes / (widest * d_ * 4), 1, n_);
  return {};
}

// B and G (m - c) of components [first, end), unless they are at hand.
void MixtureDense::build_rows(int64_t first, int64_t end, ThreadPool& pool, const Execution& execution) {
  if (built_ == first) return;
  built_ = -1;
  const int64_t rows = start_[end] - start_[first], loads = end - first;
  rows_.resize(static_cast<size_t>((rows + loads) * d_));
  if (!full_) diagonal_.resize(static_cast<size_t>(loads * d_));
  pool.run(loads, [&](int64_t index, int) {
    if (execution.cancelled()) return;
    const Kernels& kernels = *set_.kernels;
    const int64_t k = first + index;
    std::vector<double> basis(static_cast<size_t>(at_.scratch_size())), mean(static_cast<size_t>(d_)), weight(mean.size());
    std::vector<double> row(mean.size());
    const GaussianView g = at_.view(k, basis.data());
    const int64_t entries = full_ ? 0 : target_.covariances->rank * target_.covariances->rank;
    const double a = at_.a(), b = at_.b();
    for (int64_t j = 0; j < d_; ++j) {
      mean[j] = g.mean[j] - origin_[j];
      weight[j] = full_ ? ground_[k] : 1 / (a * a * g.values[j] + b * b);
    }
    const auto put = [&](const double* scale, const double* values, float* out) {
      kernels.differences(&values, 1, nullptr, 0, scale, d_, row.data());
      for (int64_t j = 0; j < d_; ++j) out[j] = static_cast<float>(row[j]);
    };
    put(weight.data(), mean.data(), rows_.data() + (rows + index) * d_);
    load_[k] = a * length(row.data(), d_);
    if (!full_) {
      for (int64_t j = 0; j < d_; ++j) diagonal_[index * d_ + j] = static_cast<float>(weight[j]);
      least_[k] = *std::min_element(weight.begin(), weight.end());
      most_[k] = *std::max_element(weight.begin(), weight.end());
      at_.reduction(k, matrix_.data() + k * entries);
    }
    double squares = 0, size = 0;
    for (int64_t r = start_[k]; r < start_[k + 1]; ++r) {
      const int64_t axis = full_ ? axes_[r] : r - start_[k];
      float* out = rows_.data() + (r - start_[first]) * d_;
      if (axis >= (full_ ? d_ : g.rank)) {
        std::fill(out, out + d_, 0.0f);
        continue;
      }
      put(full_ ? nullptr : weight.data(), g.basis + axis * d_, out);
      row_square_[r] = kernels.weighted_square(row.data(), nullptr, d_);
      double along;
      kernels.row_products(row.data(), 1, d_, mean.data(), 1, &along, 1);
      offset_[r] = a * along;
      squares += row_square_[r];
      if (full_) size = std::max(size, std::abs(matrix_[r]));
    }
    if (!full_) size = length(matrix_.data() + k * entries, entries);
    second_order_[k] = size * squares;
  });
  if (!execution.cancelled()) built_ = first;
}

Status MixtureDense::run(const double* x, const std::vector<int32_t>& queries, const double* squares, int64_t stride,
                         const int32_t* known, const double* known_logits, ThreadPool& pool, const Execution& execution) {
  const auto count = static_cast<int64_t>(queries.size());
  stride_ = (count + digit_lanes - 1) / digit_lanes * digit_lanes;
  logit_.resize(static_cast<size_t>(n_ * stride_));
  weight_.resize(logit_.size());
  spread_.resize(logit_.size());
  certain_.resize(logit_.size());
  answered_.assign(static_cast<size_t>(count), 0);
  for (auto* v : {&chain_, &moved_, &error_score_, &error_log_density_, &scale_, &speed_, &moved_weights_, &second_}) {
    v->assign(static_cast<size_t>(count), 0.0);
  }
  score_.resize(static_cast<size_t>(count * d_));
  const int64_t fit = block_bytes / ((start_[n_] + n_) * 4), step = std::clamp<int64_t>(fit / digit_lanes * digit_lanes, digit_lanes, 256);
  for (int64_t first = 0; first < count && !execution.cancelled(); first += step) {
    answer_block(x, queries.data(), first, std::min(step, count - first), squares, stride, known, known_logits, pool, execution);
  }
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

void MixtureDense::answer_block(const double* x, const int32_t* queries, int64_t first, int64_t count, const double* squares,
                                int64_t stride, const int32_t* known, const double* known_logits, ThreadPool& pool,
                                const Execution& execution) {
  const int64_t groups = (count + digit_lanes - 1) / digit_lanes, blocks = (groups + groups_at_once - 1) / groups_at_once;
  lanes_ = LineBytes(groups * d_ * digit_lanes * 4);
  h_ = LineBytes(groups * start_[n_] * digit_lanes * 4);
  pool.run(groups, [&](int64_t group, int) { pack(x, queries, first, group, count); });
  for (int64_t tile = 0; tile < n_; tile += tile_) {
    const int64_t end = std::min(n_, tile + tile_);
    build_rows(tile, end, pool, execution);
    // Components that pass together: about rows_at_once rows.
    const int64_t rows = std::max<int64_t>(1, (start_[end] - start_[tile]) / (end - tile));
    const int64_t step = std::max<int64_t>(1, rows_at_once / rows);
    const int64_t parts = (end - tile + step - 1) / step;
    pool.run(parts * blocks, [&](int64_t item, int) {
      if (execution.cancelled()) return;
      const int64_t k = tile + item % parts * step, group = item / parts * groups_at_once;
      find_logits(k, std::min(end, k + step), group, std::min(groups_at_once, groups - group), queries, first, count, squares, stride);
    });
    if (execution.cancelled()) return;
  }
  std::vector<uint8_t> live(static_cast<size_t>(groups), 0);
  for (int64_t q = first; q < first + count; ++q) {
    answered_[q] = weigh(q, squares, stride, queries[q], known ? known[queries[q]] : -1, known ? known_logits[queries[q]] : 0) ? 1 : 0;
    live[(q - first) / digit_lanes] |= answered_[q];
  }
  if (std::none_of(live.begin(), live.end(), [](uint8_t any) { return any != 0; })) return;
  sums_.assign(static_cast<size_t>(groups * d_ * digit_lanes), 0.0);
  gains_.assign(full_ ? 0 : sums_.size(), 0.0);
  const int64_t columns = (d_ + columns_at_once - 1) / columns_at_once;
  for (int64_t tile = 0; tile < n_; tile += tile_) {
    const int64_t end = std::min(n_, tile + tile_);
    build_rows(tile, end, pool, execution);
    pool.run(columns * blocks, [&](int64_t item, int) {
      const int64_t group = item / columns * groups_at_once;
      if (execution.cancelled()) return;
      add_columns(tile, end, item % columns * columns_at_once, group, std::min(groups_at_once, groups - group), first);
    });
    if (execution.cancelled()) return;
  }
  pool.run(count, [&](int64_t q, int) {
    if (answered_[first + q]) answer(x + queries[first + q] * d_, first + q, q / digit_lanes, static_cast<int>(q % digit_lanes));
  });
}

void MixtureDense::pack(const double* x, const int32_t* queries, int64_t first, int64_t group, int64_t count) {
  float* lanes_of = reinterpret_cast<float*>(lanes_.data()) + group * d_ * digit_lanes;
  for (int lane = 0; lane < digit_lanes; ++lane) {
    const int64_t q = group * digit_lanes + lane;
    if (q >= count) continue;  // zero
    const double* row = x + queries[first + q] * d_;
    double most = 0, moved = 0, longest[2] = {}, part[2] = {};
    for (int64_t j = 0; j < d_; ++j) {
      const double value = std::fma(-at_.a(), origin_[j], row[j]);
      const float single = static_cast<float>(value);
      lanes_of[j * digit_lanes + lane] = single;
      moved += (value - static_cast<double>(single)) * (value - static_cast<double>(single));
      most = std::max(most, value * value);
      for (int level = 0; level < 2; ++level) {
        part[level] += value * value;
        longest[level] = std::max(longest[level], part[level]);
        if ((j + 1) % (level == 0 ? chain : chain * chains) == 0) part[level] = 0;
      }
    }
    const double rounded = static_cast<double>(chain) * longest[0] + static_cast<double>(chains - 1) * longest[1] + most;
    chain_[first + q] = 1.01 * deviations * unit * std::sqrt(rounded);
    moved_[first + q] = 1.01 * std::sqrt(moved);
  }
}

// Logits of components [k0, k1) for up to four groups of queries.
void MixtureDense::find_logits(int64_t k0, int64_t k1, int64_t group, int64_t groups, const int32_t* queries, int64_t first, int64_t count,
                               const double* squares, int64_t stride) {
  const int64_t rows = start_[k1] - start_[k0], rank = target_.covariances->rank;
  std::vector<double> product(static_cast<size_t>(groups * rows * digit_lanes)), h(full_ ? 0 : static_cast<size_t>(rank * digit_lanes));
  const float* values = rows_.data() + (start_[k0] - start_[built_]) * d_;
  const float* x = reinterpret_cast<const float*>(lanes_.data()) + group * d_ * digit_lanes;
  set_.dense->products(values, d_, 1, static_cast<int>(rows), d_, x, static_cast<int>(groups), chain, chains, product.data(), rows);
  const double rounding = (at_.model().logit_units + 64) * small, offset = at_.model().logit_offset * small;
  for (int64_t g = 0; g < groups; ++g) {
    float* out = reinterpret_cast<float*>(h_.data()) + ((group + g) * start_[n_] + start_[k0]) * digit_lanes;
    for (int64_t k = k0; k < k1; ++k) {
      const int64_t size = start_[k + 1] - start_[k];
      double* t = product.data() + (g * rows + start_[k] - start_[k0]) * digit_lanes;
      double along[digit_lanes] = {}, weighted[digit_lanes] = {};
      for (int64_t i = 0; i < size; ++i) {
        for (int lane = 0; lane < digit_lanes; ++lane) t[i * digit_lanes + lane] -= offset_[start_[k] + i];
      }
      for (int64_t i = 0; i < size; ++i) {
        double value[digit_lanes] = {};
        if (full_) {
          for (int lane = 0; lane < digit_lanes; ++lane) value[lane] = matrix_[start_[k] + i] * t[i * digit_lanes + lane];
        } else {
          const double* m = matrix_.data() + (k * rank + i) * rank;
          for (int64_t s = 0; s < rank; ++s) {
            for (int lane = 0; lane < digit_lanes; ++lane) value[lane] += m[s] * t[s * digit_lanes + lane];
          }
        }
        const double square = row_square_[start_[k] + i];
        for (int lane = 0; lane < digit_lanes; ++lane) {
          along[lane] += value[lane] * t[i * digit_lanes + lane];
          weighted[lane] += square * value[lane] * value[lane];
          *out++ = static_cast<float>(value[lane]);
        }
      }
      const double bias = target_.log_weight(k) - at_.half_log_det(k);
      // |B^T h| is at most this times H: the rows of B are orthogonal, or any.
      const double root = std::sqrt(static_cast<double>(full_ ? 1 : std::max<int64_t>(1, size)));
      for (int lane = 0; lane < digit_lanes; ++lane) {
        const int64_t q = (group + g) * digit_lanes + lane;
        if (q >= count) break;
        const double ground = ground_[k] * squares[k * stride + queries[first + q]], norm = std::sqrt(weighted[lane]);
        const double form = std::max(ground - along[lane], 0.0), moved = moved_[first + q], shaken = chain_[first + q];
        const int64_t to = k * stride_ + first + q;
        logit_[to] = bias - 0.5 * form;
        spread_[to] = static_cast<float>(1.001 * norm);
        const double exact = rounding * (ground + std::abs(along[lane])) + offset + small * std::abs(bias);
        const double curved = second_order_[k] * (shaken + moved) * (shaken + moved);
        certain_[to] = static_cast<float>(1.001 * (root * norm * moved + 0.5 * shared_error_[k] * ground + exact + curved));
      }
    }
  }
}

float MixtureDense::upper(int64_t k, int64_t i) const {
  const int64_t at = k * stride_ + i;
  const double bound = logit_[at] + 10 * (chain_[i] * static_cast<double>(spread_[at]) + static_cast<double>(certain_[at])) + 1e-6;
  return static_cast<float>(std::max(bound + 2e-7 * std::abs(bound), -1e38));
}

// Weights of a query and what its bounds need; false where float64 is to answer.
bool MixtureDense::weigh(int64_t q, const double* squares, int64_t stride, int32_t at, int32_t known, double known_logit) {
  double known_error = 0;
  if (known >= 0) {
    logit_[known * stride_ + q] = known_logit;
    const double form = squares[known * stride + at] * ground_[known];
    known_error = (at_.model().logit_units * form + at_.model().logit_offset + 4 * std::abs(known_logit)) * small;
  }
  double top = -INFINITY, total = 0;
  for (int64_t k = 0; k < n_; ++k) top = std::max(top, logit_[k * stride_ + q]);
  const double reach = canonical_reach(n_);
  int64_t entered = 0;
  for (int64_t k = 0; k < n_; ++k) {
    double& weight = weight_[k * stride_ + q];
    const bool enters = logit_[k * stride_ + q] >= top - reach;
    weight = enters ? std::exp(logit_[k * stride_ + q] - top) : 0;
    total += weight;
    entered += enters ? 1 : 0;
  }
  if (entered <= few()) return false;
  double random = 0, heaviest = 0, worst = 0, certain = 0, certain_square = 0, second = 0, speed = 0, scale = 0;
  for (int64_t k = 0; k < n_; ++k) {
    const int64_t to = k * stride_ + q;
    double& weight = weight_[to];
    if (weight == 0) continue;
    weight /= total;
    const double norm = static_cast<double>(spread_[to]), sure = static_cast<double>(certain_[to]);
    const double ground = ground_[k] * squares[k * stride + at];
    const double form = 2 * std::max(0.0, target_.log_weight(k) - at_.half_log_det(k) - logit_[to]);
    second += weight * weight * (norm * norm + load_[k] * load_[k]);
    speed += weight * most_[k] * form;
    if (ground > 0) scale += weight * form * std::sqrt(least_[k] / ground);
    if (k == known) continue;
    random += weight * weight * norm * norm;
    heaviest = std::max(heaviest, weight * norm * norm);
    worst = std::max(worst, norm);
    certain += weight * sure;
    certain_square += weight * sure * sure;
  }
  const double shaken = chain_[q];
  const double square = (shaken * worst) * (shaken * worst);
  error_log_density_[q] = shaken * std::sqrt(random) + certain + square + known_error;
  moved_weights_[q] = shaken * std::sqrt(heaviest) + std::sqrt(certain_square) + square + known_error;
  second_[q] = std::sqrt(second);
  speed_[q] = speed;
  scale_[q] = scale;
  return error_log_density_[q] <= 0.95 * log_density_contract;
}

// sums and gains of columns [column, ...) for up to four groups, over the components of a tile.
void MixtureDense::add_columns(int64_t k0, int64_t k1, int64_t column, int64_t group, int64_t groups, int64_t first) {
  const DenseKernels& dense = *set_.dense;
  const int64_t columns = std::min(columns_at_once, d_ - column), rows = start_[k1] - start_[k0], all = rows + (k1 - k0);
  std::vector<double> product(static_cast<size_t>(groups * columns * digit_lanes));
  std::vector<float> factors(static_cast<size_t>(groups * std::min(all, rows_at_once) * digit_lanes));
  std::vector<int32_t> owner(static_cast<size_t>(all));
  for (int64_t k = k0; k < k1; ++k) {
    std::fill(owner.begin() + (start_[k] - start_[k0]), owner.begin() + (start_[k + 1] - start_[k0]), static_cast<int32_t>(k));
    owner[rows + k - k0] = static_cast<int32_t>(k);
  }
  double one[digit_lanes], none[digit_lanes] = {};
  std::fill(one, one + digit_lanes, 1.0);
  const auto weight_of = [&](int64_t k, int64_t g, int lane) {
    const int64_t q = first + (group + g) * digit_lanes + lane;
    return q < static_cast<int64_t>(answered_.size()) && answered_[q] ? weight_[k * stride_ + q] : 0;
  };
  const auto add = [&](const float* values, int64_t steps, std::vector<double>& to) {
    dense.products(values, 1, d_, static_cast<int>(columns), steps, factors.data(), static_cast<int>(groups), chain, chains, product.data(), columns);
    for (int64_t g = 0; g < groups; ++g) {
      dense.accumulate(to.data() + ((group + g) * d_ + column) * digit_lanes, product.data() + g * columns * digit_lanes, columns, one, one, none,
                       nullptr);
    }
  };
  for (int64_t row = 0; row < all; row += rows_at_once) {
    const int64_t steps = std::min(rows_at_once, all - row);
    for (int64_t g = 0; g < groups; ++g) {
      const float* h = reinterpret_cast<const float*>(h_.data()) + ((group + g) * start_[n_] + start_[k0]) * digit_lanes;
      for (int64_t s = 0; s < steps; ++s) {
        for (int lane = 0; lane < digit_lanes; ++lane) {
          const int64_t r = row + s;
          const double value = r < rows ? static_cast<double>(h[r * digit_lanes + lane]) : at_.a();
          factors[(g * steps + s) * digit_lanes + lane] = static_cast<float>(weight_of(owner[r], g, lane) * value);
        }
      }
    }
    add(rows_.data() + row * d_ + column, steps, sums_);
  }
  for (int64_t k = k0; k < k1 && !full_; k += rows_at_once) {
    const int64_t steps = std::min(rows_at_once, k1 - k);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t s = 0; s < steps * digit_lanes; ++s) {
        factors[g * steps * digit_lanes + s] = static_cast<float>(weight_of(k + s / digit_lanes, g, static_cast<int>(s % digit_lanes)));
      }
    }
    add(diagonal_.data() + (k - k0) * d_ + column, steps, gains_);
  }
}

// The score of a query and its bounds.
void MixtureDense::answer(const double* x, int64_t q, int64_t group, int lane) {
  double* score = score_.data() + q * d_;
  double shared = 0, gained = 0, square = 0;
  for (int64_t k = 0; k < n_ && full_; ++k) shared += weight_[k * stride_ + q] * ground_[k];
  for (int64_t j = 0; j < d_; ++j) {
    const int64_t from = (group * d_ + j) * digit_lanes + lane;
    const double pull = std::fma(-at_.a(), origin_[j], x[j]) * (full_ ? shared : gains_[from]);
    score[j] = sums_[from] - pull;
    gained += pull * pull;
    square += score[j] * score[j];
  }
  constexpr double within = chain * chain + (chains - 1) * chain * chains + 4;
  const double speed = std::sqrt(speed_[q]), spread = std::sqrt(std::max(speed_[q] - square, 0.0) + 1e-5 * speed_[q]);
  const double rounded = deviations * unit * std::sqrt(within) * second_[q] + (full_ ? small * 64 : (chain + chains + 6) * unit) * std::sqrt(gained);
  const double exact = (at_.model().velocity_units + 256) * small + shared_axes;
  error_score_[q] = 1.02 * (moved_weights_[q] * spread + rounded + exact * (speed + std::sqrt(square)));
  error_log_density_[q] = 1.02 * error_log_density_[q];
  answered_[q] = error_score_[q] <= score_contract * scale_[q] ? 1 : 0;
}

}  // namespace regimes
