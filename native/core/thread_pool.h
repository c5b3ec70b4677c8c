// Threads of one job: created with it, joined with it, so that no thread outlives an environment and no static state exists.
// `run(count, body)` calls body(index, worker) for every index in [0, count), in any order, on the caller and threads - 1 others.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace regimes {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Rethrows the first exception of a body (bad_alloc) on the caller, after all bodies have ended.
  void run(int64_t count, const std::function<void(int64_t index, int worker)>& body);

 private:
  void work(int worker);
  void drain(int worker);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(int64_t, int)>* body_ = nullptr;
  std::atomic<int64_t> next_{0};
  int64_t count_ = 0;
  uint64_t generation_ = 0;
  int active_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
};

}  // namespace regimes
