// posterior over data points: the choice of the path, query by query, as a function of the query, the data and the readings
// asked for.
//   small     in few dimensions (posterior_small.h)
//   refined   where screening leaves few data (posterior_refined.h)
//   dense     where many data carry weight (posterior_dense.h)
//   float64   for precision "float64", for second moments, and wherever the other two do not apply
#include <algorithm>

#include "answer_rest.h"
#include "posterior_dense.h"
#include "posterior_refined.h"
#include "posterior_small.h"
#include "readings.h"

namespace regimes {
namespace {

Status float64(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (request.survivors) std::fill_n(request.survivors, request.x.rows, static_cast<int32_t>(target.n));
  if (request.path) std::fill_n(request.path, request.x.rows, static_cast<uint8_t>(Path::float64));
  return posterior_float64(*set.kernels, target, request, execution);
}

// Dense where its bound meets the contract, float64 for the others.
Status diffuse(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
               DenseProducts products) {
  std::vector<uint8_t> answered(static_cast<size_t>(request.x.rows), 0);
  const Status status = posterior_dense(set, target, request, stage(execution, 0, 0.5), products, answered);
  if (!status.ok()) return status;
  const bool again = products == DenseProducts::fast && dense_exact_applies(set, target, wants_denoised(request));
  return answer_rest(request, target, execution, answered, [&](const PosteriorRequest& rest, const Execution& second) {
    return again ? diffuse(set, target, rest, second, DenseProducts::exact) : float64(set, target, rest, second);
  });
}

// What screening leaves or cannot answer.
Status unscreened(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (!dense_applies(target, request)) return float64(set, target, request, execution);
  return diffuse(set, target, request, execution, DenseProducts::fast);
}

}  // namespace

Status posterior_points(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (request.precision == Precision::float64) return float64(set, target, request, execution);
  if (small_applies(target, request)) return posterior_small(set, target, request, execution);
  if (!refined_applies(target, request)) return unscreened(set, target, request, execution);
  std::vector<uint8_t> answered(static_cast<size_t>(request.x.rows), 0);
  const Status status = posterior_refined(set, target, request, stage(execution, 0, 0.5), answered);
  if (!status.ok()) return status;
  return answer_rest(request, target, execution, answered,
                     [&](const PosteriorRequest& rest, const Execution& second) { return unscreened(set, target, rest, second); });
}

}  // namespace regimes
