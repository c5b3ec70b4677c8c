// The accumulator behind every reading, and its merge: the single home of max-shifted sums. For logits l_i, with m their maximum,
// attained first at `index`, and e_i = exp(l_i - m):
//   rest        = sum_{i != index} e_i              (so the partition sum is e^m (1 + rest))
//   gap         = sum_i e_i (m - l_i)
//   gap_squared = sum_i e_i (m - l_i)^2
//   squares     = sum_{i != index} e_i^2
// All are sums of positive terms with the leading 1 kept apart, so entropies and 1 - max w keep their relative precision when
// one component has nearly all the weight. merge is associative up to rounding; chunks.h fixes the order.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace regimes {

// Factors that bring linear sums kept beside two accumulators (class sums) to the maximum of their merge.
template <class Real>
struct MergeScales {
  Real first;
  Real second;
};

template <class Real>
struct LogSumExp {
  Real max = -std::numeric_limits<double>::infinity();
  int64_t index = -1;
  Real rest = 0;
  Real gap = 0;
  Real gap_squared = 0;
  Real squares = 0;

  bool empty() const { return index < 0; }

  static LogSumExp single(Real logit, int64_t index) {
    LogSumExp one;
    one.max = logit;
    one.index = index;
    return one;
  }

  // Folds `other`, whose indices are all larger, into this one.
  MergeScales<Real> merge(const LogSumExp& other) {
    using std::exp;
    if (other.empty()) return {1, 0};
    if (empty()) {
      *this = other;
      return {0, 1};
    }
    const bool keep = max >= other.max;
    LogSumExp high = keep ? *this : other;
    const LogSumExp& low = keep ? other : *this;
    const Real shift = high.max - low.max;
    const Real scale = exp(-shift);
    const Real total = 1 + low.rest;
    if (scale > 0) {
      high.rest += scale * total;
      high.gap += scale * (low.gap + shift * total);
      high.gap_squared += scale * (low.gap_squared + shift * (2 * low.gap + shift * total));
      high.squares += scale * (scale * (1 + low.squares));
    }
    const MergeScales<Real> scales = keep ? MergeScales<Real>{1, scale} : MergeScales<Real>{scale, 1};
    *this = high;
    return scales;
  }

  // log sum_i exp(l_i)
  Real log_sum() const {
    using std::log1p;
    return max + log1p(rest);
  }
  // H(w) = log(1 + rest) + gap / (1 + rest)
  Real entropy() const {
    using std::log1p;
    return log1p(rest) + gap / (1 + rest);
  }
  // sum_i w_i^2
  Real sum_squares() const { return (1 + squares) / ((1 + rest) * (1 + rest)); }
  // The largest weight, that of `index`.
  Real top_weight() const { return 1 / (1 + rest); }
  // sum_i w_i |l_i| for logits that are all <= 0, and sum_i w_i l_i^2.
  Real mean_energy() const { return gap / (1 + rest) - max; }
  Real mean_squared_energy() const { return max * max + (gap_squared - 2 * max * gap) / (1 + rest); }
};

// -sum_c p_c log p_c of probabilities p_c = mass_c / sum mass; precise when one class has nearly all. Negative masses do not occur.
template <class Real>
Real class_entropy(const Real* mass, int64_t count, int64_t stride = 1) {
  using std::log;
  using std::log1p;
  Real total = 0;
  int64_t top = 0;
  for (int64_t c = 0; c < count; ++c) {
    total += mass[c * stride];
    if (mass[c * stride] > mass[top * stride]) top = c;
  }
  Real others = 0, entropy = 0;
  for (int64_t c = 0; c < count; ++c) {
    if (c == top) continue;
    const Real p = mass[c * stride] / total;
    others += p;
    if (p > 0) entropy -= p * log(p);
  }
  return entropy - (1 - others) * log1p(-others);
}

template <class Real>
Real class_squares(const Real* mass, int64_t count, int64_t stride = 1) {
  Real total = 0, squares = 0;
  for (int64_t c = 0; c < count; ++c) total += mass[c * stride];
  for (int64_t c = 0; c < count; ++c) squares += (mass[c * stride] / total) * (mass[c * stride] / total);
  return squares;
}

}  // namespace regimes
