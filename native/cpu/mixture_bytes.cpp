#include "mixture_bytes.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "../core/dither.h"
#include "line_bytes.h"

namespace regimes {
namespace {

constexpr int64_t tile_bytes = int64_t{1} << 18;  // byte rows that stay in the second-level cache while the queries pass
constexpr double deviations = 6, small = 0x1p-53;
constexpr double middle = 128;
constexpr int32_t most_digit = 32767;  // that fix_lanes sums exactly
constexpr double least_size = 1e-289;  // below, round_to_digits and weighted_bytes give 0

}  // namespace

struct MixtureBytes::Packed {
  LineBytes x, squares;
  std::vector<double> step, sum, norm;                        // [groups * 16] of x': its step, the sum of its digits, |x'|
  std::vector<double> square_step, square_sum, square_norm;   // of x'^2 - level
  std::vector<double> weighted;                               // sum common x'^2
};

MixtureBytes::MixtureBytes(const Instructions& set, const Target& target, const MixtureRows& rows)
    : set_(set), target_(target), rows_(rows), at_(rows.at()), n_(target.n), d_(target.d), rank_(target.covariances->rank),
      stride_((target.d + 63) / 64 * 64) {}

Status MixtureBytes::build(ThreadPool& pool, const Execution& execution) {
  const int64_t all = rows_.start(n_);
  values_.assign(static_cast<size_t>(all * stride_ + 64), 0);
  deviations_.assign(static_cast<size_t>(n_ * stride_ + 64), 0);
  step_.assign(static_cast<size_t>(all), 0.0);
  deviation_step_.assign(static_cast<size_t>(n_), 0.0);
  std::vector<uint32_t> bits(static_cast<size_t>(d_));
  for (int64_t j = 0; j < d_; ++j) bits[j] = column_bits(j);
  dither_.resize(bits.size());
  for (int64_t j = 0; j < d_; ++j) dither_[j] = dither_of(bits[j]);
  pool.run(n_, [&](int64_t k, int) {
    if (!execution.cancelled()) build_component(k, bits);
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

void MixtureBytes::build_component(int64_t k, const std::vector<uint32_t>& column_bits) {
  const auto width = static_cast<size_t>(d_);
  std::vector<double> basis(static_cast<size_t>(at_.scratch_size())), weight(width), mean(width), row(width), one(width, 1.0);
  std::vector<float> dither(width);
  const GaussianView g = at_.view(k, basis.data());
  const double a = at_.a(), b = at_.b();
  for (int64_t j = 0; j < d_; ++j) {
    weight[j] = 1 / (a * a * g.values[j] + b * b);
    mean[j] = a * (g.mean[j] - rows_.origin()[j]);
  }
  const int64_t first = rows_.start(k);
  // The step of weight * values; D takes the bits of a row that no component has.
  const auto put = [&](const double* values, const double* weight_of, int64_t bits_of, uint8_t* bytes) {
    const uint32_t own = row_bits(bits_of);
    for (int64_t j = 0; j < d_; ++j) dither[j] = dither_of(column_bits[j] ^ own);
    return set_.kernels->weighted_bytes(values, weight_of, d_, dither.data(), row.data(), bytes) / 127;
  };
  for (int64_t i = 0; i < g.rank; ++i) step_[first + i] = put(g.basis + i * d_, weight.data(), first + i, values_.data() + (first + i) * stride_);
  for (int64_t i = g.rank; i < rank_; ++i) std::fill_n(values_.begin() + (first + i) * stride_, d_, static_cast<uint8_t>(middle));
  step_[first + rank_] = put(mean.data(), weight.data(), first + rank_, values_.data() + (first + rank_) * stride_);
  for (int64_t j = 0; j < d_; ++j) weight[j] -= rows_.common()[j];
  deviation_step_[k] = put(weight.data(), one.data(), rows_.start(n_) + k, deviations_.data() + k * stride_);
}

// 16 queries from `group` * 16 on; missing ones repeat the last.
void MixtureBytes::pack(const double* x, int64_t group, int64_t count, Packed& packed) const {
  const DigitKernels& digits = *set_.digits;
  const auto size = static_cast<size_t>(digit_lanes * d_);
  std::unique_ptr<float[]> lanes(new float[2 * size]);
  std::unique_ptr<int32_t[]> whole(new int32_t[size]);
  const double* row[digit_lanes];
  for (int lane = 0; lane < digit_lanes; ++lane) row[lane] = x + std::min<int64_t>(group * digit_lanes + lane, count - 1) * d_;
  CentredLanes norms;
  set_.dense->centre_lanes(row, rows_.origin().data(), at_.a(), rows_.common().data(), rows_.level().data(), d_, d_, 1, nullptr, nullptr, lanes.get(),
                           lanes.get() + size, &norms);
  const auto fix = [&](const float* values, const ChainNorms& of, double* step, double* sum, double* norm, char* out) {
    float inverse[digit_lanes];
    for (int lane = 0; lane < digit_lanes; ++lane) {
      const double largest = std::sqrt(of.most[lane]);
      // Half a step below the limit, for what the dither adds; queries beyond its range are left without digits and bounds.
      const bool fits = largest > 1e-30 && largest < 1e30;
      step[lane] = fits ? largest / (std::min(digits.limit_one, most_digit) - 0.5) : 2 * largest;
      inverse[lane] = fits ? static_cast<float>(1 / step[lane]) : 0.0f;
      norm[lane] = fits || largest <= 1e-30 ? std::sqrt(of.total[lane]) : INFINITY;
    }
    set_.dense->fix_lanes(values, d_, inverse, dither_.data(), whole.get(), sum);
    digits.pack_lanes(whole.get(), d_, 1, out);
  };
  const int64_t at = group * digit_lanes, bytes = digits.group_bytes(d_, 1);
  std::copy_n(norms.weighted, digit_lanes, packed.weighted.data() + at);
  fix(lanes.get(), norms.x, packed.step.data() + at, packed.sum.data() + at, packed.norm.data() + at, packed.x.data() + group * bytes);
  fix(lanes.get() + size, norms.square, packed.square_step.data() + at, packed.square_sum.data() + at, packed.square_norm.data() + at,
      packed.squares.data() + group * bytes);
}

Status MixtureBytes::find(const double* x, int64_t count, ThreadPool& pool, const Execution& execution, double* logits, float* errors,
                          int64_t stride) const {
  const DigitKernels& digits = *set_.digits;
  const int64_t groups = (count + digit_lanes - 1) / digit_lanes;
  Packed packed;
  packed.x = LineBytes(groups * digits.group_bytes(d_, 1));
  packed.squares = LineBytes(groups * digits.group_bytes(d_, 1));
  for (auto* v : {&packed.step, &packed.sum, &packed.norm, &packed.square_step, &packed.square_sum, &packed.square_norm, &packed.weighted}) {
    v->resize(static_cast<size_t>(groups * digit_lanes));
  }
  pool.run(groups, [&](int64_t group, int) { pack(x, group, count, packed); });
  const int64_t tile = std::clamp<int64_t>(tile_bytes / (stride_ * (rank_ + 2)), 1, 32), tasks = (n_ + tile - 1) / tile;
  const double rounding = (at_.model().logit_units + 64) * small, offset = at_.model().logit_offset * small;
  pool.run(tasks, [&](int64_t task, int) {
    if (execution.cancelled()) return;
    const int64_t first = task * tile, end = std::min(n_, first + tile), from = rows_.start(first), all = rows_.start(end) - from;
    std::vector<double> product(static_cast<size_t>(groups * all * digit_lanes)), curved(static_cast<size_t>(groups * (end - first) * digit_lanes));
    std::vector<float> h(static_cast<size_t>(rank_ * digit_lanes));
    digits.group_products(values_.data() + from * stride_, stride_, static_cast<int>(all), d_, packed.x.data(), static_cast<int>(groups), 1,
                          product.data(), all);
    digits.group_products(deviations_.data() + first * stride_, stride_, static_cast<int>(end - first), d_, packed.squares.data(),
                          static_cast<int>(groups), 1, curved.data(), end - first);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t q = g * digit_lanes;
      for (int64_t k = first; k < end; ++k) {
        const MixtureRows::Component& c = rows_.component(k);
        double* t = product.data() + (g * all + rows_.start(k) - from) * digit_lanes;
        const double* square = curved.data() + (g * (end - first) + k - first) * digit_lanes;
        const double* step = step_.data() + rows_.start(k);
        for (int64_t i = 0; i <= rank_; ++i) {
          for (int lane = 0; lane < digit_lanes; ++lane) {
            t[i * digit_lanes + lane] = step[i] * (packed.step[q + lane] * (t[i * digit_lanes + lane] - middle * packed.sum[q + lane]));
          }
        }
        double along[digit_lanes], weighted[digit_lanes], stepped[digit_lanes] = {};
        set_.dense->component_forms(t, rank_, nullptr, rows_.offset(k), rows_.matrix(k), rank_, rows_.row_square(k), h.data(), along, weighted);
        double steps = step[rank_] * step[rank_];
        for (int64_t i = 0; i < rank_; ++i) {
          steps += step[i] * step[i];
          for (int lane = 0; lane < digit_lanes; ++lane) {
            const double value = static_cast<double>(h[i * digit_lanes + lane]) * step[i];
            stepped[lane] += value * value;
          }
        }
        const double bias = target_.log_weight(k) - at_.half_log_det(k), root = std::sqrt(static_cast<double>(rank_));
        for (int lane = 0; lane < digit_lanes; ++lane) {
          const double line = t[rank_ * digit_lanes + lane];
          const double bent = deviation_step_[k] * (packed.square_step[q + lane] * (square[lane] - middle * packed.square_sum[q + lane]));
          const double ground = packed.weighted[q + lane] + bent - 2 * line + c.constant, form = std::max(ground - along[lane], 0.0);
          const double x_step = packed.step[q + lane], y_step = packed.square_step[q + lane];
          const double norm = packed.norm[q + lane] + x_step * std::sqrt(static_cast<double>(d_));
          // Each of the four roundings by itself; then the second order in t.
          const double of_x = x_step * (root * std::sqrt(weighted[lane]) + c.load);
          const double of_rows = norm * std::sqrt(stepped[lane] + step[rank_] * step[rank_]);
          const double of_square = y_step * c.deviation, of_deviation = deviation_step_[k] * (packed.square_norm[q + lane] + y_step * std::sqrt(static_cast<double>(d_)));
          const double random = std::sqrt(of_x * of_x + of_rows * of_rows + 0.25 * (of_square * of_square + of_deviation * of_deviation));
          const double terms = packed.weighted[q + lane] + std::abs(bent) + 2 * std::abs(line) + std::abs(c.constant) + std::abs(along[lane]);
          const double shaken = 0.5 * deviations * x_step, largest = 0.5 * deviations * norm;
          const double curved_error = c.second_order * shaken * shaken + c.norm * largest * largest * (steps - step[rank_] * step[rank_]);
          const double error = 0.5 * deviations * random + 2 * curved_error + rounding * terms + offset + small * std::abs(bias) + least_size;
          logits[k * stride + q + lane] = bias - 0.5 * form;
          errors[k * stride + q + lane] = static_cast<float>(1.01 * error);
        }
      }
    }
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

int64_t MixtureBytes::bytes() const {
  return static_cast<int64_t>(values_.size() + deviations_.size() + (step_.size() + deviation_step_.size()) * sizeof(double));
}

}  // namespace regimes
