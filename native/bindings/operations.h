// The operations as JavaScript sees them (lib/native.ts has their types): each copies its inputs, allocates its outputs and starts
// a job.
#pragma once

#include <napi.h>

namespace regimes::bindings {

Napi::Value posterior(const Napi::CallbackInfo& info);
Napi::Value sweep(const Napi::CallbackInfo& info);
Napi::Value sample(const Napi::CallbackInfo& info);
Napi::Value simulate(const Napi::CallbackInfo& info);
Napi::Value lift(const Napi::CallbackInfo& info);
Napi::Value normals(const Napi::CallbackInfo& info);
Napi::Value copy_numbers(const Napi::CallbackInfo& info);
Napi::Value spectrum(const Napi::CallbackInfo& info);
Napi::Value covariance(const Napi::CallbackInfo& info);
Napi::Value project(const Napi::CallbackInfo& info);
Napi::Value dataset_statistics(const Napi::CallbackInfo& info);
Napi::Value symmetric_eigen(const Napi::CallbackInfo& info);

}  // namespace regimes::bindings
