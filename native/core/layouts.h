// Layouts of the rows of a data set that screening reads instead of the rows themselves, built once per target. With c a centre near the
// mean, and y'_i = y_i - c:
//   DigitRows    y_i = image_i + remainder,  image_ij = c_j + gain_i scale_j (u_ij - centre_j),  |y_i - image_i| <= residual_i
//   PrefixRows   leading principal directions U: the projection F(y') = (U y', |y' - U^T U y'|) of the rows, in bytes.
//                It shortens distances: |x' - a y'_i| >= |F(x') - a F(y'_i)| for every x' (the triangle inequality for its last coordinate)
#pragma once

#include <cstdint>
#include <vector>

#include "boxes.h"
#include "memory_budget.h"
#include "operations.h"

namespace regimes {

// Rows as unsigned bytes, affine per column. Data stored as bytes are used in place; data that are affine in bytes are found by an
// exact test (lossless); other data are rounded to the nearest of 256 levels between a column's extremes, in units of the length |y'_i|
// where few rows are much longer than the others.
// rows == nullptr: the data cannot be represented so (rows further than 1e15 or all nearer than 1e-15 to the centre, NaN).
struct DigitRows {
  const uint8_t* rows = nullptr;      // [n][stride]; digit_padding readable bytes follow the last row
  int64_t stride = 0;                 // >= d
  bool lossless = false;              // residuals are roundings of the data alone
  std::vector<uint8_t> owned;         // behind `rows`, empty when the data are used in place
  std::vector<uint8_t> centre;        // [d] u of the centre c: near the column's mean
  std::vector<double> scale;          // [d] >= 0; 0 for a constant column. All equal when lossless
  std::vector<double> origin;         // [d] c
  std::vector<float> gain;            // [n] the length, or empty: all are 1
  std::vector<double> half_square;    // [n] 1/2 |image_i - c|^2, relative error below (d + 12) 2^-53
  std::vector<float> residual;        // [n] rounded up; covers the roundings of stored * scale + shift when lossless
  double largest_residual = 0;
  float largest_gain = 1;
  double largest_norm = 0;            // max_i |image_i - c|, rounded up
};

inline constexpr int64_t digit_padding = 64;
inline constexpr int64_t most_prefix_columns = 64, prefix_tile_rows = 64;

struct PrefixRows {
  int64_t columns = 0;                // of F: a multiple of projection_lanes
  std::vector<float> directions;      // [columns / 32][d][32] U, one direction per column, from a sample of the rows (any is valid); the last is zero
  std::vector<double> origin;         // [d] c, as in DigitRows
  // F(y'_i) as bytes: image_ik = gain_i (centre_k + scale_k (u_ik - 128)), |F(y'_i) - image_i| <= residual_i. The gain is the length of
  // y'_i, so that bytes serve rows of any length alike.
  // Tiles of 64 rows as projected.h reads them: [4][columns / 4][16 rows][4 columns]; rows beyond the last are zero.
  std::vector<uint8_t> tiles;
  std::vector<double> scale, centre;  // [columns] >= 0; 0 for a constant column
  std::vector<float> gain, residual;  // [64 tiles], zero beyond the last row
  std::vector<float> half_square;     // the same, 1/2 (|image_i|^2 - residual_i^2), rounded down
  double largest_residual = 0;
  double largest_norm = 0;            // at least every |image_i| and |y'_i|
  double centre_norm = 0;             // |centre|, rounded up
  double relative = 0;                // U x' of float32 x' by project_rows is off by at most relative |x'| + underflow
  double underflow = 0;
  double captured = 0;                // share of sum_i |y_i - c|^2 that U holds, in [0, 1]

  bool empty() const { return tiles.empty(); }
  // Where column k of row i stands.
  int64_t place(int64_t i, int64_t k) const {
    return i / prefix_tile_rows * prefix_tile_rows * columns + i % prefix_tile_rows / 16 * 16 * columns + k / 4 * 64 + i % 16 * 4 + k % 4;
  }
};

struct Layouts {
  DigitRows digits;
  PrefixRows prefix;                  // empty where d is small or the prefix holds too little to pay
  Boxes boxes;                        // d <= box_dimensions
  int64_t bytes = 0;                  // memory owned
};

// For a target of points; rows stored as bytes must have digit_padding readable bytes behind the last. Digits of n rows need 12 n bytes,
// and (4 + d) n more where the data are not bytes; the prefix needs 76 n at most, boxes (4 + 12 d) n at most and 12 n more with weights. What does not
// fit into the budget is left out: the boxes are thought of first, then the digits, then the prefix. Costs a few passes over the data;
// the bits do not depend on the threads or the instruction set. Work areas stay below 200 MB + 2200 d + 16 n bytes. Code::cancelled.
Status build_layouts(const Target& target, const Execution& execution, Layouts& layouts, int64_t budget = memory_budget());

}  // namespace regimes
