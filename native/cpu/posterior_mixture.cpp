// posterior over Gaussian components, from the logits of mixture_pass.h: with p_k = S_k^-1 (x - a m_k) and weights r_k,
//   score = -sum r_k p_k,  denoised = sum r_k (m_k + a C_k p_k),
// and second moments about these means, so that neither small b nor condensed weights cancel. Queries go through a component together,
// so that its factors are read once for all of them.
#include <algorithm>
#include <cmath>

#include "../core/thread_pool.h"
#include "answer_rest.h"
#include "cpu.h"
#include "mixture_aligned.h"
#include "few_gaussians.h"
#include "mixture_pass.h"
#include "posterior_few.h"
#include "readings.h"

namespace regimes {
namespace {

// A weight that a component has in a query.
struct Share {
  double weight;
  int32_t component;
  int32_t query;
};

// The mean sums and second moments of a run of queries, worked through component by component.
class MixtureMeans {
 public:
  MixtureMeans(const Instructions& set, const Target& target, const PosteriorRequest& request, const GaussiansAt& at, const MixturePass& pass,
               const Execution& execution)
      : kernels_(*set.kernels), target_(target), request_(request), at_(at), pass_(pass), execution_(execution), d_(target.d),
        solver_(kernels_, d_, target.covariances->rank), scratch_(static_cast<size_t>(at.scratch_size())),
        solved_(static_cast<size_t>(solver_vectors * d_)), moved_(solved_.size()) {}

  // Queries [first, end) of the block that starts at query `origin` of the request.
  void read(int64_t origin, int64_t first, int64_t end) {
    origin_ = origin;
    first_ = first;
    const auto size = static_cast<size_t>((end - first) * d_);
    bool all = !wants_second_moments(request_);
    for (int64_t q = first; q < end; ++q) all = all && pass_.answered(q);
    pull_.assign(all ? 0 : size, 0.0);
    denoised_.assign(!all && wants_denoised_means() ? size : 0, 0.0);
    gather(end, false);
    each_component([&](int64_t k, const Share* shares, int count, const double* const* x) { add_means(k, shares, count, x); });
    for (int64_t q = first; q < end; ++q) {
      const int64_t out = (origin + q) * d_;
      if (pass_.answered(q)) {
        const double *score = pass_.score(q), *x = request_.x.row(origin + q), b2 = at_.b() * at_.b();
        if (request_.score) std::copy_n(score, d_, request_.score + out);
        for (int64_t j = 0; request_.denoised && j < d_; ++j) request_.denoised[out + j] = std::fma(b2, score[j], x[j]) / at_.a();
        continue;
      }
      const double* pull = pull_.data() + (q - first) * d_;
      for (int64_t j = 0; request_.score && j < d_; ++j) request_.score[out + j] = -pull[j];
      if (request_.denoised) std::copy_n(denoised_.data() + (q - first) * d_, d_, request_.denoised + out);
    }
    if (wants_second_moments(request_)) read_second_moments(end);
  }

 private:
  bool wants_denoised_means() const {
    return request_.denoised || request_.covariance_trace || request_.covariance_products;
  }

  // The shares of the run by component. Second moments of a condensed posterior live in its smallest weights: they take all that
  // do not underflow.
  void gather(int64_t end, bool all) {
    std::vector<int64_t> start(static_cast<size_t>(target_.n + 1), 0);
    const auto counts = [&](const MixturePass::Entry& e, int64_t q) {
      return all ? e.logit >= pass_.sums(q).max - 708 : e.logit >= pass_.least(q);
    };
    for (int64_t q = first_; q < end; ++q) {
      if (pass_.answered(q)) continue;
      for (const MixturePass::Entry* e = pass_.begin(q); e != pass_.end(q); ++e) start[e->component + 1] += counts(*e, q);
    }
    for (int64_t k = 0; k < target_.n; ++k) start[k + 1] += start[k];
    shares_.resize(static_cast<size_t>(start[target_.n]));
    for (int64_t q = first_; q < end; ++q) {
      if (pass_.answered(q)) continue;
      const LogSumExp<double>& sums = pass_.sums(q);
      for (const MixturePass::Entry* e = pass_.begin(q); e != pass_.end(q); ++e) {
        if (!counts(*e, q)) continue;
        const double weight = std::exp(e->logit - sums.max) / (1 + sums.rest);
        shares_[start[e->component]++] = {weight, e->component, static_cast<int32_t>(q)};
      }
    }
  }

  template <class Body>
  void each_component(const Body& body) {
    for (size_t from = 0; from < shares_.size();) {
      const int32_t k = shares_[from].component;
      solver_.load(at_.view(k, scratch_.data()), at_.a(), at_.b());
      while (from < shares_.size() && shares_[from].component == k) {
        if (execution_.cancelled()) return;
        const double* x[solver_vectors];
        int count = 0;
        while (count < solver_vectors && from + count < shares_.size() && shares_[from + count].component == k) {
          x[count] = request_.x.row(origin_ + shares_[from + count].query);
          ++count;
        }
        body(k, shares_.data() + from, count, x);
        from += static_cast<size_t>(count);
      }
    }
  }

  double* row_of(std::vector<double>& rows, const Share& share) { return rows.data() + (share.query - first_) * d_; }

  void add_means(int64_t k, const Share* shares, int count, const double* const* x) {
    double form[solver_vectors];
    solver_.forms(x, count, true, form);
    solver_.pulls(count, solved_.data());
    for (int v = 0; v < count; ++v) kernels_.add_weighted(shares[v].weight, solved_.data() + v * d_, nullptr, d_, row_of(pull_, shares[v]));
    if (denoised_.empty()) return;
    component_means(k, count);
    for (int v = 0; v < count; ++v) kernels_.add_weighted(shares[v].weight, moved_.data() + v * d_, nullptr, d_, row_of(denoised_, shares[v]));
  }

  // moved = m + a C p after forms.
  void component_means(int64_t k, int count) {
    solver_.moves(count, moved_.data());
    const double* mean = target_.means.row(k);
    for (int v = 0; v < count; ++v) {
      for (int64_t j = 0; j < d_; ++j) moved_[v * d_ + j] = mean[j] + at_.a() * moved_[v * d_ + j];
    }
  }

  void read_second_moments(int64_t end) {
    const int64_t runs = end - first_;
    const double b2 = at_.b() * at_.b();
    const bool spreads = request_.covariance_trace || request_.covariance_products;
    const bool drifts = request_.divergence || request_.jacobian_products;
    const double* vectors = request_.covariance_products || request_.jacobian_products ? request_.vectors : nullptr;
    std::vector<double> trace(static_cast<size_t>(runs)), divergence(trace.size());
    std::vector<double> covariance(vectors ? pull_.size() : 0), jacobian(covariance.size());
    gather(end, true);
    int64_t traced = -1;
    double inner_trace = 0, precision_trace = 0;
    each_component([&](int64_t k, const Share* shares, int count, const double* const* x) {
      if (k != traced) {
        inner_trace = request_.covariance_trace ? solver_.inner_trace() : 0;
        precision_trace = request_.divergence ? solver_.precision_trace() : 0;
        traced = k;
      }
      double form[solver_vectors];
      solver_.forms(x, count, true, form);
      if (drifts) solver_.pulls(count, solved_.data());
      if (spreads) component_means(k, count);
      for (int v = 0; v < count; ++v) {
        double* spread = moved_.data() + v * d_;
        double* drift = solved_.data() + v * d_;
        const int64_t at = shares[v].query - first_;
        const double* u = vectors ? vectors + (origin_ + shares[v].query) * d_ : nullptr;
        const double* mean = spreads ? row_of(denoised_, shares[v]) : nullptr;
        const double* pull = row_of(pull_, shares[v]);
        double along_spread = 0, along_drift = 0;
        if (spreads) {
          for (int64_t j = 0; j < d_; ++j) spread[j] -= mean[j];
          trace[at] += shares[v].weight * (b2 * inner_trace + kernels_.weighted_square(spread, nullptr, d_));
          if (u) kernels_.row_products(spread, 1, d_, u, 1, &along_spread, 1);
        }
        if (drifts) {
          for (int64_t j = 0; j < d_; ++j) drift[j] -= pull[j];  // v_k - s up to the sign, which squares away
          divergence[at] += shares[v].weight * (kernels_.weighted_square(drift, nullptr, d_) - precision_trace);
          if (u) kernels_.row_products(drift, 1, d_, u, 1, &along_drift, 1);
        }
        if (!u) continue;
        if (spreads) kernels_.add_weighted(shares[v].weight * along_spread, spread, nullptr, d_, covariance.data() + at * d_);
        if (drifts) kernels_.add_weighted(shares[v].weight * along_drift, drift, nullptr, d_, jacobian.data() + at * d_);
      }
      if (!vectors) return;
      const double* u[solver_vectors];
      for (int v = 0; v < count; ++v) u[v] = vectors + (origin_ + shares[v].query) * d_;
      solver_.forms(u, count, false, form);
      solver_.pulls(count, solved_.data());
      if (spreads) solver_.moves(count, moved_.data());
      for (int v = 0; v < count; ++v) {
        const int64_t at = (shares[v].query - first_) * d_;
        if (spreads) kernels_.add_weighted(shares[v].weight * b2, moved_.data() + v * d_, nullptr, d_, covariance.data() + at);
        if (drifts) kernels_.add_weighted(-shares[v].weight, solved_.data() + v * d_, nullptr, d_, jacobian.data() + at);
      }
    });
    for (int64_t q = first_; q < end; ++q) {
      const int64_t out = origin_ + q, at = (q - first_) * d_;
      if (request_.covariance_trace) request_.covariance_trace[out] = trace[q - first_];
      if (request_.divergence) request_.divergence[out] = divergence[q - first_];
      if (request_.covariance_products) std::copy_n(covariance.data() + at, d_, request_.covariance_products + out * d_);
      if (request_.jacobian_products) std::copy_n(jacobian.data() + at, d_, request_.jacobian_products + out * d_);
    }
  }

  const Kernels& kernels_;
  const Target& target_;
  const PosteriorRequest& request_;
  const GaussiansAt& at_;
  const MixturePass& pass_;
  const Execution& execution_;
  const int64_t d_;
  GaussianSolver solver_;
  std::vector<double> scratch_, solved_, moved_;
  int64_t origin_ = 0, first_ = 0;
  std::vector<double> pull_, denoised_;  // [queries of the run][d]
  std::vector<Share> shares_;
};

// What follows from the logits of query q of the block that starts at `origin`.
void read_logits(const Target& target, const PosteriorRequest& request, const GaussiansAt& at, const MixturePass& pass, int64_t origin,
                 int64_t q, double uniform) {
  const LogSumExp<double>& sums = pass.sums(q);
  const int64_t out = origin + q;
  PosteriorRequest scalars = request;
  scalars.class_weights = nullptr;
  LaneAccumulators totals(0);
  totals.sums[0] = sums;
  const double log_density = read_scalars(target, scalars, out, totals, 0, uniform);
  if (request.survivors) request.survivors[out] = static_cast<int32_t>(pass.survivors(q));
  if (request.path) request.path[out] = static_cast<uint8_t>(pass.path(q));
  if (request.class_weights) {
    double* weights = request.class_weights + out * target.class_count;
    std::fill_n(weights, target.class_count, 0.0);
    double total = 0;
    for (const MixturePass::Entry* e = pass.begin(q); e != pass.end(q); ++e) {
      if (e->logit >= pass.least(q)) weights[target.classes[e->component]] += std::exp(e->logit - sums.max);
    }
    for (int32_t c = 0; c < target.class_count; ++c) total += weights[c];
    for (int32_t c = 0; c < target.class_count; ++c) weights[c] /= total;
  }
  if (request.top > 0) {
    std::vector<MixturePass::Entry> ranking(pass.begin(q), pass.end(q));
    std::partial_sort(ranking.begin(), ranking.begin() + request.top, ranking.end(), [](const auto& left, const auto& right) {
      return left.logit > right.logit || (left.logit == right.logit && left.component < right.component);
    });
    for (int64_t k = 0; k < request.top; ++k) {
      request.top_index[out * request.top + k] = ranking[k].component;
      request.top_weight[out * request.top + k] = std::exp(ranking[k].logit - sums.max) / (1 + sums.rest);
    }
  }
  if (pass.answered(q)) {
    const double size = 256 + 4 * std::abs(log_density) + 8 * std::abs(log_density_constant(target.d, request.b));
    if (request.error_log_density) request.error_log_density[out] = pass.error_log_density(q) + 0x1p-53 * size;
    if (request.error_score) request.error_score[out] = pass.error_score(q);
    return;
  }
  ErrorModel model = at.model();
  if (request.precision == Precision::exact) model.dropped = dropped_mass;
  read_bounds(target, request, out, sums, uniform, model, log_density, static_cast<double>(target.n), nullptr, pass.lead(q));
}

// Components that bounds leave, query by query, or few and full ones.
Status one_by_one(const Instructions& set, const Target& target, const PosteriorRequest& request, ThreadPool& pool,
                  const Execution& execution) {
  MixturePass pass(set, target, request.precision == Precision::exact, request.top == 0 && !wants_second_moments(request),
                   MixtureDense::applies(set, target, request));
  Status status = pass.build(request.a, request.b, pool, execution);
  if (!status.ok()) return status;
  const GaussiansAt& at = pass.at();
  const double uniform = target.uniform();
  const int64_t queries = request.x.rows, step = MixturePass::block_queries(target.n);
  const bool means = wants_second_moments(request) || request.denoised || request.score;
  for (int64_t origin = 0; origin < queries; origin += step) {
    const int64_t count = std::min(step, queries - origin);
    status = pass.run(request.x.row(origin), count, nullptr, pool, execution);
    if (!status.ok()) return status;
    pool.run(count, [&](int64_t q, int) { read_logits(target, request, at, pass, origin, q, uniform); });
    const int64_t run = means ? std::max<int64_t>((count + pool.size() - 1) / pool.size(), 1) : count;
    pool.run(means ? (count + run - 1) / run : 0, [&](int64_t item, int) {
      MixtureMeans(set, target, request, at, pass, execution).read(origin, item * run, std::min(count, (item + 1) * run));
    });
    if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
    if (execution.progress) execution.progress(static_cast<double>(origin + count) / static_cast<double>(queries));
  }
  return {};
}

// Second moments apart, so that no reading's bits depend on which others are asked for.
Status answer_few(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  PosteriorRequest moments, others = request;
  others.covariance_trace = others.covariance_products = others.jacobian_products = others.divergence = nullptr;
  Execution quiet = execution;
  if (wants_second_moments(request)) quiet.progress = nullptr;
  const Status status = posterior_few(set, target, others, quiet);
  if (!status.ok() || !wants_second_moments(request)) return status;
  moments.x = request.x;
  moments.a = request.a;
  moments.b = request.b;
  moments.precision = request.precision;
  moments.covariance_trace = request.covariance_trace;
  moments.vectors = request.vectors;
  moments.covariance_products = request.covariance_products;
  moments.jacobian_products = request.jacobian_products;
  moments.divergence = request.divergence;
  ThreadPool pool(execution.threads);
  return one_by_one(set, target, moments, pool, execution);
}

}  // namespace

Status posterior_mixture(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  const bool vectors = request.covariance_products || request.jacobian_products;
  for (int64_t k = 0; vectors && k < request.x.rows * target.d; ++k) {
    if (std::abs(request.vectors[k]) <= 1e150) continue;
    return Status::failure(Code::range, "a vector reaches " + std::to_string(std::log10(std::abs(request.vectors[k]))) +
                                            " decades, at most 150 can be squared and summed");
  }
  if (is_few(target)) return answer_few(set, target, request, execution);
  ThreadPool pool(execution.threads);
  if (!aligned_applies(target, request)) return one_by_one(set, target, request, pool, execution);
  MixtureParts parts;
  parts.aligned = true;
  std::shared_ptr<const PreparedMixture> prepared;
  Status status = prepare_mixture(set, target, request.a, request.b, parts, pool, execution, prepared);
  if (!status.ok()) return status;
  std::vector<uint8_t> answered(static_cast<size_t>(request.x.rows), 0);
  status = posterior_aligned(set, target, prepared->at, *prepared->aligned, request, pool, stage(execution, 0, 0.5), answered);
  if (!status.ok()) return status;
  return answer_rest(request, target, execution, answered, [&](const PosteriorRequest& rest, const Execution& second) {
    return one_by_one(set, target, rest, pool, second);
  });
}

}  // namespace regimes
