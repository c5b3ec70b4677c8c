// Layouts of rows: their bounds hold in 113-bit arithmetic, exact grids are found and inexact ones are not, bits over threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "../core/layouts.h"
#include "../core/memory_budget.h"
#include "../core/philox.h"
#include "../core/prefix_rows.h"
#include "../core/row_projection.h"
#include "check.h"
#include "quad.h"

using namespace regimes;

namespace {

template <class Stored>
struct Rows {
  int64_t n, d;
  std::vector<Stored> values;  // padded as the contract of build_layouts wants
  double scale = 1;
  double shift = 0;

  Rows(int64_t rows, int64_t columns) : n(rows), d(columns), values(rows * columns + digit_padding) {}

  Target target() const {
    Target target;
    target.n = n;
    target.d = d;
    const Dtype dtype = sizeof(Stored) == 1 ? Dtype::u8 : sizeof(Stored) == 4 ? Dtype::f32 : Dtype::f64;
    target.points = {values.data(), n, d, dtype, scale, shift};
    return target;
  }
};

template <class Stored>
Layouts layouts_of(const Rows<Stored>& rows, int threads = 2) {
  Layouts layouts;
  Execution execution;
  execution.threads = threads;
  CHECK(build_layouts(rows.target(), execution, layouts).ok());
  return layouts;
}

// Smooth random images with a blank border: the spectrum and the constant columns of real ones.
uint8_t pixel(int64_t i, int64_t j, int64_t side) {
  const int64_t row = j / side;
  const int64_t column = j % side;
  if (row == 0 || column == 0) return 0;
  double z[6];
  normals(7, static_cast<uint64_t>(i), step_noise, 6, z);
  const double u = static_cast<double>(row) / static_cast<double>(side);
  const double v = static_cast<double>(column) / static_cast<double>(side);
  const double value = 90 + 50 * (z[0] * std::sin(3 * u) + z[1] * std::cos(4 * v) + z[2] * std::sin(7 * u * v + z[3])) + 9 * z[4] * u + 5 * z[5];
  return static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
}

Rows<uint8_t> images(int64_t n, int64_t side) {
  Rows<uint8_t> rows(n, side * side);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < rows.d; ++j) rows.values[i * rows.d + j] = pixel(i, j, side);
  }
  rows.scale = 2.0 / 255;
  rows.shift = -1;
  return rows;
}

template <class Stored>
Rows<Stored> gaussian(int64_t n, int64_t d, double scale, double offset) {
  Rows<Stored> rows(n, d);
  std::vector<double> z(d);
  for (int64_t i = 0; i < n; ++i) {
    normals(3, static_cast<uint64_t>(i), step_noise, d, z.data());
    // A decaying spectrum, so that a prefix pays.
    for (int64_t j = 0; j < d; ++j) {
      rows.values[i * d + j] = static_cast<Stored>(offset + scale * z[j] * 20 / (10 + static_cast<double>(j)));
    }
  }
  return rows;
}

Quad distance(const std::vector<Quad>& x, Quad a, const std::vector<Quad>& y) {
  Quad sum = 0;
  for (size_t j = 0; j < x.size(); ++j) sum += (x[j] - a * y[j]) * (x[j] - a * y[j]);
  return sqrt(sum);
}

// Every claim of DigitRows on some rows.
template <class Stored>
void check_digits(const Rows<Stored>& rows, const Layouts& layouts) {
  const DigitRows& digits = layouts.digits;
  const DataView view = rows.target().points;
  CHECK(digits.rows != nullptr);
  if (digits.rows == nullptr) return;
  CHECK(digits.stride >= rows.d);
  int64_t wrong = 0;
  for (int64_t i = 0; i < rows.n; i += 1 + rows.n / 97) {
    Quad square = 0;
    Quad remainder = 0;
    const Quad gain = digits.gain.empty() ? 1 : digits.gain[i];
    wrong += !digits.gain.empty() && digits.gain[i] > digits.largest_gain;
    for (int64_t j = 0; j < rows.d; ++j) {
      const Quad offset = gain * Quad(digits.scale[j]) * Quad(digits.rows[i * digits.stride + j] - digits.centre[j]);
      const Quad gap = Quad(view.value(i, j)) - (Quad(digits.origin[j]) + offset);
      square += offset * offset;
      remainder += gap * gap;
    }
    wrong += sqrt(remainder) > Quad(digits.residual[i]);
    wrong += Quad(digits.residual[i]) > Quad(digits.largest_residual);
    wrong += sqrt(square) > Quad(digits.largest_norm);
    const double half = static_cast<double>(square) / 2;
    wrong += std::abs(digits.half_square[i] - half) > half * (static_cast<double>(rows.d) + 12) * 0x1p-53;
  }
  CHECK(wrong == 0);
  for (int64_t j = 0; j < rows.d; ++j) wrong += !(digits.scale[j] >= 0);
  for (int64_t at = 0; at < digit_padding; ++at) wrong += digits.rows[(rows.n - 1) * digits.stride + rows.d + at] > 255;
  CHECK(wrong == 0);
}

// Every claim of PrefixRows on some rows: for random x', and for those that make its inequalities tight.
template <class Stored>
void check_prefix(const Rows<Stored>& rows, const Layouts& layouts) {
  const PrefixRows& prefix = layouts.prefix;
  const DataView view = rows.target().points;
  const int64_t d = rows.d, columns = prefix.columns;
  if (prefix.empty()) return;
  CHECK(columns == prefix_columns(d) && columns % projection_lanes == 0 && columns <= most_prefix_columns);
  CHECK(static_cast<int64_t>(prefix.tiles.size()) == (rows.n + 63) / 64 * 64 * columns);
  CHECK(prefix.captured > 0.25 && prefix.captured <= 1);
  int64_t wrong = 0;
  std::vector<int> places(prefix.tiles.size());
  for (int64_t i = 0; i < (rows.n + 63) / 64 * 64; ++i) {
    for (int64_t k = 0; k < columns; ++k) {
      places[prefix.place(i, k)]++;
      wrong += i >= rows.n && prefix.tiles[prefix.place(i, k)] != 0;
    }
  }
  for (const int count : places) wrong += count != 1;
  CHECK(wrong == 0);

  const auto direction = [&](int64_t k, int64_t j) {
    return Quad(prefix.directions[(k / projection_lanes * d + j) * projection_lanes + k % projection_lanes]);
  };
  // What stands for F(x'), of a float32 x', and how far it may be off.
  const auto project = [&](const std::vector<float>& x, double* error) {
    std::vector<double> f(columns);
    double square = 0;
    for (const float value : x) square += double(value) * value;
    project_on_prefix(prefix, x.data(), 1, &square, f.data(), error);
    return f;
  };
  std::vector<double> z(d);
  for (int64_t i = 0; i < rows.n; i += 1 + rows.n / 23) {
    std::vector<Quad> y(d), image(columns);
    for (int64_t j = 0; j < d; ++j) y[j] = Quad(view.value(i, j)) - Quad(prefix.origin[j]);
    Quad square = 0;
    for (int64_t k = 0; k < columns; ++k) {
      image[k] = Quad(prefix.gain[i]) * (Quad(prefix.centre[k]) + Quad(prefix.scale[k]) * (prefix.tiles[prefix.place(i, k)] - 128));
      square += image[k] * image[k];
    }
    const Quad residual = prefix.residual[i], half = (square - residual * residual) / 2;
    wrong += Quad(prefix.half_square[i]) > half || half - Quad(prefix.half_square[i]) > (square + residual * residual) * Quad(0x1p-23);
    wrong += sqrt(square) > Quad(prefix.largest_norm) || Quad(prefix.gain[i]) > Quad(prefix.largest_norm);
    wrong += prefix.residual[i] > prefix.largest_residual;

    // What the image is off, within the span of the directions: along it nothing but the residual protects.
    std::vector<Quad> missed(d, Quad(0));
    for (int64_t k = 0; k + 1 < columns; ++k) {
      Quad along = 0;
      for (int64_t j = 0; j < d; ++j) along += direction(k, j) * y[j];
      for (int64_t j = 0; j < d; ++j) missed[j] += (along - image[k]) * direction(k, j);
    }
    normals(9, static_cast<uint64_t>(i), step_noise, d, z.data());
    for (const double a : {1.0, 0.7}) {
      std::vector<std::vector<Quad>> queries(6, std::vector<Quad>(d));
      for (int64_t j = 0; j < d; ++j) {
        queries[0][j] = Quad(a) * y[j];
        queries[1][j] = Quad(z[j]) * Quad(prefix.largest_norm / 10);
        queries[2][j] = Quad(a) * y[j] + Quad(0.01 * z[j] * prefix.largest_norm);
        queries[3][j] = Quad(a) * y[j] + Quad(100) * missed[j];
        queries[4][j] = Quad(a) * (y[j] - missed[j]);
        queries[5][j] = Quad(-a) * y[j];
      }
      for (const std::vector<Quad>& wanted : queries) {
        std::vector<float> x(d);
        for (int64_t j = 0; j < d; ++j) x[j] = static_cast<float>(static_cast<double>(wanted[j]));
        double error = 0;
        const std::vector<double> f = project(x, &error);
        const Quad apart = distance(std::vector<Quad>(f.begin(), f.end()), Quad(a), image);
        wrong += apart > distance(std::vector<Quad>(x.begin(), x.end()), Quad(a), y) + Quad(error) + Quad(a) * residual;
      }
    }
  }
  CHECK(wrong == 0);
}

void bytes_are_used_in_place() {
  const Rows<uint8_t> rows = images(2500, 11);
  const Layouts layouts = layouts_of(rows);
  CHECK(layouts.digits.rows == rows.values.data() && layouts.digits.owned.empty() && layouts.digits.lossless);
  CHECK(layouts.digits.largest_residual < 1e-13);
  CHECK(layouts.prefix.captured > 0.8);
  const int64_t columns = layouts.prefix.columns;
  CHECK(columns == 32 && layouts.bytes > rows.n * (20 + columns) && layouts.bytes < rows.n * (32 + columns) + 64 * 8 * rows.d);
  check_digits(rows, layouts);
  check_prefix(rows, layouts);

  Rows<uint8_t> falling = rows;
  falling.scale = -0.25;
  falling.shift = 1e4;
  const Layouts mirrored = layouts_of(falling);
  CHECK(mirrored.digits.lossless && mirrored.digits.largest_residual < 1e-9);
  check_digits(falling, mirrored);
  check_prefix(falling, mirrored);
  falling.scale = 0;
  check_digits(falling, layouts_of(falling));
  CHECK(layouts_of(falling).prefix.empty());
  // One over such a step would be infinite.
  falling.scale = 1e-308;
  falling.shift = 0;
  CHECK(!layouts_of(falling).digits.lossless);
}

template <class Stored>
void check_grid(double scale, double shift, double view_scale, double view_shift) {
  const Rows<uint8_t> bytes = images(2100, 9);
  Rows<Stored> rows(bytes.n, bytes.d);
  for (int64_t k = 0; k < bytes.n * bytes.d; ++k) rows.values[k] = static_cast<Stored>(bytes.values[k] * scale + shift);
  rows.scale = view_scale;
  rows.shift = view_shift;
  const Layouts layouts = layouts_of(rows);
  CHECK(layouts.digits.lossless);
  const double largest = (255 * std::abs(scale) + std::abs(shift)) * std::abs(view_scale) + std::abs(view_shift);
  const double ulp = static_cast<double>(std::numeric_limits<Stored>::epsilon()) * largest;
  // Roundings of single values by half a unit at most, few of them near it, and float64 on the way.
  CHECK(layouts.digits.largest_residual < 9 * (0.5 * ulp + 4e-15 * largest));
  check_digits(rows, layouts);
  check_prefix(rows, layouts);
}

void data_affine_in_bytes_are_found() {
  check_grid<float>(1.0 / 255, 0, 1, 0);
  check_grid<float>(2.0 / 255, -1, 1, 0);
  check_grid<float>(1.0 / 16, 0, 1, 0);
  check_grid<float>(1.0 / 255 / 0.353, -0.286 / 0.353, 1, 0);
  check_grid<float>(-3.0, 700, 0.01, -4);
  check_grid<double>(1.0 / 255, 0, 2, -1);
  check_grid<double>(1.0 / 255 / 0.353, -0.286 / 0.353, -1, 0);
  check_grid<double>(0.1, 0, 1, 1e3);

  // Levels 0, 2 and 5 of a grid: its step is none of the gaps.
  Rows<float> sparse(64, 3);
  for (int64_t k = 0; k < sparse.n * sparse.d; ++k) sparse.values[k] = static_cast<float>((k % 3 == 0 ? 0 : k % 3 == 1 ? 2 : 5) * 0.7);
  const Layouts layouts = layouts_of(sparse);
  CHECK(layouts.digits.lossless);
  check_digits(sparse, layouts);
}

void data_that_are_no_bytes_are_rounded() {
  const auto check_rounded = [](const auto& rows, double step) {
    const Layouts layouts = layouts_of(rows);
    CHECK(!layouts.digits.lossless);
    // At most half a level in every column.
    CHECK(layouts.digits.largest_residual < std::sqrt(static_cast<double>(rows.d)) * step);
    check_digits(rows, layouts);
    check_prefix(rows, layouts);
  };
  check_rounded(gaussian<float>(2200, 70, 1, 0), 0.04);
  check_rounded(gaussian<double>(2200, 70, 1, 0), 0.04);
  check_rounded(gaussian<double>(2200, 70, 1e-6, 1e9), 1e-6);
  check_rounded(gaussian<double>(2200, 70, 1e10, 3), 4e8);
  // 257 levels, or one value off the grid.
  Rows<float> levels(2200, 70);
  for (int64_t k = 0; k < levels.n * levels.d; ++k) levels.values[k] = static_cast<float>(k % 257) * static_cast<float>(1 + k % 70 / 7);
  check_digits(levels, layouts_of(levels));
  CHECK(!layouts_of(levels).digits.lossless);
  Rows<float> off(100, 70);
  for (int64_t k = 0; k < off.n * off.d; ++k) off.values[k] = static_cast<float>(k % 200);
  CHECK(layouts_of(off).digits.lossless);
  off.values[4321] += 1e-4f;
  CHECK(!layouts_of(off).digits.lossless);
  check_digits(off, layouts_of(off));
}

// A tenth of a percent of the rows a thousand times longer: the others are told as finely as without them.
void rows_of_uneven_length_share_their_levels() {
  for (const int64_t d : {20, 70}) {
    Rows<float> rows = gaussian<float>(4000, d, 1, 5);
    const Layouts even = layouts_of(rows);
    CHECK(even.digits.gain.empty() && even.digits.largest_gain == 1);
    for (int64_t i = 0; i < rows.n; ++i) {
      for (int64_t j = 0; j < rows.d; ++j) {
        float& value = rows.values[i * rows.d + j];
        if (i % 1000 == 3) value = 5 + 1000 * (value - 5);
        if (i == 9) value = 5;
      }
    }
    const Layouts uneven = layouts_of(rows);
    CHECK(static_cast<int64_t>(uneven.digits.gain.size()) == rows.n);
    int64_t coarser = 0;
    for (int64_t i = 0; i < rows.n && !uneven.digits.gain.empty(); ++i) coarser += uneven.digits.residual[i] > 1.5 * even.digits.largest_residual;
    CHECK(coarser < 40);
    check_digits(rows, uneven);
    check_prefix(rows, uneven);
  }
}

void rows_far_out_do_not_pull_the_centre() {
  for (const double far : {30.0, 1e6}) {
    Rows<double> rows = gaussian<double>(4000, 20, 1, 5);
    for (int64_t i = 7; i < rows.n; i += 40) rows.values[i * rows.d + 3] += far;
    const Layouts layouts = layouts_of(rows);
    for (int64_t j = 0; j < rows.d; ++j) CHECK_NEAR(layouts.digits.origin[j], 5, 0.3);
  }
}

void odd_columns_and_rows_keep_the_bounds() {
  Rows<double> rows = gaussian<double>(2300, 66, 1, -5);
  for (int64_t i = 0; i < rows.n; ++i) {
    double* row = rows.values.data() + i * rows.d;
    row[0] = 1e8;                                                // constant
    row[1] = 1e8 + static_cast<double>(i % 3) * 0x1p-26;         // three neighbouring numbers
    row[2] = i == 77 ? 1e3 : 0;                                  // an outlier
    row[3] = 1e-310 * static_cast<double>(i);                    // below the normal numbers
    if (i % 2 == 1) std::copy_n(row - rows.d, rows.d, row);      // every row twice
  }
  const Layouts layouts = layouts_of(rows);
  CHECK(!layouts.digits.lossless);
  check_digits(rows, layouts);
  check_prefix(rows, layouts);

  // Fewer distinct rows than directions: the rest of the basis is arbitrary.
  Rows<double> few = gaussian<double>(2100, 80, 1, 0);
  for (int64_t i = 5; i < few.n; ++i) std::copy_n(few.values.data() + i % 5 * few.d, few.d, few.values.data() + i * few.d);
  check_digits(few, layouts_of(few));
  check_prefix(few, layouts_of(few));

  const Rows<double> one = gaussian<double>(1, 5, 1, 0);
  check_digits(one, layouts_of(one));
}

void what_floats_cannot_hold_is_left_out() {
  for (const double scale : {1e150, 1e18, 1e-20, 1e-150}) {
    const Rows<double> rows = gaussian<double>(2100, 70, scale, 0);
    const Layouts layouts = layouts_of(rows);
    CHECK(layouts.digits.rows == nullptr && layouts.digits.half_square.empty() && layouts.prefix.empty());
  }
  Rows<double> huge(2100, 70);
  for (int64_t k = 0; k < huge.n * huge.d; ++k) huge.values[k] = (k + k / huge.d) % 2 ? 1.7e308 : -1.7e308;
  CHECK(layouts_of(huge).digits.rows == nullptr);
  Rows<double> holes = gaussian<double>(2100, 70, 1, 0);
  holes.values[5000] = std::nan("");
  CHECK(layouts_of(holes).digits.rows == nullptr);
}

void a_prefix_that_would_not_pay_is_left_out() {
  CHECK(layouts_of(images(2500, 8)).prefix.empty());   // 64 columns
  CHECK(layouts_of(images(1900, 11)).prefix.empty());
  Rows<float> white(2500, 400);
  std::vector<double> z(white.n * white.d);
  normals(1, 2, step_noise, static_cast<int64_t>(z.size()), z.data());
  std::copy(z.begin(), z.end(), white.values.begin());
  CHECK(layouts_of(white).prefix.empty());
  CHECK(layouts_of(white).digits.rows != nullptr);
}

template <class Element>
bool same_bits(const std::vector<Element>& x, const std::vector<Element>& y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(Element)) == 0);
}

template <class Stored>
void check_threads(const Rows<Stored>& rows) {
  const Layouts one = layouts_of(rows, 1);
  for (const int threads : {2, 3, 8}) {
    const Layouts other = layouts_of(rows, threads);
    CHECK(same_bits(one.digits.owned, other.digits.owned) && same_bits(one.digits.centre, other.digits.centre));
    CHECK(same_bits(one.digits.scale, other.digits.scale) && same_bits(one.digits.origin, other.digits.origin));
    CHECK(same_bits(one.digits.gain, other.digits.gain));
    CHECK(same_bits(one.digits.half_square, other.digits.half_square) && same_bits(one.digits.residual, other.digits.residual));
    CHECK(same_bits(one.prefix.directions, other.prefix.directions) && one.prefix.tiles == other.prefix.tiles);
    CHECK(same_bits(one.prefix.gain, other.prefix.gain) && same_bits(one.prefix.residual, other.prefix.residual));
    CHECK(same_bits(one.prefix.half_square, other.prefix.half_square) && one.prefix.captured == other.prefix.captured);
    CHECK(one.prefix.largest_residual == other.prefix.largest_residual && one.digits.largest_norm == other.digits.largest_norm);
  }
}

void bits_do_not_depend_on_threads() {
  check_threads(images(13000, 10));
  check_threads(gaussian<float>(13000, 67, 1, 0));
  Rows<double> grid(9000, 65);
  for (int64_t k = 0; k < grid.n * grid.d; ++k) grid.values[k] = static_cast<double>(pixel(k / grid.d, 30 + k % grid.d, 12)) / 255;
  check_threads(grid);
}

void a_stopped_job_is_cancelled() {
  std::atomic<bool> stop{true};
  Execution execution;
  execution.stop = &stop;
  Layouts layouts;
  CHECK(build_layouts(images(2500, 10).target(), execution, layouts).code == Code::cancelled);
  CHECK(build_layouts(gaussian<float>(2500, 80, 1, 0).target(), execution, layouts).code == Code::cancelled);
}

}  // namespace

void the_budget_keeps_to_the_limit_of_the_process() {
  const int64_t whole = memory_budget();
  limit_memory(int64_t{3} << 30);
  CHECK(memory_budget() == std::min(whole, int64_t{3} << 27));
  limit_memory(1000);
  CHECK(memory_budget() == int64_t{1} << 28);
  limit_memory(int64_t{1} << 62);
  CHECK(memory_budget() == whole);
  limit_memory(0);
  CHECK(memory_budget() == whole);
}

int main() {
  the_budget_keeps_to_the_limit_of_the_process();
  bytes_are_used_in_place();
  data_affine_in_bytes_are_found();
  data_that_are_no_bytes_are_rounded();
  rows_of_uneven_length_share_their_levels();
  rows_far_out_do_not_pull_the_centre();
  odd_columns_and_rows_keep_the_bounds();
  what_floats_cannot_hold_is_left_out();
  a_prefix_that_would_not_pay_is_left_out();
  bits_do_not_depend_on_threads();
  a_stopped_job_is_cancelled();
  return check::summary();
}
