#include "dense_queries.h"

#include <algorithm>
#include <cmath>

namespace regimes {
namespace {

constexpr int64_t most_singles = 12;  // queries of a group that are faster one by one

// The summed squares of the partial sums that the chains of one row round, in units of |y'_i|^2: a partial sum is at most the product
// of the norms of its parts of x' and y'_i. Within chains, whose sums are rounded once more as they are shrunk, and of the sums of chains.
double rounded_squares(const double* x, int64_t d) {
  double within = 0, between = 0;
  for (int64_t span = 0; span < d; span += first_chain * chains) {
    double before = 0, sums = 0;
    const int64_t end = std::min(span + first_chain * chains, d);
    for (int64_t start = span; start < end; start += first_chain) {
      double square = 0, partial = 0;
      for (int64_t j = start; j < std::min(start + first_chain, end); ++j) {
        square += x[j] * x[j];
        partial += square;
      }
      within = std::max(within, partial + square);
      before += square;
      if (start > span) sums += before;
    }
    between = std::max(between, sums);
  }
  return within + between;
}

}  // namespace

int64_t DenseQueries::bytes_of_single(const DigitKernels& digits, int64_t d, Form form) {
  if (form == Form::fixed) return digits.single_bytes(d, digits.full_planes);
  return d * static_cast<int64_t>(sizeof(float));
}

void DenseQueries::prepare(const Instructions& set, const DigitRows& rows, const MatrixView& x, int64_t first, int64_t queries, double a,
                           double kappa, Form form, bool bytes, const ChainStretch& stretch, ThreadPool& pool) {
  const DigitKernels& digits = *set.digits;
  const Kernels& kernels = *set.kernels;
  const int64_t d = x.columns;
  const bool fixed = form == Form::fixed;
  count = queries;
  groups = (count + digit_lanes - 1) / digit_lanes;
  const int64_t group_bytes = fixed ? digits.group_bytes(d, digits.full_planes) : d * digit_lanes * static_cast<int64_t>(sizeof(float));
  const int64_t last = count - (groups - 1) * digit_lanes, single_bytes = bytes_of_single(digits, d, form);
  each.assign(static_cast<size_t>(count), DenseQuery{});
  centred.assign(static_cast<size_t>(count * d), 0);
  displacement.assign(static_cast<size_t>(count * d), 0);
  slope.assign(static_cast<size_t>(groups * digit_lanes), 0);
  offset.assign(slope.size(), 0);
  packed = LineBytes(groups * group_bytes);
  single_count = bytes && last <= most_singles ? last : 0;
  singles = LineBytes(single_count * single_bytes);
  const std::vector<double> levels(rows.centre.begin(), rows.centre.end());

  pool.run(groups, [&](int64_t g, int) {
    std::vector<int32_t> whole(fixed ? static_cast<size_t>(digit_lanes * d) : 0);
    std::vector<double> scaled(static_cast<size_t>(d));
    float* single = reinterpret_cast<float*>(packed.data() + g * group_bytes);
    for (int lane = 0; lane < digit_lanes; ++lane) {
      const int64_t q = g * digit_lanes + lane;
      if (q >= count) {
        for (int64_t j = 0; !fixed && j < d; ++j) single[j * digit_lanes + lane] = 0;
        continue;
      }
      double *own = centred.data() + q * d, *moved = displacement.data() + q * d;
      const double* from = x.row(first + q);
      for (int64_t j = 0; j < d; ++j) own[j] = std::fma(-a, rows.origin[j], from[j]);
      for (int64_t j = 0; j < d; ++j) scaled[j] = bytes ? rows.scale[j] * own[j] : own[j];
      slope[q] = kappa;
      if (fixed) {
        // <x_q, y'> = step sum_j X_j (u_j - centre_j), X_j = round(scale_j x'_j / step).
        int32_t* to = whole.data() + lane * d;
        double step = 0, centre = 0;
        kernels.round_to_digits(scaled.data(), d, digits.limit_full, levels.data(), to, &step, &centre);
        for (int64_t j = 0; j < d; ++j) {
          if (rows.scale[j] > 0) moved[j] = own[j] - to[j] * step / rows.scale[j];
        }
        slope[q] *= step;
        offset[q] = slope[q] * centre;
        if (single_count > 0 && g == groups - 1) digits.pack_single(to, d, digits.full_planes, singles.data() + lane * single_bytes);
      } else {
        // <x_q, y'> = sum_j x_qj y'_j, or with bytes sum_j X_j (u_j - centre_j), X_j = scale_j x_qj.
        for (int64_t j = 0; j < d; ++j) {
          float& to = single[j * digit_lanes + lane];
          to = static_cast<float>(scaled[j] * stretch.stretch[j / first_chain]);
          const double scale = bytes ? rows.scale[j] : 1;
          if (scale > 0) moved[j] = own[j] - static_cast<double>(to) * static_cast<double>(stretch.shrink[j / first_chain]) / scale;
          each[q].largest = std::max(each[q].largest, std::abs(own[j]));
          if (single_count > 0 && g == groups - 1) reinterpret_cast<float*>(singles.data() + lane * single_bytes)[j] = to;
        }
        each[q].chain = std::sqrt(rounded_squares(own, d));
      }
      each[q].norm = std::sqrt(kernels.weighted_square(own, nullptr, d));
      each[q].moved = std::sqrt(kernels.weighted_square(moved, nullptr, d));
    }
    const bool singly = single_count > 0 && g == groups - 1;
    if (fixed && !singly) digits.pack_group(whole.data(), d, digits.full_planes, packed.data() + g * group_bytes);
  });
}

}  // namespace regimes
