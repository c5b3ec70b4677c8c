// Type-tagged JavaScript objects that own native memory: data sets (rows as stored) and targets (components over them).
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "../core/kept_preparation.h"
#include "../core/layouts.h"
#include "../core/mixture_screen.h"
#include "../core/operations.h"
#include "../io/mapped_file.h"

namespace regimes::bindings {

// What V8 was told that a native object holds. Made, changed and destroyed on the JavaScript thread (jobs are, too: what they share
// is let go of in their finalizer).
class ExternalMemory {
 public:
  explicit ExternalMemory(Napi::Env env) : env_(env) {}
  ~ExternalMemory() { state(0); }
  ExternalMemory(const ExternalMemory&) = delete;
  ExternalMemory& operator=(const ExternalMemory&) = delete;

  void state(int64_t bytes) {
    if (bytes != stated_) Napi::MemoryManagement::AdjustExternalMemory(env_, bytes - stated_);
    stated_ = bytes;
  }

 private:
  Napi::Env env_;
  int64_t stated_ = 0;
};

struct DatasetMemory {
  explicit DatasetMemory(Napi::Env env) : stated(env) {}

  ExternalMemory stated;
  // The rows, then digit_padding zeros that kernels may read: in memory, or in a file where `mapping` is not null.
  std::vector<uint8_t> bytes;
  std::shared_ptr<const MappedFile> mapping;
  int64_t n = 0;
  int64_t d = 0;
  Dtype dtype = Dtype::f64;

  const void* stored() const { return mapping ? mapping->data() : bytes.data(); }
};

// Shared with running jobs, so that dispose() during a job frees the memory when the job ends.
struct TargetMemory {
  explicit TargetMemory(Napi::Env env) : stated(env) {}

  ExternalMemory stated;
  std::shared_ptr<const DatasetMemory> dataset;
  std::vector<double> means, log_weights;
  std::vector<int32_t> classes;
  Covariances covariances;
  MixtureScreen screen;
  KeptPreparation kept;
  Target target;
  std::timed_mutex preparing;
  bool prepared = false;
  Status prepare_status;
  Layouts layouts;
  bool laid_out = false;
  std::atomic<int64_t> layout_bytes{0};

  // Decomposes full covariances once; later calls return the first answer, unless the first was cancelled.
  Status prepare_once(const Execution& execution);
  // Builds the layouts of the points at the first call, for targets large enough to gain by them, and sets use.layouts. `use` is the
  // job's own copy of `target`: jobs that run without layouts never see it change.
  Status lay_out_once(const Execution& execution, Target& use);
  // The file behind the points, null where they are in memory.
  std::shared_ptr<const MappedFile> mapping() const { return dataset ? dataset->mapping : nullptr; }
  // What was built beside the data: layouts, or what is kept of a mixture.
  int64_t built_bytes() const { return layout_bytes.load() + kept.bytes(); }
  // Tells V8 of it. On the JavaScript thread.
  void state_memory() { stated.state(built_bytes()); }
};

class DatasetHandle : public Napi::ObjectWrap<DatasetHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit DatasetHandle(const Napi::CallbackInfo& info);

  DataView view() const;
  std::shared_ptr<const DatasetMemory> memory;
  double scale = 1, shift = 0;

 private:
  void dispose(const Napi::CallbackInfo&) { memory.reset(); }
};

class TargetHandle : public Napi::ObjectWrap<TargetHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TargetHandle(const Napi::CallbackInfo& info);

  std::shared_ptr<TargetMemory> memory;

 private:
  void dispose(const Napi::CallbackInfo&) { memory.reset(); }
};

// The native object behind a JavaScript value. Throw a JavaScript error: E_OPTION for a foreign object, E_DISPOSED after dispose().
DatasetHandle& dataset_of(const Napi::Value& value);
std::shared_ptr<TargetMemory> target_of(const Napi::Value& value);

Napi::Value create_dataset(const Napi::CallbackInfo& info);
Napi::Value map_dataset(const Napi::CallbackInfo& info);
Napi::Value rescaled_dataset(const Napi::CallbackInfo& info);
Napi::Value dataset_rows(const Napi::CallbackInfo& info);
Napi::Value create_empirical(const Napi::CallbackInfo& info);
Napi::Value create_mixture(const Napi::CallbackInfo& info);

}  // namespace regimes::bindings
