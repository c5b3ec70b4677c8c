// sweep over mixtures: S_k depends on time, so each time is one pass over the components. One time is at hand at once.
#include <cmath>

#include "../core/thread_pool.h"
#include "cpu.h"
#include "mixture_pass.h"
#include "readings.h"
#include "sweep.h"

namespace regimes {
namespace {

// `own` is the logit of the own component, `offset` what the logits leave out of log p_t.
void write(const SweepRequest& r, int64_t at, const LaneAccumulators& totals, double own, double offset, int64_t class_count) {
  const LogSumExp<double>& sums = totals.sums[0];
  if (r.log_density) r.log_density[at] = sums.log_sum() + offset;
  if (r.entropy) r.entropy[at] = sums.entropy();
  if (r.sum_squares) r.sum_squares[at] = sums.sum_squares();
  if (r.own_log_weight) r.own_log_weight[at] = (own - sums.max) - std::log1p(sums.rest);
  if (r.class_squares) r.class_squares[at] = class_squares(totals.classes.data(), class_count, lanes);
  if (r.class_entropy) r.class_entropy[at] = class_entropy(totals.classes.data(), class_count, lanes);
}

}  // namespace

Status sweep_mixture(const Instructions& set, const Target& target, const SweepRequest& request, const Execution& execution) {
  const std::vector<double> cumulative = cumulative_weights(target);
  const int64_t d = target.d, pass_step = MixturePass::block_queries(target.n);
  // Draws that are kept over all times, at most a quarter of sweep_bytes; what belongs to a time is then built once per block.
  const int64_t step = std::max<int64_t>(sweep_bytes / 4 / (2 * d * static_cast<int64_t>(sizeof(double))), 64);
  const auto class_count = static_cast<int32_t>(sweep_classes(target, request));
  const double uniform = target.uniform();
  ThreadPool pool(execution.threads);
  for (int64_t first = 0; first < request.count && !execution.cancelled(); first += step) {
    const int64_t count = std::min(step, request.count - first);
    std::vector<double> origin(static_cast<size_t>(count * d)), noise(origin.size());
    std::vector<int32_t> component(static_cast<size_t>(count));
    pool.run(count, [&](int64_t r, int) {
      const uint64_t draw = request.first + static_cast<uint64_t>(first + r);
      component[r] = draw_component(target, cumulative, request.seed, draw);
      draw_origin(target, request.seed, draw, component[r], origin.data() + r * d, set.normals);
      draw_noise(request.seed, draw, d, noise.data() + r * d, set.normals);
      if (request.component) request.component[first + r] = component[r];
    });
    for (int64_t t = 0; t < request.times && !execution.cancelled(); ++t) {
      const double a = request.a[t], b = request.b[t], constant = uniform + log_density_constant(d, b);
      MixturePass pass(set, target, request.precision == Precision::exact, true, false);
      Status status = pass.build(a, b, pool, execution);
      if (!status.ok()) return status;
      std::vector<double> x(static_cast<size_t>(std::min(pass_step, count) * d));
      for (int64_t block = 0; block < count; block += pass_step) {
        const int64_t size = std::min(pass_step, count - block);
        for (int64_t k = 0; k < size * d; ++k) x[k] = a * origin[block * d + k] + b * noise[block * d + k];
        status = pass.run(x.data(), size, component.data() + block, pool, execution);
        if (!status.ok()) return status;
        pool.run(size, [&](int64_t q, int) {
          LaneAccumulators totals(class_count);
          totals.sums[0] = pass.sums(q);
          for (const MixturePass::Entry* e = pass.begin(q); class_count > 0 && e != pass.end(q); ++e) {
            if (e->logit >= pass.least(q)) totals.classes[target.classes[e->component] * lanes] += std::exp(e->logit - totals.sums[0].max);
          }
          write(request, t * request.count + first + block + q, totals, pass.guess_logit(q), -constant, class_count);
        });
        if (execution.progress) {
          const double done = static_cast<double>(t) + static_cast<double>(block + size) / static_cast<double>(count);
          execution.progress((static_cast<double>(first) + static_cast<double>(count) * done / static_cast<double>(request.times)) /
                             static_cast<double>(request.count));
        }
      }
    }
  }
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
