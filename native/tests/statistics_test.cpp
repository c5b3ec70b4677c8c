// Statistics of stored values: moments, extremes, non-finite entries, distinct rows.
#include <vector>

#include "../core/philox.h"
#include "../core/statistics.h"
#include "check.h"

using namespace regimes;

namespace {

using Matrix = std::vector<double>;

Execution with_threads(int threads) {
  Execution execution;
  execution.threads = threads;
  return execution;
}

template <class Stored>
Statistics statistics_of(const std::vector<Stored>& values, int64_t columns, Dtype dtype, int threads = 2) {
  Statistics result;
  const auto rows = static_cast<int64_t>(values.size()) / columns;
  CHECK(statistics({values.data(), rows, columns, dtype, 1, 0}, with_threads(threads), result).ok());
  return result;
}

void statistics_of_small_sets_are_exact() {
  const Statistics bytes = statistics_of(std::vector<uint8_t>{0, 1, 2, 3, 255, 5, 0, 1, 2}, 3, Dtype::u8);
  CHECK(bytes.minimum == 0 && bytes.maximum == 255 && bytes.distinct_rows == 2);
  CHECK_NEAR(bytes.mean, 269.0 / 9, 1e-13);
  CHECK_NEAR(bytes.variance, 65069.0 / 9 - 269.0 * 269.0 / 81, 1e-11);
  CHECK(bytes.nonfinite_count == 0 && bytes.nonfinite_row == -1 && bytes.nonfinite_column == -1);

  const double nan = std::nan("");
  const Statistics mixed = statistics_of(Matrix{1, 2, nan, 4, 5, HUGE_VAL, 1, 2, nan}, 3, Dtype::f64);
  CHECK(mixed.nonfinite_count == 3 && mixed.nonfinite_row == 0 && mixed.nonfinite_column == 2);
  CHECK(mixed.minimum == 1 && mixed.maximum == 5 && mixed.mean == 2.5 && mixed.distinct_rows == 2);
  CHECK_NEAR(mixed.variance, 2.25, 1e-15);
  const Statistics nothing = statistics_of(Matrix{nan, nan}, 1, Dtype::f64);
  CHECK(nothing.nonfinite_count == 2 && nothing.mean == 0 && nothing.variance == 0 && nothing.minimum == 0);

  CHECK(statistics_of(Matrix{0.0, -0.0, 1e-300}, 1, Dtype::f64).distinct_rows == 2);
  CHECK(statistics_of(std::vector<float>{0.0f, 1.0f, -0.0f, 1.0f, 0.0f, -1.0f, 2, 3}, 2, Dtype::f32).distinct_rows == 3);
  const Statistics constant = statistics_of(std::vector<float>(5000, 0.1f), 5, Dtype::f32);
  CHECK(constant.mean == static_cast<double>(0.1f) && constant.variance == 0 && constant.distinct_rows == 1);
}

void statistics_survive_offsets_and_scales() {
  Matrix values(4000);
  for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<double>(k % 2);
  for (const double offset : {0.0, 1e12, -1e15}) {
    Matrix shifted = values;
    for (double& value : shifted) value += offset;
    const Statistics result = statistics_of(shifted, 4, Dtype::f64);
    CHECK(result.mean == 0.5 + offset);
    CHECK_NEAR(result.variance, 0.25, 1e-15);
  }
  for (const double scale : {1e-153, 1e153, 1e-170}) {
    Matrix scaled = values;
    for (double& value : scaled) value *= scale;
    const Statistics result = statistics_of(scaled, 4, Dtype::f64);
    CHECK_NEAR(result.mean / scale, 0.5, 1e-15);
    // 4000 additions of 2^-53 each.
    if (scale > 1e-160) CHECK_NEAR(result.variance / scale / scale, 0.25, 1e-13);
  }
  const Matrix huge = {-1.7e308, 1.7e308};
  Statistics result;
  CHECK(statistics({huge.data(), 1, 2, Dtype::f64, 1, 0}, with_threads(1), result).code == Code::range);
  CHECK(result.minimum == -1.7e308 && result.maximum == 1.7e308);
}

void duplicates_are_counted_exactly() {
  const int64_t n = 30000, d = 11;
  std::vector<uint8_t> rows(n * d);
  for (int64_t i = 0; i < n; ++i) {
    const auto source = static_cast<uint32_t>(i % 3 == 0 ? i / 6 : 100000 + i);  // 5000 rows twice, 20000 once
    for (int64_t k = 0; k < d; ++k) {
      rows[i * d + k] = static_cast<uint8_t>(philox4x32({source, 0, 0, static_cast<uint32_t>(k)}, {1, 2})[0]);
    }
  }
  CHECK(statistics_of(rows, d, Dtype::u8).distinct_rows == 25000);
}

template <class Stored>
void check_threads(const std::vector<Stored>& stored, Dtype dtype) {
  const Statistics one = statistics_of(stored, 23, dtype, 1);
  for (const int threads : {2, 3}) {
    const Statistics other = statistics_of(stored, 23, dtype, threads);
    CHECK(one.mean == other.mean && one.variance == other.variance && one.distinct_rows == other.distinct_rows);
    CHECK(one.minimum == other.minimum && one.maximum == other.maximum && one.nonfinite_row == other.nonfinite_row);
  }
}

void bits_do_not_depend_on_threads() {
  Matrix doubles(90000 * 23);
  normals(1, 0, step_noise, static_cast<int64_t>(doubles.size()), doubles.data());
  check_threads(doubles, Dtype::f64);
  doubles[1234567] = doubles[765432] = std::nan("");
  check_threads(std::vector<float>(doubles.begin(), doubles.end()), Dtype::f32);
}

void a_stopped_job_is_cancelled() {
  const Matrix values(1000, 1.0);
  std::atomic<bool> stop{true};
  Execution execution = with_threads(2);
  execution.stop = &stop;
  Statistics result;
  CHECK(statistics({values.data(), 100, 10, Dtype::f64, 1, 0}, execution, result).code == Code::cancelled);
}

}  // namespace

int main() {
  statistics_of_small_sets_are_exact();
  statistics_survive_offsets_and_scales();
  duplicates_are_counted_exactly();
  bits_do_not_depend_on_threads();
  a_stopped_job_is_cancelled();
  return check::summary();
}
