// Few Gaussians in few dimensions: the denoised mean against the score by Tweedie's formula, the same bits whatever else is asked for, at
// any place among the queries, on every instruction set with fused multiply-adds. mixture_test.cpp has their accuracy.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../core/prepare.h"
#include "../cpu/few_gaussians.h"
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
  std::vector<double> density, score, denoised, entropy, squares, weight, classes, error_density, error_score, top_weight, divergence;
  std::vector<int32_t> nearest, survivors, top;
  std::vector<uint8_t> path;

  // Of queries [first, first + batch); with `more` also the ranking and a second moment.
  Answer(const Instructions& set, const Case& c, double b, Precision precision, bool more, int threads, int64_t first, int64_t batch) {
    const auto rows = static_cast<size_t>(batch), numbers = rows * static_cast<size_t>(c.target.d);
    for (auto* v : {&density, &entropy, &squares, &weight, &error_density, &error_score, &divergence}) v->resize(rows);
    for (auto* v : {&score, &denoised}) v->assign(numbers, check::unwritten);
    for (auto* v : {&nearest, &survivors}) v->resize(rows);
    classes.resize(2 * rows);
    path.resize(rows);
    PosteriorRequest r;
    r.x = {c.x.data() + first * c.target.d, batch, c.target.d};
    r.a = a;
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
    if (more) {
      r.top = std::min<int64_t>(2, c.target.n);
      top.resize(rows * static_cast<size_t>(r.top));
      top_weight.resize(top.size());
      r.top_index = top.data();
      r.top_weight = top_weight.data();
      r.divergence = divergence.data();
    }
    Execution execution;
    execution.threads = threads;
    CHECK(posterior_mixture(set, c.target, r, execution).ok());
  }

  // Whether this is what `all` says of its queries from `first` on.
  bool part_of(const Answer& all, int64_t first) const {
    const auto same = [&](const auto& own, const auto& whole) {
      const size_t width = own.size() / path.size();
      return std::memcmp(own.data(), whole.data() + static_cast<size_t>(first) * width, own.size() * sizeof(own[0])) == 0;
    };
    return same(density, all.density) && same(score, all.score) && same(denoised, all.denoised) && same(entropy, all.entropy) &&
           same(squares, all.squares) && same(weight, all.weight) && same(classes, all.classes) && same(error_density, all.error_density) &&
           same(error_score, all.error_score) && same(nearest, all.nearest) && same(survivors, all.survivors) && same(path, all.path);
  }

  static constexpr double a = 0.8;
};

// a D = x + b^2 s, to rounding of what is summed; weights and classes sum to one, the top of the ranking is the nearest.
bool consistent(const Case& c, const Answer& r, double b, int64_t batch) {
  const int64_t d = c.target.d;
  double largest = 0;
  for (const double mean : c.means) largest = std::max(largest, std::abs(mean));
  bool ok = true;
  for (int64_t q = 0; q < batch; ++q) {
    for (int64_t j = q * d; j < (q + 1) * d; ++j) {
      const double wanted = c.x[j] + b * b * r.score[j], scale = std::abs(c.x[j]) + largest + b * b * r.error_score[q];
      ok = ok && std::abs(Answer::a * r.denoised[j] - wanted) <= 1e-14 * scale + b * b * r.error_score[q];
    }
    const auto top = static_cast<int64_t>(r.top.size()) / batch;
    ok = ok && std::abs(r.classes[2 * q] + r.classes[2 * q + 1] - 1) < 1e-15;
    ok = ok && r.top[q * top] == r.nearest[q] && r.top_weight[q * top] == r.weight[q];
    ok = ok && r.survivors[q] == c.target.n && r.path[q] == static_cast<uint8_t>(Path::float64);
  }
  return ok;
}

}  // namespace

int main() {
  constexpr int64_t batch = 267;
  std::vector<const Instructions*> sets = {&portable_set()};
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&avx2_set(), &avx512_set()}) {
    if (set->kernels != nullptr) sets.push_back(set);
  }
#endif
  for (const Type type : {Type::spherical, Type::diagonal}) {
    for (const auto& [k, d] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {3, 2}, {64, 8}, {7, 19}, {5, 67}, {2, 1024}}) {
      Case c;
      make(c, type, k, d, batch);
      CHECK(is_few(c.target));
      for (const double b : {1e-3, 0.6, 30.0}) {
        for (const Precision precision : {Precision::exact, Precision::float64}) {
          const Answer* fused = nullptr;
          std::vector<Answer> kept;
          kept.reserve(sets.size());
          for (const Instructions* set : sets) {
            const std::string what = std::string(set->name) + " type " + std::to_string(static_cast<int>(type)) +
                                     " K=" + std::to_string(k) + " d=" + std::to_string(d) + " b=" + std::to_string(b);
            const auto expect = [&](bool ok, const char* of) { check::record(ok, __FILE__, __LINE__, (what + of).c_str()); };
            const Answer& few = kept.emplace_back(*set, c, b, precision, false, 1, 0, batch);
            const Answer more(*set, c, b, precision, true, 3, 0, batch);
            expect(more.part_of(few, 0), ": more readings, more threads");
            expect(consistent(c, more, b, batch), ": Tweedie");
            for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1}, {5, 8}, {250, 17}, {266, 1}}) {
              expect(Answer(*set, c, b, precision, false, 1, first, count).part_of(few, first), ": a part of the batch");
            }
            if (set == &portable_set()) continue;
            expect(fused == nullptr || few.part_of(*fused, 0), ": instruction sets");
            fused = &few;
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
  std::atomic<bool> stop{true};
  Execution stopped;
  stopped.stop = &stop;
  CHECK(posterior_mixture(portable_set(), full.target, request, stopped).code == Code::cancelled);
  Case many;
  make(many, Type::spherical, 65, 2, 1);
  CHECK(!is_few(many.target));
  return check::summary();
}
