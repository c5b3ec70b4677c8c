// Mixtures: readings against the definition in 113-bit arithmetic for every covariance type and the hard cases of each; that screening
// changes no bit and its bounds never fall below a logit; bits over threads and batch splits; typed errors.
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <thread>

#include "../core/kept_preparation.h"
#include "../core/mixture_screen.h"
#include "../core/prepare.h"
#include "../cpu/cpu.h"
#include "../cpu/mixture_pass.h"
#include "../reference/posterior.h"
#include "check.h"
#include "quad.h"

using namespace regimes;
using Type = Covariances::Type;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

std::vector<double> normal(std::mt19937_64& random, int64_t count, double scale = 1) {
  std::normal_distribution<double> law;
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) value = scale * law(random);
  return values;
}

struct Mixture {
  std::string name;
  std::vector<double> means, log_weights, x;
  std::vector<int32_t> classes;
  Covariances covariances;
  MixtureScreen screen;
  Target target, unscreened;
  int64_t batch = 0;
};

// What makes a mixture hard, beside its type.
struct Shape {
  int64_t k, d, rank = 0;
  bool singular = false;  // psi = 0, or full covariances of half the rank
  bool dependent = false; // low rank: equal columns, a zero column, columns of very different lengths
  bool equal = false;     // components that are equal in all but their weight; some of weight zero
  double spread = 2;
  bool wide = false;      // columns of scales 1e-3 ... 1e3
};

void make(Mixture& m, Type type, const Shape& s) {
  std::mt19937_64 random(static_cast<uint64_t>(1000 * s.k + 10 * s.d + s.rank + (s.singular ? 5 : 0)));
  const int64_t k = s.k, d = s.d;
  m.name = "type=" + std::to_string(static_cast<int>(type)) + " K=" + std::to_string(k) + " d=" + std::to_string(d) + (s.singular ? " singular" : "") +
           (s.dependent ? " dependent" : "") + (s.equal ? " equal" : "") + (s.wide ? " wide" : "");
  m.means = normal(random, k * d, s.spread);
  Covariances& c = m.covariances;
  c.type = type;
  c.rank = s.rank;
  c.values = normal(random, type == Type::spherical ? k : type == Type::full ? k * d * d : k * d);
  if (type == Type::full) {
    c.values.assign(static_cast<size_t>(k * d * d), 0.0);
    const int64_t columns = s.singular ? (d + 1) / 2 : d + 2;
    for (int64_t i = 0; i < k; ++i) {
      const std::vector<double> root = normal(random, d * columns);
      for (int64_t j = 0; j < d * d; ++j) {
        for (int64_t l = 0; l < columns; ++l) c.values[i * d * d + j] += root[(j / d) * columns + l] * root[(j % d) * columns + l] / static_cast<double>(d);
      }
    }
  } else {
    for (double& value : c.values) value = type != Type::low_rank && !s.singular ? 0.05 + 0.3 * std::abs(value) : s.singular ? 0 : value * value;
  }
  for (int64_t i = 0; s.wide && i < k * d; ++i) {
    const double scale = std::pow(10.0, static_cast<double>(i % d % 7 - 3));
    m.means[i] *= scale;
    if (type == Type::diagonal) c.values[i] *= scale * scale;
  }
  c.factors = normal(random, k * d * s.rank);
  for (int64_t i = 0; s.dependent && i < k * d; ++i) {
    double* row = c.factors.data() + i * s.rank;
    if (s.rank > 1) row[1] = row[0];
    if (s.rank > 2) row[2] = 0;
    if (s.rank > 3) row[3] *= 1e6;
  }
  std::vector<double> weights(static_cast<size_t>(k), 1.0);
  for (int64_t i = 0; i < k; ++i) weights[i] = static_cast<double>(1 + i % 3);
  if (s.equal) {
    const int64_t per = static_cast<int64_t>(c.values.size()) / k;
    for (int64_t i = 1; i < k; i += 2) {
      std::copy_n(m.means.begin() + (i - 1) * d, d, m.means.begin() + i * d);
      std::copy_n(c.values.begin() + (i - 1) * per, per, c.values.begin() + i * per);
      std::copy_n(c.factors.begin() + (i - 1) * d * s.rank, d * s.rank, c.factors.begin() + i * d * s.rank);
      weights[i] = i % 4 == 1 ? 0 : weights[i - 1];
    }
  }
  double total = 0;
  for (const double weight : weights) total += weight;
  for (const double weight : weights) m.log_weights.push_back(weight > 0 ? std::log(weight / total) : no_weight);
  CHECK(prepare(c, k, d, {}).ok());
  for (int64_t i = 0; i < k; ++i) m.classes.push_back(static_cast<int32_t>(i % 3));
  m.target.kind = Target::Kind::mixture;
  m.target.n = k;
  m.target.d = d;
  m.target.means = {m.means.data(), k, d};
  m.target.covariances = &c;
  m.target.log_weights = m.log_weights.data();
  m.target.classes = m.classes.data();
  m.target.class_count = 3;
  m.unscreened = m.target;
  CHECK(build_screen(m.target, {}, m.screen).ok());
  m.target.screen = &m.screen;
}

// Queries near a mean, between two means, and far from all.
void place(Mixture& m, double a, double b, int64_t batch) {
  std::mt19937_64 random(7);
  const int64_t d = m.target.d, k = m.target.n;
  m.batch = batch;
  m.x.clear();
  for (int64_t q = 0; q < batch; ++q) {
    const std::vector<double> noise = normal(random, d);
    for (int64_t j = 0; j < d; ++j) {
      const double one = m.means[(q % k) * d + j], other = m.means[((q + 2) % k) * d + j];
      m.x.push_back(q % 5 == 3 ? 0.5 * a * (one + other) : q % 5 == 4 ? 20 + a * one : a * one + b * noise[j]);
    }
  }
}

struct Readings {
  std::vector<double> log_density, score, denoised, entropy, class_weights, error_log_density, error_score;
  std::vector<int32_t> survivors, nearest;
  std::vector<uint8_t> path;
  Status status;

  Readings(const Instructions& set, const Target& target, const Mixture& m, double a, double b, Precision precision, int threads = 1,
           int64_t first = 0, int64_t count = -1) {
    if (count < 0) count = m.batch;
    const int64_t d = target.d;
    for (auto* v : {&log_density, &entropy, &error_log_density, &error_score}) v->resize(static_cast<size_t>(count));
    for (auto* v : {&score, &denoised}) v->assign(static_cast<size_t>(count * d), check::unwritten);
    class_weights.resize(static_cast<size_t>(count * 3));
    survivors.resize(static_cast<size_t>(count));
    path.resize(static_cast<size_t>(count));
    nearest.resize(static_cast<size_t>(count));
    PosteriorRequest r;
    r.x = {m.x.data() + first * d, count, d};
    r.a = a;
    r.b = b;
    r.log_density = log_density.data();
    r.score = score.data();
    r.denoised = denoised.data();
    r.entropy = entropy.data();
    r.class_weights = class_weights.data();
    r.error_log_density = error_log_density.data();
    r.error_score = error_score.data();
    r.survivors = survivors.data();
    r.path = path.data();
    r.nearest_index = nearest.data();
    r.precision = precision;
    Execution execution;
    execution.threads = threads;
    status = posterior_mixture(set, target, r, execution);
  }

  bool dense(int64_t q) const { return path[q] == static_cast<uint8_t>(Path::dense); }

  // All that belongs to query q.
  std::vector<double> of(int64_t q) const {
    const auto count = static_cast<int64_t>(survivors.size());
    std::vector<double> values{static_cast<double>(survivors[q]), static_cast<double>(nearest[q])};
    for (const auto* v : {&log_density, &score, &denoised, &entropy, &class_weights, &error_log_density, &error_score}) {
      const auto width = static_cast<int64_t>(v->size()) / count;
      values.insert(values.end(), v->begin() + q * width, v->begin() + (q + 1) * width);
    }
    return values;
  }
};

int64_t dense_answers = 0, dense_checked = 0, aligned_checked = 0;  // queries answered by products

bool same_bits(const std::vector<double>& x, const std::vector<double>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
}

double distance(const double* x, const std::vector<Quad>& exact) {
  double square = 0;
  for (size_t j = 0; j < exact.size(); ++j) {
    const double difference = static_cast<double>(Quad(x[j]) - exact[j]);
    square += difference * difference;
  }
  return std::sqrt(square);
}

double norm(const std::vector<Quad>& x) { return distance(std::vector<double>(x.size(), 0.0).data(), x); }

struct Oracle {
  reference::Posterior<Quad> exact;
  double scale;  // of the contract
};

// One for all instruction sets and precisions.
const std::vector<Oracle>& oracle_of(const Mixture& m, double a, double b) {
  static std::map<std::string, std::vector<Oracle>> known;
  std::vector<Oracle>& result = known[m.name + " mean " + std::to_string(m.means[0]) + " b " + std::to_string(b * 1e9)];
  for (int64_t q = static_cast<int64_t>(result.size()); q < m.batch; ++q) {
    const double* x = m.x.data() + q * m.target.d;
    result.push_back({reference::posterior<Quad>(m.target, x, nullptr, a, b), 0});
    for (int64_t k = 0; k < m.target.n; ++k) {
      const double weight = static_cast<double>(result.back().exact.weights[k]);
      if (weight > 1e-12) result.back().scale += weight * norm(reference::component<Quad>(m.target, k, x, a, b).velocity);
    }
  }
  return result;
}

// Errors lie below the bounds, and within the contract of "exact" wherever float64 resolves the covariances.
void test_accuracy(const Instructions& set, Mixture& m, double b, bool resolved, int64_t batch = 6) {
  const double a = b < 1 ? std::sqrt((1 - b) * (1 + b)) : 1;
  place(m, a, b, batch);
  const int64_t d = m.target.d;
  for (const Precision precision : {Precision::exact, Precision::float64}) {
    const Readings r(set, m.target, m, a, b, precision);
    const std::string what = std::string(set.name) + " " + m.name + " b=" + std::to_string(b);
    if (!resolved && r.status.code == Code::range) continue;
    expect(r.status.ok(), what + " " + r.status.detail);
    if (!r.status.ok()) continue;
    const std::vector<Oracle>& oracle = oracle_of(m, a, b);
    for (int64_t q = 0; q < m.batch; ++q) {
      const std::string where = what + " query " + std::to_string(q) + " path " + std::to_string(r.path[q]);
      dense_checked += r.dense(q);
      const auto& [exact, scale] = oracle[q];
      const double density_error = std::abs(static_cast<double>(Quad(r.log_density[q]) - exact.log_density));
      const double score_error = distance(r.score.data() + q * d, exact.score);
      expect(density_error <= r.error_log_density[q], where + " log density bound " + std::to_string(density_error / r.error_log_density[q]));
      expect(score_error <= r.error_score[q], where + " score bound " + std::to_string(score_error / r.error_score[q]));
      // Beyond 1e8 (reliability N2) the differences of logits are below their rounding.
      if (!resolved || std::abs(r.log_density[q]) > 1e8) continue;
      expect(score_error <= 1e-5 * scale, where + " score contract " + std::to_string(score_error / scale));
      expect(density_error <= 1e-4 + 1e-12 * std::abs(r.log_density[q]), where + " log density contract");
      expect(std::abs(static_cast<double>(Quad(r.entropy[q]) - exact.entropy)) <= 1e-5, where + " entropy");
    }
  }
}

// The same bits with and without bytes to screen by, for any threads and split.
void test_bits(const Instructions& set, Mixture& m, double b, bool must_screen) {
  const double a = std::sqrt((1 - b) * (1 + b));
  place(m, a, b, 37);
  const std::string what = std::string(set.name) + " " + m.name + " b=" + std::to_string(b);
  const Readings screened(set, m.target, m, a, b, Precision::exact), plain(set, m.unscreened, m, a, b, Precision::exact);
  const Readings full(set, m.unscreened, m, a, b, Precision::float64), threaded(set, m.target, m, a, b, Precision::exact, 3);
  expect(screened.status.ok(), what + " " + screened.status.detail);
  int64_t entered = 0;
  for (int64_t q = 0; q < m.batch; ++q) {
    entered += screened.survivors[q];
    dense_answers += screened.dense(q);
    if (!screened.dense(q) && !plain.dense(q)) expect(same_bits(screened.of(q), plain.of(q)), what + ": screening changes no bit");
    expect(same_bits(screened.of(q), threaded.of(q)), what + ": threads change no bit");
    expect(full.survivors[q] == m.target.n, what + ": float64 takes every component");
    // Only products, and low-rank components that are summed up to a small mass, may be off by more than roundings.
    const bool rounded = !screened.dense(q) && m.covariances.type != Type::low_rank;
    const double size = (rounded ? 0 : screened.error_log_density[q]) + 1e-12 * (1 + std::abs(full.log_density[q]));
    expect(std::abs(screened.log_density[q] - full.log_density[q]) <= size, what + ": exact agrees with float64");
  }
  expect(!must_screen || entered < m.batch * m.target.n / 4, what + ": few components enter the sums");
  for (const int64_t first : {int64_t{0}, int64_t{1}, int64_t{36}}) {
    const Readings one(set, m.target, m, a, b, Precision::exact, 1, first, 1);
    expect(same_bits(one.of(0), screened.of(first)), what + ": batch split");
  }
}

// No bound of a logit lies below the logit.
void test_bounds(const Instructions& set, Mixture& m, double b) {
  const double a = std::sqrt((1 - b) * (1 + b));
  place(m, a, b, 20);
  ThreadPool pool(1);
  GaussiansAt at(*set.kernels, m.target, a, b);
  CHECK(at.build(pool, {}).ok());
  MixtureBounds bounds(set, m.target, at);
  CHECK(bounds.build(pool, {}).ok());
  std::vector<float> found(static_cast<size_t>(m.target.n * 32));
  std::vector<double> squares(found.size());
  for (int64_t k = 0; k < m.target.n && m.covariances.type == Type::low_rank; ++k) {
    for (int64_t q = 0; q < m.batch; ++q) {
      for (int64_t j = 0; j < m.target.d; ++j) {
        const double f = std::fma(-a, m.target.means.row(k)[j], m.x[q * m.target.d + j]);
        squares[k * 32 + q] += f * f / (a * a * m.covariances.values[k * m.target.d + j] + b * b);
      }
    }
  }
  bounds.find(m.x.data(), m.batch, squares.data(), pool, {}, found.data(), 32);
  MixturePass pass(set, m.target, false, false, false);
  CHECK(pass.build(a, b, pool, {}).ok());
  CHECK(pass.run(m.x.data(), m.batch, nullptr, pool, {}).ok());
  bool above = true, tight = false;
  for (int64_t q = 0; q < m.batch; ++q) {
    for (const MixturePass::Entry* e = pass.begin(q); e != pass.end(q); ++e) {
      const double bound = found[static_cast<size_t>(e->component * 32 + q)];
      above = above && bound >= e->logit;
      tight = tight || bound <= 0.5 * e->logit;
    }
  }
  expect(above, std::string(set.name) + " " + m.name + ": bounds lie above the logits");
  expect(tight, std::string(set.name) + " " + m.name + ": bounds tell something");
}

// Rough logits from bytes lie within their errors of the logits.
void test_bytes(const Instructions& set, Mixture& m, double b) {
  const double a = std::sqrt((1 - b) * (1 + b));
  place(m, a, b, 20);
  ThreadPool pool(1);
  GaussiansAt at(*set.kernels, m.target, a, b);
  CHECK(at.build(pool, {}).ok());
  MixtureRows rows(set, m.target, at);
  CHECK(rows.build(pool, {}).ok());
  MixtureBytes bytes(set, m.target, rows);
  CHECK(bytes.build(pool, {}).ok());
  std::vector<double> logits(static_cast<size_t>(m.target.n * 32));
  std::vector<float> errors(logits.size());
  CHECK(bytes.find(m.x.data(), m.batch, pool, {}, logits.data(), errors.data(), 32).ok());
  MixturePass pass(set, m.target, false, false, false);
  CHECK(pass.build(a, b, pool, {}).ok());
  CHECK(pass.run(m.x.data(), m.batch, nullptr, pool, {}).ok());
  bool within = true;
  double tight = INFINITY;
  for (int64_t q = 0; q < m.batch; ++q) {
    for (const MixturePass::Entry* e = pass.begin(q); e != pass.end(q); ++e) {
      const auto place_of = static_cast<size_t>(e->component * 32 + q);
      within = within && !(std::abs(logits[place_of] - e->logit) > static_cast<double>(errors[place_of]));
      tight = std::min(tight, static_cast<double>(errors[place_of]) / std::abs(e->logit));
    }
  }
  const std::string what = std::string(set.name) + " " + m.name + " b=" + std::to_string(b);
  expect(within, what + ": rough logits lie within their errors");
  expect(tight < 0.5, what + ": rough logits tell something");
}

// The same of variances that take two values in every component, whose roundings to the nearest byte would agree over half of the columns.
void test_blocks(const Instructions& set) {
  const int64_t k = 24, d = 4096;
  Mixture m;
  make(m, Type::low_rank, {k, d, 2, false, false, false, 0.02});
  Covariances blocks;
  blocks.type = Type::low_rank;
  blocks.rank = 2;
  blocks.factors = m.covariances.factors;
  for (double& factor : blocks.factors) factor *= 0.01;
  for (int64_t i = 0; i < k * d; ++i) blocks.values.push_back(i % d < d / 2 ? 0.3 + 0.1 * static_cast<double>(i / d % 5) : 0.5 + 0.07 * static_cast<double>(i / d % 7));
  CHECK(prepare(blocks, k, d, {}).ok());
  m.covariances = blocks;
  for (double& mean : m.means) mean = std::abs(mean);
  m.name += " in blocks";
  for (const double b : {0.1, 0.5}) test_bytes(set, m, b);
}

// What is kept of one (a, b), and what the last call tells the next, change no bit: times in turn, and calls at once.
void test_kept(const Instructions& set, Mixture& m) {
  const std::string what = std::string(set.name) + " " + m.name;
  const double levels[] = {0.2, 0.9, 0.2, 0.2, 0.9, 0.6};
  KeptPreparation kept;
  const auto a_of = [](double b) { return std::sqrt((1 - b) * (1 + b)); };
  place(m, a_of(0.6), 0.6, 40);
  std::map<double, Readings> fresh;
  for (const double b : levels) {
    if (!fresh.contains(b)) fresh.emplace(b, Readings(set, m.target, m, a_of(b), b, Precision::exact));
  }
  const auto same = [&](const Readings& r, double b) {
    bool all = r.status.ok();
    for (int64_t q = 0; q < m.batch; ++q) all = all && same_bits(r.of(q), fresh.at(b).of(q)) && r.path[q] == fresh.at(b).path[q];
    return all;
  };
  Target keeping = m.target;
  keeping.kept = &kept;
  for (const double b : levels) {
    expect(same(Readings(set, keeping, m, a_of(b), b, Precision::exact), b), what + ": kept preparation changes no bit");
    expect(kept.bytes() > 0 && kept.bytes() <= memory_budget() && kept.last()->a == a_of(b) && kept.last()->b == b, what + ": the last time is kept");
  }
  const int64_t first = 5, count = 19;
  const Readings part(set, keeping, m, a_of(0.6), 0.6, Precision::exact, 2, first, count);
  bool equal = part.status.ok();
  for (int64_t q = 0; q < count; ++q) equal = equal && same_bits(part.of(q), fresh.at(0.6).of(first + q));
  expect(equal, what + ": what a larger call left changes no bit");
  for (const bool crowded : {true, false}) {
    for (const double b : {0.2, 0.6, 0.9}) {
      kept.crowded = crowded;
      expect(same(Readings(set, keeping, m, a_of(b), b, Precision::exact), b), what + ": the order of bounds changes no bit");
    }
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> calls;
  for (int call = 0; call < 4; ++call) {
    calls.emplace_back([&, call] {
      for (int turn = 0; turn < 3; ++turn) {
        const double b = levels[(call + turn) % 2];
        wrong += same(Readings(set, keeping, m, a_of(b), b, Precision::exact), b) ? 0 : 1;
      }
    });
  }
  for (std::thread& call : calls) call.join();
  expect(wrong == 0, what + ": calls at once");
}

template <const Instructions& (*Set)()>
void test_set() {
  const Instructions& set = Set();
  if (set.kernels == nullptr || set.digits == nullptr) return;
  for (const double b : {1e-8, 1e-3, 0.1, 0.9, 100.0}) {
    for (const Type type : {Type::spherical, Type::diagonal, Type::full, Type::low_rank}) {
      const int64_t rank = type == Type::low_rank ? 4 : 0;
      for (const Shape& shape : {Shape{1, 9, rank}, Shape{18, 9, rank}, Shape{18, 11, rank, false, false, true},
                                 Shape{5, 10, rank, true}, Shape{5, 9, rank, true, true}, Shape{70, 9, rank}}) {
        if (shape.dependent && type != Type::low_rank) continue;
        if (shape.k == 70 && type != Type::spherical && type != Type::diagonal) continue;  // up to 64 of these are few
        Mixture m;
        make(m, type, shape);
        // A singular full matrix is known to the rounding of its largest entries, a residual beside a column of 1e6 to that of the column.
        const bool resolved = !(type == Type::full && shape.singular && b < 0.1) && !(shape.dependent && b < 1e-3);
        test_accuracy(set, m, b, resolved);
      }
    }
  }
  for (const double b : {0.1, 0.5, 0.95}) {
    if (check::sanitized && b == 0.5) continue;
    for (const Type type : {Type::spherical, Type::diagonal, Type::full, Type::low_rank}) {
      const int64_t rank = type == Type::low_rank ? 3 : 0;
      Mixture m;
      make(m, type, {type == Type::full ? 60 : 3000, 40, rank, false, false, true, 2});
      test_bits(set, m, b, b < 0.9 && type != Type::low_rank);
      if (type != Type::full) test_bounds(set, m, b);
    }
    // Components that lie close together, in the shapes that float32 answers: spectra with and without a shared end, offsets that dwarf
    // the spread, and dimensions that fill no line.
    for (const Type type : {Type::full, Type::low_rank}) {
      for (const Shape& shape : {Shape{12, 37, 5, false, false, false, 0.1}, Shape{8, 33, 3, true, false, false, 0.3}, Shape{10, 48, 1, false, false, true, 0}}) {
        if (check::sanitized && shape.d == 48) continue;
        Mixture m;
        Shape own = shape;
        if (type == Type::full) own.rank = 0;
        make(m, type, own);
        for (double& mean : m.means) mean += 30;
        CHECK(build_screen(m.target, {}, m.screen).ok());
        test_accuracy(set, m, b, true);
        test_bits(set, m, b, false);
      }
    }
    Mixture apart;
    make(apart, Type::low_rank, {48, 40, 4, false, false, true, 0.4});
    if (!check::sanitized) test_accuracy(set, apart, b, true);
    test_bits(set, apart, b, false);
    test_bytes(set, apart, b);
    if (b == 0.1) test_kept(set, apart);
    for (const Type type : {Type::spherical, Type::diagonal}) {
      for (const Shape& shape : {Shape{140, 33, 0, false, false, false, 0.3}, Shape{136, 32, 0, true, false, true, 0.2},
                                 Shape{132, 32, 0, false, false, false, 0.3, true}}) {
        if (b < 0.5 || (b < 0.9 && shape.d == 32)) continue;
        Mixture m;
        make(m, type, shape);
        for (double& mean : m.means) mean += shape.wide ? 0 : 30;
        CHECK(build_screen(m.target, {}, m.screen).ok());
        const int64_t before = dense_checked;
        test_accuracy(set, m, b, true, 3);
        aligned_checked += dense_checked - before;
        test_bits(set, m, b, false);
      }
    }
    Mixture dependent;
    make(dependent, Type::low_rank, {64, 40, 4, true, true});
    test_bits(set, dependent, b, false);
    test_bounds(set, dependent, b);
    if (set.dense) test_bytes(set, dependent, b);
  }
  if (set.dense) test_blocks(set);
  // Queries whose scores leave out all but a few components, beside such that lie among many.
  for (const Type type : {Type::spherical, Type::diagonal}) {
    Mixture m;
    make(m, type, {600, 32, 0, false, false, false, 1});
    const int64_t before = dense_checked;
    test_accuracy(set, m, 0.5, true, 3);
    aligned_checked += dense_checked - before;
    test_bits(set, m, 0.5, false);
    test_kept(set, m);
  }
}

// Components with one covariance: their logits have the same errors of B x'.
void test_tied(const Instructions& set, double b) {
  const int64_t k = check::sanitized ? 300 : 4000, d = 32, batch = 48;
  Mixture m;
  make(m, Type::full, {k, d, 0, false, false, false, 0.05});
  Covariances tied;
  tied.type = Type::full;
  std::mt19937_64 random(3);
  const std::vector<double> root = normal(random, d * (d + 2)), base = normal(random, d, 2);
  std::vector<double> matrix(static_cast<size_t>(d * d), 0.0);
  for (int64_t j = 0; j < d * d; ++j) {
    for (int64_t l = 0; l < d + 2; ++l) matrix[j] += root[(j / d) * (d + 2) + l] * root[(j % d) * (d + 2) + l] / static_cast<double>(d);
  }
  for (int64_t i = 0; i < k; ++i) tied.values.insert(tied.values.end(), matrix.begin(), matrix.end());
  CHECK(prepare(tied, k, d, {}).ok());
  m.covariances = tied;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < d; ++j) m.means[i * d + j] += (i == 0 ? -3 : 1) * base[j];
  }
  CHECK(build_screen(m.target, {}, m.screen).ok());
  const double a = std::sqrt((1 - b) * (1 + b));
  place(m, a, b, batch);
  for (int64_t q = 0; q < batch; ++q) {
    const std::vector<double> noise = normal(random, d, b);
    for (int64_t j = 0; j < d; ++j) m.x[q * d + j] = a * m.means[(q + 1) * d + j] + noise[j];
  }
  const Readings exact(set, m.target, m, a, b, Precision::exact), truth(set, m.target, m, a, b, Precision::float64);
  const std::string what = std::string(set.name) + " tied, b=" + std::to_string(b) + ", query ";
  for (int64_t q = 0; q < batch; ++q) {
    dense_checked += exact.dense(q);
    const double error = std::abs(exact.log_density[q] - truth.log_density[q]), bound = exact.error_log_density[q] + truth.error_log_density[q];
    expect(error <= bound, what + std::to_string(q) + " log density bound " + std::to_string(error / bound));
  }
}

void test_errors() {
  Covariances huge;
  huge.type = Type::low_rank;
  huge.rank = 1;
  huge.values = {1, 1};
  huge.factors = {1e160, 1};
  CHECK(prepare(huge, 1, 2, {}).code == Code::range);
  Mixture m;
  make(m, Type::diagonal, {20, 10});
  place(m, 0.5, 0.5, 2);
  std::vector<double> vectors(20, 1e300), products(20);
  PosteriorRequest r;
  r.x = {m.x.data(), 2, 10};
  r.b = 0.5;
  r.vectors = vectors.data();
  r.jacobian_products = products.data();
  CHECK(posterior_mixture(portable_set(), m.target, r, {}).code == Code::range);
  const std::atomic<bool> stop{true};
  Execution stopped;
  stopped.stop = &stop;
  r.vectors = nullptr;
  r.jacobian_products = nullptr;
  r.score = products.data();
  CHECK(posterior_mixture(portable_set(), m.target, r, stopped).code == Code::cancelled);
}

}  // namespace

int main() {
  test_errors();
  for (const double b : {0.5, 0.9}) {
    test_tied(portable_set(), b);
#ifdef REGIMES_X86_KERNELS
    if (vnni_set().kernels && vnni_set().dense) test_tied(vnni_set(), b);
#endif
  }
  test_set<portable_set>();
#ifdef REGIMES_X86_KERNELS
  test_set<avx2_set>();
  test_set<avx512_set>();
  test_set<vnni_set>();
#endif
  const int64_t least = check::sanitized ? 20 : 100;
  CHECK(dense_answers > least && dense_checked > least && aligned_checked > 20);
  std::printf("%d dense, %d of many components\n", static_cast<int>(dense_checked), static_cast<int>(aligned_checked));
  return check::summary();
}
