#include "prepare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "symmetric_eigen.h"
#include "thread_pool.h"

namespace regimes {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string of_component(int64_t component) { return " of component " + std::to_string(component); }

Status check_length(const char* name, const std::vector<double>& array, int64_t expected) {
  if (static_cast<int64_t>(array.size()) == expected) return {};
  return Status::failure(Code::shape, std::string(name) + " holds " + std::to_string(array.size()) + " numbers, need " +
                                          std::to_string(expected));
}

Status check_finite(const char* name, const std::vector<double>& array, int64_t per_component) {
  for (size_t at = 0; at < array.size(); ++at) {
    if (std::isfinite(array[at])) continue;
    return Status::failure(Code::nonfinite, std::string(name) + of_component(static_cast<int64_t>(at) / per_component) + " is " +
                                                number(array[at]));
  }
  return {};
}

constexpr double largest_entry = 1e150;  // can be squared and summed

Status check_size(const char* name, const std::vector<double>& array, int64_t per_component, double largest) {
  for (size_t at = 0; at < array.size(); ++at) {
    if (std::abs(array[at]) <= largest) continue;
    return Status::failure(Code::range, std::string(name) + of_component(static_cast<int64_t>(at) / per_component) + " is " +
                                            number(array[at]) + ", at most " + number(largest) + " fits the arithmetic. Rescale the target");
  }
  return {};
}

// factor_rows [k, rank, d] from factors [k, d, rank].
void transpose_factors(Covariances& covariances, int64_t k, int64_t d, const Execution& execution) {
  const int64_t rank = covariances.rank;
  covariances.factor_rows.resize(covariances.factors.size());
  for (int64_t component = 0; component < k && !execution.cancelled(); ++component) {
    const double* from = covariances.factors.data() + component * d * rank;
    double* to = covariances.factor_rows.data() + component * d * rank;
    for (int64_t j = 0; j < d; ++j) {
      for (int64_t s = 0; s < rank; ++s) to[s * d + j] = from[j * rank + s];
    }
  }
}

// Variances [k, per_component].
Status check_variances(const std::vector<double>& array, int64_t per_component) {
  Status status = check_finite("a variance", array, per_component);
  if (status.ok()) status = check_size("a variance", array, per_component, largest_entry * largest_entry);
  if (!status.ok()) return status;
  for (size_t at = 0; at < array.size(); ++at) {
    if (array[at] >= 0) continue;
    return Status::failure(Code::not_psd, "variance " + std::to_string(static_cast<int64_t>(at) % per_component) +
                                              of_component(static_cast<int64_t>(at) / per_component) + " is " + number(array[at]) +
                                              ", need >= 0");
  }
  return {};
}

Status decompose(double* matrix, int64_t component, int64_t d, double* eigenvalues, double* eigenvectors, const Execution& execution) {
  double largest = 0;
  for (int64_t at = 0; at < d * d; ++at) largest = std::max(largest, std::abs(matrix[at]));
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      double& lower = matrix[i * d + j];
      double& upper = matrix[j * d + i];
      if (std::abs(lower - upper) > 1e-12 * largest) {
        return Status::failure(Code::domain, "the covariance" + of_component(component) + " is not symmetric: entries [" +
                                                 std::to_string(i) + ", " + std::to_string(j) + "] and [" + std::to_string(j) + ", " +
                                                 std::to_string(i) + "] are " + number(lower) + " and " + number(upper));
      }
      lower = upper = 0.5 * lower + 0.5 * upper;
    }
  }
  Status status = symmetric_eigen(std::vector<double>(matrix, matrix + d * d), d, eigenvalues, eigenvectors, execution);
  if (!status.ok()) return status;
  const double smallest = eigenvalues[0];
  if (smallest < -1e-10 * std::max(eigenvalues[d - 1], 0.0)) {
    return Status::failure(Code::not_psd, "the covariance" + of_component(component) + " has the eigenvalue " + number(smallest) +
                                              " below 0 (the largest is " + number(eigenvalues[d - 1]) + ")");
  }
  for (int64_t j = 0; j < d; ++j) eigenvalues[j] = std::max(eigenvalues[j], 0.0);
  return {};
}

Status prepare_full(Covariances& covariances, int64_t k, int64_t d, const Execution& execution) {
  Status status = check_finite("a covariance entry", covariances.values, d * d);
  if (status.ok()) status = check_size("a covariance entry", covariances.values, d * d, largest_entry);
  if (!status.ok()) return status;
  covariances.eigenvalues.resize(k * d);
  covariances.eigenvectors.resize(k * d * d);
  std::vector<Status> statuses(k);
  // Many components: one thread each. Fewer than threads: all threads on one after the other. The bits are the same.
  const bool across = k >= execution.threads;
  Execution inner = execution;
  if (across) inner.threads = 1;
  ThreadPool pool(across ? execution.threads : 1);
  std::atomic<int64_t> finished{0};
  pool.run(k, [&](int64_t component, int) {
    statuses[component] = decompose(covariances.values.data() + component * d * d, component, d,
                                    covariances.eigenvalues.data() + component * d,
                                    covariances.eigenvectors.data() + component * d * d, inner);
    const int64_t done = finished.fetch_add(1) + 1;
    if (execution.progress) execution.progress(static_cast<double>(done) / static_cast<double>(k));
  });
  for (Status& failed : statuses) {
    if (!failed.ok()) return failed;
  }
  return {};
}

}  // namespace

Status prepare(Covariances& covariances, int64_t k, int64_t d, const Execution& execution) {
  const bool spherical = covariances.type == Covariances::Type::spherical;
  const bool full = covariances.type == Covariances::Type::full;
  const int64_t per_component = spherical ? 1 : full ? d * d : d;
  Status status = check_length(full ? "covariances" : "variances", covariances.values, k * per_component);
  if (!status.ok()) return status;
  if (full) return prepare_full(covariances, k, d, execution);
  if (covariances.type == Covariances::Type::low_rank) {
    status = check_length("factors", covariances.factors, k * d * covariances.rank);
    if (status.ok()) status = check_finite("a factor entry", covariances.factors, std::max<int64_t>(1, d * covariances.rank));
    if (status.ok()) status = check_size("a factor entry", covariances.factors, std::max<int64_t>(1, d * covariances.rank), largest_entry);
    if (!status.ok()) return status;
    transpose_factors(covariances, k, d, execution);
    if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  }
  return check_variances(covariances.values, per_component);
}

}  // namespace regimes
