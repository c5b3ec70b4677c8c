#include "gaussian.h"

#include <cmath>
#include <cstdio>
#include <string>

namespace regimes {

ErrorModel mixture_error_model(const Target& mixture, const GaussianExtremes& extremes) {
  const double length = static_cast<double>(mixture.d), rank = static_cast<double>(mixture.covariances->rank);
  const double chain = chain_units(mixture.d), root = std::sqrt(extremes.condition);
  ErrorModel model;
  model.smallest_variance = extremes.smallest_variance;
  model.logit_units = 2 * chain;
  model.velocity_units = 8;
  // log det S / b^2 as products of d factors, each rounded twice, and 8 logarithms of a size that energies do not bound.
  model.logit_offset = 2 * length + 64;
  if (mixture.covariances->type == Covariances::Type::full) {
    const double decomposition = 12 * length * extremes.condition;  // 10, and what the second order adds below the limit
    const double products = 4 * chain * std::sqrt(length) * root;
    model.logit_units += decomposition + products;
    model.velocity_units += 2 * decomposition + products;
    model.logit_offset += 12 * length * extremes.loading;
  }
  if (mixture.covariances->type == Covariances::Type::low_rank) {
    const double projection = 16 * (chain + rank * rank) * (100 + root);
    model.logit_units += projection;
    model.velocity_units += projection;
    model.logit_offset += rank * projection;
  }
  return model;
}

Status check_conditioning(const ErrorModel& model, double b) {
  if (model.logit_units * 0x1p-53 < 0.1) return {};
  char noise[32];
  std::snprintf(noise, sizeof noise, "%.6g", b);
  return Status::failure(Code::range, std::string("noise b = ") + noise +
                                          " is too small beside the largest variance of a singular covariance for float64. Give its "
                                          "smallest variances a floor");
}

}  // namespace regimes
