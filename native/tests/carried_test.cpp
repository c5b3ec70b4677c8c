// State carried along trajectories: the certificates hold where failures would be seen, the plan reads programs rightly, and what is
// simulated from lists is what the plain interpreter simulates, whatever the batch, the threads and the instruction set. Long,
// because theorem, plan and simulation are held against the same hand-written programs.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../core/carry_plan.h"
#include "../core/layouts.h"
#include "../core/simulate.h"
#include "../cpu/certificate.h"
#include "../cpu/simulate_carried.h"
#include "../dispatch.h"
#include "check.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

struct Level {
  double a, b;
};

// Uniform in log-SNR between two times of the Ornstein-Uhlenbeck process.
std::vector<Level> log_snr_grid(double from, double to, int steps) {
  const auto half = [](double t) { return -t - 0.5 * std::log(-std::expm1(-2 * t)); };
  std::vector<Level> grid;
  for (int k = 0; k <= steps; ++k) {
    const double lambda = half(from) + (half(to) - half(from)) * k / steps, t = 0.5 * std::log1p(std::exp(-2 * lambda));
    grid.push_back({std::exp(-t), std::sqrt(-std::expm1(-2 * t))});
  }
  return grid;
}

std::vector<Level> uniform_grid(double from, double to, int steps) {
  std::vector<Level> grid;
  for (int k = 0; k <= steps; ++k) {
    const double t = from + (to - from) * k / steps;
    grid.push_back({std::exp(-t), std::sqrt(-std::expm1(-2 * t))});
  }
  return grid;
}

// A program under construction; register 0 is the state.
struct Program {
  std::vector<ReverseStep> steps;
  std::vector<int32_t> terms;
  std::vector<double> factors;
  int32_t registers = 2;
  uint32_t draws = 0;

  void denoise(int32_t in, int32_t out, Level at, int32_t record = -1) {
    ReverseStep step;
    step.kind = ReverseStep::Kind::denoise;
    step.in = in;
    step.out = out;
    step.a = at.a;
    step.b = at.b;
    step.record = record;
    steps.push_back(step);
    registers = std::max({registers, in + 1, out + 1});
  }
  void combine(int32_t out, const std::vector<std::pair<int32_t, double>>& sum, double noise = 0) {
    ReverseStep step;
    step.out = out;
    step.first_term = static_cast<int32_t>(terms.size());
    step.term_count = static_cast<int32_t>(sum.size());
    step.noise = noise;
    step.draw = noise != 0 ? draws++ : 0;
    for (const auto& [term, factor] : sum) {
      terms.push_back(term);
      factors.push_back(factor);
    }
    steps.push_back(step);
    registers = std::max(registers, out + 1);
  }
  SimulateRequest request() const {
    SimulateRequest r;
    r.steps = steps.data();
    r.step_count = static_cast<int64_t>(steps.size());
    r.terms = terms.data();
    r.factors = factors.data();
    r.registers = registers;
    return r;
  }
};

double step_of(Level from, Level to) { return std::log(to.a * from.b / (from.a * to.b)); }

// eta = 0: the deterministic sampler, 1: the ancestral one. Every `every`-th evaluation is recorded.
Program ddim(const std::vector<Level>& grid, double eta, int every = 0, double louder = 1) {
  Program p;
  for (size_t k = 0; k + 1 < grid.size(); ++k) {
    const Level from = grid[k], to = grid[k + 1];
    const double share = -eta * eta * std::expm1(-2 * step_of(from, to)), root = to.b * std::sqrt(1 - share);
    p.denoise(0, 1, from, every > 0 && static_cast<int>(k) % every == 0 ? static_cast<int32_t>(k) / every : -1);
    p.combine(0, {{0, root / from.b}, {1, to.a - root * from.a / from.b}}, eta > 0 ? louder * to.b * std::sqrt(share) : 0);
  }
  return p;
}

Program second_order(const std::vector<Level>& grid) {
  Program p;
  double before = 0;
  for (size_t k = 0; k + 1 < grid.size(); ++k) {
    const Level from = grid[k], to = grid[k + 1];
    const double h = step_of(from, to), ahead = k == 0 ? 0 : h / (2 * before), gain = -to.a * std::expm1(-h);
    p.denoise(0, 1 + static_cast<int32_t>(k % 2), from);
    std::vector<std::pair<int32_t, double>> sum = {{0, to.b / from.b}, {1 + static_cast<int32_t>(k % 2), gain * (1 + ahead)}};
    if (k > 0) sum.push_back({2 - static_cast<int32_t>(k % 2), -gain * ahead});
    p.combine(0, sum);
    before = h;
  }
  p.registers = 3;
  return p;
}

// Heun's method for dy / dsigma = (y - D) / sigma, y = x / a.
Program heun(const std::vector<Level>& grid) {
  Program p;
  for (size_t k = 0; k + 1 < grid.size(); ++k) {
    const Level from = grid[k], to = grid[k + 1];
    const double sigma = from.b / from.a, next = to.b / to.a, h = next - sigma;
    p.denoise(0, 1, from);
    p.combine(2, {{0, to.a / from.a * (1 + h / sigma)}, {1, -to.a * h / sigma}});
    p.denoise(2, 3, to);
    p.combine(0, {{0, to.a / from.a * (1 + h / (2 * sigma))}, {1, -to.a * h / (2 * sigma)}, {2, h / (2 * next)}, {3, -to.a * h / (2 * next)}});
  }
  return p;
}

// Adams and Bashforth in the noise estimate, fourth order, as in PNDM; lower orders at the start.
Program adams_bashforth(const std::vector<Level>& grid) {
  static const std::vector<std::vector<double>> weights = {{1}, {1.5, -0.5}, {23 / 12.0, -16 / 12.0, 5 / 12.0}, {55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0}};
  Program p;
  for (size_t k = 0; k + 1 < grid.size(); ++k) {
    const Level from = grid[k], to = grid[k + 1];
    const auto estimate = [](size_t at) { return 2 + static_cast<int32_t>(at % 4); };
    p.denoise(0, 1, from);
    p.combine(estimate(k), {{0, 1 / from.b}, {1, -from.a / from.b}});
    std::vector<std::pair<int32_t, double>> sum = {{0, to.a / from.a}};
    const auto& weight = weights[std::min<size_t>(k, 3)];
    for (size_t j = 0; j < weight.size(); ++j) sum.push_back({estimate(k - j), weight[j] * (to.b - from.b * to.a / from.a)});
    p.combine(0, sum);
  }
  return p;
}

Program euler_maruyama(const std::vector<Level>& grid, bool to_end) {
  Program p;
  for (size_t k = 0; k + 1 < grid.size(); ++k) {
    const Level from = grid[k];
    const double h = std::log(grid[k + 1].a / from.a), b2 = from.b * from.b;
    p.denoise(0, 1, from);
    p.combine(0, {{0, 1 + h - 2 * h / b2}, {1, 2 * h * from.a / b2}}, std::sqrt(2 * h));
  }
  if (to_end) p.denoise(0, -1, grid.back(), 0);
  return p;
}

// Clusters of points around curves, so that lists shrink step by step.
struct Data {
  std::vector<uint8_t> bytes;
  std::vector<double> values, log_weights;
  std::vector<int32_t> classes;
  Target target;
  Layouts layouts;

  Data(int64_t n, int64_t d, bool as_bytes, bool weighted) {
    std::mt19937_64 random(5);
    std::normal_distribution<double> normal;
    std::vector<double> directions(static_cast<size_t>(5 * d));
    for (double& value : directions) value = normal(random);
    for (int64_t i = 0; i < n; ++i) {
      double z[5];
      for (double& value : z) value = normal(random);
      for (int64_t j = 0; j < d; ++j) {
        double sum = 0.8 * normal(random);
        for (int k = 0; k < 5; ++k) sum += 0.4 * z[k] * directions[k * d + j];
        values.push_back(sum);
      }
      classes.push_back(static_cast<int32_t>(i % 4));
    }
    std::copy_n(values.begin(), d, values.begin() + 11 * d);  // a duplicate
    target.n = n;
    target.d = d;
    target.points = {values.data(), n, d, Dtype::f64, 1, 0};
    if (as_bytes) {
      for (const double value : values) bytes.push_back(static_cast<uint8_t>(std::clamp(128 + 40 * value, 0.0, 255.0)));
      bytes.resize(bytes.size() + digit_padding);
      target.points = {bytes.data(), n, d, Dtype::u8, 1 / 40.0, -128 / 40.0};
    }
    target.classes = classes.data();
    target.class_count = 4;
    double total = 0;
    for (int64_t i = 0; weighted && i < n; ++i) total += static_cast<double>(i % 7);
    for (int64_t i = 0; weighted && i < n; ++i) log_weights.push_back(i % 7 == 0 ? no_weight : std::log(static_cast<double>(i % 7) / total));
    if (weighted) target.log_weights = log_weights.data();
    CHECK(build_layouts(target, {}, layouts).ok());
    target.layouts = &layouts;
  }
};

// ---- certificates --------------------------------------------------------------------------------------------------------------

// One trajectory over few data, every logit known: l_i less its part in |x|^2, without log pi, relative to row 0, and the mean.
struct Dense {
  const Target& target;
  std::vector<double> logits;
  std::vector<double> mean;

  void at(const double* x, Level level) {
    const int64_t n = target.n, d = target.d;
    logits.assign(static_cast<size_t>(n), 0.0);
    mean.assign(static_cast<size_t>(d), 0.0);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < d; ++j) {
        const double here = x[j] - level.a * target.points.value(i, j), there = x[j] - level.a * target.points.value(0, j);
        logits[i] += (there - here) * (there + here) / (2 * level.b * level.b);
      }
    }
    double total = 0;
    const double largest = *std::max_element(logits.begin(), logits.end());
    for (int64_t i = 0; i < n; ++i) {
      const double weight = std::exp(logits[i] - largest);
      total += weight;
      for (int64_t j = 0; j < d; ++j) mean[j] += weight * target.points.value(i, j);
    }
    for (double& value : mean) value /= total;
    log_sum = largest + std::log(total);
  }
  double log_sum = 0;
};

// Runs the program for one trajectory and calls seen(evaluation, plan, motion-advanced certificate, dense) at every evaluation.
template <class Start, class Seen>
void follow(const Target& target, const Program& program, const CarryPlan& plan, uint64_t number, Start start, Seen seen) {
  const int64_t d = target.d;
  std::vector<std::vector<double>> registers(static_cast<size_t>(program.registers), std::vector<double>(static_cast<size_t>(d)));
  const Level first{program.steps[0].a, program.steps[0].b};
  std::vector<double> z(static_cast<size_t>(d)), node, noise(static_cast<size_t>(d));
  normals(17, number, step_noise, d, z.data());
  for (int64_t j = 0; j < d; ++j) registers[0][j] = first.a * target.points.value(static_cast<int64_t>(number) % target.n, j) + first.b * z[j];
  std::vector<double> row(static_cast<size_t>(d));
  for (int64_t j = 0; j < d; ++j) row[j] = target.points.value(0, j);
  Dense dense{target, {}, {}};
  Certificate certificate;
  int64_t e = 0, at = -1;
  for (size_t k = 0; k < program.steps.size(); ++k) {
    const ReverseStep& step = program.steps[k];
    if (step.kind == ReverseStep::Kind::combine) {
      std::vector<double> sum(static_cast<size_t>(d), 0.0);
      for (int32_t t = step.first_term; t < step.first_term + step.term_count; ++t) {
        for (int64_t j = 0; j < d; ++j) sum[j] += program.factors[t] * registers[program.terms[t]][j];
      }
      if (step.noise != 0) {
        normals(18, number, step.draw, d, z.data());
        for (int64_t j = 0; j < d; ++j) sum[j] += step.noise * z[j];
        for (int64_t j = 0; j < d; ++j) noise[j] += plan.noise_of_step[k] * z[j];
      }
      registers[step.out] = sum;
      continue;
    }
    const CarryPlan::Evaluation& to = plan.evaluations[e];
    const std::vector<double>& x = registers[step.in];
    dense.at(x.data(), {to.a, to.b});
    Certificate here = certificate;
    if (at < 0) {
      here = start(dense);
    } else if (to.parent == at) {
      here = certificate.after(to, measure(plan.evaluations[at], to, node.data(), x.data(), noise.data(), row.data(), d));
    }
    seen(e, here, dense);
    if (at < 0 || to.parent == at) {
      if (at < 0 || to.is_parent || e + 1 == static_cast<int64_t>(plan.evaluations.size())) {
        certificate = here;
        node = x;
        at = e;
        std::fill(noise.begin(), noise.end(), 0.0);
      }
    }
    if (step.out >= 0) registers[step.out] = dense.mean;
    ++e;
  }
}

// P(sup X / X_0 >= 1 / delta) / delta, which must not exceed 1, for large delta (the dropped: half of the data, the lightest at the
// start, so that failures are frequent enough to count). `inflate` multiplies theta beyond what the theorem allows.
void test_supermartingale(const std::string& name, const Target& target, const Program& program, double inflate, bool valid) {
  const CarryPlan plan = plan_carry(program.request());
  const Exponent exponent = exponent_from(plan, 0);
  expect(exponent.expiry == static_cast<int64_t>(plan.evaluations.size()), name + ": one theta reaches the end");
  const int64_t count = 1500;
  std::vector<double> largest(static_cast<size_t>(count), 0.0);
  for (int64_t r = 0; r < count; ++r) {
    std::vector<uint8_t> dropped;
    double initial = 0;
    follow(target, program, plan, static_cast<uint64_t>(r),
           [&](const Dense& dense) {
             std::vector<double> sorted = dense.logits;
             std::nth_element(sorted.begin(), sorted.begin() + target.n / 2, sorted.end());
             for (const double logit : dense.logits) dropped.push_back(logit < sorted[target.n / 2]);
             return Certificate{0, dense.log_sum, inflate * exponent.theta};
           },
           [&](int64_t e, const Certificate& c, const Dense& dense) {
             double mass = 0;
             for (int64_t i = 0; i < target.n; ++i) mass += dropped[i] ? std::exp(c.theta * (dense.logits[i] - c.zeta)) : 0;
             if (e == 0) initial = mass;
             largest[r] = std::max(largest[r], mass / initial);
           });
  }
  bool exceeded = false;
  for (const double delta : {0.5, 0.2, 0.1, 0.05, 0.02, 0.01}) {
    const auto failures = static_cast<double>(std::count_if(largest.begin(), largest.end(), [&](double x) { return x >= 1 / delta; }));
    const double share = failures / static_cast<double>(count), deviation = std::sqrt(delta * (1 - delta) / static_cast<double>(count));
    exceeded = exceeded || share > delta + 4 * deviation;
  }
  expect(exceeded != valid, name + (valid ? ": failures are no more frequent than delta" : ": with too large a theta they are"));
}

void test_certificates() {
  if (check::sanitized) return;  // statistics of the theorem, in test code for the most part
  const Data data(200, 12, false, false);
  const auto grid = log_snr_grid(1.2, 0.02, 40);
  test_supermartingale("ancestral", data.target, ddim(grid, 1), 1, true);
  test_supermartingale("ancestral, coarse", data.target, ddim(log_snr_grid(1.2, 0.02, 12), 1), 1, true);
  test_supermartingale("ancestral, louder noise", data.target, ddim(grid, 1, 0, 1.5), 1, true);
  test_supermartingale("half the noise", data.target, ddim(grid, 0.5), 1, true);
  test_supermartingale("Euler and Maruyama", data.target, euler_maruyama(uniform_grid(1.2, 0.1, 60), false), 1, true);
  test_supermartingale("ancestral", data.target, ddim(grid, 1), 2.5, false);

  // Without noise: the bound of a dropped set is never below its largest logit.
  const auto later = log_snr_grid(0.4, 0.005, 40);
  const std::vector<std::pair<std::string, Program>> flows = {{"ddim", ddim(later, 0)}, {"2M", second_order(later)}, {"Heun", heun(later)},
                                                              {"Adams and Bashforth", adams_bashforth(later)}};
  for (const auto& [name, program] : flows) {
    const CarryPlan plan = plan_carry(program.request());
    double slack = 1e300, last = 0;
    int64_t checked = 0;
    for (uint64_t r = 0; r < 60; ++r) {
      std::vector<uint8_t> dropped;
      follow(data.target, program, plan, r,
             [&](const Dense& dense) {
               const double least = *std::max_element(dense.logits.begin(), dense.logits.end()) - 6;
               for (const double logit : dense.logits) dropped.push_back(logit < least);
               return Certificate{least, 0, 1};
             },
             [&](int64_t e, const Certificate& c, const Dense& dense) {
               for (int64_t i = 0; i < data.target.n && (e == 0 || plan.evaluations[e].parent >= 0); ++i) {
                 if (!dropped[i]) continue;
                 slack = std::min(slack, c.bound - dense.logits[i]);
                 ++checked;
               }
               last = c.bound - dense.log_sum;
             });
    }
    expect(checked > 20000 && slack >= -1e-9, name + ": no dropped logit above its bound, slack " + std::to_string(slack));
    expect(last < -6, name + ": and the bound stays below the others");
  }
}

// ---- plans ---------------------------------------------------------------------------------------------------------------------

void test_plans() {
  const auto grid = log_snr_grid(1, 0.01, 10);
  const auto ratio = [](Level level) { return level.a / level.b; };
  {
    const CarryPlan plan = plan_carry(ddim(grid, 0).request());
    for (size_t e = 1; e < 10; ++e) {
      const CarryPlan::Evaluation& to = plan.evaluations[e];
      const double before = ratio(grid[e - 1]), here = ratio(grid[e]);
      CHECK(to.parent == static_cast<int64_t>(e) - 1 && to.steady && to.noise == 0 && to.oldest == to.parent);
      CHECK_NEAR(to.kappa, here / before, 1e-13);
      CHECK_NEAR(to.gain, here * (here - before), 1e-11 * here * here);
    }
  }
  {
    const CarryPlan plan = plan_carry(ddim(grid, 1).request());
    for (size_t e = 1; e < 10; ++e) {
      const CarryPlan::Evaluation& to = plan.evaluations[e];
      CHECK_NEAR(to.kappa, 1, 1e-12);
      CHECK_NEAR(to.noise / to.gain, 1, 1e-11);
      CHECK(to.steady && plan.noise_of_step[2 * e - 1] > 0);
    }
    const Exponent exponent = exponent_from(plan, 0);
    CHECK_NEAR(exponent.theta, 1, 1e-11);
  }
  {
    const CarryPlan plan = plan_carry(second_order(grid).request());
    for (int64_t e = 2; e < 10; ++e) CHECK(plan.evaluations[e].oldest == e - 2 && plan.evaluations[e].parent == e - 1 && plan.evaluations[e].steady);
  }
  {
    // The predictor of Heun's method is a side evaluation.
    const CarryPlan plan = plan_carry(heun(grid).request());
    CHECK(plan.first == 0);
    for (int64_t e = 2; e < 20; e += 2) {
      CHECK(plan.evaluations[e].parent == e - 2 && plan.evaluations[e - 1].parent == e - 2);
      CHECK(!plan.evaluations[e - 1].is_parent && plan.evaluations[e - 2].is_parent);
    }
  }
  {
    // A step back to more noise breaks the chain; a noise that was met before is no noise.
    Program back = ddim(grid, 0);
    back.combine(0, {{0, 0.9}}, 0.5);
    for (const ReverseStep& step : ddim(grid, 0).steps) {
      back.steps.push_back(step);
    }
    const CarryPlan plan = plan_carry(back.request());
    CHECK(plan.first == 10 && plan.evaluations[10].parent == -1 && plan.evaluations[11].parent == 10);
    Program again = ddim(grid, 1);
    for (ReverseStep& step : again.steps) step.draw = step.draw > 4 ? step.draw - 1 : step.draw;
    const CarryPlan met = plan_carry(again.request());
    CHECK(met.evaluations[5].noise > 0 && met.evaluations[6].noise == 0 && met.evaluations[7].noise > 0);
  }
}

// ---- simulations ---------------------------------------------------------------------------------------------------------------

const Instructions* available(std::vector<const Instructions*>& sets) {
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&amx_set(), &vnni_set(), &avx512_set(), &avx2_set()}) {
    if (set->kernels != nullptr && set->digits != nullptr) sets.push_back(set);
  }
#endif
  sets.push_back(&portable_set());
  return sets.front();
}

template <const Instructions& (*Set)()>
Backend backend_of() {
  Backend backend{};
  backend.name = Set().name;
  backend.posterior = [](const Target& target, const PosteriorRequest& request, const Execution& execution) {
    return posterior_points(Set(), target, request, execution);
  };
  backend.normals = Set().normals;
  backend.carry = [](const Target& target, const SimulateRequest& request, const CarryPlan& plan, int64_t first, int64_t rows) {
    return carry_points(Set(), target, request, plan, first, rows);
  };
  return backend;
}

struct Run {
  std::vector<double> x, states, denoised, log_density, entropy, class_weights, nearest_weight;
  std::vector<int32_t> nearest, refreshes, carried;

  Run(const Backend& backend, const Data& data, const Program& program, int64_t records, int64_t first, int64_t count, bool carry, int64_t batch = 0,
      int threads = 1) {
    const Target& target = data.target;
    const auto places = static_cast<size_t>(records * count);
    const auto d = static_cast<size_t>(target.d);
    const auto real = [](std::vector<double>& values, size_t size) { return values.assign(size, -7.0), values.data(); };
    refreshes.assign(static_cast<size_t>(count), -7);
    carried = refreshes;
    nearest.assign(places, -7);
    SimulateRequest r = program.request();
    r.start_target = &target;
    r.start_a = program.steps[0].a;
    r.start_b = program.steps[0].b;
    r.seed = 3;
    r.first = static_cast<uint64_t>(first);
    r.count = count;
    r.batch = batch;
    r.x = real(x, static_cast<size_t>(count) * d);
    r.observed.records = records;
    r.observed.states = real(states, places * d);
    r.observed.denoised = real(denoised, places * d);
    r.observed.log_density = real(log_density, places);
    r.observed.entropy = real(entropy, places);
    r.observed.class_weights = real(class_weights, places * 4);
    r.observed.nearest_weight = real(nearest_weight, places);
    r.observed.nearest_index = nearest.data();
    r.carry.wanted = carry;
    r.carry.refreshes = refreshes.data();
    r.carry.carried_steps = carried.data();
    Execution execution;
    execution.threads = threads;
    CHECK(simulate(backend, target, r, execution).ok());
  }
};

double largest_difference(const std::vector<double>& x, const std::vector<double>& y) {
  double largest = 0;
  for (size_t k = 0; k < x.size(); ++k) largest = std::max(largest, std::abs(x[k] - y[k]));
  return largest;
}

// Scores from lists against float64 over all data, at the states that were recorded.
void test_scores(const std::string& name, const Data& data, const Program& program, const Run& run, int64_t records, int64_t count) {
  const int64_t d = data.target.d;
  double worst = 0;
  for (const ReverseStep& step : program.steps) {
    if (step.record < 0) continue;
    const int64_t at = step.record * count * d;
    std::vector<double> denoised(static_cast<size_t>(count * d));
    PosteriorRequest request;
    request.x = {run.states.data() + at, count, d};
    request.a = step.a;
    request.b = step.b;
    request.denoised = denoised.data();
    request.precision = Precision::float64;
    CHECK(posterior_points(portable_set(), data.target, request, {}).ok());
    for (int64_t r = 0; r < count; ++r) {
      double error = 0, scale = 0, mean = 0;
      for (int64_t j = 0; j < d; ++j) {
        error += std::pow(step.a * (denoised[r * d + j] - run.denoised[at + r * d + j]), 2);
        scale += std::pow(run.states[at + r * d + j], 2);
        mean += std::pow(step.a * denoised[r * d + j], 2);
      }
      worst = std::max(worst, std::sqrt(error) / (std::sqrt(scale) + std::sqrt(mean)));
    }
  }
  expect(records > 0 && worst <= 1e-10, name + ": score error " + std::to_string(worst * 1e10) + "e-10 of its scale");
}

void test_simulations() {
  std::vector<const Instructions*> sets;
  available(sets);
  const Backend portable = backend_of<portable_set>();
  std::vector<Backend> backends = {portable};
#ifdef REGIMES_X86_KERNELS
  if (avx2_set().kernels != nullptr) backends.push_back(backend_of<avx2_set>());
  if (vnni_set().digits != nullptr) backends.push_back(backend_of<vnni_set>());
#endif
  const int64_t count = 40;
  // From where screening leaves few data, so that the plain run and the lists share their arithmetic.
  const auto grid = log_snr_grid(0.15, 1e-3, 60);
  for (const bool bytes : {true, false}) {
    for (const bool weighted : {false, true}) {
      if (check::sanitized && bytes == weighted) continue;
      const Data data(4000, 60, bytes, weighted);
      const std::string of = std::string(bytes ? " bytes" : " floats") + (weighted ? " weighted" : "");
      for (const double eta : {0.0, 0.6, 1.0}) {
        const Program program = ddim(grid, eta, 7);
        const int64_t records = 9;
        for (const Backend& backend : backends) {
          const std::string name = std::string(backend.name) + of + " eta " + std::to_string(eta);
          const Run plain(backend, data, program, records, 0, count, false), carried(backend, data, program, records, 0, count, true);
          expect(carried.x == plain.x && carried.states == plain.states && carried.denoised == plain.denoised, name + ": same trajectories");
          expect(carried.entropy == plain.entropy && carried.log_density == plain.log_density && carried.class_weights == plain.class_weights &&
                     carried.nearest == plain.nearest && carried.nearest_weight == plain.nearest_weight, name + ": same observations");
          expect(*std::min_element(carried.carried.begin(), carried.carried.end()) >= 50, name + ": evaluations come from lists");
          expect(*std::max_element(carried.refreshes.begin(), carried.refreshes.end()) == 0, name + ": no list is renewed");
          if (!check::sanitized) test_scores(name, data, program, carried, records, count);
        }
        // Any batch, any threads, any neighbours.
        const Run whole(backends.back(), data, program, records, 0, count, true);
        for (const int64_t batch : {1, 7}) CHECK(Run(backends.back(), data, program, records, 0, count, true, batch).x == whole.x);
        for (const int threads : {2, 3}) CHECK(Run(backends.back(), data, program, records, 0, count, true, 0, threads).x == whole.x);
        const Run part(backends.back(), data, program, records, 30, 10, true);
        CHECK(std::memcmp(part.x.data(), whole.x.data() + 30 * 60, 10 * 60 * sizeof(double)) == 0);
        CHECK(std::equal(part.refreshes.begin(), part.refreshes.end(), whole.refreshes.begin() + 30));
      }
    }
  }
  const Data data(4000, 60, true, false);
  const Backend& backend = backends.back();
  for (const auto& [name, program] : std::vector<std::pair<std::string, Program>>{
           {"2M", second_order(grid)}, {"Heun", heun(grid)}, {"Adams and Bashforth", adams_bashforth(grid)}}) {
    const Run plain(backend, data, program, 0, 0, count, false), carried(backend, data, program, 0, 0, count, true);
    expect(largest_difference(plain.x, carried.x) <= 1e-9, name + ": ends where the plain run ends");
    expect(*std::min_element(carried.carried.begin(), carried.carried.end()) >= 50, name + ": evaluations come from lists");
  }
  {
    // From where most data carry weight: plain evaluations come first, and are of the dense path, with its own error.
    const Program program = ddim(log_snr_grid(1.5, 1e-3, 60), 1, 7);
    const Run plain(backend, data, program, 9, 0, count, false), carried(backend, data, program, 9, 0, count, true);
    expect(largest_difference(plain.x, carried.x) <= 1e-4, "from the dense phase: ends where the plain run ends");
    const int32_t most = *std::max_element(carried.carried.begin(), carried.carried.end());
    expect(most < 58 && most > 20, "from the dense phase: lists come later");
  }
  {
    // The last steps of Euler and Maruyama are too noisy for the first theta: lists are renewed.
    const Program program = euler_maruyama(uniform_grid(0.15, 1e-3, 120), true);
    const Run plain(backend, data, program, 1, 0, count, false), carried(backend, data, program, 1, 0, count, true);
    expect(largest_difference(plain.x, carried.x) <= 1e-9 && carried.nearest == plain.nearest, "Euler and Maruyama: same trajectories");
    expect(*std::max_element(carried.refreshes.begin(), carried.refreshes.end()) > 0, "Euler and Maruyama: lists are renewed");
    test_scores("Euler and Maruyama", data, program, carried, 1, count);
  }
}

// Rows that leave, come back and run on other threads: progress goes forward and ends at 1, and a stop ends the run.
void test_progress_and_stop() {
  const Data data(4000, 60, true, false);
  const Backend backend = backend_of<portable_set>();
  const Program program = euler_maruyama(uniform_grid(0.15, 1e-3, 120), false);
  SimulateRequest r = program.request();
  r.start_target = &data.target;
  r.start_a = program.steps[0].a;
  r.start_b = program.steps[0].b;
  r.count = 24;
  r.carry.wanted = true;
  std::vector<double> x(static_cast<size_t>(24 * data.target.d));
  r.x = x.data();
  std::atomic<bool> stop{false};
  Execution execution;
  execution.threads = 3;
  execution.stop = &stop;
  double last = 0, stop_at = 2;
  bool forward = true;
  execution.progress = [&](double done) {
    forward = forward && done > last && done <= 1;
    last = done;
    if (done >= stop_at) stop = true;
  };
  CHECK(simulate(backend, data.target, r, execution).ok());
  CHECK(forward && last == 1);
  last = 0;
  stop_at = 0.3;
  CHECK(simulate(backend, data.target, r, execution).code == Code::cancelled);
  CHECK(last < 1);
}

}  // namespace

int main() {
  test_plans();
  test_certificates();
  test_simulations();
  test_progress_and_stop();
  return check::summary();
}
