// The definition of `posterior`, one formula per line, plain sums in component order, dense algebra; every fast path is tested
// against it. Real = double is the backend "reference"; tests instantiate Real = __float128 as the oracle of the error bounds.
// Costs O(n d) per query, O(n d^3) for mixtures: not for large problems.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/log_sum_exp.h"
#include "../core/operations.h"

namespace regimes::reference {

// Covariance C_k as a dense [d, d] matrix; zero for points.
template <class Real>
std::vector<Real> covariance_matrix(const Target& target, int64_t k) {
  const int64_t d = target.d;
  std::vector<Real> c(d * d, Real(0));
  if (target.kind == Target::Kind::points) return c;
  const Covariances& g = *target.covariances;
  for (int64_t i = 0; i < d; ++i) {
    switch (g.type) {
      case Covariances::Type::spherical:
        c[i * d + i] = g.values[k];
        break;
      case Covariances::Type::diagonal:
        c[i * d + i] = g.values[k * d + i];
        break;
      case Covariances::Type::full:
        for (int64_t j = 0; j < d; ++j) c[i * d + j] = (Real(g.values[(k * d + i) * d + j]) + Real(g.values[(k * d + j) * d + i])) / 2;
        break;
      case Covariances::Type::low_rank:
        c[i * d + i] = g.values[k * d + i];
        for (int64_t j = 0; j < d; ++j) {
          for (int64_t s = 0; s < g.rank; ++s) {
            c[i * d + j] += Real(g.factors[(k * d + i) * g.rank + s]) * Real(g.factors[(k * d + j) * g.rank + s]);
          }
        }
        break;
    }
  }
  return c;
}

// Lower Cholesky factor in place of a symmetric positive definite [d, d] matrix.
template <class Real>
void cholesky(std::vector<Real>& m, int64_t d) {
  using std::sqrt;
  for (int64_t j = 0; j < d; ++j) {
    for (int64_t k = 0; k < j; ++k) m[j * d + j] -= m[j * d + k] * m[j * d + k];
    m[j * d + j] = sqrt(m[j * d + j]);
    for (int64_t i = j + 1; i < d; ++i) {
      for (int64_t k = 0; k < j; ++k) m[i * d + j] -= m[i * d + k] * m[j * d + k];
      m[i * d + j] /= m[j * d + j];
    }
  }
}

// S^-1 v from the factor of S.
template <class Real>
std::vector<Real> solve(const std::vector<Real>& lower, std::vector<Real> v) {
  const int64_t d = static_cast<int64_t>(v.size());
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t j = 0; j < i; ++j) v[i] -= lower[i * d + j] * v[j];
    v[i] /= lower[i * d + i];
  }
  for (int64_t i = d; i-- > 0;) {
    for (int64_t j = i + 1; j < d; ++j) v[i] -= lower[j * d + i] * v[j];
    v[i] /= lower[i * d + i];
  }
  return v;
}

template <class Real>
std::vector<Real> times(const std::vector<Real>& matrix, const std::vector<Real>& v) {
  const size_t d = v.size();
  std::vector<Real> product(d, Real(0));
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = 0; j < d; ++j) product[i] += matrix[i * d + j] * v[j];
  }
  return product;
}

template <class Real>
Real dot(const std::vector<Real>& x, const std::vector<Real>& y) {
  Real sum = 0;
  for (size_t j = 0; j < x.size(); ++j) sum += x[j] * y[j];
  return sum;
}

// One component seen from one query: its logit, its own score v = S^-1 (a m - x), denoised mean m - a C v, and S.
template <class Real>
struct Component {
  Real logit;
  std::vector<Real> velocity;
  std::vector<Real> mean;
  std::vector<Real> covariance;  // C; empty for points
  std::vector<Real> factor;      // Cholesky factor of S; empty for points
};

template <class Real>
Component<Real> component(const Target& target, int64_t i, const double* x, Real a, Real b) {
  using std::fma;
  using std::log;
  const int64_t d = target.d;
  const Real b2 = b * b;
  Component<Real> c;
  std::vector<Real> m(d), difference(d);
  for (int64_t j = 0; j < d; ++j) m[j] = target.kind == Target::Kind::points ? Real(target.points.value(i, j)) : Real(target.means(i, j));
  for (int64_t j = 0; j < d; ++j) difference[j] = fma(a, m[j], Real(-x[j]));  // rounded once
  const Real log_weight = target.log_weights ? Real(target.log_weights[i]) : -log(Real(target.n));
  if (target.kind == Target::Kind::points) {
    c.logit = log_weight - dot(difference, difference) / (2 * b2);
    c.velocity = difference;
    for (Real& v : c.velocity) v /= b2;
    c.mean = m;
    return c;
  }
  c.covariance = covariance_matrix<Real>(target, i);
  c.factor.resize(d * d);
  for (int64_t k = 0; k < d * d; ++k) c.factor[k] = a * a * c.covariance[k] + (k % (d + 1) == 0 ? b2 : Real(0));
  cholesky(c.factor, d);
  c.velocity = solve(c.factor, difference);
  Real half_log_det = 0;
  for (int64_t j = 0; j < d; ++j) half_log_det += log(c.factor[j * d + j] / b);
  c.logit = log_weight - dot(difference, c.velocity) / 2 - half_log_det;
  c.mean = times(c.covariance, c.velocity);
  for (int64_t j = 0; j < d; ++j) c.mean[j] = m[j] - a * c.mean[j];
  return c;
}

// All readings at one query. Vectors are [d], top lists are whole rankings.
template <class Real>
struct Posterior {
  Real log_density, entropy, sum_squares, covariance_trace, divergence;
  std::vector<Real> weights, denoised, score, class_weights, covariance_product, jacobian_product;
  std::vector<int64_t> ranking;  // components by descending weight, ties by index
};

template <class Real>
Posterior<Real> posterior(const Target& target, const double* x, const double* vector, double a_in, double b_in) {
  using std::exp;
  using std::log;
  const int64_t n = target.n, d = target.d;
  const Real a = a_in, b = b_in, b2 = b * b;
  std::vector<Component<Real>> components;
  for (int64_t i = 0; i < n; ++i) components.push_back(component<Real>(target, i, x, a, b));

  LogSumExp<Real> sums;
  for (int64_t i = 0; i < n; ++i) sums.merge(LogSumExp<Real>::single(components[i].logit, i));
  Posterior<Real> p;
  for (int64_t i = 0; i < n; ++i) p.weights.push_back(exp(components[i].logit - sums.log_sum()));
  p.log_density = sums.log_sum() - Real(d) / 2 * log(2 * Real(3.14159265358979323846264338327950288L) * b2);
  p.entropy = sums.entropy();
  p.sum_squares = sums.sum_squares();

  p.denoised.assign(d, Real(0));
  p.score.assign(d, Real(0));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < d; ++j) p.denoised[j] += p.weights[i] * components[i].mean[j];
    for (int64_t j = 0; j < d; ++j) p.score[j] += p.weights[i] * components[i].velocity[j];
  }
  p.class_weights.assign(target.class_count, Real(0));
  for (int64_t i = 0; i < n && target.classes; ++i) p.class_weights[target.classes[i]] += p.weights[i];
  for (int64_t i = 0; i < n; ++i) p.ranking.push_back(i);
  std::stable_sort(p.ranking.begin(), p.ranking.end(), [&](int64_t i, int64_t j) { return components[i].logit > components[j].logit; });

  // Cov = sum w [b^2 C S^-1 + (mu - D)(mu - D)^T];  grad score = sum w [-S^-1 + (v - s)(v - s)^T]
  std::vector<Real> u(d, Real(0));
  for (int64_t j = 0; j < d && vector; ++j) u[j] = vector[j];
  p.covariance_product.assign(d, Real(0));
  p.jacobian_product.assign(d, Real(0));
  p.covariance_trace = 0;
  p.divergence = 0;
  for (int64_t i = 0; i < n; ++i) {
    const Component<Real>& c = components[i];
    std::vector<Real> spread(d), drift(d);
    for (int64_t j = 0; j < d; ++j) spread[j] = c.mean[j] - p.denoised[j];
    for (int64_t j = 0; j < d; ++j) drift[j] = c.velocity[j] - p.score[j];
    Real inner_trace = 0, precision_trace = Real(d) / b2;
    std::vector<Real> inner_product(d, Real(0)), precision_product(d);
    for (int64_t j = 0; j < d; ++j) precision_product[j] = u[j] / b2;
    if (!c.factor.empty()) {
      precision_product = solve(c.factor, u);
      inner_product = times(c.covariance, precision_product);
      precision_trace = 0;
      for (int64_t k = 0; k < d; ++k) {
        std::vector<Real> unit(d, Real(0));
        unit[k] = 1;
        const std::vector<Real> column = solve(c.factor, unit);
        precision_trace += column[k];
        for (int64_t j = 0; j < d; ++j) inner_trace += c.covariance[k * d + j] * column[j];
      }
    }
    p.covariance_trace += p.weights[i] * (b2 * inner_trace + dot(spread, spread));
    p.divergence += p.weights[i] * (dot(drift, drift) - precision_trace);
    const Real spread_u = dot(spread, u), drift_u = dot(drift, u);
    for (int64_t j = 0; j < d; ++j) p.covariance_product[j] += p.weights[i] * (b2 * inner_product[j] + spread[j] * spread_u);
    for (int64_t j = 0; j < d; ++j) p.jacobian_product[j] += p.weights[i] * (drift[j] * drift_u - precision_product[j]);
  }
  return p;
}

}  // namespace regimes::reference
