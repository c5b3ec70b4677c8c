// Queries as the dense path reads them (posterior_dense.h): rounded to fixed point or to float32, packed in groups of 16, with how far
// that moves them.
#pragma once

#include <vector>

#include "../core/layouts.h"
#include "../core/thread_pool.h"
#include "chain_stretch.h"
#include "cpu.h"
#include "line_bytes.h"

namespace regimes {

// Products summed in float32 before the sum joins a second one in float32, of `chains` such sums, before float64 takes over: of the first
// product and of the second.
inline constexpr int64_t first_chain = 32, second_chain = 64, chains = 8;

struct DenseQuery {
  double norm = 0;     // |x'|
  double moved = 0;    // |e|
  double chain = 0;    // what the chains of float32 round, in units of |y'_i|: the root of the summed squares of partial sums
  double largest = 0;  // max |x'_j|, with chain
};

struct DenseQueries {
  enum class Form { fixed, single };

  int64_t count = 0, groups = 0;
  std::vector<DenseQuery> each;      // [count]
  std::vector<double> centred;       // [count][d] x'
  std::vector<double> displacement;  // [count][d] e = x' - x_q
  std::vector<double> slope;         // [groups * 16] factor of the products in the logits
  std::vector<double> offset;        // [groups * 16] what the logits leave out, the same for all components
  LineBytes packed;                  // fixed: packed groups; single: [groups][d][16]
  int64_t single_count = 0;          // queries of a last group that is nearly empty, of bytes: packed one by one, not as a group
  LineBytes singles;                 // fixed: packed singles; single: [d] each

  static int64_t bytes_of_single(const DigitKernels& digits, int64_t d, Form form);

  // single: the parts of x' that meet in a chain are stretched.
  // From x [count, d] on, about the centre of `rows`; `bytes` as in posterior_dense.h. kappa = a / b^2.
  void prepare(const Instructions& set, const DigitRows& rows, const MatrixView& x, int64_t first, int64_t queries, double a, double kappa,
               Form form, bool bytes, const ChainStretch& stretch, ThreadPool& pool);
};

}  // namespace regimes
