#include "covariance.h"

#include <algorithm>
#include <cmath>

#include "dense_block.h"
#include "ordered_sum.h"

namespace regimes {
namespace {

constexpr int64_t panel_depth = 128;
constexpr int64_t panel_width = 64;

// matrix [size, size] = sum_{s < depth} x_s x_s^T. fill(first, i_begin, i_end, stride, out) writes x_s[i] for s in [first, first +
// panel_depth) (0 beyond the depth) to out[(s - first) stride + i - i_begin]; it must allow calls from several threads (worker).
template <class Fill>
bool sum_of_squares(int64_t depth, int64_t size, std::vector<double>& matrix, ThreadPool& pool, const Execution& execution,
                    const std::function<void(double)>& report, const Fill& fill) {
  const int64_t blocks = (size + panel_width - 1) / panel_width;
  const int64_t stride = blocks * panel_width;
  std::vector<double> sum(stride * stride, 0.0);
  std::vector<double> panel(blocks * panel_depth * panel_width, 0.0);  // [blocks, panel_depth, panel_width]
  const auto block = [&](int64_t b) { return panel.data() + b * panel_depth * panel_width; };
  for (int64_t first = 0; first < depth; first += panel_depth) {
    pool.run(blocks, [&](int64_t b, int) {
      if (!execution.cancelled()) fill(first, b * panel_width, std::min((b + 1) * panel_width, size), panel_width, block(b));
    });
    pool.run(blocks * (blocks + 1) / 2, [&](int64_t pair, int) {
      if (execution.cancelled()) return;
      // Row i of the lower triangle of blocks holds i + 1 of them.
      auto i = static_cast<int64_t>((std::sqrt(8.0 * static_cast<double>(pair) + 1) - 1) / 2);
      while (i * (i + 1) / 2 > pair) --i;
      while ((i + 1) * (i + 2) / 2 <= pair) ++i;
      const int64_t j = pair - i * (i + 1) / 2;
      transposed_multiply_add(panel_depth, panel_width, panel_width, block(i), panel_width, block(j), panel_width,
                              sum.data() + i * panel_width * stride + j * panel_width, stride);
    });
    if (execution.cancelled()) return false;
    report(static_cast<double>(std::min(first + panel_depth, depth)) / static_cast<double>(depth));
  }
  matrix.resize(size * size);
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j <= i; ++j) matrix[i * size + j] = matrix[j * size + i] = sum[i * stride + j];
  }
  return true;
}

}  // namespace

Covariance::Covariance(const Target& target, const Moments& moments, ThreadPool& pool, const Execution& execution)
    : target_(target), moments_(moments), pool_(pool), execution_(execution), d_(target.d) {
  trace_ = moments.scatter * moments.inverse_normaliser();
  if (target.kind == Target::Kind::mixture) average_components();
}

void Covariance::average_components() {
  const Covariances& covariances = *target_.covariances;
  const double gain2 = moments_.gain * moments_.gain;
  const int64_t stride = padded(d_);
  const bool full = covariances.type == Covariances::Type::full;
  diagonal_.assign(d_, 0.0);
  if (full) full_.assign(stride * stride, 0.0);
  for (int64_t k = 0; k < target_.n; ++k) {
    const double weight = moments_.weight(k) / moments_.total_weight * gain2;
    if (full) {
      const double* matrix = covariances.values.data() + k * d_ * d_;
      for (int64_t i = 0; i < d_; ++i) {
        for (int64_t j = 0; j < d_; ++j) full_[i * stride + j] += weight * matrix[i * d_ + j];
        trace_ += weight * matrix[i * d_ + i];
      }
      continue;
    }
    const bool spherical = covariances.type == Covariances::Type::spherical;
    for (int64_t j = 0; j < d_; ++j) {
      const double variance = weight * covariances.values[spherical ? k : k * d_ + j];
      diagonal_[j] += variance;
      trace_ += variance;
    }
    const int64_t entries = d_ * covariances.rank;
    trace_ += weight * dot(covariances.factors.data() + k * entries, covariances.factors.data() + k * entries, entries);
  }
}

bool Covariance::multiply(int64_t columns, const double* block, double* out) const {
  std::fill(out, out + padded(d_) * columns, 0.0);
  // At most 64 columns at a time bound the memory of the partial sums.
  constexpr int64_t most = 64;
  if (columns <= most) {
    if (!add_rows(columns, block, out)) return false;
  } else {
    std::vector<double> slice(padded(d_) * most), product(padded(d_) * most);
    for (int64_t first = 0; first < columns; first += most) {
      const int64_t width = std::min(most, columns - first);
      for (int64_t k = 0; k < padded(d_); ++k) std::copy_n(block + k * columns + first, width, slice.data() + k * width);
      if (!add_rows(width, slice.data(), product.data())) return false;
      for (int64_t k = 0; k < padded(d_); ++k) std::copy_n(product.data() + k * width, width, out + k * columns + first);
    }
  }
  if (target_.kind == Target::Kind::points) return true;
  if (!full_.empty()) {
    constexpr int64_t task_rows = 32;
    pool_.run((padded(d_) + task_rows - 1) / task_rows, [&](int64_t task, int) {
      const int64_t first = task * task_rows;
      multiply_add(std::min(task_rows, padded(d_) - first), padded(d_), columns, full_.data() + first * padded(d_), padded(d_), block,
                   columns, out + first * columns, columns);
    });
  }
  for (int64_t k = 0; k < d_; ++k) {
    for (int64_t j = 0; j < columns; ++j) out[k * columns + j] += diagonal_[k] * block[k * columns + j];
  }
  return target_.covariances->rank == 0 || add_factors(columns, block, out);
}

// out = (1/normaliser) sum_i w_i (y_i - c_i) ((y_i - c_i) . block): tiles of rows that fit the second-level cache, converted to
// float64 once and used twice.
bool Covariance::add_rows(int64_t columns, const double* block, double* out) const {
  const int64_t stride = padded(d_);
  const int64_t tile_rows = padded(std::clamp<int64_t>((int64_t{1} << 15) / stride, 16, 64));
  std::vector<double> tiles(pool_.size() * tile_rows * stride, 0.0);
  std::vector<double> products(pool_.size() * tile_rows * columns);
  const double factor = moments_.inverse_normaliser();
  const auto body = [&](int64_t begin, int64_t end, int worker, double* partial) {
    double* tile = tiles.data() + worker * tile_rows * stride;
    double* product = products.data() + worker * tile_rows * columns;
    for (int64_t first = begin; first < end && !execution_.cancelled(); first += tile_rows) {
      const int64_t count = std::min(tile_rows, end - first);
      for (int64_t r = 0; r < count; ++r) {
        load_centred(moments_.rows, first + r, 0, d_, moments_.centre(first + r), moments_.gain, tile + r * stride);
      }
      std::fill(tile + count * stride, tile + padded(count) * stride, 0.0);
      std::fill(product, product + padded(count) * columns, 0.0);
      multiply_add(padded(count), stride, columns, tile, stride, block, columns, product, columns);
      for (int64_t r = 0; r < count; ++r) {
        const double weight = moments_.weight(first + r) * factor;
        for (int64_t j = 0; j < columns; ++j) product[r * columns + j] *= weight;
      }
      transposed_multiply_add(padded(count), stride, columns, tile, stride, product, columns, partial, columns);
    }
  };
  return ordered_sum(pool_, execution_, moments_.rows.rows, unit_rows, stride * columns, out, body);
}

// out += sum_k pi_k W_k (W_k^T block).
bool Covariance::add_factors(int64_t columns, const double* block, double* out) const {
  const Covariances& covariances = *target_.covariances;
  const int64_t rank = covariances.rank;
  const int64_t stride = padded(d_);
  const int64_t rank_stride = padded(rank);
  std::vector<double> tiles(pool_.size() * stride * rank_stride, 0.0);
  std::vector<double> products(pool_.size() * rank_stride * columns);
  std::vector<double> sum(stride * columns);
  constexpr int64_t grain = 16;
  const bool done = ordered_sum(pool_, execution_, target_.n, grain, stride * columns, sum.data(),
                                [&](int64_t begin, int64_t end, int worker, double* partial) {
    double* tile = tiles.data() + worker * stride * rank_stride;
    double* product = products.data() + worker * rank_stride * columns;
    for (int64_t k = begin; k < end && !execution_.cancelled(); ++k) {
      const double* factor = covariances.factors.data() + k * d_ * rank;
      for (int64_t i = 0; i < d_; ++i) {
        for (int64_t j = 0; j < rank; ++j) tile[i * rank_stride + j] = moments_.gain * factor[i * rank + j];
      }
      std::fill(product, product + rank_stride * columns, 0.0);
      transposed_multiply_add(stride, rank_stride, columns, tile, rank_stride, block, columns, product, columns);
      const double weight = moments_.weight(k) / moments_.total_weight;
      for (int64_t at = 0; at < rank_stride * columns; ++at) product[at] *= weight;
      multiply_add(stride, rank_stride, columns, tile, rank_stride, product, columns, partial, columns);
    }
  });
  if (done) add_to(out, sum.data(), stride * columns);
  return done;
}

bool Covariance::dense(std::vector<double>& matrix, const std::function<void(double)>& report) const {
  const int64_t n = moments_.rows.rows;
  const double factor = moments_.inverse_normaliser();
  const bool done = sum_of_squares(n, d_, matrix, pool_, execution_, report,
                                   [&](int64_t first, int64_t i_begin, int64_t i_end, int64_t stride, double* out) {
    for (int64_t s = 0; s < panel_depth; ++s) {
      const int64_t row = first + s;
      if (row >= n) {
        std::fill(out + s * stride, out + s * stride + i_end - i_begin, 0.0);
        continue;
      }
      load_centred(moments_.rows, row, i_begin, i_end - i_begin, moments_.centre(row) + i_begin,
                   moments_.gain * std::sqrt(moments_.weight(row)), out + s * stride);
    }
  });
  if (!done) return false;
  for (double& entry : matrix) entry *= factor;
  if (target_.kind == Target::Kind::points) return true;
  for (int64_t i = 0; i < d_; ++i) {
    matrix[i * d_ + i] += diagonal_[i];
    for (int64_t j = 0; j < d_ && !full_.empty(); ++j) matrix[i * d_ + j] += full_[i * padded(d_) + j];
  }
  const int64_t rank = target_.covariances->rank;
  if (rank == 0) return true;
  std::vector<double> factors;
  const bool added = sum_of_squares(target_.n * rank, d_, factors, pool_, execution_, report,
                                    [&](int64_t first, int64_t i_begin, int64_t i_end, int64_t stride, double* out) {
    for (int64_t s = 0; s < panel_depth; ++s) {
      const int64_t k = (first + s) / rank;
      const int64_t j = (first + s) % rank;
      const bool inside = k < target_.n;
      const double scale = inside ? moments_.gain * std::sqrt(moments_.weight(k) / moments_.total_weight) : 0;
      for (int64_t i = i_begin; i < i_end; ++i) {
        out[s * stride + i - i_begin] = inside ? scale * target_.covariances->factors[(k * d_ + i) * rank + j] : 0;
      }
    }
  });
  if (added) add_to(matrix.data(), factors.data(), d_ * d_);
  return added;
}

bool Covariance::gram(std::vector<double>& matrix, const std::function<void(double)>& report) const {
  const double factor = moments_.inverse_normaliser();
  const bool done = sum_of_squares(d_, moments_.rows.rows, matrix, pool_, execution_, report,
                                   [&](int64_t first, int64_t i_begin, int64_t i_end, int64_t stride, double* out) {
    double segment[panel_depth] = {};
    const int64_t count = std::min(panel_depth, d_ - first);
    for (int64_t i = i_begin; i < i_end; ++i) {
      load_centred(moments_.rows, i, first, count, moments_.centre(i) + first, moments_.gain * std::sqrt(moments_.weight(i)), segment);
      for (int64_t s = 0; s < panel_depth; ++s) out[s * stride + i - i_begin] = segment[s];
    }
  });
  if (!done) return false;
  for (double& entry : matrix) entry *= factor;
  return true;
}

}  // namespace regimes
