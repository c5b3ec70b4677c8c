// The part of kernels_body.h for Gaussian components: products of matrix rows with lanes, and S_k^-1 and C_k applied to lanes.
#pragma once

namespace {

// sum_j x_j y_j over lanes [n][8] with the matrix row m [n] (broadcast): sum_j m_j x_j.
inline Lanes row_times_lanes(const double* m, int64_t stride, const double* x, int64_t n) {
  Lanes total = broadcast(0);
  for (int64_t inner = 0; inner < n; inner += inner_block) {
    const int64_t end = smaller(inner + inner_block, n);
    Lanes even = broadcast(0), odd = broadcast(0);
    int64_t j = inner;
    for (; j + 2 <= end; j += 2) {
      even = multiply_add(broadcast(m[j * stride]), load(x + j * 8), even);
      odd = multiply_add(broadcast(m[(j + 1) * stride]), load(x + (j + 1) * 8), odd);
    }
    if (j < end) even = multiply_add(broadcast(m[j * stride]), load(x + j * 8), even);
    total = total + (even + odd);
  }
  return total;
}

// y [n][8] += sum_r m[r][j] x_r for the rows m [rows, n].
inline void add_rows_times_lanes(const double* m, int64_t rows, int64_t n, const double* x, double* y) {
  for (int64_t r = 0; r < rows; ++r) {
    const Lanes factor = load(x + r * 8);
    for (int64_t j = 0; j < n; ++j) store(y + j * 8, multiply_add(broadcast(m[r * n + j]), factor, load(y + j * 8)));
  }
}

// L L^T c = t in place, L lower triangular [rank, rank].
inline void cholesky_solve(const double* lower, int64_t rank, double* t) {
  for (int64_t i = 0; i < rank; ++i) {
    Lanes sum = load(t + i * 8);
    for (int64_t j = 0; j < i; ++j) sum = sum - broadcast(lower[i * rank + j]) * load(t + j * 8);
    store(t + i * 8, sum / broadcast(lower[i * rank + i]));
  }
  for (int64_t i = rank; i-- > 0;) {
    Lanes sum = load(t + i * 8);
    for (int64_t j = i + 1; j < rank; ++j) sum = sum - broadcast(lower[j * rank + i]) * load(t + j * 8);
    store(t + i * 8, sum / broadcast(lower[i * rank + i]));
  }
}

// p = S^-1 f for a difference f [d][8]. scratch [d + rank][8].
void solve_difference(const GaussianView& g, const double* f, double a, double b, double* p, double* scratch) {
  const double a2 = a * a, b2 = b * b;
  switch (g.type) {
    case GaussianView::Type::spherical: {
      const Lanes variance = broadcast(a2 * g.values[0] + b2);
      for (int64_t j = 0; j < g.d; ++j) store(p + j * 8, load(f + j * 8) / variance);
      return;
    }
    case GaussianView::Type::diagonal:
      for (int64_t j = 0; j < g.d; ++j) store(p + j * 8, load(f + j * 8) / broadcast(a2 * g.values[j] + b2));
      return;
    case GaussianView::Type::full: {
      for (int64_t r = 0; r < g.d; ++r) {
        const Lanes component = row_times_lanes(g.eigenvectors + r * g.d, 1, f, g.d);
        store(scratch + r * 8, component / broadcast(a2 * g.values[r] + b2));
      }
      for (int64_t j = 0; j < g.d; ++j) store(p + j * 8, broadcast(0));
      add_rows_times_lanes(g.eigenvectors, g.d, g.d, scratch, p);
      return;
    }
    case GaussianView::Type::low_rank: {
      for (int64_t j = 0; j < g.d; ++j) store(p + j * 8, load(f + j * 8) / broadcast(a2 * g.values[j] + b2));
      for (int64_t s = 0; s < g.rank; ++s) store(scratch + s * 8, row_times_lanes(g.factors + s, g.rank, p, g.d));
      cholesky_solve(g.capacitance, g.rank, scratch);
      for (int64_t j = 0; j < g.d; ++j) {
        const Lanes part = row_times_lanes(g.factors + j * g.rank, 1, scratch, g.rank);
        const Lanes factor = broadcast(a2 / (a2 * g.values[j] + b2));
        store(p + j * 8, load(p + j * 8) - factor * part);
      }
      return;
    }
  }
}

void dot_lanes(const double* x, const double* y, const double* u, const double* v, int64_t d, double* out) {
  Lanes total = broadcast(0);
  for (int64_t inner = 0; inner < d; inner += inner_block) {
    const int64_t end = smaller(inner + inner_block, d);
    Lanes sum = broadcast(0);
    for (int64_t j = inner; j < end; ++j) {
      Lanes left = load(x + j * 8), right = load(u + j * 8);
      if (y != nullptr) left = left - load(y + j * 8);
      if (v != nullptr) right = right - load(v + j * 8);
      sum = multiply_add(left, right, sum);
    }
    total = total + sum;
  }
  store(out, total);
}

void gaussian_solve(const GaussianView& g, const double* x, double a, double b, double* p, double* q, double* scratch) {
  const Lanes factor = broadcast(a);
  for (int64_t j = 0; j < g.d; ++j) {
    store(scratch + j * 8, subtract_product(load(x + j * 8), factor, broadcast(g.mean[j])));
  }
  solve_difference(g, scratch, a, b, p, scratch + g.d * 8);
  dot_lanes(scratch, nullptr, p, nullptr, g.d, q);
}

void gaussian_precision(const GaussianView& g, const double* u, double a, double b, double* p, double* scratch) {
  solve_difference(g, u, a, b, p, scratch);
}

void gaussian_covariance(const GaussianView& g, const double* p, double* out, double* scratch) {
  switch (g.type) {
    case GaussianView::Type::spherical:
    case GaussianView::Type::diagonal: {
      const int64_t step = g.type == GaussianView::Type::diagonal ? 1 : 0;
      for (int64_t j = 0; j < g.d; ++j) store(out + j * 8, broadcast(g.values[j * step]) * load(p + j * 8));
      return;
    }
    case GaussianView::Type::full:
      for (int64_t r = 0; r < g.d; ++r) {
        const Lanes component = row_times_lanes(g.eigenvectors + r * g.d, 1, p, g.d);
        store(scratch + r * 8, broadcast(g.values[r]) * component);
      }
      for (int64_t j = 0; j < g.d; ++j) store(out + j * 8, broadcast(0));
      add_rows_times_lanes(g.eigenvectors, g.d, g.d, scratch, out);
      return;
    case GaussianView::Type::low_rank:
      for (int64_t s = 0; s < g.rank; ++s) store(scratch + s * 8, row_times_lanes(g.factors + s, g.rank, p, g.d));
      for (int64_t j = 0; j < g.d; ++j) {
        const Lanes part = row_times_lanes(g.factors + j * g.rank, 1, scratch, g.rank);
        store(out + j * 8, multiply_add(broadcast(g.values[j]), load(p + j * 8), part));
      }
      return;
  }
}

void add_lanes(const double* w, const double* base, double scale, const double* x, int64_t d, double* y) {
  const Lanes weight = load(w), factor = broadcast(scale);
  for (int64_t j = 0; j < d; ++j) {
    Lanes value = factor * load(x + j * 8);
    if (base != nullptr) value = value + broadcast(base[j]);
    store(y + j * 8, multiply_add(weight, value, load(y + j * 8)));
  }
}

}  // namespace
