#include "posterior_refined.h"

#include <algorithm>
#include <cmath>

#include "../core/thread_pool.h"
#include "posterior_dense.h"
#include "posterior_listed.h"
#include "readings.h"
#include "screening.h"

namespace regimes {
namespace {

// More rows cost more one by one in float64 than all of them do together: in the dense path, or where that does not apply, in float64.
int64_t most_candidates(const Target& target, const PosteriorRequest& request) { return target.n / (dense_applies(target, request) ? 16 : 8); }

class RefinedPosterior {
 public:
  RefinedPosterior(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                   std::vector<uint8_t>& answered)
      : request_(request), target_(target), execution_(execution), answered_(answered), pool_(execution.threads),
        screening_(set, target, request.a, request.b, {most_candidates(target, request), canonical_reach(target.n)}, request.x.rows, pool_, execution),
        work_(static_cast<size_t>(pool_.size()), Work{ListedPosterior(set, target, request), {}}) {}

  Status run() {
    const int64_t queries = request_.x.rows;
    for (int64_t first = 0; first < queries; first += screening_.block()) {
      const int64_t count = std::min(screening_.block(), queries - first);
      screening_.run(request_.x.row(first), count);
      if (execution_.cancelled()) break;
      pool_.run(count, [&](int64_t q, int worker) {
        if (!screening_.open(q) || execution_.cancelled()) return;
        auto& [posterior, list] = work_[worker];
        screening_.collect(q, list.places, list.logits);
        answered_[first + q] = posterior.answer(first + q, target_.points, list) ? 1 : 0;
      });
      if (execution_.progress) execution_.progress(static_cast<double>(first + count) / static_cast<double>(queries));
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  // Of each thread.
  struct Work {
    ListedPosterior posterior;
    RowList list;
  };

  const PosteriorRequest& request_;
  const Target& target_;
  const Execution& execution_;
  std::vector<uint8_t>& answered_;
  ThreadPool pool_;
  Screening screening_;
  std::vector<Work> work_;
};

}  // namespace

bool refined_applies(const Target& target, const PosteriorRequest& request) {
  const Layouts* layouts = target.layouts;
  // Screening counts in units of b^2 / a.
  return layouts != nullptr && (layouts->digits.rows != nullptr || !layouts->prefix.empty()) && request.a > 0 &&
         std::isfinite(request.b * request.b / request.a) && !wants_second_moments(request);
}

Status posterior_refined(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                         std::vector<uint8_t>& answered) {
  return RefinedPosterior(set, target, request, execution, answered).run();
}

}  // namespace regimes
