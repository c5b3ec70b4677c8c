#pragma once

#include <cstdint>

namespace regimes {

// What the layouts of one target may take, and what is prepared of a mixture for its next call: an eighth of the physical memory each,
// and at least 256 MB.
int64_t memory_budget();

}  // namespace regimes
