#include "target_job.h"

#include <algorithm>

#include "../dispatch.h"
#include "arguments.h"

namespace regimes::bindings {

std::unique_ptr<Job> make_job(const Napi::CallbackInfo& info, size_t threads_at) {
  return std::make_unique<Job>(info.Env(), std::max(1, info[threads_at].ToNumber().Int32Value()), info[threads_at + 1]);
}

const Backend& backend(Napi::Env env) {
  const BackendChoice& choice = chosen_backend();
  if (choice.backend == nullptr) throw status_error(env, choice.status);
  return *choice.backend;
}

Job::Finish finish_with_layouts(std::shared_ptr<TargetMemory> target) {
  return [target = std::move(target)](Napi::Env, Napi::Object out) {
    target->state_memory();
    out.Set("layoutBytes", static_cast<double>(target->built_bytes()));
  };
}

Precision precision_of(const Napi::Object& request) {
  const std::string name = request.Get("precision").ToString().Utf8Value();
  if (name == "exact") return Precision::exact;
  if (name == "float64") return Precision::float64;
  if (name == "fast") return Precision::fast;
  throw coded_error(request.Env(), "E_OPTION", "precision is exact, float64 or fast, not " + name);
}

bool contains(const std::vector<std::string>& names, const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); }

Job::Work prepared(std::shared_ptr<TargetMemory> target, Job::Work work) {
  return [target = std::move(target), work = std::move(work)](const Execution& execution) {
    const Status status = target->prepare_once(execution);
    return status.ok() ? work(execution) : status;
  };
}

Status with_layouts(TargetMemory& memory, Precision precision, const Execution& execution, const std::function<Status(const Target&)>& work) {
  Target target = memory.target;
  if (precision != Precision::float64) {
    const Status status = memory.lay_out_once(execution, target);
    if (!status.ok()) return status;
  }
  return work(target);
}

}  // namespace regimes::bindings
