// Mixtures whose parameters have structure: numbers that are the same over many columns, rows or components, covariances that depend on few
// numbers, means that agree, units far from 1. Precision "exact" against float64, and covariances written in two ways against each other.
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../core/mixture_screen.h"
#include "../core/prepare.h"
#include "../cpu/cpu.h"
#include "../cpu/mixture_pass.h"
#include "check.h"

using namespace regimes;
using Type = Covariances::Type;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

std::vector<const Instructions*> sets() {
  std::vector<const Instructions*> all{&portable_set()};
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&vnni_set(), &avx512_set(), &avx2_set()}) {
    if (set->kernels != nullptr && set->dense != nullptr) all.push_back(set);
  }
#endif
  return all;
}

struct Mixture {
  std::string name;
  std::vector<double> means, log_weights, x;
  Covariances covariances;
  MixtureScreen screen;
  Target target;
  int64_t batch = 0;

  // `value` is asked for component, column, and of factors rank.
  using Value = std::function<double(int64_t, int64_t, int64_t)>;
  Mixture(std::string name_of, Type type, int64_t k, int64_t d, int64_t rank, const Value& mean, const Value& variance, const Value& factor)
      : name(std::move(name_of)) {
    covariances.type = type;
    covariances.rank = rank;
    for (int64_t i = 0; i < k; ++i) {
      log_weights.push_back(-std::log(static_cast<double>(k)));
      for (int64_t j = 0; j < d; ++j) means.push_back(mean(i, j, 0));
      const int64_t count = type == Type::spherical ? 1 : type == Type::full ? d * d : d;
      for (int64_t j = 0; j < count; ++j) covariances.values.push_back(variance(i, j, 0));
      for (int64_t j = 0; j < d * rank; ++j) covariances.factors.push_back(factor(i, j / rank, j % rank));
    }
    CHECK(prepare(covariances, k, d, {}).ok());
    target.kind = Target::Kind::mixture;
    target.n = k;
    target.d = d;
    target.means = {means.data(), k, d};
    target.covariances = &covariances;
    target.log_weights = log_weights.data();
    CHECK(build_screen(target, {}, screen).ok());
    target.screen = &screen;
  }
  Mixture(const Mixture&) = delete;
};

struct Answers {
  std::vector<double> log_density, score, error_log_density, error_score;

  Answers(const Instructions& set, const Mixture& m, const std::vector<double>& x, double a, double b, Precision precision) {
    const auto d = static_cast<size_t>(m.target.d), count = x.size() / d;
    for (auto* v : {&log_density, &error_log_density, &error_score}) v->resize(count);
    score.assign(x.size(), check::unwritten);
    PosteriorRequest r;
    r.x = {x.data(), static_cast<int64_t>(count), m.target.d};
    r.a = a;
    r.b = b;
    r.log_density = log_density.data();
    r.score = score.data();
    r.error_log_density = error_log_density.data();
    r.error_score = error_score.data();
    r.precision = precision;
    CHECK(posterior_mixture(set, m.target, r, {}).ok());
  }
};

// Both are right: they differ by no more than the sum of their bounds.
void compare(const Answers& one, const Answers& other, int64_t d, const std::string& what) {
  for (size_t q = 0; q < one.log_density.size(); ++q) {
    const double error = std::abs(one.log_density[q] - other.log_density[q]), bound = one.error_log_density[q] + other.error_log_density[q];
    double square = 0;
    for (int64_t j = 0; j < d; ++j) {
      const auto at = q * static_cast<size_t>(d) + static_cast<size_t>(j);
      square += (one.score[at] - other.score[at]) * (one.score[at] - other.score[at]);
    }
    const double error_score = std::sqrt(square), bound_score = one.error_score[q] + other.error_score[q];
    expect(error <= bound, what + ", query " + std::to_string(q) + ": log density off by " + std::to_string(error / bound) + " of its bound");
    expect(error_score <= bound_score, what + ", query " + std::to_string(q) + ": score off by " + std::to_string(error_score / bound_score));
  }
}

void exact_against_float64(const Mixture& m, const std::vector<double>& x, double a, double b) {
  for (const Instructions* set : sets()) {
    compare({*set, m, x, a, b, Precision::exact}, {*set, m, x, a, b, Precision::float64}, m.target.d, m.name + ", " + set->name);
  }
}

double normal() {
  static std::mt19937_64 random(11);
  static std::normal_distribution<double> law;
  return law(random);
}

std::vector<double> many(int64_t count, double scale) {
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(scale * normal());
  return values;
}

const Mixture::Value zero = [](int64_t, int64_t, int64_t) { return 0.0; };
const Mixture::Value one = [](int64_t, int64_t, int64_t) { return 1.0; };

// Columns c and c of the factor are one column sqrt(2) c.
void equal_columns_are_one() {
  for (const int64_t d : {16, 150, 784, 3072}) {
    for (const double c : {0.02, 0.5}) {
      const Mixture twice("two equal columns, d=" + std::to_string(d), Type::low_rank, 1, d, 2, zero, one, [=](int64_t, int64_t, int64_t) { return c; });
      const Mixture once("one", Type::low_rank, 1, d, 1, zero, one, [=](int64_t, int64_t, int64_t) { return std::sqrt(2.0) * c; });
      for (const double b : {0.1, 80.0}) {
        const std::vector<double> x = many(4 * d, b);
        for (const Precision precision : {Precision::exact, Precision::float64}) {
          Answers expected(portable_set(), once, x, 1, b, precision);
          for (double& error : expected.error_log_density) error += 1e-13 * static_cast<double>(d);  // sqrt(2) is rounded
          for (double& error : expected.error_score) error += 1e-13 * std::sqrt(static_cast<double>(d)) / b;
          compare({portable_set(), twice, x, 1, b, precision}, expected, d, twice.name + " b=" + std::to_string(b));
        }
      }
    }
  }
}

// Every addition of a product of flat rows and flat queries rounds alike.
void flat_rows() {
  const int64_t k = 8, d = check::sanitized ? 3072 : 12288;
  const Mixture m("probabilistic principal components", Type::low_rank, k, d, 1, zero,
                  [](int64_t i, int64_t, int64_t) { return 1 + 0.00125 * static_cast<double>(i); }, [](int64_t, int64_t, int64_t) { return 0.01 * normal(); });
  for (const double b : {0.3, 0.7}) {
    std::vector<double> x;
    for (int q = 0; q < 12; ++q) {
      const double low = 0.4 + 0.07 * q, high = q % 3 == 2 ? 1.3 - 0.05 * q : low;
      for (int64_t j = 0; j < d; ++j) x.push_back(q == 0 ? 0 : j < d / 2 ? low : high);
    }
    exact_against_float64(m, x, std::sqrt(1 - b * b), b);
  }
}

// Components that differ by their variance alone, seen from far away.
void far_queries_of_scale_mixtures() {
  const int64_t k = 300, d = 256;
  for (const Type type : {Type::spherical, Type::diagonal}) {
    const Mixture m("equal means", type, k, d, 0, [](int64_t, int64_t j, int64_t) { return static_cast<double>(j % 11 - 5); },
                    [](int64_t i, int64_t j, int64_t) { return 0.5 + 0.003 * static_cast<double>((i + j) % 300); }, zero);
    for (const double far : {1.0, 1e6, 1e8, 1e12}) exact_against_float64(m, many(8 * d, far), 1, 0.05);
  }
}

// Axes whose variances differ by less than shows beside the noise.
void nearly_equal_axes() {
  const int64_t d = 33;
  for (const auto& [k, b, spread] : {std::tuple<int64_t, double, double>{2, 80, 1e-3}, {64, 200, 5e-3}, {2, 1000, 0.1}}) {
    const Mixture m("nearly equal axes, b=" + std::to_string(b), Type::full, k, d, 0, [](int64_t, int64_t, int64_t) { return 0.1 * normal(); },
                    [&, spread = spread](int64_t, int64_t j, int64_t) { return j / d != j % d ? 0 : 1 + (j / d % 2 ? spread : 0); }, zero);
    exact_against_float64(m, many(8 * d, b), 1, b);
  }
}

// Far queries at right angles to the difference of the means: beyond 1e7 float64 cannot tell which component is the heaviest, whose score
// differs from that of the next by 0.6 / b^2. Up to 1e6 (of low rank 2e5) it can, by 3e5 nat, and the bound says so.
void far_queries_between_means() {
  for (const Type type : {Type::spherical, Type::diagonal, Type::full, Type::low_rank}) {
    for (const int64_t k : {1, 2, 40, 2000}) {
      const int64_t d = 2, rank = type == Type::low_rank ? 1 : 0;
      const Mixture m("far between " + std::to_string(k) + " means, type " + std::to_string(static_cast<int>(type)), type, k, d, rank,
                      [](int64_t i, int64_t j, int64_t) { return j == 0 ? static_cast<double>(i) : 0; }, zero, zero);
      const double b = 0x1p-10, ahead = 0.2, certain = type == Type::low_rank ? 3e5 : 1e6;
      std::vector<double> x, far;
      for (double at = 1e2; at < 1e15; at *= 3) {
        far.push_back(at);
        x.insert(x.end(), {ahead, at});
      }
      for (const Instructions* set : sets()) {
        for (const Precision precision : {Precision::exact, Precision::float64}) {
          const Answers answers(*set, m, x, 1, b, precision);
          for (size_t q = 0; q < far.size(); ++q) {
            const double *score = answers.score.data() + 2 * q, bound = answers.error_score[q], b2 = b * b;
            const double error = std::hypot(score[0] + ahead / b2, score[1] + far[q] / b2);
            const std::string what = m.name + ", " + set->name + ", " + std::to_string(far[q]) + ": ";
            expect(error <= bound, what + "score off by " + std::to_string(error / bound) + " of its bound");
            expect(far[q] > certain || bound <= 1e-9 * far[q] / b2, what + "a bound of " + std::to_string(bound) + " where one component is certain");
            expect(bound <= 3 * far[q] / b2, what + "no more than all of the score");
          }
        }
      }
    }
  }
}

// Lengths times any power of two.
void any_units() {
  for (const Type type : {Type::spherical, Type::diagonal, Type::low_rank}) {
    const int64_t k = type == Type::low_rank ? 3 : 300, d = 64, rank = type == Type::low_rank ? 3 : 0;
    for (const int power : {25, 60, 70, 100, -25, -60, -100}) {
      const double unit = std::ldexp(1, power);
      const Mixture m("units of 2^" + std::to_string(power) + ", type " + std::to_string(static_cast<int>(type)), type, k, d, rank,
                      [&](int64_t, int64_t, int64_t) { return unit * 0.1 * normal(); },
                      [&](int64_t i, int64_t j, int64_t) { return unit * unit * (1 + 0.001 * static_cast<double>((7 * i + j) % 100)); },
                      [&](int64_t, int64_t, int64_t) { return unit * 0.05 * normal(); });
      exact_against_float64(m, many(8 * d, 1.4 * unit), 1, unit);
      if (type == Type::low_rank) exact_against_float64(m, many(8 * d, unit), 1, 0.03 * unit);
    }
  }
}

}  // namespace

int main() {
  equal_columns_are_one();
  flat_rows();
  far_queries_of_scale_mixtures();
  nearly_equal_axes();
  far_queries_between_means();
  any_units();
  return check::summary();
}
