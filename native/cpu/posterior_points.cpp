// posterior over data points: the choice of the path, query by query, as a function of the query, the data and the readings
// asked for.
//   small     in few dimensions (posterior_small.h)
//   refined   where screening leaves few data (posterior_refined.h)
//   dense     where many data carry weight (posterior_dense.h)
//   float64   for precision "float64", for second moments, and wherever the other two do not apply
#include <algorithm>

#include "posterior_dense.h"
#include "posterior_refined.h"
#include "posterior_small.h"

namespace regimes {
namespace {

// Some of the queries of a request, gathered, and the outputs that wait to be scattered.
class Part {
 public:
  Part(const PosteriorRequest& whole, int64_t d, int32_t class_count, std::vector<int64_t> queries)
      : whole_(whole), queries_(std::move(queries)), x_(queries_.size() * static_cast<size_t>(d)) {
    const auto count = static_cast<int64_t>(queries_.size());
    for (int64_t q = 0; q < count; ++q) std::copy_n(whole.x.row(queries_[q]), d, x_.data() + q * d);
    request_ = whole;
    request_.x = {x_.data(), count, d};
    gather(vectors_, whole.vectors, d);
    if (whole.vectors) request_.vectors = vectors_.data();
    reals_.reserve(16);
    for (const auto& [member, width] : std::initializer_list<std::pair<double* PosteriorRequest::*, int64_t>>{
             {&PosteriorRequest::log_density, 1}, {&PosteriorRequest::denoised, d}, {&PosteriorRequest::score, d},
             {&PosteriorRequest::entropy, 1}, {&PosteriorRequest::sum_squares, 1}, {&PosteriorRequest::nearest_weight, 1},
             {&PosteriorRequest::class_weights, class_count}, {&PosteriorRequest::top_weight, whole.top},
             {&PosteriorRequest::covariance_trace, 1}, {&PosteriorRequest::covariance_products, d}, {&PosteriorRequest::jacobian_products, d},
             {&PosteriorRequest::divergence, 1}, {&PosteriorRequest::error_log_density, 1}, {&PosteriorRequest::error_score, 1}}) {
      add(reals_, member, width);
    }
    for (const auto& [member, width] : std::initializer_list<std::pair<int32_t* PosteriorRequest::*, int64_t>>{
             {&PosteriorRequest::nearest_index, 1}, {&PosteriorRequest::top_index, whole.top}, {&PosteriorRequest::survivors, 1}}) {
      add(integers_, member, width);
    }
    add(bytes_, &PosteriorRequest::path, 1);
  }

  const PosteriorRequest& request() const { return request_; }

  void scatter() const {
    for (const auto& output : reals_) scatter(output);
    for (const auto& output : integers_) scatter(output);
    for (const auto& output : bytes_) scatter(output);
  }

 private:
  template <class Value>
  struct Output {
    Value* whole;
    int64_t width;
    std::vector<Value> values;
  };

  void gather(std::vector<double>& to, const double* from, int64_t width) const {
    for (size_t q = 0; from != nullptr && q < queries_.size(); ++q) to.insert(to.end(), from + queries_[q] * width, from + (queries_[q] + 1) * width);
  }

  template <class Value>
  void add(std::vector<Output<Value>>& outputs, Value* PosteriorRequest::*member, int64_t width) {
    if (whole_.*member == nullptr) return;
    outputs.push_back({whole_.*member, width, std::vector<Value>(queries_.size() * static_cast<size_t>(width))});
    request_.*member = outputs.back().values.data();
  }

  template <class Value>
  void scatter(const Output<Value>& output) const {
    for (size_t q = 0; q < queries_.size(); ++q) {
      std::copy_n(output.values.data() + q * output.width, output.width, output.whole + queries_[q] * output.width);
    }
  }

  const PosteriorRequest& whole_;
  std::vector<int64_t> queries_;
  std::vector<double> x_, vectors_;
  PosteriorRequest request_;
  std::vector<Output<double>> reals_;
  std::vector<Output<int32_t>> integers_;
  std::vector<Output<uint8_t>> bytes_;
};

Status float64(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (request.survivors) std::fill_n(request.survivors, request.x.rows, static_cast<int32_t>(target.n));
  if (request.path) std::fill_n(request.path, request.x.rows, static_cast<uint8_t>(Path::float64));
  return posterior_float64(*set.kernels, target, request, execution);
}

// Progress of a stage that covers the share [from, to] of the work.
Execution stage(const Execution& execution, double from, double to) {
  Execution part = execution;
  if (execution.progress) part.progress = [report = execution.progress, from, to](double done) { report(from + (to - from) * done); };
  return part;
}

// Gives the queries that `answered` leaves to `answer(request, execution)`, the second half of the work.
template <class Answer>
Status answer_rest(const PosteriorRequest& request, const Target& target, const Execution& execution, const std::vector<uint8_t>& answered,
                   Answer answer) {
  std::vector<int64_t> left;
  for (size_t q = 0; q < answered.size(); ++q) {
    if (!answered[q]) left.push_back(static_cast<int64_t>(q));
  }
  if (left.empty()) {
    if (execution.progress) execution.progress(1);
    return {};
  }
  Part part(request, target.d, target.class_count, std::move(left));
  const Status status = answer(part.request(), stage(execution, 0.5, 1));
  if (status.ok()) part.scatter();
  return status;
}

// Dense where its bound meets the contract, float64 for the others.
Status diffuse(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
               DenseProducts products) {
  std::vector<uint8_t> answered(static_cast<size_t>(request.x.rows), 0);
  const Status status = posterior_dense(set, target, request, stage(execution, 0, 0.5), products, answered);
  if (!status.ok()) return status;
  const bool again = products == DenseProducts::fast && dense_exact_applies(set, target);
  return answer_rest(request, target, execution, answered, [&](const PosteriorRequest& rest, const Execution& second) {
    return again ? diffuse(set, target, rest, second, DenseProducts::exact) : float64(set, target, rest, second);
  });
}

// What screening leaves or cannot answer.
Status unscreened(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (!dense_applies(target, request)) return float64(set, target, request, execution);
  return diffuse(set, target, request, execution, DenseProducts::fast);
}

}  // namespace

Status posterior_points(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (request.precision == Precision::float64) return float64(set, target, request, execution);
  if (small_applies(target, request)) return posterior_small(set, target, request, execution);
  if (!refined_applies(target, request)) return unscreened(set, target, request, execution);
  std::vector<uint8_t> answered(static_cast<size_t>(request.x.rows), 0);
  const Status status = posterior_refined(set, target, request, stage(execution, 0, 0.5), answered);
  if (!status.ok()) return status;
  return answer_rest(request, target, execution, answered,
                     [&](const PosteriorRequest& rest, const Execution& second) { return unscreened(set, target, rest, second); });
}

}  // namespace regimes
