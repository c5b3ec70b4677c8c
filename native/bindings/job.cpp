#include "job.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>

#include "arguments.h"
#include "environment.h"

namespace regimes::bindings {
namespace {

char progress_message, end_message;

}  // namespace

Job::Job(Napi::Env env, int threads, const Napi::Value& progress)
    : env_(env), threads_(threads), deferred_(Napi::Promise::Deferred::New(env)) {
  if (progress.IsFunction()) progress_ = Napi::Persistent(progress.As<Napi::Function>());
}

void* Job::output(const char* name, bool integer, int64_t count) {
  const size_t size = integer ? sizeof(int32_t) : sizeof(double);
  Napi::ArrayBuffer buffer = new_buffer(env_, count, size);
  outputs_.push_back({name, integer, static_cast<size_t>(count), Napi::Persistent(buffer)});
  return buffer.Data();
}

double* Job::real_output(const char* name, int64_t count) { return static_cast<double*>(output(name, false, count)); }
int32_t* Job::integer_output(const char* name, int64_t count) { return static_cast<int32_t*>(output(name, true, count)); }

Napi::Object Job::start(std::unique_ptr<Job> job, Work work, Finish finish) {
  const Napi::Env env = job->env_;
  job->work_ = std::move(work);
  job->finish_ = std::move(finish);
  Job* raw = job.get();
  const napi_status created = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "diffusion-regimes"), 0, 1, raw,
                                                              finalize, raw, call_javascript, &raw->channel_);
  if (created != napi_ok) throw coded_error(env, "E_INTERNAL", "no thread-safe function could be made");
  job.release();  // finalize deletes it
  napi_add_env_cleanup_hook(env, cleanup, raw);  // after the channel's own hook, so it runs before it
  environment(env).jobs.insert(raw);

  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", raw->deferred_.Promise());
  handle.Set("cancel", Napi::Function::New(env, [stop = raw->stop_](const Napi::CallbackInfo&) { stop->store(true); }));
  raw->thread_ = std::thread([raw] { raw->run(); });
  return handle;
}

void Job::run() {
  Execution execution;
  execution.threads = threads_;
  execution.stop = stop_.get();
  if (!progress_.IsEmpty()) execution.progress = [this](double fraction) { report(fraction); };
  try {
    status_ = file_ ? watched(execution) : work_(execution);
  } catch (const std::bad_alloc&) {
    status_ = Status::failure(Code::out_of_memory, "the system refused more memory for this call. Use fewer rows, queries or readings at a time");
  } catch (const std::exception& error) {
    status_ = Status::failure(Code::internal, error.what());
  }
  napi_call_threadsafe_function(channel_, &end_message, napi_tsfn_nonblocking);
  napi_release_threadsafe_function(channel_, napi_tsfn_release);
}

// A thread of its own looks at the file while the work goes on, so that hours are not spent on a result that will be thrown away.
Status Job::watched(const Execution& execution) {
  constexpr auto interval = std::chrono::milliseconds(50);
  Status before = file_->check();
  if (!before.ok()) return before;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::thread watcher([&] {
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, interval, [&] { return done; })) {
      if (!file_->check().ok()) return stop_->store(true);
    }
  });
  const auto end_watch = [&] {
    {
      const std::lock_guard lock(mutex);
      done = true;
    }
    ended.notify_one();
    watcher.join();
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
      if (output.integer) {
        result.Set(output.name, Napi::Int32Array::New(env, output.count, buffer, 0));
      } else {
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
