// posterior over Gaussian components, 8 queries at a time: with p_k = S_k^-1 (x - a m_k) and weights r_k,
//   score = -sum r_k p_k,  denoised = sum r_k (m_k + a C_k p_k),
// and second moments about these means, so that neither small b nor condensed weights cancel.
#include <cmath>

#include "../core/thread_pool.h"
#include "cpu.h"
#include "mixture_pass.h"
#include "readings.h"

namespace regimes {
namespace {

struct LaneVector {
  std::vector<double> values;  // [d][8]
  explicit LaneVector(int64_t d) : values(static_cast<size_t>(d) * lanes, 0.0) {}
  double* data() { return values.data(); }
  void copy_lane(int lane, double* out, double sign = 1) const {
    for (size_t j = 0; j < values.size() / lanes; ++j) out[j] = sign * values[j * lanes + lane];
  }
};

class GroupReader {
 public:
  GroupReader(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const GaussiansAt& at, const ErrorModel& model)
      : kernels_(kernels), target_(target), request_(request), at_(at), model_(model), d_(target.d), a_(request.a), b_(request.b),
        uniform_(target.log_weights ? 0 : std::log(static_cast<double>(target.n))),
        pass_(kernels, target, request.class_weights ? target.class_count : 0), pull_(d_), denoised_(d_) {}

  // Queries first ... first + count - 1, count <= 8.
  void read(int64_t first, int count) {
    const std::vector<double> x = to_lanes(request_.x.row(first), count, d_);
    const LaneAccumulators totals = pass_.run(at_, x.data(), a_, b_);
    double log_density[lanes];
    for (int lane = 0; lane < count; ++lane) {
      log_density[lane] = read_scalars(target_, request_, first + lane, totals, lane, uniform_);
      if (request_.top == 0) continue;
      const int64_t place = (first + lane) * request_.top;
      read_top(pass_.logits().data() + lane, target_.n, totals.sums[lane], request_.top, request_.top_index + place,
               request_.top_weight + place);
    }
    if (wants_denoised(request_)) {
      find_weights(totals);
      find_means(x.data());
      if (wants_second_moments(request_)) read_second_moments(x.data(), first, count);
    }
    std::vector<double> mean(static_cast<size_t>(d_));
    for (int lane = 0; lane < count; ++lane) {
      denoised_.copy_lane(lane, mean.data());
      if (request_.denoised) denoised_.copy_lane(lane, request_.denoised + (first + lane) * d_);
      if (request_.score) pull_.copy_lane(lane, request_.score + (first + lane) * d_, -1);
      read_bounds(target_, request_, first + lane, totals.sums[lane], uniform_, model_, log_density[lane], static_cast<double>(target_.n),
                  mean.data());
    }
  }

 private:
  const double* weights(int64_t k) { return pass_.logits().data() + k * lanes; }

  void find_weights(const LaneAccumulators& totals) {
    active_.resize(static_cast<size_t>(target_.n));
    const double reach = wants_second_moments(request_) ? 708 : std::log(static_cast<double>(target_.n)) + 50;
    double top[lanes], inverse[lanes], cutoff[lanes];
    for (int lane = 0; lane < lanes; ++lane) {
      top[lane] = totals.sums[lane].max;
      inverse[lane] = 1 / (1 + totals.sums[lane].rest);
      cutoff[lane] = top[lane] - reach;
    }
    kernels_.weights(pass_.logits().data(), target_.n, top, inverse, cutoff, active_.data());
  }

  // p = S_k^-1 (x - a m_k) and moved = C_k p.
  void solve(int64_t k, const double* x, double* p, double* moved) {
    double square[lanes];
    kernels_.gaussian_solve(at_.views[k], x, a_, b_, p, square, pass_.scratch().data());
    kernels_.gaussian_covariance(at_.views[k], p, moved, pass_.scratch().data());
  }

  void find_means(const double* x) {
    LaneVector p(d_), moved(d_);
    std::fill(pull_.values.begin(), pull_.values.end(), 0.0);
    std::fill(denoised_.values.begin(), denoised_.values.end(), 0.0);
    for (int64_t k = 0; k < target_.n; ++k) {
      if (!active_[k]) continue;
      solve(k, x, p.data(), moved.data());
      kernels_.add_lanes(weights(k), nullptr, 1, p.data(), d_, pull_.data());
      kernels_.add_lanes(weights(k), target_.means.row(k), a_, moved.data(), d_, denoised_.data());
    }
  }

  void read_second_moments(const double* x, int64_t first, int count) {
    const double b2 = b_ * b_;
    const double one[lanes] = {1, 1, 1, 1, 1, 1, 1, 1};
    double trace[lanes] = {}, divergence[lanes] = {};
    LaneVector p(d_), moved(d_), spread(d_), covariance(d_), jacobian(d_), solved(d_);
    const std::vector<double> u = request_.vectors ? to_lanes(request_.vectors + first * d_, count, d_) : std::vector<double>();
    for (int64_t k = 0; k < target_.n; ++k) {
      if (!active_[k]) continue;
      const double* w = weights(k);
      double spread_square[lanes], drift_square[lanes];
      solve(k, x, p.data(), moved.data());
      std::fill(spread.values.begin(), spread.values.end(), 0.0);
      kernels_.add_lanes(one, target_.means.row(k), a_, moved.data(), d_, spread.data());
      for (size_t j = 0; j < spread.values.size(); ++j) {
        spread.values[j] -= denoised_.values[j];
        p.values[j] -= pull_.values[j];  // v_k - s up to the sign, which squares away
      }
      kernels_.dot_lanes(spread.data(), nullptr, spread.data(), nullptr, d_, spread_square);
      kernels_.dot_lanes(p.data(), nullptr, p.data(), nullptr, d_, drift_square);
      for (int lane = 0; lane < lanes; ++lane) {
        trace[lane] += w[lane] * (b2 * at_.inner_trace[k] + spread_square[lane]);
        divergence[lane] += w[lane] * (drift_square[lane] - at_.precision_trace[k]);
      }
      if (u.empty()) continue;
      double along_spread[lanes], along_drift[lanes], minus[lanes];
      kernels_.dot_lanes(spread.data(), nullptr, u.data(), nullptr, d_, along_spread);
      kernels_.dot_lanes(p.data(), nullptr, u.data(), nullptr, d_, along_drift);
      for (int lane = 0; lane < lanes; ++lane) {
        along_spread[lane] *= w[lane];
        along_drift[lane] *= w[lane];
        minus[lane] = -w[lane];
      }
      kernels_.gaussian_precision(at_.views[k], u.data(), a_, b_, solved.data(), pass_.scratch().data());
      kernels_.gaussian_covariance(at_.views[k], solved.data(), moved.data(), pass_.scratch().data());
      kernels_.add_lanes(w, nullptr, b2, moved.data(), d_, covariance.data());
      kernels_.add_lanes(along_spread, nullptr, 1, spread.data(), d_, covariance.data());
      kernels_.add_lanes(minus, nullptr, 1, solved.data(), d_, jacobian.data());
      kernels_.add_lanes(along_drift, nullptr, 1, p.data(), d_, jacobian.data());
    }
    for (int lane = 0; lane < count; ++lane) {
      const int64_t q = first + lane;
      if (request_.covariance_trace) request_.covariance_trace[q] = trace[lane];
      if (request_.divergence) request_.divergence[q] = divergence[lane];
      if (request_.covariance_products) covariance.copy_lane(lane, request_.covariance_products + q * d_);
      if (request_.jacobian_products) jacobian.copy_lane(lane, request_.jacobian_products + q * d_);
    }
  }

  const Kernels& kernels_;
  const Target& target_;
  const PosteriorRequest& request_;
  const GaussiansAt& at_;
  const ErrorModel& model_;
  const int64_t d_;
  const double a_, b_, uniform_;
  MixturePass pass_;
  LaneVector pull_, denoised_;
  std::vector<uint8_t> active_;
};

}  // namespace

Status posterior_mixture(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  const Status conditioning = check_conditioning(target, request.a, request.b);
  if (!conditioning.ok()) return conditioning;
  if (request.survivors) std::fill_n(request.survivors, request.x.rows, static_cast<int32_t>(target.n));
  if (request.path) std::fill_n(request.path, request.x.rows, static_cast<uint8_t>(Path::float64));
  const GaussiansAt at = gaussians_at(target, request.a, request.b);
  const ErrorModel model = mixture_error_model(target, request.a, request.b);
  const int64_t queries = request.x.rows;
  std::atomic<int64_t> done{0};
  ThreadPool pool(execution.threads);
  pool.run(group_count(queries), [&](int64_t group, int) {
    if (execution.cancelled()) return;
    const int64_t first = group * lanes;
    const int count = static_cast<int>(std::min<int64_t>(lanes, queries - first));
    GroupReader(kernels, target, request, at, model).read(first, count);
    const int64_t finished = done += count;
    if (execution.progress) execution.progress(static_cast<double>(finished) / static_cast<double>(queries));
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
