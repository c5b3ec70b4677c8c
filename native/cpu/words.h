// Products of rows of 16-bit integers with 16-bit queries in exact 32-bit sums: twice the rate of float32, at 15 bits. A word holds two
// neighbours of a sum, the low half first; a query's words lie beside those of 15 others. A machine whose 16-bit products are no faster
// than float32 has no table.
#pragma once

#include <cstdint>

#include "digits.h"

namespace regimes {

struct WordKernels {
  // out[g][r][16] = sum of round(P / 2^shift) over chains of `chain` steps, P = the sum of the products of both halves of
  // rows[r * row_stride + s * step_stride] and lanes[g][s][16] over the steps s of a chain, for `count` rows. Every |P| + 2^(shift - 1) and
  // every sum of chains must stay below 2^31. out has out_rows rows per group; lanes are aligned to 64 bytes.
  void (*products)(const int32_t* rows, int64_t row_stride, int64_t step_stride, int count, int64_t steps, int64_t chain, int shift,
                   const int32_t* lanes, int groups, double* out, int64_t out_rows);

  // out[r / 2][columns] = the words of rows r and r + 1 of [rows][stride], a last row beside zeros. Readable and writable: 16 entries
  // after the last column.
  void (*interleave)(const int16_t* rows, int64_t stride, int count, int64_t columns, int32_t* out, int64_t out_stride);

  // Weights [rows][16] >= 0 times factor[rows] in steps: words[r / 2][16] of W_r = round(weight_r factor_r / step), with the least steps
  // for which W <= 32512 and the norm of every `chain` rows of W, an even number, is at most norm_limit; step 0 where all are zero.
  void (*pack_scaled)(const float* weights, int rows, const float* factor, int chain, float norm_limit, int32_t* words, double* step);
};

inline constexpr int32_t word_limit = 32512;  // 127 * 256: a word rounded to its high byte stays within a signed byte

// Null where the instruction set was not compiled or this machine lacks it.
const WordKernels* words_vnni();

}  // namespace regimes
