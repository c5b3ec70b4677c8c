// The refined path: answers equal the float64 path within the bounds, and their bits depend neither on what screened (prefix, digits,
// instruction set) nor on threads nor on the batch.
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../core/layouts.h"
#include "../cpu/posterior_refined.h"
#include "../reference/posterior.h"
#include "../reference/reference.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

struct Problem {
  std::string name;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  std::vector<double> log_weights, x;
  std::vector<int32_t> classes;
  Target target;
  Layouts layouts;
  double a = 1, b = 1;
  int64_t batch = 40;
};

// Rows near a curve of few dimensions plus noise, as images are; queries drawn forward, at ties of neighbours, at data, and far away.
// `uneven`: lognormal lengths, and every 400th row a hundred times farther out.
void make(Problem& p, int64_t n, int64_t d, double b, bool bytes, bool weighted, uint64_t seed, bool uneven = false) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  const int factors = 6;
  std::vector<double> directions(static_cast<size_t>(factors * d)), rows(static_cast<size_t>(n * d));
  for (double& value : directions) value = normal(random);
  for (int64_t i = 0; i < n; ++i) {
    double z[factors];
    for (double& value : z) value = normal(random);
    for (int64_t j = 0; j < d; ++j) {
      double sum = 0.3 * normal(random);
      for (int k = 0; k < factors; ++k) sum += z[k] * directions[k * d + j] / 2;
      rows[i * d + j] = sum;
    }
    const double length = !uneven ? 1 : i % 400 == 38 ? 100 : std::exp(normal(random));
    for (int64_t j = 0; j < d; ++j) rows[i * d + j] *= length;
  }
  std::copy_n(rows.begin(), d, rows.begin() + 7 * d);  // a duplicate
  p.name = std::string(bytes ? "bytes" : "floats") + " n=" + std::to_string(n) + " d=" + std::to_string(d) + " b=" + std::to_string(b) + (weighted ? " weighted" : "");
  p.target.n = n;
  p.target.d = d;
  if (bytes) {
    for (const double value : rows) p.bytes.push_back(static_cast<uint8_t>(std::clamp(128 + 40 * value, 0.0, 255.0)));
    p.bytes.resize(p.bytes.size() + 64);
    p.target.points = {p.bytes.data(), n, d, Dtype::u8, 2 / 255.0, -1};
  } else {
    for (const double value : rows) p.floats.push_back(static_cast<float>(value));
    p.target.points = {p.floats.data(), n, d, Dtype::f32, 1, 0};
  }
  for (int64_t i = 0; i < n; ++i) p.classes.push_back(static_cast<int32_t>(i % 5));
  p.target.classes = p.classes.data();
  p.target.class_count = 5;
  if (weighted) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += static_cast<double>(i % 17);
    for (int64_t i = 0; i < n; ++i) p.log_weights.push_back(i % 17 == 0 ? no_weight : std::log(static_cast<double>(i % 17) / total));
    p.target.log_weights = p.log_weights.data();
  }
  p.b = b;
  p.a = b < 1 ? std::sqrt((1 - b) * (1 + b)) : 1;
  for (int64_t q = 0; q < p.batch; ++q) {
    const int64_t own = (q * 37 + 1) % n, other = (own + 11) % n;
    for (int64_t j = 0; j < d; ++j) {
      const double y = p.target.points.value(own, j), z = p.target.points.value(other, j);
      const double from = q % 4 == 0 ? (y + z) / 2 : q % 4 == 3 && q > 30 ? 20 + y : y;
      p.x.push_back(p.a * from + (q % 4 == 2 ? 0 : b * normal(random)));
    }
  }
  CHECK(build_layouts(p.target, {}, p.layouts).ok());
  p.target.layouts = &p.layouts;
}

struct Readings {
  std::vector<double> log_density, score, denoised, entropy, squares, class_weights, top_weight, nearest_weight, error_log_density, error_score;
  std::vector<int32_t> nearest, top, survivors;
  std::vector<uint8_t> path, answered;
  PosteriorRequest request;

  Readings(const Problem& p, int64_t first, int64_t count) {
    const int64_t d = p.target.d;
    const auto real = [&](std::vector<double>& v, int64_t width) { v.assign(static_cast<size_t>(count * width), check::unwritten); return v.data(); };
    request.x = {p.x.data() + first * d, count, d};
    request.a = p.a;
    request.b = p.b;
    request.log_density = real(log_density, 1);
    request.score = real(score, d);
    request.denoised = real(denoised, d);
    request.entropy = real(entropy, 1);
    request.sum_squares = real(squares, 1);
    request.class_weights = real(class_weights, 5);
    request.nearest_weight = real(nearest_weight, 1);
    request.error_log_density = real(error_log_density, 1);
    request.error_score = real(error_score, 1);
    nearest.assign(static_cast<size_t>(count), -7);
    survivors.assign(static_cast<size_t>(count), -7);
    path.assign(static_cast<size_t>(count), 9);
    answered.assign(static_cast<size_t>(count), 0);
    top.assign(static_cast<size_t>(count), -7);
    request.top = 1;
    request.top_index = top.data();
    request.top_weight = real(top_weight, 1);
    request.nearest_index = nearest.data();
    request.survivors = survivors.data();
    request.path = path.data();
  }
};

// Where both answer; the same queries, too, unless the instruction sets differ (fixed point of other lengths closes other queries).
void expect_same(const Readings& r, const Readings& other, int64_t d, bool same_queries, const std::string& what) {
  if (same_queries) expect(r.answered == other.answered, what + ": the same queries are answered");
  for (size_t q = 0; q < r.answered.size(); ++q) {
    if (!r.answered[q] || !other.answered[q]) continue;
    const auto same = [&](const std::vector<double>& x, const std::vector<double>& y, int64_t width) {
      return std::memcmp(x.data() + q * width, y.data() + q * width, sizeof(double) * width) == 0;
    };
    expect(r.survivors[q] == other.survivors[q] && r.nearest[q] == other.nearest[q] && r.top[q] == other.top[q], what + ": survivors");
    expect(same(r.log_density, other.log_density, 1) && same(r.score, other.score, d) && same(r.entropy, other.entropy, 1) &&
               same(r.class_weights, other.class_weights, 5) && same(r.error_score, other.error_score, 1) && same(r.top_weight, other.top_weight, 1),
           what + ": bits");
  }
}

void test_answers(const Problem& p, const Instructions& set, const Readings& r) {
  const int64_t d = p.target.d;
  Readings plain(p, 0, p.batch);
  CHECK(posterior_float64(*set.kernels, p.target, plain.request, {}).ok());
  for (int64_t q = 0; q < p.batch; ++q) {
    const std::string name = std::string(set.name) + " " + p.name + " query " + std::to_string(q);
    if (!r.answered[q]) continue;
    expect(r.path[q] == static_cast<uint8_t>(Path::refined), name + " path");
    expect(std::abs(r.log_density[q] - plain.log_density[q]) <= r.error_log_density[q] + plain.error_log_density[q], name + " log density");
    double error = 0, scale = 0, mean = 0;
    for (int64_t j = 0; j < d; ++j) {
      error += std::pow(r.score[q * d + j] - plain.score[q * d + j], 2);
      scale += std::pow(p.x[q * d + j], 2);
      mean += std::pow(p.a * plain.denoised[q * d + j], 2);
    }
    const double contract = 1e-5 * (std::sqrt(scale) + std::sqrt(mean)) / (p.b * p.b);
    expect(std::sqrt(error) <= r.error_score[q] + plain.error_score[q], name + " score");
    expect(r.error_score[q] <= contract, name + " score bound is inside the contract");
    // What screening drops, and what the rounding of the logits of the float64 path may move.
    const double slack = 1e-13 + 4 * plain.error_log_density[q];
    expect(std::abs(r.entropy[q] - plain.entropy[q]) <= 60 * slack, name + " entropy");
    expect(std::abs(r.squares[q] - plain.squares[q]) <= 4 * slack, name + " sum of squares");
    for (int c = 0; c < 5; ++c) expect(std::abs(r.class_weights[q * 5 + c] - plain.class_weights[q * 5 + c]) <= 4 * slack, name + " class");
    if (plain.nearest_weight[q] > 0.5 + slack) expect(r.nearest[q] == plain.nearest[q] && r.top[q] == r.nearest[q], name + " nearest");
  }
}

// The best that can be known: the score in 113-bit arithmetic.
void test_against_quad(const Problem& p, const Readings& r) {
  const int64_t d = p.target.d;
  for (int64_t q = 0; q < p.batch; q += 5) {
    if (!r.answered[q]) continue;
    std::vector<Quad> distance(static_cast<size_t>(p.target.n));
    Quad largest = -1e300;
    for (int64_t i = 0; i < p.target.n; ++i) {
      Quad sum = 0;
      for (int64_t j = 0; j < d; ++j) {
        const Quad difference = Quad(p.x[q * d + j]) - Quad(p.a) * Quad(p.target.points.value(i, j));
        sum += difference * difference;
      }
      distance[i] = -sum / (Quad(2) * Quad(p.b) * Quad(p.b)) + Quad(p.target.log_weights ? p.target.log_weights[i] : 0);
      if (distance[i] > largest) largest = distance[i];
    }
    Quad total = 0;
    std::vector<Quad> mean(static_cast<size_t>(d), Quad(0));
    for (int64_t i = 0; i < p.target.n; ++i) {
      if (distance[i] < largest - Quad(200)) continue;
      const Quad weight = exp(distance[i] - largest);
      total += weight;
      for (int64_t j = 0; j < d; ++j) mean[j] += weight * Quad(p.target.points.value(i, j));
    }
    double error = 0;
    for (int64_t j = 0; j < d; ++j) {
      const Quad exact = (Quad(p.a) * mean[j] / total - Quad(p.x[q * d + j])) / (Quad(p.b) * Quad(p.b));
      error += std::pow(static_cast<double>(exact - Quad(r.score[q * d + j])), 2);
    }
    expect(std::sqrt(error) <= r.error_score[q], p.name + " true error of the score below its bound, query " + std::to_string(q));
  }
}

void test(Problem& p, const std::vector<const Instructions*>& sets) {
  Readings first(p, 0, p.batch);
  CHECK(posterior_refined(*sets[0], p.target, first.request, {}, first.answered).ok());
  for (const Instructions* set : sets) {
    Readings r(p, 0, p.batch);
    CHECK(posterior_refined(*set, p.target, r.request, {}, r.answered).ok());
    test_answers(p, *set, r);
    const bool fused = std::string(set->name) != "cpu-portable";
    if (fused) expect_same(r, first, p.target.d, false, p.name + " " + set->name + " against " + sets[0]->name);

    Execution threads;
    threads.threads = 3;
    Readings threaded(p, 0, p.batch);
    CHECK(posterior_refined(*set, p.target, threaded.request, threads, threaded.answered).ok());
    expect_same(threaded, r, p.target.d, true, p.name + " " + set->name + " threads");
    for (int64_t q = 0; q < p.batch; q += check::sanitized ? 27 : 9) {
      Readings one(p, q, 1);
      CHECK(posterior_refined(*set, p.target, one.request, {}, one.answered).ok());
      expect(one.answered[0] == r.answered[q] && one.log_density[0] == r.log_density[q] && one.entropy[0] == r.entropy[q] &&
                 std::memcmp(one.score.data(), r.score.data() + q * p.target.d, sizeof(double) * p.target.d) == 0,
             p.name + " " + set->name + " alone or in a batch");
    }
  }
  if (!check::sanitized) test_against_quad(p, first);

  // Screening by the digits alone, and by the prefix alone: where both answer, the same bits.
  for (const bool keep_prefix : {false, true}) {
    Layouts other = p.layouts;
    if (!keep_prefix) other.prefix.tiles.clear();
    if (keep_prefix) other.digits.rows = nullptr;
    if (other.prefix.empty() && other.digits.rows == nullptr) continue;
    if (!keep_prefix && !p.layouts.digits.owned.empty()) other.digits.rows = other.digits.owned.data();
    Target target = p.target;
    target.layouts = &other;
    Readings r(p, 0, p.batch);
    CHECK(posterior_refined(*sets[0], target, r.request, {}, r.answered).ok());
    expect_same(r, first, p.target.d, false, p.name + (keep_prefix ? " prefix alone" : " digits alone"));
  }
}

// Two rows at nearly the same distance from a query, the others far away, and noise so small that the rounding of a logit spans
// hundreds of nats: the rounded logits do not tell which of the two carries the weight.
void test_ties_below_rounding(const Instructions& set, bool floats, double b) {
  Problem p;
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  const int64_t n = 2500, d = floats ? 50 : 70;
  p.name = std::string(set.name) + " ties below rounding b=" + std::to_string(b * 1e12) + "e-12";
  p.target.n = n;
  p.target.d = d;
  std::vector<double> doubles;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < d; ++j) doubles.push_back((i < 2 ? 0 : j % 2 ? 30 : -30) + normal(random));
  }
  p.floats.assign(doubles.begin(), doubles.end());
  if (floats) p.target.points = {p.floats.data(), n, d, Dtype::f32, 1, 0};
  if (!floats) p.target.points = {doubles.data(), n, d, Dtype::f64, 1, 0};
  for (int64_t i = 0; i < n; ++i) p.classes.push_back(static_cast<int32_t>(i % 5));
  p.target.classes = p.classes.data();
  p.target.class_count = 5;
  p.b = b;
  CHECK(build_layouts(p.target, {}, p.layouts).ok());
  p.target.layouts = &p.layouts;
  for (int64_t q = 0; q < p.batch; ++q) {
    std::vector<double> off(static_cast<size_t>(d)), apart(off.size());
    double square = 0, along = 0;
    for (int64_t j = 0; j < d; ++j) {
      off[j] = normal(random);
      apart[j] = p.target.points.value(0, j) - p.target.points.value(1, j);
      square += apart[j] * apart[j];
      along += off[j] * apart[j];
    }
    for (int64_t j = 0; j < d; ++j) {
      p.x.push_back((p.target.points.value(0, j) + p.target.points.value(1, j)) / 2 + off[j] - along / square * apart[j]);
    }
  }
  Readings r(p, 0, p.batch);
  CHECK(posterior_refined(set, p.target, r.request, {}, r.answered).ok());
  if (b > 1e-13) expect(r.answered == std::vector<uint8_t>(static_cast<size_t>(p.batch), 1), p.name + ": answered");
  test_against_quad(p, r);
}

// Where b^2 / a overflows (an Ornstein-Uhlenbeck time of 715), thresholds have no meaning: all components answer.
void test_vanishing_signal(const Instructions& set) {
  Problem p;
  make(p, 3000, 40, 1, false, false, 5);
  p.a = 3e-311;
  Readings r(p, 0, p.batch);
  CHECK(posterior_points(set, p.target, r.request, {}).ok());
  Readings plain(p, 0, p.batch);
  CHECK(posterior_float64(*set.kernels, p.target, plain.request, {}).ok());
  CHECK(r.log_density == plain.log_density && r.score == plain.score);
}

// A request whose queries take several paths, one after the other.
void test_progress() {
  Problem p;
  make(p, 5000, 97, 0.8, true, false, 11);
  for (size_t k = 0; k < p.x.size() / 2; ++k) p.x[k] *= 0.02;  // half of the queries near the middle: many data carry weight
  Readings r(p, 0, p.batch);
  r.request.top = 0;
  double last = 0;
  bool forward = true;
  Execution execution;
  execution.progress = [&](double done) {
    forward = forward && done >= last && done <= 1;
    last = done;
  };
  CHECK(posterior_points(portable_set(), p.target, r.request, execution).ok());
  int refined = 0;
  for (const uint8_t path : r.path) refined += path == static_cast<uint8_t>(Path::refined);
  expect(refined > 0 && refined < p.batch, "some queries are refined and some are not: " + std::to_string(refined));
  expect(forward && last == 1, "progress goes forward through all paths and ends at 1");
}

}  // namespace

// What screening knows of a query, and its score, against plain loops of more precision.
void test_query_kernels(const Instructions& set, int64_t d) {
  std::mt19937_64 random(static_cast<uint64_t>(d));
  std::normal_distribution<double> normal;
  std::vector<double> x(static_cast<size_t>(d)), origin(x.size()), scale(x.size()), per_scale(x.size()), centre(x.size()), work(2 * x.size());
  std::vector<double> denoised(x.size()), score(x.size());
  std::vector<int32_t> digits(x.size());
  for (int64_t j = 0; j < d; ++j) {
    x[j] = normal(random);
    denoised[j] = normal(random);
    origin[j] = normal(random);
    scale[j] = 0.01 + std::abs(normal(random));
    per_scale[j] = j % 5 == 3 ? 0 : 1 / scale[j];
    centre[j] = normal(random);
  }
  const double a = 0.8, b2 = 0.36, unit = 0x1p-53 * static_cast<double>(d + 8);
  std::vector<float> floats(x.size());
  const double centred_square = set.screen->centred_floats(x.data(), d, a, origin.data(), floats.data());
  constexpr int32_t limit = 127;
  RoundedQuery rounded_query{};
  set.screen->round_query(x.data(), d, a, {origin.data(), scale.data(), per_scale.data(), centre.data(), limit}, work.data(), digits.data(), &rounded_query);
  const double step = rounded_query.step;
  Quad square = 0, displacement = 0, size = 0, whole_square = 0, term_squares = 0, middle = 0, middle_terms = 0;
  bool close = step == static_cast<double>(static_cast<float>(step));
  int32_t largest = 0;
  for (int64_t j = 0; j < d; ++j) {
    const Quad centred = Quad(x[j]) - Quad(a) * origin[j];
    const double terms = std::abs(x[j]) + a * std::abs(origin[j]);
    whole_square += centred * centred;
    term_squares += Quad(terms) * terms;
    close = close && std::abs(static_cast<double>(floats[j] - centred)) <= 0x1p-24 * std::abs(static_cast<double>(centred)) + 0x1p-51 * terms;
    const Quad rounded = per_scale[j] > 0 ? Quad(digits[j]) * step * per_scale[j] : centred;
    const double exact = static_cast<double>(centred * scale[j]) / step;
    close = close && std::abs(digits[j] - exact) <= 0.5 + 0x1p-22 * std::abs(exact) + 0x1p-51 * terms * scale[j] / step;
    close = close && work[j] == work[d + j] * scale[j] && std::abs(work[d + j] - static_cast<double>(centred)) <= 0x1p-51 * terms;
    largest = std::max(largest, std::abs(digits[j]));
    middle += Quad(digits[j]) * centre[j] * step;
    middle_terms += std::abs(digits[j] * centre[j] * step);
    square += rounded * rounded;
    displacement += (centred - rounded) * (centred - rounded);
    size += terms;
  }
  close = close && std::abs(static_cast<double>(whole_square - centred_square)) <= static_cast<double>(8 * unit * whole_square + 0x1p-50 * term_squares);
  close = close && std::abs(static_cast<double>(square - rounded_query.square)) <= 8 * unit * static_cast<double>(square);
  close = close && std::abs(static_cast<double>(displacement - rounded_query.displacement_square)) <= 8 * unit * static_cast<double>(displacement + square);
  close = close && std::abs(static_cast<double>(size - rounded_query.size)) <= 8 * unit * static_cast<double>(size);
  close = close && largest == limit && std::abs(static_cast<double>(middle - rounded_query.centre)) <= 8 * unit * static_cast<double>(middle_terms);
  set.screen->score_of(denoised.data(), x.data(), d, a, b2, score.data());
  bool same = true;
  for (int64_t j = 0; j < d; ++j) {
    const double expected = std::fma(a, denoised[j], -x[j]) / b2, terms = (std::abs(a * denoised[j]) + std::abs(x[j])) / b2;
    same = same && (score[j] == expected || (set.screen == screen_portable() && std::abs(score[j] - expected) <= 5 * 0x1p-53 * terms));
  }
  expect(close, std::string(set.name) + ": kernels of queries, d=" + std::to_string(d));
  expect(same, std::string(set.name) + ": bits of scores, d=" + std::to_string(d));
}

int main() {
  std::vector<const Instructions*> sets;
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&amx_set(), &vnni_set(), &avx512_set(), &avx2_set()}) {
    if (set->kernels != nullptr && set->digits != nullptr) sets.push_back(set);
  }
#endif
  sets.push_back(&portable_set());
  int64_t answered = 0, asked = 0;
  for (const double b : {1e-6, 1e-3, 0.05, 0.4, 0.8}) {
    for (const bool bytes : {true, false}) {
      for (const bool weighted : {true, false}) {
        Problem p;
        make(p, 5000, weighted ? 100 : 97, b, bytes, weighted, 11);
        test(p, sets);
        Readings r(p, 0, p.batch);
        CHECK(posterior_refined(*sets[0], p.target, r.request, {}, r.answered).ok());
        for (const uint8_t one : r.answered) answered += one;
        asked += p.batch;
      }
    }
  }
  for (const double b : {1e-3, 0.4}) {
    for (const int64_t d : {40, 97}) {
      Problem p;
      make(p, 5000, d, b, false, true, 12, true);
      // Bytes serve long and short rows alike.
      const PrefixRows& prefix = p.layouts.prefix;
      const DigitRows& digits = p.layouts.digits;
      CHECK(prefix.empty() == (d == 40) && !digits.gain.empty());
      int64_t coarse = 0;
      for (int64_t i = 0; i < 5000; ++i) {
        coarse += digits.residual[i] > 0.03f * digits.gain[i] || (!prefix.empty() && prefix.residual[i] > 0.03f * prefix.gain[i]);
      }
      CHECK(coarse < 5000 / 128);
      test(p, sets);
    }
  }
  for (const Instructions* set : sets) {
    for (const int64_t d : {1, 7, 8, 65, 784}) test_query_kernels(*set, d);
    for (const double b : {3e-9, 1e-9, 1e-10, 1e-12, 1e-14}) {
      for (const bool floats : {true, false}) test_ties_below_rounding(*set, floats, b);
    }
    test_vanishing_signal(*set);
  }
  test_progress();
  // The path exists: at these noise levels it answers most queries.
  CHECK(answered > asked / 2);
  return check::summary();
}
