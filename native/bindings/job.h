// The one template of every long operation: a dispatcher thread of its own runs `work`, never libuv's pool and never the JavaScript
// thread; a thread-safe function brings progress and the end back; the promise settles on the JavaScript thread.
//
// Threads are a budget of the process (job_queue.h): jobs beyond it wait their turn, first come first served, without a thread.
//
// Outputs are array buffers made by JavaScript and held here until the end: nobody else can detach what a thread writes to.
// Ending: normally in `finish`; worker.terminate() and natural exit run the cleanup hook (stop, join) before the thread-safe
// function closes; process.exit() comes through cancel_all, called by an "exit" listener of lib/native.ts.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../core/operations.h"
#include "../io/mapped_file.h"
#include "arguments.h"

namespace regimes::bindings {

class Job {
 public:
  using Work = std::function<Status(const Execution&)>;
  using Finish = std::function<void(Napi::Env, Napi::Object result)>;

  Job(Napi::Env env, int threads, const Napi::Value& progress);

  // A buffer of `count` zeros that becomes result[name]; valid for the life of the job.
  double* real_output(const char* name, int64_t count);
  int32_t* integer_output(const char* name, int64_t count);
  uint8_t* byte_output(const char* name, int64_t count);
  // The same with anything in it: the work writes every element before it reads it, or fails.
  double* overwritten_output(const char* name, int64_t count);

  // The numbers of a Float64Array or Int32Array of exactly `count` elements, read where they lie; valid for the life of the job. Only for
  // arrays that the library made and shows to nobody.
  const double* held_reals(const Napi::Value& value, const char* name, int64_t count);
  const int32_t* held_integers(const Napi::Value& value, const char* name, int64_t count);

  // The work reads this file (null: none): should it change meanwhile, the job stops, and its result is Code::file_changed.
  void watch(std::shared_ptr<const MappedFile> file) { file_ = std::move(file); }

  // Starts the job or lets it wait; returns {promise, cancel}. The job deletes itself. `finish` may add to the result object.
  static Napi::Object start(std::unique_ptr<Job> job, Work work, Finish finish = nullptr);

  // A waiting job ends at once, a running one at its next poll.
  void cancel();
  void join();

 private:
  friend class JobQueue;

  struct Output {
    std::string name;
    napi_typedarray_type type;
    size_t count;
    Napi::Reference<Napi::ArrayBuffer> buffer;
  };

  const void* held(const Napi::Value& value, const char* name, napi_typedarray_type type, int64_t count);
  void* output(const char* name, napi_typedarray_type type, size_t size, int64_t count, Contents contents = Contents::zeros);
  // Starts the thread; false where the system refuses it, and then the job ends with an error.
  bool launch();
  void run();
  void end(Status status);
  Status watched(const Execution& execution);
  void report(double fraction);
  void settle(Napi::Env env);
  static void call_javascript(napi_env env, napi_value, void* context, void* message);
  static void finalize(napi_env env, void* data, void*);
  static void cleanup(void* data);

  Napi::Env env_;
  int threads_;
  Napi::FunctionReference progress_;
  Napi::Promise::Deferred deferred_;
  std::vector<Output> outputs_;
  std::vector<Napi::Reference<Napi::ArrayBuffer>> inputs_;
  Work work_;
  std::shared_ptr<const MappedFile> file_;
  Finish finish_;
  std::shared_ptr<std::atomic<bool>> stop_ = std::make_shared<std::atomic<bool>>(false);
  std::atomic<double> fraction_{0};
  std::atomic<bool> progress_pending_{false};
  napi_threadsafe_function channel_ = nullptr;
  std::thread thread_;
  Status status_;
  bool settled_ = false;
};

}  // namespace regimes::bindings
