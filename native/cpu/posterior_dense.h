// Posteriors carried by many data: all components, in split or single precision, with a bound that is checked query by query. About
// the centre c of the layouts, with x' = x - a c, y' = y - c, kappa = a / b^2, the logits are kappa (<x', y'_i> - a |y'_i|^2 / 2).
//   integers  (bytes) x' is rounded to fixed point, x_q = x' - e, and the products with the bytes are exact: the logits are those of
//             x_q. Where integer products are fast, the weights are rounded to fixed point too, relative to the largest of a block of
//             rows, and their products with the bytes are exact again.
//   float32   fused multiply-adds in short chains over centred rows, the chains added in float64. Heavy components (above a share of the
//             sum of weights that follows from the contract) leave the second product: their logits are computed again in float64, the sums
//             moved accordingly. Where the machine has 16-bit products (words.h), the second product of the others is one of integers:
//             weights relative to the largest of a block, rows in units of their columns, both rounded up or down at random; rows that
//             are bytes are as they are (dense_words.h).
// The second product leaves out weights that are together less than a fiftieth of what the contract of the score allows. Where a group
// of queries has weight in few rows of a block it runs over those rows alone, and few queries meet the rows one by one in both:
// the same integers, and the same chains of float32, so that no bit depends on it.
// Between the products, exponentials in float32 of float64 differences of logits; everything that is summed over blocks, in float64.
//
// Bounds, N = max |y'_i| of the rows that a ball about x' reaches (the others weigh less than 2^-53 together), u = 2^-24, T = tr Cov under
// the posterior; what a sum of w_i y'_i rounds is relative to sum w_i |y'_i| <= sqrt(sum w_i |y'_i|^2):
//   displacement   log p is corrected by s . e, and the rest is at most (kappa N |e|)^2 / 2; D moves by at most kappa T |e|, to first
//                  order, and the factor e^(4 kappa N |e|) covers the rest
//   weights        exp: (8 + l) u relative for a logit l below the maximum; fixed point: the sum of |w_i - W_i|, which is computed
//   chains of float32, first product: each rounding is taken as an independent error of mean zero, at most u times the partial sum,
//                  which is at most |x'_chain| |y'_chain| (the model of Higham and Mary, SIAM J. Sci. Comput. 41, 2019). So that this
//                  holds also where rows agree or numbers are coarse or flat, rows are stretched by random factors of their own and
//                  the parts of x' in one chain by another (row_stretch, chain_stretch.h), and products shrunk again. What chains of
//                  one number keep as a mean, at most 0.42 u in simulations, enters log p in full; the score does not count it. A
//                  weighted sum of such errors exceeds `deviations` times the root of its summed squares with probability
//                  2 exp(-deviations^2 / 2),
//                  in any dimension (Pinelis 1994). Everything else is deterministic.
//   of such errors D moves by sum w_i delta_i (y_i - D), whose summed squares are at most max(w_i delta_i^2) T
//   16 bits        D moves by sum (W_i - w_i) y'_i and sum w_i (Y_i - y'_i), independent, of mean zero and of known variance by
//                  construction, whatever the data: Bernstein's inequality at `deviations`, over the components that are not heavy
// A query whose bound exceeds the contract of precision "exact" is left to the others.
#pragma once

#include <vector>

#include "cpu.h"

namespace regimes {

// True for requests that this path can answer: no second moments, no list of the heaviest components.
bool dense_applies(const Target& target, const PosteriorRequest& request);

// fast: what is fastest on this machine; exact: where the data are bytes, integers for the first product; else float32 for the second,
// where `fast` rounds to 16 bits.
enum class DenseProducts { fast, exact };

// Whether `exact` differs from `fast`: then it answers queries that `fast` leaves. `denoised`: with a second product.
bool dense_exact_applies(const Instructions& set, const Target& target, bool denoised);

// Answers the queries that it can within the contract and marks them in `answered` [batch], zero at the start; what it has written of
// the others is to be overwritten. Work areas of at most about 300 MB.
Status posterior_dense(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution,
                       DenseProducts products, std::vector<uint8_t>& answered);

}  // namespace regimes
