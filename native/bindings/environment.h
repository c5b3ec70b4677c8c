// What one JavaScript environment (main thread or worker) owns of the addon: the classes of its handles and its live jobs.
#pragma once

#include <napi.h>

#include <set>

namespace regimes::bindings {

class Job;

struct Environment {
  Napi::FunctionReference dataset_class;
  Napi::FunctionReference target_class;
  std::set<Job*> jobs;
};

inline Environment& environment(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

}  // namespace regimes::bindings
