#pragma once

#include <cstdint>

namespace regimes {

// What the layouts of one target may take, and what is prepared of a mixture for its next call: an eighth each of the memory that this
// process may use, and at least 256 MB.
int64_t memory_budget();

// This process may use so much, where that is less than the machine has (in a container); 0: no limit.
void limit_memory(int64_t bytes);

}  // namespace regimes
