// sweep over points: readings along coupled draws x_t = a x_0 + b z at all times.
//
// With o = y_mu, q_i = |o - y_i|^2, v_i = z . (o - y_i) and r = a / b the logit of point i relative to that of the own datum is
//   L_i(r) = -r (r/2 q_i + v_i) + log pi_i - log pi_mu,
// so two inner products per pair fix all times. The own datum's term is 1 and is kept apart; the readings follow from
//   S = sum_{i != mu} e^L_i,  G = sum e^L_i L_i,  Q = sum e^2L_i,  and S over each class:
//   log p = l_mu + log1p(S),  H = log1p(S) - G / (1 + S),  sum w^2 = (1 + Q) / (1 + S)^2,  log w_mu = -log1p(S).
// Since v is normal with variance q, L_i <= v^2 / 2q + log pi_i / pi_mu passes 300 with probability below 1e-130: e^2L fits.
// L_i < -C for good beyond a ratio r*_i, so each pair costs exponentials only at the times up to there, exactly as if all were formed
// and those below e^-C dropped: at most n e^-C of the own term, 2^-53 at C = log n + 37 and 1e-43 (precision float64) at log n + 100.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "readings.h"
#include "sweep.h"
#include "sweep_products.h"

namespace regimes {

SweepExtent sweep_extent(int64_t n, int64_t d, int64_t draws, int64_t times, int64_t class_count) {
  constexpr int64_t most_spans = 8, most_draws = 1024;
  const int64_t coordinate = 24;  // bytes per draw and coordinate: o and z, and copies of one group
  const int64_t sums = 8 * (3 + class_count);
  SweepExtent extent;
  extent.span_rows = (chunk_count(n) + most_spans - 1) / most_spans * chunk_rows;
  extent.spans = (n + extent.span_rows - 1) / extent.span_rows;
  const auto bytes = [&](int64_t at_hand, int64_t at_times) { return at_hand * (coordinate * d + extent.spans * at_times * sums); };
  extent.draws = std::min(most_draws, (draws + draw_group - 1) / draw_group * draw_group);
  while (extent.draws > draw_group && bytes(extent.draws, times) > sweep_bytes) {
    extent.draws = std::max(draw_group, extent.draws / 2 / draw_group * draw_group);
  }
  extent.times = times;
  while (extent.times > 1 && bytes(extent.draws, extent.times) > sweep_bytes) extent.times = (extent.times + 1) / 2;
  extent.bytes = bytes(extent.draws, extent.times);
  return extent;
}

namespace {

constexpr int64_t sums_of_time = 3 * lanes;

template <class Products>
class PointsSweep {
  using Real = typename Products::Real;
  static constexpr int64_t width = Products::width;

 public:
  PointsSweep(const Kernels& kernels, Products products, const Target& target, const SweepRequest& request, const Execution& execution,
              ThreadPool& pool)
      : kernels_(kernels), products_(std::move(products)), target_(target), request_(request), execution_(execution), pool_(pool),
        n_(target.n), d_(target.d), class_count_(sweep_classes(target, request)),
        extent_(sweep_extent(n_, d_, request.count, request.times, class_count_)),
        uniform_(target.uniform()),
        reach_(std::log(static_cast<double>(n_)) + (request.precision == Precision::float64 ? 100 : dropped_logits)) {
    order_.resize(static_cast<size_t>(request.times));
    std::iota(order_.begin(), order_.end(), int64_t{0});
    const auto ratio = [&](int64_t t) { return request.a[t] / request.b[t]; };
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t s, int64_t t) { return ratio(s) < ratio(t); });
    for (const int64_t t : order_) ratios_.push_back(ratio(t) * products_.unit());
  }

  Status run(Normals source) {
    const std::vector<double> cumulative = cumulative_weights(target_);
    for (first_ = 0; first_ < request_.count && !execution_.cancelled(); first_ += extent_.draws) {
      count_ = std::min(extent_.draws, request_.count - first_);
      groups_ = (count_ + draw_group - 1) / draw_group;
      make_draws(cumulative, source);
      for (first_time_ = 0; first_time_ < request_.times && !execution_.cancelled(); first_time_ += extent_.times) {
        times_ = std::min(extent_.times, request_.times - first_time_);
        find_sums();
        if (!execution_.cancelled()) read();
      }
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  struct Scratch {
    typename Products::Scratch products;
    std::vector<Real> q, v, bias;
    std::vector<int32_t> classes;
  };

  // Draws beyond the last repeat it; their sums are formed and not read.
  void make_draws(const std::vector<double>& cumulative, Normals source) {
    component_.resize(static_cast<size_t>(groups_ * draw_group));
    half_square_.resize(component_.size());
    products_.reserve(groups_);
    pool_.run(groups_, [&](int64_t group, int) {
      std::vector<double> origin(static_cast<size_t>(draw_group * d_)), noise(origin.size());
      for (int64_t k = 0; k < draw_group; ++k) {
        if (execution_.cancelled()) return;
        const int64_t at = group * draw_group + k, r = std::min(at, count_ - 1);
        const uint64_t draw = request_.first + static_cast<uint64_t>(first_ + r);
        double *o = origin.data() + k * d_, *z = noise.data() + k * d_;
        component_[at] = draw_component(target_, cumulative, request_.seed, draw);
        draw_origin(target_, request_.seed, draw, component_[at], o, source);
        draw_noise(request_.seed, draw, d_, z, source);
        double square = 0;
        for (int64_t j = 0; j < d_; ++j) square += z[j] * z[j];
        half_square_[at] = square / 2;
        if (request_.component) request_.component[first_ + r] = component_[at];
      }
      products_.set_group(group, origin.data(), noise.data(), component_.data() + group * draw_group);
    });
  }

  // Sums of one span: [groups * 2][times][3][8], and of its classes [groups * 2][times][class_count][8].
  double* sums_at(int64_t span, int64_t eight) { return sums_.data() + (span * groups_ * 2 + eight) * times_ * sums_of_time; }
  double* masses_at(int64_t span, int64_t eight) { return masses_.data() + (span * groups_ * 2 + eight) * times_ * class_count_ * lanes; }

  void find_sums() {
    sums_.assign(static_cast<size_t>(extent_.spans * groups_ * 2 * times_ * sums_of_time), 0.0);
    masses_.assign(static_cast<size_t>(extent_.spans * groups_ * 2 * times_ * class_count_ * lanes), 0.0);
    // Runs share rows; where there are few groups, threads matter more.
    const int64_t run = std::clamp<int64_t>(groups_ * extent_.spans / (4 * pool_.size()), 1, groups_per_run);
    const int64_t runs = (groups_ + run - 1) / run, items = extent_.spans * runs;
    std::vector<Scratch> scratch(static_cast<size_t>(pool_.size()));
    std::atomic<int64_t> done{0};
    pool_.run(items, [&](int64_t item, int worker) {
      const int64_t group = item % runs * run;
      span_sums(item / runs, group, std::min(run, groups_ - group), scratch[static_cast<size_t>(worker)]);
      if (execution_.cancelled()) return;
      const double part = static_cast<double>(++done) / static_cast<double>(items);
      const double at_time = (static_cast<double>(first_time_) + part * static_cast<double>(times_)) / static_cast<double>(request_.times);
      if (execution_.progress) execution_.progress((static_cast<double>(first_) + at_time * static_cast<double>(count_)) / static_cast<double>(request_.count));
    });
    if (execution_.cancelled()) return;
    const auto fold = [&](double* into, const double* from, int64_t count) {
      for (int64_t k = 0; k < count; ++k) into[k] += from[k];
    };
    pool_.run(groups_ * 2, [&](int64_t eight, int) {
      for (int64_t span = 1; span < extent_.spans; ++span) {
        fold(sums_at(0, eight), sums_at(span, eight), times_ * sums_of_time);
        fold(masses_at(0, eight), masses_at(span, eight), times_ * class_count_ * lanes);
      }
    });
  }

  void span_sums(int64_t span, int64_t first_group, int64_t groups, Scratch& scratch) {
    const int64_t step = products_.block_rows(), end = std::min((span + 1) * extent_.span_rows, n_);
    scratch.q.resize(static_cast<size_t>(draw_group * step));
    scratch.v.resize(scratch.q.size());
    for (int64_t row = span * extent_.span_rows; row < end; row += step) {
      const int64_t count = std::min(step, end - row), padded = (count + pair_group - 1) / pair_group * pair_group;
      if (execution_.cancelled()) return;
      products_.load(row, count, scratch.products);
      load_rows(row, count, padded, scratch);
      products_.multiply(first_group, groups, count, scratch.products);
      for (int64_t group = first_group; group < first_group + groups; ++group) {
        if (execution_.cancelled()) return;
        products_.pairs(first_group, group, count, step, scratch.products, scratch.q.data(), scratch.v.data());
        for (int64_t part = 0; part < draw_group / width; ++part) {
          const int64_t at = part * step * width;
          add_pairs(span, group * draw_group + part * width, row, count, padded, scratch.q.data() + at, scratch.v.data() + at, scratch);
        }
      }
    }
  }

  // Weights and classes of a block, with entries for the padding.
  void load_rows(int64_t row, int64_t count, int64_t padded, Scratch& scratch) const {
    if (target_.log_weights) {
      scratch.bias.assign(static_cast<size_t>(padded), Real{});
      for (int64_t i = 0; i < count; ++i) scratch.bias[static_cast<size_t>(i)] = static_cast<Real>(target_.log_weights[row + i]);
    }
    if (class_count_ > 0) {
      scratch.classes.assign(static_cast<size_t>(padded), 0);
      std::copy_n(target_.classes + row, count, scratch.classes.data());
    }
  }

  // Rows of a block and the draws first_draw ... first_draw + width - 1.
  void add_pairs(int64_t span, int64_t first_draw, int64_t row, int64_t count, int64_t padded, Real* q, Real* v, const Scratch& scratch) {
    std::fill(q + count * width, q + padded * width, static_cast<Real>(NAN));
    std::fill(v + count * width, v + padded * width, Real{});
    Real own_bias[width];
    for (int64_t lane = 0; lane < width; ++lane) {
      const int64_t own = component_[first_draw + lane];
      own_bias[lane] = static_cast<Real>(target_.log_weight(own));
      if (own >= row && own < row + count) q[(own - row) * width + lane] = static_cast<Real>(NAN);  // kept apart
    }
    const int64_t eight = first_draw / lanes;
    std::conditional_t<width == lanes, PairBlock, FloatPairBlock> block;
    block.q = q;
    block.v = v;
    block.bias = target_.log_weights ? scratch.bias.data() : nullptr;
    block.own_bias = own_bias;
    block.rows = static_cast<int>(padded);
    block.ratios = ratios_.data() + first_time_;
    block.times = times_;
    block.reach = reach_;
    block.classes = scratch.classes.data();
    block.class_count = class_count_;
    if constexpr (width == lanes) {
      block.moments = request_.entropy || request_.sum_squares;
      block.sums = sums_at(span, eight);
      block.class_sums = class_count_ > 0 ? masses_at(span, eight) : nullptr;
      kernels_.pair_sums(block);
    } else {
      block.gaps = request_.entropy != nullptr;
      block.squares = request_.sum_squares != nullptr;
      for (int half = 0; half < 2; ++half) {
        block.sums[half] = sums_at(span, eight + half);
        block.class_sums[half] = class_count_ > 0 ? masses_at(span, eight + half) : nullptr;
      }
      kernels_.float_pair_sums(block);
    }
  }

  void read() {
    pool_.run(groups_ * 2, [&](int64_t eight, int) {
      for (int64_t t = 0; t < times_; ++t) {
        double* masses = masses_at(0, eight) + t * class_count_ * lanes;
        for (int lane = 0; lane < lanes && eight * lanes + lane < count_; ++lane) {
          const int64_t r = eight * lanes + lane, own = component_[r];
          if (class_count_ > 0) masses[target_.classes[own] * lanes + lane] += 1;
          read_draw(order_[first_time_ + t], r, sums_at(0, eight) + t * sums_of_time + lane, masses + lane);
        }
      }
    });
  }

  void read_draw(int64_t t, int64_t r, const double* sums, const double* masses) {
    const SweepRequest& out = request_;
    const int64_t at = t * out.count + first_ + r;
    const double others = sums[0], log_total = std::log1p(others), total = 1 + others;
    const double own_logit = target_.log_weights ? target_.log_weights[component_[r]] : -uniform_;
    if (out.log_density) out.log_density[at] = log_total + own_logit - half_square_[r] - log_density_constant(d_, out.b[t]);
    if (out.own_log_weight) out.own_log_weight[at] = -log_total;
    // Where another datum has nearly all the weight, rounding can pass the ends of the ranges.
    if (out.entropy) out.entropy[at] = std::max(0.0, log_total - sums[lanes] / total);
    if (out.sum_squares) out.sum_squares[at] = std::min(1.0, (1 + sums[2 * lanes]) / (total * total));
    if (out.class_squares) out.class_squares[at] = class_squares(masses, class_count_, lanes);
    if (out.class_entropy) out.class_entropy[at] = class_entropy(masses, class_count_, lanes);
  }

  const Kernels& kernels_;
  Products products_;
  const Target& target_;
  const SweepRequest& request_;
  const Execution& execution_;
  ThreadPool& pool_;
  const int64_t n_, d_, class_count_;
  const SweepExtent extent_;
  const double uniform_, reach_;
  std::vector<int64_t> order_;   // times by ascending ratio
  std::vector<double> ratios_;

  // The draws and times at hand.
  int64_t first_ = 0, count_ = 0, groups_ = 0, first_time_ = 0, times_ = 0;
  std::vector<int32_t> component_;
  std::vector<double> half_square_;  // |z|^2 / 2
  std::vector<double> sums_, masses_;
};

}  // namespace

Status sweep_points(const Instructions& set, const Target& target, const SweepRequest& request, const Execution& execution) {
  ThreadPool pool(execution.threads);
  const auto swept = [&](auto products, Path path) {
    if (request.path) *request.path = static_cast<uint8_t>(path);
    return PointsSweep<decltype(products)>(*set.kernels, std::move(products), target, request, execution, pool).run(set.normals);
  };
  if (request.precision != Precision::float64) {
    if (const ByteRows bytes = byte_rows(target); bytes.rows != nullptr) return swept(Digits(set, target, bytes, pool), Path::dense);
    if (takes_float_differences(target, pool)) return swept(FloatDifferences(set, target), Path::dense);
  }
  return swept(Differences(set, target), Path::float64);
}

}  // namespace regimes
