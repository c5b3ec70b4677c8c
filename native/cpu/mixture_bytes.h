// Rough logits of low-rank Gaussians with their errors, from products of bytes: the rows B, l, D of mixture_rows.h, each rounded at
// random (dither.h) to 255 levels, with x' and x'^2 - level in fixed point of one digit, likewise, by bits of the columns alone. A row
// rounded to steps s and a query rounded to steps w move a product by at most `deviations` times sqrt(s^2 |x'|^2 + w^2 |row|^2) / 2.
#pragma once

#include <vector>

#include "mixture_rows.h"

namespace regimes {

class MixtureBytes {
 public:
  MixtureBytes(const Instructions& set, const Target& target, const MixtureRows& rows);
  Status build(ThreadPool& pool, const Execution& execution);  // Code::cancelled

  // Of queries q < count, stride a multiple of 16: |logit - logits[k * stride + q]| <= errors[k * stride + q]. Code::cancelled.
  Status find(const double* x, int64_t count, ThreadPool& pool, const Execution& execution, double* logits, float* errors, int64_t stride) const;

  int64_t bytes() const;

 private:
  // 16 queries in fixed point, of x' and of x'^2 - level.
  struct Packed;
  void pack(const double* x, int64_t group, int64_t count, Packed& packed) const;
  void build_component(int64_t k, const std::vector<uint32_t>& column_bits);

  const Instructions& set_;
  const Target& target_;
  const MixtureRows& rows_;
  const GaussiansAt& at_;
  const int64_t n_, d_, rank_, stride_;
  std::vector<uint8_t> values_;       // [start(n)][stride] and 64 readable bytes: B, then l, of each component
  std::vector<uint8_t> deviations_;   // [n][stride] and as many: D
  std::vector<double> step_;          // [start(n)] of a row
  std::vector<double> deviation_step_;  // [n]
  std::vector<float> dither_;         // [d] of queries
};

}  // namespace regimes
