// posterior over space-ordered tiles against the definition in 113-bit arithmetic and against the float64 pass: the contract of
// "exact", the bounds it reports, indices that are exact, bits that depend on nothing but the query and the data.
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "../core/layouts.h"
#include "../cpu/posterior_small.h"
#include "../reference/posterior.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

enum class Shape { normal, clusters, duplicates, equal, line, offset, outlier };

struct Problem {
  std::string name;
  std::vector<double> rows, log_weights, x;
  std::vector<float> singles;
  std::vector<uint8_t> bytes;
  std::vector<int32_t> classes;
  Layouts layouts;
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

void make_data(Problem& p, Shape shape, int64_t n, int64_t d, Dtype dtype, bool weighted) {
  std::mt19937_64 random(static_cast<uint64_t>(n * 100 + d));
  const char* names[] = {"normal", "clusters", "duplicates", "equal", "line", "offset", "outlier"};
  p.name = std::string(names[static_cast<int>(shape)]) + " n=" + std::to_string(n) + " d=" + std::to_string(d) + (weighted ? " weighted" : "");
  p.rows = normal(random, static_cast<size_t>(n * d));
  const std::vector<double> direction = normal(random, static_cast<size_t>(d));
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t cluster = random() % 8;
    const double along = p.rows[i * d];
    for (int64_t k = 0; k < d; ++k) {
      double& value = p.rows[i * d + k];
      if (shape == Shape::clusters) value = 0.1 * value + 2 * std::cos(static_cast<double>(cluster) * 0.785 + static_cast<double>(k));
      if (shape == Shape::duplicates) value = i >= n / 3 ? p.rows[(i % std::max<int64_t>(1, n / 3)) * d + k] + (i % 2 ? 0 : 1e-9) : value;
      if (shape == Shape::equal) value = 0.7;
      if (shape == Shape::line) value = along * direction[k];
      if (shape == Shape::offset) value += 1e6;
      if (shape == Shape::outlier && i == n / 2) value = 1e5;
    }
  }
  p.target.n = n;
  p.target.d = d;
  p.target.points = {p.rows.data(), n, d, Dtype::f64, 1, 0};
  if (dtype == Dtype::f32) {
    for (const double value : p.rows) p.singles.push_back(static_cast<float>(value));
    p.target.points = {p.singles.data(), n, d, Dtype::f32, 1, 0};
  }
  if (dtype == Dtype::u8) {
    for (const double value : p.rows) p.bytes.push_back(static_cast<uint8_t>(std::clamp(128 + 30 * value, 0.0, 255.0)));
    p.target.points = {p.bytes.data(), n, d, Dtype::u8, 1 / 30.0, -128 / 30.0};
  }
  if (weighted) {
    double total = 0;
    std::vector<double> weights;
    for (int64_t i = 0; i < n; ++i) {
      weights.push_back(i % 5 == 1 ? 0 : std::exp(static_cast<double>(random() % 4000) / 300));
      total += weights.back();
    }
    for (const double weight : weights) p.log_weights.push_back(weight > 0 ? std::log(weight / total) : no_weight);
    p.target.log_weights = p.log_weights.data();
  }
  for (int64_t i = 0; i < n; ++i) p.classes.push_back(static_cast<int32_t>(i % 3));
  p.target.classes = p.classes.data();
  p.target.class_count = 3;
  CHECK(build_boxes(p.target, {}, p.layouts.boxes).ok());
  p.target.layouts = &p.layouts;
}

// Queries drawn forward, at ties between two data, near the mean of all data, and far away.
void make_queries(Problem& p, double b, int64_t batch) {
  const int64_t n = p.target.n, d = p.target.d;
  std::mt19937_64 random(static_cast<uint64_t>(n + d));
  p.b = b;
  p.a = b < 1 ? std::sqrt((1 - b) * (1 + b)) : 1;
  p.batch = batch;
  p.x.clear();
  for (int64_t q = 0; q < batch; ++q) {
    const std::vector<double> noise = normal(random, static_cast<size_t>(d));
    const int64_t one = static_cast<int64_t>(random() % static_cast<uint64_t>(n)), two = p.layouts.boxes.order[(one * 7 + 1) % n];
    for (int64_t k = 0; k < d; ++k) {
      const double own = p.target.points.value(one, k), other = p.target.points.value(two, k), from_two = 0.5 * (own + other);
      const double x = q % 4 == 0 ? own : q % 4 == 1 ? from_two : q % 4 == 2 ? 1e-3 * own : own + 30;
      p.x.push_back(p.a * x + (q % 4 < 2 ? b * noise[k] : 0));
    }
  }
}

struct Readings {
  std::vector<double> log_density, denoised, score, entropy, squares, class_weights, top_weight, error_log_density, error_score, nearest_weight;
  std::vector<int32_t> nearest, top, survivors;
  std::vector<uint8_t> path;
  PosteriorRequest request;

  Readings(const Problem& p, int64_t first, int64_t count, bool all = true) {
    const int64_t d = p.target.d, top_count = std::min<int64_t>(4, p.target.n);
    for (auto* v : {&log_density, &entropy, &squares, &error_log_density, &error_score, &nearest_weight}) v->resize(count);
    for (auto* v : {&denoised, &score}) v->assign(count * d, check::unwritten);
    class_weights.resize(count * p.target.class_count);
    top_weight.resize(count * top_count);
    nearest.resize(count);
    top.resize(count * top_count);
    survivors.resize(count);
    path.resize(count);
    request.x = {p.x.data() + first * d, count, d};
    request.a = p.a;
    request.b = p.b;
    request.log_density = log_density.data();
    request.denoised = denoised.data();
    request.score = score.data();
    request.error_log_density = error_log_density.data();
    request.error_score = error_score.data();
    request.survivors = survivors.data();
    request.path = path.data();
    if (!all) return;
    request.entropy = entropy.data();
    request.sum_squares = squares.data();
    request.nearest_index = nearest.data();
    request.nearest_weight = nearest_weight.data();
    request.class_weights = class_weights.data();
    request.top = top_count;
    request.top_index = top.data();
    request.top_weight = top_weight.data();
  }

  // All values that belong to query q.
  std::vector<double> of(int64_t q, int64_t d, bool all = true) const {
    std::vector<double> values{log_density[q], error_log_density[q], error_score[q], static_cast<double>(survivors[q]), static_cast<double>(path[q])};
    for (int64_t k = 0; k < d; ++k) values.insert(values.end(), {denoised[q * d + k], score[q * d + k]});
    if (!all) return values;
    values.insert(values.end(), {entropy[q], squares[q], nearest_weight[q], static_cast<double>(nearest[q])});
    for (int64_t c = 0; c < 3; ++c) values.push_back(class_weights[q * 3 + c]);
    for (int64_t k = 0; k < request.top; ++k) values.insert(values.end(), {top_weight[q * request.top + k], static_cast<double>(top[q * request.top + k])});
    return values;
  }
};

bool same_bits(const std::vector<double>& x, const std::vector<double>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
}

template <class Real>
double difference(const double* x, const Real* y, int64_t d) {
  double square = 0;
  for (int64_t k = 0; k < d; ++k) {
    const double off = static_cast<double>(Real(x[k]) - y[k]);
    square += off * off;
  }
  return std::sqrt(square);
}

double length(const double* v, int64_t d) { return difference(v, std::vector<double>(static_cast<size_t>(d), 0.0).data(), d); }

struct Tally {
  int64_t single = 0, refined = 0, all = 0;
};
std::map<std::string, Tally> tallies;
std::vector<const Instructions*> sets;

// One query against values known better: `slack` is what the other side may be wrong by (0 for the oracle).
struct Truth {
  double log_density, entropy, squares, slack_log_density, slack_score;
  const double* denoised;
  const double* class_weights;
};

// The contract of "exact", for an error of the score already measured.
void check_contract(const Problem& p, const Readings& r, int64_t q, const std::string& where, double score_error, const Truth& truth) {
  const int64_t d = p.target.d;
  const double b2 = p.b * p.b, norm_x = length(p.x.data() + q * d, d), norm_mean = p.a * length(truth.denoised, d);
  const double log_error = std::abs(r.log_density[q] - truth.log_density);
  expect(log_error <= r.error_log_density[q] + truth.slack_log_density, where + " log density bound");
  expect(score_error <= r.error_score[q] + truth.slack_score, where + " score bound, " + std::to_string(score_error / r.error_score[q]));
  // Far queries are limited by float64 itself: u |l| of their logits.
  const double rounding = 64 * 0x1p-53 * (1 + std::abs(truth.log_density));
  expect(log_error <= 1e-4 + rounding + truth.slack_log_density, where + " log density contract");
  double contract = 1e-5 * (norm_x + norm_mean) / b2;
  const double norm_score = length(r.score.data() + q * d, d);
  if (norm_score >= std::sqrt(static_cast<double>(d)) / (2 * p.b)) contract = std::min(contract, 1e-5 * norm_score);
  // At the zero of |x| + a |D| no float64 result can meet it: then the bound of the float64 path stands.
  const bool single = r.path[q] == static_cast<uint8_t>(Path::dense);
  expect(score_error <= (single ? contract : std::max(contract, r.error_score[q])) + truth.slack_score, where + " score contract");
  // A relative error eta <= 1e-4 of the weights moves the entropy by eta (1 + log n) at most, the others by a few eta.
  const double eta = single ? 1e-4 : 1e-10 + 100 * rounding;
  expect(std::abs(r.entropy[q] - truth.entropy) <= eta * (2 + std::log(static_cast<double>(p.target.n))), where + " entropy");
  expect(std::abs(r.squares[q] - truth.squares) <= 4 * eta * truth.squares, where + " sum of squares");
  for (int c = 0; c < 3; ++c) expect(std::abs(r.class_weights[q * 3 + c] - truth.class_weights[c]) <= 2 * eta, where + " class weight");
}

void test_set(const Problem& p, const Instructions& set, const std::vector<reference::Posterior<Quad>>& oracle) {
  const int64_t d = p.target.d, batch = p.batch;
  Readings r(p, 0, batch), plain(p, 0, batch);
  CHECK(small_applies(p.target, r.request));
  CHECK(posterior_small(set, p.target, r.request, {}).ok());
  CHECK(posterior_float64(*set.kernels, p.target, plain.request, {}).ok());
  for (int64_t q = 0; q < batch; ++q) {
    const bool single = r.path[q] == static_cast<uint8_t>(Path::dense);
    const std::string where = std::string(set.name) + " " + p.name + " b=" + std::to_string(p.b) + " query " + std::to_string(q) + " path " + std::to_string(r.path[q]);
    Tally& tally = tallies[set.name];
    ++(single ? tally.single : r.path[q] == static_cast<uint8_t>(Path::refined) ? tally.refined : tally.all);
    const Truth other{plain.log_density[q], plain.entropy[q], plain.squares[q], plain.error_log_density[q], plain.error_score[q],
                      plain.denoised.data() + q * d, plain.class_weights.data() + q * 3};
    check_contract(p, r, q, where, difference(r.score.data() + q * d, plain.score.data() + q * d, d), other);
    expect(r.nearest[q] == plain.nearest[q], where + " nearest");
    const double logit = 1 + std::abs(plain.log_density[q]);
    for (int64_t k = 0; k < r.request.top; ++k) {
      const int64_t at = q * r.request.top + k;
      expect(r.top[at] == plain.top[at], where + " top");
      expect(std::abs(r.top_weight[at] - plain.top_weight[at]) <= (single ? 1e-4 : 1e-10 + 1e-13 * logit) * plain.top_weight[at] + 1e-300,
             where + " top weight");
    }
    if (oracle.empty()) continue;
    const auto& exact = oracle[q];
    std::vector<double> denoised, classes;
    for (const Quad& value : exact.denoised) denoised.push_back(static_cast<double>(value));
    for (const Quad& value : exact.class_weights) classes.push_back(static_cast<double>(value));
    const Truth truth{static_cast<double>(exact.log_density), static_cast<double>(exact.entropy), static_cast<double>(exact.sum_squares), 0, 0,
                      denoised.data(), classes.data()};
    check_contract(p, r, q, where + " oracle", difference(r.score.data() + q * d, exact.score.data(), d), truth);
  }
}

void test_accuracy(const Problem& p, bool with_oracle) {
  std::vector<reference::Posterior<Quad>> oracle;
  for (int64_t q = 0; with_oracle && q < p.batch; ++q) {
    oracle.push_back(reference::posterior<Quad>(p.target, p.x.data() + q * p.target.d, nullptr, p.a, p.b));
  }
  for (const Instructions* set : sets) test_set(p, *set, oracle);
}

void test_bits(const Problem& p, const Instructions& set) {
  const int64_t d = p.target.d;
  Readings whole(p, 0, p.batch);
  CHECK(posterior_small(set, p.target, whole.request, {}).ok());
  for (const int threads : {2, 3}) {
    Readings again(p, 0, p.batch);
    Execution execution;
    execution.threads = threads;
    CHECK(posterior_small(set, p.target, again.request, execution).ok());
    for (int64_t q = 0; q < p.batch; ++q) expect(same_bits(whole.of(q, d), again.of(q, d)), p.name + " threads");
  }
  for (const int64_t step : {1, 5}) {
    for (int64_t first = 0; first < p.batch; first += step) {
      const int64_t count = std::min(step, p.batch - first);
      Readings part(p, first, count), fewer(p, first, count, false);
      CHECK(posterior_small(set, p.target, part.request, {}).ok());
      CHECK(posterior_small(set, p.target, fewer.request, {}).ok());
      for (int64_t q = 0; q < count; ++q) {
        expect(same_bits(whole.of(first + q, d), part.of(q, d)), p.name + " batch split");
        expect(same_bits(whole.of(first + q, d, false), fewer.of(q, d, false)), p.name + " fewer readings");
      }
    }
  }
}

// Every row stands in one place, its tile's box holds it, and no bound lies below a logit.
void test_boxes(const Problem& p, const Instructions& set) {
  const Boxes& boxes = p.layouts.boxes;
  const int64_t n = p.target.n, d = p.target.d;
  std::vector<int> seen(static_cast<size_t>(n), 0);
  bool inside = true, padded = true;
  for (int64_t place = 0; place < boxes.tiles * box_tile; ++place) {
    const int32_t row = boxes.order[place];
    padded = padded && (place < n) == (row >= 0);
    if (row < 0) continue;
    ++seen[row];
    for (int64_t k = 0; k < d; ++k) {
      const double value = p.target.points.value(row, k);
      inside = inside && value >= boxes.low[k * boxes.padded + place / box_tile] && value <= boxes.high[k * boxes.padded + place / box_tile];
    }
  }
  expect(padded && inside && std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }), p.name + " boxes");
  Execution three;
  three.threads = 3;
  Boxes again;
  CHECK(build_boxes(p.target, three, again).ok());
  expect(again.order == boxes.order && again.rows == boxes.rows, p.name + " boxes of three threads");

  std::vector<double> upper(static_cast<size_t>(boxes.padded)), logits(box_tile), rows(static_cast<size_t>(box_tile * d));
  const double scale = 1 / (2 * p.b * p.b);
  bool above = true;
  for (int64_t q = 0; q < p.batch; ++q) {
    const double* x = p.x.data() + q * d;
    set.small->upper_bounds(boxes.low.data(), boxes.high.data(), boxes.heaviest.data(), boxes.padded, d, x, p.a, scale, upper.data());
    for (int64_t tile = 0; tile < boxes.tiles; ++tile) {
      for (int64_t i = 0; i < std::min(box_tile, n - tile * box_tile); ++i) {
        for (int64_t k = 0; k < d; ++k) rows[k * box_tile + i] = p.target.points.value(boxes.order[tile * box_tile + i], k);
      }
      set.small->tile_logits(rows.data(), boxes.log_weights_of(tile), d, x, p.a, scale, logits.data());
      for (int64_t i = 0; i < std::min(box_tile, n - tile * box_tile); ++i) above = above && upper[tile] >= logits[i];
    }
  }
  expect(above, std::string(set.name) + " " + p.name + " upper bounds");
}

void test_small_sets() {
  for (const int64_t d : {1, 2, 3, 4, 7, 12}) {
    for (const int64_t n : {1, 5, 129}) {
      for (const Shape shape : {Shape::normal, Shape::clusters, Shape::duplicates, Shape::equal, Shape::line, Shape::offset, Shape::outlier}) {
        if (n < 129 && shape != Shape::normal && shape != Shape::offset) continue;
        for (const bool weighted : {false, true}) {
          Problem p;
          const bool stored = n == 129 && shape != Shape::offset && shape != Shape::outlier;
          make_data(p, shape, n, d, !stored ? Dtype::f64 : d % 2 ? Dtype::u8 : Dtype::f32, weighted);
          for (const double b : {1e-6, 0.02, 0.3, 0.95, 100.0}) {
            if (check::sanitized && (b == 0.02 || b == 100.0)) continue;
            make_queries(p, b, check::sanitized ? 4 : 8);
            for (const Instructions* set : sets) test_boxes(p, *set);
            test_accuracy(p, n < 129 || !check::sanitized);
          }
        }
      }
    }
  }
}

void test_large_sets() {
  for (const int64_t d : {2, 7}) {
    for (const Shape shape : {Shape::normal, Shape::duplicates}) {
      if (check::sanitized) continue;
      Problem p;
      make_data(p, shape, 3000, d, Dtype::f64, shape == Shape::duplicates);
      for (const double b : {0.1, 0.95}) {
        make_queries(p, b, 3);
        test_accuracy(p, true);
      }
    }
  }
  for (const int64_t d : {1, 2, 4, 7, 12}) {
    for (const Shape shape : {Shape::normal, Shape::clusters, Shape::duplicates, Shape::offset}) {
      Problem p;
      make_data(p, shape, check::sanitized ? 9000 : 20000, d, shape == Shape::offset ? Dtype::f64 : Dtype::f32, shape == Shape::clusters);
      for (const double b : {1e-6, 0.02, 0.1, 0.3, 0.9, 0.999}) {
        if (check::sanitized && (b == 0.02 || b == 0.3 || b == 0.999)) continue;
        make_queries(p, b, check::sanitized ? 8 : 20);
        test_accuracy(p, false);
      }
      for (const Instructions* set : sets) {
        if (shape == Shape::offset) continue;
        test_boxes(p, *set);
        make_queries(p, shape == Shape::normal ? 0.9 : 0.2, 19);
        test_bits(p, *set);
      }
    }
  }
}

}  // namespace

int main() {
  sets.push_back(&portable_set());
#ifdef REGIMES_X86_KERNELS
  if (avx2_set().small != nullptr) sets.push_back(&avx2_set());
  if (avx512_set().small != nullptr) sets.push_back(&avx512_set());
#endif
  test_small_sets();
  test_large_sets();
  for (const auto& [name, tally] : tallies) {
    const int64_t least = check::sanitized ? 20 : 200;
    CHECK(tally.single > least && tally.refined > least && tally.all > least);
  }
  return check::summary();
}
