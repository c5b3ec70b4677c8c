#include "symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "dense_block.h"
#include "thread_pool.h"

namespace regimes {
namespace {

// Acts on rows i and i + 1 of the transposed eigenvectors: (row_i+1, row_i) <- (c row_i+1 + s row_i, c row_i - s row_i+1).
struct Rotation {
  int64_t i;
  double c;
  double s;
};

// A = Q T Q^T with T tridiagonal (diagonal [n], off [n - 1]); row i of `matrix` keeps the Householder vector v_i in its first i
// entries, H_i = 1 - beta_i v_i v_i^T, Q = H_n-1 ... H_1. False when cancelled.
bool tridiagonalise(std::vector<double>& matrix, int64_t n, std::vector<double>& diagonal, std::vector<double>& off,
                    std::vector<double>& beta, ThreadPool& pool, const Execution& execution) {
  // The update A <- A - u w^T - w u^T of one step is applied in the same sweep that multiplies by the next step's v.
  std::vector<double> u(n, 0.0), w(n, 0.0), product(n, 0.0);
  for (int64_t i = n - 1; i > 0; --i) {
    if (execution.cancelled()) return false;
    double* row = matrix.data() + i * n;
    for (int64_t k = 0; k <= i; ++k) row[k] -= u[i] * w[k] + w[i] * u[k];
    diagonal[i] = row[i];

    const double last = row[i - 1];
    const double rest = dot(row, row, i - 1);
    // The matrix has entries of order 1: a row below 1e-140 is rounding noise, and its squares would underflow.
    if (rest < 1e-280) {
      beta[i] = 0;
      off[i - 1] = last;
      std::fill(row, row + i, 0.0);
    } else {
      const double norm = std::sqrt(rest + last * last);
      off[i - 1] = -std::copysign(norm, last);
      row[i - 1] = last - off[i - 1];
      beta[i] = 1 / (norm * (norm + std::abs(last)));
    }

    constexpr int64_t rows_per_task = 32;
    const auto sweep = [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * rows_per_task, i);
      for (int64_t r = task * rows_per_task; r < end; ++r) {
        product[r] = beta[i] * rank_two_update_dot(matrix.data() + r * n, u[r], w[r], u.data(), w.data(), row, i);
      }
    };
    const int64_t tasks = (i + rows_per_task - 1) / rows_per_task;
    if (i > 200) {
      pool.run(tasks, sweep);
    } else {
      for (int64_t task = 0; task < tasks; ++task) sweep(task, 0);
    }
    const double half = 0.5 * beta[i] * dot(product.data(), row, i);
    for (int64_t k = 0; k < i; ++k) {
      u[k] = row[k];
      w[k] = product[k] - half * row[k];
    }
  }
  diagonal[0] = matrix[0];
  return true;
}

// vectors = Q^T, row by row: e_r^T H_1 ... H_n-1.
void accumulate(const std::vector<double>& matrix, int64_t n, const std::vector<double>& beta, double* vectors, ThreadPool& pool,
                const Execution& execution) {
  constexpr int64_t rows_per_task = 8;
  pool.run((n + rows_per_task - 1) / rows_per_task, [&](int64_t task, int) {
    const int64_t begin = task * rows_per_task;
    const int64_t end = std::min(begin + rows_per_task, n);
    for (int64_t r = begin; r < end; ++r) {
      std::fill(vectors + r * n, vectors + (r + 1) * n, 0.0);
      vectors[r * n + r] = 1;
    }
    if (execution.cancelled()) return;
    for (int64_t i = begin + 1; i < n; ++i) {
      if (beta[i] == 0) continue;
      const double* v = matrix.data() + i * n;
      for (int64_t r = begin; r < std::min(end, i); ++r) {
        double* row = vectors + r * n;
        const double factor = beta[i] * dot(row, v, i);
        for (int64_t k = 0; k < i; ++k) row[k] -= factor * v[k];
      }
    }
  });
}

// Applies a batch of rotations to the rows of `vectors`, eight columns at a time so that they stay in cache.
void rotate(const std::vector<Rotation>& rotations, int64_t n, double* vectors, ThreadPool& pool, const Execution& execution) {
  constexpr int64_t width = 8;
  const int64_t tasks = (n + width - 1) / width;
  std::vector<double> packed(static_cast<size_t>(pool.size()) * n * width, 0.0);
  pool.run(tasks, [&](int64_t task, int worker) {
    if (execution.cancelled()) return;
    double* tile = packed.data() + worker * n * width;
    const int64_t first = task * width;
    const int64_t count = std::min(width, n - first);
    for (int64_t r = 0; r < n; ++r) std::copy_n(vectors + r * n + first, count, tile + r * width);
    for (const Rotation& rotation : rotations) {
      double* low = tile + rotation.i * width;
      double* high = low + width;
      for (int64_t k = 0; k < width; ++k) {
        const double x = high[k];
        const double y = low[k];
        high[k] = rotation.c * x + rotation.s * y;
        low[k] = rotation.c * y - rotation.s * x;
      }
    }
    for (int64_t r = 0; r < n; ++r) std::copy_n(tile + r * width, count, vectors + r * n + first);
  });
}

// Diagonalises T, of norm 1 and more, in place; every rotation goes to `emit`. Returns the number of eigenvalues found, n on success.
template <class Emit>
int64_t implicit_ql(std::vector<double>& diagonal, std::vector<double>& off, int64_t n, const Execution& execution, Emit emit) {
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  constexpr int most_sweeps = 60;  // per eigenvalue; the average is below 2
  constexpr int patience = 30;     // then what roundings of T hide is negligible too: many eigenvalues of zero may never get below theirs
  const auto negligible = [&](int64_t i, int sweeps) {
    const double h = std::abs(off[i]);
    const double least = sweeps < patience ? epsilon * epsilon : epsilon;
    return h <= epsilon * (std::abs(diagonal[i]) + std::abs(diagonal[i + 1])) || h < least;
  };
  for (int64_t low = 0; low < n; ++low) {
    if (execution.cancelled()) return low;
    for (int sweeps = 0;; ++sweeps) {
      int64_t top = low;
      while (top < n - 1 && !negligible(top, sweeps)) ++top;
      if (top < n - 1) off[top] = 0;
      if (top == low) break;
      if (sweeps == most_sweeps) return low;

      // Wilkinson's shift: the eigenvalue of the leading 2 x 2 block that is nearer to its first entry.
      const double p = (diagonal[low + 1] - diagonal[low]) / (2 * off[low]);
      const double shift = diagonal[low] - off[low] / (p + std::copysign(std::hypot(p, 1.0), p));
      double x = diagonal[top] - shift;
      double bulge = off[top - 1];
      for (int64_t i = top - 1; i >= low; --i) {
        const double r = std::hypot(x, bulge);
        const double c = r == 0 ? 1 : x / r;
        const double s = r == 0 ? 0 : bulge / r;
        if (i < top - 1) off[i + 1] = r;
        const double t = s * (diagonal[i] - diagonal[i + 1]) + 2 * c * off[i];
        diagonal[i + 1] += s * t;
        diagonal[i] -= s * t;
        off[i] = c * t - off[i];
        x = off[i];
        if (i > low) {
          bulge = s * off[i - 1];
          off[i - 1] *= c;
        }
        emit(Rotation{i, c, s});
      }
    }
  }
  return n;
}

}  // namespace

Status symmetric_eigen(std::vector<double> matrix, int64_t n, double* values, double* vectors, const Execution& execution) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      const double entry = matrix[i * n + j];
      if (!std::isfinite(entry)) {
        return Status::failure(Code::nonfinite, "entry [" + std::to_string(i) + ", " + std::to_string(j) +
                                                    "] of a symmetric matrix is " + std::to_string(entry));
      }
      largest = std::max(largest, std::abs(entry));
    }
  }
  // A power of two brings the entries to order 1: exact, and squares neither overflow nor underflow.
  const int exponent = largest > 0 ? std::ilogb(largest) : 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) matrix[j * n + i] = matrix[i * n + j] = std::ldexp(matrix[i * n + j], -exponent);
  }

  ThreadPool pool(n > 200 ? execution.threads : 1);
  std::vector<double> diagonal(n), off(n), beta(n, 0.0);
  if (n > 0 && !tridiagonalise(matrix, n, diagonal, off, beta, pool, execution)) return Status::failure(Code::cancelled, "");
  std::vector<Rotation> rotations;
  if (vectors != nullptr) accumulate(matrix, n, beta, vectors, pool, execution);
  const int64_t found = implicit_ql(diagonal, off, n, execution, [&](const Rotation& rotation) {
    if (vectors == nullptr) return;
    rotations.push_back(rotation);
    if (static_cast<int64_t>(rotations.size()) >= 32 * n) {
      rotate(rotations, n, vectors, pool, execution);
      rotations.clear();
    }
  });
  if (vectors != nullptr) rotate(rotations, n, vectors, pool, execution);
  if (execution.cancelled()) return Status::failure(Code::cancelled, "");
  if (found < n) {
    return Status::failure(Code::internal, "the QL iteration found " + std::to_string(found) + " of " + std::to_string(n) +
                                               " eigenvalues and did not converge on the next");
  }

  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return diagonal[i] < diagonal[j]; });
  for (int64_t j = 0; j < n; ++j) values[j] = std::ldexp(diagonal[order[j]], exponent);
  if (vectors != nullptr) {
    std::copy_n(vectors, n * n, matrix.begin());
    for (int64_t j = 0; j < n; ++j) std::copy_n(matrix.data() + order[j] * n, n, vectors + j * n);
  }
  return {};
}

}  // namespace regimes
