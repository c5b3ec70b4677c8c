// Few spherical or diagonal Gaussians in few dimensions, all of them in float64 at every query: groups of 8 queries in lanes go through
// the loops of few.h. Posteriors (posterior_few.h) and whole trajectories (simulate_few.h) share this arithmetic bit for bit.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu.h"
#include "gaussians_at.h"
#include "lane_blocks.h"
#include "line_bytes.h"

namespace regimes {

// Whether the target is of this kind.
bool is_few(const Target& target);

// Float64 numbers that start on a line.
class LaneNumbers {
 public:
  explicit LaneNumbers(int64_t count = 0) : bytes_(count * static_cast<int64_t>(sizeof(double))) {}
  double* data() { return reinterpret_cast<double*>(bytes_.data()); }
  const double* data() const { return reinterpret_cast<const double*>(bytes_.data()); }

 private:
  LineBytes bytes_;
};

// The Gaussians at one (a, b).
class FewGaussians {
 public:
  // Code::range, as GaussiansAt.
  Status build(const Kernels& kernels, const Target& target, double a, double b);

  const FewLevel& level() const { return level_; }
  const ErrorModel& model() const { return model_; }

 private:
  FewLevel level_;
  std::vector<double> numbers_;  // what the level points to
  ErrorModel model_;
};

// What the readings of a request need besides the numbers of lanes.
class FewReadings {
 public:
  FewReadings(const Kernels& kernels, const Target& target);

  // Readings of queries first ... first + count - 1 of the request that follow from their logits [n][8]; count <= 8.
  void read(const PosteriorRequest& request, const ErrorModel& model, const double* logits, int64_t first, int count);

 private:
  const Kernels& kernels_;
  const Target& target_;
  const double uniform_;
  LaneNumbers exponentials_;  // [n][8]
  std::vector<double> classes_;
  LaneAccumulators totals_;
};

}  // namespace regimes
