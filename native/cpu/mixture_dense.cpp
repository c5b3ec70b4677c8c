// Over 400 lines because the float32 pass, its bounds and its float64 remainder share every intermediate of a block.
#include "mixture_dense.h"

#include <algorithm>
#include <cmath>

#include "gaussian_solver.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int64_t chain = 32, chains = 4;                   // of the products that give logits
constexpr int64_t long_chain = 64;                          // of sums over many orthonormal rows, which round little (overlap)
constexpr int64_t groups_at_once = 4;                       // of 16 queries, through one product
constexpr int64_t rows_at_once = 512;                       // of all components, likewise
constexpr int64_t columns_at_once = 384;
constexpr int64_t block_bytes = int64_t{1} << 26;           // h of the queries at hand
constexpr double unit = 0x1p-24, deviations = 6, small = 0x1p-53;
constexpr double most_moved = 5e-5;      // errors of weights that need no refinement
constexpr double most_unsure = 1e-9;     // weight of components whose logits are not known to entry_error
constexpr double least_weight = 1e-9;    // over n: components below take no part in the score
constexpr int refined_at_once = 2, most_rounds = 4;
constexpr float entry_error = 0.25f;     // of a logit that counts as known

// Of the sum of a row's products with x', over the squares of the row: (`deviations` times the deviation)^2.
double product_error(const ChainNorms& x, int lane) {
  const double size = 1.01 * deviations * unit;
  return size * size * (static_cast<double>(chain + 1) * x.chain[lane] + static_cast<double>(chains - 1) * x.chains[lane] + 2 * x.most[lane]);
}

// |sum of `rows` rows that follow each other|^2 is at most this times the sum of their squares: rows of B of a full covariance are
// orthonormal, so that where components have as many, there are three orthogonal sets, one of them l.
double overlap(bool full, int64_t least_size, int64_t rows) { return full && least_size >= rows ? 3 : static_cast<double>(rows); }

}  // namespace

bool MixtureDense::applies(const Instructions& set, const Target& target, const PosteriorRequest& request) {
  const Covariances& c = *target.covariances;
  return set.dense != nullptr && request.precision == Precision::exact && target.n > 1 && target.d >= 32 && request.top == 0 &&
         !wants_second_moments(request) && (request.denoised == nullptr || request.a >= least_signal) &&
         (c.type == Covariances::Type::full || (c.type == Covariances::Type::low_rank && c.rank > 0));
}

MixtureDense::MixtureDense(const Instructions& set, const Target& target, const MixtureRows& rows)
    : set_(set), target_(target), rows_(rows), at_(rows.at()), n_(target.n), d_(target.d), full_(rows.full()),
      chain_stretch_(target.d, chain), least_size_(target.d) {
  for (int64_t k = 0; k < n_; ++k) least_size_ = std::min(least_size_, rows_.size(k));
  sum_chain_ = !full_ ? chain : least_size_ >= long_chain * chains ? long_chain : 16;
  for (int64_t tile = 0; tile < n_; tile += rows_.tile_components()) {
    const int64_t end = std::min(n_, tile + rows_.tile_components());
    for (int64_t k = tile; k < end;) {
      Part part{k, k + 1};
      while (part.end < end && rows_.start(part.end + 1) - rows_.start(k) <= rows_at_once) ++part.end;
      parts_.push_back(part);
      k = part.end;
    }
  }
}

int64_t MixtureDense::Areas::bytes() const {
  size_t total = h.capacity() * sizeof(float);
  for (const Scratch& each : scratch) total += (each.product.capacity() + each.curved.capacity()) * sizeof(double);
  return static_cast<int64_t>(total) + packed.lanes.capacity() + packed.squares.capacity() + factors.capacity() + weights.capacity();
}

const MixtureRows::Tile& MixtureDense::tile_of(int64_t first, int64_t end, ThreadPool& pool, const Execution& execution) {
  if (rows_.whole()) return *rows_.whole();
  rows_.fill(first, end, tile_, pool, execution);
  return tile_;
}

void MixtureDense::pack(const double* x, const int32_t* queries, int64_t count, ThreadPool& pool, Packed& packed) const {
  packed.groups = (count + digit_lanes - 1) / digit_lanes;
  packed.lanes.resize(packed.groups * d_ * digit_lanes * 4);
  packed.squares.resize(full_ ? 0 : packed.groups * d_ * digit_lanes * 4);
  packed.norms.resize(static_cast<size_t>(packed.groups));
  pool.run(packed.groups, [&](int64_t group, int) {
    const double* from[digit_lanes];
    for (int lane = 0; lane < digit_lanes; ++lane) {
      const int64_t q = std::min(group * digit_lanes + lane, count - 1);  // empty lanes repeat the last query
      from[lane] = x + (queries ? queries[q] : q) * d_;
    }
    float* squares = full_ ? nullptr : reinterpret_cast<float*>(packed.squares.data()) + group * d_ * digit_lanes;
    set_.dense->centre_lanes(from, rows_.origin().data(), at_.a(), rows_.common().data(), full_ ? nullptr : rows_.level().data(), d_, chain,
                             chains, chain_stretch_.stretch.data(), chain_stretch_.shrink.data(), reinterpret_cast<float*>(packed.lanes.data()) + group * d_ * digit_lanes, squares, &packed.norms[group]);
  });
}

Status MixtureDense::run(const double* x, const std::vector<int32_t>& queries, MixtureListed& listed, ThreadPool& pool,
                         const Execution& execution) {
  const auto count = static_cast<int64_t>(queries.size());
  stride_ = (count + digit_lanes - 1) / digit_lanes * digit_lanes;
  const auto pairs = static_cast<size_t>(n_ * stride_);
  for (auto* v : {&logit_, &weight_}) v->resize(pairs);
  for (auto* v : {&ground_, &spread_, &shaken_, &certain_}) v->resize(pairs);
  if (target_.kept) {
    if (const auto left = target_.kept->take_work()) areas_ = std::move(static_cast<Areas&>(*left));
  }
  areas_.scratch.resize(static_cast<size_t>(pool.size()));
  refined_.assign(pairs, 0);
  answered_.assign(static_cast<size_t>(count), 0);
  limit_.assign(static_cast<size_t>(count), most_moved);
  for (auto* v : {&error_score_, &error_log_density_, &scale_, &speed_, &moved_weights_, &second_, &rough_, &dropped_, &norm_, &product_error_,
                  &moved_}) {
    v->assign(static_cast<size_t>(count), 0.0);
  }
  score_.reset(new double[static_cast<size_t>(count * d_)]);
  const int64_t fit = block_bytes / (rows_.start(n_) * 4), step = std::clamp<int64_t>(fit / digit_lanes * digit_lanes, digit_lanes, 256);
  for (int64_t first = 0; first < count && !execution.cancelled(); first += step) {
    answer_block(x, queries.data(), first, std::min(step, count - first), listed, pool, execution);
  }
  if (target_.kept) {
    auto work = std::make_unique<Areas>(std::move(areas_));
    const int64_t bytes = work->bytes();
    target_.kept->leave_work(std::move(work), bytes);
  }
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

void MixtureDense::answer_block(const double* x, const int32_t* queries, int64_t first, int64_t count, MixtureListed& listed, ThreadPool& pool,
                                const Execution& execution) {
  Packed& packed = areas_.packed;
  pack(x, queries + first, count, pool, packed);
  for (int64_t i = 0; i < count; ++i) {
    const CentredLanes& norms = packed.norms[i / digit_lanes];
    const auto lane = static_cast<int>(i % digit_lanes);
    norm_[first + i] = std::sqrt(norms.weighted[lane] / rows_.least_common());
    product_error_[first + i] = product_error(norms.x, lane);
    moved_[first + i] = moved_of(norms, lane);
  }
  const int64_t groups = packed.groups, blocks = (groups + groups_at_once - 1) / groups_at_once;
  areas_.h.resize(static_cast<size_t>(groups * rows_.start(n_) * digit_lanes));
  for (size_t part = 0; part < parts_.size();) {
    const int64_t tile_end = std::min(n_, parts_[part].first / rows_.tile_components() * rows_.tile_components() + rows_.tile_components());
    size_t end = part;
    while (end < parts_.size() && parts_[end].end <= tile_end) ++end;
    const MixtureRows::Tile& tile = tile_of(parts_[part].first, tile_end, pool, execution);
    const auto here = static_cast<int64_t>(end - part);
    pool.run(here * blocks, [&](int64_t item, int worker) {
      if (execution.cancelled()) return;
      const int64_t group = item / here * groups_at_once;
      find_logits(tile, parts_[part + static_cast<size_t>(item % here)], packed, group, std::min(groups_at_once, groups - group), first, count,
                  areas_.scratch[worker]);
    });
    if (execution.cancelled()) return;
    part = end;
  }
  // Those near few components, in float64.
  std::vector<int32_t> open;
  if (listed.most() > 0) {
    std::vector<float> errors(static_cast<size_t>(n_ * count));
    std::vector<double> logits(errors.size());
    for (int64_t k = 0; k < n_; ++k) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = k * stride_ + first + i;
        logits[k * count + i] = logit_[at];
        errors[k * count + i] = 1.001f * (shaken_[at] + certain_[at]);
      }
    }
    const Status status = listed.answer(x, std::vector<int32_t>(queries + first, queries + first + count), logits.data(), errors.data(), count, true, pool, execution);
    if (!status.ok()) return;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (listed.most() == 0 || !listed.answered(queries[first + i])) open.push_back(static_cast<int32_t>(first + i));
  }
  std::vector<int32_t> wide;
  // Once more for scores that miss the contract by errors of weights: these depend on a spread that only the score tells.
  for (int attempt = 0; attempt < 2 && !open.empty(); ++attempt) {
    wide.clear();
    settle(x, queries, open, wide, pool, execution);
    if (!wide.empty() && !execution.cancelled()) sum_products(x, queries, wide, first, groups, pool, execution);
    if (execution.cancelled()) return;
    open.clear();
    for (const int32_t q : wide) {
      if (answered_[q] == 0) open.push_back(q);
    }
  }
}

// Refines until the bounds of weights allow a score: those queries join `wide`.
void MixtureDense::settle(const double* x, const int32_t* queries, std::vector<int32_t> open, std::vector<int32_t>& wide, ThreadPool& pool,
                          const Execution& execution) {
  std::vector<int32_t> left, wanted;
  for (int round = 0; round <= most_rounds && !open.empty(); ++round) {
    std::vector<ExactForm> forms;
    left.clear();
    for (const int32_t q : open) {
      wanted.clear();
      if (weigh(q, wanted)) wide.push_back(q);
      for (const int32_t k : wanted) forms.push_back({k, q});
      if (!wanted.empty()) left.push_back(q);
    }
    if (round == most_rounds) break;
    refine(x, queries, forms, pool, execution);
    if (execution.cancelled()) return;
    open.swap(left);
  }
}

// Logits of the components of a part for up to four groups of queries.
void MixtureDense::find_logits(const MixtureRows::Tile& tile, const Part& part, const Packed& packed, int64_t group, int64_t groups,
                               int64_t first, int64_t count, Scratch& scratch) {
  const int64_t from = rows_.start(part.first), all = rows_.start(part.end) - from, components = part.end - part.first;
  std::vector<double>&product = scratch.product, &curved = scratch.curved;
  product.resize(static_cast<size_t>(groups * all * digit_lanes));
  curved.resize(full_ ? 0 : static_cast<size_t>(groups * components * digit_lanes));
  const DenseKernels& dense = *set_.dense;
  dense.products(tile.values.data() + (from - rows_.start(tile.first)) * rows_.stride(), rows_.stride(), 1, static_cast<int>(all), d_,
                 packed.x(group, d_), static_cast<int>(groups), chain, chains, chain_stretch_.shrink.data(), product.data(), all);
  if (!full_) {
    dense.products(tile.deviations.data() + (part.first - tile.first) * rows_.stride(), rows_.stride(), 1, static_cast<int>(components), d_,
                   packed.square(group, d_), static_cast<int>(groups), chain, chains, chain_stretch_.shrink.data(), curved.data(), components);
  }
  const double rounding = (at_.model().logit_units + 64) * small, offset = at_.model().logit_offset * small;
  const int64_t rank = full_ ? 0 : target_.covariances->rank;
  for (int64_t g = 0; g < groups; ++g) {
    const CentredLanes& norms = packed.norms[group + g];
    double random_x[digit_lanes], random_y[digit_lanes], moved[digit_lanes];
    for (int lane = 0; lane < digit_lanes; ++lane) {
      random_x[lane] = product_error(norms.x, lane);
      random_y[lane] = full_ ? 0 : 0.25 * product_error(norms.square, lane);
      moved[lane] = moved_of(norms, lane);
    }
    float* h = h_of(part, group + g, packed.groups);
    for (int64_t k = part.first; k < part.end; ++k) {
      const MixtureRows::Component& c = rows_.component(k);
      const int64_t size = rows_.size(k);
      double* t = product.data() + (g * all + rows_.start(k) - from) * digit_lanes;
      double along[digit_lanes], weighted[digit_lanes];
      dense.component_forms(t, size, rows_.shrink(k), rows_.offset(k), rows_.matrix(k), rank, rows_.row_square(k),
                            h + (rows_.start(k) - from) * digit_lanes, along, weighted);
      const double bias = target_.log_weight(k) - at_.half_log_det(k);
      // |B^T h| is at most this times H: the rows of B are orthogonal, or any.
      const double root = std::sqrt(static_cast<double>(full_ ? 1 : std::max<int64_t>(1, size)));
      const double *products_of_l = t + size * digit_lanes, shrink = rows_.shrink(k)[size];
      for (int lane = 0; lane < digit_lanes; ++lane) {
        const int64_t q = (group + g) * digit_lanes + lane;
        if (q >= count) break;
        const double base = c.scale * norms.weighted[lane];
        const double square = full_ ? 0 : shrink * curved[(g * components + k - part.first) * digit_lanes + lane];
        const double line = shrink * products_of_l[lane];
        const double ground = std::max(base + square - 2 * line + c.constant, 0.0), form = std::max(ground - along[lane], 0.0);
        const double norm = std::sqrt(weighted[lane]), terms = base + std::abs(square) + 2 * std::abs(line) + std::abs(c.constant);
        const double shaken = std::sqrt(random_x[lane] * (weighted[lane] + c.load * c.load) + random_y[lane] * c.deviation * c.deviation);
        const double beside = std::sqrt(random_x[lane]) + moved[lane];
        const int64_t to = k * stride_ + first + q;
        logit_[to] = bias - 0.5 * form;
        ground_[to] = static_cast<float>(ground);
        spread_[to] = static_cast<float>(1.001 * std::sqrt(weighted[lane] + c.load * c.load));
        shaken_[to] = static_cast<float>(1.001 * shaken);
        const double exact = rounding * (terms + std::abs(along[lane])) + offset + small * std::abs(bias) +
                             2 * std::sqrt(c.most * ground) * lost(std::sqrt(norms.weighted[lane] / rows_.least_common()));
        certain_[to] = static_cast<float>(1.001 * ((root * norm + c.load) * moved[lane] + 0.5 * c.shared_error * ground + exact +
                                                   c.second_order * beside * beside));
      }
    }
  }
}

double MixtureDense::moved_of(const CentredLanes& norms, int lane) const {
  return 1.01 * std::sqrt(norms.moved[lane]) + lost(std::sqrt(norms.weighted[lane] / rows_.least_common()));
}

float MixtureDense::upper(int64_t k, int64_t i) const {
  const int64_t at = k * stride_ + i;
  if (logit_[at] < -1e300) return -1e38f;
  const double bound = logit_[at] + 2 * (static_cast<double>(shaken_[at]) + static_cast<double>(certain_[at])) + 1e-6;
  if (!(bound < 1e38)) return INFINITY;  // float32 overflows
  return static_cast<float>(std::max(bound + 2e-7 * std::abs(bound), -1e38));
}

// Weights of a query and what its bounds need. False where the bounds miss the contract: then `wanted` receives the components to
// refine, none where float64 is to answer.
bool MixtureDense::weigh(int64_t q, std::vector<int32_t>& wanted) {
  double top = -INFINITY, total = 0;
  int64_t heaviest_of = 0;
  for (int64_t k = 0; k < n_; ++k) {
    if (logit_[k * stride_ + q] > top) heaviest_of = k;
    top = std::max(top, logit_[k * stride_ + q]);
  }
  const double reach = canonical_reach(n_);
  const int64_t peak = heaviest_of * stride_ + q;
  if (!(shaken_[peak] + certain_[peak] <= entry_error)) {
    if (!refined_[peak]) wanted.push_back(static_cast<int32_t>(heaviest_of));
    return false;
  }
  for (int64_t k = 0; k < n_; ++k) {
    const int64_t at = k * stride_ + q;
    const double gap = top - logit_[at];
    weight_[at] = gap <= reach ? std::exp(-gap) : 0;
    total += weight_[at];
  }
  const double least = least_weight / static_cast<double>(n_);
  double random = 0, heaviest = 0, certain = 0, certain_square = 0, square = 0, rest = 0;
  double second = 0, speed = 0, scale = 0, rough = 0, dropped = 0, unsure = 0;
  int32_t first[refined_at_once] = {};
  double most[refined_at_once] = {};
  for (int64_t k = 0; k < n_; ++k) {
    const int64_t at = k * stride_ + q;
    const MixtureRows::Component& c = rows_.component(k);
    const double shaken = static_cast<double>(shaken_[at]), sure = static_cast<double>(certain_[at]), error = shaken + sure;
    double mass = 0;
    if (!(error <= static_cast<double>(entry_error)) && target_.log_weight(k) > 2 * no_weight / 3) {
      // May weigh more than it seems; not a number where float32 overflows.
      mass = std::exp(-std::max(0.0, top - logit_[at] - error));
      unsure += mass;
    }
    double& weight = weight_[at];
    if (weight == 0 && mass == 0) continue;
    weight /= total;
    const double norm = static_cast<double>(spread_[at]), ground = static_cast<double>(ground_[at]);
    const double form = 2 * std::max(0.0, target_.log_weight(k) - at_.half_log_det(k) - logit_[at]);
    if (mass > 0) dropped += mass * std::sqrt(c.most * (form + 2 * error));
    second += weight * weight * norm * norm;
    // |S^-1 f|^2 <= most form; where B is orthonormal it is p (2 form - ground) + H^2.
    const double load = std::max(0.0, norm * norm - c.load * c.load);
    const double pull = c.scale * (2 * form - ground) + load + (4 * c.scale + 2 * c.norm) * error + 1e-6 * (c.scale * ground + norm * norm);
    speed += weight * (full_ ? std::clamp(pull, 0.0, c.most * form) : c.most * form);
    rough += weight * (std::sqrt(c.most * ground) + norm * static_cast<double>(rows_.size(k) + 1));
    // At least, whatever the errors: form is a difference of logits.
    const double sure_form = form - 2 * error - 8 * small * (std::abs(logit_[at]) + form);
    if (ground > 0 && sure_form > 0) scale += weight * sure_form * std::sqrt(c.least / ground);
    if (weight < least) dropped += weight * std::sqrt(c.most * (form + 2 * error));
    random += weight * weight * shaken * shaken;
    certain += weight * sure;
    if (k != heaviest_of) {
      rest += weight;
      heaviest = std::max(heaviest, weight * shaken * shaken);
      certain_square += weight * sure * sure;
    }
    square += weight * error * error;
    if (refined_[at]) continue;
    mass = std::max(mass, weight * error);
    auto index = static_cast<int32_t>(k);
    for (int place = 0; place < refined_at_once; ++place) {
      if (mass <= most[place]) continue;
      std::swap(mass, most[place]);
      std::swap(index, first[place]);
    }
  }
  error_log_density_[q] = std::sqrt(random) + certain + square;
  // An error d of the heaviest moves the score as -d of all others would: by the lesser of both weights.
  const double share = std::sqrt(std::min(rest, weight_[peak]));
  moved_weights_[q] = std::sqrt(heaviest) + std::sqrt(certain_square) + share * static_cast<double>(shaken_[peak] + certain_[peak]) + square;
  second_[q] = std::sqrt(second);
  speed_[q] = speed;
  scale_[q] = scale;
  rough_[q] = rough;
  dropped_[q] = dropped;
  if (error_log_density_[q] <= 0.95 * log_density_contract && moved_weights_[q] <= limit_[q] && unsure <= most_unsure) return true;
  for (int place = 0; place < refined_at_once; ++place) {
    if (most[place] > 0) wanted.push_back(first[place]);
  }
  return false;
}

// Logits of components at queries of the list, in float64.
void MixtureDense::refine(const double* x, const int32_t* queries, std::vector<ExactForm>& forms, ThreadPool& pool, const Execution& execution) {
  const double rounding = (at_.model().logit_units + 64) * small, offset = at_.model().logit_offset * small;
  rows_.exact_forms(x, queries, forms, nullptr, pool, execution);
  for (const ExactForm& exact : forms) {
    const int64_t k = exact.component, to = k * stride_ + exact.query;
    const double bias = target_.log_weight(k) - at_.half_log_det(k);
    logit_[to] = bias - 0.5 * exact.form;
    ground_[to] = static_cast<float>(exact.ground);
    if (full_) spread_[to] = static_cast<float>(1.001 * std::hypot(exact.norm, rows_.component(k).load));
    shaken_[to] = 0;
    certain_[to] = static_cast<float>(1.001 * (rounding * (2 * exact.ground + exact.form) + 0.5 * rows_.component(k).shared_error * exact.ground +
                                               offset + small * std::abs(bias)));
    refined_[to] = 1;
  }
}

// Scores by products of the rows with weighted h; `groups_before` is the number of groups of the first products.
void MixtureDense::sum_products(const double* x, const int32_t* queries, std::vector<int32_t>& wide, int64_t first, int64_t groups_before,
                                ThreadPool& pool, const Execution& execution) {
  // Queries with the same heaviest component pass together: what has no weight in any of them is left out.
  std::vector<int32_t> heaviest(answered_.size(), 0);
  for (const int32_t q : wide) {
    for (int64_t k = 1; k < n_; ++k) {
      if (weight_[k * stride_ + q] > weight_[heaviest[q] * stride_ + q]) heaviest[q] = static_cast<int32_t>(k);
    }
  }
  std::stable_sort(wide.begin(), wide.end(), [&](int32_t p, int32_t q) { return heaviest[p] < heaviest[q]; });
  const auto count = static_cast<int64_t>(wide.size());
  const int64_t groups = (count + digit_lanes - 1) / digit_lanes;
  const double least = least_weight / static_cast<double>(n_);
  const auto weight_of = [&](int64_t k, int64_t group, int lane) {
    const int64_t place = group * digit_lanes + lane;
    const double weight = place < count ? weight_[k * stride_ + wide[place]] : 0;
    return weight >= least ? static_cast<float>(weight) : 0.0f;
  };
  // [parts][groups][rows][16] weighted h, a row of weights last; [groups][n][16] the weights.
  areas_.factors.resize(groups * rows_.start(n_) * digit_lanes * 4);
  areas_.weights.resize(full_ ? 0 : groups * n_ * digit_lanes * 4);
  float* factors = reinterpret_cast<float*>(areas_.factors.data());
  float* weights = reinterpret_cast<float*>(areas_.weights.data());
  std::vector<uint8_t> live(parts_.size() * static_cast<size_t>(groups), 0);
  const auto factors_of = [&](const Part& part, int64_t group) {
    return factors + (rows_.start(part.first) * groups + group * (rows_.start(part.end) - rows_.start(part.first))) * digit_lanes;
  };
  pool.run(groups, [&](int64_t group, int) {
    int64_t from[digit_lanes];
    int from_lane[digit_lanes];
    for (int lane = 0; lane < digit_lanes; ++lane) {
      const int64_t q = wide[std::min(group * digit_lanes + lane, count - 1)] - first;
      from[lane] = q / digit_lanes;
      from_lane[lane] = static_cast<int>(q % digit_lanes);
    }
    for (size_t p = 0; p < parts_.size(); ++p) {
      const Part& part = parts_[p];
      float* out = factors_of(part, group);
      const float* h[digit_lanes];
      for (int lane = 0; lane < digit_lanes; ++lane) h[lane] = h_of(part, from[lane], groups_before) + from_lane[lane];
      for (int64_t k = part.first; k < part.end; ++k) {
        float weight[digit_lanes];
        const double* shrink = rows_.shrink(k);
        const int64_t rows = rows_.size(k), before = rows_.start(k) - rows_.start(part.first);
        const auto shrunk = [&](int lane, int64_t row) { return weight[lane] * static_cast<float>(shrink[row]); };
        bool any = false;
        for (int lane = 0; lane < digit_lanes; ++lane) {
          weight[lane] = weight_of(k, group, lane);
          any |= weight[lane] != 0;
          if (!full_) weights[(group * n_ + k) * digit_lanes + lane] = shrunk(lane, rows);
        }
        if (any) live[p * static_cast<size_t>(groups) + static_cast<size_t>(group)] = 1;
        for (int64_t i = 0; i < rows; ++i) {
          for (int lane = 0; lane < digit_lanes; ++lane) {
            const float value = h[lane][(before + i) * digit_lanes];
            out[(before + i) * digit_lanes + lane] = weight[lane] == 0 ? 0.0f : value * shrunk(lane, i);
          }
        }
        for (int lane = 0; lane < digit_lanes; ++lane) out[(before + rows) * digit_lanes + lane] = shrunk(lane, rows);
      }
    }
  });
  double one[digit_lanes], none[digit_lanes] = {};
  std::fill(one, one + digit_lanes, 1.0);
  const int64_t columns = (d_ + columns_at_once - 1) / columns_at_once, at_once = rows_.whole() ? groups_at_once : groups;
  std::vector<double> sums, gains;
  for (int64_t group = 0; group < groups && !execution.cancelled(); group += at_once) {
    const int64_t here = std::min(at_once, groups - group), blocks = (here + groups_at_once - 1) / groups_at_once;
    sums.assign(static_cast<size_t>(here * d_ * digit_lanes), 0.0);
    gains.assign(full_ ? 0 : sums.size(), 0.0);
    for (int64_t tile_first = 0; tile_first < n_; tile_first += rows_.tile_components()) {
      const int64_t tile_end = std::min(n_, tile_first + rows_.tile_components());
      const MixtureRows::Tile& tile = tile_of(tile_first, tile_end, pool, execution);
      if (execution.cancelled()) return;
      pool.run(columns * blocks, [&](int64_t item, int worker) {
        if (execution.cancelled()) return;
        const int64_t column = item % columns * columns_at_once, width = std::min(columns_at_once, d_ - column);
        const int64_t own = item / columns * groups_at_once, size = std::min(groups_at_once, here - own);
        std::vector<double>& product = areas_.scratch[worker].product;
        product.resize(static_cast<size_t>(size * width * digit_lanes));
        const auto add = [&](const float* values, int64_t steps, const float* lanes, std::vector<double>& to) {
          set_.dense->products(values, 1, rows_.stride(), static_cast<int>(width), steps, lanes, static_cast<int>(size), sum_chain_, chains,
                               nullptr, product.data(), width);
          for (int64_t g = 0; g < size; ++g) {
            set_.dense->accumulate(to.data() + ((own + g) * d_ + column) * digit_lanes, product.data() + g * width * digit_lanes, width, one, one,
                                   none, nullptr);
          }
        };
        for (size_t p = 0; p < parts_.size(); ++p) {
          const Part& part = parts_[p];
          if (part.first < tile_first || part.first >= tile_end) continue;
          const auto flags = live.begin() + static_cast<int64_t>(p) * groups + group + own;
          if (std::none_of(flags, flags + size, [](uint8_t any) { return any != 0; })) continue;
          add(tile.values.data() + (rows_.start(part.first) - rows_.start(tile.first)) * rows_.stride() + column,
              rows_.start(part.end) - rows_.start(part.first), factors_of(part, group + own), sums);
        }
        // A group's weights of the tile's components: contiguous where the tile is the whole.
        for (int64_t g = 0; g < size && !full_ && !rows_.whole(); ++g) {
          set_.dense->products(tile.deviations.data() + column, 1, rows_.stride(), static_cast<int>(width), tile_end - tile_first,
                               weights + ((group + own + g) * n_ + tile_first) * digit_lanes, 1, sum_chain_, chains, nullptr, product.data(), width);
          set_.dense->accumulate(gains.data() + ((own + g) * d_ + column) * digit_lanes, product.data(), width, one, one, none, nullptr);
        }
        if (!full_ && rows_.whole()) add(tile.deviations.data() + column, n_, weights + (group + own) * n_ * digit_lanes, gains);
      });
    }
    if (execution.cancelled()) return;
    pool.run(here, [&](int64_t g, int) {
      const double* from[digit_lanes];
      double* to[digit_lanes];
      double shared[digit_lanes] = {};
      std::vector<double> unused(static_cast<size_t>(d_));
      for (int lane = 0; lane < digit_lanes; ++lane) {
        const int64_t place = (group + g) * digit_lanes + lane, q = wide[std::min(place, count - 1)];
        from[lane] = x + queries[q] * d_;
        to[lane] = place < count ? score_.get() + q * d_ : unused.data();
        for (int64_t k = 0; k < n_; ++k) shared[lane] += weight_[k * stride_ + q] * rows_.component(k).scale;
      }
      set_.dense->scatter_scores(sums.data() + g * d_ * digit_lanes, full_ ? nullptr : gains.data() + g * d_ * digit_lanes, from,
                                 rows_.origin().data(), at_.a(), rows_.common().data(), shared, d_, to);
      for (int lane = 0; lane < digit_lanes && (group + g) * digit_lanes + lane < count; ++lane) {
        finish(wide[(group + g) * digit_lanes + lane]);
      }
    });
  }
}

// The bounds of a query whose score is summed.
void MixtureDense::finish(int64_t q) {
  double square = 0;
  for (int64_t j = 0; j < d_; ++j) square += score_[q * d_ + j] * score_[q * d_ + j];
  const auto c = static_cast<double>(sum_chain_), m = static_cast<double>(chains);
  const double speed = std::sqrt(speed_[q]), spread = std::sqrt(std::max(speed_[q] - square, 0.0) + 1e-5 * speed_[q]);
  double rounded = (at_.model().logit_units + at_.model().velocity_units + 256) * small * rough_[q];
  double gained = 0, ground = 0;
  for (int64_t k = 0; k < n_; ++k) {
    const double weight = weight_[k * stride_ + q];
    gained += weight * weight * rows_.component(k).largest * rows_.component(k).largest;
    ground += weight * rows_.component(k).scale;
  }
  const double sums = c * overlap(full_, least_size_, sum_chain_) + (m - 1) * overlap(full_, least_size_, sum_chain_ * chains) + 6;
  rounded += deviations * unit * std::sqrt(sums) * second_[q];
  rounded += deviations * unit * std::sqrt(c * c + (m - 1) * m * c + 6) * std::sqrt(gained) * norm_[q];
  // Of h, through B^T M.
  for (int64_t k = 0; k < n_; ++k) {
    const MixtureRows::Component& component = rows_.component(k);
    const double in_sets = 1.01 * deviations * unit * std::sqrt(static_cast<double>(chain + chains + 1)) * norm_[q];
    const double random = full_ ? component.norm * in_sets : std::sqrt(component.most * component.second_order * product_error_[q]);
    rounded += weight_[k * stride_ + q] * (random + (full_ ? component.norm : component.most) * moved_[q]);
  }
  rounded += 64 * small * (ground * rows_.most_common() + std::sqrt(gained)) * norm_[q];
  rounded += rows_.steepest() * lost(norm_[q]);
  double shared = 0;
  for (int64_t k = 0; k < n_ && full_; ++k) {
    const double ground = static_cast<double>(ground_[k * stride_ + q]);
    const MixtureRows::Component& component = rows_.component(k);
    shared += weight_[k * stride_ + q] * component.shared_error * std::sqrt(component.scale * ground);
  }
  const double exact = (at_.model().velocity_units + 256) * small;
  error_score_[q] = 1.02 * (moved_weights_[q] * spread + rounded + shared + dropped_[q] + exact * (speed + std::sqrt(square)));
  error_log_density_[q] = 1.02 * error_log_density_[q];
  answered_[q] = error_score_[q] <= score_contract * scale_[q] ? 1 : 0;
  limit_[q] = std::min(limit_[q], 0.5 * score_contract * scale_[q] / std::max(spread, 1e-300));
}

}  // namespace regimes
