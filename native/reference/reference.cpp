#include "reference.h"

#include "../core/draws.h"
#include "../core/error_bound.h"
#include "../core/gaussian.h"
#include "../core/philox.h"
#include "../core/thread_pool.h"
#include "posterior.h"

namespace regimes {
namespace {

using reference::Posterior;

void copy(double* out, int64_t row, const std::vector<double>& values) {
  if (out != nullptr) std::copy(values.begin(), values.end(), out + row * static_cast<int64_t>(values.size()));
}

// Mixtures: dense Cholesky factors, whose solves and determinants lose the condition number of S_k.
ErrorModel dense_error_model(const Target& mixture, double a, double b) {
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
  const double length = static_cast<double>(d), rank = static_cast<double>(c.rank);
  const bool coupled = c.type == Covariances::Type::full || c.type == Covariances::Type::low_rank;
  const double amplified = coupled ? 16 * (length + rank * rank) * condition : 0;
  model.logit_units = 2 * chain_units(d) + amplified;
  model.velocity_units = 8 + amplified;
  model.logit_offset = length * (4 + amplified);
  return model;
}

void set(double* out, int64_t row, double value) {
  if (out != nullptr) out[row] = value;
}

void read(const Target& target, const PosteriorRequest& request, const ErrorModel& model, int64_t q) {
  const double* x = request.x.row(q);
  const double* vector = request.vectors ? request.vectors + q * target.d : nullptr;
  const Posterior<double> p = reference::posterior<double>(target, x, vector, request.a, request.b);
  set(request.log_density, q, p.log_density);
  set(request.entropy, q, p.entropy);
  set(request.sum_squares, q, p.sum_squares);
  set(request.covariance_trace, q, p.covariance_trace);
  set(request.divergence, q, p.divergence);
  copy(request.denoised, q, p.denoised);
  copy(request.score, q, p.score);
  copy(request.class_weights, q, p.class_weights);
  copy(request.covariance_products, q, p.covariance_product);
  copy(request.jacobian_products, q, p.jacobian_product);
  if (request.nearest_index != nullptr) request.nearest_index[q] = static_cast<int32_t>(p.ranking[0]);
  set(request.nearest_weight, q, p.weights[p.ranking[0]]);
  for (int64_t k = 0; k < request.top; ++k) {
    request.top_index[q * request.top + k] = static_cast<int32_t>(p.ranking[k]);
    request.top_weight[q * request.top + k] = p.weights[p.ranking[k]];
  }
  if (request.survivors != nullptr) request.survivors[q] = static_cast<int32_t>(target.n);
  if (request.path != nullptr) request.path[q] = static_cast<uint8_t>(Path::float64);
  double energy = 0, squared_energy = 0, norm_x = 0, norm_mean = 0;
  const double constant = 0.5 * static_cast<double>(target.d) * std::log(2 * std::numbers::pi * request.b * request.b);
  for (int64_t i = 0; i < target.n; ++i) {
    if (p.weights[i] == 0) continue;
    const double logit = std::log(p.weights[i]) + p.log_density + constant;
    energy += p.weights[i] * std::abs(logit);
    squared_energy += p.weights[i] * logit * logit;
  }
  for (int64_t j = 0; j < target.d; ++j) norm_x += x[j] * x[j];
  for (int64_t j = 0; j < target.d; ++j) norm_mean += request.a * request.a * p.denoised[j] * p.denoised[j];
  const double terms = static_cast<double>(target.n);
  // Plain sums run through all d coordinates and all n components: their chains are that much longer.
  ErrorModel plain = model;
  plain.logit_units += static_cast<double>(target.d);
  ErrorBound bound = error_bound(plain, {energy, squared_energy, 0, 0}, target.n, terms, request.b, p.log_density, target.d,
                                 std::sqrt(norm_x), std::sqrt(norm_mean));
  bound.log_density += 0x1p-53 * (terms + 8 * std::abs(p.log_density));
  bound.score *= 1 + terms / 512;
  set(request.error_log_density, q, bound.log_density);
  set(request.error_score, q, bound.score);
}

Status posterior(const Target& target, const PosteriorRequest& request, const Execution& execution) {
  const ErrorModel model = target.kind == Target::Kind::points ? points_error_model(target.d, request.b)
                                                               : dense_error_model(target, request.a, request.b);
  const Status status = check_conditioning(model, request.b);
  if (!status.ok()) return status;
  ThreadPool pool(execution.threads);
  std::atomic<int64_t> done{0};
  pool.run(request.x.rows, [&](int64_t q, int) {
    if (execution.cancelled()) return;
    read(target, request, model, q);
    if (execution.progress) execution.progress(static_cast<double>(++done) / static_cast<double>(request.x.rows));
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

Status sweep(const Target& target, const SweepRequest& request, const Execution& execution) {
  ThreadPool pool(execution.threads);
  std::atomic<int64_t> done{0};
  pool.run(request.count, [&](int64_t r, int) {
    if (execution.cancelled()) return;
    const uint64_t draw = request.first + static_cast<uint64_t>(r);
    const int64_t d = target.d;
    std::vector<double> origin(d), noise(d), x(d);
    const int32_t own = draw_component(target, request.seed, draw);
    draw_origin(target, request.seed, draw, own, origin.data());
    draw_noise(request.seed, draw, d, noise.data());
    if (request.component != nullptr) request.component[r] = own;
    for (int64_t t = 0; t < request.times; ++t) {
      for (int64_t j = 0; j < d; ++j) x[j] = request.a[t] * origin[j] + request.b[t] * noise[j];
      const Posterior<double> p = reference::posterior<double>(target, x.data(), nullptr, request.a[t], request.b[t]);
      const int64_t at = t * request.count + r;
      set(request.log_density, at, p.log_density);
      set(request.entropy, at, p.entropy);
      set(request.sum_squares, at, p.sum_squares);
      set(request.own_log_weight, at, std::log(p.weights[own]));
      set(request.class_squares, at, class_squares(p.class_weights.data(), target.class_count));
      set(request.class_entropy, at, class_entropy(p.class_weights.data(), target.class_count));
    }
    if (execution.progress) execution.progress(static_cast<double>(++done) / static_cast<double>(request.count));
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace

const Backend& reference_backend() {
  static constexpr Backend backend{"reference", posterior, sweep, nullptr, normals};
  return backend;
}

}  // namespace regimes
