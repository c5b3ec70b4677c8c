// Philox, forward draws from every kind of target, and the checks that prepare covariances.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "../core/draws.h"
#include "../core/philox.h"
#include "../core/prepare.h"
#include "check.h"

using namespace regimes;

namespace {

// Standard errors a statistic may be away from its expectation: one false alarm in 1.7 million per check.
constexpr double sigmas = 5;

Execution with_threads(int threads) {
  Execution execution;
  execution.threads = threads;
  return execution;
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
void philox_known_answers() {
  using Words = std::array<uint32_t, 4>;
  CHECK((philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  CHECK((philox4x32({ones, ones, ones, ones}, {ones, ones}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK((philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
         Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

Target points_target(const std::vector<double>& rows, int64_t d) {
  Target target;
  target.d = d;
  target.n = static_cast<int64_t>(rows.size()) / d;
  target.points = {rows.data(), target.n, d, Dtype::f64, 1, 0};
  return target;
}

void components_have_their_weights() {
  const std::vector<double> rows = {0, 1, 2, 3, 4, 5, 6};
  Target target = points_target(rows, 1);
  const int64_t count = 70000;
  std::vector<int32_t> component(count);
  SampleRequest request;
  request.seed = 11;
  request.count = count;
  request.component = component.data();
  const auto frequencies_match = [&](const std::vector<double>& weights) {
    CHECK(sample(target, request, with_threads(2)).ok());
    std::vector<double> seen(weights.size(), 0.0);
    for (const int32_t c : component) {
      if (c >= 0 && c < target.n) seen[c] += 1.0 / count;
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      CHECK_NEAR(seen[i], weights[i], sigmas * std::sqrt(weights[i] * (1 - weights[i]) / count));
    }
  };
  frequencies_match(std::vector<double>(7, 1.0 / 7));

  const std::vector<double> weights = {0, 0.5, 0, 0.25, 0.125, 0.125, 0};
  std::vector<double> log_weights;
  for (const double weight : weights) log_weights.push_back(weight > 0 ? std::log(weight) : no_weight);
  target.log_weights = log_weights.data();
  frequencies_match(weights);  // tolerance 0 where the weight is 0
  for (uint64_t r = 0; r < 20; ++r) CHECK(draw_component(target, 11, r) == component[r]);
}

void uniform_components_stay_in_range() {
  const double row = 0;
  Target target;
  target.d = 1;
  target.points = {&row, 1, 1, Dtype::f64, 1, 0};
  for (const int64_t n : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{2147483647}}) {
    target.n = n;
    for (uint64_t r = 0; r < 2000; ++r) {
      const int64_t component = draw_component(target, 5, r);
      CHECK(component >= 0 && component < n);
    }
  }
}

void draws_of_points_are_rows() {
  std::vector<double> rows(50 * 3);
  for (size_t k = 0; k < rows.size(); ++k) rows[k] = 0.5 * static_cast<double>(k * k % 97);
  const Target target = points_target(rows, 3);
  std::vector<double> x(200 * 3), y(200 * 3), z(3);
  std::vector<int32_t> component(200);
  SampleRequest request;
  request.seed = 3;
  request.count = 200;
  request.x = x.data();
  request.component = component.data();
  CHECK(sample(target, request, with_threads(1)).ok());
  for (int64_t r = 0; r < 200; ++r) CHECK(std::memcmp(&x[3 * r], &rows[3 * component[r]], 3 * sizeof(double)) == 0);
  request.a = 0.75;
  request.b = 2;
  request.x = y.data();
  CHECK(sample(target, request, with_threads(1)).ok());
  for (int64_t r = 0; r < 200; ++r) {
    draw_noise(3, static_cast<uint64_t>(r), 3, z.data());
    for (int64_t k = 0; k < 3; ++k) CHECK(y[3 * r + k] == 0.75 * x[3 * r + k] + 2 * z[k]);
  }
}

// A mixture of two Gaussians in three dimensions with its exact moments.
struct Mixture {
  std::vector<double> means = {1, -2, 0.5, -3, 4, 0};
  std::vector<double> log_weights = {std::log(0.3), std::log(0.7)};
  Covariances covariances;
  double matrices[2][3][3] = {};

  explicit Mixture(Covariances::Type type) {
    covariances.type = type;
    switch (type) {
      case Covariances::Type::spherical:
        covariances.values = {0.5, 2};
        break;
      case Covariances::Type::diagonal:
        covariances.values = {0.5, 1, 0, 2, 0.25, 3};
        break;
      case Covariances::Type::full:
        covariances.values = {2, 1, 0.5, 1, 3, -0.5, 0.5, -0.5, 1, 1, 0, 0, 0, 4, 2, 0, 2, 1};
        break;
      case Covariances::Type::low_rank:
        covariances.values = {0.5, 0.1, 0, 1, 1, 2};
        covariances.factors = {1, 0, 0.5, -1, 2, 0.25, 0, 0, 0, 1, -1, 0};
        covariances.rank = 2;
        break;
    }
    for (int k = 0; k < 2; ++k) {
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) matrices[k][i][j] = entry(k, i, j);
      }
    }
  }

  double entry(int k, int i, int j) const {
    const std::vector<double>& values = covariances.values;
    switch (covariances.type) {
      case Covariances::Type::spherical:
        return i == j ? values[k] : 0;
      case Covariances::Type::diagonal:
        return i == j ? values[3 * k + i] : 0;
      case Covariances::Type::full:
        return values[9 * k + 3 * i + j];
      case Covariances::Type::low_rank: {
        const double* w = covariances.factors.data() + 6 * k;
        return (i == j ? values[3 * k + i] : 0) + w[2 * i] * w[2 * j] + w[2 * i + 1] * w[2 * j + 1];
      }
    }
    return 0;
  }

  Target target() const {
    Target result;
    result.kind = Target::Kind::mixture;
    result.n = 2;
    result.d = 3;
    result.means = {means.data(), 2, 3};
    result.covariances = &covariances;
    result.log_weights = log_weights.data();
    return result;
  }
};

void draws_of_mixtures_have_their_moments() {
  using Type = Covariances::Type;
  for (const Type type : {Type::spherical, Type::diagonal, Type::full, Type::low_rank}) {
    Mixture mixture(type);
    CHECK(prepare(mixture.covariances, 2, 3, with_threads(1)).ok());
    const Target target = mixture.target();
    const int64_t count = 40000;
    std::vector<double> x(count * 3);
    std::vector<int32_t> component(count);
    SampleRequest request;
    request.a = 0.5;
    request.b = 0.8;
    request.seed = 1234567890123;
    request.count = count;
    request.x = x.data();
    request.component = component.data();
    CHECK(sample(target, request, with_threads(2)).ok());
    for (int k = 0; k < 2; ++k) {
      const auto members = static_cast<double>(std::count(component.begin(), component.end(), k));
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j <= i; ++j) {
          // Given the component, x ~ N(a m, S), S = a^2 C + b^2: products of two coordinates have variance S_ii S_jj + S_ij^2.
          const auto s = [&](int row, int column) { return 0.25 * mixture.matrices[k][row][column] + (row == column ? 0.64 : 0); };
          double mean = 0, product = 0;
          for (int64_t r = 0; r < count; ++r) {
            if (component[r] != k) continue;
            const double dx = x[3 * r + i] - 0.5 * mixture.means[3 * k + i];
            const double dy = x[3 * r + j] - 0.5 * mixture.means[3 * k + j];
            mean += dx / members;
            product += dx * dy / members;
          }
          CHECK_NEAR(mean, 0, sigmas * std::sqrt(s(i, i) / members));
          CHECK_NEAR(product, s(i, j), sigmas * std::sqrt((s(i, i) * s(j, j) + s(i, j) * s(i, j)) / members));
        }
      }
    }
  }
}

void draws_do_not_depend_on_threads_or_split() {
  Mixture mixture(Covariances::Type::full);
  CHECK(prepare(mixture.covariances, 2, 3, with_threads(2)).ok());
  const Target target = mixture.target();
  std::vector<double> whole(5000 * 3), other(5000 * 3);
  SampleRequest request;
  request.a = 0.9;
  request.b = 0.1;
  request.first = 7;
  request.count = 5000;
  request.x = whole.data();
  CHECK(sample(target, request, with_threads(1)).ok());
  for (const int threads : {2, 3}) {
    request.x = other.data();
    CHECK(sample(target, request, with_threads(threads)).ok());
    CHECK(other == whole);
  }
  request.count = 1001;
  CHECK(sample(target, request, with_threads(2)).ok());
  request.first += 1001;
  request.count = 5000 - 1001;
  request.x = other.data() + 3 * 1001;
  CHECK(sample(target, request, with_threads(2)).ok());
  CHECK(other == whole);
}

void impossible_requests_are_refused() {
  const Mixture mixture(Covariances::Type::spherical);
  const Target target = mixture.target();
  SampleRequest request;
  request.b = -1;
  CHECK(sample(target, request, with_threads(1)).code == Code::domain);
  request.b = std::nan("");
  CHECK(sample(target, request, with_threads(1)).code == Code::domain);
  std::atomic<bool> stop{true};
  Execution execution = with_threads(2);
  execution.stop = &stop;
  std::vector<double> x(30);
  request.b = 1;
  request.count = 10;
  request.x = x.data();
  CHECK(sample(target, request, execution).code == Code::cancelled);
}

Status prepared(Covariances::Type type, std::vector<double> values, int64_t k, int64_t d, Covariances* kept = nullptr) {
  Covariances covariances;
  covariances.type = type;
  covariances.values = std::move(values);
  const Status status = prepare(covariances, k, d, with_threads(2));
  if (kept != nullptr) *kept = covariances;
  return status;
}

void bad_covariances_are_named() {
  using Type = Covariances::Type;
  const double nan = std::nan("");
  CHECK(prepared(Type::spherical, {1, 0, 2}, 3, 4).ok());
  CHECK(prepared(Type::spherical, {1, 2}, 3, 4).code == Code::shape);
  const Status negative = prepared(Type::spherical, {1, -0.5, 2}, 3, 4);
  CHECK(negative.code == Code::not_psd);
  CHECK(negative.detail.find("component 1") != std::string::npos && negative.detail.find("-0.5") != std::string::npos);
  CHECK(prepared(Type::diagonal, {1, 1, 1, -1e-300}, 2, 2).code == Code::not_psd);
  CHECK(prepared(Type::diagonal, {1, nan, 1, 1}, 2, 2).code == Code::nonfinite);
  CHECK(prepared(Type::low_rank, {1, -1}, 1, 2).code == Code::not_psd);
  CHECK(prepared(Type::full, {1, 0, 0, HUGE_VAL}, 1, 2).code == Code::nonfinite);
  CHECK(prepared(Type::full, {2, 1, 1 + 1e-11, 2}, 1, 2).code == Code::domain);
  CHECK(prepared(Type::full, {2, 1, 1 + 1e-13, 2}, 1, 2).ok());
  const Status indefinite = prepared(Type::full, {1, 0, 0, 1, 1, 2, 2, 1}, 2, 2);
  CHECK(indefinite.code == Code::not_psd);
  CHECK(indefinite.detail.find("component 1") != std::string::npos && indefinite.detail.find("-1") != std::string::npos);
  CHECK(prepared(Type::full, {-1, 0, 0, -1}, 1, 2).code == Code::not_psd);
  CHECK(prepared(Type::full, {0, 0, 0, 0}, 1, 2).ok());
}

void full_covariances_are_decomposed() {
  Covariances covariances;
  CHECK(prepared(Covariances::Type::full, {1, 1, 1, 1, 5, 4, 4, 5}, 2, 2, &covariances).ok());
  const double tolerance = 1e-14;
  CHECK(covariances.eigenvalues[0] >= 0);
  CHECK_NEAR(covariances.eigenvalues[0], 0, tolerance);
  CHECK_NEAR(covariances.eigenvalues[1], 2, tolerance);
  CHECK_NEAR(covariances.eigenvalues[2], 1, tolerance);
  CHECK_NEAR(covariances.eigenvalues[3], 9, 4 * tolerance);
  for (int k = 0; k < 2; ++k) {
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        double sum = 0;
        for (int r = 0; r < 2; ++r) {
          const double* u = covariances.eigenvectors.data() + 4 * k + 2 * r;
          sum += covariances.eigenvalues[2 * k + r] * u[i] * u[j];
        }
        CHECK_NEAR(sum, covariances.values[4 * k + 2 * i + j], 4 * tolerance);
      }
    }
  }
}

}  // namespace

int main() {
  philox_known_answers();
  components_have_their_weights();
  uniform_components_stay_in_range();
  draws_of_points_are_rows();
  draws_of_mixtures_have_their_moments();
  draws_do_not_depend_on_threads_or_split();
  impossible_requests_are_refused();
  bad_covariances_are_named();
  full_covariances_are_decomposed();
  return check::summary();
}
