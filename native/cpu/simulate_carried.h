// State carried along reverse trajectories over points. A trajectory keeps the list of data that can still matter; the others are
// dropped for good, and a certificate, carried in one or two numbers, says at every evaluation that they weigh nothing:
//   without noise: a bound U on every dropped logit,   U' = kappa U + |m|^2 / (2 T)
//   with noise:    X = sum over the dropped of exp(theta (l_i - zeta)), zeta' = kappa zeta + <m + nu z, m / T> - |m|^2 / (2 T) and
//                  theta' = theta / kappa, is a supermartingale while theta' nu^2 <= T: with probability 1 - delta it stays below
//                  L / delta, L what may be dropped in all, so that the dropped weigh at most (L / delta)^(1 / theta) e^(zeta - lse)
// Trajectories go step by step together until their list is short enough to be worth it, then alone; where the certificate is spent
// they come back, and one screening over all data makes a new list, with a fresh share of delta. With one datum left on a steady flow,
// D is that datum.
//
// Logits and p are taken relative to one row of the list, so that nothing large cancels: l*_i = l_i - l_star, p* = (a / b^2)(x - a y_star).
#pragma once

#include <memory>

#include "../core/carry_plan.h"
#include "cpu.h"

namespace regimes {

// Null where nothing can be carried: other targets, few dimensions, precision "float64", programs without a chain of steps.
std::unique_ptr<CarriedBlock> carry_points(const Instructions& set, const Target& target, const SimulateRequest& request, const CarryPlan& plan,
                                           int64_t first, int64_t rows);

}  // namespace regimes
