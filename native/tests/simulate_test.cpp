// The interpreter of reverse programs: against a plain loop in long double, starts and observations against the operations they stand
// for, bits over threads and blocks, programs that cannot be run, stopping; and flows with error control. Long, because
// all share the programs and the plain loop.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <vector>

#include "../core/draws.h"
#include "../core/philox.h"
#include "../core/simulate.h"
#include "../core/simulate_adaptive.h"
#include "../reference/reference.h"
#include "check.h"

using namespace regimes;

namespace {

using Kind = ReverseStep::Kind;

constexpr int64_t d = 3, n = 5;

struct Points {
  std::vector<double> rows = {1, 0, 0.5, -1, 2, 0, 0.25, -3, 1, 0, 0, -0.75, 2, 1, -1};
  std::vector<int32_t> classes = {0, 1, 1, 0, 1};
  Target target;

  Points() {
    target.n = n;
    target.d = d;
    target.points = {rows.data(), n, d, Dtype::f64, 1, 0};
    target.classes = classes.data();
    target.class_count = 2;
  }
};

// Steps that use what the contract allows: a sum of no terms, of many, into its own first, second and third term, with noise and without,
// an evaluation whose readings alone are wanted, one whose mean is.
struct Program {
  std::vector<ReverseStep> steps;
  std::vector<int32_t> terms;
  std::vector<double> factors;

  void combine(int32_t out, const std::vector<std::pair<int32_t, double>>& sum, double noise = 0, uint32_t draw = 0) {
    ReverseStep step;
    step.out = out;
    step.first_term = static_cast<int32_t>(terms.size());
    step.term_count = static_cast<int32_t>(sum.size());
    step.noise = noise;
    step.draw = draw;
    for (const auto& [term, factor] : sum) {
      terms.push_back(term);
      factors.push_back(factor);
    }
    steps.push_back(step);
  }

  void denoise(int32_t out, int32_t in, double a, double b, int32_t record = -1) {
    ReverseStep step;
    step.kind = Kind::denoise;
    step.out = out;
    step.in = in;
    step.a = a;
    step.b = b;
    step.record = record;
    steps.push_back(step);
  }

  SimulateRequest request() const {
    SimulateRequest r;
    r.steps = steps.data();
    r.step_count = static_cast<int64_t>(steps.size());
    r.terms = terms.data();
    r.factors = factors.data();
    r.registers = 6;
    r.result = 4;
    r.seed = 17;
    r.first = 1000;
    return r;
  }
};

Program example() {
  Program p;
  p.denoise(1, 0, 0.6, 0.8, 0);
  p.combine(0, {{0, 0.7}, {1, 0.2}}, 0.3, 0);
  p.denoise(-1, 0, 0.8, 0.6, 1);
  p.denoise(2, 0, 0.8, 0.6);
  p.combine(3, {});
  p.combine(4, {{1, -0.5}, {2, 1.5}, {4, 2}, {0, 0.25}, {3, 4}}, 0.1, 7);
  p.combine(2, {{0, 1}, {1, 0.5}, {2, -0.25}, {4, 0.125}});
  p.combine(5, {{2, 1.25}});
  p.combine(5, {}, 2, 8);
  p.combine(2, {{5, 0.5}, {2, 0.5}});
  p.denoise(4, 2, 0.95, std::sqrt(1 - 0.95 * 0.95), 2);
  p.combine(4, {{4, 0.9}, {2, 0.1}}, 0.05, 9);
  return p;
}

using Row = std::vector<long double>;

Row denoised(const Points& points, const Row& x, double a, double b) {
  Row logits(n);
  for (int64_t i = 0; i < n; ++i) {
    long double square = 0;
    for (int64_t j = 0; j < d; ++j) square += (x[j] - a * points.rows[i * d + j]) * (x[j] - a * points.rows[i * d + j]);
    logits[i] = -square / (2 * static_cast<long double>(b) * b);
  }
  const long double largest = *std::max_element(logits.begin(), logits.end());
  long double total = 0;
  Row mean(d, 0);
  for (int64_t i = 0; i < n; ++i) {
    const long double weight = std::exp(logits[i] - largest);
    total += weight;
    for (int64_t j = 0; j < d; ++j) mean[j] += weight * points.rows[i * d + j];
  }
  for (long double& value : mean) value /= total;
  return mean;
}

// The whole program of one trajectory; `seen` hears of the states of recorded evaluations.
Row plain_loop(const Points& points, const Program& p, uint64_t trajectory, Row start, std::vector<Row>& seen) {
  std::vector<Row> registers(6, Row(d, 0));
  registers[0] = std::move(start);
  for (const ReverseStep& step : p.steps) {
    if (step.kind == Kind::denoise) {
      const Row x = registers[step.in];
      if (step.record >= 0) seen.push_back(x);
      if (step.out >= 0) registers[step.out] = denoised(points, x, step.a, step.b);
      continue;
    }
    Row sum(d, 0);
    for (int32_t k = 0; k < step.term_count; ++k) {
      for (int64_t j = 0; j < d; ++j) sum[j] += static_cast<long double>(p.factors[step.first_term + k]) * registers[p.terms[step.first_term + k]][j];
    }
    std::vector<double> z(d);
    normals(17, trajectory, step.draw, d, z.data());
    for (int64_t j = 0; j < d; ++j) sum[j] += static_cast<long double>(step.noise) * z[j];
    registers[step.out] = sum;
  }
  return registers[4];
}

Execution with_threads(int threads) {
  Execution execution;
  execution.threads = threads;
  return execution;
}

void programs_are_what_a_plain_loop_does() {
  const Points points;
  const Program program = example();
  SimulateRequest r = program.request();
  r.count = 40;
  r.start_b = 1.25;
  std::vector<double> x(r.count * d), states(3 * r.count * d), means(3 * r.count * d), norms(3 * r.count), projections(3 * r.count * 2);
  const std::vector<double> directions = {1, 0, -1, 0.5, 2, 0};
  std::vector<uint8_t> path(4);
  r.x = x.data();
  r.path = path.data();
  r.observed.records = 3;
  r.observed.states = states.data();
  r.observed.denoised = means.data();
  r.observed.norm = norms.data();
  r.observed.directions = directions.data();
  r.observed.direction_count = 2;
  r.observed.projections = projections.data();
  CHECK(simulate(reference_backend(), points.target, r, with_threads(2)).ok());
  const double rounding = 1e-14;  // a dozen sums of values up to 10, gains up to 1 / b = 3
  for (int64_t i = 0; i < r.count; ++i) {
    std::vector<double> z(d);
    normals(17, 1000 + static_cast<uint64_t>(i), step_noise, d, z.data());
    Row start(d);
    for (int64_t j = 0; j < d; ++j) start[j] = 1.25 * z[j];
    std::vector<Row> seen;
    const Row wanted = plain_loop(points, program, 1000 + static_cast<uint64_t>(i), start, seen);
    const double levels[3][2] = {{0.6, 0.8}, {0.8, 0.6}, {0.95, std::sqrt(1 - 0.95 * 0.95)}};
    for (int64_t j = 0; j < d; ++j) CHECK_NEAR(x[i * d + j], static_cast<double>(wanted[j]), 20 * rounding);
    for (int64_t k = 0; k < 3; ++k) {
      const Row mean = denoised(points, seen[k], levels[k][0], levels[k][1]);
      long double square = 0, along[2] = {0, 0};
      for (int64_t j = 0; j < d; ++j) {
        CHECK_NEAR(states[(k * r.count + i) * d + j], static_cast<double>(seen[k][j]), 20 * rounding);
        CHECK_NEAR(means[(k * r.count + i) * d + j], static_cast<double>(mean[j]), 50 * rounding);
        square += seen[k][j] * seen[k][j];
        for (int64_t u = 0; u < 2; ++u) along[u] += seen[k][j] * directions[u * d + j];
      }
      CHECK_NEAR(norms[k * r.count + i], static_cast<double>(std::sqrt(square)), 20 * rounding);
      for (int64_t u = 0; u < 2; ++u) CHECK_NEAR(projections[(k * r.count + i) * 2 + u], static_cast<double>(along[u]), 50 * rounding);
    }
  }
  for (const uint8_t each : path) CHECK(each == static_cast<uint8_t>(Path::float64));
}

void readings_are_those_of_posterior() {
  const Points points;
  const Program program = example();
  SimulateRequest r = program.request();
  r.count = 12;
  std::vector<double> x(r.count * d), states(3 * r.count * d), log_density(3 * r.count), entropy(log_density), squares(log_density), weight(log_density), classes(6 * r.count);
  std::vector<int32_t> nearest(3 * r.count), survivors(nearest);
  r.x = x.data();
  Observations& seen = r.observed;
  seen.records = 3;
  seen.states = states.data();
  seen.log_density = log_density.data();
  seen.entropy = entropy.data();
  seen.sum_squares = squares.data();
  seen.nearest_index = nearest.data();
  seen.nearest_weight = weight.data();
  seen.class_weights = classes.data();
  seen.survivors = survivors.data();
  CHECK(simulate(reference_backend(), points.target, r, with_threads(1)).ok());
  const double levels[3][2] = {{0.6, 0.8}, {0.8, 0.6}, {0.95, std::sqrt(1 - 0.95 * 0.95)}};
  for (int64_t k = 0; k < 3; ++k) {
    std::vector<double> l(r.count), h(r.count), s(r.count), w(r.count), c(2 * r.count);
    std::vector<int32_t> i(r.count), v(r.count);
    PosteriorRequest pass;
    pass.x = {states.data() + k * r.count * d, r.count, d};
    pass.a = levels[k][0];
    pass.b = levels[k][1];
    pass.log_density = l.data();
    pass.entropy = h.data();
    pass.sum_squares = s.data();
    pass.nearest_index = i.data();
    pass.nearest_weight = w.data();
    pass.class_weights = c.data();
    pass.survivors = v.data();
    CHECK(reference_backend().posterior(points.target, pass, with_threads(1)).ok());
    const auto same = [&](const auto& own, const auto& all) {
      const size_t width = own.size() / static_cast<size_t>(r.count);
      return std::equal(own.begin(), own.end(), all.begin() + static_cast<int64_t>(width) * k * r.count);
    };
    CHECK(same(l, log_density) && same(h, entropy) && same(s, squares) && same(w, weight) && same(c, classes) && same(i, nearest) && same(v, survivors));
  }
}

void starts_are_rows_or_draws() {
  const Points points;
  Program program;
  program.combine(4, {{0, 1}});
  SimulateRequest r = program.request();
  r.count = 9;
  std::vector<double> x(r.count * d), wanted(x.size());
  r.x = x.data();
  for (size_t k = 0; k < wanted.size(); ++k) wanted[k] = std::sin(static_cast<double>(k));
  r.start = {wanted.data(), r.count, d};
  CHECK(simulate(reference_backend(), points.target, r, with_threads(2)).ok());
  CHECK(x == wanted);
  r.start = {};
  r.start_target = &points.target;
  r.start_a = 0.6;
  r.start_b = 0.8;
  std::vector<int32_t> component(r.count), drawn(r.count);
  r.start_component = component.data();
  CHECK(simulate(reference_backend(), points.target, r, with_threads(2)).ok());
  SampleRequest draws{0.6, 0.8, r.seed, r.first, r.count, wanted.data(), drawn.data()};
  CHECK(sample(points.target, draws, with_threads(1)).ok());
  CHECK(x == wanted && component == drawn);
}

void bits_do_not_depend_on_the_blocks() {
  const Points points;
  const Program program = example();
  SimulateRequest r = program.request();
  r.count = 701;
  r.observed.records = 3;
  std::vector<double> whole(r.count * d), part(whole.size());
  r.x = whole.data();
  CHECK(simulate(reference_backend(), points.target, r, with_threads(1)).ok());
  for (const int64_t batch : {0, 1, 37, 1000}) {
    for (const int threads : {1, 2, 3, 7}) {
      std::fill(part.begin(), part.end(), 0.0);
      r.x = part.data();
      r.batch = batch;
      CHECK(simulate(reference_backend(), points.target, r, with_threads(threads)).ok());
      CHECK(part == whole);
    }
  }
  r.batch = 0;
  for (const int64_t first : {0, 1, 350, 700}) {
    r.first = 1000 + static_cast<uint64_t>(first);
    r.count = 701 - first;
    CHECK(simulate(reference_backend(), points.target, r, with_threads(2)).ok());
    CHECK(std::memcmp(part.data(), whole.data() + first * d, sizeof(double) * static_cast<size_t>(r.count * d)) == 0);
  }
}

void programs_that_leave_their_registers_are_refused() {
  const Points points;
  std::vector<double> x(d), start(2 * d);
  const auto refused = [&](auto change) {
    Program program = example();
    SimulateRequest r = program.request();
    r.count = 1;
    r.x = x.data();
    r.observed.records = 3;
    change(program, r);
    return simulate(reference_backend(), points.target, r, with_threads(1)).code == Code::shape;
  };
  CHECK(!refused([](Program&, SimulateRequest&) {}));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[1].out = 6; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[1].out = -1; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.terms[0] = 6; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.terms[0] = -1; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[1].draw = first_reserved_step; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[5].out = 0; }));  // its fourth term
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].out = 0; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].out = -2; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].out = 6; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].in = 6; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].in = -1; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].b = 0; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].b = std::nan(""); }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].a = -1; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].a = std::nan(""); }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].record = 3; }));
  CHECK(refused([](Program& p, SimulateRequest&) { p.steps[0].record = -2; }));
  CHECK(refused([](Program&, SimulateRequest& r) { r.result = 6; }));
  CHECK(refused([](Program&, SimulateRequest& r) { r.registers = 0; }));
  CHECK(refused([&](Program&, SimulateRequest& r) { r.start = {start.data(), 2, d}; }));
  CHECK(refused([&](Program&, SimulateRequest& r) { r.start = {start.data(), 1, 2 * d}; }));
}

void trajectories_that_leave_the_numbers_are_told() {
  const Points points;
  for (const bool at_the_end : {false, true}) {
    Program program;
    for (int k = 0; k < 60; ++k) program.combine(4, {{k == 0 ? 0 : 4, 1e6}});
    if (!at_the_end) program.denoise(1, 4, 1, 1);
    std::vector<double> x(3 * d), start = {0, 0, 0, 0, 1, 0, 0, 0, 0};
    SimulateRequest r = program.request();
    r.count = 3;
    r.x = x.data();
    r.start = {start.data(), 3, d};
    const Status status = simulate(reference_backend(), points.target, r, with_threads(2));
    CHECK(status.code == Code::nonfinite);
    CHECK(status.detail.find("1001") != std::string::npos);
  }
}

std::atomic<bool> stop_now{false};
std::atomic<int> passes{0};

Status stopping_posterior(const Target& target, const PosteriorRequest& request, const Execution& execution) {
  if (++passes == 20) stop_now = true;
  return reference_backend().posterior(target, request, execution);
}

void a_stop_ends_it_and_progress_is_in_order() {
  const Points points;
  Program program;
  for (int k = 0; k < 1000; ++k) {
    program.denoise(1, 0, 0.6, 0.8);
    program.combine(0, {{0, 0.5}, {1, 0.5}});
  }
  std::vector<double> x(100 * d);
  SimulateRequest r = program.request();
  r.result = 0;
  r.count = 100;
  r.batch = 10;
  r.x = x.data();
  Backend stopping = reference_backend();
  stopping.posterior = stopping_posterior;
  Execution execution = with_threads(3);
  execution.stop = &stop_now;
  CHECK(simulate(stopping, points.target, r, execution).code == Code::cancelled);
  CHECK(passes < 25);

  std::vector<double> told;
  execution = with_threads(3);
  execution.progress = [&](double fraction) { told.push_back(fraction); };
  CHECK(simulate(reference_backend(), points.target, r, execution).ok());
  CHECK(std::is_sorted(told.begin(), told.end()) && told.front() > 0 && told.back() == 1);
}

// u = x / a by Runge and Kutta's method in 20 000 steps of lambda.
Row flow(const Points& points, Row x, double a, double b, double next_a, double next_b) {
  const long double begin = std::log(static_cast<long double>(a) / b), end = std::log(static_cast<long double>(next_a) / next_b);
  const int steps = 20000;
  const long double h = (end - begin) / steps;
  const auto slope = [&](long double lambda, const Row& u) {
    Row mean = denoised(points, u, 1, static_cast<double>(std::exp(-lambda)));
    for (int64_t j = 0; j < d; ++j) mean[j] -= u[j];
    return mean;
  };
  const auto moved = [](const Row& u, long double factor, const Row& k) {
    Row result = u;
    for (int64_t j = 0; j < d; ++j) result[j] += factor * k[j];
    return result;
  };
  for (long double& value : x) value /= a;
  for (int step = 0; step < steps; ++step) {
    const long double at = begin + step * h;
    const Row k1 = slope(at, x), k2 = slope(at + h / 2, moved(x, h / 2, k1)), k3 = slope(at + h / 2, moved(x, h / 2, k2)), k4 = slope(at + h, moved(x, h, k3));
    for (int64_t j = 0; j < d; ++j) x[j] += h / 6 * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]);
  }
  for (long double& value : x) value *= next_a;
  return x;
}

void adaptive_flows_follow_small_steps() {
  const Points points;
  Program levels;
  levels.denoise(-1, 0, 0.3, std::sqrt(1 - 0.09), -1);
  levels.denoise(-1, 0, 0.8, 0.6, 0);
  levels.denoise(-1, 0, 0.99, std::sqrt(1 - 0.9801), -1);
  SimulateRequest r = levels.request();
  r.registers = 1;
  r.result = 0;
  r.count = 3;
  const std::vector<double> start = {0.5, -1, 0.25, -0.1, 0.9, 1.4, 2, 0, -1};
  r.start = {start.data(), r.count, d};
  r.observed.records = 1;
  std::vector<double> x(r.count * d), states(r.count * d), error(r.count);
  std::vector<int32_t> accepted(r.count), rejected(r.count);
  r.x = x.data();
  r.observed.states = states.data();
  const Adaptive control{1e-11, 1e-11, false, accepted.data(), rejected.data(), error.data()};
  CHECK(simulate_adaptive(reference_backend(), points.target, r, control, with_threads(2)).ok());
  for (int64_t i = 0; i < r.count; ++i) {
    const Row half = flow(points, Row(start.begin() + i * d, start.begin() + (i + 1) * d), 0.3, std::sqrt(1 - 0.09), 0.8, 0.6);
    const Row whole = flow(points, half, 0.8, 0.6, 0.99, std::sqrt(1 - 0.9801));
    // A hundred steps of that tolerance, and a flow that parts neighbours by a factor of some ten.
    for (int64_t j = 0; j < d; ++j) CHECK_NEAR(states[i * d + j], static_cast<double>(half[j]), 1e-8);
    for (int64_t j = 0; j < d; ++j) CHECK_NEAR(x[i * d + j], static_cast<double>(whole[j]), 1e-8);
    CHECK(accepted[i] > 10 && accepted[i] < 3000 && error[i] > 0 && error[i] < 1e-7);
  }
  const auto refused = [&](auto change) {
    Program program = levels;
    change(program);
    SimulateRequest bad = r;
    bad.steps = program.steps.data();
    bad.step_count = static_cast<int64_t>(program.steps.size());
    return simulate_adaptive(reference_backend(), points.target, bad, control, with_threads(1)).code == Code::shape;
  };
  CHECK(!refused([](Program&) {}));
  CHECK(refused([](Program& p) { p.steps[1].a = 0.1; }));
  CHECK(refused([](Program& p) { p.steps[1].b = 0; }));
  CHECK(refused([](Program& p) { p.steps[1].out = 0; }));
  CHECK(refused([](Program& p) { p.steps[1].in = 1; }));
  CHECK(refused([](Program& p) { p.steps[1].record = 1; }));
  CHECK(refused([](Program& p) { p.steps[1].kind = Kind::combine; }));
  CHECK(refused([](Program& p) { p.steps.resize(1); }));
}

}  // namespace

int main() {
  programs_are_what_a_plain_loop_does();
  readings_are_those_of_posterior();
  starts_are_rows_or_draws();
  bits_do_not_depend_on_the_blocks();
  programs_that_leave_their_registers_are_refused();
  trajectories_that_leave_the_numbers_are_told();
  a_stop_ends_it_and_progress_is_in_order();
  adaptive_flows_follow_small_steps();
  return check::summary();
}
