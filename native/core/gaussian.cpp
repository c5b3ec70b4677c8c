#include "gaussian.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace regimes {
namespace {

// sum_j f(j) in blocks of 32, so that rounding stays within chain_units.
template <class Term>
double blocked_sum(int64_t count, const Term& term) {
  double total = 0;
  for (int64_t first = 0; first < count; first += 32) {
    double block = 0;
    for (int64_t j = first; j < std::min(first + 32, count); ++j) block += term(j);
    total += block;
  }
  return total;
}

GaussianView view_of(const Target& mixture, int64_t k, const double* capacitance) {
  const Covariances& c = *mixture.covariances;
  const int64_t d = mixture.d;
  const double* mean = mixture.means.row(k);
  switch (c.type) {
    case Covariances::Type::spherical:
      return {GaussianView::Type::spherical, d, 0, mean, c.values.data() + k, nullptr, nullptr, nullptr};
    case Covariances::Type::diagonal:
      return {GaussianView::Type::diagonal, d, 0, mean, c.values.data() + k * d, nullptr, nullptr, nullptr};
    case Covariances::Type::full:
      return {GaussianView::Type::full,          d,      0, mean, c.eigenvalues.data() + k * d, c.eigenvectors.data() + k * d * d, nullptr,
              nullptr};
    case Covariances::Type::low_rank:
      break;
  }
  return {GaussianView::Type::low_rank, d,          c.rank, mean, c.values.data() + k * d, nullptr,
          c.factors.data() + k * d * c.rank, capacitance};
}

// The low-rank case: with E = diag(1/(a^2 psi + b^2)), G = W^T E W, M = I + a^2 G = L L^T,
//   S^-1 = E - a^2 E W M^-1 W^T E,  det S = det(E^-1) det M,  W^T S^-1 W = M^-1 G.
struct LowRank {
  double log_det_m = 0;
  double precision_correction = 0;  // a^2 tr(M^-1 W^T E^2 W)
  double inner_correction = 0;      // a^2 tr(M^-1 W^T psi E^2 W)
  double factor_trace = 0;          // tr(M^-1 G)
};

LowRank factor_low_rank(const GaussianView& g, double a, double b, double* lower) {
  const int64_t r = g.rank;
  const double a2 = a * a, b2 = b * b;
  const auto gram = [&](int64_t s, int64_t t, int64_t power, bool with_psi) {
    return blocked_sum(g.d, [&](int64_t j) {
      const double e = 1 / (a2 * g.values[j] + b2);
      return g.factors[j * r + s] * g.factors[j * r + t] * (power == 2 ? e * e : e) * (with_psi ? g.values[j] : 1);
    });
  };
  for (int64_t s = 0; s < r; ++s) {
    for (int64_t t = 0; t <= s; ++t) {
      double sum = a2 * gram(s, t, 1, false) + (s == t ? 1 : 0);
      for (int64_t k = 0; k < t; ++k) sum -= lower[s * r + k] * lower[t * r + k];
      lower[s * r + t] = s == t ? std::sqrt(sum) : sum / lower[t * r + t];
    }
  }
  LowRank result;
  for (int64_t s = 0; s < r; ++s) result.log_det_m += 2 * std::log(lower[s * r + s]);
  std::vector<double> inverse(static_cast<size_t>(r * r), 0.0);
  for (int64_t column = 0; column < r; ++column) {
    double* x = inverse.data() + column * r;
    x[column] = 1;
    for (int64_t i = 0; i < r; ++i) {
      for (int64_t j = 0; j < i; ++j) x[i] -= lower[i * r + j] * x[j];
      x[i] /= lower[i * r + i];
    }
    for (int64_t i = r; i-- > 0;) {
      for (int64_t j = i + 1; j < r; ++j) x[i] -= lower[j * r + i] * x[j];
      x[i] /= lower[i * r + i];
    }
  }
  for (int64_t s = 0; s < r; ++s) {
    for (int64_t t = 0; t < r; ++t) {
      result.precision_correction += a2 * inverse[s * r + t] * gram(s, t, 2, false);
      result.inner_correction += a2 * inverse[s * r + t] * gram(s, t, 2, true);
      result.factor_trace += inverse[s * r + t] * gram(s, t, 1, false);
    }
  }
  return result;
}

}  // namespace

GaussiansAt gaussians_at(const Target& mixture, double a, double b) {
  const Covariances& c = *mixture.covariances;
  const double a2 = a * a, b2 = b * b;
  const int64_t d = mixture.d;
  GaussiansAt at;
  at.capacitances.resize(static_cast<size_t>(mixture.n * c.rank * c.rank));
  for (int64_t k = 0; k < mixture.n; ++k) {
    double* lower = at.capacitances.data() + k * c.rank * c.rank;
    const GaussianView g = view_of(mixture, k, lower);
    const int64_t count = g.type == GaussianView::Type::spherical ? 1 : d;
    const double copies = static_cast<double>(d / count);
    const auto variance = [&](int64_t j) { return a2 * g.values[j] + b2; };
    double half_log_det = 0.5 * copies * blocked_sum(count, [&](int64_t j) { return std::log1p(a2 * g.values[j] / b2); });
    double precision_trace = copies * blocked_sum(count, [&](int64_t j) { return 1 / variance(j); });
    double inner_trace = copies * blocked_sum(count, [&](int64_t j) { return g.values[j] / variance(j); });
    if (g.type == GaussianView::Type::low_rank) {
      const LowRank part = factor_low_rank(g, a, b, lower);
      half_log_det += 0.5 * part.log_det_m;
      precision_trace -= part.precision_correction;
      inner_trace += part.factor_trace - part.inner_correction;
    }
    at.views.push_back(g);
    at.half_log_det.push_back(half_log_det);
    at.precision_trace.push_back(precision_trace);
    at.inner_trace.push_back(inner_trace);
  }
  return at;
}

ErrorModel mixture_error_model(const Target& mixture, double a, double b) {
  const Covariances& c = *mixture.covariances;
  const int64_t d = mixture.d, per = c.type == Covariances::Type::spherical ? 1 : d;
  const double* values = c.type == Covariances::Type::full ? c.eigenvalues.data() : c.values.data();
  ErrorModel model;
  double condition = 1;
  for (int64_t k = 0; k < mixture.n; ++k) {
    const auto [low, high] = std::minmax_element(values + k * per, values + (k + 1) * per);
    double extra = 0;
    for (int64_t j = 0; j < d * c.rank; ++j) extra += c.factors[k * d * c.rank + j] * c.factors[k * d * c.rank + j];
    const double least = a * a * *low + b * b;
    condition = std::max(condition, (a * a * (*high + extra) + b * b) / least);
    model.smallest_variance = k == 0 ? least : std::min(model.smallest_variance, least);
  }
  model.logit_units = 2 * chain_units(d);
  model.velocity_units = 8;
  const double length = static_cast<double>(d), rank = static_cast<double>(c.rank);
  double amplified = 0;
  if (c.type == Covariances::Type::full) amplified = 10 * length * condition;
  if (c.type == Covariances::Type::low_rank) amplified = 16 * (chain_units(d) + rank * rank) * condition;
  model.logit_units += amplified;
  model.velocity_units += amplified;
  return model;
}

Status check_conditioning(const Target& mixture, double a, double b) {
  if (mixture.covariances->type != Covariances::Type::low_rank) return {};
  const double units = mixture_error_model(mixture, a, b).logit_units;
  if (units * 0x1p-53 < 1e-3) return {};
  return Status::failure(Code::range, "noise b = " + std::to_string(b) +
                                          " and the diagonal of a low-rank covariance are too small beside its factors for float64. "
                                          "Give the diagonal a floor, or use a full covariance");
}

}  // namespace regimes
