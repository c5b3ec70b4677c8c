// Posteriors carried by few data: screening (screening.h), then float64 over the survivors. The survivors are exactly the rows whose
// float64 logit lies within log n + 37 of the query's largest: whatever found them cannot change a bit of the answer.
#pragma once

#include <vector>

#include "cpu.h"

namespace regimes {

// True for requests whose readings the survivors determine, on targets with layouts. Second moments of a condensed posterior live in
// its smallest weights, so they are not among them.
bool refined_applies(const Target& target, const PosteriorRequest& request);

// Answers the queries that it can and marks them in `answered` [batch], zero at the start; the others are left as they are.
Status posterior_refined(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                         std::vector<uint8_t>& answered);

}  // namespace regimes
