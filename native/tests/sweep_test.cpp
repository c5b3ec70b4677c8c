// sweep of every CPU table of kernels. Points: against the definition in 113-bit arithmetic, with tolerances that follow from the
// rounding of the two inner products; bits over threads, splits, orders of times and choices of readings; the extent of its work
// areas. Mixtures: against the backend "reference". Long, because all sources of products are held against the one exact sweep.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "../core/draws.h"
#include "../core/layouts.h"
#include "../core/prepare.h"
#include "../cpu/cpu.h"
#include "../cpu/sweep.h"
#include "../reference/reference.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

constexpr int reading_count = 6;
const char* const reading_names[reading_count] = {"log density", "entropy", "sum of squares", "own log weight", "class squares", "class entropy"};

struct Curves {
  std::vector<double> values[reading_count];
  std::vector<int32_t> component;
  SweepRequest request;

  Curves(const std::vector<double>& a, const std::vector<double>& b, uint64_t first, int64_t count, Precision precision, bool classes) {
    const auto times = static_cast<int64_t>(a.size());
    for (int k = 0; k < (classes ? 6 : 4); ++k) values[k].resize(static_cast<size_t>(times * count));
    component.resize(static_cast<size_t>(count));
    request = {a.data(), b.data(), times, 5, first, count, component.data(), values[0].data(), values[1].data(), values[2].data(),
               values[3].data(), classes ? values[4].data() : nullptr, classes ? values[5].data() : nullptr, precision};
  }
};

Status sweep(const Instructions& set, const Target& target, const SweepRequest& request, int threads = 1) {
  Execution execution;
  execution.threads = threads;
  return target.kind == Target::Kind::points ? sweep_points(set, target, request, execution) : sweep_mixture(set, target, request, execution);
}

bool same_bits(const Curves& x, const Curves& y) {
  for (int k = 0; k < reading_count; ++k) {
    if (x.values[k].size() != y.values[k].size()) return false;
    if (x.values[k].empty()) continue;
    if (std::memcmp(x.values[k].data(), y.values[k].data(), x.values[k].size() * sizeof(double)) != 0) return false;
  }
  return x.component == y.component;
}

struct Points {
  std::string name;
  std::vector<double> rows, log_weights;
  std::vector<float> floats;
  std::vector<uint8_t> bytes;
  std::vector<int32_t> classes;
  Target target;
};

enum class Kind { normal, floats, bytes, clustered_bytes };

// How the inner products of a sweep are formed (sweep_products.h).
enum Source { differences, float_differences, digits, source_count };

Source source_of(const Target& target, Precision precision) {
  if (precision == Precision::float64 || target.points.dtype == Dtype::f64) return differences;
  return target.points.dtype == Dtype::f32 ? float_differences : target.d >= 32 ? digits : differences;
}

// Rows with duplicates (rows 2 and 5 repeat row 0 where there are that many), one label in three classes each.
void make_points(Points& p, Kind kind, int64_t n, int64_t d, bool weighted) {
  std::mt19937_64 random(static_cast<uint64_t>(n * 1000 + d));
  std::normal_distribution<double> law;
  p.name = std::string(kind == Kind::normal ? "normal" : kind == Kind::floats ? "floats" : kind == Kind::bytes ? "bytes" : "clustered bytes") + " n=" + std::to_string(n) +
           " d=" + std::to_string(d) + (weighted ? " weighted" : "");
  p.target.n = n;
  p.target.d = d;
  if (kind == Kind::normal || kind == Kind::floats) {
    for (int64_t k = 0; k < n * d; ++k) p.rows.push_back(law(random));
    for (const int64_t i : {2, 5}) {
      if (i < n) std::copy_n(p.rows.begin(), d, p.rows.begin() + i * d);
    }
    p.target.points = {p.rows.data(), n, d, Dtype::f64, 1, 0};
    if (kind == Kind::floats) {
      p.floats.assign(p.rows.begin(), p.rows.end());
      p.target.points = {p.floats.data(), n, d, Dtype::f32, -0.5, 0};  // exact values, turned about
    }
  } else {
    p.bytes.resize(static_cast<size_t>(n * d));
    for (uint8_t& byte : p.bytes) byte = static_cast<uint8_t>(random() % 5 == 0 ? 0 : random() % 5 == 1 ? 255 : random() % 256);
    // Neighbours one level apart in one coordinate: ties at every noise level.
    for (int64_t i = 1; kind == Kind::clustered_bytes && i < n; ++i) {
      std::copy_n(p.bytes.begin(), d, p.bytes.begin() + i * d);
      p.bytes[static_cast<size_t>(i * d + i % d)] ^= static_cast<uint8_t>(1 + i / d);
    }
    for (const int64_t i : {2, 5}) {
      if (i < n) std::copy_n(p.bytes.begin(), d, p.bytes.begin() + i * d);
    }
    p.target.points = {p.bytes.data(), n, d, Dtype::u8, 0x1p-7, -1};  // exact values, so that the definition sees the same data
  }
  for (int64_t i = 0; i < n && weighted; ++i) {
    const double total = static_cast<double>(n * (n + 1) / 2 - (n > 1 ? 2 : 0));
    p.log_weights.push_back(i == 1 ? no_weight : std::log(static_cast<double>(i + 1) / total));
  }
  if (weighted) p.target.log_weights = p.log_weights.data();
  for (int64_t i = 0; i < n; ++i) p.classes.push_back(static_cast<int32_t>(i % 3));
  p.target.classes = p.classes.data();
  p.target.class_count = 3;
}

// The readings of one draw at one time in 113-bit arithmetic, and how far rounding may move each of them.
struct Exact {
  Quad values[reading_count];
  double tolerance[source_count][reading_count];
};

// q and v of one draw with all rows, exact to 113 bits.
struct Pairs {
  std::vector<Quad> q, v;
  double half_square = 0, largest = 0;
  Quad exact_half_square = 0;
  int32_t own = 0;
};

Pairs pairs_of(const Target& target, uint64_t draw) {
  const int64_t d = target.d;
  std::vector<double> o(static_cast<size_t>(d)), z(o.size());
  Pairs pairs;
  pairs.own = draw_component(target, 5, draw);
  draw_origin(target, 5, draw, pairs.own, o.data());
  draw_noise(5, draw, d, z.data());
  for (int64_t j = 0; j < d; ++j) {
    pairs.exact_half_square += Quad(z[j]) * Quad(z[j]) / 2;
    pairs.largest = std::max(pairs.largest, std::abs(z[j]));
  }
  pairs.half_square = static_cast<double>(pairs.exact_half_square);
  for (int64_t i = 0; i < target.n; ++i) {
    Quad q = 0, v = 0;
    for (int64_t j = 0; j < d; ++j) {
      const Quad difference = Quad(o[j]) - Quad(target.points.value(i, j));
      q += difference * difference;
      v += Quad(z[j]) * difference;
    }
    pairs.q.push_back(q);
    pairs.v.push_back(v);
  }
  return pairs;
}

Exact exact_readings(const Target& target, const Pairs& pairs, double a, double b) {
  const int64_t n = target.n, d = target.d;
  const Quad ratio = Quad(a) / Quad(b);
  const double u = 0x1p-53, length = static_cast<double>(d);
  // l_i + |z|^2 / 2 = log pi_i - r (r/2 q + v)
  std::vector<Quad> logits;
  LogSumExp<Quad> sums;
  const Quad uniform = -log(Quad(static_cast<double>(n)));
  for (int64_t i = 0; i < n; ++i) {
    const Quad bias = target.log_weights ? Quad(target.log_weights[i]) : uniform;
    logits.push_back(bias - ratio * (ratio / 2 * pairs.q[i] + pairs.v[i]));
    sums.merge(LogSumExp<Quad>::single(logits.back(), i));
  }
  Exact exact;
  exact.values[0] = sums.log_sum() - pairs.exact_half_square - Quad(length) / 2 * log(Quad(2) * Quad(3.14159265358979323846264338327950288L) * Quad(b) * Quad(b));
  exact.values[1] = sums.entropy();
  exact.values[2] = sums.sum_squares();
  exact.values[3] = logits[static_cast<size_t>(pairs.own)] - sums.log_sum();
  std::vector<Quad> masses(static_cast<size_t>(target.class_count), Quad(0));
  std::vector<double> weights;
  const Quad total = sums.log_sum();
  for (int64_t i = 0; i < n; ++i) {
    const Quad weight = exp(logits[i] - total);
    weights.push_back(static_cast<double>(weight));
    masses[static_cast<size_t>(target.classes[i])] += weight;
  }
  exact.values[4] = class_squares(masses.data(), target.class_count);
  exact.values[5] = 0;
  for (const Quad& mass : masses) {
    if (static_cast<double>(mass) > 0) exact.values[5] -= mass * log(mass);
  }

  // A logit is off by delta_i. float64: q and v in chains of at most 32 and d / 32 additions and a few roundings, the terms of the logit,
  // and 1e-13 for the exponential and the sums. float32: the fixed point or the rounding of z and of the products with it, those of q
  // in chains, the terms of the logit and biases, 2^-20 for the exponential and 2^-18 for sums in chains of 64. To first order a
  // weight moves by w_i (delta_i + sum w delta).
  const double chain = u * (2 * std::min(length, 32.0) + length / 32 + 16);
  const double r = static_cast<double>(ratio), total_entropy = static_cast<double>(exact.values[1]), norm = std::sqrt(2 * pairs.half_square);
  const double own_log_weight = std::abs(static_cast<double>(exact.values[3]));
  for (const Source source : {differences, float_differences, digits}) {
    const bool single = source != differences;
    const double of_noise = std::min(std::sqrt(length), 6.0) * pairs.largest * 0x1p-24;  // 10 standard deviations
    double mean = 0, entropy = 0, own_delta = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double weight = weights[static_cast<size_t>(i)], distance = std::sqrt(static_cast<double>(pairs.q[i]));
      if (weight == 0 && i != pairs.own) continue;
      const double bias = target.log_weights ? std::abs(target.log_weights[i]) + std::abs(target.log_weights[pairs.own]) : 0;
      double delta = chain * (r * r * distance * distance / 2 + r * distance * norm) + 8 * u * bias + 1e-13;
      if (single) {
        if (source == float_differences) delta += 0x1p-21 * r * r * distance * distance / 2;
        const double terms = r * r * distance * distance / 2 + r * std::abs(static_cast<double>(pairs.v[i])) + bias;
        delta += of_noise * r * distance + 0x1p-22 * terms + 0x1p-20 + 0x1p-18;
      }
      if (i == pairs.own) own_delta = single ? 0 : delta;
      mean += weight * delta;
      if (weight > 0) entropy += weight * delta * (std::abs(std::log(weight)) + total_entropy + (single ? own_log_weight : 0));
    }
    // Terms below n e^-37 of the whole are dropped: 2^-53, times their own logarithm in the entropies.
    const double dropped = 2e-16 * (60 + std::log(static_cast<double>(n))), size = std::abs(static_cast<double>(exact.values[0]));
    double* tolerance = exact.tolerance[source];
    tolerance[0] = mean + 8 * u * (size + pairs.half_square + length * (1 + std::abs(std::log(b)))) + u * length + dropped;
    tolerance[1] = 2 * entropy + mean * (1 + total_entropy) + dropped;
    tolerance[2] = 4 * mean + dropped;
    tolerance[3] = mean + own_delta + u * std::abs(static_cast<double>(exact.values[3])) + dropped;
    tolerance[4] = 4 * mean + dropped;
    tolerance[5] = 2 * entropy + mean * (1 + total_entropy) + 4 * dropped;
  }
  return exact;
}

// Noise from far below any distance to far above; unsorted, one time twice, and a = 0.
const std::vector<double> noises = {0.3, 1e-8, 0.99, 1e-3, 100, 0.05, 0.7, 0.3, 1.5};

std::vector<double> signals() {
  std::vector<double> a;
  for (const double b : noises) a.push_back(b < 1 ? std::sqrt((1 - b) * (1 + b)) : b == 1.5 ? 0 : 1);
  return a;
}

// [draws][times] of a problem.
struct Oracle {
  std::vector<int32_t> component;
  std::vector<Exact> at;
};

Oracle oracle_of(const Points& p) {
  const std::vector<double> a = signals();
  Oracle oracle;
  const int64_t count = p.target.n * p.target.d > 20000 ? 3 : p.target.n > 100 ? 5 : 17;
  for (int64_t r = 0; r < count; ++r) {
    const Pairs pairs = pairs_of(p.target, static_cast<uint64_t>(2 + r));
    oracle.component.push_back(pairs.own);
    for (size_t t = 0; t < a.size(); ++t) oracle.at.push_back(exact_readings(p.target, pairs, a[t], noises[t]));
  }
  return oracle;
}

void test_points(const Instructions& set, const Points& p, const Oracle& oracle, Precision precision) {
  const std::vector<double> a = signals();
  const auto times = static_cast<int64_t>(a.size()), count = static_cast<int64_t>(oracle.component.size());
  const Source source = source_of(p.target, precision);
  const std::string where = std::string(set.name) + " " + p.name + (precision == Precision::exact ? " exact " : " float64 ");
  Curves curves(a, noises, 2, count, precision, true);
  CHECK(sweep(set, p.target, curves.request).ok());
  for (int64_t r = 0; r < count; ++r) {
    expect(curves.component[r] == oracle.component[r], where + "component");
    for (int64_t t = 0; t < times; ++t) {
      const Exact& exact = oracle.at[static_cast<size_t>(r * times + t)];
      for (int k = 0; k < reading_count; ++k) {
        const double value = curves.values[k][t * count + r], off = std::abs(static_cast<double>(Quad(value) - exact.values[k]));
        const double tolerance = exact.tolerance[source][k];
        expect(off <= tolerance, where + reading_names[k] + " at b=" + std::to_string(noises[t]) + " is off by " + std::to_string(off * 1e12) + "e-12, more than " + std::to_string(tolerance * 1e12) + "e-12");
      }
      expect(exact.tolerance[source][0] < (source != differences ? log_density_contract : 1e-6) + 1e-12 * std::abs(static_cast<double>(exact.values[0])), where + "contract of the log density at every noise level");
      expect(curves.values[1][t * count + r] >= 0 && curves.values[2][t * count + r] <= 1 && curves.values[3][t * count + r] <= 0, where + "range");
    }
    for (int k = 0; k < reading_count; ++k) expect(curves.values[k][r] == curves.values[k][7 * count + r], where + "a repeated time");
  }
}

void test_bits(const Instructions& set, const Points& p, Precision precision) {
  const std::vector<double> a = signals();
  const auto times = static_cast<int64_t>(a.size());
  const int64_t count = 37;
  const std::string where = std::string(set.name) + " " + p.name + " bits: ";
  Curves whole(a, noises, 2, count, precision, true);
  CHECK(sweep(set, p.target, whole.request).ok());
  for (const int threads : {2, 3, 8}) {
    Curves again(a, noises, 2, count, precision, true);
    CHECK(sweep(set, p.target, again.request, threads).ok());
    expect(same_bits(whole, again), where + "threads");
  }
  for (const auto& [first, part] : {std::pair<int64_t, int64_t>{0, 1}, {1, 20}, {9, 28}}) {
    Curves some(a, noises, static_cast<uint64_t>(2 + first), part, precision, true);
    CHECK(sweep(set, p.target, some.request, 2).ok());
    bool equal = true;
    for (int k = 0; k < reading_count; ++k) {
      for (int64_t t = 0; t < times; ++t) {
        equal = equal && std::memcmp(some.values[k].data() + t * part, whole.values[k].data() + t * count + first, sizeof(double) * static_cast<size_t>(part)) == 0;
      }
    }
    expect(equal, where + "splits of the draws");
  }
  for (int64_t t = 0; t < times; ++t) {
    const std::vector<double> one_a{a[t]}, one_b{noises[t]};
    Curves one(one_a, one_b, 2, count, precision, true);
    CHECK(sweep(set, p.target, one.request).ok());
    bool equal = true;
    for (int k = 0; k < reading_count; ++k) {
      equal = equal && std::memcmp(one.values[k].data(), whole.values[k].data() + t * count, sizeof(double) * static_cast<size_t>(count)) == 0;
    }
    expect(equal, where + "times together or alone");
  }
  Curves alone(a, noises, 2, count, precision, false);
  alone.request.entropy = alone.request.sum_squares = nullptr;
  CHECK(sweep(set, p.target, alone.request).ok());
  expect(alone.values[0] == whole.values[0] && alone.values[3] == whole.values[3], where + "readings together or alone");
}

// Both precisions where the 113-bit loop is too slow: several spans of rows, and the screened and full sums.
void test_large(const Instructions& set) {
  Points p;
  make_points(p, Kind::bytes, 70001, 33, false);
  const std::vector<double> a = signals();
  const int64_t count = 19;
  Curves exact(a, noises, 0, count, Precision::exact, true), full(a, noises, 0, count, Precision::float64, true);
  CHECK(sweep(set, p.target, exact.request, 2).ok());
  CHECK(sweep(set, p.target, full.request, 2).ok());
  for (int k = 0; k < reading_count; ++k) {
    for (size_t j = 0; j < exact.values[k].size(); ++j) {
      // Logits by 5e-5 at the most: 6 5 2^-24 times r sqrt(q) < 20, and 2^-22 of terms below 100; entropies by that times log n.
      const double tolerance = (k == 1 || k == 5 ? 5e-5 * std::log(70001.0) : 5e-5) + 1e-6 * std::abs(full.values[k][j] * (k == 0 ? 1e-8 : 1));
      expect(std::abs(exact.values[k][j] - full.values[k][j]) <= tolerance, std::string(set.name) + " large " + reading_names[k]);
    }
  }
  // Float data that are bytes in disguise take the same path by their layout, with the same bits.
  std::vector<float> floats;
  for (const uint8_t byte : p.bytes) floats.push_back(static_cast<float>(byte * 0x1p-7 - 1));
  Layouts layouts;
  layouts.digits.owned = p.bytes;
  layouts.digits.owned.resize(p.bytes.size() + 64);
  layouts.digits.rows = layouts.digits.owned.data();
  layouts.digits.stride = 33;
  layouts.digits.lossless = true;
  layouts.digits.scale.assign(33, 0x1p-7);
  Target disguised = p.target;
  disguised.points = {floats.data(), p.target.n, 33, Dtype::f32, 1, 0};
  disguised.layouts = &layouts;
  Curves again(a, noises, 0, count, Precision::exact, true);
  CHECK(sweep(set, disguised, again.request, 2).ok());
  expect(same_bits(exact, again), std::string(set.name) + " bytes in disguise");
  // Columns of different scales are no case for integers.
  layouts.digits.scale[3] = 0x1p-8;
  Curves plain(a, noises, 0, count, Precision::exact, true), alone(a, noises, 0, count, Precision::exact, true);
  CHECK(sweep(set, disguised, plain.request, 2).ok());
  disguised.layouts = nullptr;
  CHECK(sweep(set, disguised, alone.request, 2).ok());
  expect(same_bits(plain, alone), std::string(set.name) + " unequal scales");
}

// float16 rows have the bits of the same numbers in float32; more columns and rows than one block holds.
void test_halves(const Instructions& set) {
  constexpr int64_t n = 300, d = 133;
  std::vector<Half> halves;
  std::mt19937_64 random(9);
  for (int64_t k = 0; k < n * d; ++k) halves.push_back({static_cast<uint16_t>(0x3400 + random() % 0x800 + (random() % 2 << 15))});
  const std::vector<float> floats(halves.begin(), halves.end());
  Target target;
  target.n = n;
  target.d = d;
  const std::vector<double> a = signals();
  Curves of_floats(a, noises, 0, 20, Precision::exact, false), of_halves(a, noises, 0, 20, Precision::exact, false);
  target.points = {floats.data(), n, d, Dtype::f32, 1, 0};
  CHECK(sweep(set, target, of_floats.request).ok());
  target.points = {halves.data(), n, d, Dtype::f16, 1, 0};
  CHECK(sweep(set, target, of_halves.request, 2).ok());
  expect(same_bits(of_floats, of_halves), std::string(set.name) + " float16");
}

// What float32 cannot hold is added in float64: pairs whose logits rise beyond e^40 at their peak, which random draws never show.
void test_high_pairs(const Instructions& set) {
  constexpr int rows = 8;
  constexpr int64_t times = 3;
  const double ratios[times] = {1.0, 10.0, 1e20}, reach = 50;
  for (const bool weighted : {false, true}) {
    std::vector<float> q(rows * 16, 4.0f), v(rows * 16, 1.0f), bias(rows, -2.0f), own_bias(16, -2.5f);
    q[3 * 16 + 11] = 1.0f, v[3 * 16 + 11] = -11.0f;  // L = 60.5 - (r - 11)^2 / 2
    q[6 * 16 + 11] = 0.0f, v[6 * 16 + 11] = 0.0f;    // a duplicate
    std::vector<double> sums(2 * times * 3 * 8), classes(2 * times * 2 * 8);
    std::vector<int32_t> labels(rows, 1);
    FloatPairBlock block;
    block.q = q.data(), block.v = v.data(), block.rows = rows, block.ratios = ratios, block.times = times, block.reach = reach;
    block.bias = weighted ? bias.data() : nullptr, block.own_bias = own_bias.data(), block.gaps = block.squares = true;
    block.classes = labels.data(), block.class_count = 2;
    for (int half = 0; half < 2; ++half) {
      block.sums[half] = sums.data() + half * times * 24;
      block.class_sums[half] = classes.data() + half * times * 16;
    }
    const std::vector<float> before = q;
    set.kernels->float_pair_sums(block);
    for (int64_t t = 0; t < times; ++t) {
      for (int lane = 0; lane < 16; ++lane) {
        double sum = 0, gap = 0, squares = 0;
        for (int r = 0; r < rows; ++r) {
          const double logit = -ratios[t] * (ratios[t] / 2 * before[r * 16 + lane] + v[r * 16 + lane]) + (weighted ? 0.5 : 0);
          if (logit < -reach) continue;
          sum += std::exp(logit), gap += std::exp(logit) * logit, squares += std::exp(2 * logit);
        }
        const double* found = block.sums[lane / 8] + t * 24 + lane % 8;
        CHECK_NEAR(found[0], sum, 1e-5 * sum);
        CHECK_NEAR(found[8], gap, 1e-5 * (std::abs(gap) + sum));
        CHECK_NEAR(found[16], squares, 1e-5 * squares);
        CHECK_NEAR(block.class_sums[lane / 8][(t * 2 + 1) * 8 + lane % 8], sum, 1e-5 * sum);
      }
    }
  }
}

// Many classes: work areas hold few times together, and no bit changes.
void test_many_classes(const Instructions& set) {
  Points p;
  make_points(p, Kind::normal, 30000, 1, false);
  for (int32_t i = 0; i < 30000; ++i) p.classes[static_cast<size_t>(i)] = i;
  p.target.class_count = 30000;
  std::vector<double> a, b;
  for (int t = 0; t < 24; ++t) b.push_back(1e-4 * std::pow(1.4, t)), a.push_back(1);
  const SweepExtent extent = sweep_extent(30000, 1, 4, 24, 30000);
  CHECK(extent.times < 24 && extent.bytes <= sweep_bytes);
  Curves curves(a, b, 0, 4, Precision::exact, true);
  CHECK(sweep(set, p.target, curves.request, 2).ok());
  for (size_t j = 0; j < curves.values[1].size(); ++j) {
    // A class is a row, so the readings of classes are those of rows (but for duplicates, which are classes of their own).
    CHECK_NEAR(curves.values[4][j], curves.values[2][j], 1e-12);
    CHECK_NEAR(curves.values[5][j], curves.values[1][j], 1e-11);
  }
  const std::vector<double> one_a{a[13]}, one_b{b[13]};
  Curves one(one_a, one_b, 0, 4, Precision::exact, true);
  CHECK(sweep(set, p.target, one.request).ok());
  for (int64_t r = 0; r < 4; ++r) CHECK(one.values[5][r] == curves.values[5][13 * 4 + r]);
}

void test_extent() {
  for (const int64_t n : {int64_t{1}, int64_t{60000}, int64_t{1} << 30}) {
    for (const int64_t d : {int64_t{1}, int64_t{784}, int64_t{100000}, int64_t{4} << 20}) {
      for (const int64_t times : {1, 100, 10000}) {
        for (const int64_t classes : {int64_t{0}, int64_t{10}, int64_t{40000}, int64_t{1} << 24}) {
          const SweepExtent extent = sweep_extent(n, d, 100000, times, classes);
          const int64_t least = draw_group * (24 * d + extent.spans * 8 * (3 + classes));  // one group of draws at one time
          CHECK(extent.bytes <= std::max(sweep_bytes, least));
          CHECK(extent.draws >= draw_group && extent.draws % draw_group == 0);
          CHECK(extent.times >= 1 && extent.times <= times);
          CHECK(extent.spans >= 1 && extent.spans <= 8 && extent.spans * extent.span_rows >= n && extent.span_rows % 4096 == 0);
        }
      }
    }
  }
  // The common case is not cut.
  const SweepExtent common = sweep_extent(60000, 784, 1000, 100, 10);
  CHECK(common.draws >= 1000 && common.times == 100);
  CHECK(sweep_extent(60000, 784, 1, 3, 0).draws == draw_group);
}

void test_cancelled(const Instructions& set) {
  Points p;
  make_points(p, Kind::bytes, 500, 40, false);
  const std::vector<double> a = signals();
  Curves curves(a, noises, 0, 20, Precision::exact, true);
  std::atomic<bool> stop{true};
  Execution execution;
  execution.stop = &stop;
  CHECK(sweep_points(set, p.target, curves.request, execution).code == Code::cancelled);
}

struct Mixture {
  std::vector<double> means;
  std::vector<int32_t> classes;
  Covariances covariances;
  Target target;
};

void make_mixture(Mixture& m, Covariances::Type type) {
  constexpr int64_t k = 4, d = 5;
  std::mt19937_64 random(static_cast<uint64_t>(type) + 7);
  std::normal_distribution<double> law;
  const auto normal = [&](int64_t count, double scale) {
    std::vector<double> values(static_cast<size_t>(count));
    for (double& value : values) value = scale * law(random);
    return values;
  };
  m.means = normal(k * d, 2);
  Covariances& c = m.covariances;
  c.type = type;
  c.values = normal(type == Covariances::Type::spherical ? k : k * d, 1);
  for (double& value : c.values) value *= value;
  if (type == Covariances::Type::low_rank) {
    c.rank = 2;
    c.factors = normal(k * d * c.rank, 1);
  }
  if (type == Covariances::Type::full) {
    c.values.assign(static_cast<size_t>(k * d * d), 0.0);
    for (int64_t i = 0; i < k; ++i) {
      const std::vector<double> root = normal(d * d, 1);
      for (int64_t r = 0; r < d * d * d; ++r) c.values[i * d * d + r / d] += root[r / (d * d) * d + r % d] * root[r / d % d * d + r % d] / d;
    }
  }
  CHECK(prepare(c, k, d, {}).ok());
  m.target.kind = Target::Kind::mixture;
  m.target.n = k;
  m.target.d = d;
  m.target.means = {m.means.data(), k, d};
  m.target.covariances = &c;
  for (int32_t i = 0; i < k; ++i) m.classes.push_back(i);
  m.target.classes = m.classes.data();
  m.target.class_count = k;
}

void test_mixture(const Instructions& set, Covariances::Type type) {
  Mixture m;
  make_mixture(m, type);
  const std::vector<double> b = {0.3, 1e-3, 0.05, 0.99, 0.7};
  std::vector<double> a;
  for (const double value : b) a.push_back(std::sqrt((1 - value) * (1 + value)));
  const int64_t count = 13;
  Curves fast(a, b, 2, count, Precision::float64, true), threaded(a, b, 2, count, Precision::float64, true), defined(a, b, 2, count, Precision::float64, true);
  CHECK(sweep(set, m.target, fast.request).ok());
  CHECK(sweep(set, m.target, threaded.request, 3).ok());
  CHECK(reference_backend().sweep(m.target, defined.request, {}).ok());
  expect(same_bits(fast, threaded), std::string(set.name) + " mixture threads");
  CHECK(fast.component == defined.component);
  for (int k = 0; k < reading_count; ++k) {
    for (size_t j = 0; j < fast.values[k].size(); ++j) {
      // The reference forms x in float64, whose rounding moves a logit by |x| u |m_i - m_j| / b^2 at most.
      const double noise = b[j / static_cast<size_t>(count)], scale = 1e-12 + 4e-15 * 5 / (noise * noise);
      expect(std::abs(fast.values[k][j] - defined.values[k][j]) <= scale * (1 + std::abs(defined.values[k][j])),
             std::string(set.name) + " mixture " + reading_names[k]);
    }
  }
}

void test_set(const Instructions& set, const std::vector<Points*>& problems, const std::vector<Oracle>& oracles) {
  if (set.kernels == nullptr || set.digits == nullptr) return;
  for (size_t k = 0; k < problems.size(); ++k) {
    for (const Precision precision : {Precision::exact, Precision::float64}) {
      test_points(set, *problems[k], oracles[k], precision);
      if (problems[k]->target.n > 1) test_bits(set, *problems[k], precision);
    }
  }
  test_large(set);
  test_many_classes(set);
  test_high_pairs(set);
  test_halves(set);
  test_cancelled(set);
  for (const auto type : {Covariances::Type::spherical, Covariances::Type::diagonal, Covariances::Type::full, Covariances::Type::low_rank}) {
    test_mixture(set, type);
  }
}

}  // namespace

int main() {
  test_extent();
  std::vector<Points*> problems;
  for (const Kind kind : {Kind::normal, Kind::floats, Kind::bytes, Kind::clustered_bytes}) {
    for (const auto& [n, d] : {std::pair<int64_t, int64_t>{1, 40}, {2, 3}, {23, 40}, {150, 40}, {60, 784}, {41, 1}}) {
      for (const bool weighted : {false, true}) make_points(*problems.emplace_back(new Points), kind, n, d, weighted);
    }
  }
  std::vector<Oracle> oracles;
  for (const Points* p : problems) oracles.push_back(oracle_of(*p));
  test_set(portable_set(), problems, oracles);
#ifdef REGIMES_X86_KERNELS
  test_set(avx2_set(), problems, oracles);
  test_set(avx512_set(), problems, oracles);
  test_set(vnni_set(), problems, oracles);
  test_set(amx_set(), problems, oracles);
#endif
  for (Points* p : problems) delete p;
  return check::summary();
}
