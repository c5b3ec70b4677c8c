#include "krylov.h"

#include <algorithm>
#include <cmath>

#include "dense_block.h"
#include "philox.h"
#include "symmetric_eigen.h"

namespace regimes {
namespace {

// Rows [count, stride] as columns: [stride, padded(count)], padding columns 0.
std::vector<double> to_columns(const double* rows, int64_t count, int64_t stride) {
  const int64_t columns = padded(count);
  std::vector<double> block(stride * columns, 0.0);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < stride; ++k) block[k * columns + i] = rows[i * stride + k];
  }
  return block;
}

void to_rows(const std::vector<double>& block, int64_t count, int64_t stride, double* rows) {
  const int64_t columns = padded(count);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < stride; ++k) rows[i * stride + k] = block[k * columns + i];
  }
}

double norm(const double* row, int64_t n) { return std::sqrt(dot(row, row, n)); }

void scale_row(double* row, double factor, int64_t n) {
  for (int64_t k = 0; k < n; ++k) row[k] *= factor;
}

void remove_direction(double* row, const double* unit, int64_t n) {
  const double along = dot(row, unit, n);
  for (int64_t k = 0; k < n; ++k) row[k] -= along * unit[k];
}

// Calls body(first, count) on ranges of `total` in parallel; ranges are multiples of block_grain. Nothing is done once cancelled:
// append() then says so, and so must whoever uses results after the last append.
template <class Body>
void in_ranges(ThreadPool& pool, const Execution& execution, int64_t total, int64_t range, const Body& body) {
  pool.run((total + range - 1) / range, [&](int64_t task, int) {
    if (!execution.cancelled()) body(task * range, std::min(range, total - task * range));
  });
}

}  // namespace

KrylovSpace::KrylovSpace(const Covariance& covariance, int64_t capacity, ThreadPool& pool, const Execution& execution)
    : covariance_(covariance),
      pool_(pool),
      execution_(execution),
      capacity_(capacity),
      stride_(padded(covariance.dimension())),
      basis_(padded(capacity) * stride_, 0.0),
      images_(padded(capacity) * stride_, 0.0),
      projected_(capacity * capacity, 0.0) {}

// rows -= V^T (V rows).
void KrylovSpace::remove_basis(std::vector<double>& rows, int64_t count) const {
  if (size_ == 0 || count == 0) return;
  std::vector<double> block = to_columns(rows.data(), count, stride_);
  const int64_t columns = padded(count);
  std::vector<double> along(padded(size_) * columns, 0.0);
  in_ranges(pool_, execution_, padded(size_), 32, [&](int64_t first, int64_t length) {
    multiply_add(length, stride_, columns, basis(first), stride_, block.data(), columns, along.data() + first * columns, columns);
  });
  // Rows of the basis beyond its size may hold old vectors.
  std::fill(along.begin() + size_ * columns, along.end(), 0.0);
  for (double& coefficient : along) coefficient = -coefficient;
  in_ranges(pool_, execution_, stride_, 512, [&](int64_t first, int64_t length) {
    transposed_multiply_add(padded(size_), length, columns, basis(0) + first, stride_, along.data(), columns,
                            block.data() + first * columns, columns);
  });
  to_rows(block, count, stride_, rows.data());
}

int64_t KrylovSpace::orthonormalise(std::vector<double>& rows, int64_t count, double threshold) const {
  // Twice is enough (Kahan, Parlett): what the first removal leaves along the basis is rounding of the removed part.
  remove_basis(rows, count);
  remove_basis(rows, count);
  const auto row = [&](int64_t i) { return rows.data() + i * stride_; };
  int64_t kept = 0;
  while (kept < count) {
    int64_t longest = kept;
    double length = -1;
    for (int64_t i = kept; i < count; ++i) {
      const double candidate = norm(row(i), stride_);
      if (candidate > length) {
        length = candidate;
        longest = i;
      }
    }
    if (!(length > threshold)) break;
    std::swap_ranges(row(kept), row(kept + 1), row(longest));
    scale_row(row(kept), 1 / length, stride_);
    for (int64_t i = kept + 1; i < count; ++i) remove_direction(row(i), row(kept), stride_);
    ++kept;
  }
  // Rows that became short within the block carry amplified rounding errors: clean the unit rows once more.
  remove_basis(rows, kept);
  for (int64_t i = 0; i < kept; ++i) {
    for (int64_t j = 0; j < i; ++j) remove_direction(row(i), row(j), stride_);
    scale_row(row(i), 1 / norm(row(i), stride_), stride_);
  }
  return kept;
}

void KrylovSpace::fill_random(std::vector<double>& rows, int64_t kept, int64_t count) {
  constexpr uint64_t seed = 0;
  const int64_t d = covariance_.dimension();
  while (kept < count && !execution_.cancelled()) {
    std::vector<double> candidate(stride_, 0.0);
    normals(seed, random_vectors_++, step_krylov, d, candidate.data());
    double length = 0;
    // Three removals: where the space is nearly complete, little of a random vector is left by the first.
    for (int pass = 0; pass < 3; ++pass) {
      remove_basis(candidate, 1);
      for (int64_t i = 0; i < kept; ++i) remove_direction(candidate.data(), rows.data() + i * stride_, stride_);
      length = norm(candidate.data(), stride_);
      if (!(length > 0)) break;
      scale_row(candidate.data(), 1 / length, stride_);
    }
    if (length < 0.5) continue;
    std::copy(candidate.begin(), candidate.end(), rows.begin() + kept * stride_);
    ++kept;
  }
}

bool KrylovSpace::append(const std::vector<double>& rows, int64_t count) {
  const int64_t first = size_;
  const int64_t columns = padded(count);
  std::copy_n(rows.data(), count * stride_, basis_.data() + first * stride_);
  const std::vector<double> block = to_columns(rows.data(), count, stride_);
  std::vector<double> product(stride_ * columns);
  if (!covariance_.multiply(columns, block.data(), product.data())) return false;
  to_rows(product, count, stride_, images_.data() + first * stride_);
  size_ += count;
  std::vector<double> along(padded(size_) * columns, 0.0);
  in_ranges(pool_, execution_, padded(size_), 32, [&](int64_t begin, int64_t length) {
    multiply_add(length, stride_, columns, basis(begin), stride_, product.data(), columns, along.data() + begin * columns, columns);
  });
  for (int64_t j = first; j < size_; ++j) {
    for (int64_t i = 0; i <= j; ++i) {
      projected_[i * capacity_ + j] = projected_[j * capacity_ + i] = along[i * columns + j - first];
    }
    scale_ = std::max(scale_, norm(image(j), stride_));
  }
  return true;
}

Status KrylovSpace::ritz(Ritz& pairs) const {
  const int64_t m = size_;
  std::vector<double> matrix(m * m), values(m), vectors(m * m);
  for (int64_t i = 0; i < m; ++i) std::copy_n(projected_.data() + i * capacity_, m, matrix.data() + i * m);
  Execution single = execution_;
  single.threads = 1;
  Status status = symmetric_eigen(std::move(matrix), m, values.data(), vectors.data(), single);
  if (!status.ok()) return status;
  pairs.values.assign(values.rbegin(), values.rend());
  pairs.coefficients.resize(m * m);
  for (int64_t j = 0; j < m; ++j) std::copy_n(vectors.data() + (m - 1 - j) * m, m, pairs.coefficients.data() + j * m);
  return {};
}

std::vector<double> KrylovSpace::combine(const double* coefficients, int64_t count, bool images) const {
  const int64_t depth = padded(size_);
  std::vector<double> left(padded(count) * depth, 0.0);
  for (int64_t i = 0; i < count; ++i) std::copy_n(coefficients + i * size_, size_, left.data() + i * depth);
  std::vector<double> out(padded(count) * stride_, 0.0);
  const double* source = images ? image(0) : basis(0);
  in_ranges(pool_, execution_, stride_, 512, [&](int64_t first, int64_t length) {
    multiply_add(padded(count), depth, length, left.data(), depth, source + first, stride_, out.data() + first, stride_);
  });
  out.resize(count * stride_);
  return out;
}

void KrylovSpace::restart(const Ritz& pairs, int64_t count) {
  const std::vector<double> vectors = combine(pairs.coefficients.data(), count, false);
  const std::vector<double> images = combine(pairs.coefficients.data(), count, true);
  std::copy(vectors.begin(), vectors.end(), basis_.begin());
  std::copy(images.begin(), images.end(), images_.begin());
  std::fill(projected_.begin(), projected_.end(), 0.0);
  for (int64_t j = 0; j < count; ++j) projected_[j * capacity_ + j] = pairs.values[j];
  size_ = count;
}

}  // namespace regimes
