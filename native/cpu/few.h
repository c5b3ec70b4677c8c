// The inner loops over few Gaussians, one table per instruction set: 8 queries at once, one per lane, "groups" of them in one call.
// Vectors of a group stand in lanes [d][8], numbers in [8]; memory is aligned to 64 bytes. No lane's bits depend on another.
#pragma once

#include <cstdint>

namespace regimes {

inline constexpr int few_lanes = 8;
inline constexpr int most_few = 64;  // Gaussians: one chain of the sums

// Gaussians of one mixture at one (a, b), S_k = a^2 C_k + b^2 I. Spherical: one number per Gaussian, diagonal (`wide`): d.
//   D_k(x) = gain_k x + shift_k,   gain = a C S^-1,   shift = b^2 S^-1 m, spherical: b^2 S^-1, a factor of the mean.
struct FewLevel {
  int64_t n = 0, d = 0;
  bool wide = false;
  double a = 1;
  const double* means = nullptr;       // [n][d]
  const double* precision = nullptr;   // [n] or [n][d]: S^-1
  const double* half_scale = nullptr;  // [n]: half the precision; wide: 1/2
  const double* bias = nullptr;        // [n]: log weight - 1/2 log det (S / b^2)
  const double* gain = nullptr;        // [n] or [n][d]
  const double* shift = nullptr;       // [n] or [n][d]
};

// out = of_x x + of_mean D(x) + sum_i factors_i terms_i; x null: the terms alone. `out` may be x or a term.
struct FewSum {
  const double* x = nullptr;        // [groups][d][8]
  const double* weights = nullptr;  // [groups][n][8] of x
  double of_x = 0, of_mean = 0;
  const double* const* terms = nullptr;
  const double* factors = nullptr;
  int64_t count = 0;
  double* out = nullptr;
};

struct FewKernels {
  // rows [count][d], 1 <= count <= 8, to lanes [d][8] and back; lanes beyond repeat the last row.
  void (*to_lanes)(const double* rows, int count, int64_t d, double* lanes);
  void (*from_lanes)(const double* lanes, int count, int64_t d, double* rows);

  // out[g][k][8] = sum_j (x_gj - a m_kj)^2, wide: times precision_kj. Differences are rounded once; sums in chains of 32.
  void (*distances)(const FewLevel& level, const double* x, int64_t groups, double* out);

  // logits[g][k][8] = max(-half_scale_k distance, -1e307) + bias_k and weights = softmax(logits). False where in any lane half_scale
  // times the distance of the first Gaussian is not below 1e306.
  bool (*weigh)(const FewLevel& level, const double* distances, int64_t groups, double* logits, double* weights);

  void (*sum)(const FewLevel& level, const FewSum& sum, int64_t groups);

  // out[d][8] = sum_k w_k S_k^-1 (a m_k - x) of one group.
  void (*score)(const FewLevel& level, const double* x, const double* weights, double* out);
};

// Null where the instruction set was not compiled or this machine lacks it.
const FewKernels* few_avx512();
const FewKernels* few_avx2();
const FewKernels* few_portable();

}  // namespace regimes
