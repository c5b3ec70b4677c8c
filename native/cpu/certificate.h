// What certifies that the data a trajectory has dropped weigh nothing: the numbers of simulate_carried.h and how a step moves them.
// With e_i = y_i - m / T, one step moves a logit by
//   l_i' - zeta' = kappa (l_i - zeta) + nu <z, e_i> - T |e_i|^2 / 2,
// whose last two terms have mean <= 1 inside exp(theta' .) when theta' nu^2 <= T, and are <= 0 without noise.
#pragma once

#include <cmath>
#include <cstdint>

#include "../core/carry_plan.h"

namespace regimes {

// One step, relative to a row y: x - a y at its end, and Delta = p*' - kappa p* = m + nu z.
struct Motion {
  double square = 0;   // |x - a y|^2
  double along = 0;    // <Delta, m>
  double drift = 0;    // |m|^2
};

// From x_0 at `from` to x at `to`; `noise` is the part of x that came from fresh noise, null = none.
Motion measure(const CarryPlan::Evaluation& from, const CarryPlan::Evaluation& to, const double* x0, const double* x, const double* noise,
               const double* y, int64_t d);

struct Certificate {
  double bound = 0;  // U
  double zeta = 0;
  double theta = 1;

  Certificate after(const CarryPlan::Evaluation& to, const Motion& motion) const {
    if (to.same) return *this;
    const double rounding = 1e-13 * (std::abs(motion.along) + motion.drift) / to.gain;
    return {to.kappa * bound + motion.drift / (2 * to.gain) + rounding,
            to.kappa * zeta + (motion.along - motion.drift / 2) / to.gain + rounding, theta / to.kappa};
  }
};

// The exponent for a list made at evaluation e, with theta' nu^2 <= T from there up to `expiry` (not included).
struct Exponent {
  double theta;
  double largest;  // theta at its largest on the way
  int64_t expiry;
};
Exponent exponent_from(const CarryPlan& plan, int64_t e);

}  // namespace regimes
