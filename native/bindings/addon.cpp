// The addon's exports and its per-environment state. No mathematics here.
#include <napi.h>

#include <algorithm>
#include <vector>

#include "../core/memory_budget.h"
#include "../dispatch.h"
#include "arguments.h"
#include "environment.h"
#include "handles.h"
#include "job.h"
#include "operations.h"

namespace regimes::bindings {
namespace {

Napi::Value backend_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const BackendChoice& choice = chosen_backend();
  if (choice.backend == nullptr) throw status_error(env, choice.status);
  Napi::Object out = Napi::Object::New(env);
  out.Set("chosen", choice.backend->name);
  out.Set("reason", choice.reason);
  out.Set("digits", choice.backend->digits == nullptr ? env.Null() : Napi::String::New(env, choice.backend->digits));
  Napi::Array available = Napi::Array::New(env);
  for (size_t i = 0; i < choice.available.size(); ++i) available.Set(static_cast<uint32_t>(i), choice.available[i]);
  out.Set("available", available);
#if defined(__clang__)
  out.Set("compiler", "clang " __clang_version__);
#elif defined(__GNUC__)
  out.Set("compiler", "g++ " __VERSION__);
#else
  out.Set("compiler", "unknown");
#endif
  return out;
}

// What V8 counts outside its heap: array buffers, and what the handles of this addon said that they hold.
Napi::Value external_memory(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0)));
}

Napi::Value limit_memory(const Napi::CallbackInfo& info) {
  const double bytes = info[0].As<Napi::Number>().DoubleValue();
  regimes::limit_memory(bytes > 0 ? static_cast<int64_t>(std::min(bytes, 0x1p62)) : 0);
  return info.Env().Undefined();
}

// Stops and joins every job of this environment, before the process ends under their feet.
Napi::Value cancel_all(const Napi::CallbackInfo& info) {
  for (Job* job : environment(info.Env()).jobs) job->cancel();
  for (Job* job : environment(info.Env()).jobs) job->join();
  return info.Env().Undefined();
}

// No C++ exception may reach JavaScript's C frames.
template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return Function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw coded_error(info.Env(), "E_OUT_OF_MEMORY", "the system refused more memory for this call");
  } catch (const std::exception& error) {
    throw coded_error(info.Env(), "E_INTERNAL", error.what());
  }
}

template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
void add(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New(exports.Env(), guarded<Function>, name));
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto* state = new Environment;
  state->dataset_class = Napi::Persistent(DatasetHandle::define(env));
  state->target_class = Napi::Persistent(TargetHandle::define(env));
  env.SetInstanceData(state);
  exports.Set("version", REGIMES_VERSION);
  add<backend_info>(exports, "backend");
  add<create_dataset>(exports, "createDataset");
  add<map_dataset>(exports, "mapDataset");
  add<rescaled_dataset>(exports, "rescaledDataset");
  add<dataset_rows>(exports, "datasetRows");
  add<dataset_statistics>(exports, "datasetStatistics");
  add<create_empirical>(exports, "createEmpirical");
  add<create_mixture>(exports, "createMixture");
  add<posterior>(exports, "posterior");
  add<sweep>(exports, "sweep");
  add<sample>(exports, "sample");
  add<simulate>(exports, "simulate");
  add<lift>(exports, "lift");
  add<normals>(exports, "normals");
  add<spectrum>(exports, "spectrum");
  add<covariance>(exports, "covariance");
  add<project>(exports, "project");
  add<symmetric_eigen>(exports, "symmetricEigen");
  add<copy_numbers>(exports, "copyNumbers");
  add<external_memory>(exports, "externalMemory");
  add<limit_memory>(exports, "limitMemory");
  add<cancel_all>(exports, "cancelAll");
  return exports;
}

}  // namespace

NODE_API_MODULE(regimes, initialise)

}  // namespace regimes::bindings
