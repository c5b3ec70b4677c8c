#include "mixture_bounds.h"

#include <algorithm>
#include <cmath>

#include "line_bytes.h"

namespace regimes {
namespace {

constexpr int64_t tile_components = 32;
constexpr int64_t tile_bytes = int64_t{1} << 18;  // byte rows that stay in the second-level cache while the queries pass
constexpr double up = 1 + 1e-9;  // covers roundings of norms in float64
constexpr uint8_t middle = 128;

}  // namespace

struct MixtureBounds::Packed {
  LineBytes digits;
  int groups = 0;
  std::vector<ScreenQueries> queries;                       // [groups]
  std::vector<double> step, digit_sum, error, norm;         // [groups * 16], of the directions' products
};

MixtureBounds::MixtureBounds(const Instructions& set, const Target& target, const GaussiansAt& at)
    : set_(set), target_(target), screen_(*target.screen), at_(at), n_(target.n), d_(target.d), shared_(at.shared_precision()) {}

Status MixtureBounds::build(ThreadPool& pool, const Execution& execution) {
  const Covariances& c = *target_.covariances;
  directions_ = c.type == Covariances::Type::low_rank ? c.rank : 0;
  components_.resize(static_cast<size_t>(n_));
  if (directions_ > 0) {
    const auto count = static_cast<size_t>(n_ * directions_);
    rows_.assign(count * screen_.stride + 64, 0);
    for (auto* v : {&size_, &byte_norm_, &remainder_, &offset_, &offset_error_}) v->assign(count, 0.0);
    share_.resize(static_cast<size_t>(n_));
    map_.assign(count * directions_, 0.0);
  }
  loads_ = screen_.scale;
  for (int64_t j = 0; j < d_ && !shared_.empty(); ++j) loads_[j] *= shared_[j];
  levels_.assign(screen_.centre.begin(), screen_.centre.end());
  double together = 0, largest = 1;
  if (!shared_.empty()) {
    largest = *std::max_element(shared_.begin(), shared_.end());
    for (int64_t j = 0; j < d_; ++j) together += shared_[j] * screen_.largest_residual[j] * screen_.largest_residual[j];
  }
  together = std::sqrt(together) * up;
  const double a = at_.a();
  const int64_t grain = std::max<int64_t>(1, 32768 / (d_ * (1 + directions_))), tasks = (n_ + grain - 1) / grain;
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.size()));
  pool.run(tasks, [&](int64_t task, int worker) {
    std::vector<double>& values = scratch[worker];
    values.resize(static_cast<size_t>(std::max<int64_t>(2 * d_ + at_.scratch_size(), 1)));
    if (execution.cancelled()) return;
    for (int64_t k = task * grain; k < std::min(n_, (task + 1) * grain); ++k) {
      ScreenRow& row = components_[k];
      row.bias = target_.log_weight(k) - at_.half_log_det(k);
      if (directions_ > 0) {
        build_component(k, values);
        continue;
      }
      double square = screen_.image_square[k];
      row.residual = a * screen_.residual[k] * up;
      if (!shared_.empty()) {
        const DataView bytes{screen_.rows.data(), n_, screen_.stride, Dtype::u8, 1, 0};
        double* level = values.data();
        set_.kernels->convert(bytes, k * screen_.stride, d_, level);
        for (int64_t j = 0; j < d_; ++j) level[j] = screen_.scale[j] * (level[j] - static_cast<double>(screen_.centre[j]));
        square = set_.kernels->weighted_square(level, shared_.data(), d_);
        row.residual = a * std::min(std::sqrt(largest) * screen_.residual[k], together) * up;
      }
      row.square = a * a * square;
      row.byte_norm = screen_.byte_norm[k];
      row.scale = at_.precision_scale(k) * (1 - 1e-12 - std::min(0.5, 2 * at_.model().logit_units * 0x1p-53));
    }
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

void MixtureBounds::build_component(int64_t k, std::vector<double>& scratch) {
  double* row = scratch.data();
  double* centred = row + d_;
  const GaussianView g = at_.view(k, row + 2 * d_);
  const double a = at_.a(), b = at_.b();
  std::vector<double> precision(static_cast<size_t>(d_));
  for (int64_t j = 0; j < d_; ++j) {
    precision[j] = 1 / (a * a * g.values[j] + b * b);
    centred[j] = g.mean[j] - screen_.origin[j];
  }
  double norm = 0;
  for (int64_t i = 0; i < g.rank * g.rank; ++i) {
    const double entry = a * a * g.spread[i] + (i % (g.rank + 1) == 0 ? 1 : 0);
    norm += entry * entry;
  }
  share_[k] = g.rank > 0 ? 1 - (1 - 1e-9) / std::sqrt(norm) : 0;
  const double centred_norm = std::sqrt(set_.kernels->weighted_square(centred, nullptr, d_));
  for (int64_t s = 0; s < g.rank; ++s) {
    const int64_t at = k * directions_ + s;
    const double* direction = g.basis + s * d_;
    const double largest = set_.kernels->weighted_bytes(direction, precision.data(), d_, nullptr, row, rows_.data() + at * screen_.stride);
    const double length = std::sqrt(set_.kernels->weighted_square(row, nullptr, d_));
    // Every byte is within half a step, and the sizes of its roundings.
    const double size = largest / 127, remainder = (largest > 1e-290 ? 0.5 * size : largest) * std::sqrt(static_cast<double>(d_)) * up;
    double along;
    set_.kernels->row_products(row, 1, d_, centred, 1, &along, 1);
    size_[at] = size;
    byte_norm_[at] = size > 0 ? (length + remainder) / size * up : 0;
    remainder_[at] = remainder + 1e-11 * length;
    offset_[at] = a * along;
    offset_error_[at] = 1e-11 * length * a * centred_norm;
    std::copy_n(g.map + s * g.rank, g.rank, map_.data() + (k * directions_ + s) * directions_);
  }
}

int64_t MixtureBounds::bytes() const {
  const size_t numbers = shared_.size() + loads_.size() + levels_.size() + size_.size() + byte_norm_.size() + remainder_.size() + offset_.size() +
                         offset_error_.size() + map_.size() + share_.size();
  return static_cast<int64_t>(numbers * sizeof(double) + components_.size() * sizeof(ScreenRow) + rows_.size());
}

// 16 queries from `group` * 16 on; missing ones repeat the last.
void MixtureBounds::pack(const double* x, int64_t group, int64_t count, Packed& packed) const {
  const DigitKernels& digits = *set_.digits;
  const Kernels& kernels = *set_.kernels;
  const double a = at_.a();
  std::vector<double> centred(static_cast<size_t>(d_)), t(centred.size());
  std::vector<int32_t> fixed(static_cast<size_t>(digit_lanes * d_));
  const double root = std::sqrt(static_cast<double>(d_));
  // The roundings of t and of its digits, absolute in its largest entry , which is limit_one steps.
  const double rounding = 1e-14 * static_cast<double>(digits.limit_one) * root;
  ScreenQueries& q = packed.queries[group];
  for (int lane = 0; lane < digit_lanes; ++lane) {
    const double* row = x + std::min<int64_t>(group * digit_lanes + lane, count - 1) * d_;
    kernels.differences(&row, 1, screen_.origin.data(), a, nullptr, d_, centred.data());
    if (directions_ > 0) {
      const int64_t at = group * digit_lanes + lane;
      const double left = kernels.round_to_digits(centred.data(), d_, digits.limit_one, nullptr, fixed.data() + lane * d_, &packed.step[at],
                                                  &packed.digit_sum[at]);
      packed.norm[at] = std::sqrt(kernels.weighted_square(centred.data(), nullptr, d_)) * up;
      packed.error[at] = (std::sqrt(left) + rounding * packed.step[at] + 1e-289 * root) * up;
      continue;
    }
    kernels.differences(&row, 1, screen_.origin.data(), a, loads_.data(), d_, t.data());
    double step, centre;
    const double rest = kernels.round_to_digits(t.data(), d_, digits.limit_one, levels_.data(), fixed.data() + lane * d_, &step, &centre);
    q.square[lane] = kernels.weighted_square(centred.data(), shared_.empty() ? nullptr : shared_.data(), d_);
    q.gain[lane] = 2 * a * step;
    q.centre[lane] = centre;
    q.slack[lane] = 2 * a * (std::sqrt(rest) + rounding * step + 1e-289 * root) * up;
    q.residual[lane] = 0x1p-50 * std::sqrt(q.square[lane]);
  }
  digits.pack_group(fixed.data(), d_, 1, packed.digits.data() + group * digits.group_bytes(d_, 1));
}

void MixtureBounds::find(const double* x, int64_t count, const double* squares, ThreadPool& pool, const Execution& execution, float* bounds,
                         int64_t stride) const {
  const DigitKernels& digits = *set_.digits;
  Packed packed;
  packed.groups = static_cast<int>((count + digit_lanes - 1) / digit_lanes);
  packed.digits = LineBytes(packed.groups * digits.group_bytes(d_, 1));
  packed.queries.resize(static_cast<size_t>(packed.groups));
  if (directions_ > 0) {
    for (auto* v : {&packed.step, &packed.digit_sum, &packed.error, &packed.norm}) v->resize(static_cast<size_t>(packed.groups * digit_lanes));
  }
  pool.run(packed.groups, [&](int64_t group, int) { pack(x, group, count, packed); });

  // About 2 ms of products per task.
  const int64_t width = std::max<int64_t>(1, directions_), cost = count * d_ * width;
  const int64_t fit = std::min((int64_t{1} << 27) / std::max<int64_t>(cost, 1), tile_bytes / (screen_.stride * width));
  const int64_t tile = std::clamp<int64_t>(fit, 1, tile_components);
  const int64_t tasks = (n_ + tile - 1) / tile;
  pool.run(tasks, [&](int64_t task, int) {
    if (execution.cancelled()) return;
    const int64_t first = task * tile, end = std::min(n_, first + tile);
    const int rows = static_cast<int>(end - first), direction_rows = static_cast<int>(rows * directions_);
    if (directions_ == 0) {
      std::vector<double> products(static_cast<size_t>(packed.groups) * rows * digit_lanes);
      digits.group_products(screen_.rows.data() + first * screen_.stride, screen_.stride, rows, d_, packed.digits.data(), packed.groups, 1,
                            products.data(), rows);
      for (int g = 0; g < packed.groups; ++g) {
        set_.kernels->screen_bounds(products.data() + int64_t{g} * rows * digit_lanes, rows, packed.queries[g], components_.data() + first,
                                    bounds + first * stride + int64_t{g} * digit_lanes, stride);
      }
      return;
    }
    std::vector<double> along(static_cast<size_t>(packed.groups) * direction_rows * digit_lanes);
    std::vector<double> error(static_cast<size_t>(directions_ * digit_lanes));
    digits.group_products(rows_.data() + first * directions_ * screen_.stride, screen_.stride, direction_rows, d_, packed.digits.data(),
                          packed.groups, 1, along.data(), direction_rows);
    for (int g = 0; g < packed.groups; ++g) {
      for (int r = 0; r < rows; ++r) {
        double total[digit_lanes] = {};
        // t and its error in place of the products, then c = map t.
        double* t = along.data() + (int64_t{g} * direction_rows + r * directions_) * digit_lanes;
        const int64_t q = int64_t{g} * digit_lanes;
        for (int64_t s = 0; s < directions_; ++s) {
          const int64_t at = (first + r) * directions_ + s;
          for (int lane = 0; lane < digit_lanes; ++lane) {
            double& product = t[s * digit_lanes + lane];
            product = size_[at] * (packed.step[q + lane] * (product - middle * packed.digit_sum[q + lane])) - offset_[at];
            error[s * digit_lanes + lane] =
                size_[at] * byte_norm_[at] * packed.error[q + lane] + (remainder_[at] * packed.norm[q + lane] + offset_error_[at]);
          }
        }
        for (int64_t i = 0; i < directions_; ++i) {
          const double* map = map_.data() + ((first + r) * directions_ + i) * directions_;
          double c[digit_lanes] = {}, most[digit_lanes] = {};
          for (int64_t s = 0; s < directions_; ++s) {
            const double weight = map[s], size = std::abs(weight);
            if (weight == 0) continue;
            for (int lane = 0; lane < digit_lanes; ++lane) {
              c[lane] += weight * t[s * digit_lanes + lane];
              most[lane] += size * error[s * digit_lanes + lane];
            }
          }
          for (int lane = 0; lane < digit_lanes; ++lane) {
            const double largest = (c[lane] < 0 ? -c[lane] : c[lane]) * up + most[lane];
            total[lane] += largest * largest;
          }
        }
        const int64_t k = first + r;
        const double unsure = 1e-12 + std::min(0.5, 2 * at_.model().logit_units * 0x1p-53);
        for (int lane = 0; lane < digit_lanes; ++lane) {
          const double form = std::max(squares[k * stride + q + lane] * (1 - unsure) - total[lane] * (share_[k] * up), 0.0);
          const double bound = components_[k].bias - 0.5 * form * (1 - unsure);
          bounds[k * stride + q + lane] = static_cast<float>(std::max(bound + (std::abs(bound) * 2e-7 + 1e-30), -1e38));
        }
      }
    }
  });
}

}  // namespace regimes
