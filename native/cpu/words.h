// Products of rows of 16-bit integers with 16-bit queries in exact 32-bit sums, at 15 bits: 1.5 times the rate of float32, twice where one
// instruction multiplies and adds. A word holds two neighbours of a sum, the low half first; a query's words lie beside those of 15
// others.
#pragma once

#include <cstdint>

#include "dense.h"

namespace regimes {

// Steps that count for one lane, ascending, and its words.
struct ListedWords {
  const int32_t* steps;
  const int32_t* words;
  int count;
};

struct WordKernels {
  // out[g][r][16] = sum of round(P / 2^shift) over chains of `chain` steps, P = the sum of the products of both halves of
  // rows[r * row_stride + s * step_stride] and lanes[g][s][16] over the steps s of a chain, for `count` rows. Every |P| + 2^(shift - 1) and
  // every sum of chains must stay below 2^31. out has out_rows rows per group; lanes are aligned to 64 bytes.
  void (*products)(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
                   const int32_t* lanes, int groups, double* out, int64_t out_rows);

  // out[r / 2][columns] = the words of rows r and r + 1 of [rows][stride], a last row beside zeros. Readable and writable: 16 entries
  // after the last column.
  void (*interleave)(const int16_t* rows, int64_t stride, int count, int64_t columns, int32_t* out, int64_t out_stride);

  // Weights [rows][16] >= 0 times factor[rows] in steps: words[r / 2][16] of W_r = floor(weight_r factor_r / step + dither[r]), dither in
  // [0, 1), with the least steps for which W <= 32512 and the norm of every `chain` rows of W, an even number, is at most norm_limit;
  // step 0 where all are zero.
  void (*pack_scaled)(const float* weights, int rows, const float* factor, const float* dither, int chain, float norm_limit, int32_t* words,
                      double* step);
  // The same for rows that are columns (row_stride 1), added to sums: of group g, sums[j][16] = sums[j] keep[16] + out[g][j] factor[16].
  // scratch, [columns + 6][steps + 3], is left from call to call for the same rows: `fresh` at their first call. Readable: 8 words after
  // the last.
  void (*fold_columns)(const int32_t* rows, int64_t step_stride, int32_t* scratch, bool fresh, int columns, int64_t steps, int64_t chain,
                       int shift, const int32_t* lanes, int groups, const DenseFold* folds);

  // What `products` gives lane after lane of one group for rows that are columns (row_stride 1) and a list of the steps whose words in the
  // lane are not zero: out[j * 16], j < columns. Readable: 15 words after the last row.
  void (*listed_products)(const int32_t* rows, int64_t step_stride, int64_t columns, const ListedWords& list, int64_t steps, int64_t chain,
                          int shift, double* out);

  // words[i][stride]: rows 2 i and 2 i + 1 of values [rows][columns], Y = floor(value / unit[column] + dither) with a dither in [0, 1) that
  // looks random: hashed bits of the row's index first_row + r, combined with those given for the column; a last row alone beside zeros.
  // value = values[r] shrink[r], every |value| <= 32766 unit; inverse = 1 / unit. Returns the largest variance of a row,
  // sum_j unit_j^2 f (1 - f), f the fraction of value / unit.
  double (*pack_rows)(const float* values, int64_t first_row, int rows, int64_t columns, const float* shrink, const float* unit,
                      const float* inverse, const int32_t* bits, int32_t* words, int64_t stride);

  // The same of rows that are bytes, exactly: Y = row - centre. Readable and writable: 16 entries after the last column of all.
  void (*pack_bytes)(const uint8_t* rows, int64_t row_stride, int count, int64_t columns, const uint8_t* centre, int32_t* words,
                     int64_t stride);

  // words[i][16] of weights [rows][16] in [0, 1], W = floor(weight * factor[lane] + dither[row]), dither in [0, 1); factor is about the
  // largest with W <= 32767 and sums of W over chains of 2 * chain rows <= most_sum. variance[16] = sum 2 half_square f (1 - f), f the
  // fraction of weight * factor.
  void (*pack_weights)(const float* weights, int rows, int64_t chain, float most_sum, const float* dither, const float* half_square,
                       int32_t* words, double* factor, double* variance);

  // Of one lane alone: whole[rows] = W.
  void (*pack_single)(const float* weights, int rows, int64_t chain, float most_sum, const float* dither, const float* half_square,
                      int32_t* whole, double* factor, double* variance);
};

inline constexpr int32_t word_limit = 32512;  // 127 * 256: a word rounded to its high byte stays within a signed byte

// Null where the instruction set was not compiled or this machine lacks it.
const WordKernels* words_avx2();
const WordKernels* words_avx512();
const WordKernels* words_vnni();

}  // namespace regimes
