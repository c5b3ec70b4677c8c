// Where a sweep over points has its two inner products from: for draws o = y_mu, z and a row y_i,
//   q = |o - y_i|^2,  v = z . (o - y_i).
// Two sources with one interface:
//   Differences  float64 differences of any data
//   Digits       exact integer products of bytes with o, exactly, and z in 31-bit fixed point, for data that are bytes times one scale.
//                With e what rounding leaves of z, v is off by e . (o - y_i), at most |e| sqrt(q), and |e| <= sqrt(d) max|z| 2^-31. A
//                pair counts only while r sqrt(q) is of the order of its logit, so that logits are off by about 1e-8 at every noise level.
// q and v of equal rows are exactly 0.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/operations.h"
#include "../core/thread_pool.h"
#include "cpu.h"

namespace regimes {

// The rows of `target` as bytes times one scale, up to a common offset; null rows where they are not or where bytes would not pay.
struct ByteRows {
  const uint8_t* rows = nullptr;
  int64_t stride = 0;
  double scale = 0;
};
ByteRows byte_rows(const Target& target);

// Rows of a block: what stays in the second-level cache while groups of draws pass, a multiple of pair_group.
int64_t pair_rows_at_once(int64_t bytes_per_row);

class Differences {
 public:
  struct Scratch {
    std::vector<double> rows;
  };

  Differences(const Instructions& set, const Target& target) : kernels_(*set.kernels), target_(target) {}
  int64_t block_rows() const { return pair_rows_at_once(8 * target_.d); }
  // Room for groups of 16 draws; set_group fills one from rows o, z [16][d] and the components of the draws.
  void reserve(int64_t groups);
  void set_group(int64_t group, const double* origins, const double* noises, const int32_t* components);
  // Brings rows [first, first + count) near; then products for a group of 16 draws: q, v [2][stride][8].
  void load(int64_t first, int64_t count, Scratch& scratch) const;
  void products(int64_t group, int64_t count, int64_t stride, Scratch& scratch, double* q, double* v) const;

 private:
  const Kernels& kernels_;
  const Target& target_;
  std::vector<double> origin_, noise_;  // [groups][2][d][8]
};

class Digits {
 public:
  struct Scratch {
    std::vector<uint8_t> tail;   // the last rows, readable beyond their end
    const uint8_t* rows = nullptr;
    int64_t first = 0;
    std::vector<double> own, noise, rest;
  };

  Digits(const Instructions& set, const Target& target, const ByteRows& bytes, ThreadPool& pool);
  int64_t block_rows() const { return pair_rows_at_once(bytes_.stride); }
  void reserve(int64_t groups);
  void set_group(int64_t group, const double* origins, const double* noises, const int32_t* components);
  void load(int64_t first, int64_t count, Scratch& scratch) const;
  void products(int64_t group, int64_t count, int64_t stride, Scratch& scratch, double* q, double* v) const;

 private:
  struct Lane {
    double own_term, own_noise, own_rest, noise_step, rest_step;
  };
  int64_t group_bytes() const { return full_bytes_ + 2 * plane_bytes_; }
  char* packed_at(int64_t group) { return packed_.data()->bytes + group * group_bytes(); }
  const char* packed_at(int64_t group) const { return packed_.data()->bytes + group * group_bytes(); }
  const Kernels& kernels_;
  const DigitKernels& digits_;
  const ByteRows bytes_;
  const int64_t n_, d_, full_bytes_, plane_bytes_;
  std::vector<double> row_terms_;  // [n] sum_k u_ik (u_ik - 256)
  std::vector<DigitLine> packed_;  // per group: z in full planes; then o; then what is left of z
  std::vector<Lane> lanes_;        // [groups][16]
};

}  // namespace regimes
