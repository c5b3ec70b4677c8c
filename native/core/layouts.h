// Layouts of the rows of a data set that screening reads instead of the rows themselves, built once per target. With c a centre that
// lies on the grid of the bytes, and y'_i = y_i - c:
//   DigitRows    y_i = image_i + remainder,  image_ij = c_j + scale_j (u_ij - centre_j),  |y_i - image_i| <= residual_i
//   PrefixRows   leading principal directions U: coordinates f_i = U y'_i and the length p_i of what they leave, so that
//                <x', y'_i> <= <U x', f_i> + |x'_perp| p_i for every x'
#pragma once

#include <cstdint>
#include <vector>

#include "boxes.h"
#include "operations.h"

namespace regimes {

// Rows as unsigned bytes, affine per column. Data stored as bytes are used in place; data that are affine in bytes are found by an
// exact test (lossless); other data are rounded to the nearest of 256 levels between a column's extremes.
struct DigitRows {
  const uint8_t* rows = nullptr;      // [n][stride]; 64 readable bytes follow the last row
  int64_t stride = 0;                 // >= d
  bool lossless = false;
  std::vector<uint8_t> owned;         // behind `rows`, empty when the data are used in place
  std::vector<uint8_t> centre;        // [d] u of the centre c: the mean level, rounded
  std::vector<double> scale;          // [d] >= 0; 0 for a constant column. All equal when the data are stored as bytes
  std::vector<double> origin;         // [d] c
  std::vector<double> half_square;    // [n] 1/2 |image_i - c|^2
  std::vector<float> residual;        // [n] rounded up; covers the roundings of stored * scale + shift when lossless
  double largest_residual = 0;
  double largest_norm = 0;            // max_i |image_i - c|, rounded up
};

inline constexpr int64_t prefix_width = 32;

struct PrefixRows {
  std::vector<double> basis;          // [prefix_width - 1][d] orthonormal to 1e-12, from a sample of the rows (any basis is valid)
  std::vector<double> origin;         // [d] c, as in DigitRows
  std::vector<float> rows;            // [n][prefix_width] f_i (to nearest), then p_i (rounded up)
  std::vector<float> half_square;     // [n] 1/2 |y_i - c|^2, rounded down
  double largest_norm = 0;            // max_i |y_i - c|, rounded up
  double captured = 0;                // share of sum_i |y_i - c|^2 that the prefix holds, in [0, 1]
};

struct Layouts {
  DigitRows digits;
  PrefixRows prefix;                  // empty rows where d is small or the prefix holds too little to pay
  Boxes boxes;                        // d <= box_dimensions
  int64_t bytes = 0;                  // memory owned
};

// For a target of points. Costs a few passes over the data; the bits do not depend on the threads. Code::cancelled.
Status build_layouts(const Target& target, const Execution& execution, Layouts& layouts);

}  // namespace regimes
