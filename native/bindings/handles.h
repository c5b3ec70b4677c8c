// Type-tagged JavaScript objects that own native memory: data sets (rows as stored) and targets (components over them).
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <vector>

#include "../core/mixture_screen.h"
#include "../core/operations.h"

namespace regimes::bindings {

struct DatasetMemory {
  std::vector<uint8_t> bytes;
  int64_t n = 0;
  int64_t d = 0;
  Dtype dtype = Dtype::f64;
};

// Shared with running jobs, so that dispose() during a job frees the memory when the job ends.
struct TargetMemory {
  std::shared_ptr<const DatasetMemory> dataset;
  std::vector<double> means, log_weights;
  std::vector<int32_t> classes;
  Covariances covariances;
  MixtureScreen screen;
  Target target;
  std::timed_mutex preparing;
  bool prepared = false;
  Status prepare_status;

  // Decomposes full covariances once; later calls return the first answer, unless the first was cancelled.
  Status prepare_once(const Execution& execution);
};

class DatasetHandle : public Napi::ObjectWrap<DatasetHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit DatasetHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override { release(env); }

  DataView view() const;
  std::shared_ptr<const DatasetMemory> memory;
  double scale = 1, shift = 0;

 private:
  void dispose(const Napi::CallbackInfo& info) { release(info.Env()); }
  void release(Napi::Env env);
};

class TargetHandle : public Napi::ObjectWrap<TargetHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TargetHandle(const Napi::CallbackInfo& info);

  std::shared_ptr<TargetMemory> memory;

 private:
  void dispose(const Napi::CallbackInfo&) { memory.reset(); }
};

// The native object behind a JavaScript value. Throw a JavaScript error: E_INTERNAL for a foreign object, E_DISPOSED after dispose().
DatasetHandle& dataset_of(const Napi::Value& value);
std::shared_ptr<TargetMemory> target_of(const Napi::Value& value);

Napi::Value create_dataset(const Napi::CallbackInfo& info);
Napi::Value rescaled_dataset(const Napi::CallbackInfo& info);
Napi::Value dataset_rows(const Napi::CallbackInfo& info);
Napi::Value create_empirical(const Napi::CallbackInfo& info);
Napi::Value create_mixture(const Napi::CallbackInfo& info);

}  // namespace regimes::bindings
