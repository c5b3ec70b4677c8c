#include "posterior_few.h"

#include <algorithm>
#include <cmath>

#include "../core/thread_pool.h"
#include "gaussian_solver.h"
#include "gaussians_at.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int64_t most_components = 64;  // one chain of the sums
constexpr int64_t most_numbers = 2048;   // of means: what 8 queries keep of all components stays in the second cache
constexpr int64_t item_queries = 256;

// Eight queries at a time, each component's part of all of them at once: the arithmetic of GaussianSolver, without its detours.
class FewGaussians {
 public:
  FewGaussians(const Instructions& set, const Target& target, const PosteriorRequest& request, const GaussiansAt& at)
      : kernels_(*set.kernels), target_(target), request_(request), at_(at), n_(target.n), d_(target.d),
        shared_(target.covariances->type == Covariances::Type::spherical), difference_(static_cast<size_t>(solver_vectors * d_)),
        pulls_(request.score ? static_cast<size_t>(n_ * solver_vectors * d_) : 0),
        means_(request.denoised ? static_cast<size_t>(n_ * solver_vectors * d_) : 0), logits_(static_cast<size_t>(n_ * solver_vectors)),
        sum_(static_cast<size_t>(d_)), reach_(request.precision == Precision::exact ? canonical_reach(n_) : INFINITY), uniform_(target.uniform()),
        scalars_(request), density_(request), score_(request), density_model_(at.model()), totals_(0) {
    scalars_.class_weights = nullptr;
    density_.error_score = nullptr;
    score_.error_log_density = nullptr;
    if (request.precision == Precision::exact) density_model_.dropped = dropped_mass;
    const std::vector<double>& values = target.covariances->values;
    precision_.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) precision_[i] = 1 / (at.a() * at.a() * values[i] + at.b() * at.b());
  }

  void read(int64_t first, int count) {
    const double* x[solver_vectors];
    double form[solver_vectors];
    for (int v = 0; v < count; ++v) x[v] = request_.x.row(first + v);
    for (int64_t k = 0; k < n_; ++k) {
      const double* mean = target_.means.row(k);
      const double* precision = precision_.data() + (shared_ ? k : k * d_);
      const double* values = target_.covariances->values.data() + (shared_ ? k : k * d_);
      double* f = difference_.data();
      kernels_.differences(x, count, mean, at_.a(), nullptr, d_, f);
      for (int v = 0; v < count; ++v) {
        form[v] = shared_ ? *precision * kernels_.weighted_square(f + v * d_, nullptr, d_) : kernels_.weighted_square(f + v * d_, precision, d_);
      }
      const double bias = target_.log_weight(k) - at_.half_log_det(k);
      for (int v = 0; v < count; ++v) logits_[k * solver_vectors + v] = std::max(-0.5 * form[v], -1e307) + bias;
      for (int v = 0; v < count && !pulls_.empty(); ++v) pull(f + v * d_, precision, part(pulls_, k, v));
      for (int v = 0; v < count && !means_.empty(); ++v) move(f + v * d_, precision, values, mean, part(means_, k, v));
    }
    for (int v = 0; v < count; ++v) read_query(first + v, v);
  }

 private:
  double* part(std::vector<double>& rows, int64_t k, int v) { return rows.data() + (k * solver_vectors + v) * d_; }

  // S^-1 f.
  void pull(const double* f, const double* precision, double* out) const {
    if (shared_) {
      for (int64_t j = 0; j < d_; ++j) out[j] = *precision * f[j];
    } else {
      for (int64_t j = 0; j < d_; ++j) out[j] = precision[j] * f[j];
    }
  }

  // m + a C S^-1 f.
  void move(const double* f, const double* precision, const double* values, const double* mean, double* out) const {
    const double a = at_.a();
    if (shared_) {
      const double p = *precision, v = *values;
      for (int64_t j = 0; j < d_; ++j) out[j] = mean[j] + a * (p * f[j] * v);
    } else {
      for (int64_t j = 0; j < d_; ++j) out[j] = mean[j] + a * (precision[j] * f[j] * values[j]);
    }
  }

  void read_query(int64_t q, int v) {
    const double* logits = logits_.data() + v;
    double top = -INFINITY;
    for (int64_t k = 0; k < n_; ++k) top = std::max(top, logits[k * solver_vectors]);
    const double least = top - reach_;
    LogSumExp<double>& sums = totals_.sums[0];
    sums = {};
    int32_t survivors = 0;
    for (int64_t k = 0; k < n_; ++k) {
      if (logits[k * solver_vectors] < least) continue;
      ++survivors;
      sums.merge(LogSumExp<double>::single(logits[k * solver_vectors], k));
    }
    const double log_density = read_scalars(target_, scalars_, q, totals_, 0, uniform_);
    if (request_.survivors) request_.survivors[q] = survivors;
    if (request_.path) request_.path[q] = static_cast<uint8_t>(survivors < n_ ? Path::refined : Path::float64);
    if (request_.class_weights) read_classes(q, logits, least, sums.max);
    if (request_.score) mean_of(pulls_, logits, v, least, sums);
    for (int64_t j = 0; request_.score && j < d_; ++j) request_.score[q * d_ + j] = -sum_[j];
    if (request_.denoised) {
      mean_of(means_, logits, v, least, sums);
      std::copy_n(sum_.data(), d_, request_.denoised + q * d_);
    }
    read_errors(q, sums, log_density);
  }

  void read_classes(int64_t q, const double* logits, double least, double top) {
    double* weights = request_.class_weights + q * target_.class_count;
    std::fill_n(weights, target_.class_count, 0.0);
    double total = 0;
    for (int64_t k = 0; k < n_; ++k) {
      if (logits[k * solver_vectors] >= least) weights[target_.classes[k]] += std::exp(logits[k * solver_vectors] - top);
    }
    for (int32_t c = 0; c < target_.class_count; ++c) total += weights[c];
    for (int32_t c = 0; c < target_.class_count; ++c) weights[c] /= total;
  }

  // sum_ = the mean of `rows` under the weights of query v of the eight.
  void mean_of(std::vector<double>& rows, const double* logits, int v, double least, const LogSumExp<double>& sums) {
    std::fill(sum_.begin(), sum_.end(), 0.0);
    for (int64_t k = 0; k < n_; ++k) {
      const double logit = logits[k * solver_vectors];
      if (logit < least) continue;
      kernels_.add_weighted(std::exp(logit - sums.max) / (1 + sums.rest), part(rows, k, v), nullptr, d_, sum_.data());
    }
  }

  // Where one component has all the weight, errors of logits do not move the score: a factor common to all weights cancels.
  void read_errors(int64_t q, const LogSumExp<double>& sums, double log_density) {
    const double terms = static_cast<double>(n_);
    read_bounds(target_, density_, q, sums, uniform_, density_model_, log_density, terms, nullptr);
    ErrorModel model = density_model_;
    if (sums.rest == 0) model.logit_units = model.logit_offset = 0;
    read_bounds(target_, score_, q, sums, uniform_, model, log_density, terms, nullptr);
  }

  const Kernels& kernels_;
  const Target& target_;
  const PosteriorRequest& request_;
  const GaussiansAt& at_;
  const int64_t n_, d_;
  const bool shared_;                   // one variance for all coordinates of a component
  std::vector<double> precision_;       // 1 / (a^2 v + b^2), [n] or [n][d]
  std::vector<double> difference_;      // x - a m, [8][d]
  std::vector<double> pulls_, means_;   // [n][8][d]
  std::vector<double> logits_;         // [n][8]
  std::vector<double> sum_;            // [d]
  const double reach_, uniform_;
  PosteriorRequest scalars_, density_, score_;  // parts of the request that one call each fills
  ErrorModel density_model_;
  LaneAccumulators totals_;            // lane 0
};

}  // namespace

bool few_applies(const Target& target, const PosteriorRequest& request) {
  const bool simple = target.covariances->type == Covariances::Type::spherical || target.covariances->type == Covariances::Type::diagonal;
  return simple && target.n <= most_components && target.n * target.d <= most_numbers && request.top == 0 && !wants_second_moments(request);
}

Status posterior_few(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  const int64_t queries = request.x.rows, items = (queries + item_queries - 1) / item_queries;
  ThreadPool pool(static_cast<int>(std::min<int64_t>(execution.threads, std::max<int64_t>(items, 1))));
  GaussiansAt at(*set.kernels, target, request.a, request.b);
  const Status status = at.build(pool, execution);
  if (!status.ok()) return status;
  std::atomic<int64_t> done{0};
  pool.run(items, [&](int64_t item, int) {
    FewGaussians few(set, target, request, at);
    const int64_t end = std::min(queries, (item + 1) * item_queries);
    for (int64_t q = item * item_queries; q < end && !execution.cancelled(); q += solver_vectors) {
      few.read(q, static_cast<int>(std::min<int64_t>(solver_vectors, end - q)));
    }
    const int64_t so_far = done.fetch_add(1) + 1;
    if (execution.progress) execution.progress(static_cast<double>(so_far) / static_cast<double>(items));
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
