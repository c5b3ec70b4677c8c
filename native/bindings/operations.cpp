#include "operations.h"

#include "../core/copy_numbers.h"
#include "../core/draws.h"
#include "../core/spectrum.h"
#include "../core/statistics.h"
#include "../core/symmetric_eigen.h"
#include "arguments.h"
#include "handles.h"
#include "target_job.h"

namespace regimes::bindings {
Napi::Value posterior(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto target = target_of(info[0]);
  const Napi::Object request = info[1].As<Napi::Object>();
  const int64_t batch = whole(request, "batch"), d = target->target.d, top = whole(request, "top");
  if (top > target->target.n) throw coded_error(env, "E_SHAPE", "more components are asked for than there are");
  const auto readings = names(request, "readings");
  struct Inputs {
    std::vector<double> vectors;
    PosteriorRequest request;
  };
  const auto inputs = std::make_shared<Inputs>();
  inputs->vectors = doubles(request.Get("vectors"), "vectors", batch * d, true);

  auto job = make_job(info, 2);
  job->watch(target->mapping());
  PosteriorRequest& r = inputs->request;
  r.x = {job->held_reals(request.Get("x"), "x", batch * d), batch, d};
  r.a = number(request, "a");
  r.b = number(request, "b");
  r.precision = precision_of(request);
  if (contains(readings, "logDensity")) r.log_density = job->real_output("logDensity", batch);
  if (contains(readings, "denoised")) r.denoised = job->overwritten_output("denoised", batch * d);
  if (contains(readings, "score")) r.score = job->overwritten_output("score", batch * d);
  if (contains(readings, "entropy")) r.entropy = job->real_output("entropy", batch);
  if (contains(readings, "sumSquares")) r.sum_squares = job->real_output("sumSquares", batch);
  if (contains(readings, "nearest")) {
    r.nearest_index = job->integer_output("nearestIndex", batch);
    r.nearest_weight = job->real_output("nearestWeight", batch);
  }
  if (contains(readings, "classWeights")) {
    if (target->target.class_count == 0) throw coded_error(env, "E_LABELS", "class weights need labels");
    r.class_weights = job->real_output("classWeights", batch * target->target.class_count);
  }
  if (top > 0) {
    r.top = top;
    r.top_index = job->integer_output("topIndex", batch * top);
    r.top_weight = job->real_output("topWeight", batch * top);
  }
  if (contains(readings, "covarianceTrace")) r.covariance_trace = job->real_output("covarianceTrace", batch);
  if (contains(readings, "divergence")) r.divergence = job->real_output("divergence", batch);
  const bool products = contains(readings, "covarianceProducts") || contains(readings, "jacobianProducts");
  if (products) {
    if (inputs->vectors.empty() && batch > 0) throw coded_error(env, "E_SHAPE", "products need vectors");
    r.vectors = inputs->vectors.data();
    if (contains(readings, "covarianceProducts")) r.covariance_products = job->real_output("covarianceProducts", batch * d);
    if (contains(readings, "jacobianProducts")) r.jacobian_products = job->real_output("jacobianProducts", batch * d);
  }
  r.error_log_density = job->real_output("errorLogDensity", batch);
  if (r.score || r.denoised) r.error_score = job->real_output("errorScore", batch);
  r.survivors = job->integer_output("survivors", batch);
  r.path = job->byte_output("path", batch);

  const Backend& chosen = backend(env);
  return Job::start(std::move(job), prepared(target, [target, inputs, &chosen](const Execution& execution) {
    return with_layouts(*target, inputs->request.precision, execution,
                        [&](const Target& use) { return chosen.posterior(use, inputs->request, execution); });
  }), finish_with_layouts(target));
}

Napi::Value sweep(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto target = target_of(info[0]);
  const Napi::Object request = info[1].As<Napi::Object>();
  const Napi::Value a = request.Get("a");
  const int64_t times = a.IsTypedArray() ? static_cast<int64_t>(a.As<Napi::TypedArray>().ElementLength()) : 0;
  const auto readings = names(request, "readings");
  struct Inputs {
    std::vector<double> a, b;
    SweepRequest request;
  };
  const auto inputs = std::make_shared<Inputs>();
  inputs->a = doubles(a, "a", times);
  inputs->b = doubles(request.Get("b"), "b", times);

  auto job = make_job(info, 2);
  job->watch(target->mapping());
  SweepRequest& r = inputs->request;
  r.a = inputs->a.data();
  r.b = inputs->b.data();
  r.times = times;
  r.precision = precision_of(request);
  r.seed = seed(request, "seed");
  r.first = static_cast<uint64_t>(whole(request, "first"));
  r.count = whole(request, "count");
  r.component = job->integer_output("component", r.count);
  r.path = job->byte_output("path", 1);
  const bool classes = contains(readings, "classSquares") || contains(readings, "classEntropy");
  if (classes && target->target.class_count == 0) throw coded_error(env, "E_LABELS", "class readings need labels");
  const auto want = [&](const char* name) { return contains(readings, name) ? job->real_output(name, times * r.count) : nullptr; };
  r.log_density = want("logDensity");
  r.entropy = want("entropy");
  r.sum_squares = want("sumSquares");
  r.own_log_weight = want("ownLogWeight");
  r.class_squares = want("classSquares");
  r.class_entropy = want("classEntropy");

  const Backend& chosen = backend(env);
  return Job::start(std::move(job), prepared(target, [target, inputs, &chosen](const Execution& execution) {
    return with_layouts(*target, inputs->request.precision, execution,
                        [&](const Target& use) { return chosen.sweep(use, inputs->request, execution); });
  }), finish_with_layouts(target));
}

Napi::Value sample(const Napi::CallbackInfo& info) {
  const auto target = target_of(info[0]);
  const Napi::Object request = info[1].As<Napi::Object>();
  auto job = make_job(info, 2);
  job->watch(target->mapping());
  SampleRequest r;
  r.a = number(request, "a");
  r.b = number(request, "b");
  r.seed = seed(request, "seed");
  r.first = static_cast<uint64_t>(whole(request, "first"));
  r.count = whole(request, "count");
  r.x = job->real_output("x", r.count * target->target.d);
  r.component = job->integer_output("component", r.count);
  const Backend& chosen = backend(info.Env());
  return Job::start(std::move(job), prepared(target, [target, r, &chosen](const Execution& execution) {
    return regimes::sample(target->target, r, execution, chosen.normals);
  }));
}

Napi::Value spectrum(const Napi::CallbackInfo& info) {
  const auto target = target_of(info[0]);
  const Napi::Object request = info[1].As<Napi::Object>();
  SpectrumRequest r;
  r.count = whole(request, "count");
  r.tolerance = number(request, "tolerance");
  r.within = flag(request, "within");
  r.complete = flag(request, "complete");
  r.class_means = flag(request, "classMeans");
  const auto result = std::make_shared<SpectrumResult>();
  auto job = make_job(info, 2);
  job->watch(target->mapping());
  return Job::start(
      std::move(job),
      prepared(target, [target, r, result](const Execution& execution) { return regimes::spectrum(target->target, r, execution, *result); }),
      [result](Napi::Env env, Napi::Object out) {
        out.Set("eigenvalues", to_array(env, result->eigenvalues));
        out.Set("residuals", to_array(env, result->residuals));
        out.Set("vectors", to_array(env, result->vectors));
        out.Set("projectionDeviation", to_array(env, result->projection_deviation));
        out.Set("trace", result->trace);
        out.Set("mean", to_array(env, result->mean));
        out.Set("ritzValues", to_array(env, result->ritz_values));
        out.Set("classCoordinates", to_array(env, result->class_coordinates));
        out.Set("ritzVectors", to_array(env, result->ritz_vectors));
        out.Set("classFractions", to_array(env, result->class_fractions));
      });
}

Napi::Value covariance(const Napi::CallbackInfo& info) {
  const auto target = target_of(info[0]);
  const int64_t d = target->target.d;
  auto job = make_job(info, 1);
  job->watch(target->mapping());
  double* mean = job->real_output("mean", d);
  double* matrix = job->real_output("matrix", d * d);
  return Job::start(std::move(job), prepared(target, [target, mean, matrix](const Execution& execution) {
    return covariance_matrix(target->target, execution, mean, matrix);
  }));
}

Napi::Value project(const Napi::CallbackInfo& info) {
  const auto target = target_of(info[0]);
  const Napi::Object request = info[1].As<Napi::Object>();
  const int64_t count = whole(request, "count");
  const auto vectors = std::make_shared<std::vector<double>>(doubles(request.Get("vectors"), "vectors", count * target->target.d));
  const std::string centre = request.Get("centre").ToString().Utf8Value();
  auto job = make_job(info, 2);
  job->watch(target->mapping());
  ProjectRequest r;
  r.vectors = {vectors->data(), count, target->target.d};
  if (centre != "none" && centre != "mean" && centre != "class") throw coded_error(info.Env(), "E_OPTION", "centre is none, mean or class, not " + centre);
  r.centre = centre == "mean" ? ProjectRequest::Centre::mean : centre == "class" ? ProjectRequest::Centre::of_class : ProjectRequest::Centre::none;
  r.out = job->real_output("projections", target->target.n * count);
  return Job::start(std::move(job), prepared(target, [target, vectors, r](const Execution& execution) {
    return regimes::project(target->target, r, execution);
  }));
}

Napi::Value dataset_statistics(const Napi::CallbackInfo& info) {
  const DatasetHandle& handle = dataset_of(info[0]);
  const auto memory = handle.memory;
  const DataView view = handle.view();
  const auto result = std::make_shared<Statistics>();
  auto job = make_job(info, 1);
  job->watch(memory->mapping);
  return Job::start(
      std::move(job), [memory, view, result](const Execution& execution) { return statistics(view, execution, *result); },
      [result](Napi::Env env, Napi::Object out) {
        out.Set("mean", result->mean);
        out.Set("variance", result->variance);
        out.Set("minimum", result->minimum);
        out.Set("maximum", result->maximum);
        out.Set("distinctRows", static_cast<double>(result->distinct_rows));
        Napi::Object bad = Napi::Object::New(env);
        bad.Set("count", static_cast<double>(result->nonfinite_count));
        bad.Set("row", static_cast<double>(result->nonfinite_row));
        bad.Set("column", static_cast<double>(result->nonfinite_column));
        out.Set("nonfinite", bad);
      });
}

Napi::Value symmetric_eigen(const Napi::CallbackInfo& info) {
  const int64_t n = info[1].ToNumber().Int64Value();
  const auto matrix = std::make_shared<std::vector<double>>(doubles(info[0], "matrix", n * n));
  auto job = make_job(info, 2);
  double* values = job->real_output("values", n);
  double* vectors = job->real_output("vectors", n * n);
  return Job::start(std::move(job), [matrix, n, values, vectors](const Execution& execution) {
    return regimes::symmetric_eigen(std::move(*matrix), n, values, vectors, execution);
  });
}

Napi::Value copy_numbers(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  for (const Napi::Value& value : {info[0], info[1]}) {
    if (!value.IsTypedArray()) throw coded_error(env, "E_INTERNAL", "numbers are copied between typed arrays");
  }
  const auto from = info[0].As<Napi::TypedArray>(), to = info[1].As<Napi::TypedArray>();
  const bool singles = from.TypedArrayType() == napi_float32_array;
  if (!(singles || from.TypedArrayType() == napi_float64_array) || to.TypedArrayType() != napi_float64_array || from.ElementLength() != to.ElementLength()) {
    throw coded_error(env, "E_INTERNAL", "numbers are copied from a Float32Array or Float64Array to a Float64Array of its length");
  }
  const auto count = static_cast<int64_t>(from.ElementLength());
  double* out = to.As<Napi::Float64Array>().Data();
  return Napi::Number::New(env, singles ? regimes::copy_numbers(from.As<Napi::Float32Array>().Data(), count, out)
                                        : regimes::copy_numbers(from.As<Napi::Float64Array>().Data(), count, out));
}

}  // namespace regimes::bindings
