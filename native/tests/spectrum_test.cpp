// The symmetric eigensolver, spectrum and project, each against a naive sum or a known answer. Long, because all share the naive
// covariance below.
//   spectrum_test [digits.csv]     the unpacked digits (64 pixels and a label per row) add a check on real data
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "../core/krylov.h"
#include "../core/philox.h"
#include "../core/prepare.h"
#include "../core/spectrum.h"
#include "../core/symmetric_eigen.h"
#include "check.h"

using namespace regimes;

namespace {

using Matrix = std::vector<double>;

Execution with_threads(int threads) {
  Execution execution;
  execution.threads = threads;
  return execution;
}

Matrix normal_matrix(uint64_t seed, int64_t rows, int64_t columns) {
  Matrix result(rows * columns);
  for (int64_t i = 0; i < rows; ++i) normals(seed, static_cast<uint64_t>(i), step_noise, columns, result.data() + i * columns);
  return result;
}

double largest(const Matrix& values) {
  double result = 0;
  for (const double value : values) result = std::max(result, std::abs(value));
  return result;
}

double largest_difference(const Matrix& x, const Matrix& y) {
  if (x.size() != y.size()) return HUGE_VAL;
  double result = 0;
  for (size_t k = 0; k < x.size(); ++k) result = std::max(result, std::abs(x[k] - y[k]));
  return result;
}

// ---- symmetric_eigen

void check_decomposition(const Matrix& matrix, int64_t n) {
  Matrix values(n), vectors(n * n), alone(n);
  CHECK(symmetric_eigen(matrix, n, values.data(), vectors.data(), with_threads(2)).ok());
  CHECK(symmetric_eigen(matrix, n, alone.data(), nullptr).ok());
  CHECK(values == alone);
  CHECK(std::is_sorted(values.begin(), values.end()));
  // Backward error c n u |A|, with c = 4 in place of the c of order 1 to 10 of the proofs.
  const double tolerance = 4 * static_cast<double>(n) * 0x1p-53;
  const double scale = std::max(std::abs(values.front()), std::abs(values.back()));
  double residual = 0, overlap = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double* u = vectors.data() + j * n;
    for (int64_t i = 0; i < n; ++i) {
      double product = 0, inner = 0;
      for (int64_t k = 0; k < n; ++k) {
        product += matrix[i * n + k] * u[k];
        inner += vectors[i * n + k] * u[k];
      }
      residual = std::max(residual, std::abs(product - values[j] * u[i]));
      overlap = std::max(overlap, std::abs(inner - (i == j ? 1 : 0)));
    }
  }
  CHECK_NEAR(residual, 0, tolerance * scale);
  CHECK_NEAR(overlap, 0, tolerance);
}

Matrix symmetric(uint64_t seed, int64_t n) {
  Matrix result = normal_matrix(seed, n, n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) result[j * n + i] = result[i * n + j];
  }
  return result;
}

void matrices_are_diagonalised() {
  for (const int64_t n : {1, 2, 3, 4, 5, 8, 17, 64, 150, 260}) check_decomposition(symmetric(1, n), n);
  Matrix diagonal(49, 0.0);
  for (int64_t i = 0; i < 7; ++i) diagonal[8 * i] = static_cast<double>(i * i % 5);  // 0 1 4 4 1 0 1
  check_decomposition(diagonal, 7);
  check_decomposition(Matrix(36, 1.0), 6);  // rank one
  check_decomposition(Matrix(36, 0.0), 6);
  for (const double scale : {1e-300, 1e-160, 1e160, 1e300}) {
    Matrix scaled = symmetric(2, 12);
    for (double& entry : scaled) entry *= scale;
    check_decomposition(scaled, 12);
  }
  // Graded over 240 decades, both ways: rows whose squares underflow.
  for (const int direction : {1, -1}) {
    Matrix graded = symmetric(3, 20);
    for (int64_t i = 0; i < 20; ++i) {
      for (int64_t j = 0; j < 20; ++j) graded[i * 20 + j] *= std::pow(10.0, direction * 6.0 * static_cast<double>(i + j - 19));
    }
    check_decomposition(graded, 20);
  }
  // A row so small that its squares lose their digits.
  Matrix faint = symmetric(4, 6);
  for (int64_t j = 0; j < 5; ++j) faint[30 + j] = faint[6 * j + 5] = 1e-160 * (1 + 0.3 * static_cast<double>(j));
  check_decomposition(faint, 6);
  // Wilkinson's W21+: pairs of eigenvalues that agree to 14 digits.
  Matrix wilkinson(21 * 21, 0.0);
  for (int64_t i = 0; i < 21; ++i) {
    wilkinson[22 * i] = std::abs(static_cast<double>(i) - 10);
    if (i > 0) wilkinson[22 * i - 1] = wilkinson[22 * i - 21] = 1;
  }
  check_decomposition(wilkinson, 21);
  Matrix values(21);
  CHECK(symmetric_eigen(wilkinson, 21, values.data(), nullptr).ok());
  CHECK_NEAR(values[20], 10.746194182903393, 1e-13);  // Wilkinson, The Algebraic Eigenvalue Problem, p. 309
  CHECK_NEAR(values[19], 10.746194182903322, 1e-13);

  // Half of the eigenvalues are zero, to rounding: off-diagonals never get below their own diagonal's.
  for (int64_t seed = 0; seed < (check::sanitized ? 5 : 60); ++seed) {
    const int64_t n = 150, rank = 4 + seed % 4;
    const Matrix random = symmetric(100 + seed, n);
    Matrix flat(n * n), spread(n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = i == j ? static_cast<double>(1 - i % 2) : 0;
        for (int64_t l = 0; l < rank; ++l) sum += std::rint(2 * random[l * n + i]) * std::rint(2 * random[l * n + j]) / 4;
        flat[i * n + j] = sum;
      }
    }
    CHECK(symmetric_eigen(flat, n, spread.data(), nullptr).ok());
  }

  Matrix one(260), two(260), vectors_one(260 * 260), vectors_two(260 * 260);
  const Matrix matrix = symmetric(1, 260);
  CHECK(symmetric_eigen(matrix, 260, one.data(), vectors_one.data(), with_threads(1)).ok());
  CHECK(symmetric_eigen(matrix, 260, two.data(), vectors_two.data(), with_threads(3)).ok());
  CHECK(one == two && vectors_one == vectors_two);

  CHECK(symmetric_eigen({1, 0, std::nan(""), 1}, 2, values.data(), nullptr).code == Code::nonfinite);
  CHECK(symmetric_eigen({HUGE_VAL}, 1, values.data(), nullptr).code == Code::nonfinite);
}

// ---- naive covariance

struct Rows {
  Matrix values;
  int64_t n = 0;
  int64_t d = 0;
  std::vector<int32_t> classes;
  int32_t class_count = 0;
  Matrix log_weights;

  Target target() const {
    Target result;
    result.n = n;
    result.d = d;
    result.points = {values.data(), n, d, Dtype::f64, 1, 0};
    if (!classes.empty()) result.classes = classes.data();
    result.class_count = class_count;
    if (!log_weights.empty()) result.log_weights = log_weights.data();
    return result;
  }
};

Rows normal_rows(uint64_t seed, int64_t n, int64_t d) { return {normal_matrix(seed, n, d), n, d, {}, 0, {}}; }

// (1/divisor) sum_i w_i (y_i - c_i)(y_i - c_i)^T in extended precision, centres from the class means if `within`.
Matrix naive_covariance(const Rows& rows, const std::vector<long double>& weights, bool within, long double divisor) {
  const int64_t d = rows.d;
  const int64_t groups = within ? rows.class_count : 1;
  const auto group = [&](int64_t i) { return within ? rows.classes[i] : 0; };
  std::vector<long double> mass(groups, 0), mean(groups * d, 0), sum(d * d, 0);
  for (int64_t i = 0; i < rows.n; ++i) mass[group(i)] += weights[i];
  for (int64_t i = 0; i < rows.n; ++i) {
    for (int64_t k = 0; k < d; ++k) mean[group(i) * d + k] += weights[i] * rows.values[i * d + k] / mass[group(i)];
  }
  for (int64_t i = 0; i < rows.n; ++i) {
    for (int64_t j = 0; j < d; ++j) {
      for (int64_t k = 0; k < d; ++k) {
        const long double left = rows.values[i * d + j] - mean[group(i) * d + j];
        sum[j * d + k] += weights[i] * left * (rows.values[i * d + k] - mean[group(i) * d + k]);
      }
    }
  }
  Matrix result(d * d);
  for (int64_t at = 0; at < d * d; ++at) result[at] = static_cast<double>(sum[at] / divisor);
  return result;
}

Matrix descending_eigenvalues(const Matrix& matrix, int64_t d) {
  Matrix values(d);
  CHECK(symmetric_eigen(matrix, d, values.data(), nullptr).ok());
  std::reverse(values.begin(), values.end());
  return values;
}

SpectrumResult spectrum_of(const Target& target, const SpectrumRequest& request, int threads = 2) {
  SpectrumResult result;
  CHECK(spectrum(target, request, with_threads(threads), result).ok());
  return result;
}

SpectrumRequest leading(int64_t count, double tolerance = 1e-12) {
  SpectrumRequest request;
  request.count = count;
  request.tolerance = tolerance;
  return request;
}

SpectrumRequest complete() {
  SpectrumRequest request;
  request.complete = true;
  return request;
}

// Leading pairs of a target against its exact covariance: values, residuals with the returned vectors, trace.
void check_against(const Target& target, SpectrumRequest request, const Matrix& covariance) {
  const int64_t d = target.d;
  const Matrix expected = descending_eigenvalues(covariance, d);
  double trace = 0;
  for (int64_t k = 0; k < d; ++k) trace += covariance[k * d + k];
  const SpectrumResult result = spectrum_of(target, request);
  const auto count = static_cast<int64_t>(result.eigenvalues.size());
  CHECK(count == std::min(request.count, d));
  const double tolerance = 2 * request.tolerance * expected[0];
  CHECK_NEAR(result.trace, trace, 1e-13 * trace);
  for (int64_t j = 0; j < count; ++j) {
    CHECK_NEAR(result.eigenvalues[j], expected[j], tolerance);
    CHECK(result.residuals[j] <= tolerance);
    const double* u = result.vectors.data() + j * d;
    double residual = 0;
    for (int64_t i = 0; i < d; ++i) {
      double product = 0;
      for (int64_t k = 0; k < d; ++k) product += covariance[i * d + k] * u[k];
      residual += (product - result.eigenvalues[j] * u[i]) * (product - result.eigenvalues[j] * u[i]);
    }
    CHECK_NEAR(std::sqrt(residual), 0, tolerance);
    for (int64_t i = 0; i <= j; ++i) {
      double inner = 0;
      for (int64_t k = 0; k < d; ++k) inner += result.vectors[i * d + k] * u[k];
      CHECK_NEAR(inner, i == j ? 1 : 0, 1e-13);
    }
  }
  request.complete = true;
  const SpectrumResult all = spectrum_of(target, request);
  const bool points = target.kind == Target::Kind::points;
  CHECK(static_cast<int64_t>(all.eigenvalues.size()) == (points ? std::min(target.n - 1, d) : d));
  for (size_t j = 0; j < all.eigenvalues.size(); ++j) CHECK_NEAR(all.eigenvalues[j], expected[j], 1e-12 * expected[0]);
}

// ---- known answers

// Case spec-lambda-12x6 of the reference values (mpmath).
void reference_case_has_its_eigenvalues() {
  const std::vector<int> table = {-5, -2, 1, 4,  -4, -1, 2,  -5, -1, 3,  -4, 0,  -2, 3,  -3, 2,  -4, 1,  5, 0, -5, 1, -4, 2,
                                  1,  -3, 4, 0,  -4, 3,  -3, 5,  2,  -1, -4, 4,  4,  2,  0,  -2, -4, 5,  0, -1, -2, -3, -4, -5,
                                  -4, -4, -4, -4, -4, -4, 3, 4,  5,  -5, -4, -3, -1, 1,  3,  5,  -4, -2, -5, -2, 1, 4, -4, -1};
  const Matrix expected = {18.177663291579435, 13.212827517134734, 11.26232515691855, 7.113516239354352, 4.150334461679595, 0};
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  Matrix doubles;
  for (const int value : table) {
    bytes.push_back(static_cast<uint8_t>(value + 5));
    floats.push_back(static_cast<float>(value) / 4);
    doubles.push_back(value);
  }
  for (const DataView& view : {DataView{bytes.data(), 12, 6, Dtype::u8, 1, -5}, DataView{floats.data(), 12, 6, Dtype::f32, 4, 0},
                               DataView{doubles.data(), 12, 6, Dtype::f64, 1, 1e6}}) {
    Target target;
    target.n = 12;
    target.d = 6;
    target.points = view;
    for (const SpectrumRequest& request : {leading(6), complete()}) {
      const SpectrumResult result = spectrum_of(target, request);
      CHECK(largest_difference(result.eigenvalues, expected) < 1e-12);
      double sum = 0;
      for (const double value : expected) sum += value;
      CHECK_NEAR(result.trace, sum, 1e-12);
    }
  }
}

// Rows +-s_j e_j have the covariance diag(2 s_j^2 / (2d - 1)): exact eigenvalues with exact multiplicities, and Krylov spaces that
// break down early.
void repeated_eigenvalues_are_all_found() {
  const auto axis_rows = [](const Matrix& squares) {
    const auto d = static_cast<int64_t>(squares.size());
    Rows rows{Matrix(2 * d * d, 0.0), 2 * d, d, {}, 0, {}};
    for (int64_t j = 0; j < d; ++j) {
      rows.values[2 * j * d + j] = std::sqrt(squares[j]);
      rows.values[(2 * j + 1) * d + j] = -std::sqrt(squares[j]);
    }
    return rows;
  };
  const auto check = [&](const Matrix& squares, int64_t count) {
    const Rows rows = axis_rows(squares);
    const SpectrumResult result = spectrum_of(rows.target(), leading(count));
    Matrix expected = squares;
    std::sort(expected.rbegin(), expected.rend());
    expected.resize(count);
    for (double& value : expected) value *= 2 / static_cast<double>(2 * rows.d - 1);
    CHECK(largest_difference(result.eigenvalues, expected) < 1e-12 * expected[0]);
  };
  check({4, 4, 4, 4, 4, 1, 1, 1, 9, 0.5, 0.25, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 7);
  check({1, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0}, 6);
  check(Matrix(20, 1.0), 6);
  check(Matrix(20, 1.0), 20);
  Matrix many(60, 1.0);
  std::fill(many.begin() + 7, many.begin() + 30, 3.0);
  check(many, 25);
  check(many, 40);
  // More copies than the block is wide: the space becomes invariant without all of them, and random directions go on.
  Matrix copies(100, 3.0);
  std::fill(copies.begin(), copies.begin() + 20, 1.0);
  check(copies, 90);
  Matrix separate(40);
  for (size_t j = 0; j < 40; ++j) separate[j] = static_cast<double>(j < 36 ? 1 : 2 + j / 38);  // two pairs above a bulk
  check(separate, 5);
}

void leading_pairs_match_the_dense_solver() {
  for (const auto& [n, d] : std::vector<std::array<int64_t, 2>>{{50, 7}, {5, 40}, {40, 40}, {41, 40}, {2, 3}, {300, 1}, {3000, 33}}) {
    Rows rows = normal_rows(static_cast<uint64_t>(n), n, d);
    for (int64_t at = 0; at < n * d; ++at) rows.values[at] = rows.values[at] * (1 + static_cast<double>(at % d)) + 10;
    const Matrix covariance = naive_covariance(rows, std::vector<long double>(n, 1), false, n - 1);
    check_against(rows.target(), leading(6), covariance);
  }
}

// A flat spectrum in more dimensions than the basis holds: thick restarts.
void restarts_reach_the_tolerance() {
  const Rows rows = normal_rows(77, 450, 500);
  SpectrumResult dense = spectrum_of(rows.target(), complete());
  const SpectrumResult result = spectrum_of(rows.target(), leading(60));
  CHECK(dense.eigenvalues.size() == 449);
  dense.eigenvalues.resize(60);
  CHECK(largest_difference(result.eigenvalues, dense.eigenvalues) < 1e-12 * dense.eigenvalues[0]);
  CHECK(largest(result.residuals) <= 1e-12 * dense.eigenvalues[0]);
  CHECK(result.ritz_values.size() < 400);
}

void degenerate_data_have_eigenvalue_zero() {
  const auto check_zero = [](const Rows& rows) {
    for (const int64_t count : {1, 6}) {
      const SpectrumResult result = spectrum_of(rows.target(), leading(count));
      CHECK(static_cast<int64_t>(result.eigenvalues.size()) == std::min(count, rows.d));
      CHECK(largest(result.eigenvalues) == 0 && largest(result.residuals) == 0 && result.trace == 0);
      CHECK(largest(result.projection_deviation) == 0);
      CHECK(std::equal(result.mean.begin(), result.mean.end(), rows.values.begin()));
    }
    const SpectrumResult result = spectrum_of(rows.target(), complete());
    CHECK(static_cast<int64_t>(result.eigenvalues.size()) == std::min(rows.n - 1, rows.d));
    CHECK(largest(result.eigenvalues) == 0);
  };
  check_zero(normal_rows(5, 1, 9));
  check_zero({Matrix(10000 * 3, 0.1), 10000, 3, {}, 0, {}});
  check_zero({Matrix(3 * 50, 1e140), 3, 50, {}, 0, {}});
}

void extreme_scales_and_offsets_keep_their_digits() {
  const Rows rows = normal_rows(6, 400, 5);
  const Matrix expected = descending_eigenvalues(naive_covariance(rows, std::vector<long double>(400, 1), false, 399), 5);
  for (const double scale : {0x1p-490, 0x1p490}) {
    Rows scaled = rows;
    for (double& value : scaled.values) value *= scale;
    for (const SpectrumRequest& request : {leading(5), complete()}) {
      const SpectrumResult result = spectrum_of(scaled.target(), request);
      for (int j = 0; j < 5; ++j) CHECK_NEAR(result.eigenvalues[j] / scale / scale, expected[j], 1e-13 * expected[0]);
    }
  }
  // Rows rounded to multiples of 2^-20, so that adding 2^32 is exact.
  Rows exact = rows;
  for (double& value : exact.values) value = std::round(value * 0x1p20) * 0x1p-20;
  Rows shifted = exact;
  for (double& value : shifted.values) value += 0x1p32;
  const SpectrumResult plain = spectrum_of(exact.target(), leading(5));
  const SpectrumResult offset = spectrum_of(shifted.target(), leading(5));
  CHECK(largest_difference(plain.eigenvalues, offset.eigenvalues) < 1e-13 * plain.eigenvalues[0]);
  Rows wide = rows;
  for (double& value : wide.values) value *= 1e160;
  SpectrumResult result;
  CHECK(spectrum(wide.target(), leading(2), with_threads(1), result).code == Code::range);
}

// Nearly dependent rows, nearly in the space already: what is kept is orthonormal all the same.
void krylov_bases_stay_orthonormal() {
  const Rows rows = normal_rows(8, 100, 30);
  const Execution execution = with_threads(2);
  ThreadPool pool(2);
  Moments moments;
  CHECK(compute_moments(rows.target(), false, pool, execution, moments).ok());
  const Target target = rows.target();
  const Covariance covariance(target, moments, pool, execution);
  KrylovSpace space(covariance, 20, pool, execution);
  const int64_t stride = space.stride();
  Matrix block(4 * stride);
  space.fill_random(block, 0, 4);
  CHECK(space.append(block, 4));
  const Matrix noise = normal_matrix(81, 5, 30);
  Matrix candidates(5 * stride, 0.0);
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t k = 0; k < 30; ++k) {
      const double shared = noise[k] + 10 * space.basis(0)[k];
      candidates[i * stride + k] = i == 4 ? 2 * shared : shared + (i == 0 ? 0 : 1e-9 * noise[30 * i + k]);
    }
  }
  CHECK(space.orthonormalise(candidates, 5, 1e-13) == 4);  // the fifth is a multiple of the first
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      double inner = 0, with_basis = 0;
      for (int64_t k = 0; k < stride; ++k) {
        inner += candidates[i * stride + k] * candidates[j * stride + k];
        with_basis += candidates[i * stride + k] * space.basis(j)[k];
      }
      CHECK_NEAR(inner, i == j ? 1 : 0, 1e-14);
      CHECK_NEAR(with_basis, 0, 1e-14);
    }
  }
}

// ---- weights and classes

Rows labelled_rows() {
  Rows rows = normal_rows(9, 240, 6);
  rows.class_count = 5;  // class 3 stays empty
  for (int64_t i = 0; i < rows.n; ++i) {
    const int32_t c = static_cast<int32_t>(i % 7 < 3 ? 0 : i % 7 < 5 ? 1 : i % 7 == 5 ? 2 : 4);
    rows.classes.push_back(c);
    for (int64_t k = 0; k < rows.d; ++k) rows.values[i * rows.d + k] *= 0.5 + static_cast<double>(k);
    rows.values[i * rows.d + c] += 2;
  }
  return rows;
}

void weights_act_as_reliabilities() {
  Rows rows = labelled_rows();
  std::vector<long double> weights(rows.n);
  long double total = 0, squares = 0;
  for (int64_t i = 0; i < rows.n; ++i) total += weights[i] = i % 11 == 0 ? 0 : 1 + i % 5;
  std::vector<long double> class_mass(5, 0), class_squares(5, 0);
  for (int64_t i = 0; i < rows.n; ++i) {
    weights[i] /= total;
    squares += weights[i] * weights[i];
    class_mass[rows.classes[i]] += weights[i];
    class_squares[rows.classes[i]] += weights[i] * weights[i];
    rows.log_weights.push_back(weights[i] > 0 ? std::log(static_cast<double>(weights[i])) : no_weight);
  }
  check_against(rows.target(), leading(6), naive_covariance(rows, weights, false, 1 - squares));
  long double freedom = 0;
  for (int c = 0; c < 5; ++c) freedom += class_mass[c] > 0 ? class_mass[c] - class_squares[c] / class_mass[c] : 0;
  SpectrumRequest within = leading(6);
  within.within = true;
  check_against(rows.target(), within, naive_covariance(rows, weights, true, freedom));

  Rows wide = normal_rows(10, 6, 20);
  const std::vector<long double> few = {0.5L, 0.25L, 0.0625L, 0.0625L, 0.125L, 0};
  for (const long double weight : few) wide.log_weights.push_back(weight > 0 ? std::log(static_cast<double>(weight)) : no_weight);
  check_against(wide.target(), leading(6), naive_covariance(wide, few, false, 1 - 0.3359375L));

  // Equal weights are no weights.
  const SpectrumResult uniform = spectrum_of(labelled_rows().target(), leading(6));
  std::fill(rows.log_weights.begin(), rows.log_weights.end(), -std::log(240.0));
  const SpectrumResult equal = spectrum_of(rows.target(), leading(6));
  CHECK(largest_difference(uniform.eigenvalues, equal.eigenvalues) < 1e-13 * uniform.eigenvalues[0]);
  CHECK(largest_difference(uniform.projection_deviation, equal.projection_deviation) < 1e-12 * uniform.eigenvalues[0]);
}

void within_class_covariance_is_pooled() {
  const Rows rows = labelled_rows();
  SpectrumRequest within = leading(6);
  within.within = true;
  check_against(rows.target(), within, naive_covariance(rows, std::vector<long double>(rows.n, 1), true, rows.n - 4));
  SpectrumResult result;
  CHECK(spectrum(normal_rows(1, 5, 2).target(), within, with_threads(1), result).code == Code::shape);
}

// v^T (C + s)^-1 v for differences v of class means, from the Ritz values and coordinates, against a dense solve.
void check_class_coordinates(const Rows& rows, const Matrix& covariance, bool within) {
  const int64_t d = rows.d;
  SpectrumRequest request = leading(2);
  request.within = within;
  request.class_means = true;
  const SpectrumResult result = spectrum_of(rows.target(), request);
  const auto m = static_cast<int64_t>(result.ritz_values.size());
  CHECK(static_cast<int64_t>(result.class_coordinates.size()) == rows.class_count * m);
  CHECK(static_cast<int64_t>(result.ritz_vectors.size()) == m * d);
  Matrix means(rows.class_count * d, 0.0);
  for (int32_t c = 0; c < rows.class_count; ++c) {
    const auto members = static_cast<double>(std::count(rows.classes.begin(), rows.classes.end(), c));
    CHECK_NEAR(result.class_fractions[c], members / static_cast<double>(rows.n), 1e-15);
    for (int64_t i = 0; i < rows.n; ++i) {
      for (int64_t k = 0; k < d && rows.classes[i] == c; ++k) means[c * d + k] += rows.values[i * d + k] / members;
    }
    // The coordinates are those of m_c - m in the orthonormal Ritz vectors.
    for (int64_t k = 0; k < d && members > 0; ++k) {
      double component = 0;
      for (int64_t j = 0; j < m; ++j) component += result.class_coordinates[c * m + j] * result.ritz_vectors[j * d + k];
      CHECK_NEAR(component, means[c * d + k] - result.mean[k], 1e-12);
    }
  }
  Matrix values(d), vectors(d * d);
  CHECK(symmetric_eigen(covariance, d, values.data(), vectors.data()).ok());
  for (const double shift : {1e-3 * values[d - 1], values[d - 1], 100 * values[d - 1]}) {
    for (int32_t c = 0; c < rows.class_count; ++c) {
      for (int32_t e = 0; e < c; ++e) {
        if (result.class_fractions[c] == 0 || result.class_fractions[e] == 0) continue;
        double expected = 0, actual = 0;
        for (int64_t j = 0; j < d; ++j) {
          double along = 0;
          for (int64_t k = 0; k < d; ++k) along += vectors[j * d + k] * (means[c * d + k] - means[e * d + k]);
          expected += along * along / (values[j] + shift);
        }
        for (int64_t j = 0; j < m; ++j) {
          const double along = result.class_coordinates[c * m + j] - result.class_coordinates[e * m + j];
          actual += along * along / (result.ritz_values[j] + shift);
        }
        CHECK_NEAR(actual, expected, 1e-9 * expected);
      }
    }
  }
}

void class_means_span_an_accurate_space() {
  const Rows rows = labelled_rows();
  const std::vector<long double> ones(rows.n, 1);
  check_class_coordinates(rows, naive_covariance(rows, ones, true, rows.n - 4), true);
  check_class_coordinates(rows, naive_covariance(rows, ones, false, rows.n - 1), false);
  // d smaller than two blocks, and d larger than the space.
  for (const int64_t d : {2, 5, 120}) {
    Rows other = normal_rows(12, 400, d);
    other.class_count = 4;
    for (int64_t i = 0; i < other.n; ++i) {
      other.classes.push_back(static_cast<int32_t>(i % 4));
      for (int64_t k = 0; k < d; ++k) other.values[i * d + k] *= 1 + 0.1 * static_cast<double>(k);
      other.values[i * d + i % 2] += static_cast<double>(i % 4);
    }
    check_class_coordinates(other, naive_covariance(other, std::vector<long double>(400, 1), true, 396), true);
  }
  // One class: its mean is the mean, the space is empty.
  Rows single = normal_rows(13, 30, 4);
  single.classes.assign(30, 0);
  single.class_count = 1;
  SpectrumRequest request = leading(2);
  request.class_means = true;
  const SpectrumResult result = spectrum_of(single.target(), request);
  CHECK(result.ritz_values.empty() && result.eigenvalues.empty() && result.class_coordinates.empty());
  CHECK(result.class_fractions == Matrix{1.0});
  CHECK(result.trace > 0);
  single.classes.clear();
  SpectrumResult unused;
  CHECK(spectrum(single.target(), request, with_threads(1), unused).code == Code::shape);
}

void projection_deviation_matches_its_definition() {
  const Rows rows = labelled_rows();
  for (const bool within : {false, true}) {
    SpectrumRequest request = leading(3);
    request.within = within;
    const SpectrumResult result = spectrum_of(rows.target(), request);
    Matrix products(rows.n * 3);
    ProjectRequest project_request;
    project_request.vectors = {result.vectors.data(), 3, rows.d};
    project_request.centre = within ? ProjectRequest::Centre::of_class : ProjectRequest::Centre::mean;
    project_request.out = products.data();
    CHECK(project(rows.target(), project_request, with_threads(2)).ok());
    for (int j = 0; j < 3; ++j) {
      double mean = 0, square = 0;
      for (int64_t i = 0; i < rows.n; ++i) mean += products[3 * i + j] * products[3 * i + j] / static_cast<double>(rows.n);
      for (int64_t i = 0; i < rows.n; ++i) square += std::pow(products[3 * i + j] * products[3 * i + j] - mean, 2);
      const double expected = std::sqrt(square / static_cast<double>(rows.n - 1));
      CHECK_NEAR(result.projection_deviation[j], expected, 1e-12 * expected);
    }
  }
}

// ---- mixtures

void mixtures_have_the_covariance_of_their_law() {
  using Type = Covariances::Type;
  const int64_t k = 40, d = 9, rank = 3;
  Rows rows = normal_rows(21, k, d);
  for (double& value : rows.values) value *= 2;
  std::vector<long double> weights(k);
  long double total = 0;
  for (int64_t i = 0; i < k; ++i) total += weights[i] = 1 + i % 4;
  for (int64_t i = 0; i < k; ++i) {
    weights[i] /= total;
    rows.log_weights.push_back(std::log(static_cast<double>(weights[i])));
    rows.classes.push_back(static_cast<int32_t>(i % 3));
  }
  rows.class_count = 3;
  for (const Type type : {Type::spherical, Type::diagonal, Type::full, Type::low_rank}) {
    Covariances covariances;
    covariances.type = type;
    const Matrix noise = normal_matrix(22, k, d * d);
    const auto square = [&](int64_t c, int64_t at) { return noise[c * d * d + at] * noise[c * d * d + at]; };
    std::vector<long double> average(d * d, 0);
    for (int64_t c = 0; c < k; ++c) {
      if (type == Type::spherical) covariances.values.push_back(square(c, 0));
      for (int64_t i = 0; i < d; ++i) {
        if (type == Type::diagonal || type == Type::low_rank) covariances.values.push_back(square(c, i));
        for (int64_t j = 0; j < d; ++j) {
          double entry = 0;
          if (type == Type::full) {
            for (int64_t r = 0; r < d; ++r) entry += noise[(c * d + i) * d + r] * noise[(c * d + j) * d + r];
            covariances.values.push_back(entry);
          } else if (i == j) {
            entry = square(c, type == Type::spherical ? 0 : i);
          }
          if (type == Type::low_rank) {
            for (int64_t r = 0; r < rank; ++r) entry += noise[(c * d + i) * d + r] * noise[(c * d + j) * d + r];
          }
          average[i * d + j] += weights[c] * entry;
        }
        for (int64_t r = 0; r < rank && type == Type::low_rank; ++r) covariances.factors.push_back(noise[(c * d + i) * d + r]);
      }
    }
    if (type == Type::low_rank) covariances.rank = rank;
    CHECK(prepare(covariances, k, d, with_threads(2)).ok());
    Target target = rows.target();
    target.kind = Target::Kind::mixture;
    target.means = {rows.values.data(), k, d};
    target.covariances = &covariances;
    const auto plus_average = [&](Matrix matrix) {
      for (int64_t at = 0; at < d * d; ++at) matrix[at] += static_cast<double>(average[at]);
      return matrix;
    };
    check_against(target, leading(5), plus_average(naive_covariance(rows, weights, false, 1)));
    SpectrumRequest within = leading(5);
    within.within = true;
    check_against(target, within, plus_average(naive_covariance(rows, weights, true, 1)));
    // Without classes every component is its own: only the average of the covariances is left.
    target.classes = nullptr;
    target.class_count = 0;
    check_against(target, within, plus_average(Matrix(d * d, 0.0)));
    within.class_means = true;
    CHECK(static_cast<int64_t>(spectrum_of(target, within).class_fractions.size()) == k);
  }
}

// ---- project

void projections_are_the_naive_products() {
  const Rows rows = labelled_rows();
  const Matrix vectors = normal_matrix(31, 2, rows.d);
  Matrix class_means(5 * rows.d, 0.0), mean(rows.d, 0.0);
  for (int64_t i = 0; i < rows.n; ++i) {
    const int32_t c = rows.classes[i];
    const auto members = static_cast<double>(std::count(rows.classes.begin(), rows.classes.end(), c));
    for (int64_t k = 0; k < rows.d; ++k) {
      class_means[c * rows.d + k] += rows.values[i * rows.d + k] / members;
      mean[k] += rows.values[i * rows.d + k] / static_cast<double>(rows.n);
    }
  }
  using Centre = ProjectRequest::Centre;
  for (const Centre centre : {Centre::none, Centre::mean, Centre::of_class}) {
    Matrix out(2 * rows.n);
    ProjectRequest request{{vectors.data(), 2, rows.d}, centre, out.data()};
    CHECK(project(rows.target(), request, with_threads(3)).ok());
    double worst = 0;
    for (int64_t i = 0; i < rows.n; ++i) {
      for (int64_t j = 0; j < 2; ++j) {
        double expected = 0;
        for (int64_t k = 0; k < rows.d; ++k) {
          const double c = centre == Centre::none ? 0 : centre == Centre::mean ? mean[k] : class_means[rows.classes[i] * rows.d + k];
          expected += (rows.values[i * rows.d + k] - c) * vectors[j * rows.d + k];
        }
        worst = std::max(worst, std::abs(out[2 * i + j] - expected));
      }
    }
    CHECK_NEAR(worst, 0, 1e-13);
    request.vectors.columns = rows.d - 1;
    CHECK(project(rows.target(), request, with_threads(1)).code == Code::shape);
  }
  Matrix out(10);
  const Rows unlabelled = normal_rows(1, 5, 6);
  const ProjectRequest request{{vectors.data(), 2, 6}, Centre::of_class, out.data()};
  CHECK(project(unlabelled.target(), request, with_threads(1)).code == Code::shape);
}

// ---- threads, cancellation, progress

template <class Stored>
void check_threads(const std::vector<Stored>& stored, int64_t n, int64_t d, Dtype dtype) {
  Target target;
  target.n = n;
  target.d = d;
  target.points = {stored.data(), n, d, dtype, 0.25, -1};
  std::vector<int32_t> classes(n);
  for (int64_t i = 0; i < n; ++i) classes[i] = static_cast<int32_t>(i * i % 6);
  target.classes = classes.data();
  target.class_count = 6;
  SpectrumRequest within = leading(3);
  within.within = within.class_means = true;
  for (const SpectrumRequest& request : {leading(5), within, complete()}) {
    const SpectrumResult one = spectrum_of(target, request, 1);
    for (const int threads : {2, 3}) {
      const SpectrumResult other = spectrum_of(target, request, threads);
      CHECK(one.eigenvalues == other.eigenvalues && one.residuals == other.residuals && one.vectors == other.vectors);
      CHECK(one.projection_deviation == other.projection_deviation && one.trace == other.trace && one.mean == other.mean);
      CHECK(one.ritz_values == other.ritz_values && one.class_coordinates == other.class_coordinates);
      CHECK(one.ritz_vectors == other.ritz_vectors && one.class_fractions == other.class_fractions);
    }
  }
}

void bits_do_not_depend_on_threads() {
  const int64_t n = 21000, d = 23;  // 21 units: complete groups, an incomplete one, an incomplete unit
  const Matrix doubles = normal_matrix(41, n, d);
  check_threads(doubles, n, d, Dtype::f64);
  check_threads(std::vector<float>(doubles.begin(), doubles.end()), n, d, Dtype::f32);
  std::vector<uint8_t> bytes;
  for (const double value : doubles) bytes.push_back(static_cast<uint8_t>(std::clamp(value * 40 + 128, 0.0, 255.0)));
  check_threads(bytes, n, d, Dtype::u8);
}

void jobs_stop_and_report() {
  const Rows rows = labelled_rows();
  std::atomic<bool> stop{true};
  Execution execution = with_threads(2);
  execution.stop = &stop;
  SpectrumResult result;
  CHECK(spectrum(rows.target(), leading(2), execution, result).code == Code::cancelled);
  CHECK(spectrum(rows.target(), complete(), execution, result).code == Code::cancelled);
  Matrix out(rows.n);
  const ProjectRequest request{{rows.values.data(), 1, rows.d}, ProjectRequest::Centre::none, out.data()};
  CHECK(project(rows.target(), request, execution).code == Code::cancelled);
  CHECK(symmetric_eigen({2, 1, 1, 2}, 2, out.data(), nullptr, execution).code == Code::cancelled);

  // Stopped from a progress report in the middle.
  stop = false;
  execution.progress = [&](double) { stop = true; };
  CHECK(spectrum(rows.target(), leading(2), execution, result).code == Code::cancelled);
  stop = false;
  double furthest = -1;
  execution.progress = [&](double fraction) {
    CHECK(fraction >= furthest && fraction <= 1);
    furthest = fraction;
  };
  CHECK(spectrum(normal_rows(51, 500, 200).target(), leading(4), execution, result).ok());
  CHECK(furthest == 1);
}

void too_large_complete_spectra_are_refused() {
  const Rows rows = normal_rows(61, 5, 3);
  Target target = rows.target();
  target.n = target.d = target.points.rows = target.points.columns = 5000;
  std::vector<uint8_t> zeros(5000 * 5000, 0);
  target.points.stored = zeros.data();
  target.points.dtype = Dtype::u8;
  SpectrumResult result;
  const Status status = spectrum(target, complete(), with_threads(2), result);
  CHECK(status.code == Code::shape && status.detail.find("4096") != std::string::npos && status.detail.find("5000") != std::string::npos);
}

// ---- real data

// Pixels divided by one global standard deviation; eigenvalues to nine digits from an independent program (numpy).
void digits_have_their_spectrum(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  CHECK(file != nullptr);
  if (file == nullptr) return;
  std::vector<uint8_t> pixels;
  int value = 0;
  for (int64_t at = 0; std::fscanf(file, "%d%*[,\r\n]", &value) == 1; ++at) {
    if (at % 65 != 64) pixels.push_back(static_cast<uint8_t>(value));
  }
  std::fclose(file);
  CHECK(pixels.size() == 1797 * 64);
  double sum = 0, squares = 0;  // integers: exact
  for (const uint8_t pixel : pixels) {
    sum += pixel;
    squares += pixel * pixel;
  }
  const auto entries = static_cast<double>(pixels.size());
  const double mean = sum / entries;
  const double deviation = std::sqrt(squares / entries - mean * mean);
  Target target;
  target.n = 1797;
  target.d = 64;
  target.points = {pixels.data(), 1797, 64, Dtype::u8, 1 / deviation, -mean / deviation};
  const SpectrumResult result = spectrum_of(target, leading(3));
  CHECK_NEAR(result.eigenvalues[0], 4.94470618, 1e-8);
  CHECK_NEAR(result.eigenvalues[1], 4.52237327, 1e-8);
  CHECK_NEAR(result.eigenvalues[2], 3.91662027, 1e-8);
}

}  // namespace

int main(int argc, char** argv) {
  matrices_are_diagonalised();
  reference_case_has_its_eigenvalues();
  repeated_eigenvalues_are_all_found();
  leading_pairs_match_the_dense_solver();
  restarts_reach_the_tolerance();
  degenerate_data_have_eigenvalue_zero();
  extreme_scales_and_offsets_keep_their_digits();
  krylov_bases_stay_orthonormal();
  weights_act_as_reliabilities();
  within_class_covariance_is_pooled();
  class_means_span_an_accurate_space();
  projection_deviation_matches_its_definition();
  mixtures_have_the_covariance_of_their_law();
  projections_are_the_naive_products();
  bits_do_not_depend_on_threads();
  jobs_stop_and_report();
  too_large_complete_spectra_are_refused();
  if (argc > 1) {
    digits_have_their_spectrum(argv[1]);
  } else {
    std::printf("not run: the spectrum of the digits (no file given)\n");
  }
  return check::summary();
}
