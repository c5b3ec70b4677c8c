#include "job_queue.h"

#include <algorithm>
#include <thread>

#include "job.h"

namespace regimes::bindings {

JobQueue& JobQueue::of_process() {
  static JobQueue& queue = *new JobQueue;
  return queue;
}

// Four per processor: a few calls beside each other share the machine fairly, and none of them waits for a short one.
JobQueue::JobQueue() : budget_(4 * static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u))) {}

void JobQueue::add(Job& job) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(&job);
  start_waiting();
}

bool JobQueue::remove(Job& job) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find(waiting_.begin(), waiting_.end(), &job);
  if (at == waiting_.end()) return false;
  waiting_.erase(at);
  start_waiting();  // it may have stood before smaller ones
  return true;
}

void JobQueue::leave(int threads) {
  const std::lock_guard lock(mutex_);
  running_ -= threads;
  start_waiting();
}

// Under the mutex: whoever holds it finds a job either waiting or with its thread.
void JobQueue::start_waiting() {
  while (!waiting_.empty() && (running_ == 0 || running_ + waiting_.front()->threads_ <= budget_)) {
    Job& job = *waiting_.front();
    waiting_.pop_front();
    const int threads = job.threads_;
    if (job.launch()) running_ += threads;
  }
}

}  // namespace regimes::bindings
