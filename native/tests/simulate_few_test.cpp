// Trajectories over few Gaussians, 8 side by side: against the interpreter that goes step by step over the same posteriors, on every
// instruction set; bits over batches, threads, numbers and observers; trajectories that leave the numbers, stopping and progress.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../core/prepare.h"
#include "../core/simulate.h"
#include "../cpu/few_gaussians.h"
#include "../cpu/simulate_few.h"
#include "check.h"

using namespace regimes;
using Type = Covariances::Type;
using Kind = ReverseStep::Kind;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

template <const Instructions& (*Set)()>
struct Way {
  static Status posterior(const Target& target, const PosteriorRequest& request, const Execution& execution) {
    return posterior_mixture(Set(), target, request, execution);
  }
  static Status block(const Target& target, const SimulateRequest& request, int64_t first, int64_t rows, double* x,
                      const std::function<void(int64_t)>& advanced, const Execution& execution) {
    return simulate_few(Set(), target, request, first, rows, x, advanced, execution);
  }
  static RunBlock run_block(const Target&) { return block; }
  static Backend whole() { return {Set().name, posterior, nullptr, nullptr, Set().normals, nullptr, run_block}; }
  static Backend by_steps() { return {Set().name, posterior, nullptr, nullptr, Set().normals}; }
};

struct Mixture {
  std::vector<double> means, log_weights;
  std::vector<int32_t> classes;
  Covariances covariances;
  Target target;

  Mixture(Type type, int64_t k, int64_t d) {
    std::mt19937_64 random(static_cast<uint64_t>(100 * k + d));
    std::normal_distribution<double> law;
    for (int64_t i = 0; i < k * d; ++i) means.push_back(law(random));
    for (int64_t i = 0; i < k; ++i) {
      log_weights.push_back(-std::log(static_cast<double>(k)));
      classes.push_back(static_cast<int32_t>(i % 2));
    }
    covariances.type = type;
    for (int64_t i = 0; i < (type == Type::spherical ? k : k * d); ++i) covariances.values.push_back(0.1 + std::abs(law(random)));
    CHECK(prepare(covariances, k, d, {}).ok());
    target.kind = Target::Kind::mixture;
    target.n = k;
    target.d = d;
    target.means = {means.data(), k, d};
    target.covariances = &covariances;
    target.log_weights = log_weights.data();
    target.classes = classes.data();
    target.class_count = 2;
  }
};

constexpr int64_t registers = 5, records = 4;

struct Program {
  std::vector<ReverseStep> steps;
  std::vector<int32_t> terms;
  std::vector<double> factors;
  int32_t result = 0;

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

  void denoise(int32_t out, int32_t in, double b, int32_t record = -1) {
    ReverseStep step;
    step.kind = Kind::denoise;
    step.out = out;
    step.in = in;
    step.a = std::sqrt((1 - b) * (1 + b));
    step.b = b;
    step.record = record;
    steps.push_back(step);
  }
};

// What the contract allows: means that are summed at once and never again, that are needed later as well, that nobody reads, that a sum
// overwrites; sums of the state, of nothing, of one register twice, of many; levels enough for several runs of steps; a result that is
// a mean. `observed`: with records.
Program example(bool observed) {
  Program p;
  const auto record = [&](int32_t index) { return observed ? index : -1; };
  p.combine(3, {});
  p.combine(4, {{0, 1}});
  uint32_t draw = 0;
  for (int k = 0; k < 150; ++k) {
    const double b = 0.99 - 0.0055 * k;
    switch (k % 5) {
      case 0:
        p.denoise(1, 0, b, k == 50 ? record(0) : -1);
        p.combine(0, {{0, 0.9}, {1, 0.1}}, 0.1, draw++);
        break;
      case 1:
        p.denoise(2, 0, b);
        p.combine(0, {{2, 0.05}, {0, 0.95}, {1, 0.02}});
        break;
      case 2:
        p.denoise(1, 0, b, k == 52 ? record(1) : -1);
        p.combine(1, {{1, 0.5}, {2, 0.1}, {0, 0.2}, {3, 2}}, 0.05, draw++);
        p.combine(3, {{3, 0.5}, {1, 0.25}, {4, 0.01}, {2, 0.1}, {0, 0.01}});
        break;
      case 3:
        p.denoise(2, 1, b);
        p.denoise(1, 0, b);
        p.combine(0, {{0, 0.4}, {0, 0.4}, {2, 0.1}});
        break;
      default:
        if (observed && k == 54) p.denoise(-1, 0, b, 2);
        p.denoise(4, 3, b);
        p.combine(4, {{4, 0.3}, {2, 0.1}, {4, 0.1}});
    }
  }
  p.denoise(2, 0, 0.1, record(3));
  p.result = 2;
  return p;
}

struct Run {
  std::vector<double> x, states, denoised, norm, projections, log_density, entropy, squares, weight, classes;
  std::vector<int32_t> nearest, survivors;
  std::vector<uint8_t> path;
  std::vector<double> directions;
  Status status;

  Run(const Backend& backend, const Target& target, const Program& program, int64_t count, bool observed, int threads = 1, int64_t batch = 0,
      int64_t first = 0) {
    const int64_t d = target.d;
    x.resize(static_cast<size_t>(count * d));
    path.resize(200);
    directions.assign(static_cast<size_t>(2 * d), 0.5);
    SimulateRequest r;
    r.steps = program.steps.data();
    r.step_count = static_cast<int64_t>(program.steps.size());
    r.terms = program.terms.data();
    r.factors = program.factors.data();
    r.registers = registers;
    r.result = program.result;
    r.seed = 5;
    r.first = 1000 + static_cast<uint64_t>(first);
    r.count = count;
    r.batch = batch;
    r.x = x.data();
    r.path = path.data();
    if (observed) {
      const auto places = static_cast<size_t>(records * count);
      for (auto* v : {&states, &denoised}) v->resize(places * static_cast<size_t>(d));
      for (auto* v : {&norm, &log_density, &entropy, &squares, &weight}) v->resize(places);
      for (auto* v : {&nearest, &survivors}) v->resize(places);
      projections.resize(2 * places);
      classes.resize(2 * places);
      r.observed = {records, states.data(), denoised.data(), norm.data(), directions.data(), 2, projections.data(), log_density.data(), entropy.data(),
                    squares.data(), nearest.data(), weight.data(), classes.data(), survivors.data()};
    }
    Execution execution;
    execution.threads = threads;
    status = simulate(backend, target, r, execution);
  }

  bool near(const Run& other) const {
    const auto close = [](const std::vector<double>& u, const std::vector<double>& v) {
      bool ok = u.size() == v.size();
      for (size_t i = 0; ok && i < u.size(); ++i) ok = std::abs(u[i] - v[i]) <= 1e-10 * (1 + std::abs(v[i]));
      return ok;
    };
    return close(x, other.x) && close(states, other.states) && close(denoised, other.denoised) && close(norm, other.norm) &&
           close(projections, other.projections) && close(log_density, other.log_density) && close(entropy, other.entropy) &&
           close(squares, other.squares) && close(weight, other.weight) && close(classes, other.classes) && nearest == other.nearest &&
           survivors == other.survivors && path == other.path;
  }
};

template <const Instructions& (*Set)()>
void runs_are_those_of_single_steps() {
  for (const Type type : {Type::spherical, Type::diagonal}) {
    for (const auto& [k, d] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {2, 7}, {5, 67}, {33, 3}, {2, 1024}}) {
      if (d > 100 && check::sanitized) continue;
      const Mixture mixture(type, k, d);
      const int64_t count = d > 100 ? 9 : 21;
      const std::string what = std::string(Set().name) + " type " + std::to_string(static_cast<int>(type)) + " K=" + std::to_string(k) + " d=" + std::to_string(d);
      const Run whole(Way<Set>::whole(), mixture.target, example(true), count, true);
      expect(whole.status.ok(), what);
      expect(whole.near(Run(Way<Set>::by_steps(), mixture.target, example(true), count, true)), what + ": step by step");
      const Run unobserved(Way<Set>::whole(), mixture.target, example(false), count, false);
      expect(unobserved.x == whole.x, what + ": observers change no bit");
      for (const int64_t batch : {1, 7, 8, 13}) {
        expect(Run(Way<Set>::whole(), mixture.target, example(false), count, false, 2, batch).x == whole.x, what + ": batches and threads");
      }
      const Run rest(Way<Set>::whole(), mixture.target, example(false), count - 3, false, 1, 0, 3);
      expect(std::memcmp(rest.x.data(), whole.x.data() + 3 * d, rest.x.size() * sizeof(double)) == 0, what + ": numbers");
    }
  }
}

void observations_are_those_of_posterior() {
  const Mixture mixture(Type::spherical, 3, 5);
  const int64_t count = 11;
  const Run run(Way<portable_set>::whole(), mixture.target, example(true), count, true);
  const double levels[] = {0.99 - 0.0055 * 50, 0.99 - 0.0055 * 52, 0.99 - 0.0055 * 54, 0.1};
  for (int64_t record = 0; record < records; ++record) {
    std::vector<double> density(static_cast<size_t>(count)), mean(static_cast<size_t>(count * 5));
    PosteriorRequest pass;
    pass.x = {run.states.data() + record * count * 5, count, 5};
    pass.b = levels[record];
    pass.a = std::sqrt((1 - pass.b) * (1 + pass.b));
    pass.log_density = density.data();
    pass.denoised = mean.data();
    CHECK(posterior_mixture(portable_set(), mixture.target, pass, {}).ok());
    CHECK(std::equal(density.begin(), density.end(), run.log_density.begin() + record * count));
    CHECK(std::equal(mean.begin(), mean.end(), run.denoised.begin() + record * count * 5));
  }
}

void trajectories_that_leave_the_numbers_are_told() {
  const Mixture mixture(Type::spherical, 2, 3);
  Program p;
  for (int k = 0; k < 60; ++k) p.combine(0, {{0, 1e6}});
  p.denoise(1, 0, 0.5);
  const Run run(Way<portable_set>::whole(), mixture.target, p, 9, false);
  CHECK(run.status.code == Code::nonfinite && run.status.detail.find("1000") != std::string::npos);
  // One trajectory of nine alone.
  std::vector<double> start(27, 0.5), x(27);
  start[5 * 3 + 1] = 1e155;
  Program q;
  q.denoise(1, 0, 0.5);
  q.combine(0, {{0, 0.5}, {1, 0.5}});
  SimulateRequest r;
  r.steps = q.steps.data();
  r.step_count = 2;
  r.terms = q.terms.data();
  r.factors = q.factors.data();
  r.registers = 2;
  r.first = 1000;
  r.count = 9;
  r.start = {start.data(), 9, 3};
  r.x = x.data();
  const Status status = simulate(Way<portable_set>::whole(), mixture.target, r, {});
  CHECK(status.code == Code::nonfinite && status.detail.find("1005") != std::string::npos);
  start[5 * 3 + 1] = 0.5;
  CHECK(simulate(Way<portable_set>::whole(), mixture.target, r, {}).ok());
}

void a_stop_ends_it_and_progress_is_in_order() {
  const Mixture mixture(Type::spherical, 2, 3);
  const Program p = example(false);
  std::vector<double> x(300 * 3);
  SimulateRequest r;
  r.steps = p.steps.data();
  r.step_count = static_cast<int64_t>(p.steps.size());
  r.terms = p.terms.data();
  r.factors = p.factors.data();
  r.registers = registers;
  r.result = p.result;
  r.count = 300;
  r.batch = 50;
  r.x = x.data();
  std::atomic<bool> stop{false};
  std::vector<double> told;
  Execution execution;
  execution.threads = 2;
  execution.stop = &stop;
  execution.progress = [&](double fraction) { told.push_back(fraction); };
  CHECK(simulate(Way<portable_set>::whole(), mixture.target, r, execution).ok());
  CHECK(std::is_sorted(told.begin(), told.end()) && told.front() < 0.5 && told.back() == 1);
  execution.progress = [&](double) { stop = true; };
  CHECK(simulate(Way<portable_set>::whole(), mixture.target, r, execution).code == Code::cancelled);
}

}  // namespace

int main() {
  runs_are_those_of_single_steps<portable_set>();
#ifdef REGIMES_X86_KERNELS
  if (avx2_set().kernels != nullptr) runs_are_those_of_single_steps<avx2_set>();
  if (avx512_set().kernels != nullptr) runs_are_those_of_single_steps<avx512_set>();
#endif
  observations_are_those_of_posterior();
  trajectories_that_leave_the_numbers_are_told();
  a_stop_ends_it_and_progress_is_in_order();
  return check::summary();
}
