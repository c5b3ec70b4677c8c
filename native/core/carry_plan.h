// What the programs of `simulate` mean for state that is carried along a trajectory over data points. With p = (a / b^2) x and the
// signal-to-noise ratio tau = a^2 / b^2, the state of one evaluation comes from that of an earlier one, its parent, as
//   p' = kappa p + m + nu z,   T = tau' - kappa tau > 0,   z ~ N(0, I) fresh,
// with m any function of what happened before. A state that follows only others whose own parents follow this rule is a link of a
// chain; the plan holds the last chain, which reaches the end of the program.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "operations.h"

namespace regimes {

struct CarryPlan {
  struct Evaluation {
    int64_t step = 0;
    double a = 1, b = 1;
    int64_t parent = -1;     // the evaluation that its bounds come from; -1: the chain starts here
    bool is_parent = false;  // of a later one; others are side evaluations (the predictor of Heun's method)
    bool same = false;       // the same state as the one before
    double kappa = 1;
    double gain = 0;         // T
    double noise = 0;        // nu^2
    bool steady = false;     // while D stays at y, x - a y is only scaled
    int64_t oldest = 0;      // earliest evaluation whose D the state holds
  };
  std::vector<Evaluation> evaluations;
  std::vector<double> noise_of_step;  // [step_count] factor of the noise that a combination draws in the next state
  std::vector<uint8_t> noisy_after;   // [evaluations] noise enters the chain later
  std::vector<uint8_t> steady_after;  // [evaluations] all later states of the chain are steady
  std::vector<int64_t> oldest_after;  // [evaluations] the least `oldest` of later states
  int64_t first = 0;                  // where the last chain starts

  int64_t left(int64_t evaluation) const { return static_cast<int64_t>(evaluations.size()) - evaluation; }
};

CarryPlan plan_carry(const SimulateRequest& request);

// Answers the evaluations of one block of trajectories and carries state from one to the next. Rows of the block go together until
// they leave; a row that has left goes on alone, on any thread, until it has to meet all data again and comes back to the others.
class CarriedBlock {
 public:
  virtual ~CarriedBlock() = default;
  // Evaluation of the rows that go together; `pass` has one query for each. leaves[i] = 1: rows[i] goes alone from here.
  virtual Status together(int64_t evaluation, const std::vector<int64_t>& rows, const PosteriorRequest& pass, const Execution& execution,
                          std::vector<uint8_t>& leaves) = 0;
  // Evaluation of one row that has left; `pass` has one query. False: what is carried does not answer it, nothing was carried on.
  virtual bool alone(int64_t evaluation, int64_t row, const PosteriorRequest& pass) = 0;
  // A combination of a row that has left drew the noise z.
  virtual void drew(int64_t step, int64_t row, const double* z) = 0;
  // The row is at its end.
  virtual void finish(int64_t row) = 0;
};

}  // namespace regimes
