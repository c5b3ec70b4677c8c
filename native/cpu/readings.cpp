#include "readings.h"

#include <algorithm>
#include <numeric>

namespace regimes {

void read_top(const double* logits, int64_t n, const LogSumExp<double>& sums, int64_t top, int32_t* index, double* weight) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + top, order.end(), [&](int32_t i, int32_t j) {
    const double left = logits[int64_t{i} * lanes], right = logits[int64_t{j} * lanes];
    return left > right || (left == right && i < j);
  });
  for (int64_t k = 0; k < top; ++k) {
    index[k] = order[k];
    weight[k] = std::exp(logits[int64_t{order[k]} * lanes] - sums.max) / (1 + sums.rest);
  }
}

}  // namespace regimes
