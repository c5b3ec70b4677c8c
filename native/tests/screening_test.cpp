// Screening: what stays is a superset of the rows within the reach, whatever the data, the layouts, the instruction set and the batch.
// Queries stand near two rows, so that the farther one is within the reach by 1e-7, half of them where its image is as far as can be: any
// slack that is too small loses some.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../core/layouts.h"
#include "../core/prefix_rows.h"
#include "../core/row_projection.h"
#include "../cpu/cpu.h"
#include "../cpu/screening.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

void expect(bool ok, const std::string& what) { check::record(ok, __FILE__, 0, what.c_str()); }

constexpr int64_t pairs = 500;
constexpr double at_edge = 1e-7;

struct Problem {
  std::string name;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  std::vector<double> log_weights, x;
  Target target;
  Layouts layouts;
  double a = 1, b = 1;
  int64_t batch = 100;  // more than a tile meets together

  double logit(int64_t q, int64_t i) const {
    long double sum = 0;
    for (int64_t j = 0; j < target.d; ++j) {
      const long double difference = x[q * target.d + j] - static_cast<long double>(a) * target.points.value(i, j);
      sum += difference * difference;
    }
    return static_cast<double>(target.log_weight(i) - sum / (2 * static_cast<long double>(b) * b));
  }
};

enum class Kind { images, uneven, plane, white, bytes };

// F(y') - image of a row, as a vector of the space of the rows; its last coordinate is left out.
std::vector<double> missed_by_image(const Problem& p, int64_t i) {
  const PrefixRows& prefix = p.layouts.prefix;
  const int64_t d = p.target.d;
  std::vector<float> y(d);
  std::vector<double> f(prefix.columns), missed(d, 0.0);
  double square = 0, error = 0;
  for (int64_t j = 0; j < d; ++j) {
    y[j] = static_cast<float>(p.target.points.value(i, j) - prefix.origin[j]);
    square += static_cast<double>(y[j]) * static_cast<double>(y[j]);
  }
  project_on_prefix(prefix, y.data(), 1, &square, f.data(), &error);
  for (int64_t k = 0; k + 1 < prefix.columns; ++k) {
    const double image = static_cast<double>(prefix.gain[i]) * (prefix.centre[k] + prefix.scale[k] * (prefix.tiles[prefix.place(i, k)] - 128));
    const float* direction = prefix.directions.data() + k / projection_lanes * d * projection_lanes + k % projection_lanes;
    for (int64_t j = 0; j < d; ++j) missed[j] += (f[k] - image) * static_cast<double>(direction[j * projection_lanes]);
  }
  return missed;
}

double product(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t j = 0; j < x.size(); ++j) sum += x[j] * y[j];
  return sum;
}

// Rows 0 ... pairs - 1 have a neighbour each among the last rows, about 12 b / a away.
void make(Problem& p, Kind kind, int64_t n, int64_t d, double a, double b, bool weighted) {
  static const char* names[] = {"images", "uneven", "plane", "white", "bytes"};
  p.name = std::string(names[static_cast<int>(kind)]) + " d=" + std::to_string(d) + " a=" + std::to_string(a) + " b=" + std::to_string(b) +
           (weighted ? " weighted" : "");
  std::mt19937_64 random(static_cast<uint64_t>(d) + 1000 * static_cast<uint64_t>(kind));
  std::normal_distribution<double> normal;
  const int factors = kind == Kind::plane ? 3 : 6;
  std::vector<double> directions(static_cast<size_t>(factors * d)), rows(static_cast<size_t>(n * d));
  for (double& value : directions) value = normal(random);
  const auto put = [&](double* row, double noise) {
    double z[6];
    for (double& value : z) value = kind == Kind::white ? 0 : normal(random);
    for (int64_t j = 0; j < d; ++j) {
      double sum = noise * normal(random);
      for (int k = 0; k < factors; ++k) sum += z[k] * directions[k * d + j] / 2;
      row[j] = sum;
    }
  };
  for (int64_t i = 0; i < n; ++i) {
    double* row = rows.data() + i * d;
    put(row, kind == Kind::plane ? 0 : kind == Kind::white ? 1 : 0.3);
    double square = 0;
    for (int64_t j = 0; j < d; ++j) square += row[j] * row[j];
    const double length = i >= n - pairs ? 12 * b / a / std::sqrt(square) : kind == Kind::uneven ? std::exp(1.5 * normal(random)) : 1;
    for (int64_t j = 0; j < d; ++j) row[j] = length * row[j] + (i >= n - pairs ? rows[(i - n + pairs) * d + j] : 0);
  }
  p.target.n = n;
  p.target.d = d;
  if (kind == Kind::bytes) {
    for (const double value : rows) p.bytes.push_back(static_cast<uint8_t>(std::clamp(std::rint(128 + 25 * value), 0.0, 255.0)));
    p.bytes.resize(p.bytes.size() + digit_padding);
    p.target.points = {p.bytes.data(), n, d, Dtype::u8, 0.04, -5.12};
  } else {
    for (const double value : rows) p.floats.push_back(static_cast<float>(value));
    p.target.points = {p.floats.data(), n, d, Dtype::f32, 1, 0};
  }
  if (weighted) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += static_cast<double>(i % 17);
    for (int64_t i = 0; i < n; ++i) p.log_weights.push_back(i % 17 == 0 ? no_weight : std::log(static_cast<double>(i % 17) / total));
    p.target.log_weights = p.log_weights.data();
  }
  p.a = a;
  p.b = b;
  CHECK(build_layouts(p.target, {}, p.layouts).ok());
  p.target.layouts = &p.layouts;
  const double reach = canonical_reach(n);
  for (int64_t q = 0; q < p.batch; ++q) {
    const int64_t near = (q * 37 + 1) % pairs, far = n - pairs + near;
    std::vector<double> apart(d), along(d, 0.0);
    for (int64_t j = 0; j < d; ++j) apart[j] = a * (p.target.points.value(near, j) - p.target.points.value(far, j));
    const double square = product(apart, apart);
    if (q % 2 == 1 && !p.layouts.prefix.empty()) {
      along = missed_by_image(p, far);
      const double stretch = 5 * std::sqrt(square / product(along, along));
      for (double& part : along) part *= stretch;
    }
    // At x = a y_far + w the logits differ by (2 w . apart - |apart|^2) / (2 b^2), less what the weights do; w = along + t apart.
    const double wanted = reach - at_edge + p.target.log_weight(far) - p.target.log_weight(near);
    const double t = 0.5 * (1 + 2 * b * b * wanted / square) - product(along, apart) / square;
    for (int64_t j = 0; j < d; ++j) {
      const double edge = a * p.target.points.value(far, j) + along[j] + t * apart[j];
      p.x.push_back(q % 4 != 2 && std::abs(t) < 100 ? edge : a * p.target.points.value(near, j) + b * normal(random));
    }
  }
}

std::vector<const Instructions*> sets() {
  std::vector<const Instructions*> all;
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&amx_set(), &vnni_set(), &avx512_set(), &avx2_set()}) {
    if (set->kernels != nullptr && set->digits != nullptr) all.push_back(set);
  }
#endif
  all.push_back(&portable_set());
  return all;
}

struct Outcome {
  std::vector<uint8_t> open;
  std::vector<std::vector<int32_t>> rows;
  std::vector<std::vector<double>> logits;
};

Outcome screen(const Problem& p, const Instructions& set, const Layouts& layouts, int64_t together, int threads) {
  Target target = p.target;
  target.layouts = &layouts;
  Execution execution;
  execution.threads = threads;
  ThreadPool pool(threads);
  Outcome outcome;
  for (int64_t first = 0; first < p.batch; first += together) {
    const int64_t count = std::min(together, p.batch - first);
    Screening screening(set, target, p.a, p.b, {target.n / 8, canonical_reach(target.n)}, count, pool, execution);
    for (int64_t at = 0; at < count; at += screening.block()) {
      const int64_t here = std::min(screening.block(), count - at);
      screening.run(p.x.data() + (first + at) * target.d, here);
      for (int64_t q = 0; q < here; ++q) {
        outcome.open.push_back(screening.open(q) ? 1 : 0);
        outcome.rows.emplace_back();
        outcome.logits.emplace_back();
        if (screening.open(q)) screening.collect(q, outcome.rows.back(), outcome.logits.back());
      }
    }
  }
  return outcome;
}

// [batch] the rows within the reach, ascending, and how many of all are so by little.
std::vector<std::vector<int32_t>> within_reach(const Problem& p, int64_t& edges) {
  std::vector<std::vector<int32_t>> all;
  std::vector<double> logits(static_cast<size_t>(p.target.n));
  for (int64_t q = 0; q < p.batch; ++q) {
    for (int64_t i = 0; i < p.target.n; ++i) logits[i] = p.logit(q, i);
    const double floor = *std::max_element(logits.begin(), logits.end()) - canonical_reach(p.target.n);
    all.emplace_back();
    for (int64_t i = 0; i < p.target.n; ++i) {
      if (logits[i] >= floor) all.back().push_back(static_cast<int32_t>(i));
      edges += logits[i] >= floor && logits[i] < floor + 2 * at_edge;
    }
  }
  return all;
}

// A column of the prefix that does not move, its share given to the residuals.
Layouts with_constant_column(const Layouts& layouts, int64_t k, int64_t n) {
  Layouts other = layouts;
  PrefixRows& prefix = other.prefix;
  for (int64_t i = 0; i < n; ++i) {
    Quad square = 0;
    const auto image = [&](int64_t c) {
      return Quad(prefix.gain[i]) * (Quad(prefix.centre[c]) + Quad(c == k ? 0 : prefix.scale[c]) * (prefix.tiles[prefix.place(i, c)] - 128));
    };
    for (int64_t c = 0; c < prefix.columns; ++c) square += image(c) * image(c);
    const double moved = std::abs(static_cast<double>(prefix.gain[i]) * prefix.scale[k] * (prefix.tiles[prefix.place(i, k)] - 128));
    prefix.residual[i] = rounded_up(static_cast<double>(prefix.residual[i]) + moved * (1 + 1e-12));
    const double half = static_cast<double>((Quad(prefix.residual[i]) * Quad(prefix.residual[i]) - square) / 2);
    prefix.half_square[i] = -rounded_up(half + 1e-12 * std::abs(half));
    prefix.largest_residual = std::max(prefix.largest_residual, static_cast<double>(prefix.residual[i]));
  }
  prefix.largest_norm += prefix.largest_residual;
  prefix.scale[k] = 0;
  if (!other.digits.owned.empty()) other.digits.rows = other.digits.owned.data();
  return other;
}

// `fewest`: queries that must be open with both layouts.
void test(const Problem& p, int64_t fewest) {
  int64_t edges = 0;
  const std::vector<std::vector<int32_t>> wanted = within_reach(p, edges);
  struct Variant {
    const char* name;
    Layouts layouts;
  };
  std::vector<Variant> variants{{"both", p.layouts}};
  if (!p.layouts.prefix.empty()) {
    variants.push_back({"prefix", p.layouts});
    variants.back().layouts.digits = DigitRows{};
    variants.push_back({"digits", p.layouts});
    variants.back().layouts.prefix = PrefixRows{};
    variants.push_back({"constant column", with_constant_column(p.layouts, 1, p.target.n)});
  }
  for (Variant& variant : variants) {
    DigitRows& digits = variant.layouts.digits;
    if (!digits.owned.empty()) digits.rows = digits.owned.data();
    for (const Instructions* set : sets()) {
      const std::string name = p.name + ", " + variant.name + ", " + set->name;
      const Outcome whole = screen(p, *set, variant.layouts, p.batch, 1);
      int64_t open = 0, lost = 0;
      for (int64_t q = 0; q < p.batch; ++q) {
        open += whole.open[q];
        if (whole.open[q] != 0) lost += std::includes(whole.rows[q].begin(), whole.rows[q].end(), wanted[q].begin(), wanted[q].end()) ? 0 : 1;
      }
      expect(lost == 0, name + ": " + std::to_string(lost) + " queries lost rows");
      if (variant.layouts.digits.rows != nullptr && p.layouts.prefix.empty() == variant.layouts.prefix.empty() && digits.owned == p.layouts.digits.owned) {
        expect(open >= fewest, name + ": " + std::to_string(open) + " open");
      }
      for (const auto& [together, threads] : {std::pair<int64_t, int>{p.batch, 3}, {7, 1}, {1, 2}}) {
        const Outcome other = screen(p, *set, variant.layouts, together, threads);
        expect(other.open == whole.open, name + ": the same queries are open, " + std::to_string(together) + " together");
        for (int64_t q = 0; q < p.batch; ++q) {
          if (whole.open[q] == 0 || other.open[q] == 0) continue;
          const auto& rows = other.rows[q];
          expect(std::includes(rows.begin(), rows.end(), wanted[q].begin(), wanted[q].end()), name + ": rows, " + std::to_string(together) + " together");
        }
        if (check::sanitized) break;
      }
    }
  }
  expect(edges > p.batch / 5, p.name + ": " + std::to_string(edges) + " rows at the edge");
}

// All rows that a sample would see are excluded, and the last tile is not full.
void excluded_rows_do_not_hide_the_others() {
  for (const int64_t n : {5000, 5055, 5056}) {
    Problem p;
    make(p, Kind::images, n, 97, 0.9, 0.1, false);
    p.log_weights.assign(static_cast<size_t>(n), no_weight);
    p.log_weights[0] = p.log_weights[n - 3] = std::log(0.5);
    p.target.log_weights = p.log_weights.data();
    for (int64_t q = 0; q < p.batch; ++q) {
      for (int64_t j = 0; j < 97; ++j) p.x[q * 97 + j] = p.a * p.target.points.value(n - 3, j) + 0.01 * static_cast<double>(q + 1) * p.b * (j % 2 ? 1 : -1);
    }
    int64_t edges = 0;
    const std::vector<std::vector<int32_t>> wanted = within_reach(p, edges);
    Layouts alone = p.layouts;
    alone.digits = DigitRows{};
    for (const Layouts* layouts : {static_cast<const Layouts*>(&p.layouts), static_cast<const Layouts*>(&alone)}) {
      for (const Instructions* set : sets()) {
        const Outcome outcome = screen(p, *set, *layouts, p.batch, 1);
        for (int64_t q = 0; q < p.batch; ++q) {
          const std::vector<int32_t>& rows = outcome.rows[q];
          expect(outcome.open[q] != 0, std::string(set->name) + ": open though most rows are excluded");
          expect(std::includes(rows.begin(), rows.end(), wanted[q].begin(), wanted[q].end()), std::string(set->name) + ": the last row stays");
        }
      }
    }
  }
}

// Stopped at any moment: nothing is read that was not written.
void a_stopped_run_ends() {
  for (const Kind kind : {Kind::images, Kind::white}) {
    Problem p;
    make(p, kind, 2610, kind == Kind::white ? 41 : 70, 0.9, 0.05, false);
    constexpr int64_t moments = 300;
    int64_t stopped = 0;
    std::chrono::nanoseconds whole{0};  // of a run that is not stopped
    for (int64_t k = -1; k < moments; ++k) {
      std::atomic<bool> stop{false};
      Execution execution;
      execution.stop = &stop;
      ThreadPool pool(2);
      Screening screening(*sets()[0], p.target, p.a, p.b, {p.target.n / 8, canonical_reach(p.target.n)}, p.batch, pool, execution);
      const auto start = std::chrono::steady_clock::now();
      std::thread stopper([&] {
        while (k >= 0 && std::chrono::steady_clock::now() - start < whole * k / moments) {
        }
        stop = k >= 0;
      });
      screening.run(p.x.data(), p.batch);
      if (k < 0) whole = std::chrono::steady_clock::now() - start;
      stopped += stop ? 1 : 0;
      stopper.join();
    }
    expect(stopped > 0, p.name + ": stopped " + std::to_string(stopped) + " times before its end");
  }
}

}  // namespace

int main() {
  const int64_t n = check::sanitized ? 2100 : 2610;
  for (const Kind kind : {Kind::images, Kind::uneven, Kind::plane, Kind::white, Kind::bytes}) {
    for (const double b : {0.01, 1e-4, 0.05}) {
      if (check::sanitized && b != 0.01) continue;
      Problem p;
      make(p, kind, n, kind == Kind::white ? 41 : 70, b == 0.01 ? 0.4 : 1 - b, kind == Kind::bytes ? 0.05 + b : b, b == 0.01);
      test(p, 90);
    }
  }
  excluded_rows_do_not_hide_the_others();
  a_stopped_run_ends();
  return check::summary();
}
