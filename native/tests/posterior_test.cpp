// posterior of every CPU table of kernels against the definition in 113-bit arithmetic: errors below the bounds that the
// results carry, and below twice those of the plain float64 loop (the backend "reference"). Bits: independent of threads and batch.
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../core/prepare.h"
#include "../cpu/cpu.h"
#include "../reference/posterior.h"
#include "../reference/reference.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

struct Problem {
  std::string name;
  std::vector<double> rows, log_weights, means, x, vectors;
  std::vector<uint8_t> bytes;
  std::vector<int32_t> classes;
  Covariances covariances;
  Target target;
  int64_t batch = 0;
  double a = 1, b = 1;
};

std::vector<double> normal(std::mt19937_64& random, size_t count, double scale = 1) {
  std::normal_distribution<double> law;
  std::vector<double> values(count);
  for (double& value : values) value = scale * law(random);
  return values;
}

// Data points, with queries drawn forward, at ties between two data, and far away.
void make_points(Problem& p, int64_t n, int64_t d, double b, double offset, bool weighted, bool bytes) {
  std::mt19937_64 random(static_cast<uint64_t>(n * 1000 + d));
  p.name = "points n=" + std::to_string(n) + " d=" + std::to_string(d) + " b=" + std::to_string(b) + " offset=" + std::to_string(offset);
  p.rows = normal(random, static_cast<size_t>(n * d));
  for (double& value : p.rows) value += offset;
  if (n > 3) std::copy_n(p.rows.begin(), d, p.rows.begin() + 2 * d);  // a duplicate
  p.target.n = n;
  p.target.d = d;
  p.target.points = {p.rows.data(), n, d, Dtype::f64, 1, 0};
  if (bytes) {
    for (const double value : p.rows) p.bytes.push_back(static_cast<uint8_t>(std::min(255.0, std::abs(value) * 80)));
    p.target.points = {p.bytes.data(), n, d, Dtype::u8, 1 / 255.0, -0.1};
  }
  if (weighted) {
    for (int64_t i = 0; i < n; ++i) p.log_weights.push_back(i == 1 ? no_weight : std::log(static_cast<double>(i + 1) / static_cast<double>(n * (n + 1) / 2 - 2)));
    p.target.log_weights = p.log_weights.data();
  }
  for (int64_t i = 0; i < n; ++i) p.classes.push_back(static_cast<int32_t>(i % 3));
  p.target.classes = p.classes.data();
  p.target.class_count = 3;
  p.b = b;
  p.a = b < 1 ? std::sqrt((1 - b) * (1 + b)) : 1;
  p.batch = 11;
  const std::vector<double> noise = normal(random, static_cast<size_t>(p.batch * d));
  for (int64_t q = 0; q < p.batch; ++q) {
    for (int64_t j = 0; j < d; ++j) {
      const double own = p.target.points.value(q % n, j), other = p.target.points.value((q + 1) % n, j);
      const double from = q < 5 ? own : q < 10 ? 0.5 * (own + other) : 30 + own;
      p.x.push_back(p.a * from + (q < 10 ? p.b * noise[q * d + j] : 0));
    }
  }
  p.vectors = normal(random, p.x.size());
}

void make_mixture(Problem& p, Covariances::Type type, int64_t k, int64_t d, double b) {
  std::mt19937_64 random(static_cast<uint64_t>(k * 100 + d));
  p.name = "mixture type=" + std::to_string(static_cast<int>(type)) + " b=" + std::to_string(b);
  p.means = normal(random, static_cast<size_t>(k * d), 2);
  Covariances& c = p.covariances;
  c.type = type;
  const int64_t per = type == Covariances::Type::spherical ? k : k * d;
  c.values = normal(random, static_cast<size_t>(per));
  for (double& value : c.values) value = value * value;
  if (type == Covariances::Type::low_rank) {
    c.rank = 2;
    c.factors = normal(random, static_cast<size_t>(k * d * c.rank));
  }
  if (type == Covariances::Type::full) {
    c.values.assign(static_cast<size_t>(k * d * d), 0.0);
    for (int64_t m = 0; m < k; ++m) {
      const std::vector<double> root = normal(random, static_cast<size_t>(d * d));
      for (int64_t i = 0; i < d; ++i) {
        for (int64_t j = 0; j < d; ++j) {
          for (int64_t s = 0; s < d; ++s) c.values[(m * d + i) * d + j] += root[i * d + s] * root[j * d + s] / static_cast<double>(d);
        }
      }
    }
  }
  CHECK(prepare(c, k, d, {}).ok());
  p.target.kind = Target::Kind::mixture;
  p.target.n = k;
  p.target.d = d;
  p.target.means = {p.means.data(), k, d};
  p.target.covariances = &c;
  for (int64_t i = 0; i < k; ++i) p.classes.push_back(static_cast<int32_t>(i));
  p.target.classes = p.classes.data();
  p.target.class_count = static_cast<int32_t>(k);
  p.b = b;
  p.a = std::sqrt((1 - b) * (1 + b));
  p.batch = 10;
  p.x = normal(random, static_cast<size_t>(p.batch * d), 2);
  p.vectors = normal(random, p.x.size());
}

struct Readings {
  std::vector<double> log_density, denoised, score, entropy, squares, class_weights, top_weight, trace, products, jacobian, divergence;
  std::vector<double> error_log_density, error_score, nearest_weight;
  std::vector<int32_t> nearest, top;
  PosteriorRequest request;

  Readings(const Problem& p, int64_t first, int64_t count) {
    const int64_t d = p.target.d, top_count = std::min<int64_t>(4, p.target.n);
    for (auto* v : {&log_density, &entropy, &squares, &trace, &divergence, &error_log_density, &error_score, &nearest_weight}) v->resize(count);
    for (auto* v : {&denoised, &score}) v->assign(count * d, check::unwritten);
    for (auto* v : {&products, &jacobian}) v->resize(count * d);
    class_weights.resize(count * p.target.class_count);
    top_weight.resize(count * top_count);
    nearest.resize(count);
    top.resize(count * top_count);
    request.x = {p.x.data() + first * d, count, d};
    request.a = p.a;
    request.b = p.b;
    request.log_density = log_density.data();
    request.denoised = denoised.data();
    request.score = score.data();
    request.entropy = entropy.data();
    request.sum_squares = squares.data();
    request.nearest_index = nearest.data();
    request.nearest_weight = nearest_weight.data();
    request.class_weights = class_weights.data();
    request.top = top_count;
    request.top_index = top.data();
    request.top_weight = top_weight.data();
    request.covariance_trace = trace.data();
    request.vectors = p.vectors.data() + first * d;
    request.covariance_products = products.data();
    request.jacobian_products = jacobian.data();
    request.divergence = divergence.data();
    request.error_log_density = error_log_density.data();
    request.error_score = error_score.data();
  }

  std::vector<double> all() const {
    std::vector<double> values;
    for (const auto* v : {&log_density, &denoised, &score, &entropy, &squares, &class_weights, &top_weight, &trace, &products, &jacobian,
                          &divergence, &error_log_density, &error_score, &nearest_weight}) {
      values.insert(values.end(), v->begin(), v->end());
    }
    return values;
  }
};

double distance(const double* x, const std::vector<Quad>& exact) {
  double square = 0;
  for (size_t j = 0; j < exact.size(); ++j) {
    const double difference = static_cast<double>(Quad(x[j]) - exact[j]);
    square += difference * difference;
  }
  return std::sqrt(square);
}

double norm(const std::vector<Quad>& x) {
  double square = 0;
  for (const Quad& value : x) square += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(square);
}

double off(double value, Quad exact) { return std::abs(static_cast<double>(Quad(value) - exact)); }

void test_accuracy(const Problem& p, const std::string& table, Status (*posterior)(const Target&, const PosteriorRequest&, const Execution&)) {
  Readings r(p, 0, p.batch), plain(p, 0, p.batch);
  CHECK(posterior(p.target, r.request, {}).ok());
  CHECK(reference_backend().posterior(p.target, plain.request, {}).ok());
  const int64_t d = p.target.d;
  for (int64_t q = 0; q < p.batch; ++q) {
    const std::string where = table + " " + p.name + " query " + std::to_string(q);
    const auto exact = reference::posterior<Quad>(p.target, p.x.data() + q * d, p.vectors.data() + q * d, p.a, p.b);
    const double score_error = distance(r.score.data() + q * d, exact.score);
    expect(off(r.log_density[q], exact.log_density) <= r.error_log_density[q], where + " log density bound");
    expect(score_error <= r.error_score[q], where + " score bound " + std::to_string(score_error / r.error_score[q]));
    expect(off(plain.log_density[q], exact.log_density) <= plain.error_log_density[q], where + " reference log density bound");
    expect(distance(plain.score.data() + q * d, exact.score) <= plain.error_score[q], where + " reference score bound");
    // Twice the plain loop, plus a few roundings of the result's own scale.
    const double u = 0x1p-53, scale = norm(exact.score), logit = std::abs(static_cast<double>(exact.log_density)) + 1;
    const double spread = std::sqrt(static_cast<double>(exact.covariance_trace)) * p.a / (p.b * p.b);
    // N3: the subtraction a D - x loses digits of the scale of its terms; for a mixture, S_k^-1 amplifies by its condition.
    double norm_x = 0;
    for (int64_t j = 0; j < d; ++j) norm_x = std::hypot(norm_x, p.x[q * d + j]);
    const double terms = p.target.kind == Target::Kind::points ? (norm_x + p.a * norm(exact.denoised)) / (p.b * p.b) : 0;
    const double condition = p.target.kind == Target::Kind::mixture ? 1 + 30 / (p.b * p.b) : 1;
    expect(off(r.log_density[q], exact.log_density) <= 2 * off(plain.log_density[q], exact.log_density) + 16 * u * logit * condition, where + " log density");
    expect(score_error <= 2 * distance(plain.score.data() + q * d, exact.score) + u * (4 * terms + 64 * (scale + spread * logit)), where + " score");
    // N1: total variation of the weights, seen through the top ones, and of entropies.
    const double weight_error = 4 * 32 * u * logit + 1e-15;
    for (int64_t k = 0; k < r.request.top; ++k) {
      expect(off(r.top_weight[q * r.request.top + k], exact.weights[r.top[q * r.request.top + k]]) <= weight_error, where + " top weight");
    }
    expect(r.top[q * r.request.top] == r.nearest[q], where + " nearest");
    expect(off(r.entropy[q], exact.entropy) <= 40 * weight_error, where + " entropy");
    expect(off(r.squares[q], exact.sum_squares) <= 4 * weight_error, where + " sum of squares");
    for (int64_t c = 0; c < p.target.class_count; ++c) {
      expect(off(r.class_weights[q * p.target.class_count + c], exact.class_weights[c]) <= 4 * weight_error, where + " class weight");
    }
    const double trace = static_cast<double>(exact.covariance_trace), diameter = 1e4 + norm(exact.denoised);
    expect(off(r.trace[q], exact.covariance_trace) <= condition * 100 * weight_error * (trace + 1e-9 * diameter), where + " trace");
    const double products = norm(exact.covariance_product) + trace;
    expect(distance(r.products.data() + q * d, exact.covariance_product) <= condition * 1000 * weight_error * (products + 1e-9 * diameter), where + " products");
    const double gain = p.a * p.a / (p.b * p.b * p.b * p.b);
    const double curvature = static_cast<double>(d) / (p.b * p.b) + gain * (products + 1e-9 * diameter);
    expect(off(r.divergence[q], exact.divergence) <= condition * 1000 * weight_error * curvature, where + " divergence");
    expect(distance(r.jacobian.data() + q * d, exact.jacobian_product) <= condition * 1000 * weight_error * curvature * 10, where + " jacobian");
  }
}

bool same_bits(const std::vector<double>& x, const std::vector<double>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
}

void test_bits(const Problem& p, Status (*posterior)(const Target&, const PosteriorRequest&, const Execution&)) {
  Readings whole(p, 0, p.batch);
  CHECK(posterior(p.target, whole.request, {}).ok());
  for (const int threads : {2, 3}) {
    Readings again(p, 0, p.batch);
    Execution execution;
    execution.threads = threads;
    CHECK(posterior(p.target, again.request, execution).ok());
    expect(same_bits(whole.all(), again.all()), p.name + " threads");
  }
  for (int64_t q = 0; q < p.batch; ++q) {
    Readings one(p, q, 1);
    CHECK(posterior(p.target, one.request, {}).ok());
    expect(std::memcmp(one.score.data(), whole.score.data() + q * p.target.d, sizeof(double) * p.target.d) == 0, p.name + " batch split, score");
    expect(std::memcmp(one.products.data(), whole.products.data() + q * p.target.d, sizeof(double) * p.target.d) == 0, p.name + " batch split, products");
    expect(one.log_density[0] == whole.log_density[q] && one.entropy[0] == whole.entropy[q] && one.error_score[0] == whole.error_score[q], p.name + " batch split");
  }
}

template <const Instructions& (*Set)()>
void test_set(const std::vector<Problem*>& problems) {
  if (Set().kernels == nullptr) return;
  for (const Problem* p : problems) {
    const auto posterior = [](const Target& target, const PosteriorRequest& request, const Execution& execution) {
      return target.kind == Target::Kind::points ? posterior_float64(*Set().kernels, target, request, execution)
                                                 : posterior_mixture(Set(), target, request, execution);
    };
    test_accuracy(*p, Set().name, posterior);
    test_bits(*p, posterior);
  }
}

}  // namespace

int main() {
  std::vector<Problem*> problems;
  const auto add = [&](auto make) { make(*problems.emplace_back(new Problem)); };
  for (const double b : {1e-8, 1e-3, 0.1, 0.9, 100.0}) {
    for (const int64_t d : {1, 3, 33, 1100}) add([&](Problem& p) { make_points(p, 23, d, b, 0, d == 3, d == 33); });
    add([&](Problem& p) { make_points(p, 1, 5, b, 0, false, false); });
    add([&](Problem& p) { make_points(p, 40, 6, b, 1e6, false, false); });
  }
  add([](Problem& p) { make_points(p, 9000, 2, 0.5, 0, false, false); });
  for (const double b : {1e-3, 0.2, 0.95}) {
    for (const auto type : {Covariances::Type::spherical, Covariances::Type::diagonal, Covariances::Type::full, Covariances::Type::low_rank}) {
      add([&](Problem& p) { make_mixture(p, type, 4, 5, b); });
    }
  }
  test_set<portable_set>(problems);
#ifdef REGIMES_X86_KERNELS
  test_set<avx2_set>(problems);
  test_set<avx512_set>(problems);
#endif
  for (Problem* p : problems) delete p;
  return check::summary();
}
