// Few Gaussians in few dimensions: the same bits in every reading as the pass over mixtures of any size, on every instruction set.
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../core/prepare.h"
#include "../cpu/posterior_few.h"
#include "check.h"

using namespace regimes;
using Type = Covariances::Type;

namespace {

struct Case {
  std::vector<double> means, log_weights, x;
  std::vector<int32_t> classes;
  Covariances covariances;
  Target target;
};

void make(Case& c, Type type, int64_t k, int64_t d, int64_t batch) {
  std::mt19937_64 random(static_cast<uint64_t>(100 * k + d));
  std::normal_distribution<double> law;
  for (int64_t i = 0; i < k * d; ++i) c.means.push_back(3 * law(random));
  for (int64_t i = 0; i < k; ++i) {
    c.log_weights.push_back(i == 2 ? no_weight : -std::log(static_cast<double>(k > 2 ? k - 1 : k)));
    c.classes.push_back(static_cast<int32_t>(i % 2));
  }
  c.covariances.type = type;
  for (int64_t i = 0; i < (type == Type::spherical ? k : k * d); ++i) c.covariances.values.push_back(0.1 + std::abs(law(random)));
  for (int64_t i = 0; i < batch * d; ++i) c.x.push_back((i / d % 7 == 3 ? 40 : 3) * law(random));
  CHECK(prepare(c.covariances, k, d, {}).ok());
  c.target.kind = Target::Kind::mixture;
  c.target.n = k;
  c.target.d = d;
  c.target.means = {c.means.data(), k, d};
  c.target.covariances = &c.covariances;
  c.target.log_weights = c.log_weights.data();
  c.target.classes = c.classes.data();
  c.target.class_count = 2;
}

struct Answer {
  std::vector<double> density, score, denoised, entropy, squares, weight, classes, error_density, error_score, top_weight;
  std::vector<int32_t> nearest, survivors, top;
  std::vector<uint8_t> path;

  // With `ranked` the heaviest component is asked for as well, which the path for few does not answer.
  Answer(const Instructions& set, const Case& c, double b, Precision precision, bool ranked, int threads, int64_t batch) {
    const auto rows = static_cast<size_t>(batch), numbers = rows * static_cast<size_t>(c.target.d);
    for (auto* v : {&density, &entropy, &squares, &weight, &error_density, &error_score, &top_weight}) v->resize(rows);
    for (auto* v : {&score, &denoised}) v->resize(numbers);
    for (auto* v : {&nearest, &survivors, &top}) v->resize(rows);
    classes.resize(2 * rows);
    path.resize(rows);
    PosteriorRequest r;
    r.x = {c.x.data(), batch, c.target.d};
    r.a = 0.8;
    r.b = b;
    r.precision = precision;
    r.log_density = density.data();
    r.score = score.data();
    r.denoised = denoised.data();
    r.entropy = entropy.data();
    r.sum_squares = squares.data();
    r.nearest_index = nearest.data();
    r.nearest_weight = weight.data();
    r.class_weights = classes.data();
    r.error_log_density = error_density.data();
    r.error_score = error_score.data();
    r.survivors = survivors.data();
    r.path = path.data();
    if (ranked) {
      r.top = 1;
      r.top_index = top.data();
      r.top_weight = top_weight.data();
    }
    CHECK(few_applies(c.target, r) == !ranked);
    Execution execution;
    execution.threads = threads;
    CHECK(posterior_mixture(set, c.target, r, execution).ok());
  }

  bool operator==(const Answer& other) const {
    const auto same = [](const auto& u, const auto& v) { return std::memcmp(u.data(), v.data(), u.size() * sizeof(u[0])) == 0; };
    return same(density, other.density) && same(score, other.score) && same(denoised, other.denoised) &&
           same(entropy, other.entropy) && same(squares, other.squares) && same(weight, other.weight) && same(classes, other.classes) &&
           same(error_density, other.error_density) && same(error_score, other.error_score) && same(nearest, other.nearest) &&
           same(survivors, other.survivors) && same(path, other.path);
  }
};

}  // namespace

int main() {
  constexpr int64_t batch = 531;
  for (const Instructions* set : {&portable_set(), &avx2_set(), &avx512_set()}) {
    if (set->kernels == nullptr) continue;
    for (const Type type : {Type::spherical, Type::diagonal}) {
      for (const auto& [k, d] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {3, 2}, {64, 8}, {7, 19}, {2, 1024}}) {
        Case c;
        make(c, type, k, d, batch);
        for (const double b : {1e-3, 0.6, 30.0}) {
          for (const Precision precision : {Precision::exact, Precision::float64}) {
            const Answer few(*set, c, b, precision, false, 1, batch);
            const std::string what = std::string(set->name) + " type " + std::to_string(static_cast<int>(type)) + " K=" + std::to_string(k);
            check::record(few == Answer(*set, c, b, precision, true, 1, batch), __FILE__, __LINE__, what.c_str());
            CHECK(few == Answer(*set, c, b, precision, false, 3, batch));
          }
        }
      }
    }
  }
  Case full;
  make(full, Type::diagonal, 3, 2, 4);
  PosteriorRequest request;
  request.x = {full.x.data(), 4, 2};
  std::vector<double> density(4);
  request.log_density = density.data();
  CHECK(few_applies(full.target, request));
  request.divergence = density.data();
  CHECK(!few_applies(full.target, request));
  std::atomic<bool> stop{true};
  Execution stopped;
  stopped.stop = &stop;
  request.divergence = nullptr;
  CHECK(posterior_mixture(portable_set(), full.target, request, stopped).code == Code::cancelled);
  return check::summary();
}
