#include "mixture_screen.h"

#include <algorithm>
#include <cmath>

#include "thread_pool.h"

namespace regimes {
namespace {

constexpr int64_t task_elements = int64_t{1} << 18;
constexpr double up = 1 + 0x1p-40;  // more than the roundings of a sum of squares of 2^10 ... 2^20 terms in plain order

}  // namespace

bool wants_screen(const Target& mixture) {
  return mixture.kind == Target::Kind::mixture && mixture.covariances->type != Covariances::Type::full && mixture.n >= 16 && mixture.d >= 8;
}

Status build_screen(const Target& mixture, const Execution& execution, MixtureScreen& screen) {
  const int64_t n = mixture.n, d = mixture.d;
  const Covariances& c = *mixture.covariances;
  screen.stride = (d + 63) / 64 * 64;
  screen.rows.assign(static_cast<size_t>(n * screen.stride + 64), 0);
  screen.centre.assign(static_cast<size_t>(d), 0);
  for (auto* per_column : {&screen.scale, &screen.origin, &screen.largest_residual}) per_column->assign(static_cast<size_t>(d), 0.0);
  for (auto* per_row : {&screen.image_square, &screen.byte_norm, &screen.residual}) per_row->assign(static_cast<size_t>(n), 0.0);
  const bool weighted = c.type == Covariances::Type::diagonal || c.type == Covariances::Type::low_rank;
  if (weighted) screen.largest_variance.assign(static_cast<size_t>(d), 0.0);

  // Blocks of columns, each over all rows: minima and maxima fix the levels.
  std::vector<double> least(mixture.means.row(0), mixture.means.row(0) + d), most(least), sum(static_cast<size_t>(d), 0.0);
  ThreadPool pool(execution.threads);
  const int64_t width = 256, blocks = (d + width - 1) / width;
  pool.run(blocks, [&](int64_t block, int) {
    const int64_t first = block * width, end = std::min(d, first + width);
    for (int64_t k = 0; k < n; ++k) {
      if (k % 1024 == 0 && execution.cancelled()) return;
      const double* mean = mixture.means.row(k);
      for (int64_t j = first; j < end; ++j) {
        least[j] = mean[j] < least[j] ? mean[j] : least[j];
        most[j] = mean[j] > most[j] ? mean[j] : most[j];
        sum[j] += mean[j] / static_cast<double>(n);
      }
      for (int64_t j = first; weighted && j < end; ++j) screen.largest_variance[j] = std::max(screen.largest_variance[j], c.values[k * d + j]);
    }
    for (int64_t j = first; j < end; ++j) {
      screen.scale[j] = (most[j] - least[j]) / 255;
      screen.centre[j] = screen.scale[j] > 0 ? static_cast<uint8_t>(std::clamp(std::round((sum[j] - least[j]) / screen.scale[j]), 0.0, 255.0)) : 0;
      screen.origin[j] = least[j] + screen.scale[j] * screen.centre[j];
    }
  });
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");

  const int64_t grain = std::max<int64_t>(1, task_elements / d), tasks = (n + grain - 1) / grain;
  std::vector<std::vector<double>> largest(static_cast<size_t>(pool.size()), std::vector<double>(static_cast<size_t>(d), 0.0));
  pool.run(tasks, [&](int64_t task, int worker) {
    if (execution.cancelled()) return;
    for (int64_t k = task * grain; k < std::min(n, (task + 1) * grain); ++k) {
      const double* mean = mixture.means.row(k);
      uint8_t* row = screen.rows.data() + k * screen.stride;
      double square = 0, bytes = 0, rest = 0;
      for (int64_t j = 0; j < d; ++j) {
        const double scale = screen.scale[j];
        row[j] = scale > 0 ? static_cast<uint8_t>(std::min((mean[j] - least[j]) / scale + 0.5, 255.0)) : uint8_t{0};
        const double level = static_cast<double>(row[j]) - static_cast<double>(screen.centre[j]), image = scale * level;
        // The roundings of origin + image and of the difference belong to the remainder.
        const double remainder = std::abs((mean[j] - screen.origin[j]) - image) + 0x1p-50 * (std::abs(mean[j]) + std::abs(screen.origin[j]));
        square += image * image;
        bytes += level * level;
        rest += remainder * remainder;
        largest[worker][j] = std::max(largest[worker][j], remainder);
      }
      screen.image_square[k] = square;
      screen.byte_norm[k] = std::sqrt(bytes) * up;
      screen.residual[k] = std::sqrt(rest) * up;
    }
  });
  for (const std::vector<double>& part : largest) {
    for (int64_t j = 0; j < d; ++j) screen.largest_residual[j] = std::max(screen.largest_residual[j], part[j]);
  }
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
