// What the jobs on a target share: preparation and layouts before the work, memory told to V8 after it.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../core/operations.h"
#include "handles.h"
#include "job.h"

namespace regimes::bindings {

// The last two arguments of every operation: threads, progress.
std::unique_ptr<Job> make_job(const Napi::CallbackInfo& info, size_t threads_at);

// The chosen backend. Throws E_BACKEND for an unusable forced one.
const Backend& backend(Napi::Env env);

Precision precision_of(const Napi::Object& request);

bool contains(const std::vector<std::string>& names, const char* name);

// Runs `work` after the one-time preparation of the target.
Job::Work prepared(std::shared_ptr<TargetMemory> target, Job::Work work);

// Runs `work` on the target with the layouts of its rows, unless float64 throughout is asked for.
Status with_layouts(TargetMemory& memory, Precision precision, const Execution& execution, const std::function<Status(const Target&)>& work);

// Results say what the layouts hold, and V8 is told.
Job::Finish finish_with_layouts(std::shared_ptr<TargetMemory> target);

}  // namespace regimes::bindings
