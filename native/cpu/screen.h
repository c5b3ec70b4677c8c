// The inner loops of screening and refinement, one table per instruction set. Screening kernels treat 16 queries at once, one per
// lane; refinement kernels treat one query and a list of rows. Each lane's and each row's arithmetic is independent of its neighbours.
#pragma once

#include <cstdint>

#include "../core/views.h"
#include "digits.h"

namespace regimes {

// Sums over a list of logits about their maximum; log_sum_exp.h gives their meaning.
struct ListSums {
  double rest, gap, gap_squared, squares;
};

// How the components of x' = x - a origin are rounded: x'_j is about digits_j step per_scale_j, with |digits_j| <= limit. Where
// per_scale_j = 0 it counts as it is. All [d].
struct QueryRounding {
  const double *origin, *scale, *per_scale, *centre;
  int32_t limit;
};

// Of a query rounded so, x_q: step, of at most 24 bits; step sum_j digits_j centre_j; |x_q|^2, |x' - x_q|^2 and sum_j |x_j| + a |origin_j|.
struct RoundedQuery {
  double step, centre, square, displacement_square, size;
};

// What makes a product P of bytes and digits the value of a row for a lane:
//   gain_r (P step - centre) + (slack_r radius + bias_r), or, without gains, P step + bias_r
// each operation rounded, on every instruction set the same.
struct DigitRowTerms {
  const double *gain, *slack, *bias;  // [rows]; gain may be null
};
struct DigitLaneTerms {
  const double *step, *centre, *radius;  // [16]
};

struct ScreenKernels {
  // masks[r * mask_stride] bit lane: values[r][lane] >= threshold[lane].
  void (*reach)(const float* values, int count, const float* threshold, uint16_t* masks, int64_t mask_stride);

  // masks[r * mask_stride] bit lane: the value of products[r][lane] is at least threshold[lane].
  void (*digit_reach)(const double* products, int count, const DigitRowTerms& rows, const DigitLaneTerms& lanes, const double* threshold,
                      uint16_t* masks, int64_t mask_stride);

  // largest[16] = the largest values of products[rows][lane].
  void (*digit_maxima)(const double* products, int count, const DigitRowTerms& rows, const DigitLaneTerms& lanes, double* largest);

  // Of a query x: x' = x - a origin, rounded, and |x'|^2.
  double (*centred_floats)(const double* x, int64_t d, double a, const double* origin, float* centred);

  // Digits of scale_j x'_j, the largest of which becomes `limit` (too small a query: step and digits 0). work [2][d] is left with
  // scale_j x'_j and x'_j.
  void (*round_query)(const double* x, int64_t d, double a, const QueryRounding& rounding, double* work, int32_t* digits, RoundedQuery* rounded);

  // score_j = (a denoised_j - x_j) / b2, with one rounding of the numerator.
  void (*score_of)(const double* denoised, const double* x, int64_t d, double a, double b2, double* score);

  // out[i] = |x - a y|^2 for the rows y = index[i]: each difference rounded once, sums in blocks of 1024 coordinates.
  void (*row_distances)(const DataView& data, const int32_t* index, int64_t count, const double* x, double a, double* out);

  // The same to about 100 bits, as an unevaluated sum high + low.
  void (*row_distances_extended)(const DataView& data, const int32_t* index, int64_t count, const double* x, double a, double* high,
                                 double* low);

  // sums[j] += sum_i weights[i] y_{index[i] j}, in the order of i.
  void (*add_listed_rows)(const DataView& data, const int32_t* index, const double* weights, int64_t count, double* sums);

  // <x, y'> and 1/2 |y'|^2 of y' = y - origin for a row y; `next` is a row that is read soon.
  void (*row_products)(const DataView& data, int64_t row, int64_t next, const double* origin, const double* x, double* product,
                       double* half_square);

  // exponentials[i] = exp(logits[i] - max) for a list padded to a multiple of 8 with logits of -1e308; `top` is the place of the
  // maximum, left out of rest and squares.
  void (*list_sums)(const double* logits, int64_t padded, double max, int64_t top, double* exponentials, ListSums* sums);
};

const ScreenKernels* screen_avx512();
const ScreenKernels* screen_avx2();
const ScreenKernels* screen_portable();

}  // namespace regimes
