// The threads of the process are a budget: a job starts when its threads fit beside those that run, or alone; the others wait, first
// come first served. Results do not depend on threads, so a job gets at most the budget however many are asked for.
#pragma once

#include <deque>
#include <mutex>

namespace regimes::bindings {

class Job;

class JobQueue {
 public:
  // One per process, shared by its environments; it owns no thread and is never destroyed.
  static JobQueue& of_process();

  int budget() const { return budget_; }

  // Starts the job or lets it wait.
  void add(Job& job);
  // Takes a waiting job out; false for one that was started.
  bool remove(Job& job);
  // A job of so many threads has ended its work: starts those that fit now, on the calling thread.
  void leave(int threads);
  // Returns when no thread is at launching jobs: then every started job's thread object is set.
  void finish_launches() { const std::lock_guard lock(mutex_); }

 private:
  JobQueue();
  void start_waiting();

  const int budget_;
  std::mutex mutex_;
  std::deque<Job*> waiting_;
  int running_ = 0;  // threads
};

}  // namespace regimes::bindings
