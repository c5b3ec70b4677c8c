#include "dense_block.h"

#include <algorithm>

namespace regimes {
namespace {

// Two float64 lanes: one register of every x86-64 and AArch64, so that the portable build is vectorised too. Loads and stores
// go through memcpy, which compiles to one unaligned move.
typedef double Pair __attribute__((vector_size(16)));

inline Pair load(const double* p) {
  Pair value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

inline void store(double* p, Pair value) { std::memcpy(p, &value, sizeof value); }

inline Pair both(double x) { return Pair{x, x}; }

#define REGIMES_INLINE inline __attribute__((always_inline))

template <int bytes>
struct Vector {
  typedef double Type __attribute__((vector_size(bytes)));
};

// out [4, parts vectors] += sum_s left(., s) right(s, .), the sums in registers. `row_step` and `depth_step` are the strides of `left`
// along the output's rows and along the sum. Multiplications and additions are separate: every width gives the same bits.
template <int bytes, int parts>
REGIMES_INLINE void tile_multiply_add(int64_t depth, const double* left, int64_t row_step, int64_t depth_step, const double* right,
                                      int64_t right_stride, double* out, int64_t out_stride) {
  using Lanes = typename Vector<bytes>::Type;
  constexpr int64_t width = bytes / 8;
  Lanes sum[4][parts];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int p = 0; p < parts; ++p) std::memcpy(&sum[i][p], out + i * out_stride + p * width, bytes);
  }
  for (int64_t s = 0; s < depth; ++s) {
    const double* l = left + s * depth_step;
#pragma GCC unroll 4
    for (int p = 0; p < parts; ++p) {
      Lanes r;
      std::memcpy(&r, right + s * right_stride + p * width, bytes);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i][p] += l[i * row_step] * r;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int p = 0; p < parts; ++p) std::memcpy(out + i * out_stride + p * width, &sum[i][p], bytes);
  }
}

// The columns of an output, in tiles of `parts` of the widest vectors, then one, then narrower ones.
template <int bytes, int parts>
REGIMES_INLINE void four_rows(int64_t columns, int64_t depth, const double* left, int64_t row_step, int64_t depth_step,
                              const double* right, int64_t right_stride, double* out, int64_t out_stride) {
  constexpr int64_t width = bytes / 8;
  int64_t j = 0;
  for (; j + parts * width <= columns; j += parts * width) {
    tile_multiply_add<bytes, parts>(depth, left, row_step, depth_step, right + j, right_stride, out + j, out_stride);
  }
  for (; j + width <= columns; j += width) {
    tile_multiply_add<bytes, 1>(depth, left, row_step, depth_step, right + j, right_stride, out + j, out_stride);
  }
  constexpr int narrow = bytes > 32 ? 32 : 16;
  for (; j < columns; j += narrow / 8) {
    tile_multiply_add<narrow, 1>(depth, left, row_step, depth_step, right + j, right_stride, out + j, out_stride);
  }
}

using FourRows = void (*)(int64_t columns, int64_t depth, const double* left, int64_t row_step, int64_t depth_step, const double* right,
                          int64_t right_stride, double* out, int64_t out_stride);

#ifdef REGIMES_X86_KERNELS
__attribute__((target("avx512f"))) void four_rows_avx512(int64_t columns, int64_t depth, const double* left, int64_t row_step,
                                                         int64_t depth_step, const double* right, int64_t right_stride, double* out,
                                                         int64_t out_stride) {
  four_rows<64, 2>(columns, depth, left, row_step, depth_step, right, right_stride, out, out_stride);
}
__attribute__((target("avx2"))) void four_rows_avx2(int64_t columns, int64_t depth, const double* left, int64_t row_step,
                                                    int64_t depth_step, const double* right, int64_t right_stride, double* out,
                                                    int64_t out_stride) {
  four_rows<32, 2>(columns, depth, left, row_step, depth_step, right, right_stride, out, out_stride);
}
#endif

void four_rows_portable(int64_t columns, int64_t depth, const double* left, int64_t row_step, int64_t depth_step, const double* right,
                        int64_t right_stride, double* out, int64_t out_stride) {
  four_rows<16, 2>(columns, depth, left, row_step, depth_step, right, right_stride, out, out_stride);
}

FourRows widest_four_rows() {
#ifdef REGIMES_X86_KERNELS
  if (__builtin_cpu_supports("avx512f")) return four_rows_avx512;
  if (__builtin_cpu_supports("avx2")) return four_rows_avx2;
#endif
  return four_rows_portable;
}

inline double horizontal_sum(const Pair (&sum)[4]) {
  const Pair total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return total[0] + total[1];
}

template <class Stored>
void load_centred_as(const Stored* stored, double scale, double shift, int64_t count, const double* centre, double gain,
                     double* out) {
  for (int64_t k = 0; k < count; ++k) out[k] = (static_cast<double>(stored[k]) * scale + shift - centre[k]) * gain;
}

}  // namespace

void multiply_add(int64_t rows, int64_t depth, int64_t columns, const double* left, int64_t left_stride, const double* right,
                  int64_t right_stride, double* out, int64_t out_stride) {
  // A slice of `right` (512 x 16 columns: 64 KB) stays near while the rows pass.
  constexpr int64_t slice = 512;
  const FourRows four = widest_four_rows();
  for (int64_t s = 0; s < depth; s += slice) {
    const int64_t length = std::min(slice, depth - s);
    for (int64_t i = 0; i < rows; i += 4) {
      four(columns, length, left + i * left_stride + s, left_stride, 1, right + s * right_stride, right_stride, out + i * out_stride, out_stride);
    }
  }
}

void transposed_multiply_add(int64_t rows, int64_t depth, int64_t columns, const double* left, int64_t left_stride,
                             const double* right, int64_t right_stride, double* out, int64_t out_stride) {
  const FourRows four = widest_four_rows();
  for (int64_t k = 0; k < depth; k += 4) {
    four(columns, rows, left + k, 1, left_stride, right, right_stride, out + k * out_stride, out_stride);
  }
}

double dot(const double* x, const double* y, int64_t n) {
  Pair sum[4] = {};
  int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[i] += load(x + k + 2 * i) * load(y + k + 2 * i);
  }
  double tail = 0;
  for (; k < n; ++k) tail += x[k] * y[k];
  return horizontal_sum(sum) + tail;
}

double rank_two_update_dot(double* row, double row_u, double row_w, const double* u, const double* w, const double* v, int64_t n) {
  Pair sum[4] = {};
  const Pair us = both(row_u);
  const Pair ws = both(row_w);
  int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int64_t at = k + 2 * i;
      const Pair updated = load(row + at) - (us * load(w + at) + ws * load(u + at));
      store(row + at, updated);
      sum[i] += updated * load(v + at);
    }
  }
  double tail = 0;
  for (; k < n; ++k) {
    row[k] -= row_u * w[k] + row_w * u[k];
    tail += row[k] * v[k];
  }
  return horizontal_sum(sum) + tail;
}

void load_centred(const DataView& view, int64_t row, int64_t first, int64_t count, const double* centre, double gain, double* out) {
  const int64_t at = row * view.columns + first;
  switch (view.dtype) {
    case Dtype::u8:
      return load_centred_as(static_cast<const uint8_t*>(view.stored) + at, view.scale, view.shift, count, centre, gain, out);
    case Dtype::f16:
      return load_centred_as(static_cast<const Half*>(view.stored) + at, view.scale, view.shift, count, centre, gain, out);
    case Dtype::f32:
      return load_centred_as(static_cast<const float*>(view.stored) + at, view.scale, view.shift, count, centre, gain, out);
    case Dtype::f64:
      return load_centred_as(static_cast<const double*>(view.stored) + at, view.scale, view.shift, count, centre, gain, out);
  }
}

}  // namespace regimes
