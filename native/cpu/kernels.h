// The inner loops of the CPU backend, one table per instruction set, chosen once at run time (dispatch.h).
//
// Lanes: every kernel treats 8 queries (or draws) at once, one per lane, whatever the width of the registers; arrays "[n][8]" hold
// 8 adjacent lanes per entry. Each lane's arithmetic is the same sequence of operations whoever its neighbours are.
// Kernels neither allocate nor fail. -ffp-contract=off everywhere: fused multiply-adds stand where they are written.
#pragma once

#include <cstdint>

#include "../core/views.h"

namespace regimes {

inline constexpr int lanes = 8;

// Sums over a block of rows for each lane, relative to the block's own maximum; log_sum_exp.h gives their meaning.
struct LaneSums {
  double max[lanes];
  double index[lanes];  // row of the first maximum inside the block, a whole number
  double rest[lanes];
  double gap[lanes];
  double gap_squared[lanes];
  double squares[lanes];
};

// What screen_bounds knows of 16 queries x and of a component with mean image m', in coordinates weighted by a shared matrix D:
//   |D (x - a m')|^2 >= square_q + square_r - gain_q (P - centre_q) - slack_q byte_norm_r,
//   logit <= bias_r - 1/2 scale_r (|D (x - a m')| - residual_r - residual_q)^2.
struct ScreenQueries {
  double square[16];
  double gain[16];
  double centre[16];
  double slack[16];
  double residual[16];
};

struct ScreenRow {
  double square;
  double byte_norm;
  double residual;
  double scale;
  double bias;
};

// Integer products of rows u_i with 16 draws, from arrays [rows][16]: `own` <u_i, u_o - 128> and `noise` <u_i, z / noise_step>. With
// row_term = sum_k u_ik (u_ik - 256), in units of one level:
//   q = own_term + row_term - 2 own,   v = noise_step (own_noise - noise)
struct IntegerPairs {
  const double *own, *noise;
  const double* row_term;  // [rows]
  double own_term[2 * lanes], own_noise[2 * lanes], noise_step[2 * lanes];
};

inline constexpr int pair_group = 4;        // rows of a block are a multiple of it
inline constexpr int most_pair_rows = 256;

// A block of rows as 8 draws see it at `times` ratios r = a / b, ascending. The logit of a pair relative to the draw's own datum is
//   L = -r (r/2 q + v) + bias_i - own_bias,
// and pairs with L below -reach count as zero, as do those whose q is NaN. Sums are added to [times][...][8].
struct PairBlock {
  const double *q, *v;       // [rows][8]
  const double* bias;        // [rows], null = 0
  const double* own_bias;    // [8], with bias
  int rows;
  const double* ratios;
  int64_t times;
  double reach;
  double* sums;              // [times][3][8]: sum e^L, sum e^L L, sum e^2L; the last two only with `moments`
  bool moments;
  double* class_sums;        // [times][class_count][8]: sum e^L over each class; null = not wanted
  const int32_t* classes;    // [rows]
  int64_t class_count;
};

// The same for 16 draws in float32, for q that are 0 or between 1e-20 and 1e20. A logit is off by at most 2^-22 (r^2 q / 2 + r |v|) and
// the rounding of its biases, an exponential by 2^-20 of itself, and sums run in chains of 64 before they meet float64. A pair whose
// logit passes `highest_logit` at its peak, v^2 / 2q + bias_i - own_bias, is added in float64 and its q set to NaN.
inline constexpr double highest_logit = 40;

struct FloatPairBlock {
  float* q;                  // [rows][16]
  const float* v;
  const float* bias;         // [rows], null = 0
  const float* own_bias;     // [16], with bias
  int rows;
  const double* ratios;
  int64_t times;
  double reach;
  double* sums[2];           // as in PairBlock, draws 0 ... 7 and 8 ... 15
  bool gaps, squares;        // whether sum e^L L and sum e^2L are wanted
  double* class_sums[2];
  const int32_t* classes;
  int64_t class_count;
};

// Products [rows][16] of components with 16 queries that enter logits as factor_r step_q (P_rq - offset_q).
struct LogitTerm {
  const double* products;
  const double* factor;  // [rows]
  const double* step;    // [16]
  const double* offset;  // [16]
};

struct Kernels {
  const char* name;

  // values[k] = stored * scale + shift for elements [first, first + count) of the data.
  void (*convert)(const DataView& data, int64_t first, int64_t count, double* values);

  // out[g][r][8] = |x - a y_r|^2 for `groups` (at most 4) groups of lanes x [g][d][8] against `rows` rows y [rows, d]; out has
  // out_rows rows per group. Each difference is rounded once; sums of squares run in blocks of 32, then of 1024 coordinates.
  void (*squared_distances)(const double* x, int groups, const double* y, int rows, int64_t d, double a, double* out,
                            int64_t out_rows);

  // q[r][8] = |o - y_r|^2 and v[r][8] = z . (o - y_r) for lanes o, z [d][8].
  void (*pair_products)(const double* o, const double* z, const double* y, int rows, int64_t d, double* q, double* v);

  // q[r][16] += |o - y_r|^2 and v[r][16] += z . (o - y_r) over `columns` coordinates, in float32, for 16 draws oz [columns][2][16].
  void (*float_pair_products)(const float* oz, const float* y, int64_t stride, int rows, int64_t columns, float* q, float* v);

  // logits[r][8] = max(-q/(2 b^2), -1e307) + bias[r] in place of the squared distances; bias may be null.
  void (*scale_distances)(double* logits, int rows, double inverse_twice_b2, const double* bias);

  // q and v [rows][16] of 16 draws from exact integer products, rounded once.
  void (*integer_pairs)(const IntegerPairs& products, int rows, float* q, float* v);

  // Adds a block of rows to the sums of 8 draws, or of 16, at all times.
  void (*pair_sums)(const PairBlock& block);
  void (*float_pair_sums)(const FloatPairBlock& block);

  // Sums of a block of logits [rows][8]; terms below the lane's `floor` count as zero. exponentials [rows][8], where not null,
  // receives exp(logit - max). False, with only `max` written, when no lane reaches its floor.
  bool (*block_sums)(const double* logits, int rows, const double* floor, LaneSums* sums, double* exponentials);

  // sums[class][8] += exponentials[r][8].
  void (*add_class_sums)(const double* exponentials, const int32_t* classes, int rows, double* sums);

  // logits[r][8] -> exp(logit - max) * inverse, zero where logit < cutoff. active[r] = 1 where any lane is not zero.
  void (*weights)(double* logits, int64_t rows, const double* max, const double* inverse, const double* cutoff, uint8_t* active);

  // sums[q * columns + j] += sum_r w_rq y_rj, in the order of r, for `count` <= 4 rows [count, columns] and their weights, each 8
  // lanes q; a weight of 0 leaves a sum as it is.
  void (*add_rows)(const double* const* weights, const double* rows, int count, int64_t columns, double* sums);

  // |y - m|^2 and (y - m) . u (u may be null) of one row.
  void (*row_moments)(const double* row, const double* m, const double* u, int64_t d, double* square, double* product);

  // sums[j] += w (y_j - m_j).
  void (*add_difference)(double weight, const double* row, const double* m, int64_t d, double* sums);

  // Gaussian components: vectors are rows [d], `count` of them.
  // out[q][j] = scale_j (x_qj - a m_j), the difference rounded once; mean and scale may be null (then 0 and 1).
  void (*differences)(const double* const* x, int count, const double* mean, double a, const double* scale, int64_t d, double* out);

  // sum_j weight_j f_j^2; weight may be null (then 1).
  double (*weighted_square)(const double* f, const double* weight, int64_t d);

  // out[g][8] = sum_j weight_j (x_gj - a mean_j)^2 for `groups` <= 4 groups of lanes x [g][d][8]; weight may be null (then 1).
  void (*weighted_distances)(const double* x, int groups, const double* mean, const double* weight, int64_t d, double a, double* out);

  // out[q * stride + r] = rows_r . f_q.
  void (*row_products)(const double* rows, int64_t row_count, int64_t d, const double* f, int count, double* out, int64_t stride);

  // out_q += sum_r factors[q * stride + r] rows_r, in the order of r.
  void (*add_combinations)(const double* rows, int64_t row_count, int64_t d, const double* factors, int64_t stride, int count,
                           double* out);

  // y_j += w weight_j x_j; weight may be null (then 1).
  void (*add_weighted)(double w, const double* x, const double* weight, int64_t d, double* y);

  // t = step X + e with whole numbers |X_j| <= limit, step = max |t| / limit (0, with X = 0, where t is too small): X as integers,
  // *step, *sum = sum_j X_j centre_j (centre null: 1); returns |e|^2.
  double (*round_to_digits)(const double* t, int64_t d, int32_t limit, const double* centre, int32_t* digits, double* step, double* sum);

  // row_j = weight_j v_j; bytes_j = floor(128 + row_j / step + dither_j), dither in [0, 1) (null: 1/2), with step = max |row| / 127; returns
  // max |row|.
  double (*weighted_bytes)(const double* v, const double* weight, int64_t d, const float* dither, double* row, uint8_t* bytes);

  // out[r * out_stride + q] >= logit of component r at query q, from products [rows][16] of bytes (mixture_bounds.h).
  void (*screen_bounds)(const double* products, int rows, const ScreenQueries& queries, const ScreenRow* row, float* out,
                        int64_t out_stride);

  // out[r][16] = bias_r + gain_r square_q + sum of `count` terms, max[16] their maxima.
  void (*sum_terms)(const LogitTerm* terms, int count, int rows, const double* bias, const double* gain, const double* square, double* out,
                    double* max);
};

// Null where the instruction set was not compiled or this machine lacks it.
const Kernels* kernels_avx512();
const Kernels* kernels_avx2();
const Kernels* kernels_portable();

}  // namespace regimes
