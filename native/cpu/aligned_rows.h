// Components with spherical or diagonal covariances as rows of bilinear forms, so that all of them meet a batch of queries in a few matrix
// products (mixture_aligned.h). With S_k = a^2 C_k + b^2 I, P_k = 1 / S_k, x' = x - a c about the mean c of the means and a ground P that
// all components share,
//   l_k = -1/2 sum_j P_j x'_j^2 + bias_k + gain_k g + sum_f <z_f, F_fk>
//   spherical  F_1 = P_k a (m_k - c),               z_1 = x',            gain = -1/2 (P_k - P),             g = |x'|^2
//   diagonal   F_1 as before, F_2 = P_k - P,        z_2 = x'^2 - g  with the factor -1/2,
//              g = the mean of x'^2,                                      gain = -1/2 sum_j (P_kj - P_j)
// and S_k^-1 (x - a m_k) = P x' + (P_k - P) x' - F_1k. Rows are kept as 16-bit integers F = unit_k (R + e), rounded at random (dither.h),
// with their high bytes apart, where such products are fast (words.h); in float32 elsewhere, of length row_stretch.
#pragma once

#include <memory>
#include <vector>

#include "cpu.h"
#include "gaussians_at.h"

namespace regimes {

// Rows F_k = unit_k (R_k + e_k).
struct AlignedMatrix {
  std::vector<int16_t> words;   // [n][stride] R
  std::vector<uint8_t> bytes;   // [n][byte_stride] R / 256, rounded at random, + 128
  std::vector<float> values;    // [n][d] without words
  std::vector<double> unit;     // [n]
  std::vector<double> norm;     // [n] |R|
  std::vector<double> square;   // spherical: [n] |m_k - c|^2
  double row_norm = 0;          // largest norm of a chain of columns of a row of words
  double column_norm = 0;       // and of a chain of rows of a column
};

struct AlignedFeature {
  std::shared_ptr<const AlignedMatrix> matrix;
  std::vector<double> in_logit; // [n] factor of <z, R> in the logit
  std::vector<float> in_score;  // [n] factor of R in the score, in units
  double score_unit = 1;        // of the largest
};

// Largest values over a block of components.
struct AlignedBlock {
  double in_logit[2] = {}, loaded[2] = {};          // |in_logit|, and times |R|
  double in_score[2] = {}, norm[2] = {};            // in_score, |R|
  double in_score_loaded[2] = {};                   // their product
  double excess = 0, fourth = 0;                    // of what is named so below
};

struct AlignedRows {
  static constexpr int most_features = 2;

  // Whether the type and size of a mixture suit: n and d large enough that products pay, rows of at most 1 GiB.
  static bool applies(const Target& target);

  // Code::cancelled. A few passes over the parameters; the bits do not depend on the threads. The matrix of spherical components is the
  // same at all (a, b): that of `previous`, rows of the same target, serves again (null: none).
  Status build(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows* previous, ThreadPool& pool,
               const Execution& execution);

  int64_t bytes() const;  // of memory

  double a = 0, b = 0;
  int features = 0;
  bool in_words = false;
  int64_t n = 0, d = 0;
  int64_t stride = 0, byte_stride = 0;          // of rows of words and of bytes
  int64_t block = 0, blocks = 0;                // rows whose weights are formed together
  int64_t column_chain = 0, row_chain = 0;      // steps of 32 bits whose sums stay exact, along rows and along columns
  int column_shift = 0, row_shift = 0;          // see WordKernels::products
  AlignedFeature feature[most_features];        // spherical: of m_k - c, to be scaled by P_k a
  std::vector<double> origin, ground;           // [d] c, P
  std::vector<double> bias, gain;               // [n]
  std::vector<float> excess;                    // [n] spherical: P_k - P, in units
  double excess_unit = 1;                       // of the largest; diagonal: 0
  std::vector<float> row_dither;                // [n] for roundings of weights
  std::vector<AlignedBlock> largest;            // [blocks]; fourth: (sum_j (P_kj - P_j)^4)^(1/4) of diagonal components

 private:
  std::vector<uint32_t> column_bits_;           // [d]
  struct Worker;
  void find_centres(const Target& target, ThreadPool& pool, const Execution& execution);
  void put_row(const Kernels& kernels, const double* row, int64_t k, int f, AlignedMatrix& out, Worker& worker) const;
  void build_block(const Instructions& set, const Target& target, const GaussiansAt& at, int64_t block, bool again, AlignedMatrix* matrices,
                   Worker& worker);
};

}  // namespace regimes
