// Posterior over many components with spherical or diagonal covariances by matrix products (aligned_rows.h), for queries in which many of
// them carry weight. Logits, weights and the score relative to the ground,
//   w_k = l_k - log sum exp l,   score = -P x' - x' A + B,   A = sum_k r_k (P_k - P),   B = sum_k r_k F_1k,
// come from products of 16-bit integers, exact but for the rounding of the rows: the query is z = step X + e, e is formed to 8 bits more
// against the high bytes of the rows. Elsewhere the products are float32. Components that weigh a 512th or more, or all that count where
// they are few, are formed in float64, logits and scores; the others are "light".
// Light components of a share of at most 1e-6 are left out of the score: in blocks where they weigh little, and all of them where the
// heavy ones are enough; queries that have any left meet the rows of the second product side by side.
//
// Bounds, six standard deviations wide: roundings of rows, of weights and of float32 products count as independent errors of mean zero, as
// in mixture_dense.h; those to integers are such, being at random (dither.h), with a variance of at most 1/4. With T the deviation of a
// logit, U >= |S_k^-1 (x - a m_k) - average|:
//   of log p                      sqrt(sum r^2 T^2)
//   of the score, from logits     sqrt(sum r^2 T^2 U^2)
//   from the rows in its sums     sqrt(sum r^2 (d / 4) unit^2), and with x' for A
//   from the weights              sqrt(sum over blocks of rows (rows / 4) step^2 |R|^2)
// over light components; all else (what is left of e, exponentials, sums in float32) is deterministic and enters times the largest U. A
// query whose bounds miss the contract is left to mixture_pass.h. Which queries are, and every bit of the answers, depends on the query
// and the mixture alone.
#pragma once

#include <vector>

#include "aligned_rows.h"

namespace regimes {

// Whether this path can answer the request.
bool aligned_applies(const Target& target, const PosteriorRequest& request);

// answered[q] = 1 for the queries of the request that are done. Work areas of at most about 200 MB.
Status posterior_aligned(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows& rows,
                         const PosteriorRequest& request, ThreadPool& pool, const Execution& execution, std::vector<uint8_t>& answered);

}  // namespace regimes
