#include "gaussian_solver.h"

#include <algorithm>
#include <cmath>

namespace regimes {
namespace {

constexpr int64_t eigen_block = 64;    // eigenvectors between two looks at the limits; their sums form one chain
constexpr int64_t sampled_rows = 32;

}  // namespace

GaussianSolver::GaussianSolver(const Kernels& kernels, int64_t d, int64_t rank)
    : kernels_(kernels), d_(d), difference_(static_cast<size_t>(solver_vectors * d)),
      coefficients_(static_cast<size_t>(solver_vectors * std::max(d, rank))), second_(coefficients_.size()),
      partial_(difference_.size()), mapped_(static_cast<size_t>(solver_vectors * rank)) {}

void GaussianSolver::load(const GaussianView& g, double a, double b) {
  g_ = g;
  a_ = a;
  b_ = b;
  const bool spherical = g.type == Covariances::Type::spherical;
  precision_.resize(static_cast<size_t>(spherical ? 1 : d_));
  for (size_t j = 0; j < precision_.size(); ++j) precision_[j] = 1 / (a * a * g.values[j] + b * b);
  if (g.type != Covariances::Type::low_rank) return;
  root_.resize(static_cast<size_t>(d_));
  for (int64_t j = 0; j < d_; ++j) root_[j] = std::sqrt(precision_[j]);
}

void GaussianSolver::forms(const double* const* x, int count, bool centred, double* q, const double* limits, double slack) {
  const double* mean = centred ? g_.mean : nullptr;
  double* f = difference_.data();
  if (g_.type != Covariances::Type::low_rank) kernels_.differences(x, count, mean, a_, nullptr, d_, f);
  switch (g_.type) {
    case Covariances::Type::spherical:
      for (int v = 0; v < count; ++v) q[v] = precision_[0] * kernels_.weighted_square(f + v * d_, nullptr, d_);
      return;
    case Covariances::Type::diagonal:
      for (int v = 0; v < count; ++v) q[v] = kernels_.weighted_square(f + v * d_, precision_.data(), d_);
      return;
    case Covariances::Type::full: {
      std::fill(q, q + count, 0.0);
      int active = count, place[solver_vectors];
      double length[solver_vectors], rest[solver_vectors];
      for (int v = 0; v < count; ++v) place[v] = v;
      for (int v = 0; limits && v < count; ++v) rest[v] = length[v] = kernels_.weighted_square(f + v * d_, nullptr, d_);
      // From the largest variances down: what is left of f then weighs more and more.
      for (int64_t end = d_; end > 0 && active > 0; end -= std::min(end, eigen_block)) {
        const int64_t first = std::max<int64_t>(end - eigen_block, 0), rows = end - first;
        int kept = 0;
        for (int v = 0; limits && v < active; ++v) {
          const int to = place[v];
          const double least = q[to] + std::max(rest[to] - slack * length[to], 0.0) * precision_[end - 1];
          if (least * (1 - slack) > limits[to]) {
            q[to] = INFINITY;
            continue;
          }
          if (kept != v) std::copy_n(f + v * d_, d_, f + kept * d_);
          place[kept++] = to;
        }
        if (limits) active = kept;
        kernels_.row_products(g_.basis + first * d_, rows, d_, f, active, coefficients_.data() + first, d_);
        for (int v = 0; v < active; ++v) {
          const double* c = coefficients_.data() + v * d_ + first;
          q[place[v]] += kernels_.weighted_square(c, precision_.data() + first, rows);
          if (limits) rest[place[v]] -= kernels_.weighted_square(c, nullptr, rows);
        }
      }
      return;
    }
    case Covariances::Type::low_rank: {
      kernels_.differences(x, count, mean, a_, root_.data(), d_, f);
      const int64_t r = g_.rank;
      double* c = coefficients_.data();
      std::fill(c, c + count * r, 0.0);
      // The second projection removes what rounding left of the first.
      for (int pass = 0; pass < 2 && r > 0; ++pass) {
        for (int v = 0; v < count; ++v) {
          for (int64_t j = 0; j < d_; ++j) partial_[v * d_ + j] = root_[j] * f[v * d_ + j];
        }
        kernels_.row_products(g_.basis, r, d_, partial_.data(), count, mapped_.data(), r);
        for (int v = 0; v < count; ++v) {
          for (int64_t i = 0; i < r; ++i) {
            double sum = 0;
            for (int64_t s = 0; s < r; ++s) sum += g_.map[i * r + s] * mapped_[v * r + s];
            second_[v * r + i] = sum;
            c[v * r + i] += sum;
          }
        }
        combine(second_.data(), count);
        for (int64_t k = 0; k < count * d_; ++k) f[k] -= partial_[k];
      }
      for (int v = 0; v < count; ++v) {
        double* t = c + v * r;
        double inside = 0;
        for (int64_t i = 0; i < r; ++i) {
          for (int64_t j = 0; j < i; ++j) t[i] -= g_.inner[i * r + j] * t[j];
          t[i] /= g_.inner[i * r + i];
          inside += t[i] * t[i];
        }
        q[v] = kernels_.weighted_square(f + v * d_, nullptr, d_) + inside;
      }
      return;
    }
  }
}

void GaussianSolver::estimates(const double* const* x, int count, double* q) {
  kernels_.differences(x, count, g_.mean, a_, nullptr, d_, difference_.data());
  const int64_t step = std::max<int64_t>(1, d_ / sampled_rows), rows = (d_ + step - 1) / step;
  // The part that all axes share is exact; the sample has to tell the rest.
  const double least = precision_[d_ - 1];
  std::fill(q, q + count, 0.0);
  for (int64_t r = step - 1 < d_ ? step - 1 : 0; r < d_; r += step) {
    double c[solver_vectors];
    kernels_.row_products(g_.basis + r * d_, 1, d_, difference_.data(), count, c, 1);
    for (int v = 0; v < count; ++v) q[v] += c[v] * c[v] * (precision_[r] - least);
  }
  for (int v = 0; v < count; ++v) {
    q[v] = q[v] * static_cast<double>(d_) / static_cast<double>(rows) + least * kernels_.weighted_square(difference_.data() + v * d_, nullptr, d_);
  }
}

// partial_ = Q^T c of a low-rank component.
void GaussianSolver::combine(const double* c, int count) {
  const int64_t r = g_.rank;
  for (int v = 0; v < count; ++v) {
    for (int64_t s = 0; s < r; ++s) {
      double sum = 0;
      for (int64_t i = 0; i < r; ++i) sum += g_.map[i * r + s] * c[v * r + i];
      mapped_[v * r + s] = sum;
    }
  }
  std::fill(partial_.begin(), partial_.begin() + count * d_, 0.0);
  kernels_.add_combinations(g_.basis, r, d_, mapped_.data(), r, count, partial_.data());
  for (int v = 0; v < count; ++v) {
    for (int64_t j = 0; j < d_; ++j) partial_[v * d_ + j] *= root_[j];
  }
}

// second_ = N^-1 c from the coefficients J^-1 c.
void GaussianSolver::back_substitute(int count) {
  const int64_t r = g_.rank;
  for (int v = 0; v < count; ++v) {
    const double* t = coefficients_.data() + v * r;
    double* y = second_.data() + v * r;
    for (int64_t i = r; i-- > 0;) {
      double sum = t[i];
      for (int64_t j = i + 1; j < r; ++j) sum -= g_.inner[j * r + i] * y[j];
      y[i] = sum / g_.inner[i * r + i];
    }
  }
}

void GaussianSolver::pulls(int count, double* out) {
  const double* f = difference_.data();
  switch (g_.type) {
    case Covariances::Type::spherical:
      for (int64_t k = 0; k < count * d_; ++k) out[k] = precision_[0] * f[k];
      return;
    case Covariances::Type::diagonal:
      for (int v = 0; v < count; ++v) {
        for (int64_t j = 0; j < d_; ++j) out[v * d_ + j] = precision_[j] * f[v * d_ + j];
      }
      return;
    case Covariances::Type::full: {
      std::fill(out, out + count * d_, 0.0);
      for (int v = 0; v < count; ++v) {
        for (int64_t r = 0; r < d_; ++r) second_[v * d_ + r] = precision_[r] * coefficients_[v * d_ + r];
      }
      for (int64_t first = 0; first < d_; first += eigen_block) {
        std::fill(partial_.begin(), partial_.begin() + count * d_, 0.0);
        kernels_.add_combinations(g_.basis + first * d_, std::min(eigen_block, d_ - first), d_, second_.data() + first, d_, count,
                                  partial_.data());
        for (int64_t k = 0; k < count * d_; ++k) out[k] += partial_[k];
      }
      return;
    }
    case Covariances::Type::low_rank:
      back_substitute(count);
      combine(second_.data(), count);
      for (int v = 0; v < count; ++v) {
        for (int64_t j = 0; j < d_; ++j) out[v * d_ + j] = root_[j] * (f[v * d_ + j] + partial_[v * d_ + j]);
      }
      return;
  }
}

void GaussianSolver::moves(int count, double* out) {
  switch (g_.type) {
    case Covariances::Type::spherical:
    case Covariances::Type::diagonal:
      pulls(count, out);
      for (int v = 0; v < count; ++v) {
        for (int64_t j = 0; j < d_; ++j) out[v * d_ + j] *= g_.values[g_.type == Covariances::Type::diagonal ? j : 0];
      }
      return;
    case Covariances::Type::full: {
      std::fill(out, out + count * d_, 0.0);
      for (int v = 0; v < count; ++v) {
        for (int64_t r = 0; r < d_; ++r) second_[v * d_ + r] = g_.values[r] * precision_[r] * coefficients_[v * d_ + r];
      }
      for (int64_t first = 0; first < d_; first += eigen_block) {
        std::fill(partial_.begin(), partial_.begin() + count * d_, 0.0);
        kernels_.add_combinations(g_.basis + first * d_, std::min(eigen_block, d_ - first), d_, second_.data() + first, d_, count,
                                  partial_.data());
        for (int64_t k = 0; k < count * d_; ++k) out[k] += partial_[k];
      }
      return;
    }
    case Covariances::Type::low_rank: {
      const int64_t r = g_.rank;
      pulls(count, out);
      std::vector<double> loaded(static_cast<size_t>(count * r));
      for (int v = 0; v < count; ++v) {
        for (int64_t i = 0; i < r; ++i) {
          for (int64_t j = 0; j < r; ++j) loaded[v * r + i] += g_.spread[i * r + j] * second_[v * r + j];
        }
      }
      combine(loaded.data(), count);
      for (int v = 0; v < count; ++v) {
        for (int64_t j = 0; j < d_; ++j) {
          out[v * d_ + j] = g_.values[j] * out[v * d_ + j] + partial_[v * d_ + j] / root_[j];
        }
      }
      return;
    }
  }
}

// Entry j of the diagonal of I - Q^T Q + Q^T N^-1 Q: 1 for types without a basis of their own.
double GaussianSolver::inner_solved(int64_t j) const {
  const int64_t r = g_.rank;
  if (g_.type != Covariances::Type::low_rank || r == 0) return 1;
  double outside = 1, inside = 0;
  std::vector<double> t(static_cast<size_t>(r));
  for (int64_t i = 0; i < r; ++i) {
    double q = 0;
    for (int64_t s = 0; s < r; ++s) q += g_.map[i * r + s] * (root_[j] * g_.basis[s * d_ + j]);
    outside -= q * q;
    t[i] = q;
    for (int64_t k = 0; k < i; ++k) t[i] -= g_.inner[i * r + k] * t[k];
    t[i] /= g_.inner[i * r + i];
    inside += t[i] * t[i];
  }
  return std::max(outside, 0.0) + inside;
}

double GaussianSolver::precision_trace() const {
  if (g_.type == Covariances::Type::spherical) return static_cast<double>(d_) * precision_[0];
  double total = 0;
  for (int64_t j = 0; j < d_; ++j) total += precision_[j] * inner_solved(j);
  return total;
}

double GaussianSolver::inner_trace() const {
  if (g_.type == Covariances::Type::spherical) return static_cast<double>(d_) * precision_[0] * g_.values[0];
  double total = 0;
  for (int64_t j = 0; j < d_; ++j) total += g_.values[j] * precision_[j] * inner_solved(j);
  const int64_t r = g_.rank;
  for (int64_t column = 0; g_.type == Covariances::Type::low_rank && column < r; ++column) {
    // tr N^-1 spread: column of J^-1 spread J^-T through J^-1 applied to the column of spread, then N^-1.
    std::vector<double> t(static_cast<size_t>(r));
    for (int64_t i = 0; i < r; ++i) {
      t[i] = g_.spread[i * r + column];
      for (int64_t k = 0; k < i; ++k) t[i] -= g_.inner[i * r + k] * t[k];
      t[i] /= g_.inner[i * r + i];
    }
    for (int64_t i = r; i-- > 0;) {
      for (int64_t k = i + 1; k < r; ++k) t[i] -= g_.inner[k * r + i] * t[k];
      t[i] /= g_.inner[i * r + i];
    }
    total += t[column];
  }
  return total;
}

}  // namespace regimes
