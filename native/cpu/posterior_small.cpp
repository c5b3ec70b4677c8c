// For every query, from its own values and the data alone:
//   1 bounds     an upper bound of the logits of every tile, from its box; the tile with the largest bound is evaluated in float64 and
//                gives the reference m, at most the maximum
//   2 single     float32 sums over the tiles whose bound reaches m - (log n + 25), relative to m, with a bound on their error; or
//   3 float64    where the posterior is condensed, the float32 range or format cannot hold the query, or the bound of 2 fails the
//                contract of "exact": sums over the tiles whose largest float64 logit reaches M - (log n + 37), M the logit of the
//                heaviest datum, from a best-first search (for a posterior that is not condensed m does in its place)
// Bits. Whether a tile enters the sums depends on its bound or its largest logit, on m or M and on n, not on the order of the work, the
// neighbours or the threads; M is the largest of all float64 logits whatever the search visits, since a tile left out has a bound,
// rounded up, below a logit already seen. Sums run in the order of the tiles inside chunks of 4096 places, merged by the tree of chunks.h.
//
// Error of 2, with u = 2^-24, s^2 = log2(e) / (2 b^2) and e = s (x - a y) = s a (t - delta): logits are -q = -|e|^2 in powers of two.
//   t and delta are rounded to float32, their difference rounds once:  |de| <= u (s a |t| + s a |delta| + |e|) <= u (2 |e| + 2 rho),
//   rho the tile's radius times s a; so |dq| <= u (4 q + 4 rho sqrt q) before the roundings of the sum of squares (`steps`), the slope,
//   and the exponent, which is relative to |log2 w|. With log2 w <= over, |log2 w| <= q + over + max(0, -start) + |bias|; start and
//   bias round once each, and |start| is bounded likewise. A weight is off by the factor exp(eta),
//     |eta| <= u ln 2 [(steps + 7) q + 4 rho sqrt q + 2 (over + max(0, -start) + |bias|) + |bias|] + 26 u
//   with 5 u for the power of two, 2 for products that round twice (portable), and 19 for the float32 part of the sums. Weights
//   below 2^-60 are dropped, so |bias| <= |start| + 60 among the others. Then |d log p| <= sum w |eta|, and
//     |d r| <= sqrt(sum w eta^2) sqrt(sum w |e - r|^2) + 19 u sum w rho,   r = sum w e,   sum w |e - r|^2 = sum w q - |r|^2,
//   and the score is -r / (s b^2). The dropped mass is at most e^-25 + n 2^-60.
// Over 400 lines because the single and the float64 sums share the bounds, the groups of queries and the readings, and decide about
// each other query by query.
#include "posterior_small.h"

#include <algorithm>
#include <cmath>

#include "../core/boxes.h"
#include "../core/layouts.h"
#include "../core/thread_pool.h"
#include "readings.h"
#include "small.h"

namespace regimes {
namespace {

constexpr int group_queries = 16;                 // queries that pass over a tile together
constexpr int64_t block_queries = 512;            // queries at hand
constexpr int64_t chunks_per_item = 4;
constexpr int64_t partial_doubles = int64_t{1} << 23;
constexpr double single_reach = 25;               // log of the mass that skipped tiles may hold in float32 sums
constexpr double single_headroom = 20;            // nats by which a logit may exceed the reference
constexpr int64_t condensed_rows = 8 * box_tile;  // up to here float64 costs little
constexpr double condensed_entropy = 0.01;        // below, small weights carry the readings
constexpr double log2_e = 1.4426950408889634, ln2 = 0.6931471805599453;

double norm(const double* v, int64_t d) {
  double square = 0;
  for (int64_t k = 0; k < d; ++k) square += v[k] * v[k];
  return std::sqrt(square);
}

double lane_total(const double* v) { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }

struct Heavy {
  double logit;
  int32_t row;
  int32_t place;
  bool operator<(const Heavy& other) const { return logit > other.logit || (logit == other.logit && row < other.row); }
};

// What stage 1 decides for a query.
struct Plan {
  bool exact = false;
  int64_t seed = 0;          // tile
  double reference = 0;      // m
  Heavy best{};              // the datum that has it, the first of equals in its tile
  double over = 0;           // by which a logit may exceed it, in powers of two
  int64_t rows = 0;          // in the tiles that enter the sums
};

enum class Outcome : uint8_t { good, inaccurate, condensed };

// Work areas of a thread.
struct Scratch {
  std::vector<double> upper;     // [padded] bounds, and the largest logits of the tiles that the search has seen
  std::vector<double> rows;      // [d][box_tile]
  std::vector<double> logits;    // [box_tile]
  std::vector<double> states;    // [group_queries][sums][8]
  std::vector<double> classes;   // [group_queries][class_count]
  std::vector<float> weights;    // [box_tile]
};

class SmallPosterior {
 public:
  SmallPosterior(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution)
      : convert_(*set.kernels), kernels_(*set.small), target_(target), boxes_(target.layouts->boxes), request_(request),
        execution_(execution), pool_(execution.threads), n_(target.n), d_(target.d),
        class_count_(request.class_weights ? target.class_count : 0), chunks_(chunk_count(n_)), sums_(SmallSums::count(d_)),
        width_(sums_ + class_count_), log_n_(std::log(static_cast<double>(n_))), uniform_(target.uniform()),
        inverse_twice_b2_(1 / (2 * request.b * request.b)), scale_(std::sqrt(0.5 * log2_e) / request.b),
        steps_(std::min(static_cast<double>(d_), 3 + std::ceil(static_cast<double>(d_) / 4))),
        scratch_(static_cast<size_t>(pool_.size())) {
    for (Scratch& scratch : scratch_) {
      scratch.upper.resize(static_cast<size_t>(boxes_.padded));
      scratch.rows.resize(static_cast<size_t>(d_ * box_tile));
      scratch.logits.resize(box_tile);
      scratch.states.resize(static_cast<size_t>(group_queries * sums_ * lanes));
      scratch.classes.resize(static_cast<size_t>(group_queries * class_count_));
      scratch.weights.resize(box_tile);
    }
  }

  Status run() {
    const int64_t queries = request_.x.rows, fit = partial_doubles / (chunks_ * width_);
    const int64_t step = std::clamp<int64_t>(fit / group_queries * group_queries, group_queries, block_queries);
    for (int64_t first = 0; first < queries && !execution_.cancelled(); first += step) {
      first_ = first;
      count_ = std::min(step, queries - first);
      answer_block();
      if (execution_.progress) execution_.progress(static_cast<double>(first + count_) / static_cast<double>(queries));
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  const double* query(int64_t q) const { return request_.x.row(first_ + q); }
  bool wants_heaviest() const { return request_.nearest_index || request_.nearest_weight || request_.top > 0; }
  int64_t rows_of(int64_t tile) const { return std::min(box_tile, n_ - tile * box_tile); }

  void answer_block() {
    const int64_t groups = (count_ + group_queries - 1) / group_queries, runs = (chunks_ + chunks_per_item - 1) / chunks_per_item;
    plans_.assign(static_cast<size_t>(count_), Plan{});
    masks_.assign(static_cast<size_t>(groups * boxes_.tiles), 0);
    pool_.run(groups, [&](int64_t group, int worker) {
      for (int64_t q = group * group_queries; q < std::min(count_, (group + 1) * group_queries); ++q) plan(q, scratch_[worker]);
    });
    if (execution_.cancelled()) return;
    const bool any = std::any_of(plans_.begin(), plans_.end(), [](const Plan& p) { return !p.exact; });
    if (any) {
      partials_.resize(static_cast<size_t>(chunks_ * count_ * width_));
      pool_.run(groups * runs, [&](int64_t item, int worker) {
        const int64_t run = item % runs, end = std::min((run + 1) * chunks_per_item, chunks_);
        for (int64_t chunk = run * chunks_per_item; chunk < end; ++chunk) sum_chunk(item / runs, chunk, scratch_[worker]);
      });
      if (execution_.cancelled()) return;
    }
    pool_.run(count_, [&](int64_t q, int worker) {
      if (execution_.cancelled()) return;
      const Outcome outcome = plans_[q].exact ? Outcome::condensed : read_single(q, scratch_[worker]);
      if (outcome != Outcome::good) answer_exact(q, outcome == Outcome::condensed, scratch_[worker]);
    });
  }

  void find_bounds(int64_t q, Scratch& scratch) const {
    kernels_.upper_bounds(boxes_.low.data(), boxes_.high.data(), boxes_.heaviest.data(), boxes_.padded, d_, query(q), request_.a,
                          inverse_twice_b2_, scratch.upper.data());
  }

  // The rows and float64 logits of a tile; what lies behind the last row has none.
  void find_logits(int64_t q, int64_t tile, Scratch& scratch) const {
    const DataView stored{boxes_.stored.data(), 0, 0, target_.points.dtype, target_.points.scale, target_.points.shift};
    convert_.convert(stored, tile * d_ * box_tile, d_ * box_tile, scratch.rows.data());
    kernels_.tile_logits(scratch.rows.data(), boxes_.log_weights_of(tile), d_, query(q), request_.a, inverse_twice_b2_,
                         scratch.logits.data());
  }

  void plan(int64_t q, Scratch& scratch) {
    Plan& plan = plans_[q];
    find_bounds(q, scratch);
    const double* upper = scratch.upper.data();
    plan.seed = std::max_element(upper, upper + boxes_.tiles) - upper;
    find_logits(q, plan.seed, scratch);
    const int64_t best = std::max_element(scratch.logits.data(), scratch.logits.data() + rows_of(plan.seed)) - scratch.logits.data();
    const int64_t place = plan.seed * box_tile + best;
    plan.reference = scratch.logits[best];
    plan.best = {plan.reference, boxes_.order[place], static_cast<int32_t>(place)};
    const double cutoff = plan.reference - (log_n_ + single_reach);
    int64_t tiles = 0;
    for (int64_t tile = 0; tile < boxes_.tiles; ++tile) tiles += upper[tile] >= cutoff;
    plan.rows = tiles * box_tile - (upper[boxes_.tiles - 1] >= cutoff ? box_tile - rows_of(boxes_.tiles - 1) : 0);
    const double slope = request_.a * scale_, start = -plan.reference * log2_e;
    const bool holds = slope > 1e-12 && slope < 1e15 && boxes_.largest_radius < 1e12 && slope * boxes_.largest_radius < 1e12 &&
                       upper[plan.seed] - plan.reference <= single_headroom &&
                       0x1p-24 * ln2 * (steps_ + 10) * start <= log_density_contract;
    plan.over = log2_e * std::clamp(upper[plan.seed] - plan.reference, 0.0, single_headroom);
    plan.exact = !holds || plan.rows <= condensed_rows;
    if (plan.exact) return;
    uint16_t* masks = masks_.data() + q / group_queries * boxes_.tiles;
    const uint16_t bit = static_cast<uint16_t>(1u << (q % group_queries));
    for (int64_t tile = 0; tile < boxes_.tiles; ++tile) {
      if (upper[tile] >= cutoff) masks[tile] = static_cast<uint16_t>(masks[tile] | bit);
    }
  }

  void describe(int64_t q, int64_t tile, SmallTile& view) const {
    const double* x = query(q);
    const double *centre = boxes_.centre.data() + tile * d_, *origin = boxes_.centre.data() + plans_[q].seed * d_;
    const double start = (boxes_.heaviest[tile] - plans_[q].reference) * log2_e;
    for (int64_t k = 0; k < d_; ++k) {
      view.t[k] = static_cast<float>(std::fma(-request_.a, centre[k], x[k]) / request_.a);
      view.shift[k] = centre[k] - origin[k];
    }
    view.start = static_cast<float>(start);
    view.radius = request_.a * scale_ * boxes_.radius[tile];
    const double bias = std::min(boxes_.spread[tile] * log2_e, std::abs(start) + 61), deficit = std::max(0.0, -start) + bias;
    view.rounding = ln2 * (2 * (plans_[q].over + deficit) + bias) + 26;
  }

  // Sums of a group of queries over one chunk.
  void sum_chunk(int64_t group, int64_t chunk, Scratch& scratch) {
    if (execution_.cancelled()) return;
    const int64_t first = group * group_queries, end = std::min(count_, first + group_queries);
    const uint16_t* masks = masks_.data() + group * boxes_.tiles;
    std::fill(scratch.states.begin(), scratch.states.end(), 0.0);
    std::fill(scratch.classes.begin(), scratch.classes.end(), 0.0);
    SmallTile view;
    view.slope = static_cast<float>((request_.a * scale_) * (request_.a * scale_));
    for (int64_t tile = chunk * tiles_per_chunk; tile < std::min((chunk + 1) * tiles_per_chunk, boxes_.tiles); ++tile) {
      if (masks[tile] == 0) continue;
      view.rows = boxes_.rows.data() + tile * d_ * box_tile;
      view.bias = boxes_.bias_of(tile);
      for (int64_t q = first; q < end; ++q) {
        if ((masks[tile] >> (q - first) & 1) == 0) continue;
        describe(q, tile, view);
        kernels_.add_tile(view, d_, scratch.states.data() + (q - first) * sums_ * lanes,
                          class_count_ > 0 ? scratch.weights.data() : nullptr);
        if (class_count_ > 0) add_classes(tile, scratch.weights.data(), scratch.classes.data() + (q - first) * class_count_);
      }
    }
    for (int64_t q = first; q < end; ++q) {
      double* partial = partials_.data() + (chunk * count_ + q) * width_;
      const double* state = scratch.states.data() + (q - first) * sums_ * lanes;
      for (int sum = 0; sum < sums_; ++sum) partial[sum] = lane_total(state + sum * lanes);
      std::copy_n(scratch.classes.data() + (q - first) * class_count_, class_count_, partial + sums_);
    }
  }

  template <class Weight>
  void add_classes(int64_t tile, const Weight* weights, double* masses) const {
    const int32_t* order = boxes_.order.data() + tile * box_tile;
    for (int64_t i = 0; i < rows_of(tile); ++i) masses[target_.classes[order[i]]] += static_cast<double>(weights[i]);
  }

  // Fills the readings of a query from its float32 sums; false where they do not meet the contract.
  Outcome read_single(int64_t q, Scratch& scratch) {
    const int64_t at = first_ + q;
    const Plan& plan = plans_[q];
    merge_tree(chunks_, [&](int64_t i, int64_t j) {
      double *into = partials_.data() + (i * count_ + q) * width_, *from = partials_.data() + (j * count_ + q) * width_;
      for (int64_t k = 0; k < width_; ++k) into[k] += from[k];
    });
    const double* sums = partials_.data() + q * width_;
    const double mass = sums[SmallSums::weight];
    const double entropy = std::log(mass) - ln2 * sums[SmallSums::gap] / mass;
    if (!(entropy >= condensed_entropy)) return Outcome::condensed;
    const double constant = log_density_constant(d_, request_.b);
    const double log_density = plan.reference + std::log(mass) - uniform_ - constant;

    constexpr double u = 0x1p-24, u64 = 0x1p-53;
    const double units = ln2 * (steps_ + 7), energy = std::max(0.0, sums[SmallSums::energy] / mass);
    const double displacement = 4 * ln2 * std::sqrt(std::max(0.0, sums[SmallSums::displacement] / mass));
    const double mean_eta = 1.02 * u * (units * energy + displacement + sums[SmallSums::rounding] / mass);
    const double eta = 1.02 * u * (units * std::sqrt(std::max(0.0, sums[SmallSums::energy_squared] / mass)) + displacement +
                                   std::sqrt(sums[SmallSums::rounding_squared] / mass));
    const double dropped = 1.02 * (std::exp(-single_reach) + static_cast<double>(n_) * 0x1p-60);
    const double size = 1 + std::abs(plan.reference) + std::abs(log_density) + std::abs(constant) + log_n_;
    const double error_log_density = mean_eta + dropped + 16 * u64 * size;
    if (!(eta <= 1e-3) || !(error_log_density <= log_density_contract)) return Outcome::inaccurate;

    const double *origin = boxes_.centre.data() + plan.seed * d_, *x = query(q), b2 = request_.b * request_.b;
    double denoised[box_dimensions], score[box_dimensions], from_origin[box_dimensions], residual[box_dimensions];
    for (int64_t k = 0; k < d_; ++k) {
      const double moment = sums[SmallSums::moments + k] / mass;
      from_origin[k] = std::fma(-request_.a, origin[k], x[k]);
      denoised[k] = origin[k] + moment;
      residual[k] = std::fma(-request_.a, moment, from_origin[k]);
      score[k] = -residual[k] / b2;
    }
    const double r = scale_ * norm(residual, d_), radius = sums[SmallSums::spread] / mass;
    const double spread = std::sqrt(std::max(0.0, energy * (1 + 4 * mean_eta) - r * r) + 8 * eta * (energy + r * r));
    const double skipped = dropped * (std::sqrt(energy + log2_e * (std::abs(plan.reference) + log_n_ + 60)) + r);
    const double rounded = 64 * u64 * (scale_ * norm(from_origin, d_) + std::sqrt(energy) + radius);
    const double error_score = 1.02 * (eta * spread + 19 * u * radius + skipped + rounded) / (scale_ * b2) + 4 * u64 * norm(score, d_);
    const double length = norm(score, d_);
    double contract = score_contract * (norm(x, d_) + request_.a * norm(denoised, d_)) / b2;
    if (length >= 0.49 * std::sqrt(static_cast<double>(d_)) / request_.b) contract = std::min(contract, score_contract * length);
    if (!(error_score <= contract)) return Outcome::inaccurate;

    if (request_.log_density) request_.log_density[at] = log_density;
    if (request_.entropy) request_.entropy[at] = std::min(entropy, log_n_);
    if (request_.sum_squares) request_.sum_squares[at] = std::max(sums[SmallSums::squares] / (mass * mass), 1 / static_cast<double>(n_));
    if (request_.denoised) std::copy_n(denoised, d_, request_.denoised + at * d_);
    if (request_.score) std::copy_n(score, d_, request_.score + at * d_);
    if (request_.error_log_density) request_.error_log_density[at] = error_log_density;
    if (request_.error_score) request_.error_score[at] = error_score;
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(plan.rows);
    if (request_.path) request_.path[at] = static_cast<uint8_t>(Path::dense);
    for (int32_t c = 0; c < class_count_; ++c) request_.class_weights[at * class_count_ + c] = sums[sums_ + c] / mass;
    if (wants_heaviest()) {
      find_bounds(q, scratch);
      const std::vector<Heavy> heavy = heaviest(q, scratch);
      read_heaviest(at, heavy, plan.reference, mass);
    }
    return Outcome::good;
  }

  void read_heaviest(int64_t at, const std::vector<Heavy>& heavy, double reference, double mass) const {
    if (request_.nearest_index) request_.nearest_index[at] = heavy[0].row;
    if (request_.nearest_weight) request_.nearest_weight[at] = std::exp(heavy[0].logit - reference) / mass;
    for (int64_t k = 0; k < request_.top; ++k) {
      request_.top_index[at * request_.top + k] = heavy[k].row;
      request_.top_weight[at * request_.top + k] = std::exp(heavy[k].logit - reference) / mass;
    }
  }

  // The data of largest logit, at least one and `top` where wanted, the first of equals: tiles in descending order of their bounds,
  // which stand in scratch.upper, until none can hold one of them.
  std::vector<Heavy> heaviest(int64_t q, Scratch& scratch) const {
    const size_t wanted = static_cast<size_t>(std::max<int64_t>(1, request_.top));
    double* upper = scratch.upper.data();
    std::vector<Heavy> found;  // a heap, the least of them first
    const auto visit = [&](int64_t tile) {
      find_logits(q, tile, scratch);
      upper[tile] = *std::max_element(scratch.logits.data(), scratch.logits.data() + rows_of(tile));
      const double least = found.size() == wanted ? found.front().logit : -INFINITY;
      for (int64_t i = 0; i < rows_of(tile); ++i) {
        if (scratch.logits[i] < least) continue;
        const Heavy candidate{scratch.logits[i], boxes_.order[tile * box_tile + i], static_cast<int32_t>(tile * box_tile + i)};
        if (found.size() == wanted) {
          if (!(candidate < found.front())) continue;
          std::pop_heap(found.begin(), found.end());
          found.pop_back();
        }
        found.push_back(candidate);
        std::push_heap(found.begin(), found.end());
      }
    };
    const int64_t seed = plans_[q].seed;
    visit(seed);
    std::vector<std::pair<double, int64_t>> waiting;
    for (int64_t tile = 0; tile < boxes_.tiles; ++tile) {
      if (tile != seed && (found.size() < wanted || upper[tile] >= found.front().logit)) waiting.emplace_back(upper[tile], tile);
    }
    std::make_heap(waiting.begin(), waiting.end());
    while (!waiting.empty() && (found.size() < wanted || waiting.front().first >= found.front().logit)) {
      visit(waiting.front().second);
      std::pop_heap(waiting.begin(), waiting.end());
      waiting.pop_back();
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  // Float64 sums about a datum of large weight: that of the seed's, and the heaviest of all where the posterior is condensed.
  void answer_exact(int64_t q, bool condensed, Scratch& scratch) {
    find_bounds(q, scratch);
    std::vector<Heavy> heavy;
    if (condensed || wants_heaviest()) heavy = heaviest(q, scratch);
    sum_exact(q, condensed ? heavy[0] : plans_[q].best, heavy, scratch);
  }

  // Fills the readings from float64 sums relative to one datum.
  void sum_exact(int64_t q, const Heavy& top, const std::vector<Heavy>& heavy, Scratch& scratch) {
    const int64_t at = first_ + q;
    double origin[box_dimensions];
    for (int64_t k = 0; k < d_; ++k) origin[k] = target_.points.value(top.row, k);

    const int sums = ExactSums::count(d_);
    const int64_t width = sums + class_count_;
    const double cutoff = top.logit - (log_n_ + dropped_logits);
    std::vector<double> partials(static_cast<size_t>(chunks_ * width), 0.0), state(static_cast<size_t>(sums * lanes));
    int64_t rows = 0;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      if (execution_.cancelled()) return;
      bool any = false;
      double* partial = partials.data() + chunk * width;
      for (int64_t tile = chunk * tiles_per_chunk; tile < std::min((chunk + 1) * tiles_per_chunk, boxes_.tiles); ++tile) {
        if (scratch.upper[tile] < cutoff) continue;
        find_logits(q, tile, scratch);
        for (int64_t i = rows_of(tile); i < box_tile; ++i) scratch.logits[i] = -1e308;
        if (*std::max_element(scratch.logits.begin(), scratch.logits.end()) < cutoff) continue;
        if (!any) std::fill(state.begin(), state.end(), 0.0);
        any = true;
        rows += rows_of(tile);
        const bool own = top.place / box_tile == tile;
        if (own) scratch.logits[top.place % box_tile] = -1e308;  // its weight of 1 is kept apart
        kernels_.add_exact(scratch.logits.data(), scratch.rows.data(), d_, top.logit, origin, state.data());
        if (class_count_ > 0) add_classes(tile, scratch.logits.data(), partial + sums);
        if (class_count_ > 0 && own) partial[sums + target_.classes[top.row]] += 1;
      }
      for (int sum = 0; any && sum < sums; ++sum) partial[sum] = lane_total(state.data() + sum * lanes);
    }
    merge_tree(chunks_, [&](int64_t i, int64_t j) {
      for (int64_t k = 0; k < width; ++k) partials[i * width + k] += partials[j * width + k];
    });

    LaneAccumulators accumulators(class_count_);
    LogSumExp<double>& total = accumulators.sums[0];
    total.max = top.logit;
    total.index = top.row;
    total.rest = partials[ExactSums::rest];
    total.gap = partials[ExactSums::gap];
    total.gap_squared = partials[ExactSums::gap_squared];
    total.squares = partials[ExactSums::squares];
    for (int32_t c = 0; c < class_count_; ++c) accumulators.classes[static_cast<size_t>(c) * lanes] = partials[sums + c];
    const double log_density = read_scalars(target_, request_, at, accumulators, 0, uniform_);
    read_heaviest(at, heavy, top.logit, 1 + total.rest);

    const double b2 = request_.b * request_.b;
    double denoised[box_dimensions];
    for (int64_t k = 0; k < d_; ++k) {
      const double moment = partials[ExactSums::moments + k] / (1 + total.rest);
      denoised[k] = origin[k] + moment;
      if (request_.denoised) request_.denoised[at * d_ + k] = denoised[k];
      const double residual = std::fma(-request_.a, origin[k], request_.x(at, k));
      if (request_.score) request_.score[at * d_ + k] = std::fma(request_.a, moment, -residual) / b2;
    }
    // Moments are about the heaviest datum: a |y - y*| <= |e| + |e*| doubles the terms of the sum.
    ErrorModel model{chain_units(d_), 16, b2, false};
    if (rows < n_) model.dropped = dropped_mass;
    read_bounds(target_, request_, at, total, uniform_, model, log_density, 2 * static_cast<double>(rows), denoised);
    if (request_.survivors) request_.survivors[at] = static_cast<int32_t>(rows);
    if (request_.path) request_.path[at] = static_cast<uint8_t>(rows < n_ ? Path::refined : Path::float64);
  }

  const Kernels& convert_;
  const SmallKernels& kernels_;
  const Target& target_;
  const Boxes& boxes_;
  const PosteriorRequest& request_;
  const Execution& execution_;
  ThreadPool pool_;
  const int64_t n_, d_;
  const int32_t class_count_;
  const int64_t chunks_;
  const int sums_;          // single-precision sums of a query
  const int64_t width_;     // with its class masses
  const double log_n_;
  const double uniform_;    // log n for uniform weights, which the logits leave out
  const double inverse_twice_b2_;
  const double scale_;      // s
  const double steps_;      // roundings of a sum of squares: parts of four, then their sum
  std::vector<Scratch> scratch_;

  // The block of queries at hand.
  int64_t first_ = 0, count_ = 0;
  std::vector<Plan> plans_;
  std::vector<uint16_t> masks_;     // [groups][tiles]: which queries of the group sum the tile in single precision
  std::vector<double> partials_;    // [chunks][count][width], merged into the first chunk; at most 64 MB, or 16 queries' worth
};

}  // namespace

bool small_applies(const Target& target, const PosteriorRequest& request) {
  return target.kind == Target::Kind::points && target.layouts != nullptr && target.layouts->boxes.tiles > 0 &&
         request.precision != Precision::float64 && !wants_second_moments(request);
}

Status posterior_small(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  return SmallPosterior(set, target, request, execution).run();
}

}  // namespace regimes
