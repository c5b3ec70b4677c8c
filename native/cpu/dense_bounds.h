// Bounds on the errors of a query of the dense path; posterior_dense.h names their sources.
#pragma once

#include "dense_queries.h"

namespace regimes {

// What is the same for all queries.
struct DenseArithmetic {
  double a = 0, kappa = 0;    // kappa = a / b^2
  double far = 0;             // >= |y'_i|
  double typical = 0;         // the root of their mean square
  double origin_norm = 0;     // |c|
  double residual = 0;        // of a row as it is read
  double largest_scale = 0;   // of the columns
  int64_t d = 0;
  bool bytes = false;         // rows are read as bytes
  bool fixed = false;         // queries are in fixed point: their products are exact
  bool integer = false;       // weights are integers: their products are exact
  bool denoised = false;      // the denoised mean is summed
  bool words = false;         // weights and rows are 16-bit integers in the second product
  double units = 0;           // words: norm of the units of the columns
  double rounded = 0;         // words: >= the deviation of a rounded row
};

// The sums over e_i = exp(l_i - max l) of a query. Where the first product is not exact, the heavy components, whose logits are then
// known to float64, are left out of `squares` and `fourth`.
struct DenseMoments {
  double whole = 1;    // sum e_i
  double gap = 0;      // sum e_i (max l - l_i)
  double squares = 0;  // sum e_i^2
  double second = 0;   // sum e_i |y'_i|^2 / 2
  double fourth = 0;   // sum (e_i |y'_i|^2 / 2)^2
  double lost = 0;     // sum |e_i - W_i| of weights that are integers; words: of what chains round
  double variance = 0; // words: of sum W_i y'_i
  double step = 0;     // words: largest step of W_i
  double dropped = 0;  // >= what the denoised mean leaves out, as a share of `whole`
  double norm = 0;     // |D'|
  double far = 0;      // >= |y'_i| of all components but those that weigh less than 2^-53 together
};

struct DenseErrors {
  double log_density, denoised;
};

DenseErrors dense_errors(const DenseArithmetic& arithmetic, const DenseQuery& query, const DenseMoments& moments);

// The share of the weights from which a row is given to float64: the square root of what the others weigh bounds their random errors.
double dense_heavy(const DenseArithmetic& arithmetic, const DenseQuery& query, int64_t n);

// The share of the weights that the denoised mean of a query may leave out: a fiftieth of what the contract of the score allows.
double dense_drop(const DenseArithmetic& arithmetic, double norm_x);

}  // namespace regimes
