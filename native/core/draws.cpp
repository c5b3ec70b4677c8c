#include "draws.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "thread_pool.h"

namespace regimes {

std::vector<double> cumulative_weights(const Target& target) {
  std::vector<double> cumulative;
  if (target.log_weights == nullptr) return cumulative;
  cumulative.resize(target.n);
  double sum = 0;
  for (int64_t i = 0; i < target.n; ++i) cumulative[i] = sum += std::exp(target.log_weights[i]);
  return cumulative;
}

int32_t draw_component(const Target& target, const std::vector<double>& cumulative, uint64_t seed, uint64_t r) {
  const double u = uniform_pair(seed, r, step_component, 0)[0];
  if (cumulative.empty()) {
    const auto index = static_cast<int64_t>(std::floor(u * static_cast<double>(target.n)));
    return static_cast<int32_t>(std::min(index, target.n - 1));
  }
  // u < 1, but u times the total can round up to it: then the last component with weight.
  const auto heavier = std::upper_bound(cumulative.begin(), cumulative.end(), u * cumulative.back());
  const auto chosen = heavier != cumulative.end() ? heavier : std::lower_bound(cumulative.begin(), cumulative.end(), cumulative.back());
  return static_cast<int32_t>(chosen - cumulative.begin());
}

int32_t draw_component(const Target& target, uint64_t seed, uint64_t r) {
  return draw_component(target, cumulative_weights(target), seed, r);
}

void draw_origin(const Target& target, uint64_t seed, uint64_t r, int64_t component, double* origin, Normals source) {
  const int64_t d = target.d;
  if (target.kind == Target::Kind::points) {
    for (int64_t j = 0; j < d; ++j) origin[j] = target.points.value(component, j);
    return;
  }
  const Covariances& covariances = *target.covariances;
  const double* mean = target.means.row(component);
  source(seed, r, step_latent, d, origin);
  switch (covariances.type) {
    case Covariances::Type::spherical: {
      const double deviation = std::sqrt(covariances.values[component]);
      for (int64_t j = 0; j < d; ++j) origin[j] = mean[j] + deviation * origin[j];
      return;
    }
    case Covariances::Type::diagonal: {
      const double* variance = covariances.values.data() + component * d;
      for (int64_t j = 0; j < d; ++j) origin[j] = mean[j] + std::sqrt(variance[j]) * origin[j];
      return;
    }
    case Covariances::Type::full: {
      const std::vector<double> g(origin, origin + d);
      const double* eigenvalues = covariances.eigenvalues.data() + component * d;
      const double* eigenvectors = covariances.eigenvectors.data() + component * d * d;
      std::copy(mean, mean + d, origin);
      for (int64_t j = 0; j < d; ++j) {
        const double length = std::sqrt(eigenvalues[j]) * g[j];
        for (int64_t k = 0; k < d; ++k) origin[k] += length * eigenvectors[j * d + k];
      }
      return;
    }
    case Covariances::Type::low_rank: {
      const int64_t rank = covariances.rank;
      std::vector<double> h(rank);
      source(seed, r, step_factor, rank, h.data());
      const double* psi = covariances.values.data() + component * d;
      const double* factor = covariances.factors.data() + component * d * rank;
      for (int64_t j = 0; j < d; ++j) {
        double along = 0;
        for (int64_t k = 0; k < rank; ++k) along += factor[j * rank + k] * h[k];
        origin[j] = mean[j] + std::sqrt(psi[j]) * origin[j] + along;
      }
      return;
    }
  }
}

void draw_noise(uint64_t seed, uint64_t r, int64_t d, double* noise, Normals source) { source(seed, r, step_noise, d, noise); }

Status sample(const Target& target, const SampleRequest& request, const Execution& execution, Normals source) {
  const auto usable = [](double x) { return std::isfinite(x) && x >= 0; };
  if (!usable(request.a) || !usable(request.b)) {
    return Status::failure(Code::domain, "a and b are " + std::to_string(request.a) + " and " + std::to_string(request.b) +
                                             ", need finite numbers >= 0");
  }
  const int64_t d = target.d;
  const std::vector<double> cumulative = cumulative_weights(target);
  // Tasks of at least 4096 coordinates, so that handing them out costs nothing.
  const int64_t grain = std::max<int64_t>(1, 4096 / d);
  const int64_t tasks = (request.count + grain - 1) / grain;
  std::atomic<int64_t> finished{0};
  ThreadPool pool(execution.threads);
  std::vector<double> noise(static_cast<size_t>(pool.size()) * d);
  pool.run(tasks, [&](int64_t task, int worker) {
    if (execution.cancelled()) return;
    double* z = noise.data() + worker * d;
    const int64_t end = std::min((task + 1) * grain, request.count);
    for (int64_t i = task * grain; i < end; ++i) {
      const uint64_t r = request.first + static_cast<uint64_t>(i);
      const int32_t component = draw_component(target, cumulative, request.seed, r);
      if (request.component != nullptr) request.component[i] = component;
      if (request.x == nullptr) continue;
      double* x = request.x + i * d;
      draw_origin(target, request.seed, r, component, x, source);
      if (request.b > 0) {
        draw_noise(request.seed, r, d, z, source);
        for (int64_t j = 0; j < d; ++j) x[j] = request.a * x[j] + request.b * z[j];
      } else {
        for (int64_t j = 0; j < d; ++j) x[j] *= request.a;
      }
    }
    const int64_t done = finished.fetch_add(1) + 1;
    if (execution.progress) execution.progress(static_cast<double>(done) / static_cast<double>(tasks));
  });
  if (execution.cancelled()) return Status::failure(Code::cancelled, "");
  return {};
}

}  // namespace regimes
