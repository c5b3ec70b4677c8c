// One path after another: the queries that one leaves go to the next.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "../core/request_part.h"

namespace regimes {

// Progress of a stage that covers the share [from, to] of the work.
inline Execution stage(const Execution& execution, double from, double to) {
  Execution part = execution;
  if (execution.progress) part.progress = [report = execution.progress, from, to](double done) { report(from + (to - from) * done); };
  return part;
}

// Gives the queries that `answered` leaves to `answer(request, execution)`, the second half of the work.
template <class Answer>
Status answer_rest(const PosteriorRequest& request, const Target& target, const Execution& execution, const std::vector<uint8_t>& answered,
                   Answer answer) {
  std::vector<int64_t> left;
  for (size_t q = 0; q < answered.size(); ++q) {
    if (!answered[q]) left.push_back(static_cast<int64_t>(q));
  }
  if (left.empty()) {
    if (execution.progress) execution.progress(1);
    return {};
  }
  RequestPart part(request, target.d, target.class_count, std::move(left));
  const Status status = answer(part.request(), stage(execution, 0.5, 1));
  if (status.ok()) part.scatter();
  return status;
}

}  // namespace regimes
