#include "../core/lift.h"

#include "arguments.h"
#include "operations.h"
#include "target_job.h"

namespace regimes::bindings {

Napi::Value lift(const Napi::CallbackInfo& info) {
  const Napi::Object request = info[0].As<Napi::Object>();
  struct Inputs {
    std::vector<double> basis, rest, constant, start, factor, a, b, directions;
    LiftRequest request;
  };
  const auto inputs = std::make_shared<Inputs>();
  LiftRequest& r = inputs->request;
  r.d = whole(request, "d");
  r.dimension = whole(request, "dimension");
  r.count = whole(request, "count");
  r.seen.records = whole(request, "records");
  r.variance = number(request, "variance");
  r.seed = seed(request, "seed");
  r.first = static_cast<uint64_t>(whole(request, "first"));
  r.first_draw = static_cast<uint32_t>(whole(request, "firstDraw"));
  const int64_t values = 1 + r.seen.records, places = r.seen.records * r.count;
  const auto readings = names(request, "observe");
  const auto take = [&](std::vector<double>& numbers, const char* name, int64_t count) {
    numbers = doubles(request.Get(name), name, count);
    return numbers.data();
  };
  r.basis = take(inputs->basis, "basis", r.dimension * r.d);
  r.rest = take(inputs->rest, "rest", r.d);
  r.constant = take(inputs->constant, "constant", values);
  r.start = take(inputs->start, "start", values);
  r.factor = take(inputs->factor, "factor", values * values);
  r.a = take(inputs->a, "a", r.seen.records);
  r.b = take(inputs->b, "b", r.seen.records);

  auto job = make_job(info, 1);
  const auto hold = [&](const char* name, int64_t count) { return job->held_reals(request.Get(name), name, count); };
  if (request.Get("rows").IsTypedArray()) r.rows = {hold("rows", r.count * r.d), r.count, r.d};
  r.ends = hold("ends", r.count * r.dimension);
  r.states = hold("states", places * r.dimension);
  r.x = job->real_output("x", r.count * r.d);
  const auto want = [&](const char* name, int64_t width) {
    return contains(readings, name) ? job->real_output(name, places * width) : nullptr;
  };
  r.seen.states = want("states", r.d);
  r.seen.denoised = want("denoised", r.d);
  if (r.seen.denoised) r.denoised = hold("denoised", places * r.dimension);
  r.seen.norm = want("norm", 1);
  r.seen.log_density = want("logDensity", 1);
  if (r.seen.log_density) r.log_density = hold("logDensity", places);
  if (contains(readings, "projections")) {
    r.seen.direction_count = whole(request, "directionCount");
    r.seen.directions = take(inputs->directions, "directions", r.seen.direction_count * r.d);
    r.seen.projections = want("projections", r.seen.direction_count);
  }
  const Backend& chosen = backend(info.Env());
  const auto work = [inputs, &chosen](const Execution& execution) { return regimes::lift(chosen.normals, inputs->request, execution); };
  return Job::start(std::move(job), work);
}

}  // namespace regimes::bindings
