// posterior over data points, float64 throughout. For blocks of queries:
//   1 logits of all points: squared differences |x - a y_i|^2, each difference rounded once, so that no cancellation arises at small b;
//     their block sums enter the accumulators, chunk by chunk, merged in the order of chunks.h
//   2 weights w_i = exp(l_i - max) / (1 + rest) of the points that matter
//   3 denoised mean sum w_i y_i, score (a D - x) / b^2, and second moments about D, from the rows that carry weight
#include <cmath>

#include "../core/thread_pool.h"
#include "cpu.h"
#include "readings.h"

namespace regimes {
namespace {

constexpr int groups_per_item = 4;           // lanes groups that share a converted tile
constexpr int64_t column_block = 256;        // columns of the denoised mean per work item
constexpr int rows_at_once = 4;              // rows that enter the denoised mean together
constexpr int64_t logit_bytes = int64_t{1} << 27;  // logits kept for stages 2 and 3

class Float64Posterior {
 public:
  Float64Posterior(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const Execution& execution)
      : kernels_(kernels), target_(target), request_(request), execution_(execution), pool_(execution.threads),
        n_(target.n), d_(target.d), keep_logits_(wants_denoised(request) || request.top > 0),
        class_count_(request.class_weights ? target.class_count : 0), uniform_(target.uniform()) {
    const int64_t fit = logit_bytes / (n_ * lanes * static_cast<int64_t>(sizeof(double)));
    groups_per_block_ = keep_logits_ ? std::clamp<int64_t>(fit, 1, 16) : 16;
  }

  Status run() {
    const int64_t queries = request_.x.rows, step = groups_per_block_ * lanes;
    for (int64_t first = 0; first < queries; first += step) {
      first_ = first;
      count_ = std::min(step, queries - first);
      groups_ = group_count(count_);
      x_ = to_lanes(request_.x.row(first), count_, d_);
      find_logits();
      if (execution_.cancelled()) break;
      read();
      if (execution_.cancelled()) break;
      if (execution_.progress) execution_.progress(static_cast<double>(first + count_) / static_cast<double>(queries));
    }
    return execution_.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
  }

 private:
  double* logits_of(int64_t group) { return logits_.data() + group * n_ * lanes; }

  void find_logits() {
    const int64_t chunks = chunk_count(n_), runs = (groups_ + groups_per_item - 1) / groups_per_item;
    if (keep_logits_) logits_.resize(static_cast<size_t>(groups_ * n_ * lanes));
    partials_.assign(static_cast<size_t>(chunks * groups_), LaneAccumulators(class_count_));
    pool_.run(chunks * runs, [&](int64_t item, int) { chunk_logits(item / runs, (item % runs) * groups_per_item); });
    if (execution_.cancelled()) return;
    merge_tree(chunks, [&](int64_t i, int64_t j) {
      for (int64_t g = 0; g < groups_; ++g) partials_[i * groups_ + g].merge(partials_[j * groups_ + g]);
    });
  }

  void chunk_logits(int64_t chunk, int64_t first_group) {
    const int groups = static_cast<int>(std::min<int64_t>(groups_per_item, groups_ - first_group));
    const int64_t end = std::min((chunk + 1) * chunk_rows, n_), tile = tile_rows(d_);
    const double inverse_twice_b2 = 1 / (2 * request_.b * request_.b);
    std::vector<double> rows(static_cast<size_t>(tile * d_));
    std::vector<double> scratch(keep_logits_ ? 0 : static_cast<size_t>(groups * block_rows * lanes));
    std::vector<double> exponentials(class_count_ > 0 ? block_rows * lanes : 0);
    std::vector<double> masses(static_cast<size_t>(class_count_) * lanes);
    double floor[lanes];
    std::fill(floor, floor + lanes, -INFINITY);

    for (int64_t block = chunk * chunk_rows; block < end; block += block_rows) {
      const int64_t block_end = std::min(block + block_rows, end);
      const int count = static_cast<int>(block_end - block);
      double* out = keep_logits_ ? logits_of(first_group) + block * lanes : scratch.data();
      const int64_t out_rows = keep_logits_ ? n_ : block_rows;
      for (int64_t row = block; row < block_end; row += tile) {
        if (execution_.cancelled()) return;
        const int tile_count = static_cast<int>(std::min(tile, block_end - row));
        kernels_.convert(target_.points, row * d_, tile_count * d_, rows.data());
        kernels_.squared_distances(x_.data() + first_group * d_ * lanes, groups, rows.data(), tile_count, d_, request_.a,
                                   out + (row - block) * lanes, out_rows);
      }
      for (int g = 0; g < groups; ++g) {
        double* logits = out + g * out_rows * lanes;
        kernels_.scale_distances(logits, count, inverse_twice_b2, target_.log_weights ? target_.log_weights + block : nullptr);
        LaneSums sums;
        kernels_.block_sums(logits, count, floor, &sums, class_count_ > 0 ? exponentials.data() : nullptr);
        if (class_count_ > 0) {
          std::fill(masses.begin(), masses.end(), 0.0);
          kernels_.add_class_sums(exponentials.data(), target_.classes + block, count, masses.data());
        }
        partials_[chunk * groups_ + first_group + g].add(sums, block, masses.data(), floor);
      }
    }
  }

  const LogSumExp<double>& sums_of(int64_t q) const { return partials_[q / lanes].sums[q % lanes]; }

  void read() {
    std::vector<double> log_density(static_cast<size_t>(count_));
    for (int64_t q = 0; q < count_; ++q) {
      log_density[q] = read_scalars(target_, request_, first_ + q, partials_[q / lanes], static_cast<int>(q % lanes), uniform_);
    }
    if (request_.top > 0) {
      pool_.run(count_, [&](int64_t q, int) {
        const int64_t at = (first_ + q) * request_.top;
        read_top(logits_of(q / lanes) + q % lanes, n_, sums_of(q), request_.top, request_.top_index + at, request_.top_weight + at);
      });
    }
    const ErrorModel model = points_error_model(d_, request_.b);
    if (!wants_denoised(request_)) {
      for (int64_t q = 0; q < count_; ++q) {
        read_bounds(target_, request_, first_ + q, sums_of(q), uniform_, model, log_density[q], 1, nullptr);
      }
      return;
    }
    find_weights();
    find_denoised();
    if (execution_.cancelled()) return;
    pool_.run(count_, [&](int64_t q, int) {
      const double* denoised = denoised_.data() + q * d_;
      read_bounds(target_, request_, first_ + q, sums_of(q), uniform_, model, log_density[q], static_cast<double>(active_count(q)), denoised);
      read_score(q, denoised);
      if (wants_second_moments(request_)) read_second_moments(q, denoised);
    });
  }

  void find_weights() {
    active_.resize(static_cast<size_t>(groups_ * n_));
    // Second moments of a condensed posterior live in its smallest weights: then nothing is cut off before exp underflows.
    const double reach = wants_second_moments(request_) ? 708 : std::log(static_cast<double>(n_)) + 50;
    pool_.run(groups_, [&](int64_t g, int) {
      double top[lanes], inverse[lanes], cutoff[lanes];
      for (int lane = 0; lane < lanes; ++lane) {
        const LogSumExp<double>& sums = partials_[g].sums[lane];
        top[lane] = sums.max;
        inverse[lane] = 1 / (1 + sums.rest);
        cutoff[lane] = sums.max - reach;
      }
      kernels_.weights(logits_of(g), n_, top, inverse, cutoff, active_.data() + g * n_);
    });
  }

  void find_denoised() {
    denoised_.resize(static_cast<size_t>(groups_ * lanes * d_));
    const int64_t blocks = (d_ + column_block - 1) / column_block, runs = (groups_ + groups_per_item - 1) / groups_per_item;
    pool_.run(runs * blocks, [&](int64_t item, int) { denoised_columns(item / blocks * groups_per_item, item % blocks * column_block); });
  }

  // Columns [column, column + column_block) of the denoised means of a run of groups, which share the converted rows.
  void denoised_columns(int64_t first_group, int64_t column) {
    const int64_t groups = std::min<int64_t>(groups_per_item, groups_ - first_group), columns = std::min(column_block, d_ - column);
    std::vector<double> total(static_cast<size_t>(groups * lanes * columns)), part(total.size()), rows(static_cast<size_t>(rows_at_once * columns));
    const double* weights[groups_per_item][rows_at_once];
    for (int64_t block = 0; block < n_; block += block_rows) {
      if (execution_.cancelled()) return;
      bool any = false;
      int waiting = 0;
      const auto add = [&] {
        for (int64_t g = 0; waiting > 0 && g < groups; ++g) {
          kernels_.add_rows(weights[g], rows.data(), waiting, columns, part.data() + g * lanes * columns);
        }
        waiting = 0;
      };
      for (int64_t i = block; i < std::min(block + block_rows, n_); ++i) {
        bool active = false;
        for (int64_t g = 0; g < groups; ++g) active = active || active_[(first_group + g) * n_ + i];
        if (!active) continue;
        if (!any) std::fill(part.begin(), part.end(), 0.0);
        any = true;
        for (int64_t g = 0; g < groups; ++g) weights[g][waiting] = logits_of(first_group + g) + i * lanes;
        kernels_.convert(target_.points, i * d_ + column, columns, rows.data() + waiting * columns);
        if (++waiting == rows_at_once) add();
      }
      add();
      for (size_t k = 0; any && k < total.size(); ++k) total[k] += part[k];
    }
    for (int64_t q = 0; q < groups * lanes; ++q) {
      std::copy_n(total.data() + q * columns, columns, denoised_.data() + (first_group * lanes + q) * d_ + column);
    }
  }

  int64_t active_count(int64_t q) {
    const double* weights = logits_of(q / lanes) + q % lanes;
    const uint8_t* active = active_.data() + (q / lanes) * n_;
    int64_t count = 0;
    for (int64_t i = 0; i < n_; ++i) count += active[i] && weights[i * lanes] > 0;
    return count;
  }

  void read_score(int64_t q, const double* denoised) {
    const int64_t at = (first_ + q) * d_;
    if (request_.denoised) std::copy_n(denoised, d_, request_.denoised + at);
    const double b2 = request_.b * request_.b;
    for (int64_t j = 0; request_.score && j < d_; ++j) {
      request_.score[at + j] = std::fma(request_.a, denoised[j], -request_.x(first_ + q, j)) / b2;
    }
  }

  // Cov u = sum w (y - D) ((y - D) . u) and its trace, about the denoised mean itself.
  void read_second_moments(int64_t q, const double* denoised) {
    const double* weights = logits_of(q / lanes) + q % lanes;
    const uint8_t* active = active_.data() + (q / lanes) * n_;
    const int64_t at = (first_ + q) * d_;
    const double* u = request_.vectors ? request_.vectors + at : nullptr;
    std::vector<double> row(static_cast<size_t>(d_)), product(u ? static_cast<size_t>(d_) : 0);
    double trace = 0;
    for (int64_t i = 0; i < n_; ++i) {
      const double weight = weights[i * lanes];
      if (!active[i] || weight == 0) continue;
      if (execution_.cancelled()) return;
      double square, along;
      kernels_.convert(target_.points, i * d_, d_, row.data());
      kernels_.row_moments(row.data(), denoised, u, d_, &square, &along);
      trace += weight * square;
      if (u) kernels_.add_difference(weight * along, row.data(), denoised, d_, product.data());
    }
    const double b2 = request_.b * request_.b, gain = request_.a / b2;
    if (request_.covariance_trace) request_.covariance_trace[first_ + q] = trace;
    if (request_.divergence) request_.divergence[first_ + q] = gain * trace * gain - static_cast<double>(d_) / b2;
    for (int64_t j = 0; u && j < d_; ++j) {
      if (request_.covariance_products) request_.covariance_products[at + j] = product[j];
      if (request_.jacobian_products) request_.jacobian_products[at + j] = gain * product[j] * gain - u[j] / b2;
    }
  }

  const Kernels& kernels_;
  const Target& target_;
  const PosteriorRequest& request_;
  const Execution& execution_;
  ThreadPool pool_;
  const int64_t n_, d_;
  const bool keep_logits_;
  const int32_t class_count_;
  const double uniform_;
  int64_t groups_per_block_ = 1;

  // The block of queries at hand.
  int64_t first_ = 0, count_ = 0, groups_ = 0;
  std::vector<double> x_;        // [groups][d][8]
  std::vector<double> logits_;   // [groups][n][8]: logits, then weights
  std::vector<uint8_t> active_;  // [groups][n]: any lane has weight
  std::vector<double> denoised_; // [groups * 8][d]
  std::vector<LaneAccumulators> partials_;  // [chunks][groups], merged into the first chunk
};

}  // namespace

Status posterior_float64(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const Execution& execution) {
  return Float64Posterior(kernels, target, request, execution).run();
}

}  // namespace regimes
