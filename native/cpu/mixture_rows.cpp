#include "mixture_rows.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "../core/dither.h"
#include "gaussian_solver.h"

namespace regimes {
namespace {

constexpr int64_t tile_bytes = int64_t{1} << 26, whole_bytes = int64_t{1} << 27;
constexpr int64_t line_floats = 16;
// Relative deviation of precisions that count as equal: moves a logit by at most half of it times f^T G f, about d. The wide one only
// where it spares an eighth of the rows or more: spectra whose axes differ by roundings of what they were made from.
constexpr double equal_axes = 1e-11;
double similar_axes(int64_t d) { return std::min(1e-7, 6e-5 / static_cast<double>(d)); }

double length(const double* v, int64_t d) {
  double square = 0;
  for (int64_t j = 0; j < d; ++j) square += v[j] * v[j];
  return std::sqrt(square);
}

// The longest run of eigenvalues that share a precision, of those the one nearest to the middle: [first, end).
std::pair<int64_t, int64_t> shared_run(const double* values, int64_t d, double a, double b, double deviation) {
  std::pair<int64_t, int64_t> best{d / 2, d / 2 + 1};
  int64_t first = 0;
  for (int64_t end = 1; end <= d; ++end) {
    const double width = 2 * deviation * (a * a * values[end - 1] + b * b);
    while (a * a * (values[end - 1] - values[first]) > width) ++first;
    if (end - first > best.second - best.first) best = {first, end};
  }
  return best;
}

}  // namespace

MixtureRows::MixtureRows(const Instructions& set, const Target& target, const GaussiansAt& at)
    : set_(set), target_(target), at_(at), n_(target.n), d_(target.d), rank_(target.covariances->rank),
      // An odd number of lines, so that a column of rows spreads over the cache.
      stride_(((d_ + line_floats - 1) / line_floats | 1) * line_floats), full_(target.covariances->type == Covariances::Type::full) {}

void MixtureRows::weights_of(int64_t k, double* weight) const {
  const double a = at_.a(), b = at_.b();
  const double* values = target_.covariances->values.data() + k * d_;
  for (int64_t j = 0; j < d_; ++j) weight[j] = full_ ? components_[k].scale : 1 / (a * a * values[j] + b * b);
}

Status MixtureRows::build(ThreadPool& pool, const Execution& execution) {
  const double a = at_.a(), b = at_.b(), share = 1 / static_cast<double>(n_);
  const auto width = static_cast<size_t>(d_);
  components_.assign(static_cast<size_t>(n_), {});
  start_.assign(static_cast<size_t>(n_ + 1), 0);
  if (full_) {
    shared_first_.resize(components_.size());
    shared_end_.resize(components_.size());
  }
  for (int64_t k = 0; k < n_; ++k) {
    int64_t rows = rank_;
    if (full_) {
      Component& c = components_[k];
      const double* values = target_.covariances->eigenvalues.data() + k * d_;
      std::pair<int64_t, int64_t> run = shared_run(values, d_, a, b, similar_axes(d_));
      if (8 * (run.second - run.first) < d_) run = shared_run(values, d_, a, b, equal_axes);
      shared_first_[k] = run.first;
      shared_end_[k] = run.second;
      // Half way between the extremes of the run.
      const double least = 1 / (a * a * values[shared_end_[k] - 1] + b * b), most = 1 / (a * a * values[shared_first_[k]] + b * b);
      c.scale = c.least = 0.5 * (least + most);
      c.shared_error = 0.5 * (most - least) / least + 0x1p-50;
      c.most = 1 / (a * a * values[0] + b * b);
      rows = d_ - (shared_end_[k] - shared_first_[k]);
    }
    start_[k + 1] = start_[k] + rows + 1;
  }
  row_square_.assign(static_cast<size_t>(start_[n_]), 0.0);
  offset_.assign(row_square_.size(), 0.0);
  shrink_.resize(row_square_.size());
  for (int64_t r = 0; r < start_[n_]; ++r) shrink_[r] = 1 / static_cast<double>(row_stretch(r));
  matrix_.assign(full_ ? row_square_.size() : static_cast<size_t>(n_ * rank_ * rank_), 0.0);
  origin_.assign(width, 0.0);
  common_.assign(width, full_ ? 1.0 : 0.0);
  level_.assign(full_ ? 0 : width, b * b);
  const int64_t block = 64, blocks = (d_ + block - 1) / block;
  pool.run(blocks, [&](int64_t item, int) {
    const int64_t first = item * block, end = std::min(d_, first + block);
    for (int64_t k = 0; k < n_; ++k) {
      if (execution.cancelled()) return;
      const double* mean = target_.means.row(k);
      const double* values = target_.covariances->values.data() + k * d_;
      for (int64_t j = first; j < end; ++j) origin_[j] += share * mean[j];
      for (int64_t j = first; j < end && !full_; ++j) common_[j] += share / (a * a * values[j] + b * b);
      for (int64_t j = first; j < end && !full_; ++j) level_[j] += share * a * a * values[j];
    }
    for (int64_t k = 0; k < n_ && !full_; ++k) {
      const double* mean = target_.means.row(k);
      for (int64_t j = first; j < end; ++j) level_[j] += share * a * a * (mean[j] - origin_[j]) * (mean[j] - origin_[j]);
    }
  });
  least_common_ = *std::min_element(common_.begin(), common_.end());
  most_common_ = *std::max_element(common_.begin(), common_.end());
  const int64_t component_bytes = std::max<int64_t>(1, (start_[n_] / n_ + (full_ ? 0 : 1)) * stride_ * 4);
  tile_ = component_bytes * n_ <= whole_bytes ? n_ : std::clamp<int64_t>(tile_bytes / component_bytes, 1, n_ - 1);
  if (tile_ == n_) {
    whole_.first = 0;
    whole_.end = n_;
    whole_.values.resize(static_cast<size_t>(start_[n_] * stride_));
    whole_.deviations.resize(full_ ? 0 : static_cast<size_t>(n_ * stride_));
  }
  pool.run(n_, [&](int64_t k, int) {
    if (execution.cancelled()) return;
    describe(k);
    if (tile_ == n_) fill_component(k, whole_);
  });
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  for (const Component& c : components_) {
    steepest_ = std::max(steepest_, c.most);
    least_ = std::min(least_, c.least);
    farthest_ = std::max(farthest_, c.load / c.least);
  }
  farthest_ += a * length(origin_.data(), d_);
  return {};
}

void MixtureRows::describe(int64_t k) {
  const Kernels& kernels = *set_.kernels;
  Component& c = components_[k];
  const double a = at_.a();
  std::vector<double> basis(static_cast<size_t>(at_.scratch_size())), mean(static_cast<size_t>(d_)), weight(mean.size()), row(mean.size());
  const GaussianView g = at_.view(k, basis.data());
  weights_of(k, weight.data());
  for (int64_t j = 0; j < d_; ++j) mean[j] = g.mean[j] - origin_[j];
  c.constant = a * a * kernels.weighted_square(mean.data(), weight.data(), d_);
  for (int64_t j = 0; j < d_; ++j) row[j] = weight[j] * mean[j];
  c.load = a * length(row.data(), d_);
  if (!full_) {
    c.least = *std::min_element(weight.begin(), weight.end());
    c.most = *std::max_element(weight.begin(), weight.end());
    at_.reduction(k, matrix_.data() + k * rank_ * rank_);
    double deviation = 0;
    for (int64_t j = 0; j < d_; ++j) {
      const double difference = weight[j] - common_[j];
      c.constant += difference * level_[j];
      deviation += difference * difference;
      c.largest = std::max(c.largest, std::abs(difference));
    }
    c.deviation = std::sqrt(deviation);
  }
  double squares = 0, largest = 0;
  for (int64_t i = 0; i < size(k); ++i) {
    if (!full_ && i >= g.rank) break;
    const double* vector = g.basis + axis(k, i) * d_;
    kernels.differences(&vector, 1, nullptr, 0, full_ ? nullptr : weight.data(), d_, row.data());
    const int64_t r = start_[k] + i;
    row_square_[r] = kernels.weighted_square(row.data(), nullptr, d_);
    kernels.row_products(row.data(), 1, d_, mean.data(), 1, &offset_[r], 1);
    offset_[r] *= a;
    squares += row_square_[r];
    if (!full_) continue;
    matrix_[r] = c.scale - 1 / (a * a * g.values[axis(k, i)] + at_.b() * at_.b());
    largest = std::max(largest, std::abs(matrix_[r]));
  }
  if (!full_) largest = length(matrix(k), rank_ * rank_);
  c.norm = largest;
  c.second_order = largest * squares;
}

void MixtureRows::fill_component(int64_t k, Tile& tile) const {
  const Kernels& kernels = *set_.kernels;
  std::vector<double> basis(static_cast<size_t>(at_.scratch_size())), weight(static_cast<size_t>(d_)), row(weight.size());
  const GaussianView g = at_.view(k, basis.data());
  weights_of(k, weight.data());
  float* out = tile.values.data() + (start_[k] - start_[tile.first]) * stride_;
  const auto put = [&](float* to, int64_t i) {
    const auto stretch = static_cast<double>(row_stretch(start_[k] + i));
    for (int64_t j = 0; j < d_; ++j) to[j] = static_cast<float>(row[j] * stretch);
  };
  for (int64_t i = 0; i < size(k); ++i, out += stride_) {
    if (!full_ && i >= g.rank) {
      std::fill_n(out, d_, 0.0f);
      continue;
    }
    const double* vector = g.basis + axis(k, i) * d_;
    kernels.differences(&vector, 1, nullptr, 0, full_ ? nullptr : weight.data(), d_, row.data());
    put(out, i);
  }
  for (int64_t j = 0; j < d_; ++j) row[j] = at_.a() * weight[j] * (g.mean[j] - origin_[j]);
  put(out, size(k));
  if (full_) return;
  for (int64_t j = 0; j < d_; ++j) row[j] = weight[j] - common_[j];
  put(tile.deviations.data() + (k - tile.first) * stride_, size(k));
}

void MixtureRows::fill(int64_t first, int64_t end, Tile& tile, ThreadPool& pool, const Execution& execution) const {
  if (tile.first == first && tile.end == end) return;
  tile.first = tile.end = 0;
  tile.values.assign(static_cast<size_t>((start_[end] - start_[first]) * stride_), 0.0f);
  if (!full_) tile.deviations.assign(static_cast<size_t>((end - first) * stride_), 0.0f);
  tile.first = first;
  pool.run(end - first, [&](int64_t index, int) {
    if (!execution.cancelled()) fill_component(first + index, tile);
  });
  tile.end = execution.cancelled() ? 0 : end;
}

void MixtureRows::exact_forms(const double* x, const int32_t* index, std::vector<ExactForm>& forms, double* h, ThreadPool& pool,
                              const Execution& execution) const {
  std::stable_sort(forms.begin(), forms.end(), [](const ExactForm& left, const ExactForm& right) { return left.component < right.component; });
  const auto count = static_cast<int64_t>(forms.size());
  std::vector<int64_t> runs;
  for (int64_t i = 0; i < count; ++i) {
    if (i == 0 || forms[i].component != forms[i - 1].component) runs.push_back(i);
  }
  std::vector<std::unique_ptr<Exact>> exact(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(runs.size()), [&](int64_t run, int worker) {
    if (!exact[worker]) exact[worker] = std::make_unique<Exact>(*this);
    Exact& own = *exact[worker];
    const int64_t end = run + 1 < static_cast<int64_t>(runs.size()) ? runs[run + 1] : count;
    own.load(forms[runs[run]].component);
    for (int64_t from = runs[run]; from < end && !execution.cancelled(); from += solver_vectors) {
      const double* row[solver_vectors];
      double form[solver_vectors], ground[solver_vectors], norm[solver_vectors];
      const int size = static_cast<int>(std::min<int64_t>(solver_vectors, end - from));
      for (int v = 0; v < size; ++v) row[v] = x + (index ? index[forms[from + v].query] : forms[from + v].query) * d_;
      own.forms(row, size, form, ground, norm);
      for (int v = 0; v < size; ++v) {
        ExactForm& out = forms[from + v];
        out.form = form[v];
        out.ground = ground[v];
        out.norm = norm[v];
        if (h) std::copy_n(own.h(v), own.size(), h + out.place * rank_);
      }
    }
  });
}

int64_t MixtureRows::bytes() const {
  const auto numbers = origin_.size() + common_.size() + level_.size() + row_square_.size() + shrink_.size() + offset_.size() + matrix_.size() + start_.size() +
                       shared_first_.size() + shared_end_.size();
  return static_cast<int64_t>(numbers * sizeof(double) + components_.size() * sizeof(Component) +
                              (whole_.values.size() + whole_.deviations.size()) * sizeof(float));
}

MixtureRows::Exact::Exact(const MixtureRows& rows)
    : rows_(rows), kernels_(*rows.set_.kernels), scratch_(static_cast<size_t>(rows.at_.scratch_size())), weight_(static_cast<size_t>(rows.d_)),
      variance_(weight_.size()), loaded_(static_cast<size_t>(solver_vectors * rows.d_)) {}

void MixtureRows::Exact::load(int64_t k) {
  k_ = k;
  const GaussianView g = rows_.at_.view(k, scratch_.data());
  mean_ = g.mean;
  basis_ = g.basis;
  size_ = rows_.full_ ? rows_.size(k) : g.rank;
  const double a = rows_.at_.a(), b = rows_.at_.b();
  for (int64_t j = 0; j < rows_.d_ && !rows_.full_; ++j) {
    variance_[j] = a * a * g.values[j] + b * b;
    weight_[j] = 1 / variance_[j];
  }
  t_.resize(static_cast<size_t>(solver_vectors * std::max<int64_t>(size_, 1)));
  h_.resize(t_.size());
}

void MixtureRows::Exact::forms(const double* const* x, int count, double* form, double* ground, double* norm) {
  const int64_t d = rows_.d_;
  const bool full = rows_.full_;
  // Low rank G f, full f, with the axes before and after those that share p.
  kernels_.differences(x, count, mean_, rows_.at_.a(), full ? nullptr : weight_.data(), d, loaded_.data());
  const int64_t before = full ? std::min(rows_.shared_first_[k_], size_) : size_, after = size_ - before;
  kernels_.row_products(basis_, before, d, loaded_.data(), count, t_.data(), size_);
  if (after > 0) kernels_.row_products(basis_ + rows_.shared_end_[k_] * d, after, d, loaded_.data(), count, t_.data() + before, size_);
  const double* m = rows_.matrix(k_);
  for (int v = 0; v < count; ++v) {
    const double* t = t_.data() + v * size_;
    double* h = h_.data() + v * size_;
    double inside = 0, squares = 0;
    for (int64_t i = 0; i < size_; ++i) {
      h[i] = full ? m[i] * t[i] : 0;
      for (int64_t s = 0; !full && s < size_; ++s) h[i] += m[i * rows_.rank_ + s] * t[s];
      inside += t[i] * h[i];
      squares += rows_.row_square(k_)[i] * h[i] * h[i];
    }
    ground[v] = rows_.component(k_).scale * kernels_.weighted_square(loaded_.data() + v * d, full ? nullptr : variance_.data(), d);
    form[v] = std::max(ground[v] - inside, 0.0);
    norm[v] = std::sqrt(squares * static_cast<double>(full ? 1 : std::max<int64_t>(1, size_)));
  }
}

void MixtureRows::Exact::pulls(const double* const* x, const double* const* h, int count, double* out) {
  const int64_t d = rows_.d_;
  kernels_.differences(x, count, mean_, rows_.at_.a(), nullptr, d, out);
  for (int v = 0; v < count; ++v) {
    for (int64_t i = 0; i < size_; ++i) h_[v * size_ + i] = -h[v][i];
  }
  kernels_.add_combinations(basis_, size_, d, h_.data(), size_, count, out);
}

}  // namespace regimes
