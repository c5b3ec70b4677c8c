// The inner loops of the dense posterior, one table per instruction set. 16 queries at once, one per lane; each lane's arithmetic is
// independent of its neighbours.
#pragma once

#include <cstdint>

#include "digits.h"
#include "kernels.h"

namespace regimes {

inline constexpr int strip_rows = 32;
inline constexpr int64_t single_chain = 32;

// What a block of rows gives for 16 queries.
struct DenseSums {
  LaneSums halves[2];             // lanes 0 ... 7 and 8 ... 15; no `index`, no `gap_squared`
  double second[digit_lanes];     // sum_r w_r half_square_r, w_r = exp(logit_r - max), without those below e^-43
  double fourth[digit_lanes];     // sum_r w_r^2 half_square_r^2, without integers
  double total[digit_lanes];      // sum_r W_r, exact
  double lost[digit_lanes];       // sum_r |w_r limit - W_r|
  int32_t kept[digit_lanes];      // rows whose stored weight is not zero
};

// Where the products of a group go, and how.
struct DenseFold {
  double* sums;        // [columns][16]
  const double *keep, *factor;
};

// Rows that count for one lane, ascending, and their weights.
struct ListedRows {
  const int32_t* rows;
  const float* weights;
  int count;
};

// Of 16 lanes: the sum of squares, the largest of a chain and of several chains, and the largest square.
struct ChainNorms {
  double total[digit_lanes], chain[digit_lanes], chains[digit_lanes], most[digit_lanes];
};

// Of 16 centred queries x'.
struct CentredLanes {
  double weighted[digit_lanes];  // sum_j common_j x'_j^2
  double moved[digit_lanes];     // |x' - shrink lanes|^2
  ChainNorms x, square;          // of x', and of x'^2 - level
};

struct DenseKernels {
  // values[r][16] = products[r][16] * shrink[r] * slope[16] + bias[r] in place; max[16] = their maxima.
  void (*logits)(double* products, int rows, const double* shrink, const double* slope, const double* bias, double* max);

  // weights[r][16] = exp(logits[r] - max) in float32, relative error below (8 + |logit - max|) 2^-24, zero below e^-87; sums in chains of
  // strip_rows. Stored are those of logits[r] - max >= least[16], and zeros; weights may be null where integers are not.
  // integers[r][16] = round(stored * limit), where not null; limit < 2^26. The first `lanes_used` lanes of the sums are written.
  void (*weights)(const double* logits, int rows, const double* max, const float* least, const float* half_square, float limit,
                  float* weights, int32_t* integers, int lanes_used, DenseSums* sums);

  // The same for one query over strip_rows * 16 rows: row c * strip_rows + i stands at [i][c] of every array. Lane `to` of the sums
  // receives what `weights` gives a lane over the rows in their order, bits included; rows with a logit of -infinity count as absent.
  void (*strip_weights)(const double* logits, double max, float least, const float* half_square, float limit, float* weights,
                        int32_t* integers, int to, DenseSums* sums);

  // out[g][r][16] = sum_s values[r * row_stride + s * step_stride] lanes[g][s][16] for `count` rows and `steps` steps, in float32
  // chains of `chain` products, each times its shrink (null: 1); `chains` of them are added in float32, and these sums in float64. out
  // has out_rows rows per group.
  void (*products)(const float* values, int64_t row_stride, int64_t step_stride, int count, int64_t steps, const float* lanes, int groups,
                   int64_t chain, int64_t chains, const float* shrink, double* out, int64_t out_rows);

  // out[r] = sum_k (rows[r * stride + k] - centre[k]) stretch[r] x[k] for `count` rows: the bits of a lane of `products` with chains of
  // single_chain and step_stride 1 over centre_bytes. Readable: 31 bytes after the last.
  void (*single_products)(const uint8_t* rows, int64_t stride, int count, int64_t d, const float* centre, const float* stretch, const float* x,
                          int64_t chains, const float* shrink, double* out);

  // out[j][out_stride] = rows[r * stride + j] for r < count rounded up to 8 (what is beyond is any), j < columns. Readable: 31 bytes after
  // the last.
  void (*transpose_bytes)(const uint8_t* rows, int64_t stride, int64_t count, int64_t columns, uint8_t* out, int64_t out_stride);

  // P[g][j][16] = sum_r values[r][j] lanes[g][r][16] in float32, the chains of `products` added in one sum, enter the sums of group g:
  // sums[j][16] = sums[j] keep[16] + P[g][j] factor[16]. `scratch`, (columns + 6) * (rows + 3) values, is kept while `values` stay the
  // same: `fresh` at their first call. Readable: 8 values after the last.
  void (*fold_columns)(const float* values, float* scratch, bool fresh, int64_t columns, int rows, const float* lanes, int groups,
                       int64_t chain, const DenseFold* folds);

  // What `products` gives one lane, its bits included, when the weights of all rows that are not listed are zero: out[j * 16] =
  // sum_i weights[i] values[rows[i] * stride + j] for j < columns. Readable: 16 values after the last.
  void (*listed_products)(const float* values, int64_t stride, int64_t columns, const ListedRows& list, int64_t steps, int64_t chain,
                          int64_t chains, double* out);

  // sums[j][16] = sums[j] keep[16] + (products[j] - centre[j] total[16]) factor[16]; centre null: 0.
  void (*accumulate)(double* sums, const double* products, int64_t columns, const double* keep, const double* factor, const double* total,
                     const uint8_t* centre);

  // values[r][j] = float((y_rj - origin_j) stretch[r]) and half_square[r] = 1/2 |y_r - origin|^2 for rows first_row + r.
  void (*centre_rows)(const DataView& data, int64_t first_row, int rows, const double* origin, const float* stretch, float* values,
                      double* half_square);

  // values[r][j] = float((bytes[r * stride + j] - centre[j]) stretch[r]).
  void (*centre_bytes)(const uint8_t* bytes, int64_t stride, int rows, int64_t columns, const uint8_t* centre, const float* stretch,
                       float* values);

  // Mixtures (mixture_rows.h).
  // lanes[j][16] = x' = x_j - a origin_j of 16 rows x, squares[j][16] = x'^2 - level_j (null: not wanted), in float32, those of every
  // chain times its stretch (null: 1).
  void (*centre_lanes)(const double* const* x, const double* origin, double a, const double* common, const double* level, int64_t d,
                       int64_t chain, int64_t chains, const double* stretch, const float* shrink, float* lanes, float* squares,
                       CentredLanes* out);

  // whole[j][16] = floor(lanes[j][16] inverse[16] + dither[j]) but for ties, dither in [0, 1), sums[16] over j < d; |whole| < 2^15.
  void (*fix_lanes)(const float* lanes, int64_t d, const float* inverse, const float* dither, int32_t* whole, double* sums);

  // One component: t = products[size][16] * shrink[size] - offset in place (shrink null: 1), h = M t with M [rank, rank], or diagonal
  // where rank = 0; along[16] = t . h, weighted[16] = sum_i row_square_i h_i^2.
  void (*component_forms)(double* products, int64_t size, const double* shrink, const double* offset, const double* matrix, int64_t rank,
                          const double* row_square, float* h, double* along, double* weighted);

  // scores[lane][j] = sums[j][lane] - x'_j (shared[lane] common_j + gains[j][lane]) for j < d; gains null: 0.
  void (*scatter_scores)(const double* sums, const double* gains, const double* const* x, const double* origin, double a,
                         const double* common, const double* shared, int64_t d, double* const* scores);
};

const DenseKernels* dense_avx512();
const DenseKernels* dense_avx2();
const DenseKernels* dense_portable();

}  // namespace regimes
