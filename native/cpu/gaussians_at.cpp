#include "gaussians_at.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace regimes {
namespace {

// sum_j log(1 + f v_j), v >= 0, as logarithms of 8 interleaved products.
double log_product(const double* values, int64_t d, double f, double largest) {
  if (!(f * largest < 0x1p160)) {
    double total = 0;
    for (int64_t j = 0; j < d; ++j) total += std::log1p(f * values[j]);
    return total;
  }
  double product[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  int64_t powers = 0, j = 0;
  while (j + 8 <= d) {
    const int64_t end = std::min(j + 32, d);
    for (; j + 8 <= end; j += 8) {
      for (int lane = 0; lane < 8; ++lane) product[lane] *= 1 + f * values[j + lane];
    }
    for (double& p : product) {
      if (p < 0x1p300) continue;
      int power;
      p = std::frexp(p, &power);
      powers += power;
    }
  }
  double tail = 0, total = 0;
  for (; j < d; ++j) tail += std::log1p(f * values[j]);
  for (const double p : product) total += std::log(p);
  return (total + tail) + static_cast<double>(powers) * 0.69314718055994530942;
}

// Lower Cholesky factor in place, [n, n]; false where a pivot is not positive.
bool cholesky(double* m, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = j; i < n; ++i) {
      double sum = m[i * n + j];
      for (int64_t k = 0; k < j; ++k) sum -= m[i * n + k] * m[j * n + k];
      if (i == j && !(sum > 0)) return false;
      m[i * n + j] = i == j ? std::sqrt(sum) : sum / m[j * n + j];
    }
    for (int64_t i = 0; i < j; ++i) m[i * n + j] = 0;
  }
  return true;
}

std::vector<double> inverse_of_lower(const std::vector<double>& lower, int64_t n) {
  std::vector<double> inverse(static_cast<size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    inverse[i * n + i] = 1 / lower[i * n + i];
    for (int64_t j = 0; j < i; ++j) {
      double sum = 0;
      for (int64_t k = j; k < i; ++k) sum -= lower[i * n + k] * inverse[k * n + j];
      inverse[i * n + j] = sum / lower[i * n + i];
    }
  }
  return inverse;
}

// Gram-Schmidt with pivoting and a second projection (Golub and Van Loan, Matrix Computations, 5.2): the rows [rank, d] become
// `basis` [result, d] with row_s = sum_i loads[s * rank + i] basis_i, to rounding of each row's own length.
int64_t orthogonal_rows(const Kernels& kernels, double* rows, int64_t rank, int64_t d, double* basis, double* loads) {
  std::vector<double> length(static_cast<size_t>(rank)), product(static_cast<size_t>(rank));
  std::vector<char> used(static_cast<size_t>(rank), 0);
  std::fill(loads, loads + rank * rank, 0.0);
  for (int64_t s = 0; s < rank; ++s) length[s] = std::sqrt(kernels.weighted_square(rows + s * d, nullptr, d));
  const std::vector<double> initial = length;
  int64_t count = 0;
  while (true) {
    int64_t pivot = -1;
    for (int64_t s = 0; s < rank; ++s) {
      if (!used[s] && (pivot < 0 || length[s] > length[pivot])) pivot = s;
    }
    const auto counts = [&](double left) { return left > 4 * 0x1p-53 * initial[pivot]; };
    if (pivot < 0 || !counts(length[pivot])) break;
    used[pivot] = 1;
    double* out = basis + count * d;
    std::copy_n(rows + pivot * d, d, out);
    for (int pass = 0; pass < 2 && count > 0; ++pass) {
      kernels.row_products(basis, count, d, out, 1, product.data(), rank);
      for (int64_t i = 0; i < count; ++i) product[i] = -product[i];
      kernels.add_combinations(basis, count, d, product.data(), rank, 1, out);
      for (int64_t i = 0; i < count; ++i) loads[pivot * rank + i] -= product[i];
    }
    // What a second projection takes away was a rounding of the first, and what it leaves then is in no direction of the row.
    const double rest = std::sqrt(kernels.weighted_square(out, nullptr, d));
    if (!(rest > 0.5 * length[pivot] && counts(rest))) continue;
    loads[pivot * rank + count] = rest;
    for (int64_t j = 0; j < d; ++j) out[j] /= rest;
    ++count;
    for (int64_t s = 0; s < rank; ++s) {
      if (used[s]) continue;
      double along;
      kernels.row_products(out, 1, d, rows + s * d, 1, &along, 1);
      kernels.add_weighted(-along, out, nullptr, d, rows + s * d);
      loads[s * rank + count - 1] += along;
      length[s] = std::sqrt(kernels.weighted_square(rows + s * d, nullptr, d));
    }
  }
  return count;
}

}  // namespace

GaussiansAt::GaussiansAt(const Kernels& kernels, const Target& mixture, double a, double b)
    : kernels_(kernels), target_(mixture), c_(*mixture.covariances), n_(mixture.n), d_(mixture.d), rank_(c_.rank), a_(a), b_(b),
      low_rank_(c_.type == Covariances::Type::low_rank && rank_ > 0) {}

Status GaussiansAt::build(ThreadPool& pool, const Execution& execution) {
  const double a2 = a_ * a_, b2 = b_ * b_;
  half_log_det_.resize(static_cast<size_t>(n_));
  precision_scale_.resize(static_cast<size_t>(n_));
  if (target_.screen && !low_rank_ && c_.type != Covariances::Type::spherical && c_.type != Covariances::Type::full) {
    shared_precision_.resize(static_cast<size_t>(d_));
    for (int64_t j = 0; j < d_; ++j) shared_precision_[j] = 1 / (a2 * target_.screen->largest_variance[j] + b2);
  }
  if (low_rank_) {
    const auto squares = static_cast<size_t>(n_ * rank_ * rank_);
    inner_.resize(squares);
    spread_.resize(squares);
    map_.resize(squares);
    kept_rank_.resize(static_cast<size_t>(n_));
    dependent_.resize(static_cast<size_t>(n_));
  }
  const int64_t grain = std::max<int64_t>(1, 16384 / (d_ * (1 + rank_)));
  const int64_t tasks = (n_ + grain - 1) / grain;
  std::vector<Part> parts(static_cast<size_t>(pool.size()));
  std::vector<std::vector<double>> rows(static_cast<size_t>(pool.size()));
  pool.run(tasks, [&](int64_t task, int worker) {
    if (execution.cancelled()) return;
    Part part = parts[worker];
    for (int64_t k = task * grain; k < std::min(n_, (task + 1) * grain); ++k) {
      diagonal_part(k, part);
      if (low_rank_) low_rank_part(k, part, rows[worker]);
    }
    parts[worker] = part;
  });
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  GaussianExtremes extremes;
  bool any = false;
  for (const Part& part : parts) {
    if (!part.any) continue;
    extremes.smallest_variance = any ? std::min(extremes.smallest_variance, part.extremes.smallest_variance) : part.extremes.smallest_variance;
    extremes.condition = std::max(extremes.condition, part.extremes.condition);
    extremes.loading = std::max(extremes.loading, part.extremes.loading);
    any = true;
  }
  model_ = mixture_error_model(target_, extremes);
  return check_conditioning(model_, b_);
}

// The diagonal in the component's own axes: variances, log-determinant, and how far S^-1 exceeds the shared precision.
void GaussiansAt::diagonal_part(int64_t k, Part& part) {
  const double a2 = a_ * a_, b2 = b_ * b_;
  const bool spherical = c_.type == Covariances::Type::spherical;
  const double* values = c_.values.data() + k * (spherical ? 1 : d_);
  if (c_.type == Covariances::Type::full) values = c_.eigenvalues.data() + k * d_;
  double least = values[0], most = values[0], exceed = 0;
  if (!spherical) {
    double low[8], high[8], ratio[8] = {};
    for (int lane = 0; lane < 8; ++lane) low[lane] = high[lane] = values[0];
    int64_t j = 0;
    const double* shared = shared_precision_.empty() ? nullptr : shared_precision_.data();
    for (; j + 8 <= d_; j += 8) {
      for (int lane = 0; lane < 8; ++lane) {
        const double v = values[j + lane];
        low[lane] = v < low[lane] ? v : low[lane];
        high[lane] = v > high[lane] ? v : high[lane];
      }
      for (int lane = 0; shared && lane < 8; ++lane) {
        const double r = (a2 * values[j + lane] + b2) * shared[j + lane];
        ratio[lane] = r > ratio[lane] ? r : ratio[lane];
      }
    }
    for (; j < d_; ++j) {
      low[0] = std::min(low[0], values[j]);
      high[0] = std::max(high[0], values[j]);
      if (shared) ratio[0] = std::max(ratio[0], (a2 * values[j] + b2) * shared[j]);
    }
    least = *std::min_element(low, low + 8);
    most = *std::max_element(high, high + 8);
    exceed = *std::max_element(ratio, ratio + 8);
  }
  if (spherical) {
    half_log_det_[k] = 0.5 * static_cast<double>(d_) * std::log1p(a2 * values[0] / b2);
  } else {
    half_log_det_[k] = 0.5 * log_product(values, d_, a2 / b2, most);
  }
  precision_scale_[k] = exceed > 0 ? 1 / exceed : 1 / (a2 * most + b2);
  GaussianExtremes& extremes = part.extremes;
  const double smallest = a2 * least + b2, largest = a2 * most + b2;
  extremes.smallest_variance = part.any ? std::min(extremes.smallest_variance, smallest) : smallest;
  extremes.condition = std::max(extremes.condition, largest / smallest);
  if (c_.type == Covariances::Type::full) {
    double trace = 0;
    for (int64_t j = 0; j < d_; ++j) trace += 1 / (a2 * values[j] + b2);
    extremes.loading = std::max(extremes.loading, 0.5 * a2 * most * trace);
  }
  part.any = true;
}

// rows [rank, d] = E W^T of component k, or with `half` E^(1/2) W^T.
void GaussiansAt::scaled_rows(int64_t k, bool half, double* rows) const {
  const double* psi = c_.values.data() + k * d_;
  const double* factors = c_.factor_rows.data() + k * rank_ * d_;
  std::vector<double> scale(static_cast<size_t>(d_));
  for (int64_t j = 0; j < d_; ++j) scale[j] = 1 / (a_ * a_ * psi[j] + b_ * b_);
  for (int64_t j = 0; half && j < d_; ++j) scale[j] = std::sqrt(scale[j]);
  for (int64_t s = 0; s < rank_; ++s) {
    for (int64_t j = 0; j < d_; ++j) rows[s * d_ + j] = factors[s * d_ + j] * scale[j];
  }
}

// The basis of dependent columns, E^(-1/2) Q with Q from Gram-Schmidt.
int64_t GaussiansAt::independent_basis(int64_t k, double* rows, double* basis, double* loads) const {
  const double* psi = c_.values.data() + k * d_;
  scaled_rows(k, true, rows);
  const int64_t rank = orthogonal_rows(kernels_, rows, rank_, d_, basis, loads);
  for (int64_t s = 0; s < rank; ++s) {
    for (int64_t j = 0; j < d_; ++j) basis[s * d_ + j] *= std::sqrt(a_ * a_ * psi[j] + b_ * b_);
  }
  return rank;
}

void GaussiansAt::low_rank_part(int64_t k, Part& part, std::vector<double>& work) {
  const int64_t r = rank_, d = d_;
  work.resize(static_cast<size_t>(r * d));
  scaled_rows(k, false, work.data());
  std::vector<double> gram(static_cast<size_t>(r * r)), scaled(gram.size()), loads(gram.size(), 0.0);
  for (int64_t s = 0; s < r; s += 4) {
    const int count = static_cast<int>(std::min<int64_t>(4, r - s));
    kernels_.row_products(c_.factor_rows.data() + k * r * d, s + count, d, work.data() + s * d, count, gram.data() + s * r, r);
    for (int64_t row = s; row < s + count; ++row) {
      for (int64_t t = 0; t < row; ++t) gram[t * r + row] = gram[row * r + t];
    }
  }
  // Columns in the order of their lengths, scaled to length 1: then the Cholesky factor is as accurate as orthogonalisation.
  std::vector<int64_t> order(static_cast<size_t>(r));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return gram[i * r + i] > gram[j * r + j]; });
  std::vector<double> length(static_cast<size_t>(r));
  double total = 0;
  for (int64_t s = 0; s < r; ++s) {
    length[s] = std::sqrt(gram[order[s] * r + order[s]]);
    total += length[s] * length[s];
  }
  bool regular = length[static_cast<size_t>(r - 1)] > 0;
  for (int64_t s = 0; regular && s < r; ++s) {
    for (int64_t t = 0; t < r; ++t) scaled[s * r + t] = gram[order[s] * r + order[t]] / length[s] / length[t];
  }
  regular = regular && cholesky(scaled.data(), r);
  int64_t rank = r;
  double* map = map_.data() + k * r * r;
  if (regular) {
    const std::vector<double> unit = inverse_of_lower(scaled, r);
    double square = 0;
    for (const double value : unit) square += value * value;
    regular = square <= 100 * static_cast<double>(r);
    for (int64_t s = 0; s < r; ++s) {
      for (int64_t t = 0; t < r; ++t) map[s * r + order[t]] = unit[s * r + t] / length[t];
      for (int64_t t = 0; t < r; ++t) loads[s * r + t] = length[s] * scaled[s * r + t];
    }
  }
  dependent_[k] = regular ? 0 : 1;
  if (!regular) {
    std::vector<double> basis(work.size());
    rank = independent_basis(k, work.data(), basis.data(), loads.data());
    for (int64_t i = 0; i < rank * rank; ++i) map[i] = i % (rank + 1) == 0 ? 1 : 0;
  }
  kept_rank_[k] = static_cast<int32_t>(rank);
  double* spread = spread_.data() + k * r * r;
  double* inner = inner_.data() + k * r * r;
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rank; ++j) {
      double sum = 0;
      for (int64_t s = 0; s < r; ++s) sum += loads[s * r + i] * loads[s * r + j];
      spread[i * rank + j] = sum;
      inner[i * rank + j] = a_ * a_ * sum + (i == j ? 1 : 0);
    }
  }
  cholesky(inner, rank);
  for (int64_t i = 0; i < rank; ++i) half_log_det_[k] += std::log(inner[i * rank + i]);
  // S in units of its diagonal spans 1 ... 1 + a^2 |E^(1/2) W|^2.
  part.extremes.condition = std::max(part.extremes.condition, 1 + a_ * a_ * total);
}

void GaussiansAt::reduction(int64_t k, double* matrix) const {
  const int64_t r = rank_, rank = kept_rank_[k];
  std::vector<double> inner(inner_.begin() + k * r * r, inner_.begin() + k * r * r + rank * rank);
  const std::vector<double> inverse = inverse_of_lower(inner, rank);
  const double* map = map_.data() + k * r * r;
  std::vector<double> middle(inner.size()), right(inner.size());
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rank; ++j) {
      double sum = i == j ? 1 : 0;
      for (int64_t s = 0; s < rank; ++s) sum -= inverse[s * rank + i] * inverse[s * rank + j];
      middle[i * rank + j] = sum;
    }
  }
  std::fill(matrix, matrix + r * r, 0.0);
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t s = 0; s < rank; ++s) right[i * rank + j] += middle[i * rank + s] * map[s * rank + j];
    }
  }
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t s = 0; s < rank; ++s) matrix[i * r + j] += map[s * rank + i] * right[s * rank + j];
    }
  }
}

int64_t GaussiansAt::bytes() const {
  const size_t numbers = half_log_det_.size() + precision_scale_.size() + shared_precision_.size() + inner_.size() + spread_.size() + map_.size();
  return static_cast<int64_t>(numbers * sizeof(double) + kept_rank_.size() * sizeof(int32_t) + dependent_.size());
}

GaussianView GaussiansAt::view(int64_t k, double* scratch) const {
  GaussianView g;
  g.type = c_.type;
  g.d = d_;
  g.mean = target_.means.row(k);
  switch (c_.type) {
    case Covariances::Type::spherical:
      g.values = c_.values.data() + k;
      break;
    case Covariances::Type::diagonal:
      g.values = c_.values.data() + k * d_;
      break;
    case Covariances::Type::full:
      g.values = c_.eigenvalues.data() + k * d_;
      g.basis = c_.eigenvectors.data() + k * d_ * d_;
      break;
    case Covariances::Type::low_rank:
      g.values = c_.values.data() + k * d_;
      if (!low_rank_) break;
      g.rank = kept_rank_[k];
      g.inner = inner_.data() + k * rank_ * rank_;
      g.spread = spread_.data() + k * rank_ * rank_;
      g.map = map_.data() + k * rank_ * rank_;
      g.basis = c_.factor_rows.data() + k * rank_ * d_;
      if (!dependent_[k]) break;
      std::vector<double> rows(static_cast<size_t>(rank_ * d_)), loads(static_cast<size_t>(rank_ * rank_));
      independent_basis(k, rows.data(), scratch, loads.data());
      g.basis = scratch;
      break;
  }
  return g;
}

}  // namespace regimes
