// Layouts of the rows of a data set that screening reads instead of the rows themselves, built once per target. With c a centre that
// lies on the grid of the bytes, and y'_i = y_i - c:
//   DigitRows    y_i = image_i + remainder,  image_ij = c_j + scale_j (u_ij - centre_j),  |y_i - image_i| <= residual_i
//   PrefixRows   leading principal directions U: coordinates f_i = U y'_i and the length p_i of what they leave, so that
//                <x', y'_i> <= <U x', f_i> + |x'_perp| p_i + rounding |x'|  for every x', with x'_perp = x' - U^T U x'
#pragma once

#include <cstdint>
#include <vector>

#include "boxes.h"
#include "memory_budget.h"
#include "operations.h"

namespace regimes {

// Rows as unsigned bytes, affine per column. Data stored as bytes are used in place; data that are affine in bytes are found by an
// exact test (lossless); other data are rounded to the nearest of 256 levels between a column's extremes.
// rows == nullptr: the data cannot be represented so (rows further than 1e15 or all nearer than 1e-15 to the centre, NaN).
struct DigitRows {
  const uint8_t* rows = nullptr;      // [n][stride]; digit_padding readable bytes follow the last row
  int64_t stride = 0;                 // >= d
  bool lossless = false;              // residuals are roundings of the data alone
  std::vector<uint8_t> owned;         // behind `rows`, empty when the data are used in place
  std::vector<uint8_t> centre;        // [d] u of the centre c: near the column's mean
  std::vector<double> scale;          // [d] >= 0; 0 for a constant column. All equal when lossless
  std::vector<double> origin;         // [d] c
  std::vector<double> half_square;    // [n] 1/2 |image_i - c|^2, relative error below (d + 8) 2^-53
  std::vector<float> residual;        // [n] rounded up; covers the roundings of stored * scale + shift when lossless
  double largest_residual = 0;
  double largest_norm = 0;            // max_i |image_i - c|, rounded up
  int64_t most_repeated = 1;          // how many rows share an image, at most
};

inline constexpr int64_t digit_padding = 64;
inline constexpr int64_t prefix_width = 32;

struct PrefixRows {
  std::vector<double> directions;     // [d][prefix_width] orthonormal columns, to 1e-12, from a sample of the rows (any are valid); the last is zero
  std::vector<double> origin;         // [d] c, as in DigitRows
  std::vector<float> rows;            // [n][prefix_width] f_i, then p_i (rounded up)
  std::vector<float> half_square;     // [n] 1/2 |y_i - c|^2, rounded down by at most 2^-20 of it
  double largest_norm = 0;            // max_i |y_i - c|, rounded up
  double rounding = 0;                // >= |f_i - U y'_i| and the defect of U, in units of y
  double captured = 0;                // share of sum_i |y_i - c|^2 that the prefix holds, in [0, 1]
};

struct Layouts {
  DigitRows digits;
  PrefixRows prefix;                  // empty rows where d is small or the prefix holds too little to pay
  Boxes boxes;                        // d <= box_dimensions
  int64_t bytes = 0;                  // memory owned
};

// For a target of points; rows stored as bytes must have digit_padding readable bytes behind the last. Digits of n rows need 12 n bytes,
// and n d more where the data are not bytes; the prefix needs 132 n, boxes (4 + 12 d) n at most and 12 n more with weights. What does not
// fit into the budget is left out: the boxes are thought of first, then the digits, then the prefix. Costs a few passes over the data;
// the bits do not depend on the threads or the instruction set. Work areas stay below 200 MB + 600 d + 16 n bytes. Code::cancelled.
Status build_layouts(const Target& target, const Execution& execution, Layouts& layouts, int64_t budget = memory_budget());

}  // namespace regimes
