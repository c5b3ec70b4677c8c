// What a backend has prepared for one (a, b) of a target, kept for the next call at the same (a, b): the last one alone, and only up to
// memory_budget(). Calls of one target may run at once: what is kept never changes, and whoever uses it shares it. Results are the same
// bits with and without it. Beside it, the work areas of a call for the next one: the system clears memory page by page when it is asked
// for again, which can take a tenth of a call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "memory_budget.h"

namespace regimes {

class KeptPreparation {
 public:
  struct Entry {
    Entry(double a_of, double b_of) : a(a_of), b(b_of) {}
    virtual ~Entry() = default;
    const double a, b;
    int64_t bytes = 0;
  };

  static constexpr int64_t most_work_bytes = int64_t{1} << 26;

  // Of one kind of pass alone, which knows what it left.
  struct Work {
    virtual ~Work() = default;
  };

  // What is kept, or null.
  std::shared_ptr<const Entry> last() const {
    const std::lock_guard lock(mutex_);
    return entry_;
  }

  // Takes the place of what was kept.
  void keep(std::shared_ptr<const Entry> entry) {
    if (entry->bytes > memory_budget()) return;
    bytes_.store(entry->bytes);
    const std::lock_guard lock(mutex_);
    entry_.swap(entry);
  }

  // What the last call left, or null; it is the caller's.
  std::unique_ptr<Work> take_work() {
    const std::lock_guard lock(mutex_);
    work_bytes_.store(0);
    return std::move(work_);
  }

  void leave_work(std::unique_ptr<Work> work, int64_t bytes) {
    if (bytes > most_work_bytes) return;
    const std::lock_guard lock(mutex_);
    work_bytes_.store(bytes);
    work_.swap(work);
  }

  int64_t bytes() const { return bytes_.load() + work_bytes_.load(); }

  // Whether the last call found most queries within reach of many components: orders work, no result depends on it.
  std::atomic<bool> crowded{false};

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Entry> entry_;
  std::unique_ptr<Work> work_;
  std::atomic<int64_t> bytes_{0}, work_bytes_{0};
};

}  // namespace regimes
