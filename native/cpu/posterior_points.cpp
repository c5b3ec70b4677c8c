// posterior over data points.
#include <algorithm>

#include "cpu.h"

namespace regimes {

Status posterior_points(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (request.survivors) std::fill_n(request.survivors, request.x.rows, static_cast<int32_t>(target.n));
  if (request.path) std::fill_n(request.path, request.x.rows, static_cast<uint8_t>(Path::float64));
  return posterior_float64(*set.kernels, target, request, execution);
}

}  // namespace regimes
