#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "ordered_sum.h"
#include "row_hash.h"
#include "thread_pool.h"

namespace regimes {
namespace {

struct Extremes {
  double minimum = std::numeric_limits<double>::infinity();
  double maximum = -std::numeric_limits<double>::infinity();
  int64_t nonfinite_count = 0;
  int64_t first_nonfinite = std::numeric_limits<int64_t>::max();  // row-major index
};

// Calls visit(value, index) for the stored values of rows [begin, end).
template <class Visit>
void each_value(const DataView& view, int64_t begin, int64_t end, Visit visit) {
  const auto walk = [&](const auto* stored) {
    for (int64_t at = begin * view.columns; at < end * view.columns; ++at) visit(static_cast<double>(stored[at]), at);
  };
  switch (view.dtype) {
    case Dtype::u8:
      return walk(static_cast<const uint8_t*>(view.stored));
    case Dtype::f16:
      return walk(static_cast<const Half*>(view.stored));
    case Dtype::f32:
      return walk(static_cast<const float*>(view.stored));
    case Dtype::f64:
      return walk(static_cast<const double*>(view.stored));
  }
}

// Two float32 at a time; -0 becomes 0.
template <class Stored>
uint64_t hash_floats(const Stored* stored, int64_t d, uint64_t hash) {
  uint64_t word = 0;
  for (int64_t k = 0; k < d; k += 2) {
    const float pair[2] = {stored[k] + 0.0f, k + 1 < d ? stored[k + 1] + 0.0f : 0.0f};
    std::memcpy(&word, pair, 8);
    hash = mix(hash, word);
  }
  return hash;
}

uint64_t hash_row(const DataView& view, int64_t row) {
  const int64_t begin = row * view.columns;
  const int64_t d = view.columns;
  uint64_t hash = row_hash_seed;
  uint64_t word = 0;
  if (view.dtype == Dtype::f64) {
    const double* stored = static_cast<const double*>(view.stored) + begin;
    for (int64_t k = 0; k < d; ++k) {
      const double value = stored[k] + 0.0;  // -0 becomes 0
      std::memcpy(&word, &value, 8);
      hash = mix(hash, word);
    }
  } else if (view.dtype == Dtype::f32) {
    hash = hash_floats(static_cast<const float*>(view.stored) + begin, d, hash);
  } else if (view.dtype == Dtype::f16) {
    hash = hash_floats(static_cast<const Half*>(view.stored) + begin, d, hash);
  } else {
    hash = hash_bytes(static_cast<const uint8_t*>(view.stored) + begin, d);
  }
  return mix(hash, static_cast<uint64_t>(d));
}

// Equal as numbers, or both the same NaN.
bool equal_rows(const DataView& view, int64_t i, int64_t j) {
  const auto equal = [&](const auto* stored) {
    const auto* x = stored + i * view.columns;
    const auto* y = stored + j * view.columns;
    for (int64_t k = 0; k < view.columns; ++k) {
      if (x[k] != y[k] && std::memcmp(x + k, y + k, sizeof *x) != 0) return false;
    }
    return true;
  };
  switch (view.dtype) {
    case Dtype::u8:
      return equal(static_cast<const uint8_t*>(view.stored));
    case Dtype::f16:
      return equal(static_cast<const Half*>(view.stored));
    case Dtype::f32:
      return equal(static_cast<const float*>(view.stored));
    case Dtype::f64:
      return equal(static_cast<const double*>(view.stored));
  }
  return false;
}

struct HashedRow {
  uint64_t hash;
  int64_t row;
};

// Distinct rows among those of one run of equal hashes (one, but for collisions).
int64_t distinct_in_run(const DataView& view, const HashedRow* begin, const HashedRow* end) {
  std::vector<int64_t> representatives;
  for (const HashedRow* at = begin; at != end; ++at) {
    const auto same = [&](int64_t row) { return equal_rows(view, row, at->row); };
    if (std::none_of(representatives.begin(), representatives.end(), same)) representatives.push_back(at->row);
  }
  return static_cast<int64_t>(representatives.size());
}

// False when cancelled.
bool count_distinct(const DataView& view, const std::vector<uint64_t>& hashes, ThreadPool& pool, const Execution& execution,
                    int64_t& distinct) {
  // Buckets by the top byte of the hash, sorted and searched apart.
  constexpr size_t buckets = 256;
  const auto bucket_of = [](uint64_t hash) { return static_cast<size_t>(hash >> 56); };
  std::vector<int64_t> start(buckets + 1, 0);
  for (const uint64_t hash : hashes) ++start[bucket_of(hash) + 1];
  for (size_t b = 0; b < buckets; ++b) start[b + 1] += start[b];
  std::vector<HashedRow> sorted(hashes.size());
  std::vector<int64_t> next(start.begin(), start.end() - 1);
  for (size_t i = 0; i < hashes.size(); ++i) sorted[next[bucket_of(hashes[i])]++] = {hashes[i], static_cast<int64_t>(i)};

  std::atomic<int64_t> count{0};
  pool.run(buckets, [&](int64_t b, int) {
    HashedRow* begin = sorted.data() + start[b];
    HashedRow* end = sorted.data() + start[b + 1];
    std::sort(begin, end, [](const HashedRow& x, const HashedRow& y) { return x.hash != y.hash ? x.hash < y.hash : x.row < y.row; });
    int64_t found = 0;
    for (HashedRow* run = begin; run != end && !execution.cancelled();) {
      HashedRow* run_end = run + 1;
      while (run_end != end && run_end->hash == run->hash) ++run_end;
      found += run_end - run == 1 ? 1 : distinct_in_run(view, run, run_end);
      run = run_end;
    }
    count += found;
  });
  distinct = count;
  return !execution.cancelled();
}

}  // namespace

Status statistics(const DataView& view, const Execution& execution, Statistics& result) {
  const Status cancelled = Status::failure(Code::cancelled, "");
  const auto report = [&](double fraction) {
    if (execution.progress) execution.progress(fraction);
  };
  result = Statistics{};
  ThreadPool pool(execution.threads);

  // First pass: extremes and hashes, in tasks of about a megabyte of values.
  const int64_t grain = std::clamp<int64_t>((int64_t{1} << 17) / std::max<int64_t>(1, view.columns), 1, chunk_rows);
  std::vector<uint64_t> hashes(view.rows);
  std::vector<Extremes> seen(pool.size());
  pool.run((view.rows + grain - 1) / grain, [&](int64_t task, int worker) {
    if (execution.cancelled()) return;
    const int64_t begin = task * grain;
    const int64_t end = std::min(begin + grain, view.rows);
    Extremes own = seen[worker];
    each_value(view, begin, end, [&](double value, int64_t at) {
      if (!std::isfinite(value)) {
        ++own.nonfinite_count;
        own.first_nonfinite = std::min(own.first_nonfinite, at);
        return;
      }
      own.minimum = std::min(own.minimum, value);
      own.maximum = std::max(own.maximum, value);
    });
    seen[worker] = own;
    for (int64_t row = begin; row < end; ++row) hashes[row] = hash_row(view, row);
  });
  if (execution.cancelled()) return cancelled;
  report(0.5);
  Extremes all;
  for (const Extremes& own : seen) {
    all.minimum = std::min(all.minimum, own.minimum);
    all.maximum = std::max(all.maximum, own.maximum);
    all.nonfinite_count += own.nonfinite_count;
    all.first_nonfinite = std::min(all.first_nonfinite, own.first_nonfinite);
  }
  if (!count_distinct(view, hashes, pool, execution, result.distinct_rows)) return cancelled;
  report(0.7);
  if (all.nonfinite_count > 0) {
    result.nonfinite_count = all.nonfinite_count;
    result.nonfinite_row = all.first_nonfinite / view.columns;
    result.nonfinite_column = all.first_nonfinite % view.columns;
  }
  const int64_t finite = view.rows * view.columns - all.nonfinite_count;
  if (finite == 0) return {};
  result.minimum = all.minimum;
  result.maximum = all.maximum;

  // Second pass: sum about the minimum, which makes a constant data set exact. Third: squares about the mean, and the rest of the
  // mean. A power of two brings the spread to order 1, so that no square overflows or underflows.
  const double half_range = 0.5 * all.maximum - 0.5 * all.minimum;
  const double size = half_range > 0 ? half_range : std::abs(all.maximum);
  const int exponent = size > 0 ? std::max(std::ilogb(size), -1000) : 0;
  const double gain = std::ldexp(1.0, -exponent);
  const auto moments = [&](double centre, int64_t width, double* total) {
    return ordered_sum(pool, execution, view.rows, grain, width, total, [&](int64_t begin, int64_t end, int, double* partial) {
      for (int64_t row = begin; row < end; ++row) {
        double first = 0;
        double second = 0;
        each_value(view, row, row + 1, [&](double value, int64_t) {
          if (!std::isfinite(value)) return;
          const double x = value * gain - centre;
          first += x;
          second += x * x;
        });
        partial[0] += first;
        if (width == 2) partial[1] += second;
      }
    });
  };
  const double count = static_cast<double>(finite);
  double sum = 0;
  if (!moments(all.minimum * gain, 1, &sum)) return cancelled;
  report(0.85);
  const double rough = all.minimum * gain + sum / count;
  double sums[2] = {0, 0};
  if (!moments(rough, 2, sums)) return cancelled;
  const double correction = sums[0] / count;
  result.mean = std::ldexp(rough + correction, exponent);
  result.variance = std::ldexp(std::max(0.0, sums[1] / count - correction * correction), 2 * exponent);
  if (!std::isfinite(result.variance)) {
    char text[96];
    std::snprintf(text, sizeof text, "the variance of values between %.6g and %.6g exceeds float64", all.minimum, all.maximum);
    return Status::failure(Code::range, text);
  }
  report(1);
  return {};
}

}  // namespace regimes
