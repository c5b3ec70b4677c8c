// The dense path: errors never above the bounds it reports, against 113-bit arithmetic on small sets and the float64 path on large
// ones; every answered query within the contract; bits independent of threads, of the batch and of the neighbours.
#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../core/layouts.h"
#include "../cpu/posterior_dense.h"
#include "../reference/posterior.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

enum class Rows { bytes, floats, doubles };

struct Problem {
  std::string name;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  std::vector<double> doubles, log_weights, x;
  std::vector<int32_t> classes;
  Target target;
  Layouts layouts;
  double a = 1, b = 1;
  int64_t batch = 0;
};

// Rows near a surface of few dimensions plus noise, as images are, `offset` away from zero; queries drawn forward, and at the
// midpoint of two rows. The posterior is diffuse where `spread` is small against b.
void make(Problem& p, int64_t n, int64_t d, double b, double spread, Rows kind, double offset, bool weighted, int64_t batch,
          const std::function<void(std::vector<double>&)>& reshape = {}) {
  std::mt19937_64 random(static_cast<uint64_t>(n * 100 + d));
  std::normal_distribution<double> normal;
  constexpr int factors = 6;
  std::vector<double> directions(static_cast<size_t>(factors * d)), rows(static_cast<size_t>(n * d));
  for (double& value : directions) value = normal(random);
  for (int64_t i = 0; i < n; ++i) {
    double z[factors];
    for (double& value : z) value = normal(random);
    for (int64_t j = 0; j < d; ++j) {
      double sum = 0.3 * normal(random);
      for (int k = 0; k < factors; ++k) sum += z[k] * directions[k * d + j] / 3;
      rows[i * d + j] = spread * sum;
    }
  }
  for (int64_t i = 0; i < n; ++i) rows[i * d] = 0;  // a constant column
  if (n > 9) std::copy_n(rows.begin(), d, rows.begin() + 7 * d);
  if (reshape) reshape(rows);
  p.name = "n=" + std::to_string(n) + " d=" + std::to_string(d) + " b=" + std::to_string(b) + " kind=" +
           std::to_string(static_cast<int>(kind)) + " offset=" + std::to_string(offset) + (weighted ? " weighted" : "");
  p.target.n = n;
  p.target.d = d;
  if (kind == Rows::bytes) {
    for (const double value : rows) p.bytes.push_back(static_cast<uint8_t>(std::clamp(128 + 100 * value / spread / 3, 0.0, 255.0)));
    p.bytes.resize(p.bytes.size() + digit_padding);
    p.target.points = {p.bytes.data(), n, d, Dtype::u8, spread * 3 / 100, offset - 128 * spread * 3 / 100};
  } else if (kind == Rows::floats) {
    for (const double value : rows) p.floats.push_back(static_cast<float>(offset + value));
    p.target.points = {p.floats.data(), n, d, Dtype::f32, 1, 0};
  } else {
    for (const double value : rows) p.doubles.push_back(offset + value);
    p.target.points = {p.doubles.data(), n, d, Dtype::f64, 1, 0};
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
  p.batch = batch;
  for (int64_t q = 0; q < batch; ++q) {
    const int64_t own = (q * 37 + 1) % n, other = (own + 11) % n;
    for (int64_t j = 0; j < d; ++j) {
      const double y = p.target.points.value(own, j), z = p.target.points.value(other, j);
      p.x.push_back(p.a * (q % 3 == 0 ? (y + z) / 2 : y) + b * normal(random));
    }
  }
  CHECK(build_layouts(p.target, {}, p.layouts).ok());
  p.target.layouts = &p.layouts;
}

struct Answers {
  std::vector<double> log_density, denoised, score, entropy, sum_squares, nearest_weight, class_weights, error_log_density, error_score;
  std::vector<int32_t> nearest_index, survivors;
  std::vector<uint8_t> path, answered;

  PosteriorRequest request(const Problem& p, int64_t first, int64_t count) {
    PosteriorRequest r;
    r.x = {p.x.data() + first * p.target.d, count, p.target.d};
    r.a = p.a;
    r.b = p.b;
    const auto wanted = static_cast<size_t>(count);
    for (std::vector<double>* each : {&log_density, &entropy, &sum_squares, &nearest_weight, &error_log_density, &error_score}) {
      each->resize(wanted);
    }
    for (auto* each : {&denoised, &score}) each->assign(wanted * static_cast<size_t>(p.target.d), check::unwritten);
    class_weights.resize(wanted * static_cast<size_t>(p.target.class_count));
    nearest_index.resize(wanted);
    survivors.resize(wanted);
    path.resize(wanted);
    answered.assign(wanted, 0);
    r.log_density = log_density.data();
    r.denoised = denoised.data();
    r.score = score.data();
    r.entropy = entropy.data();
    r.sum_squares = sum_squares.data();
    r.nearest_weight = nearest_weight.data();
    r.class_weights = class_weights.data();
    r.error_log_density = error_log_density.data();
    r.error_score = error_score.data();
    r.nearest_index = nearest_index.data();
    r.survivors = survivors.data();
    r.path = path.data();
    return r;
  }
};

Execution with_threads(int threads) {
  Execution execution;
  execution.threads = threads;
  return execution;
}

Answers dense(const Instructions& set, const Problem& p, int threads = 1, int64_t first = 0, int64_t count = -1,
              DenseProducts products = DenseProducts::fast) {
  Answers answers;
  const PosteriorRequest request = answers.request(p, first, count < 0 ? p.batch : count);
  CHECK(dense_applies(p.target, request));
  CHECK(posterior_dense(set, p.target, request, with_threads(threads), products, answers.answered).ok());
  return answers;
}

double norm(const double* v, int64_t d) {
  double square = 0;
  for (int64_t j = 0; j < d; ++j) square += v[j] * v[j];
  return std::sqrt(square);
}

// Errors against `truth`, whose own error is at most its reported bound (float64) or nothing (113 bits).
void compare(const Problem& p, const Answers& a, const Answers& truth, const std::string& name) {
  const int64_t d = p.target.d;
  for (int64_t q = 0; q < p.batch; ++q) {
    std::vector<double> difference(static_cast<size_t>(d));
    for (int64_t j = 0; j < d; ++j) difference[j] = a.score[q * d + j] - truth.score[q * d + j];
    const double error = norm(difference.data(), d), log_error = std::abs(a.log_density[q] - truth.log_density[q]);
    const std::string query = ", query " + std::to_string(q);
    expect(error <= a.error_score[q] + truth.error_score[q], name + " score above its bound" + query);
    expect(log_error <= a.error_log_density[q] + truth.error_log_density[q], name + " log density above its bound" + query);
    if (!a.answered[q]) continue;
    const double scale = (norm(p.x.data() + q * d, d) + p.a * norm(truth.denoised.data() + q * d, d)) / (p.b * p.b);
    expect(error <= 1e-5 * scale && log_error <= 1e-4, name + " contract" + query);
    // The scale by which the answer judged itself differs by no more than the error of its own denoised mean.
    expect(a.error_score[q] <= 1.0001e-5 * scale && a.error_log_density[q] <= 1e-4, name + " answered beyond its bound" + query);
    expect(a.path[q] == static_cast<uint8_t>(Path::dense) && a.survivors[q] == p.target.n, name + " path");
    // Weights are within 1e-4 of their own, relatively: each logit is within the bound of the log density.
    expect(std::abs(a.entropy[q] - truth.entropy[q]) <= 1e-4 * (1 + std::log(static_cast<double>(p.target.n))), name + " entropy");
    expect(std::abs(a.sum_squares[q] - truth.sum_squares[q]) <= 4e-4 * truth.sum_squares[q], name + " sum of squares");
    expect(std::abs(a.nearest_weight[q] - truth.nearest_weight[q]) <= 2e-4 * truth.nearest_weight[q], name + " heaviest weight");
    for (int c = 0; c < 5; ++c) {
      expect(std::abs(a.class_weights[q * 5 + c] - truth.class_weights[q * 5 + c]) <= 2e-4, name + " class weights");
    }
  }
}

std::vector<const Instructions*> sets() {
  std::vector<const Instructions*> usable;
  for (const Instructions* set : {
#ifdef REGIMES_X86_KERNELS
           &amx_set(), &vnni_set(), &avx512_set(), &avx2_set(),
#endif
           &portable_set()}) {
    if (set->kernels && set->digits && set->dense) usable.push_back(set);
  }
  return usable;
}

int64_t answered(const Answers& a) { return std::count(a.answered.begin(), a.answered.end(), uint8_t{1}); }

Answers in_double(const Problem& p) {
  Answers truth;
  CHECK(posterior_float64(*sets().front()->kernels, p.target, truth.request(p, 0, p.batch), with_threads(2)).ok());
  return truth;
}

Answers in_quad(const Problem& p) {
  if (check::sanitized) return in_double(p);
  Answers truth;
  truth.request(p, 0, p.batch);
  for (int64_t q = 0; q < p.batch; ++q) {
    const auto exact = reference::posterior<Quad>(p.target, p.x.data() + q * p.target.d, nullptr, p.a, p.b);
    truth.log_density[q] = static_cast<double>(exact.log_density);
    truth.entropy[q] = static_cast<double>(exact.entropy);
    truth.sum_squares[q] = static_cast<double>(exact.sum_squares);
    truth.nearest_weight[q] = static_cast<double>(exact.weights[exact.ranking[0]]);
    for (int64_t j = 0; j < p.target.d; ++j) {
      truth.denoised[q * p.target.d + j] = static_cast<double>(exact.denoised[j]);
      truth.score[q * p.target.d + j] = static_cast<double>(exact.score[j]);
    }
    for (int c = 0; c < 5; ++c) truth.class_weights[q * 5 + c] = static_cast<double>(exact.class_weights[c]);
    // The bounds cover the conversion of the definition to float64.
    truth.error_log_density[q] = 0x1p-53 * std::abs(truth.log_density[q]);
    truth.error_score[q] = 0x1p-53 * norm(truth.score.data() + q * p.target.d, p.target.d);
  }
  return truth;
}

void errors_of_small_sets_stay_below_the_bounds() {
  struct Case {
    int64_t n, d;
    double b, spread;
  };
  for (const Case& c :
       {Case{300, 40, 0.9, 0.5}, {517, 3, 0.99, 1}, {64, 130, 0.95, 0.2}, {1, 20, 0.9, 1}, {2, 1, 0.5, 0.1}, {700, 20, 5, 2}}) {
    for (const Rows kind : {Rows::bytes, Rows::floats, Rows::doubles}) {
      for (const bool weighted : {false, true}) {
        Problem p;
        make(p, c.n, c.d, c.b, c.spread, kind, kind == Rows::doubles ? 100 : 0, weighted && c.n > 20, 21);
        if (p.layouts.digits.rows == nullptr) continue;
        const Answers truth = in_quad(p);
        for (const Instructions* set : sets()) {
          const Answers a = dense(*set, p);
          compare(p, a, truth, p.name + " " + set->name);
          expect(answered(a) == p.batch, p.name + " " + set->name + ": all queries of a diffuse posterior are answered");
        }
      }
    }
  }
}

// One coordinate far out makes the steps of fixed point, and with them the displacement of the query, large.
void displacements_are_corrected_and_bounded() {
  for (const Rows kind : {Rows::bytes, Rows::floats}) {
    Problem p;
    make(p, 400, 30, 0.9, 0.3, kind, 0, false, 24);
    for (int64_t q = 0; q < p.batch; ++q) p.x[q * p.target.d + 1 + q] += q % 2 ? 300 : -1000;
    const Answers truth = in_quad(p);
    for (const Instructions* set : sets()) {
      compare(p, dense(*set, p), truth, p.name + " far out " + set->name);
      compare(p, dense(*set, p, 1, 0, -1, DenseProducts::exact), truth, p.name + " far out, exact, " + set->name);
    }
  }
}

void errors_of_large_sets_stay_below_the_bounds() {
  for (const Rows kind : {Rows::bytes, Rows::floats}) {
    for (const double b : {0.6, 0.9, 0.99}) {
      for (const double offset : {0.0, 1e6}) {
        if (offset > 0 && kind == Rows::floats) continue;  // float32 does not hold the data
        Problem p;
        make(p, b == 0.9 && !check::sanitized ? 20000 : 6000, b == 0.9 ? 784 : 100, b, 0.15, kind, offset, b == 0.99, 20);
        Answers truth;
        const PosteriorRequest request = truth.request(p, 0, p.batch);
        CHECK(posterior_float64(*sets().front()->kernels, p.target, request, with_threads(2)).ok());
        for (const Instructions* set : sets()) {
          if (b == 0.9 && set == &portable_set()) continue;
          const Answers a = dense(*set, p, 2);
          compare(p, a, truth, p.name + " " + set->name);
          const Answers exact = dense(*set, p, 2, 0, -1, DenseProducts::exact);
          compare(p, exact, truth, p.name + " exact " + set->name);
          expect(answered(exact) >= answered(a), p.name + " " + set->name + ": exact products answer no fewer queries");
          expect(answered(a) > 0, p.name + " " + set->name + ": some queries are answered");
        }
      }
    }
  }
}

bool same(const Answers& a, int64_t at, const Answers& b, int64_t other, int64_t d) {
  return a.answered[at] == b.answered[other] && std::memcmp(&a.log_density[at], &b.log_density[other], 8) == 0 &&
         std::memcmp(&a.entropy[at], &b.entropy[other], 8) == 0 && std::memcmp(&a.sum_squares[at], &b.sum_squares[other], 8) == 0 &&
         std::memcmp(&a.error_score[at], &b.error_score[other], 8) == 0 && a.nearest_index[at] == b.nearest_index[other] &&
         std::memcmp(&a.score[at * d], &b.score[other * d], static_cast<size_t>(d) * 8) == 0 &&
         std::memcmp(&a.class_weights[at * 5], &b.class_weights[other * 5], 40) == 0;
}

void bits_depend_neither_on_threads_nor_on_the_batch() {
  // In groups, over lists of rows, and where heavy rows are all that counts.
  for (const auto& [kind, b] : std::initializer_list<std::pair<Rows, double>>{{Rows::bytes, 0.9}, {Rows::floats, 0.9}, {Rows::floats, 0.6},
                                                                                   {Rows::floats, 0.1}}) {
    Problem p;
    make(p, 9000, 37, b, 0.4, kind, 0, true, 150);
    for (const Instructions* set : sets()) {
      const Answers whole = dense(*set, p), threaded = dense(*set, p, 5);
      for (int64_t q = 0; q < p.batch; ++q) expect(same(whole, q, threaded, q, p.target.d), p.name + " " + set->name + ": threads");
      for (const auto& [first, count] : std::initializer_list<std::pair<int64_t, int64_t>>{{0, 1}, {5, 33}, {30, 2}, {17, 100}, {60, 3}, {96, 17}, {40, 4}, {149, 1}}) {
        const Answers part = dense(*set, p, 2, first, count);
        for (int64_t q = 0; q < count; ++q) expect(same(whole, first + q, part, q, p.target.d), p.name + " " + set->name + ": batch");
      }
    }
#ifdef REGIMES_X86_KERNELS
    if (b == 0.9 && avx512_set().kernels && avx2_set().kernels) {
      const Answers wide = dense(avx512_set(), p), narrow = dense(avx2_set(), p);
      for (int64_t q = 0; q < p.batch; ++q) expect(same(wide, q, narrow, q, p.target.d), p.name + ": AVX2 and AVX-512 give the same bits");
    }
#endif
  }
}

void a_condensed_posterior_is_left_to_others_or_within_the_contract() {
  Problem p;
  make(p, 3000, 64, 0.02, 1, Rows::floats, 0, false, 20);
  Answers truth;
  CHECK(posterior_float64(*sets().front()->kernels, p.target, truth.request(p, 0, p.batch), {}).ok());
  for (const Instructions* set : sets()) compare(p, dense(*set, p), truth, p.name + " " + set->name);
  for (const Rows kind : {Rows::floats, Rows::bytes}) {
    Problem middle;
    make(middle, 3000, 64, 0.6, 0.6, kind, 0, false, 40);
    Answers of_middle;
    CHECK(posterior_float64(*sets().front()->kernels, middle.target, of_middle.request(middle, 0, middle.batch), {}).ok());
    for (const Instructions* set : sets()) {
      const Answers fast = dense(*set, middle), exact = dense(*set, middle, 1, 0, -1, DenseProducts::exact);
      compare(middle, fast, of_middle, middle.name + " " + set->name);
      compare(middle, exact, of_middle, middle.name + " exact " + set->name);
      if (kind == Rows::floats || !set->digits->faster_than_floats) {
        expect(answered(exact) == middle.batch, "heavy rows in float64 carry a posterior of few rows");
      }
      if (kind == Rows::bytes) expect(answered(exact) >= answered(fast), "integers answer no fewer");
    }
  }
  Problem far;
  make(far, 3000, 64, 0.005, 1, Rows::floats, 1000, false, 20);
  for (const Instructions* set : sets()) expect(answered(dense(*set, far)) < far.batch, "midpoints at small noise are not answered");
}

// Second products of 16-bit integers, where the machine has them: from 2048 rows on. What answers a query changes its bits, so both are
// compared, and they differ where many rows have weight.
void compare_words(const Problem& p, const Answers& truth, bool many) {
  for (const Instructions* set : sets()) {
    if (set->words == nullptr || !dense_exact_applies(*set, p.target, true)) continue;
    const Answers fast = dense(*set, p), exact = dense(*set, p, 1, 0, -1, DenseProducts::exact);
    expect(!many || std::memcmp(fast.score.data(), exact.score.data(), fast.score.size() * 8) != 0, p.name + " words were used");
    compare(p, fast, truth, p.name + " words " + set->name);
    compare(p, exact, truth, p.name + " floats " + set->name);
  }
}

void words_stay_below_their_bounds() {
  struct Case {
    int64_t n, d;
    double spread;
  };
  // Images and, with `independent`, standard normal rows.
  for (const Case& c : {Case{2049, 3, 1}, {2501, 64, 0.5}, {2100, 128, 0.3}, {2300, 37, 1}}) {
    for (const bool independent : {false, true}) {
      for (const double b : {0.3, 0.7, 0.9, 0.99}) {
        Problem p;
        std::mt19937_64 random(5);
        std::normal_distribution<double> normal;
        make(p, c.n, c.d, b, c.spread, Rows::floats, 0, b == 0.9, 4, [&](std::vector<double>& rows) {
          for (double& value : rows) value = independent ? normal(random) : value;
        });
        compare_words(p, in_quad(p), b > 0.8);
      }
    }
  }
  for (const Rows kind : {Rows::floats, Rows::bytes}) {
    for (const double b : {0.6, 0.95}) {
      Problem p;
      make(p, 5001, 1000, b, 0.1, kind, 0, false, 20);
      compare_words(p, in_double(p), b > 0.8);
    }
    for (const double b : {0.7, 0.99}) {
      Problem p;
      make(p, 2049, 19, b, 0.5, kind, 0, true, 20);
      compare_words(p, in_quad(p), b > 0.8);
    }
  }
}

// Roundings that do not look random by themselves: few values, so that whole columns round alike, and rows that are there many times.
void words_of_repeated_values_stay_below_their_bounds() {
  for (const int copies : {1, 700}) {
    Problem p;
    make(p, 2800, 48, 0.8, 0.4, Rows::floats, 0, false, 12, [&](std::vector<double>& rows) {
      for (size_t i = 0; i < rows.size(); ++i) {
        const size_t row = i / 48, from = row - row % static_cast<size_t>(copies);
        rows[i] = i % 48 == 5 ? 1e-3 * static_cast<double>(row % 1000) : std::round(rows[from * 48 + i % 48] * 6) / 3.7;
      }
    });
    compare_words(p, in_quad(p), true);
  }
}

// Rows whose products would round alike: two that are there thousands of times each, with queries half way between them; all with one of
// two backgrounds but for a quarter of their columns; two far clusters of half-integers; and two that are flat, seen by flat queries.
void rows_that_agree_stay_below_their_bounds() {
  const int64_t n = check::sanitized ? 4000 : 30000, d = 128, batch = 48;
  const auto problem = [&](double b, double spread, const std::function<void(std::vector<double>&)>& change) {
    Problem p;
    make(p, n, d, b, spread, Rows::floats, 0, false, batch, change);
    return p;
  };
  const auto check_all = [](const Problem& p, const std::string& name) {
    const Answers truth = in_double(p);
    for (const Instructions* set : sets()) compare(p, dense(*set, p, 1, 0, -1, DenseProducts::exact), truth, p.name + name + set->name);
  };
  for (const double b : {0.3, 0.9}) {
    Problem p = problem(b, 3, [&](std::vector<double>& rows) {
      for (int64_t i = 2; i < n; ++i) std::copy_n(rows.begin() + i % 2 * d, d, rows.begin() + i * d);
    });
    std::vector<double> apart(d);
    for (int64_t j = 0; j < d; ++j) apart[j] = p.target.points.value(1, j) - p.target.points.value(0, j);
    for (int64_t q = 0; q < batch; ++q) {
      double along = 0;
      for (int64_t j = 0; j < d; ++j) along += (p.x[q * d + j] - 0.5 * p.a * (p.target.points.value(0, j) + p.target.points.value(1, j))) * apart[j];
      for (int64_t j = 0; j < d; ++j) p.x[q * d + j] -= along / (norm(apart.data(), d) * norm(apart.data(), d)) * apart[j];
    }
    check_all(p, " repeated ");
  }
  for (const double b : {0.9, 0.95}) {
    check_all(problem(b, 1, [&](std::vector<double>& rows) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < d; ++j) rows[i * d + j] = j < 3 * d / 4 ? (i % 2 ? 3 : -3) * rows[j] : 0.3 * rows[i * d + j];
      }
    }), " two backgrounds ");
    check_all(problem(b, 1, [&](std::vector<double>& rows) {
      for (int64_t i = 0; i < n * d; ++i) rows[i] = std::round(4 * rows[i]) / 2 + (i / d % 2 ? 1000 : -1000);
    }), " coarse ");
  }
  // As many rows as make each weigh what may be heavy.
  for (const double b : {0.4, 0.5, 0.7}) {
    Problem p;
    make(p, 10000, 32, b, 1, Rows::floats, 0, false, batch, [&](std::vector<double>& rows) {
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = i / 32 % 2 ? 1.0 / 3 : -1.0 / 3;
    });
    p.b = b / 3;
    p.a = 1;
    for (int64_t q = 0; q < batch; ++q) {
      for (int64_t j = 0; j < 32; ++j) p.x[q * 32 + j] = static_cast<double>(q - 20) / 24;
    }
    const Answers truth = in_double(p);
    for (const Instructions* set : sets()) {
      const Answers answers = dense(*set, p, 1);
      for (size_t q = 0; q < answers.log_density.size(); ++q) {
        const double error = std::abs(answers.log_density[q] - truth.log_density[q]);
        CHECK(answers.answered[q] == 0 || error <= answers.error_log_density[q] + 1e-11);
      }
    }
  }
  const int64_t columns = 12288;
  for (const double high : {1.7, 2.9}) {
    const double step = std::sqrt(6 / (0.5 * columns * (1.3 * 1.3 + high * high)));
    Problem p;
    make(p, 600, columns, 0.9, 1, Rows::floats, 0, false, batch, [&](std::vector<double>& rows) {
      for (int64_t i = 0; i < 600; ++i) {
        for (int64_t j = 0; j + 1 < columns; ++j) rows[i * columns + j] = (i % 2 ? step : -step) * (j < columns / 2 ? 1.3 : high);
        rows[(i + 1) * columns - 1] *= step;
      }
    });
    for (int64_t q = 0; q < batch; ++q) {
      const double size = std::pow(10, -2.5 + 3.5 * static_cast<double>(q) / static_cast<double>(batch));
      for (int64_t j = 0; j < columns; ++j) p.x[q * columns + j] = size * (j < columns / 2 ? high : -1.3);
    }
    check_all(p, " flat ");
  }
}

// Columns of scales 1e-3 ... 1e3; and one row far from all others, which leaves words to floats.
void words_of_many_scales_stay_below_their_bounds() {
  for (const double b : {0.5, 0.95}) {
    for (const bool outlier : {false, true}) {
      Problem p;
      make(p, 2600, 31, b, 0.2, Rows::floats, 0, outlier, 12, [&](std::vector<double>& rows) {
        for (size_t i = 0; i < rows.size(); ++i) rows[i] *= outlier ? 1 : std::pow(10, static_cast<double>(i % 31 % 7) - 3);
        for (size_t j = 0; outlier && j < 31; ++j) rows[500 * 31 + j] = j % 2 ? 3e5 : -2e4;
      });
      const Answers truth = in_quad(p);
      if (!outlier) compare_words(p, truth, false);
      for (const Instructions* set : sets()) {
        expect(dense_exact_applies(*set, p.target, true) == (!outlier && set->words != nullptr), p.name + " words apply to rows of even length");
        if (outlier) compare(p, dense(*set, p), truth, p.name + " one far row " + set->name);
      }
    }
  }
}

// A far row that carries much of the posterior, and seems to carry none of it: in float32 the logits of queries midway to it are off by
// more than ten. The queries are numbers of float32, so that nothing else tells.
void far_rows_that_seem_light_are_not_overlooked() {
  for (const double far : {3e3, 1e4, 3e4}) {
    const int64_t n = 2000, d = 24;
    const double b = 0.8, a = 0.6;
    std::mt19937_64 random(8);
    std::normal_distribution<double> normal;
    std::vector<double> axis(d);
    for (double& value : axis) value = normal(random);
    const double length = norm(axis.data(), d);
    Problem p;
    make(p, n, d, b, 1, Rows::floats, 0, false, 200, [&](std::vector<double>& rows) {
      for (int64_t i = 0; i < n; i += 2) {
        double along = 0;
        for (int64_t j = 0; j < d; ++j) rows[i * d + j] = normal(random);
        for (int64_t j = 0; j < d; ++j) along += rows[i * d + j] * axis[j] / length;
        for (int64_t j = 0; j < d; ++j) {
          double& value = rows[i * d + j];
          value = i == 4 ? 2 * far * b / a * axis[j] / length : 0.02 * b / a * (value - along * axis[j] / length);
          rows[(i + 1) * d + j] = -value;
        }
      }
    });
    // Where both logits are within a few of each other.
    double square = 0;
    for (int64_t j = 0; j < d; ++j) square += std::pow(p.target.points.value(4, j), 2);
    const double wanted = (p.a * p.a * square + 2 * b * b * std::log(static_cast<double>(n))) / (2 * p.a);
    for (int64_t q = 0; q < p.batch;) {
      double along = 0;
      double* x = p.x.data() + q * d;
      for (int64_t j = 0; j < d; ++j) x[j] = static_cast<float>(wanted / square * p.target.points.value(4, j) + 0.3 * b * normal(random));
      for (int64_t j = 0; j < d; ++j) along += x[j] * p.target.points.value(4, j);
      q += std::abs(p.a * (along - wanted) / (b * b)) < 6 ? 1 : 0;
    }
    const Answers truth = in_double(p);
    for (const Instructions* set : sets()) {
      Answers answers = dense(*set, p, 1, 0, -1, DenseProducts::exact);
      for (int64_t q = 0; q < p.batch; ++q) {
        if (!answers.answered[q]) answers.error_score[q] = answers.error_log_density[q] = std::numeric_limits<double>::infinity();
      }
      compare(p, answers, truth, p.name + " far row " + set->name);
    }
  }
}

// Neither float32 nor an index is left behind by queries that it cannot hold.
void queries_beyond_float32_are_left_to_others() {
  for (const double size : {1e37, 1e39, 1e100}) {
    for (const Rows kind : {Rows::floats, Rows::doubles}) {
      Problem p;
      make(p, 700, 20, 0.9, 1, kind, 0, false, 33);
      for (double& value : p.x) value *= size;
      for (const Instructions* set : sets()) {
        for (const int64_t batch : {int64_t{33}, int64_t{2}}) {
          Problem part = p;
          part.target.layouts = &p.layouts;
          part.batch = batch;
          expect(answered(dense(*set, part)) == 0, p.name + " queries beyond float32, " + set->name);
        }
      }
    }
  }
}

// Few rows are many times longer than the others: what they weigh counts in the bounds, not that they exist.
void rows_of_uneven_length_are_answered() {
  for (const double b : {0.8, 0.95}) {
    Problem p;
    make(p, 3000, 64, b, 0.5, Rows::floats, 0, false, 24, [](std::vector<double>& rows) {
      std::mt19937_64 random(5);
      std::normal_distribution<double> normal;
      for (int64_t i = 0; i < 3000; ++i) {
        const double length = std::exp(1.5 * normal(random));
        for (int64_t j = 0; j < 64; ++j) rows[i * 64 + j] *= length;
      }
    });
    const Answers truth = in_quad(p);
    for (const Instructions* set : sets()) {
      const Answers answers = dense(*set, p, 1, 0, -1, DenseProducts::exact);
      compare(p, answers, truth, p.name + " uneven " + set->name);
      expect(answered(answers) > p.batch * 3 / 4, p.name + " uneven: answered, " + set->name);
    }
  }
}

// Where all rows weigh alike, float32 may sum more than n terms of 1.
void entropies_are_those_of_n_rows() {
  for (const int64_t n : {1000, 3000, 5000, 20000}) {
    Problem p;
    make(p, n, 24, 0.999, 1e-3, Rows::floats, 0, false, 24);
    for (const Instructions* set : sets()) {
      const Answers answers = dense(*set, p);
      for (size_t q = 0; q < answers.answered.size(); ++q) {
        const double most = std::log(static_cast<double>(n));
        CHECK(answers.answered[q] == 0 || (answers.entropy[q] <= most && answers.entropy[q] > most - 1e-3));
        CHECK(answers.answered[q] == 0 || answers.sum_squares[q] >= 1 / static_cast<double>(n));
      }
    }
  }
}

}  // namespace

int main() {
  entropies_are_those_of_n_rows();
  rows_of_uneven_length_are_answered();
  far_rows_that_seem_light_are_not_overlooked();
  queries_beyond_float32_are_left_to_others();
  words_stay_below_their_bounds();
  words_of_repeated_values_stay_below_their_bounds();
  words_of_many_scales_stay_below_their_bounds();
  rows_that_agree_stay_below_their_bounds();
  errors_of_small_sets_stay_below_the_bounds();
  displacements_are_corrected_and_bounded();
  errors_of_large_sets_stay_below_the_bounds();
  bits_depend_neither_on_threads_nor_on_the_batch();
  a_condensed_posterior_is_left_to_others_or_within_the_contract();
  return check::summary();
}
