// Where a sweep over points has its two inner products from: for draws o = y_mu, z and a row y_i,
//   q = |o - y_i|^2,  v = z . (o - y_i),
// both in units of a length `unit`, so that they go with r unit in place of r. Three sources with one interface:
//   Differences  float64 differences of any data
//   FloatDifferences  float32 differences of data stored so or as float16, with the same bits. Roundings count as independent: in chains of 128 and d / 128 terms they move
//                q by less than 2^-21 of itself and v by 2^-21 sqrt(q), so that a logit that matters is off by about 1e-5
//   Digits       exact integer products of bytes with o and with z in fixed point, for data that are bytes times one scale; q and v
//                rounded to float32. What rounding leaves of z does not know the data, so that it moves v by max|z| 2^-24 sqrt(q / 3)
//                in the root mean square; a logit that matters has r sqrt(q) < 14 and is off by about 2e-6.
// q and v of equal rows are exactly 0.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "../core/operations.h"
#include "../core/thread_pool.h"
#include "cpu.h"
#include "sweep.h"

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

inline constexpr int64_t groups_per_run = 4;  // groups of draws that share the rows in the second-level cache

class Differences {
 public:
  using Real = double;
  static constexpr int64_t width = lanes;  // draws side by side in q and v
  struct Scratch {
    std::vector<double> rows;
  };

  Differences(const Instructions& set, const Target& target) : kernels_(*set.kernels), target_(target) {}
  int64_t block_rows() const { return pair_rows_at_once(8 * target_.d); }
  // Room for groups of 16 draws; set_group fills one from rows o, z [16][d] and the components of the draws.
  void reserve(int64_t groups);
  void set_group(int64_t group, const double* origins, const double* noises, const int32_t* components);
  double unit() const { return 1; }
  // Brings rows [first, first + count) near, and forms their products with `groups` <= groups_per_run groups of 16 draws; then q and v
  // [16 / width][stride][width] of one of them.
  void load(int64_t first, int64_t count, Scratch& scratch) const;
  void multiply(int64_t, int64_t, int64_t, Scratch&) const {}
  void pairs(int64_t first_group, int64_t group, int64_t count, int64_t stride, Scratch& scratch, double* q, double* v) const;

 private:
  const Kernels& kernels_;
  const Target& target_;
  std::vector<double> origin_, noise_;  // [groups][2][d][8]
};

// Whether FloatDifferences can take the data: float32 or float16 whose largest value lies well inside the range of float32, whose
// squares then do too.
bool takes_float_differences(const Target& target, ThreadPool& pool);

class FloatDifferences {
 public:
  using Real = float;
  static constexpr int64_t width = draw_group;
  struct Scratch {
    int64_t first = 0;
    std::vector<float> q, v;  // [groups_per_run][block_rows][16]
    std::vector<float> rows;  // float16: some columns of the block
  };

  FloatDifferences(const Instructions& set, const Target& target) : kernels_(*set.kernels), points_(target.points), d_(target.d) {}
  int64_t block_rows() const { return most_pair_rows; }
  double unit() const { return std::abs(points_.scale); }
  void reserve(int64_t groups) { draws_.resize(static_cast<size_t>(groups * 2 * draw_group * d_)); }
  void set_group(int64_t group, const double* origins, const double* noises, const int32_t* components);
  void load(int64_t first, int64_t, Scratch& scratch) const { scratch.first = first; }
  void multiply(int64_t first_group, int64_t groups, int64_t count, Scratch& scratch) const;
  void pairs(int64_t first_group, int64_t group, int64_t count, int64_t stride, Scratch& scratch, float* q, float* v) const;

 private:
  const Kernels& kernels_;
  const DataView points_;
  const int64_t d_;
  std::vector<float> draws_;  // [groups][d][2][16]: o as stored, z with the sign of the scale
};

class Digits {
 public:
  using Real = float;
  static constexpr int64_t width = draw_group;
  struct Scratch {
    std::vector<uint8_t> tail;   // the last rows, readable beyond their end
    const uint8_t* rows = nullptr;
    int64_t first = 0;
    std::vector<double> own, noise;  // [groups_per_run][block_rows][16]
  };

  Digits(const Instructions& set, const Target& target, const ByteRows& bytes, ThreadPool& pool);
  int64_t block_rows() const { return pair_rows_at_once(bytes_.stride); }
  double unit() const { return std::abs(bytes_.scale); }
  void reserve(int64_t groups);
  void set_group(int64_t group, const double* origins, const double* noises, const int32_t* components);
  void load(int64_t first, int64_t count, Scratch& scratch) const;
  void multiply(int64_t first_group, int64_t groups, int64_t count, Scratch& scratch) const;
  void pairs(int64_t first_group, int64_t group, int64_t count, int64_t stride, Scratch& scratch, float* q, float* v) const;

 private:
  // The packed integers of one kind, group by group.
  struct Packed {
    int planes = 1;
    int64_t group_bytes = 0;
    std::vector<DigitLine> lines;
    char* at(int64_t group) { return lines.data()->bytes + group * group_bytes; }
    const char* at(int64_t group) const { return lines.data()->bytes + group * group_bytes; }
  };
  struct Lane {
    double own_term, own_noise, noise_step;
  };
  const Kernels& kernels_;
  const DigitKernels& digits_;
  const ByteRows bytes_;
  const int64_t n_, d_;
  std::vector<double> row_terms_;  // [n] sum_k u_ik (u_ik - 256)
  Packed own_, noise_;             // o; z
  std::vector<Lane> lanes_;        // [groups][16]
};

}  // namespace regimes
