// A pass over the rows of a data set, piece by piece.
#pragma once

#include <algorithm>
#include <cstdint>

#include "chunks.h"
#include "operations.h"
#include "thread_pool.h"

namespace regimes {

// body(begin, end, worker) over all rows, in pieces of chunks small enough to poll between. False when cancelled.
template <class Body>
bool for_rows(int64_t n, int64_t d, ThreadPool& pool, const Execution& execution, const Body& body) {
  const int64_t piece = std::clamp<int64_t>((int64_t{1} << 18) / d, 1, chunk_rows);
  pool.run(chunk_count(n), [&](int64_t chunk, int worker) {
    const int64_t end = std::min((chunk + 1) * chunk_rows, n);
    for (int64_t first = chunk * chunk_rows; first < end && !execution.cancelled(); first += piece) {
      body(first, std::min(first + piece, end), worker);
    }
  });
  return !execution.cancelled();
}

}  // namespace regimes
