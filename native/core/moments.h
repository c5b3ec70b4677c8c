// First moments of the components of a target, the groundwork of its covariance: mean, class means, weights, total scatter.
#pragma once

#include <vector>

#include "operations.h"
#include "status.h"
#include "thread_pool.h"

namespace regimes {

// "Rows" y_i are the data points, or the means m_k of a mixture. Everything marked "scaled" is in data units times `gain`, a power
// of two that brings the largest deviation from the first row (mixtures: or standard deviation) to order 1, so that no square
// overflows or underflows for data from 1e-150 to 1e150.
struct Moments {
  DataView rows;
  std::vector<double> weights;          // pi_i, sum 1; empty when uniform, and then a row counts 1 in the sums below
  double gain = 1;
  std::vector<double> mean;             // [d] m, data units
  std::vector<int32_t> class_of;        // [n], empty without classes; a mixture without classes has one per component
  std::vector<double> class_offsets;    // [class_count, d] scaled m_c - m; 0 for an empty class
  std::vector<double> class_fractions;  // [class_count]
  std::vector<double> class_means;      // [class_count, d] m_c, data units
  bool within = false;                  // rows are centred on the mean of their class
  double total_weight = 0;              // sum of w_i: n, or 1
  double freedom = 0;                   // divisor of the unbiased total scatter: n - 1, or 1 - sum pi_i^2
  double normaliser = 0;                // divisor of the wanted scatter, see compute_moments
  double scatter = 0;                   // scaled squared: sum_i w_i |y_i - c_i|^2, c_i the centre of row i

  double weight(int64_t i) const { return weights.empty() ? 1 : weights[i]; }
  const double* centre(int64_t i) const { return within ? class_means.data() + class_of[i] * rows.columns : mean.data(); }
  // 1 / normaliser; a single row (or single-row classes) has covariance 0.
  double inverse_normaliser() const { return normaliser > 0 ? 1 / normaliser : 0; }
};

// The rows of a target: its points, or its means.
DataView component_rows(const Target& target);

// The normaliser makes the covariance unbiased for points that are independent draws:
//   total   n - 1, with weights 1 - sum_i pi_i^2 (reliability weights: the same for equal weights after division by n)
//   within  n - C, C the number of classes with rows; with weights sum_c (P_c - sum_{i in c} pi_i^2 / P_c), P_c the class fraction
// and is the sum of the weights for a mixture, which is a law and not a sample.
// Code::shape for `within` without classes, Code::range when the rows spread over more than float64 can square.
Status compute_moments(const Target& target, bool within, ThreadPool& pool, const Execution& execution, Moments& moments);

}  // namespace regimes
