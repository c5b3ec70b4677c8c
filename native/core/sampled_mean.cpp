#include "sampled_mean.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "chunks.h"
#include "dense_block.h"

namespace regimes {

std::vector<double> sampled_mean(const DataView& view, const Execution& execution) {
  constexpr int rounds = 3;
  constexpr double farthest = 4;
  const int64_t d = view.columns, count = std::clamp<int64_t>((int64_t{1} << 22) / d, 1, std::min(view.rows, chunk_rows));
  std::vector<double> mean(d, 0.0), row(d), distances(count);
  std::vector<uint8_t> counts(count, 1);
  for (int round = 0; round < rounds; ++round) {
    const std::vector<double> zero(d, 0.0);
    const double share = 1 / static_cast<double>(std::count(counts.begin(), counts.end(), uint8_t{1}));
    std::fill(mean.begin(), mean.end(), 0.0);
    for (int64_t i = 0; i < count && !execution.cancelled(); ++i) {
      if (counts[i] == 0) continue;
      load_centred(view, i * view.rows / count, 0, d, zero.data(), share, row.data());
      for (int64_t j = 0; j < d; ++j) mean[j] += row[j];
    }
    if (round + 1 == rounds || execution.cancelled()) break;
    for (int64_t i = 0; i < count; ++i) {
      load_centred(view, i * view.rows / count, 0, d, mean.data(), 1, row.data());
      const double square = dot(row.data(), row.data(), d);
      distances[i] = std::isnan(square) ? std::numeric_limits<double>::infinity() : square;
    }
    std::vector<double> sorted = distances;
    std::nth_element(sorted.begin(), sorted.begin() + count / 2, sorted.end());
    const double most = farthest * farthest * sorted[count / 2];
    bool changed = false;
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t keeps = distances[i] <= most ? 1 : 0;
      changed = changed || keeps != counts[i];
      counts[i] = keeps;
    }
    if (!changed || std::find(counts.begin(), counts.end(), uint8_t{1}) == counts.end()) break;
  }
  return mean;
}

}  // namespace regimes
