#include "observations.h"

#include <algorithm>
#include <cmath>

namespace regimes {

void observe_state(const SimulateRequest& request, int32_t record, int64_t index, int64_t d, const double* x, const double* mean) {
  const Observations& seen = request.observed;
  const int64_t place = record * request.count + index;
  if (seen.states) std::copy_n(x, d, seen.states + place * d);
  if (seen.denoised && mean != nullptr) std::copy_n(mean, d, seen.denoised + place * d);
  const auto dot = [d](const double* u, const double* v) {
    double sum = 0;
    for (int64_t j = 0; j < d; ++j) sum += u[j] * v[j];
    return sum;
  };
  if (seen.norm) seen.norm[place] = std::sqrt(dot(x, x));
  for (int64_t p = 0; seen.projections && p < seen.direction_count; ++p) {
    seen.projections[place * seen.direction_count + p] = dot(x, seen.directions + p * d);
  }
}

bool wants_pass(const SimulateRequest& request, const ReverseStep& step) {
  const Observations& seen = request.observed;
  return step.out >= 0 || (step.record >= 0 && (seen.denoised || seen.log_density || seen.entropy || seen.sum_squares || seen.nearest_index ||
                                                seen.nearest_weight || seen.class_weights || seen.survivors));
}

void want_readings(const Observations& seen, int64_t place, int32_t class_count, PosteriorRequest& pass) {
  const auto of = [place](auto* base, int64_t width) { return base == nullptr ? nullptr : base + place * width; };
  pass.log_density = of(seen.log_density, 1);
  pass.entropy = of(seen.entropy, 1);
  pass.sum_squares = of(seen.sum_squares, 1);
  pass.nearest_index = of(seen.nearest_index, 1);
  pass.nearest_weight = of(seen.nearest_weight, 1);
  pass.class_weights = of(seen.class_weights, class_count);
  pass.survivors = of(seen.survivors, 1);
}

}  // namespace regimes
