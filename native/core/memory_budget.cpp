#include "memory_budget.h"

#include <algorithm>
#include <atomic>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace regimes {
namespace {

std::atomic<int64_t> limit{0};

int64_t physical_memory() {
#if defined(_WIN32)
  return int64_t{1} << 33;
#else
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
#endif
}

}  // namespace

int64_t memory_budget() {
  constexpr int64_t least = int64_t{1} << 28;
  const int64_t physical = physical_memory(), allowed = limit.load();
  return std::max(least, (allowed > 0 ? std::min(physical, allowed) : physical) / 8);
}

void limit_memory(int64_t bytes) { limit = bytes; }

}  // namespace regimes
