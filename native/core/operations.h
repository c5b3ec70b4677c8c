// THE CONTRACT: the operations of a backend, their inputs, outputs, units and error budget. native/reference defines them, one
// formula per line; every other backend is tested against it.
//
// Convention: x_t = a x_0 + b z with z ~ N(0, I_d), a >= 0, b > 0 given as float64 numbers that count as exact. All logarithms
// are natural. A target is a weighted set of components i = 0 ... n-1 with weights pi_i (log_weights; null = uniform 1/n):
//   points     p_0 = sum_i pi_i delta(y_i),        l_i(x) = log pi_i - |x - a y_i|^2 / (2 b^2)
//   mixture    p_0 = sum_k pi_k N(m_k, C_k),       l_k(x) = log pi_k - 1/2 (x - a m_k)^T S_k^-1 (x - a m_k) - 1/2 log det(S_k / b^2),
//                                                  S_k = a^2 C_k + b^2 I
// so that log p_t(x) = logsumexp_i l_i(x) - d/2 log(2 pi b^2) for both, and w = softmax(l) are the posterior weights.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "status.h"
#include "views.h"

namespace regimes {

// Covariances C_k of a mixture of K Gaussians in d dimensions. Symmetric positive semi-definite; zero is allowed.
struct Covariances {
  enum class Type { spherical, diagonal, full, low_rank };
  Type type = Type::spherical;
  // spherical: [K] variances. diagonal: [K, d] variances. full: [K, d, d] matrices. low_rank: [K, d] diagonals psi.
  std::vector<double> values;
  // low_rank: factors W [K, d, rank], C = diag(psi) + W W^T.
  std::vector<double> factors;
  int64_t rank = 0;
  std::vector<double> factor_rows;  // low_rank: W^T [K, rank, d]; filled by prepare()
  // full: eigenvalues [K, d] and eigenvectors [K, d, d] (rows are vectors), C = sum_r lambda_r u_r u_r^T; filled by prepare().
  std::vector<double> eigenvalues;
  std::vector<double> eigenvectors;
};

struct Layouts;        // layouts.h
struct MixtureScreen;  // mixture_screen.h
class KeptPreparation;  // kept_preparation.h

struct Target {
  enum class Kind { points, mixture };
  Kind kind = Kind::points;
  int64_t n = 0;
  int64_t d = 0;
  DataView points;            // kind points: the rows y_i
  MatrixView means;           // kind mixture: m_k
  const Covariances* covariances = nullptr;
  const MixtureScreen* screen = nullptr;  // mixture: what screening needs, built once by build_screen; null = float64 throughout
  KeptPreparation* kept = nullptr;        // mixture: of the last (a, b); null = every call prepares anew
  const double* log_weights = nullptr;  // [n], null = uniform; a zero weight is no_weight
  const int32_t* classes = nullptr;     // [n] class of each component in [0, class_count), null = none
  int32_t class_count = 0;

  double log_weight(int64_t i) const { return log_weights ? log_weights[i] : 0; }
  // log n for uniform weights, which log_weight leaves out.
  double uniform() const { return log_weights ? 0 : std::log(static_cast<double>(n)); }

  const Layouts* layouts = nullptr;     // points: what screening needs, built once by build_layouts; null = none, float64 throughout
};

// What a result promises. exact: score within 1e-5 of its scale (|x| + a |D|) / b^2, log density within 1e-4 nat, at every noise
// level; float64: rounding of the float64 difference form, 1e-12 class; fast: 1e-2 class.
enum class Precision : uint8_t { exact, float64, fast };

// How one query was answered. float64: all components, differences in float64. refined: the same arithmetic over the survivors of a
// screening with rigorous bounds. dense: all components, products in split or single precision.
enum class Path : uint8_t { float64, refined, dense };

// The contract of Precision::exact: score in units of (|x| + a |D|) / b^2, log density in nats.
inline constexpr double score_contract = 1e-5;
inline constexpr double log_density_contract = 1e-4;

// Components whose logit lies further than log n + dropped_logits below the largest take no part: in all they weigh less than
// dropped_mass, the rounding of a weight of 1.
inline constexpr double dropped_logits = 37;
inline constexpr double dropped_mass = 0x1p-53;
inline double canonical_reach(int64_t n) { return std::log(static_cast<double>(n)) + dropped_logits; }

// log pi of a component that takes no part: finite, so that differences of logits stay finite; exp of it is 0.
inline constexpr double no_weight = -2e307;

// What every operation receives besides its inputs. Results never depend on it.
struct Execution {
  int threads = 1;
  const std::atomic<bool>* stop = nullptr;             // polled per chunk; set: return Code::cancelled
  std::function<void(double)> progress;                // fraction done, called from worker threads

  bool cancelled() const { return stop != nullptr && stop->load(std::memory_order_relaxed); }
};

// Readings of the posterior at queries x [batch, d], one (a, b) for all. Outputs may be null (not wanted), none may alias.
// Budget: error against reference::posterior in extended precision at most twice that of the plain float64 loop, and at most
// error_log_density, error_score, for the float64 values given: rigorous, but where products of the dense path are in float32 and over
// mixtures, whose roundings count as independent (posterior_dense.h, mixture_dense.h). Independent of threads and of the batch split.
struct PosteriorRequest {
  MatrixView x;
  double a = 1;
  double b = 1;
  double* log_density = nullptr;      // [batch] log p_t(x), nats, total
  double* denoised = nullptr;         // [batch, d] D = E[x_0 | x_t = x]
  double* score = nullptr;            // [batch, d] grad log p_t(x) = (a D - x) / b^2 (Tweedie)
  double* entropy = nullptr;          // [batch] H(w) = -sum w log w >= 0, nats
  double* sum_squares = nullptr;      // [batch] sum w^2 in [1/n, 1]
  int32_t* nearest_index = nullptr;   // [batch] heaviest component, the first of equals
  double* nearest_weight = nullptr;   // [batch] its weight
  double* class_weights = nullptr;    // [batch, class_count] sum of w over each class
  int64_t top = 0;                    // number of heaviest components wanted, at most n
  int32_t* top_index = nullptr;       // [batch, top] descending weight, ties by index
  double* top_weight = nullptr;       // [batch, top]
  double* covariance_trace = nullptr; // [batch] tr Cov(x_0 | x)
  const double* vectors = nullptr;    // [batch, d] one vector u per query, for the products
  double* covariance_products = nullptr;  // [batch, d] Cov(x_0 | x) u
  double* jacobian_products = nullptr;    // [batch, d] (grad score) u = -u / b^2 + (a^2 / b^4) Cov u
  double* divergence = nullptr;           // [batch] div score = -d / b^2 + (a^2 / b^4) tr Cov
  double* error_log_density = nullptr;    // [batch] absolute bound
  double* error_score = nullptr;          // [batch] bound on the Euclidean norm of the error
  Precision precision = Precision::exact;
  int32_t* survivors = nullptr;           // [batch] components that entered the sums, n where nothing was screened
  uint8_t* path = nullptr;                // [batch] Path
};

// The same readings on a whole grid of times for coupled forward draws x_t = a x_0 + b z, draw r = first ... first + count - 1:
// component mu ~ pi, x_0 ~ its law and z ~ N(0, I) are functions of (seed, r) alone (draws.h), the same at every time.
// Outputs are [times, count], null = not wanted. For points the inner products that fix all times are computed once.
struct SweepRequest {
  const double* a = nullptr;          // [times]
  const double* b = nullptr;          // [times]
  int64_t times = 0;
  uint64_t seed = 0;
  uint64_t first = 0;
  int64_t count = 0;
  int32_t* component = nullptr;       // [count] mu
  double* log_density = nullptr;      // log p_t(x_t)
  double* entropy = nullptr;          // H(w(x_t)); its average is d times the excess entropy per dimension
  double* sum_squares = nullptr;      // its average is the collapse-cloning probability
  double* own_log_weight = nullptr;   // log w_mu(x_t) <= 0
  double* class_squares = nullptr;    // sum_c p(c | x_t)^2; its average is the speciation-cloning probability
  double* class_entropy = nullptr;    // -sum_c p(c | x_t) log p(c | x_t), nats
  Precision precision = Precision::exact;
  uint8_t* path = nullptr;            // [1] Path of the inner products; dense: flagged pairs are in float64 even then
};

// Forward draws x = a x_0 + b z, the same ones that `sweep` sees at (a, b): [count, d] and their components.
struct SampleRequest {
  double a = 1;
  double b = 0;
  uint64_t seed = 0;
  uint64_t first = 0;
  int64_t count = 0;
  double* x = nullptr;
  int32_t* component = nullptr;
};

// One instruction of reverse dynamics. Registers hold one vector [d] per trajectory, z(draw) ~ N(0, I) is normals(seed, trajectory,
// draw, d) of philox.h:
//   combine   register[out] = sum_k factor_k register[term_k] + noise z(draw); out may be one of the first three terms
//   denoise   register[out] = E[x_0 | x_t = register[in]] at (a, b); its other readings go to row `record` of the observations
struct ReverseStep {
  enum class Kind : uint8_t { combine, denoise };
  Kind kind = Kind::combine;
  int32_t out = 0;              // denoise: -1 = only readings are wanted
  int32_t first_term = 0;       // combine
  int32_t term_count = 0;
  double noise = 0;
  uint32_t draw = 0;            // below first_reserved_step
  int32_t in = 0;               // denoise
  double a = 1;
  double b = 1;
  int32_t record = -1;          // -1: not recorded
};

// Readings along trajectories, [records, count, ...], null = not wanted. The state x is the register that `denoise` reads.
struct Observations {
  int64_t records = 0;
  double* states = nullptr;          // [records, count, d]
  double* denoised = nullptr;        // [records, count, d]
  double* norm = nullptr;            // |x|
  const double* directions = nullptr;  // [direction_count, d]
  int64_t direction_count = 0;
  double* projections = nullptr;     // [records, count, direction_count] x . u
  double* log_density = nullptr;
  double* entropy = nullptr;
  double* sum_squares = nullptr;
  int32_t* nearest_index = nullptr;
  double* nearest_weight = nullptr;
  double* class_weights = nullptr;   // [records, count, class_count]
  int32_t* survivors = nullptr;
};

// State carried along trajectories over points: data whose posterior weight is certified to stay negligible are dropped for good. What
// is dropped weighs at most `dropped` of the posterior at every step of a trajectory, with probability 1 - failure_probability over
// its noise (for certain without noise). Functions of one trajectory alone: a joint statement over many multiplies by their number.
struct Carry {
  bool wanted = false;
  double dropped = 1e-13;
  double failure_probability = 1e-15;
  int32_t* refreshes = nullptr;      // [count] passes over all data after the first
  int32_t* carried_steps = nullptr;  // [count] evaluations that were answered from a list
};

// Reverse trajectories first ... first + count - 1: a straight-line program of steps over registers, in which each trajectory is
// a function of (seed, its number, its start) alone, whatever the others, the threads and the batches. The state stays here between
// steps. Register 0 holds the start: given rows [count, d], or draws a x_0 + b z of a target (start_a = 0: b z).
struct SimulateRequest {
  const ReverseStep* steps = nullptr;
  int64_t step_count = 0;
  const int32_t* terms = nullptr;
  const double* factors = nullptr;   // beside `terms`
  int32_t registers = 1;
  int32_t result = 0;                // register that becomes x
  MatrixView start;                  // data = null: draws
  const Target* start_target = nullptr;
  double start_a = 0;
  double start_b = 1;
  uint64_t seed = 0;
  uint64_t first = 0;
  int64_t count = 0;
  int64_t batch = 0;                 // most trajectories of a block, 0 = chosen here
  Precision precision = Precision::exact;
  double* x = nullptr;               // [count, d]
  int32_t* start_component = nullptr;  // [count] the component that a drawn start came from
  Observations observed;
  Carry carry;
  uint8_t* path = nullptr;           // [evaluations] Path of each denoise step, paths_mixed where trajectories differ
};

inline constexpr uint8_t paths_mixed = 3;

// Leading eigenpairs of the covariance: points, centred per coordinate and unbiased, (1/(n-1)) sum (y-m)(y-m)^T (weights: see
// spectrum.cpp); mixtures, sum_k pi_k (C_k + (m_k-m)(m_k-m)^T). `within` keeps only the part inside the classes. Eigenvalues are
// within `residuals` of exact ones.
struct SpectrumRequest {
  int64_t count = 0;
  double tolerance = 1e-10;    // relative to the leading eigenvalue
  bool within = false;
  bool complete = false;       // all eigenvalues, dense
  bool class_means = false;    // start from the centred class means; return their coordinates
};

struct SpectrumResult {
  std::vector<double> eigenvalues;       // descending
  std::vector<double> residuals;         // |C u - lambda u|
  std::vector<double> vectors;           // [count, d]
  std::vector<double> projection_deviation;  // sd over rows of (u . (y - m))^2
  double trace = 0;
  std::vector<double> mean;              // [d]
  std::vector<double> ritz_values;       // descending, all of the Krylov space
  std::vector<double> class_coordinates; // [class_count, ritz_values] of m_c - m
  std::vector<double> ritz_vectors;      // [ritz_values, d], with class_means
  std::vector<double> class_fractions;   // [class_count]
};

// Products of the rows with vectors [count, d]: out [n, count] = (y_i - c) . v, c nothing, the mean, or the mean of the row's class.
struct ProjectRequest {
  enum class Centre { none, mean, of_class };
  MatrixView vectors;
  Centre centre = Centre::none;
  double* out = nullptr;
};

struct Statistics {
  double mean = 0;
  double variance = 0;  // population
  double minimum = 0;
  double maximum = 0;
  int64_t nonfinite_count = 0;
  int64_t nonfinite_row = -1;
  int64_t nonfinite_column = -1;
  int64_t distinct_rows = 0;
};

struct CarryPlan;    // carry_plan.h
class CarriedBlock;

// Runs the program of a request for its trajectories [first, first + rows) on the calling thread: x [rows, d] holds their starts and
// becomes their ends, `advanced` hears of trajectories times steps done. `path` of the request is filled by the caller.
using RunBlock = Status (*)(const Target&, const SimulateRequest&, int64_t first, int64_t rows, double* x,
                            const std::function<void(int64_t)>& advanced, const Execution&);

// A backend computes what dominates; the other operations have one implementation each.
struct Backend {
  const char* name;
  Status (*posterior)(const Target&, const PosteriorRequest&, const Execution&);
  Status (*sweep)(const Target&, const SweepRequest&, const Execution&);
  const char* digits = nullptr;  // kernels of its integer products; null: none
  // z [d] of one (seed, trajectory, draw): normals() of philox.h.
  void (*normals)(uint64_t seed, uint64_t trajectory, uint32_t draw, int64_t d, double* z) = nullptr;
  // What carries state along the trajectories [first, first + rows) of a request (carry_plan.h); null, as a member or as an answer:
  // nothing is carried.
  std::unique_ptr<CarriedBlock> (*carry)(const Target&, const SimulateRequest&, const CarryPlan&, int64_t first, int64_t rows) = nullptr;
  // What runs whole programs over a target, all in float64; null, as a member or as an answer: they go step by step with `posterior`.
  RunBlock (*run_block)(const Target&) = nullptr;
};

}  // namespace regimes
