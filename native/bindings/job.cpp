#include "job.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>

#include "arguments.h"
#include "environment.h"
#include "job_queue.h"

namespace regimes::bindings {
namespace {

char progress_message, end_message;

}  // namespace

Job::Job(Napi::Env env, int threads, const Napi::Value& progress)
    : env_(env), threads_(std::min(threads, JobQueue::of_process().budget())), deferred_(Napi::Promise::Deferred::New(env)) {
  if (progress.IsFunction()) progress_ = Napi::Persistent(progress.As<Napi::Function>());
}

void* Job::output(const char* name, napi_typedarray_type type, size_t size, int64_t count, Contents contents) {
  Napi::ArrayBuffer buffer = new_buffer(env_, count, size, contents);
  outputs_.push_back({name, type, static_cast<size_t>(count), Napi::Persistent(buffer)});
  return buffer.Data();
}

double* Job::real_output(const char* name, int64_t count) {
  return static_cast<double*>(output(name, napi_float64_array, sizeof(double), count));
}
int32_t* Job::integer_output(const char* name, int64_t count) {
  return static_cast<int32_t*>(output(name, napi_int32_array, sizeof(int32_t), count));
}
uint8_t* Job::byte_output(const char* name, int64_t count) {
  return static_cast<uint8_t*>(output(name, napi_uint8_array, sizeof(uint8_t), count));
}

double* Job::overwritten_output(const char* name, int64_t count) {
  return static_cast<double*>(output(name, napi_float64_array, sizeof(double), count, Contents::anything));
}

const void* Job::held(const Napi::Value& value, const char* name, napi_typedarray_type type, int64_t count) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw coded_error(env_, "E_INTERNAL", std::string(name) + " has the wrong type");
  }
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  if (static_cast<int64_t>(array.ElementLength()) != count) {
    throw coded_error(env_, "E_SHAPE",
                      std::string(name) + " has " + std::to_string(array.ElementLength()) + " elements, need " + std::to_string(count));
  }
  Napi::ArrayBuffer buffer = array.ArrayBuffer();
  inputs_.push_back(Napi::Persistent(buffer));
  return static_cast<const char*>(buffer.Data()) + array.ByteOffset();
}

const double* Job::held_reals(const Napi::Value& value, const char* name, int64_t count) {
  return static_cast<const double*>(held(value, name, napi_float64_array, count));
}
const int32_t* Job::held_integers(const Napi::Value& value, const char* name, int64_t count) {
  return static_cast<const int32_t*>(held(value, name, napi_int32_array, count));
}

Napi::Object Job::start(std::unique_ptr<Job> job, Work work, Finish finish) {
  const Napi::Env env = job->env_;
  job->work_ = std::move(work);
  job->finish_ = std::move(finish);
  Job* raw = job.get();
  // All that can throw comes before the job belongs to its channel.
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", raw->deferred_.Promise());
  environment(env).jobs.insert(raw);
  const napi_status created = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "diffusion-regimes"), 0, 1, raw,
                                                              finalize, raw, call_javascript, &raw->channel_);
  if (created != napi_ok) {
    environment(env).jobs.erase(raw);
    throw coded_error(env, "E_INTERNAL", "no thread-safe function could be made");
  }
  job.release();  // finalize deletes it
  napi_add_env_cleanup_hook(env, cleanup, raw);  // after the channel's own hook, so it runs before it
  JobQueue::of_process().add(*raw);
  // The job may be gone before the function is, and its address be another's: its flag tells.
  handle.Set("cancel", Napi::Function::New(env, [raw, stop = raw->stop_](const Napi::CallbackInfo& info) {
    if (environment(info.Env()).jobs.contains(raw) && raw->stop_ == stop) raw->cancel();
  }));
  return handle;
}

bool Job::launch() {
  try {
    thread_ = std::thread([this] { run(); });
    return true;
  } catch (const std::system_error&) {
    end(Status::failure(Code::out_of_memory, "the system refused a thread for this call. Run fewer calls or processes at a time"));
    return false;
  }
}

void Job::run() {
  Execution execution;
  execution.threads = threads_;
  execution.stop = stop_.get();
  if (!progress_.IsEmpty()) execution.progress = [this](double fraction) { report(fraction); };
  Status status;
  try {
    status = file_ ? watched(execution) : work_(execution);
  } catch (const std::bad_alloc&) {
    status = Status::failure(Code::out_of_memory, "the system refused more memory for this call. Use fewer rows, queries or readings at a time");
  } catch (const std::exception& error) {
    status = Status::failure(Code::internal, error.what());
  }
  JobQueue::of_process().leave(threads_);
  end(std::move(status));
}

// The last that its thread, or whoever finds that there will be none, does with a job.
void Job::end(Status status) {
  status_ = std::move(status);
  const napi_threadsafe_function channel = channel_;
  napi_call_threadsafe_function(channel, &end_message, napi_tsfn_nonblocking);
  napi_release_threadsafe_function(channel, napi_tsfn_release);
}

void Job::cancel() {
  stop_->store(true);
  if (JobQueue::of_process().remove(*this)) end(Status::failure(Code::cancelled, "cancelled"));
}

// A thread of its own looks at the file while the work goes on, so that hours are not spent on a result that will be thrown away.
Status Job::watched(const Execution& execution) {
  constexpr auto interval = std::chrono::milliseconds(50);
  Status before = file_->check();
  if (!before.ok()) return before;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::thread watcher;
  try {
    watcher = std::thread([&] {
      std::unique_lock lock(mutex);
      while (!ended.wait_for(lock, interval, [&] { return done; })) {
        if (!file_->check().ok()) return stop_->store(true);
      }
    });
  } catch (const std::system_error&) {
    // No thread to be had: the look at the end decides.
  }
  const auto end_watch = [&] {
    {
      const std::lock_guard lock(mutex);
      done = true;
    }
    ended.notify_one();
    if (watcher.joinable()) watcher.join();
  };
  Status status;
  try {
    status = work_(execution);
  } catch (...) {
    end_watch();
    throw;
  }
  end_watch();
  Status after = file_->check();
  return after.ok() ? status : after;
}

// At most one queued message: a slow reader sees the latest fraction, never a backlog.
void Job::report(double fraction) {
  fraction_.store(fraction);
  if (!progress_pending_.exchange(true)) napi_call_threadsafe_function(channel_, &progress_message, napi_tsfn_nonblocking);
}

void Job::call_javascript(napi_env raw_env, napi_value, void* context, void* message) {
  if (raw_env == nullptr) return;  // the environment is going away
  Job& job = *static_cast<Job*>(context);
  const Napi::Env env(raw_env);
  const Napi::HandleScope scope(env);
  // Deno and Bun abort the process when a pending exception of a terminating worker escapes from here.
  try {
    if (message == &progress_message) {
      job.progress_pending_.store(false);
      if (!job.settled_ && !job.stop_->load()) job.progress_.Call({Napi::Number::New(env, job.fraction_.load())});
    } else {
      job.settle(env);
    }
  } catch (const Napi::Error&) {
    job.cancel();
  }
}

void Job::settle(Napi::Env env) {
  join();
  settled_ = true;
  napi_remove_env_cleanup_hook(env, cleanup, this);
  environment(env).jobs.erase(this);
  if (!status_.ok()) return deferred_.Reject(status_error(env, status_).Value());
  try {
    Napi::Object result = Napi::Object::New(env);
    for (const Output& output : outputs_) {
      const Napi::ArrayBuffer buffer = output.buffer.Value();
      switch (output.type) {
        case napi_int32_array:
          result.Set(output.name, Napi::Int32Array::New(env, output.count, buffer, 0));
          break;
        case napi_uint8_array:
          result.Set(output.name, Napi::Uint8Array::New(env, output.count, buffer, 0));
          break;
        default:
          result.Set(output.name, Napi::Float64Array::New(env, output.count, buffer, 0));
      }
    }
    if (finish_) finish_(env, result);
    deferred_.Resolve(result);
  } catch (const Napi::Error& error) {
    deferred_.Reject(error.Value());
  }
}

void Job::join() {
  JobQueue::of_process().finish_launches();
  if (thread_.joinable()) thread_.join();
}

void Job::finalize(napi_env, void* data, void*) {
  Job* job = static_cast<Job*>(data);
  job->join();
  delete job;
}

void Job::cleanup(void* data) {
  Job* job = static_cast<Job*>(data);
  job->cancel();
  job->join();
}

}  // namespace regimes::bindings
