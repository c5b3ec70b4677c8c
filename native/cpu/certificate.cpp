#include "certificate.h"

#include <algorithm>

namespace regimes {
namespace {

constexpr double most_theta = 4;
// A list ends where the noise of a step would ask for a theta below this part of the first: late steps of Euler and Maruyama.
constexpr double least_share = 0.75;
constexpr int parts = 8;

}  // namespace

Motion measure(const CarryPlan::Evaluation& from, const CarryPlan::Evaluation& to, const double* x0, const double* x, const double* noise,
               const double* y, int64_t d) {
  const double ratio = to.a / (to.b * to.b), earlier = to.kappa * (from.a / (from.b * from.b));
  double square[parts] = {}, along[parts] = {}, drift[parts] = {};
  const auto add = [&](int64_t j, int part) {
    const double here = x[j] - to.a * y[j], delta = ratio * here - earlier * (x0[j] - from.a * y[j]);
    const double m = noise == nullptr ? delta : delta - ratio * noise[j];
    square[part] += here * here;
    along[part] += delta * m;
    drift[part] += m * m;
  };
  int64_t j = 0;
  for (; j + parts <= d; j += parts) {
    for (int part = 0; part < parts; ++part) add(j + part, part);
  }
  for (; j < d; ++j) add(j, 0);
  Motion motion;
  for (int part = 0; part < parts; ++part) {
    motion.square += square[part];
    motion.along += along[part];
    motion.drift += drift[part];
  }
  return motion;
}

Exponent exponent_from(const CarryPlan& plan, int64_t e) {
  const auto end = static_cast<int64_t>(plan.evaluations.size());
  Exponent exponent{most_theta, 1, end};
  double product = 1, least_product = 1, first = 0;
  for (int64_t f = e + 1, parent = e; f < end; ++f) {
    const CarryPlan::Evaluation& here = plan.evaluations[f];
    if (here.parent != parent) continue;
    if (here.noise > 0) {
      const double most = here.gain / here.noise * product * here.kappa;
      if (first == 0) first = std::min(most, most_theta);
      if (most < least_share * first) {
        exponent.expiry = f;
        break;
      }
      exponent.theta = std::min(exponent.theta, most);
    }
    if (!here.is_parent) continue;
    product *= here.kappa;
    least_product = std::min(least_product, product);
    parent = f;
  }
  exponent.largest = exponent.theta / least_product;
  return exponent;
}

}  // namespace regimes
