#include "memory_budget.h"

#include <algorithm>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace regimes {

int64_t memory_budget() {
  constexpr int64_t least = int64_t{1} << 28;
#if defined(_WIN32)
  return 4 * least;
#else
  return std::max(least, static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE)) / 8);
#endif
}

}  // namespace regimes
