#include "posterior_few.h"

#include <algorithm>

#include "../core/thread_pool.h"
#include "few_gaussians.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int64_t item_queries = 256;

// Eight queries at a time.
class FewQueries {
 public:
  FewQueries(const Instructions& set, const Target& target, const PosteriorRequest& request, const FewGaussians& at)
      : few_(*set.few), request_(request), at_(at), readings_(*set.kernels, target), x_(target.d * few_lanes), vectors_(target.d * few_lanes),
        distances_(target.n * few_lanes), logits_(target.n * few_lanes), weights_(target.n * few_lanes) {}

  void read(int64_t first, int count) {
    const FewLevel& level = at_.level();
    const int64_t d = level.d;
    few_.to_lanes(request_.x.row(first), count, d, x_.data());
    few_.distances(level, x_.data(), 1, distances_.data());
    few_.weigh(level, distances_.data(), 1, logits_.data(), weights_.data());
    if (request_.score) {
      few_.score(level, x_.data(), weights_.data(), vectors_.data());
      few_.from_lanes(vectors_.data(), count, d, request_.score + first * d);
    }
    if (request_.denoised) {
      FewSum mean;
      mean.x = x_.data();
      mean.weights = weights_.data();
      mean.of_mean = 1;
      mean.out = vectors_.data();
      few_.sum(level, mean, 1);
      few_.from_lanes(vectors_.data(), count, d, request_.denoised + first * d);
    }
    readings_.read(request_, at_.model(), logits_.data(), first, count);
  }

 private:
  const FewKernels& few_;
  const PosteriorRequest& request_;
  const FewGaussians& at_;
  FewReadings readings_;
  LaneNumbers x_, vectors_;                     // [d][8]
  LaneNumbers distances_, logits_, weights_;    // [n][8]
};

}  // namespace

Status posterior_few(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  const int64_t queries = request.x.rows, items = (queries + item_queries - 1) / item_queries;
  FewGaussians at;
  const Status status = at.build(*set.kernels, target, request.a, request.b);
  if (!status.ok()) return status;
  ThreadPool pool(static_cast<int>(std::min<int64_t>(execution.threads, std::max<int64_t>(items, 1))));
  std::atomic<int64_t> done{0};
  pool.run(items, [&](int64_t item, int) {
    FewQueries few(set, target, request, at);
    const int64_t end = std::min(queries, (item + 1) * item_queries);
    for (int64_t q = item * item_queries; q < end && !execution.cancelled(); q += few_lanes) {
      few.read(q, static_cast<int>(std::min<int64_t>(few_lanes, end - q)));
    }
    const int64_t so_far = done.fetch_add(1) + 1;
    if (execution.progress) execution.progress(static_cast<double>(so_far) / static_cast<double>(items));
  });
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

}  // namespace regimes
