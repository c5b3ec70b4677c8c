// Philox, forward draws from every kind of target, and the checks that prepare covariances. Long, because every kind of target is drawn
// from and held against its law.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "../core/draws.h"
#include "../core/philox.h"
#include "../core/prepare.h"
#include "../cpu/cpu.h"
#include "check.h"
#include "quad.h"

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

// sin and cos of pi x / 2 for |x| <= 1/2 in 113 bits.
void quad_turn(Quad x, Quad& cosine, Quad& sine) {
  const Quad half_pi = Quad(0x1.921fb54442d18p+0) + Quad(0x1.1a62633145c07p-54) + Quad(-0x1.f1976b7ed8fbcp-110);
  const Quad angle = half_pi * x;
  Quad term = 1;
  cosine = sine = 0;
  for (int k = 0; k < 40; ++k) {
    (k % 2 == 0 ? cosine : sine) += k % 4 < 2 ? term : -term;
    term = term * angle / (k + 1);
  }
}

double ulps(double value, Quad exact) {
  int exponent;
  std::frexp(static_cast<double>(exact), &exponent);
  return std::abs(static_cast<double>((Quad(value) - exact) * Quad(std::ldexp(1.0, 53 - exponent))));
}

// Uniforms as the generator gives them, and its corners: the ends, quarter turns, where the exponent changes.
void logarithms_and_turns_are_accurate() {
  std::vector<double> uniforms;
  for (uint32_t k = 0; k < 20000; ++k) uniforms.push_back(uniform_pair(4, 5, 6, k)[k % 2]);
  for (const double corner : {0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.70710678118654752, 0.75, 0.875, 1.0}) {
    for (const double offset : {-0x1.8p-30, -0x1.8p-52, -0x1p-53, 0x1p-53, 0x1.8p-52, 0x1.8p-30}) {
      if (corner + offset > 0 && corner + offset < 1) uniforms.push_back(corner + offset);
    }
  }
  for (int k = 1; k <= 53; ++k) uniforms.push_back(std::ldexp(1.0, -k));
  double of_log = 0, of_turn = 0, of_normal = 0;
  for (const double u : uniforms) {
    const Quad exact_log = -log(Quad(u));
    of_log = std::max(of_log, ulps(negative_log<OneNumber>(u), exact_log));
    const double n = std::nearbyint(4 * u);
    Quad c, s;
    quad_turn(Quad(4 * u - n), c, s);
    const Quad turns[4][2] = {{c, s}, {-s, c}, {-c, -s}, {s, -c}};
    const auto& exact = turns[static_cast<int>(n) % 4];
    double cosine, sine;
    turn<OneNumber>(u, cosine, sine);
    if (static_cast<double>(exact[0]) != 0) of_turn = std::max(of_turn, ulps(cosine, exact[0]));
    if (static_cast<double>(exact[1]) != 0) of_turn = std::max(of_turn, ulps(sine, exact[1]));
    const double radius = std::sqrt(2 * negative_log<OneNumber>(u));
    of_normal = std::max(of_normal, ulps(radius * cosine, sqrt(Quad(2) * exact_log) * exact[0]));
  }
  CHECK(of_log < 1);
  CHECK(of_turn < 2);
  CHECK(of_normal < 3);
}

// Every kernel, every length of the last vector, seeds and trajectories above 32 bits.
void normals_have_the_same_bits_on_every_instruction_set() {
  std::vector<const Instructions*> sets = {&portable_set()};
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&amx_set(), &vnni_set(), &avx512_set(), &avx2_set()}) {
    if (set->kernels != nullptr) sets.push_back(set);
  }
#endif
  for (const Instructions* set : sets) {
    for (int64_t d = 1; d < 140; ++d) {
      const auto number = static_cast<uint64_t>(d);
      std::vector<double> z(static_cast<size_t>(d + 1), 7.0), expected(z);
      normals(0x0123456789abcdef + number, ~uint64_t{0} - number, static_cast<uint32_t>(d), d, expected.data());
      set->normals(0x0123456789abcdef + number, ~uint64_t{0} - number, static_cast<uint32_t>(d), d, z.data());
      CHECK(z == expected && z.back() == 7.0);
    }
    for (int64_t d = 1; d < 12; ++d) {
      const uint64_t number = (uint64_t{1} << 32) - 3;
      std::vector<double> together(static_cast<size_t>(d * normal_lanes + 1), 7.0), z(static_cast<size_t>(d));
      set->lane_normals(0x0123456789abcdef, number, static_cast<uint32_t>(d), d, together.data());
      CHECK(together.back() == 7.0);
      for (int64_t lane = 0; lane < normal_lanes; ++lane) {
        normals(0x0123456789abcdef, number + static_cast<uint64_t>(lane), static_cast<uint32_t>(d), d, z.data());
        for (int64_t j = 0; j < d; ++j) CHECK(together[j * normal_lanes + lane] == z[j]);
      }
    }
  }
}

// Mean 0, variance 1, third moment 0, fourth 3, neighbours independent, and the share beyond 2 and 3.5.
void normals_have_their_moments() {
  const int64_t count = 1 << 20;
  std::vector<double> z(count);
  normals(99, 1, 2, count, z.data());
  double sum = 0, square = 0, cube = 0, fourth = 0, product = 0, beyond_2 = 0, beyond_35 = 0;
  for (int64_t k = 0; k < count; ++k) {
    sum += z[k];
    square += z[k] * z[k];
    cube += z[k] * z[k] * z[k];
    fourth += z[k] * z[k] * z[k] * z[k];
    product += z[k] * z[(k + 1) % count];
    beyond_2 += z[k] > 2;
    beyond_35 += std::abs(z[k]) > 3.5;
  }
  const auto n = static_cast<double>(count);
  const double root = sigmas / std::sqrt(n), share_2 = std::erfc(2 / std::sqrt(2.0)) / 2, share_35 = std::erfc(3.5 / std::sqrt(2.0));
  CHECK_NEAR(sum / n, 0, root);
  CHECK_NEAR(square / n, 1, root * std::sqrt(2.0));
  CHECK_NEAR(cube / n, 0, root * std::sqrt(15.0));
  CHECK_NEAR(fourth / n, 3, root * std::sqrt(96.0));
  CHECK_NEAR(product / n, 0, root);
  CHECK_NEAR(beyond_2 / n, share_2, root * std::sqrt(share_2));
  CHECK_NEAR(beyond_35 / n, share_35, root * std::sqrt(share_35));
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
  logarithms_and_turns_are_accurate();
  normals_have_the_same_bits_on_every_instruction_set();
  normals_have_their_moments();
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
