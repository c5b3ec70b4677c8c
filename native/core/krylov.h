// A block Krylov space of a covariance, with the exact products C v of its basis vectors (Rayleigh-Ritz from saved products: the
// residuals of Ritz pairs are computed, not estimated). Saad, Numerical Methods for Large Eigenvalue Problems, 6.4 and 7.
#pragma once

#include <vector>

#include "covariance.h"

namespace regimes {

// Ritz pairs of a space of size m: values descending; pair j has the coefficients [j m, (j + 1) m) in the basis.
struct Ritz {
  std::vector<double> values;
  std::vector<double> coefficients;
};

class KrylovSpace {
 public:
  // Holds at most `capacity` basis vectors, so that memory is 16 d capacity bytes. References must outlive the object.
  KrylovSpace(const Covariance& covariance, int64_t capacity, ThreadPool& pool, const Execution& execution);

  int64_t size() const { return size_; }
  int64_t capacity() const { return capacity_; }
  // Stride of all rows: d padded with zeros.
  int64_t stride() const { return stride_; }
  const double* basis(int64_t i) const { return basis_.data() + i * stride_; }
  const double* image(int64_t i) const { return images_.data() + i * stride_; }
  // Largest |C v| over the basis so far, a lower bound of the largest eigenvalue and near it.
  double scale() const { return scale_; }

  // Replaces rows [count, stride] by an orthonormal basis of the part of their span that is orthogonal to the space; directions
  // of length <= threshold are dropped. Returns the number kept, the first rows.
  int64_t orthonormalise(std::vector<double>& rows, int64_t count, double threshold) const;

  // Appends random directions to `kept` orthonormal rows until there are `count`, all orthonormal and orthogonal to the space.
  void fill_random(std::vector<double>& rows, int64_t kept, int64_t count);

  // Adds orthonormal rows [count, stride] and multiplies them by C: one pass over the data. False when cancelled.
  bool append(const std::vector<double>& rows, int64_t count);

  // Code::cancelled, Code::internal as symmetric_eigen.
  Status ritz(Ritz& pairs) const;

  // coefficients [count, size] times the basis, or times its images: [count, stride].
  std::vector<double> combine(const double* coefficients, int64_t count, bool images) const;

  // Thick restart (Wu and Simon 2000): keeps the span of the first `count` Ritz vectors.
  void restart(const Ritz& pairs, int64_t count);

 private:
  void remove_basis(std::vector<double>& rows, int64_t count) const;

  const Covariance& covariance_;
  ThreadPool& pool_;
  const Execution& execution_;
  int64_t capacity_;
  int64_t stride_;
  int64_t size_ = 0;
  double scale_ = 0;
  uint64_t random_vectors_ = 0;
  std::vector<double> basis_;      // [padded capacity, stride]
  std::vector<double> images_;     // [padded capacity, stride]
  std::vector<double> projected_;  // [capacity, capacity] V^T C V
};

}  // namespace regimes
