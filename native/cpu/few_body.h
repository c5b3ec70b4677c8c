// The kernels of few.h, written once over `Lanes`; see kernels_body.h for the rules.
#pragma once

#include "few.h"

namespace {

using regimes::FewLevel;
using regimes::FewSum;

constexpr int64_t few_block = 64;  // coordinates, in two chains

void few_to_lanes(const double* rows, int count, int64_t d, double* out) {
  for (int v = 0; v < 8; ++v) {
    const double* row = rows + (v < count ? v : count - 1) * d;
    for (int64_t j = 0; j < d; ++j) out[j * 8 + v] = row[j];
  }
}

void few_from_lanes(const double* lanes, int count, int64_t d, double* rows) {
  for (int v = 0; v < count; ++v) {
    for (int64_t j = 0; j < d; ++j) rows[v * d + j] = lanes[j * 8 + v];
  }
}

template <bool Wide>
inline Lanes few_term(const FewLevel& level, int64_t at, Lanes factor, Lanes x, Lanes sum) {
  const Lanes difference = subtract_product(x, factor, broadcast(level.means[at]));
  return multiply_add(Wide ? difference * broadcast(level.precision[at]) : difference, difference, sum);
}

template <bool Wide, int Count>
inline void few_distance_tile(const FewLevel& level, int64_t k, const double* x, double* out) {
  const int64_t d = level.d, first_mean = k * d;
  const Lanes factor = broadcast(level.a);
  Lanes total[Count];
#pragma GCC unroll 2
  for (int r = 0; r < Count; ++r) total[r] = broadcast(0);
  for (int64_t j = 0; j < d;) {
    const int64_t end = smaller(j + few_block, d);
    Lanes even[Count], odd[Count];
#pragma GCC unroll 2
    for (int r = 0; r < Count; ++r) even[r] = odd[r] = broadcast(0);
    for (; j + 2 <= end; j += 2) {
      const Lanes first = load(x + j * 8), second = load(x + (j + 1) * 8);
#pragma GCC unroll 2
      for (int r = 0; r < Count; ++r) {
        even[r] = few_term<Wide>(level, first_mean + r * d + j, factor, first, even[r]);
        odd[r] = few_term<Wide>(level, first_mean + r * d + j + 1, factor, second, odd[r]);
      }
    }
    if (j < end) {
      const Lanes last = load(x + j * 8);
#pragma GCC unroll 2
      for (int r = 0; r < Count; ++r) even[r] = few_term<Wide>(level, first_mean + r * d + j, factor, last, even[r]);
      ++j;
    }
#pragma GCC unroll 2
    for (int r = 0; r < Count; ++r) total[r] = total[r] + (even[r] + odd[r]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < Count; ++r) store(out + r * 8, total[r]);
}

template <bool Wide>
void few_distances_of(const FewLevel& level, const double* x, int64_t groups, double* out) {
  for (int64_t g = 0; g < groups; ++g, x += level.d * 8, out += level.n * 8) {
    int64_t k = 0;
    for (; k + 2 <= level.n; k += 2) few_distance_tile<Wide, 2>(level, k, x, out + k * 8);
    if (k < level.n) few_distance_tile<Wide, 1>(level, k, x, out + k * 8);
  }
}

void few_distances(const FewLevel& level, const double* x, int64_t groups, double* out) {
  if (level.wide) return few_distances_of<true>(level, x, groups, out);
  few_distances_of<false>(level, x, groups, out);
}

bool few_weigh(const FewLevel& level, const double* distances, int64_t groups, double* logits, double* weights) {
  const int64_t n = level.n;
  const Lanes least = broadcast(-1e307), limit = broadcast(1e306), one = broadcast(1);
  bool finite = true;
  for (int64_t g = 0; g < groups; ++g, distances += n * 8, logits += n * 8, weights += n * 8) {
    finite = finite && all(less(load(distances) * broadcast(level.half_scale[0]), limit));
    Lanes top = least + least;
    for (int64_t k = 0; k < n; ++k) {
      const Lanes logit = max(load(distances + k * 8) * broadcast(-level.half_scale[k]), least) + broadcast(level.bias[k]);
      store(logits + k * 8, logit);
      top = max(top, logit);
    }
    Lanes total = broadcast(0);
    for (int64_t k = 0; k < n; ++k) {
      const Lanes weight = exponential(load(logits + k * 8) - top);
      store(weights + k * 8, weight);
      total = total + weight;
    }
    const Lanes inverse = one / total;
    for (int64_t k = 0; k < n; ++k) store(weights + k * 8, load(weights + k * 8) * inverse);
  }
  return finite;
}

// Coordinates j ... j + Count - 1 of one group. Spherical: the mean is alpha x + sum_k beta_k m_k. N Gaussians, 0: any number.
template <bool Wide, int N, int Count>
inline void few_sum_tile(const FewLevel& level, const FewSum& sum, int64_t base, int64_t j, Lanes alpha, const double* beta) {
  Lanes total[Count];
  const int64_t at = base + j * 8, n = N > 0 ? N : level.n;
#pragma GCC unroll 4
  for (int t = 0; t < Count; ++t) total[t] = broadcast(0);
  if (sum.x != nullptr) {
    Lanes gain[Count];
#pragma GCC unroll 4
    for (int t = 0; t < Count; ++t) gain[t] = alpha;
#pragma GCC unroll 2
    for (int64_t k = 0; k < n; ++k) {
      const Lanes weight = load(beta + k * 8);
      const double* shift = (Wide ? level.shift : level.means) + k * level.d + j;
#pragma GCC unroll 4
      for (int t = 0; t < Count; ++t) total[t] = multiply_add(weight, broadcast(shift[t]), total[t]);
      if (!Wide) continue;
      const double* own = level.gain + k * level.d + j;
#pragma GCC unroll 4
      for (int t = 0; t < Count; ++t) gain[t] = multiply_add(weight, broadcast(own[t]), gain[t]);
    }
#pragma GCC unroll 4
    for (int t = 0; t < Count; ++t) total[t] = multiply_add(gain[t], load(sum.x + at + t * 8), total[t]);
  }
  for (int64_t i = 0; i < sum.count; ++i) {
    const Lanes factor = broadcast(sum.factors[i]);
    const double* term = sum.terms[i] + at;
#pragma GCC unroll 4
    for (int t = 0; t < Count; ++t) total[t] = multiply_add(factor, load(term + t * 8), total[t]);
  }
#pragma GCC unroll 4
  for (int t = 0; t < Count; ++t) store(sum.out + at + t * 8, total[t]);
}

template <bool Wide, int N>
void few_sum_of(const FewLevel& level, const FewSum& sum, int64_t groups) {
  alignas(64) double beta[regimes::most_few * 8];
  const Lanes of_mean = broadcast(sum.of_mean);
  for (int64_t g = 0; g < groups; ++g) {
    Lanes alpha = broadcast(sum.of_x);
    for (int64_t k = 0; sum.x != nullptr && k < level.n; ++k) {
      const Lanes weight = load(sum.weights + (g * level.n + k) * 8) * of_mean;
      if (!Wide) alpha = multiply_add(weight, broadcast(level.gain[k]), alpha);
      store(beta + k * 8, Wide ? weight : weight * broadcast(level.shift[k]));
    }
    const int64_t base = g * level.d * 8;
    int64_t j = 0;
    for (; j + 4 <= level.d; j += 4) few_sum_tile<Wide, N, 4>(level, sum, base, j, alpha, beta);
    for (; j < level.d; ++j) few_sum_tile<Wide, N, 1>(level, sum, base, j, alpha, beta);
  }
}

void few_sum(const FewLevel& level, const FewSum& sum, int64_t groups) {
  if (level.wide) return few_sum_of<true, 0>(level, sum, groups);
  switch (level.n) {
    case 1: return few_sum_of<false, 1>(level, sum, groups);
    case 2: return few_sum_of<false, 2>(level, sum, groups);
    default: return few_sum_of<false, 0>(level, sum, groups);
  }
}

void few_score(const FewLevel& level, const double* x, const double* weights, double* out) {
  const Lanes factor = broadcast(level.a);
  for (int64_t j = 0; j < level.d; ++j) {
    const Lanes query = load(x + j * 8);
    Lanes total = broadcast(0);
    for (int64_t k = 0; k < level.n; ++k) {
      const Lanes pull = load(weights + k * 8) * broadcast(level.precision[level.wide ? k * level.d + j : k]);
      total = multiply_add(pull, broadcast(0) - subtract_product(query, factor, broadcast(level.means[k * level.d + j])), total);
    }
    store(out + j * 8, total);
  }
}

constexpr regimes::FewKernels few_table = {few_to_lanes, few_from_lanes, few_distances, few_weigh, few_sum, few_score};

}  // namespace
