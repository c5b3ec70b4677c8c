#include "../core/simulate.h"
#include "../core/simulate_adaptive.h"

#include <algorithm>

#include "../core/philox.h"
#include "arguments.h"
#include "handles.h"
#include "operations.h"
#include "target_job.h"

namespace regimes::bindings {
namespace {

// The inputs of a simulation, which live as long as the job.
struct Inputs {
  const int32_t* integers = nullptr;  // [step_count][5]
  const double* reals = nullptr;      // [step_count][3]
  int64_t terms = 0;
  std::vector<double> directions;
  std::vector<ReverseStep> steps;
  std::shared_ptr<TargetMemory> start_target;
  SimulateRequest request;
  std::unique_ptr<Adaptive> adaptive;  // null: the steps of the program
};

// lib/native.ts: five integers and three reals per step.
constexpr int64_t integers_per_step = 5, reals_per_step = 3;

void hold_program(const Napi::Object& request, Job& job, Inputs& inputs) {
  const int64_t count = whole(request, "stepCount");
  inputs.integers = job.held_integers(request.Get("integers"), "integers", count * integers_per_step);
  inputs.reals = job.held_reals(request.Get("reals"), "reals", count * reals_per_step);
  inputs.terms = whole(request, "termCount");
  inputs.request.terms = job.held_integers(request.Get("terms"), "terms", inputs.terms);
  inputs.request.factors = job.held_reals(request.Get("factors"), "factors", inputs.terms);
  inputs.request.step_count = count;
  inputs.request.registers = static_cast<int32_t>(whole(request, "registers"));
  inputs.request.result = static_cast<int32_t>(whole(request, "result"));
}

int64_t evaluations(const Inputs& inputs) {
  int64_t count = 0;
  for (int64_t k = 0; k < inputs.request.step_count; ++k) count += inputs.integers[k * integers_per_step] == 1;
  return count;
}

// On the job's thread: a long program takes its time.
Status unpack_program(Inputs& inputs) {
  inputs.steps.resize(static_cast<size_t>(inputs.request.step_count));
  for (size_t k = 0; k < inputs.steps.size(); ++k) {
    const int32_t* i = inputs.integers + k * integers_per_step;
    const double* x = inputs.reals + k * reals_per_step;
    ReverseStep& step = inputs.steps[k];
    step.out = i[1];
    if (i[0] == 0) {
      step.first_term = i[2];
      step.term_count = i[3];
      step.draw = static_cast<uint32_t>(i[4]);
      step.noise = x[0];
      const bool inside = step.first_term >= 0 && step.term_count >= 0 && int64_t{step.first_term} + step.term_count <= inputs.terms;
      if (!inside) return Status::failure(Code::shape, "a step has terms that are not there");
    } else {
      step.kind = ReverseStep::Kind::denoise;
      step.in = i[2];
      step.record = i[3];
      step.a = x[0];
      step.b = x[1];
    }
  }
  inputs.request.steps = inputs.steps.data();
  return {};
}

void add_outputs(const Napi::Object& request, const Target& target, Job& job, Inputs& inputs) {
  SimulateRequest& r = inputs.request;
  Observations& seen = r.observed;
  seen.records = whole(request, "records");
  const int64_t places = seen.records * r.count, d = target.d;
  const auto readings = names(request, "observe");
  const auto want = [&](const char* name, int64_t width) {
    return contains(readings, name) ? job.real_output(name, places * width) : nullptr;
  };
  seen.states = want("states", d);
  seen.denoised = want("denoised", d);
  seen.norm = want("norm", 1);
  seen.log_density = want("logDensity", 1);
  seen.entropy = want("entropy", 1);
  seen.sum_squares = want("sumSquares", 1);
  if (contains(readings, "classWeights")) {
    if (target.class_count == 0) throw coded_error(request.Env(), "E_LABELS", "class weights need labels");
    seen.class_weights = want("classWeights", target.class_count);
  }
  if (contains(readings, "nearest")) {
    seen.nearest_index = job.integer_output("nearestIndex", places);
    seen.nearest_weight = job.real_output("nearestWeight", places);
  }
  if (contains(readings, "survivors")) seen.survivors = job.integer_output("survivors", places);
  if (contains(readings, "projections")) {
    seen.direction_count = whole(request, "directionCount");
    inputs.directions = doubles(request.Get("directions"), "directions", seen.direction_count * d);
    seen.directions = inputs.directions.data();
    seen.projections = want("projections", seen.direction_count);
  }
  r.x = job.real_output("x", r.count * d);
  r.path = job.byte_output("path", evaluations(inputs));
  if (request.Get("adaptive").IsObject()) {
    const Napi::Object control = request.Get("adaptive").As<Napi::Object>();
    inputs.adaptive = std::make_unique<Adaptive>(Adaptive{number(control, "absolute"), number(control, "relative"), flag(control, "endDenoised"),
                                                          job.integer_output("accepted", r.count), job.integer_output("rejected", r.count),
                                                          job.real_output("error", r.count)});
  }
  if (flag(request, "carry")) {
    r.carry.wanted = true;
    r.carry.refreshes = job.integer_output("refreshes", r.count);
    r.carry.carried_steps = job.integer_output("carriedSteps", r.count);
  }
}

}  // namespace

Napi::Value simulate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto target = target_of(info[0]);
  const Napi::Object request = info[1].As<Napi::Object>();
  const auto inputs = std::make_shared<Inputs>();
  SimulateRequest& r = inputs->request;
  r.seed = seed(request, "seed");
  r.first = static_cast<uint64_t>(whole(request, "first"));
  r.count = whole(request, "count");
  r.batch = whole(request, "batch");
  r.precision = precision_of(request);
  r.start_a = number(request, "startA");
  r.start_b = number(request, "startB");

  auto job = make_job(info, 2);
  job->watch(target->mapping());
  hold_program(request, *job, *inputs);
  if (request.Get("start").IsTypedArray()) {
    r.start = {job->held_reals(request.Get("start"), "start", r.count * target->target.d), r.count, target->target.d};
  } else if (request.Get("startTarget").IsObject()) {
    inputs->start_target = target_of(request.Get("startTarget"));
    if (inputs->start_target->target.d != target->target.d) throw coded_error(env, "E_SHAPE", "the start has another dimension");
    r.start_target = &inputs->start_target->target;
    r.start_component = job->integer_output("startComponent", r.count);
  }
  add_outputs(request, target->target, *job, *inputs);

  const Backend& chosen = backend(env);
  const auto work = prepared(target, [target, inputs, &chosen](const Execution& execution) {
    const Status status = unpack_program(*inputs);
    if (!status.ok()) return status;
    return with_layouts(*target, inputs->request.precision, execution,
                        [&](const Target& use) {
                          if (inputs->adaptive) return simulate_adaptive(chosen, use, inputs->request, *inputs->adaptive, execution);
                          return regimes::simulate(chosen, use, inputs->request, execution);
                        });
  });
  const auto start = inputs->start_target;
  return Job::start(std::move(job), start == nullptr || start == target ? work : prepared(start, work), finish_with_layouts(target));
}

Napi::Value normals(const Napi::CallbackInfo& info) {
  const Napi::Object request = info[0].As<Napi::Object>();
  const int64_t count = whole(request, "count"), d = whole(request, "d");
  const uint64_t key = seed(request, "seed"), first = static_cast<uint64_t>(whole(request, "first"));
  const bool of_start = request.Get("draw").IsNull();
  const uint32_t draw = of_start ? step_noise : static_cast<uint32_t>(whole(request, "draw"));
  Napi::Float64Array z = new_doubles(info.Env(), count * d);
  for (int64_t r = 0; r < count; ++r) backend(info.Env()).normals(key, first + static_cast<uint64_t>(r), draw, d, z.Data() + r * d);
  return z;
}

}  // namespace regimes::bindings
