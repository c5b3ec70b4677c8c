// sweep: readings along coupled draws x_t = a x_0 + b z at all times.
//
// Points: with o = y_mu, q_i = |o - y_i|^2, v_i = z . (o - y_i) and ratio = a / b the logit of point i, relative to |z|^2 / 2, is
//   l_i(t) = log pi_i - ratio (ratio / 2 q_i + v_i),
// so the two inner products are computed once, as differences, and each time costs a few operations per point. The own datum has
// q = v = 0 exactly. Terms below e^-100 / n of the own one are left out: they change no reading by more than 1e-40.
//
// Mixtures: S_k depends on time; each time is one pass over the components.
#include <cmath>

#include "../core/draws.h"
#include "../core/thread_pool.h"
#include "cpu.h"
#include "mixture_pass.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int groups_per_item = 4;
constexpr int64_t groups_per_block = 16;
constexpr int64_t partial_bytes = int64_t{1} << 28;
constexpr int64_t draw_bytes = int64_t{1} << 26;

int32_t sweep_classes(const Target& target, const SweepRequest& r) {
  return r.class_squares || r.class_entropy ? target.class_count : 0;
}

// `own` is the logit of the own component, `offset` what the logits leave out of log p_t.
void write(const SweepRequest& r, int64_t t, int64_t draw, const LaneAccumulators& totals, int lane, double own, double offset,
           int32_t class_count) {
  const int64_t at = t * r.count + draw;
  const LogSumExp<double>& sums = totals.sums[lane];
  if (r.log_density) r.log_density[at] = sums.log_sum() + offset;
  if (r.entropy) r.entropy[at] = sums.entropy();
  if (r.sum_squares) r.sum_squares[at] = sums.sum_squares();
  if (r.own_log_weight) r.own_log_weight[at] = (own - sums.max) - std::log1p(sums.rest);
  if (r.class_squares) r.class_squares[at] = class_squares(totals.classes.data() + lane, class_count, lanes);
  if (r.class_entropy) r.class_entropy[at] = class_entropy(totals.classes.data() + lane, class_count, lanes);
}

// The coupled draws of a block, as rows and as lanes.
struct Draws {
  std::vector<double> origin, noise;  // [groups][d][8]
  std::vector<double> half_square;    // |z|^2 / 2 of each draw
  std::vector<int32_t> component;
};

Draws make_draws(ThreadPool& pool, const Target& target, const std::vector<double>& cumulative, const SweepRequest& request,
                 int64_t first, int64_t count) {
  const int64_t d = target.d;
  std::vector<double> origin(static_cast<size_t>(count * d)), noise(origin.size());
  Draws draws;
  draws.component.resize(static_cast<size_t>(count));
  draws.half_square.resize(static_cast<size_t>(count));
  pool.run(count, [&](int64_t r, int) {
    const uint64_t draw = request.first + static_cast<uint64_t>(first + r);
    const int32_t own = draw_component(target, cumulative, request.seed, draw);
    draw_origin(target, request.seed, draw, own, origin.data() + r * d);
    draw_noise(request.seed, draw, d, noise.data() + r * d);
    double square = 0;
    for (int64_t j = 0; j < d; ++j) square += noise[r * d + j] * noise[r * d + j];
    draws.component[r] = own;
    draws.half_square[r] = square / 2;
    if (request.component) request.component[first + r] = own;
  });
  draws.origin = to_lanes(origin.data(), count, d);
  draws.noise = to_lanes(noise.data(), count, d);
  return draws;
}

class PointsSweep {
 public:
  PointsSweep(const Kernels& kernels, const Target& target, const SweepRequest& request, const Execution& execution)
      : kernels_(kernels), target_(target), request_(request), execution_(execution), pool_(execution.threads), n_(target.n), d_(target.d),
        class_count_(sweep_classes(target, request)), uniform_(target.log_weights ? 0 : std::log(static_cast<double>(n_))),
        reach_(100 + std::log(static_cast<double>(n_))) {}

  Status run() {
    const std::vector<double> cumulative = cumulative_weights(target_);
    const int64_t bytes = static_cast<int64_t>(sizeof(LaneAccumulators)) + int64_t{class_count_} * lanes * 8;
    const int64_t fit = partial_bytes / (chunk_count(n_) * std::max<int64_t>(request_.times, 1) * bytes);
    const int64_t step = std::clamp<int64_t>(fit, 1, groups_per_block) * lanes;
    for (int64_t first = 0; first < request_.count && !execution_.cancelled(); first += step) {
      first_ = first;
      count_ = std::min(step, request_.count - first);
      groups_ = group_count(count_);
      draws_ = make_draws(pool_, target_, cumulative, request_, first_, count_);
      find_sums();
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  double own_logit(int64_t draw) const {
    return target_.log_weights ? target_.log_weights[draws_.component[std::min(draw, count_ - 1)]] : 0;
  }

  void find_sums() {
    const int64_t chunks = chunk_count(n_), runs = (groups_ + groups_per_item - 1) / groups_per_item;
    partials_.assign(static_cast<size_t>(chunks * groups_ * request_.times), LaneAccumulators(class_count_));
    std::atomic<int64_t> done{0};
    pool_.run(chunks * runs, [&](int64_t item, int) {
      chunk_sums(item / runs, (item % runs) * groups_per_item);
      const double part = static_cast<double>(++done) / static_cast<double>(chunks * runs);
      const double all = (static_cast<double>(first_) + part * static_cast<double>(count_)) / static_cast<double>(request_.count);
      if (execution_.progress && !execution_.cancelled()) execution_.progress(all);
    });
    if (execution_.cancelled()) return;
    const int64_t width = groups_ * request_.times;
    pool_.run(width, [&](int64_t k, int) {
      merge_tree(chunks, [&](int64_t i, int64_t j) { partials_[i * width + k].merge(partials_[j * width + k]); });
    });
    for (int64_t t = 0; t < request_.times; ++t) {
      const double constant = uniform_ + log_density_constant(d_, request_.b[t]);
      for (int64_t r = 0; r < count_; ++r) {
        const LaneAccumulators& totals = partials_[(r / lanes) * request_.times + t];
        write(request_, t, first_ + r, totals, static_cast<int>(r % lanes), own_logit(r), -draws_.half_square[r] - constant, class_count_);
      }
    }
  }

  void chunk_sums(int64_t chunk, int64_t first_group) {
    const int64_t groups = std::min<int64_t>(groups_per_item, groups_ - first_group);
    const int64_t end = std::min((chunk + 1) * chunk_rows, n_), tile = tile_rows(d_), area = block_rows * lanes;
    std::vector<double> rows(static_cast<size_t>(tile * d_)), q(static_cast<size_t>(groups * area)), v(q.size());
    std::vector<double> logits(static_cast<size_t>(area)), exponentials(class_count_ > 0 ? static_cast<size_t>(area) : 0);
    std::vector<double> masses(static_cast<size_t>(class_count_) * lanes);
    for (int64_t block = chunk * chunk_rows; block < end; block += block_rows) {
      const int64_t block_end = std::min(block + block_rows, end);
      for (int64_t row = block; row < block_end; row += tile) {
        const int64_t count = std::min(tile, block_end - row);
        kernels_.convert(target_.points, row * d_, count * d_, rows.data());
        for (int64_t g = 0; g < groups; ++g) {
          if (execution_.cancelled()) return;
          const int64_t lanes_at = (first_group + g) * d_ * lanes, out = g * area + (row - block) * lanes;
          kernels_.pair_products(draws_.origin.data() + lanes_at, draws_.noise.data() + lanes_at, rows.data(), static_cast<int>(count), d_,
                                 q.data() + out, v.data() + out);
        }
      }
      const int count = static_cast<int>(block_end - block);
      for (int64_t g = 0; g < groups; ++g) {
        double floor[lanes];
        for (int lane = 0; lane < lanes; ++lane) floor[lane] = own_logit((first_group + g) * lanes + lane) - reach_;
        for (int64_t t = 0; t < request_.times; ++t) {
          kernels_.pair_logits(q.data() + g * area, v.data() + g * area, count, request_.a[t] / request_.b[t],
                               target_.log_weights ? target_.log_weights + block : nullptr, logits.data());
          LaneSums sums;
          if (!kernels_.block_sums(logits.data(), count, floor, &sums, class_count_ > 0 ? exponentials.data() : nullptr)) continue;
          if (class_count_ > 0) {
            std::fill(masses.begin(), masses.end(), 0.0);
            kernels_.add_class_sums(exponentials.data(), target_.classes + block, count, masses.data());
          }
          partials_[(chunk * groups_ + first_group + g) * request_.times + t].add(sums, block, masses.data(), floor);
        }
      }
    }
  }

  const Kernels& kernels_;
  const Target& target_;
  const SweepRequest& request_;
  const Execution& execution_;
  ThreadPool pool_;
  const int64_t n_, d_;
  const int32_t class_count_;
  const double uniform_, reach_;

  // The block of draws at hand.
  int64_t first_ = 0, count_ = 0, groups_ = 0;
  Draws draws_;
  std::vector<LaneAccumulators> partials_;  // [chunks][groups][times], merged into the first chunk
};

}  // namespace

Status sweep_points(const Instructions& set, const Target& target, const SweepRequest& request, const Execution& execution) {
  return PointsSweep(*set.kernels, target, request, execution).run();
}

Status sweep_mixture(const Instructions& set, const Target& target, const SweepRequest& request, const Execution& execution) {
  const std::vector<double> cumulative = cumulative_weights(target);
  const int64_t d = target.d, pass_step = MixturePass::block_queries(target.n);
  // Draws that are kept over all times, at most draw_bytes; what belongs to a time is then built once per block.
  const int64_t step = std::max<int64_t>(draw_bytes / (2 * d * static_cast<int64_t>(sizeof(double))), 64);
  const int32_t class_count = sweep_classes(target, request);
  const double uniform = target.log_weights ? 0 : std::log(static_cast<double>(target.n));
  ThreadPool pool(execution.threads);
  for (int64_t first = 0; first < request.count && !execution.cancelled(); first += step) {
    const int64_t count = std::min(step, request.count - first);
    std::vector<double> origin(static_cast<size_t>(count * d)), noise(origin.size());
    std::vector<int32_t> component(static_cast<size_t>(count));
    pool.run(count, [&](int64_t r, int) {
      const uint64_t draw = request.first + static_cast<uint64_t>(first + r);
      component[r] = draw_component(target, cumulative, request.seed, draw);
      draw_origin(target, request.seed, draw, component[r], origin.data() + r * d);
      draw_noise(request.seed, draw, d, noise.data() + r * d);
      if (request.component) request.component[first + r] = component[r];
    });
    for (int64_t t = 0; t < request.times && !execution.cancelled(); ++t) {
      const double a = request.a[t], b = request.b[t], constant = uniform + log_density_constant(d, b);
      GaussiansAt at(*set.kernels, target, a, b);
      Status status = at.build(pool, execution);
      if (!status.ok()) return status;
      MixturePass pass(set, target, at, request.precision == Precision::exact, true);
      status = pass.build(pool, execution);
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
          write(request, t, first + block + q, totals, 0, pass.guess_logit(q), -constant, class_count);
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
