// A request for some of the queries of another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "operations.h"

namespace regimes {

// Some of the queries of a request, gathered, and the outputs that wait to be scattered.
class RequestPart {
 public:
  RequestPart(const PosteriorRequest& whole, int64_t d, int32_t class_count, std::vector<int64_t> queries)
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

}  // namespace regimes
