// The hot loops of dense float64 work: two small matrix products, two dot-like loops, and rows of a data set as centred float64.
// Everything that spends time in spectrum and symmetric_eigen goes through here. The order of additions into an output element
// depends on the sizes alone.
#pragma once

#include <cstdint>

#include "views.h"

namespace regimes {

// Rows, columns and depths of the products are multiples of this; callers pad with zeros.
inline constexpr int64_t block_grain = 4;

inline int64_t padded(int64_t count) { return (count + block_grain - 1) / block_grain * block_grain; }

// out [rows, columns] += left [rows, depth] right [depth, columns]; strides between rows in elements.
void multiply_add(int64_t rows, int64_t depth, int64_t columns, const double* left, int64_t left_stride, const double* right,
                  int64_t right_stride, double* out, int64_t out_stride);

// out [depth, columns] += left [rows, depth]^T right [rows, columns].
void transposed_multiply_add(int64_t rows, int64_t depth, int64_t columns, const double* left, int64_t left_stride,
                             const double* right, int64_t right_stride, double* out, int64_t out_stride);

double dot(const double* x, const double* y, int64_t n);

// row -= row_u w + row_w u, then row . v: one step of a symmetric rank-two update fused with the next matrix-vector product.
double rank_two_update_dot(double* row, double row_u, double row_w, const double* u, const double* w, const double* v, int64_t n);

// out[k] = (value(row, first + k) - centre[k]) * gain for k in [0, count).
void load_centred(const DataView& view, int64_t row, int64_t first, int64_t count, const double* centre, double gain, double* out);

}  // namespace regimes
