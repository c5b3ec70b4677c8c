// sweep over mixtures: S_k depends on time, so each time is one pass over the components. One time is at hand at once.
#include <cmath>

#include "../core/thread_pool.h"
#include "cpu.h"
#include "mixture_pass.h"
#include "readings.h"
#include "sweep.h"

namespace regimes {
namespace {

// Draws at hand: their coordinates stay below sweep_bytes, as far as one group of lanes does.
int64_t draws_at_hand(int64_t d) { return std::clamp<int64_t>(sweep_bytes / (32 * d) / lanes, 1, 128) * lanes; }

struct Draws {
  std::vector<double> origin, noise;  // [groups][d][8]
  std::vector<int32_t> component;
};

Draws make_draws(ThreadPool& pool, const Target& target, const std::vector<double>& cumulative, const SweepRequest& request,
                 const Execution& execution, int64_t first, int64_t count) {
  const int64_t d = target.d;
  std::vector<double> origin(static_cast<size_t>(count * d)), noise(origin.size());
  Draws draws;
  draws.component.resize(static_cast<size_t>(count));
  pool.run(count, [&](int64_t r, int) {
    if (execution.cancelled()) return;
    const uint64_t draw = request.first + static_cast<uint64_t>(first + r);
    const int32_t own = draw_component(target, cumulative, request.seed, draw);
    draw_origin(target, request.seed, draw, own, origin.data() + r * d);
    draw_noise(request.seed, draw, d, noise.data() + r * d);
    draws.component[r] = own;
    if (request.component) request.component[first + r] = own;
  });
  draws.origin = to_lanes(origin.data(), count, d);
  draws.noise = to_lanes(noise.data(), count, d);
  return draws;
}

// `own` is the logit of the own component, `offset` what the logits leave out of log p_t.
void write(const SweepRequest& r, int64_t at, const LaneAccumulators& totals, int lane, double own, double offset, int64_t class_count) {
  const LogSumExp<double>& sums = totals.sums[lane];
  if (r.log_density) r.log_density[at] = sums.log_sum() + offset;
  if (r.entropy) r.entropy[at] = sums.entropy();
  if (r.sum_squares) r.sum_squares[at] = sums.sum_squares();
  if (r.own_log_weight) r.own_log_weight[at] = (own - sums.max) - std::log1p(sums.rest);
  if (r.class_squares) r.class_squares[at] = class_squares(totals.classes.data() + lane, class_count, lanes);
  if (r.class_entropy) r.class_entropy[at] = class_entropy(totals.classes.data() + lane, class_count, lanes);
}

}  // namespace

Status sweep_mixture(const Kernels& kernels, const Target& target, const SweepRequest& request, const Execution& execution) {
  const std::vector<double> cumulative = cumulative_weights(target);
  const int64_t d = target.d, step = draws_at_hand(d);
  const auto class_count = static_cast<int32_t>(sweep_classes(target, request));
  const double uniform = target.log_weights ? 0 : std::log(static_cast<double>(target.n));
  for (int64_t t = 0; t < request.times; ++t) {
    const Status conditioning = check_conditioning(target, request.a[t], request.b[t]);
    if (!conditioning.ok()) return conditioning;
  }
  ThreadPool pool(execution.threads);
  for (int64_t first = 0; first < request.count && !execution.cancelled(); first += step) {
    const int64_t count = std::min(step, request.count - first);
    const Draws draws = make_draws(pool, target, cumulative, request, execution, first, count);
    for (int64_t t = 0; t < request.times && !execution.cancelled(); ++t) {
      const double a = request.a[t], b = request.b[t], constant = uniform + log_density_constant(d, b);
      const GaussiansAt at = gaussians_at(target, a, b);
      pool.run(group_count(count), [&](int64_t group, int) {
        if (execution.cancelled()) return;
        MixturePass pass(kernels, target, class_count);
        std::vector<double> x(static_cast<size_t>(d) * lanes);
        const double *origin = draws.origin.data() + group * d * lanes, *noise = draws.noise.data() + group * d * lanes;
        for (size_t j = 0; j < x.size(); ++j) x[j] = a * origin[j] + b * noise[j];
        const LaneAccumulators totals = pass.run(at, x.data(), a, b);
        for (int lane = 0; lane < lanes && group * lanes + lane < count; ++lane) {
          const int64_t r = group * lanes + lane;
          const double own = pass.logits()[static_cast<size_t>(draws.component[r]) * lanes + lane];
          write(request, t * request.count + first + r, totals, lane, own, -constant, class_count);
        }
      });
      const double part = static_cast<double>(t + 1) / static_cast<double>(request.times);
      if (execution.progress) execution.progress((static_cast<double>(first) + part * static_cast<double>(count)) / static_cast<double>(request.count));
    }
  }
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
