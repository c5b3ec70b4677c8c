// Upper bounds of the logits of all components, from integer products. With f = x - a m_k, m_k = origin + image_k + remainder_k and
// a diagonal D shared by the components (1 / D_j^2 the largest a^2 v_kj + b^2 of any, or the identity):
//   q_k >= scale_k |D f|^2 - reduction_k,   |D f| >= |D (x' - a image_k)| - a |D remainder_k|,   x' = x - a origin,
//   |D (x' - a image)|^2 = |D x'|^2 - 2 a sum_j t_j (u_kj - centre_j) + a^2 |D image|^2,   t_j = D_j^2 scale_j x'_j,
// and t = step X + e with whole numbers X: sum_j t_j (u - centre)_j is a multiple of an exact integer but for |e| |u - centre|.
// Low rank subtracts loaded directions: with h = E^(1/2) f and c = Q h, q = |h|^2 - c^T (I - N^-1) c >= |h|^2 - gamma |c|^2. Here |h|^2 is
// given, c = map t, and the t are products of the same kind with the rows of basis E as bytes: rank byte rows per component.
#pragma once

#include <vector>

#include "cpu.h"
#include "gaussians_at.h"

namespace regimes {

class MixtureBounds {
 public:
  // What all queries share at one (a, b); Code::cancelled.
  MixtureBounds(const Instructions& set, const Target& target, const GaussiansAt& at);
  Status build(ThreadPool& pool, const Execution& execution);

  // bounds[k * stride + q] >= logit of component k at query q < count; stride >= count, a multiple of 16. squares (low rank),
  // likewise: |h|^2. Polls.
  void find(const double* x, int64_t count, const double* squares, ThreadPool& pool, const Execution& execution, float* bounds, int64_t stride) const;

  int64_t bytes() const;

 private:
  struct Packed;
  void pack(const double* x, int64_t group, int64_t count, Packed& packed) const;
  void build_component(int64_t k, std::vector<double>& scratch);

  const Instructions& set_;
  const Target& target_;
  const MixtureScreen& screen_;
  const GaussiansAt& at_;
  const int64_t n_, d_;
  int64_t directions_ = 0;               // byte rows per component beside the mean
  std::vector<double> shared_;           // D^2 [d], empty: identity
  std::vector<double> loads_, levels_;   // [d] D^2 scale, and the centre's bytes as numbers
  std::vector<ScreenRow> components_;    // [n]
  // Directions v, rows of basis E: v_j = size (byte_j - 128) + remainder.
  std::vector<uint8_t> rows_;            // [n][directions][stride] and 64 readable bytes
  std::vector<double> size_, byte_norm_, remainder_;  // [n][directions]
  std::vector<double> offset_, offset_error_;        // [n][directions] a v . (m_k - origin)
  std::vector<double> map_;              // [n][directions][directions]
  std::vector<double> share_;            // [n] gamma
};

}  // namespace regimes
