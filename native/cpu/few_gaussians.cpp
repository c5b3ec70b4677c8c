#include "few_gaussians.h"

#include <algorithm>
#include <cmath>

#include "readings.h"

namespace regimes {

constexpr int64_t most_numbers = 2048;  // of means: what 8 queries need beside them stays in the first cache or nearly so

// From the largest of `logits`, with stride 8, to the next.
static double lead_of(const double* logits, int64_t n) {
  double largest = -INFINITY, next = -INFINITY;
  for (int64_t k = 0; k < n; ++k) {
    next = std::max(next, std::min(largest, logits[k * lanes]));
    largest = std::max(largest, logits[k * lanes]);
  }
  return largest - next;
}

bool is_few(const Target& target) {
  if (target.kind != Target::Kind::mixture) return false;
  const Covariances::Type type = target.covariances->type;
  const bool simple = type == Covariances::Type::spherical || type == Covariances::Type::diagonal;
  return simple && target.n <= most_few && target.n * target.d <= most_numbers;
}

Status FewGaussians::build(const Kernels& kernels, const Target& target, double a, double b) {
  ThreadPool alone(1);
  GaussiansAt at(kernels, target, a, b);
  const Status status = at.build(alone, {});
  if (!status.ok()) return status;
  model_ = at.model();
  const int64_t n = target.n, d = target.d;
  const bool wide = target.covariances->type == Covariances::Type::diagonal;
  const std::vector<double>& values = target.covariances->values;
  const int64_t size = wide ? n * d : n;
  numbers_.resize(static_cast<size_t>(3 * size + 2 * n));
  double *precision = numbers_.data(), *gain = precision + size, *shift = gain + size, *half_scale = shift + size, *bias = half_scale + n;
  for (int64_t i = 0; i < size; ++i) {
    precision[i] = 1 / (a * a * values[i] + b * b);
    gain[i] = a * values[i] * precision[i];
    shift[i] = b * b * precision[i] * (wide ? target.means.data[i] : 1);
  }
  for (int64_t k = 0; k < n; ++k) {
    half_scale[k] = wide ? 0.5 : 0.5 * precision[k];
    bias[k] = target.log_weight(k) - at.half_log_det(k);
  }
  level_ = {n, d, wide, a, target.means.data, precision, half_scale, bias, gain, shift};
  return {};
}

FewReadings::FewReadings(const Kernels& kernels, const Target& target)
    : kernels_(kernels), target_(target), uniform_(target.uniform()), exponentials_(target.n * lanes),
      classes_(static_cast<size_t>(target.class_count) * lanes), totals_(target.class_count) {}

void FewReadings::read(const PosteriorRequest& request, const ErrorModel& model, const double* logits, int64_t first, int count) {
  for (int64_t q = first; request.survivors && q < first + count; ++q) request.survivors[q] = static_cast<int32_t>(target_.n);
  for (int64_t q = first; request.path && q < first + count; ++q) request.path[q] = static_cast<uint8_t>(Path::float64);
  const bool scalars = request.log_density || request.entropy || request.sum_squares || request.nearest_index || request.nearest_weight ||
                       request.class_weights || request.top > 0 || request.error_log_density || request.error_score;
  if (!scalars) return;
  double floor[lanes];
  std::fill_n(floor, lanes, -INFINITY);
  LaneSums block;
  kernels_.block_sums(logits, static_cast<int>(target_.n), floor, &block, exponentials_.data());
  std::fill(classes_.begin(), classes_.end(), 0.0);
  if (request.class_weights) kernels_.add_class_sums(exponentials_.data(), target_.classes, static_cast<int>(target_.n), classes_.data());
  std::fill_n(totals_.sums, lanes, LogSumExp<double>{});
  std::fill(totals_.classes.begin(), totals_.classes.end(), 0.0);
  totals_.add(block, 0, classes_.data(), floor);
  const double terms = static_cast<double>(target_.n);
  for (int lane = 0; lane < count; ++lane) {
    const int64_t q = first + lane;
    const LogSumExp<double>& sums = totals_.sums[lane];
    const double log_density = read_scalars(target_, request, q, totals_, lane, uniform_);
    if (request.top > 0) {
      read_top(logits + lane, target_.n, sums, request.top, request.top_index + q * request.top, request.top_weight + q * request.top);
    }
    const double lead = sums.rest == 0 ? lead_of(logits + lane, target_.n) : 0;
    read_bounds(target_, request, q, sums, uniform_, model, log_density, terms, nullptr, lead);
  }
}

}  // namespace regimes
