#include "mixture_pass.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../core/chunks.h"
#include "lane_blocks.h"

namespace regimes {
namespace {

constexpr int64_t block_pairs = int64_t{1} << 22;
constexpr int64_t queries_per_item = 64;  // queries that pass a component together

}  // namespace

int64_t MixturePass::block_queries(int64_t n) { return std::clamp<int64_t>(block_pairs / n / 16 * 16, 16, 512); }

MixturePass::MixturePass(const Instructions& set, const Target& target, bool cut, bool screened, bool dense)
    : set_(set), target_(target), n_(target.n), d_(target.d), cut_(cut), screened_(cut && screened && target.n > 1),
      reach_(canonical_reach(target.n)), wants_dense_(screened_ && dense) {}

Status MixturePass::build(double a, double b, ThreadPool& pool, const Execution& execution) {
  const bool low_rank = target_.covariances->type == Covariances::Type::low_rank;
  MixtureParts parts;
  parts.rows = wants_dense_;
  parts.row_bytes = wants_dense_ && low_rank && set_.digits != nullptr && !crowded();
  parts.bounds = screened_ && target_.screen != nullptr && !wants_dense_;
  const Status status = prepare_mixture(set_, target_, a, b, parts, pool, execution, prepared_);
  if (!status.ok()) return status;
  if (parts.bounds) bounds_ = prepared_->bounds.get();
  if (parts.row_bytes) row_bytes_ = prepared_->row_bytes.get();
  if (!wants_dense_ || !prepared_->rows->in_float32()) return {};
  listed_ = std::make_unique<MixtureListed>(set_, target_, *prepared_->rows);
  dense_ = std::make_unique<MixtureDense>(set_, target_, *prepared_->rows);
  return {};
}

// Where the last call found most queries near many components, float32 logits of all come first: both ways answer the same queries
// with the same bits.
bool MixturePass::crowded() const { return target_.kept && target_.kept->crowded.load(std::memory_order_relaxed); }

Path MixturePass::path(int64_t q) const {
  if (in_float32(q)) return Path::dense;
  return answered(q) || survivors_[q] < n_ ? Path::refined : Path::float64;
}

Status MixturePass::run(const double* x, int64_t count, const int32_t* guess, ThreadPool& pool, const Execution& execution) {
  stride_ = (count + 15) / 16 * 16;
  cutoff_.assign(static_cast<size_t>(count), -INFINITY);
  guess_.assign(static_cast<size_t>(count), -1);
  guess_logit_.assign(static_cast<size_t>(count), 0.0);
  if (guess) guess_.assign(guess, guess + count);
  place_.assign(static_cast<size_t>(count), -1);
  bound_.clear();
  bool known = guess != nullptr;
  const auto guess_all = [&] {
    if (!known && !execution.cancelled()) find_guesses(x, count, pool, execution);
    known = true;
    if (!execution.cancelled()) evaluate_guesses(x, count, pool, execution);
  };
  if (bounds_) {
    if (target_.covariances->type == Covariances::Type::low_rank) find_squares(x, count, pool, execution);
    bound_.resize(static_cast<size_t>(n_ * stride_));
    bounds_->find(x, count, square_.data(), pool, execution, bound_.data(), stride_);
    guess_all();
  } else if (dense_) {
    const Status status = answer(x, count, pool, execution);
    if (!status.ok()) return status;
    if (!bound_.empty()) guess_all();
  } else if (known || (screened_ && target_.covariances->type == Covariances::Type::full)) {
    guess_all();
  }
  if (!execution.cancelled()) evaluate(x, count, pool, execution);
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  sums_.assign(static_cast<size_t>(count), {});
  least_.assign(static_cast<size_t>(count), 0.0);
  lead_.assign(static_cast<size_t>(count), 0.0);
  survivors_.assign(static_cast<size_t>(count), 0);
  pool.run(count, [&](int64_t q, int) { sum_up(q); });
  return {};
}

void MixturePass::find_squares(const double* x, int64_t count, ThreadPool& pool, const Execution& execution) {
  square_.resize(static_cast<size_t>(n_ * stride_));
  const std::vector<double> lanes_of = to_lanes(x, count, d_);
  const int64_t groups = group_count(count), blocks = (groups + 3) / 4;
  // About 2 ms per task, and four groups that stay in the second-level cache.
  const int64_t grain = std::clamp<int64_t>((int64_t{1} << 21) / d_ / 8, 1, n_), parts = (n_ + grain - 1) / grain;
  pool.run(blocks * parts, [&](int64_t item, int) {
    if (execution.cancelled()) return;
    const int64_t group = item / parts * 4, first = item % parts * grain;
    const int size = static_cast<int>(std::min<int64_t>(4, groups - group));
    std::vector<double> weight(static_cast<size_t>(target_.covariances->type == Covariances::Type::full ? 0 : d_));
    double out[4 * lanes];
    for (int64_t k = first; k < std::min(n_, first + grain); ++k) {
      const double* values = target_.covariances->values.data() + k * d_;
      for (size_t j = 0; j < weight.size(); ++j) weight[j] = 1 / (at().a() * at().a() * values[j] + at().b() * at().b());
      set_.kernels->weighted_distances(lanes_of.data() + group * d_ * lanes, size, target_.means.row(k), weight.empty() ? nullptr : weight.data(), d_,
                                       at().a(), out);
      std::copy_n(out, std::min<int64_t>(size * lanes, stride_ - group * lanes), square_.data() + k * stride_ + group * lanes);
    }
  });
}

// Queries near few components, then those near many; what neither answers gets bounds.
Status MixturePass::answer(const double* x, int64_t count, ThreadPool& pool, const Execution& execution) {
  std::vector<int32_t> queries(static_cast<size_t>(count));
  std::iota(queries.begin(), queries.end(), 0);
  listed_->start(count);
  Status status;
  if (row_bytes_) {
    std::vector<double> logits(static_cast<size_t>(n_ * stride_));
    std::vector<float> errors(logits.size());
    status = row_bytes_->find(x, count, pool, execution, logits.data(), errors.data(), stride_);
    if (status.ok()) status = listed_->answer(x, queries, logits.data(), errors.data(), stride_, false, pool, execution);
    if (!status.ok()) return status;
    std::erase_if(queries, [&](int32_t q) { return listed_->answered(q); });
  }
  for (size_t i = 0; i < queries.size(); ++i) place_[queries[i]] = static_cast<int32_t>(i);
  if (!queries.empty()) status = dense_->run(x, queries, *listed_, pool, execution);
  if (!status.ok()) return status;
  int64_t near_many = 0, left = 0;
  for (int64_t q = 0; q < count; ++q) {
    near_many += in_float32(q) ? 1 : 0;
    left += answered(q) ? 0 : 1;
  }
  if (target_.kept) target_.kept->crowded.store(2 * near_many > count, std::memory_order_relaxed);
  if (left == 0) return {};
  bound_.assign(static_cast<size_t>(n_ * stride_), -1e38f);
  for (int64_t k = 0; k < n_; ++k) {
    for (const int32_t q : queries) {
      if (!answered(q)) bound_[k * stride_ + q] = dense_->upper(k, place_[q]);
    }
  }
  return {};
}

// Only orders the work: any guess gives the same results.
void MixturePass::find_guesses(const double* x, int64_t count, ThreadPool& pool, const Execution& execution) {
  if (!bound_.empty()) {
    std::vector<float> most(bound_.begin(), bound_.begin() + count);
    guess_.assign(static_cast<size_t>(count), 0);
    for (int64_t k = 1; k < n_; ++k) {
      const float* row = bound_.data() + k * stride_;
      const auto index = static_cast<int32_t>(k);
      for (int64_t q = 0; q < count; ++q) {
        const bool better = row[q] > most[q];
        most[q] = better ? row[q] : most[q];
        guess_[q] = better ? index : guess_[q];
      }
    }
    return;
  }
  std::vector<double> best(static_cast<size_t>(count), -INFINITY);
  pool.run((count + solver_vectors - 1) / solver_vectors, [&](int64_t item, int) {
    GaussianSolver solver(*set_.kernels, d_, 0);
    const int64_t first = item * solver_vectors;
    const int size = static_cast<int>(std::min<int64_t>(solver_vectors, count - first));
    const double* rows[solver_vectors];
    double form[solver_vectors];
    for (int v = 0; v < size; ++v) rows[v] = x + (first + v) * d_;
    for (int64_t k = 0; k < n_ && !execution.cancelled(); ++k) {
      solver.load(at().view(k, nullptr), at().a(), at().b());
      solver.estimates(rows, size, form);
      for (int v = 0; v < size; ++v) {
        const double logit = bias(k) - 0.5 * form[v];
        if (guess_[first + v] >= 0 && !(logit > best[first + v])) continue;
        best[first + v] = logit;
        guess_[first + v] = static_cast<int32_t>(k);
      }
    }
  });
}

void MixturePass::evaluate_guesses(const double* x, int64_t count, ThreadPool& pool, const Execution& execution) {
  // Runs of queries with the same guess.
  std::vector<int32_t> order(static_cast<size_t>(count));
  for (int64_t q = 0; q < count; ++q) order[q] = static_cast<int32_t>(q);
  std::erase_if(order, [&](int32_t q) { return answered(q); });
  std::stable_sort(order.begin(), order.end(), [&](int32_t p, int32_t q) { return guess_[p] < guess_[q]; });
  std::vector<std::vector<int32_t>> runs;
  for (const int32_t q : order) {
    if (runs.empty() || guess_[runs.back().front()] != guess_[q] || static_cast<int64_t>(runs.back().size()) == queries_per_item) runs.emplace_back();
    runs.back().push_back(q);
  }
  std::vector<std::unique_ptr<GaussianSolver>> solvers(static_cast<size_t>(pool.size()));
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(runs.size()), [&](int64_t run, int worker) {
    if (execution.cancelled()) return;
    if (!solvers[worker]) {
      solvers[worker] = std::make_unique<GaussianSolver>(*set_.kernels, d_, target_.covariances->rank);
      scratch[worker].resize(static_cast<size_t>(at().scratch_size()));
    }
    std::vector<Entry> found;
    evaluate_component(*solvers[worker], scratch[worker], guess_[runs[run].front()], x, runs[run], false, found);
    for (const Entry& entry : found) {
      guess_logit_[entry.query] = entry.logit;
      if (screened_) cutoff_[entry.query] = entry.logit - certain_reach(entry.logit);
    }
  });
}

void MixturePass::evaluate_component(GaussianSolver& solver, std::vector<double>& scratch, int64_t k, const double* x,
                                     const std::vector<int32_t>& queries, bool limited, std::vector<Entry>& out) const {
  const double offset = bias(k), slack = 1e-9 + 2 * at().model().logit_units * 0x1p-53;
  solver.load(at().view(k, scratch.data()), at().a(), at().b());
  for (size_t first = 0; first < queries.size(); first += solver_vectors) {
    const int size = static_cast<int>(std::min<size_t>(solver_vectors, queries.size() - first));
    const double* rows[solver_vectors];
    double form[solver_vectors], limits[solver_vectors];
    for (int v = 0; v < size; ++v) {
      const int32_t q = queries[first + v];
      rows[v] = x + int64_t{q} * d_;
      limits[v] = 2 * (offset - cutoff_[q]) * (1 + 1e-12) + 1e-12 * (std::abs(offset) + std::abs(cutoff_[q]));
    }
    solver.forms(rows, size, true, form, limited ? limits : nullptr, slack);
    for (int v = 0; v < size; ++v) {
      if (form[v] == INFINITY && limited) continue;
      out.push_back({std::max(-0.5 * form[v], -1e307) + offset, static_cast<int32_t>(k), queries[first + v]});
    }
  }
}

void MixturePass::evaluate(const double* x, int64_t count, ThreadPool& pool, const Execution& execution) {
  const bool none = dense_ && bound_.empty(), limited = screened_ && guess_[0] >= 0 && target_.covariances->type == Covariances::Type::full, bounded = !bound_.empty();
  const int64_t splits = none ? 0 : (count + queries_per_item - 1) / queries_per_item;
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 20) / (queries_per_item * d_)), tasks = (n_ + grain - 1) / grain;
  std::vector<std::vector<Entry>> found(static_cast<size_t>(tasks * splits));
  std::vector<float> floor(static_cast<size_t>(count));  // cutoffs, rounded down
  for (int64_t q = 0; q < count; ++q) {
    if (answered(q)) cutoff_[q] = INFINITY;
    floor[q] = cutoff_[q] > 1e38 ? INFINITY : cutoff_[q] > -1e38 ? std::nextafter(static_cast<float>(cutoff_[q]), -INFINITY) : -INFINITY;
  }
  std::vector<std::unique_ptr<GaussianSolver>> solvers(static_cast<size_t>(pool.size()));
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool.size()));
  pool.run(tasks * splits, [&](int64_t item, int worker) {
    const int64_t task = item / splits, first = item % splits * queries_per_item, end = std::min(count, first + queries_per_item);
    if (!solvers[worker]) {
      solvers[worker] = std::make_unique<GaussianSolver>(*set_.kernels, d_, target_.covariances->rank);
      scratch[worker].resize(static_cast<size_t>(at().scratch_size()));
    }
    std::vector<int32_t> queries;
    std::vector<Entry>& out = found[item];
    for (int64_t k = task * grain; k < std::min(n_, (task + 1) * grain); ++k) {
      if (execution.cancelled()) return;
      queries.clear();
      const float* row = bounded ? bound_.data() + k * stride_ : nullptr;
      int any = row ? 0 : 1;
      for (int64_t q = first; row && q < end; ++q) any |= row[q] >= floor[q] ? 1 : 0;
      if (any == 0) continue;
      for (int64_t q = first; q < end; ++q) {
        if (row && !(static_cast<double>(row[q]) >= cutoff_[q])) continue;
        if (guess_[q] == k) {
          out.push_back({guess_logit_[q], static_cast<int32_t>(k), static_cast<int32_t>(q)});
          continue;
        }
        queries.push_back(static_cast<int32_t>(q));
      }
      if (!queries.empty()) evaluate_component(*solvers[worker], scratch[worker], k, x, queries, limited, out);
    }
  });
  // By query, then by component: the items hold the components in order.
  first_.assign(static_cast<size_t>(count + 1), 0);
  for (int64_t q = 0; dense_ && q < count; ++q) {
    if (answered(q)) first_[q + 1] = in_float32(q) ? n_ : static_cast<int64_t>(listed_->entries(q).size());
  }
  for (const std::vector<Entry>& part : found) {
    for (const Entry& entry : part) ++first_[entry.query + 1];
  }
  for (int64_t q = 0; q < count; ++q) first_[q + 1] += first_[q];
  entries_.resize(static_cast<size_t>(first_[count]));
  std::vector<int64_t> next(first_.begin(), first_.end() - 1);
  for (int64_t q = 0; dense_ && q < count; ++q) {
    const auto query = static_cast<int32_t>(q);
    for (int64_t k = 0; in_float32(q) && k < n_; ++k) entries_[next[q]++] = {dense_->logit(k, place_[q]), static_cast<int32_t>(k), query};
    if (in_float32(q) || !listed_->answered(q)) continue;
    for (const MixtureListed::Entry& entry : listed_->entries(q)) entries_[next[q]++] = {entry.logit, entry.component, query};
  }
  for (std::vector<Entry>& part : found) {
    for (const Entry& entry : part) entries_[next[entry.query]++] = entry;
    part = {};
  }
}

// The reach, and farther down where logits are known so badly that what lies below it may be the heaviest.
double MixturePass::certain_reach(double logit) const {
  const ErrorModel& model = at().model();
  const double unsure = 0x1p-53 * (model.logit_units * std::abs(logit) + model.logit_offset);
  return reach_ + (unsure > 1e-3 ? 4 * unsure : 0);
}

// Sums in chunks of 4096 components by index, in chains of 64 terms, merged in the order of chunks.h.
void MixturePass::sum_up(int64_t q) {
  double top = -INFINITY;
  double next = -INFINITY;
  for (const Entry* e = begin(q); e != end(q); ++e) {
    next = std::max(next, std::min(top, e->logit));
    top = std::max(top, e->logit);
  }
  const double least = cut_ ? top - reach_ : -INFINITY;
  least_[q] = least;
  std::vector<LogSumExp<double>> partials(static_cast<size_t>(chunk_count(n_)));
  const Entry* e = begin(q);
  while (e != end(q)) {
    const int64_t chunk = e->component / chunk_rows;
    LogSumExp<double>& total = partials[chunk];
    while (e != end(q) && e->component / chunk_rows == chunk) {
      LogSumExp<double> part;
      for (int terms = 0; terms < 64 && e != end(q) && e->component / chunk_rows == chunk; ++e) {
        if (e->logit < least) continue;
        ++terms;
        ++survivors_[q];
        part.merge(LogSumExp<double>::single(e->logit, e->component));
      }
      total.merge(part);
    }
  }
  merge_tree(static_cast<int64_t>(partials.size()), [&](int64_t i, int64_t j) { partials[i].merge(partials[j]); });
  sums_[q] = partials[0];
  lead_[q] = sums_[q].rest == 0 && !answered(q) ? std::min(top - next, certain_reach(top)) : 0;
}

}  // namespace regimes
