#include "row_projection.h"

#include <cstring>

// The one file whose products the compiler may fuse with the sums (CMakeLists.txt): fewer roundings, and half the instructions.
#if defined(__clang__)
#pragma STDC FP_CONTRACT ON
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

namespace regimes {
namespace {

#define REGIMES_INLINE inline __attribute__((always_inline))

template <int bytes>
struct Vector {
  typedef float Type __attribute__((vector_size(bytes)));
};

// GCC would read from memory, once for each row, what all rows need.
template <class Lanes>
REGIMES_INLINE void keep_in_register(Lanes& lanes) {
#ifdef REGIMES_X86_KERNELS
  asm("" : "+x"(lanes));
#endif
}

// Adds the products of columns [first, end) to those of `height` rows: as many as leave the sums in registers.
template <int bytes, int height>
REGIMES_INLINE void project_block(const float* rows, int64_t stride, int64_t first, int64_t end, const float* panel, float* out) {
  using Lanes = typename Vector<bytes>::Type;
  constexpr int width = bytes / static_cast<int>(sizeof(float));
  constexpr int parts = static_cast<int>(projection_lanes) / width;
  Lanes sum[height][parts] = {};
  for (int64_t j = first; j < end; ++j) {
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) {
      Lanes direction;
      std::memcpy(&direction, panel + j * projection_lanes + p * width, bytes);
      if constexpr (height > 1) keep_in_register(direction);
#pragma GCC unroll 8
      for (int r = 0; r < height; ++r) sum[r][p] += rows[r * stride + j] * direction;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < height; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) {
      Lanes total;
      std::memcpy(&total, out + r * projection_lanes + p * width, bytes);
      total += sum[r][p];
      std::memcpy(out + r * projection_lanes + p * width, &total, bytes);
    }
  }
}

// The panel's part of one chain stays near for all rows.
template <int bytes, int height>
REGIMES_INLINE void project_all(const float* rows, int64_t stride, int64_t count, int64_t d, const float* panel, float* out) {
  const int64_t chain = projection_chain(d);
  std::memset(out, 0, static_cast<size_t>(count * projection_lanes) * sizeof(float));
  for (int64_t first = 0; first < d; first += chain) {
    const int64_t end = first + chain < d ? first + chain : d;
    int64_t i = 0;
    for (; i + height <= count; i += height) {
      project_block<bytes, height>(rows + i * stride, stride, first, end, panel, out + i * projection_lanes);
    }
    for (; i < count; ++i) project_block<bytes, 1>(rows + i * stride, stride, first, end, panel, out + i * projection_lanes);
  }
}

template <int bytes>
REGIMES_INLINE void accumulate_all(const float* rows, int64_t stride, int64_t count, int64_t columns, const float* weights, float* out) {
  using Lanes = typename Vector<bytes>::Type;
  constexpr int width = bytes / static_cast<int>(sizeof(float));
  constexpr int parts = static_cast<int>(projection_lanes) / width;
  for (int64_t i = 0; i < count; ++i) {
    Lanes weight[parts];
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) std::memcpy(&weight[p], weights + i * projection_lanes + p * width, bytes);
    for (int64_t j = 0; j < columns; ++j) {
      const float factor = rows[i * stride + j];
#pragma GCC unroll 8
      for (int p = 0; p < parts; ++p) {
        Lanes sum;
        std::memcpy(&sum, out + j * projection_lanes + p * width, bytes);
        sum += factor * weight[p];
        std::memcpy(out + j * projection_lanes + p * width, &sum, bytes);
      }
    }
  }
}

#ifdef REGIMES_X86_KERNELS
#define REGIMES_FOR(instructions) __attribute__((target(instructions)))

REGIMES_FOR("avx512f")
void project_avx512(const float* rows, int64_t stride, int64_t count, int64_t d, const float* panel, float* out) {
  project_all<64, 8>(rows, stride, count, d, panel, out);
}
REGIMES_FOR("avx2,fma")
void project_avx2(const float* rows, int64_t stride, int64_t count, int64_t d, const float* panel, float* out) {
  project_all<32, 2>(rows, stride, count, d, panel, out);
}
REGIMES_FOR("avx512f")
void accumulate_avx512(const float* rows, int64_t stride, int64_t count, int64_t columns, const float* weights, float* out) {
  accumulate_all<64>(rows, stride, count, columns, weights, out);
}
REGIMES_FOR("avx2,fma")
void accumulate_avx2(const float* rows, int64_t stride, int64_t count, int64_t columns, const float* weights, float* out) {
  accumulate_all<32>(rows, stride, count, columns, weights, out);
}
#endif

}  // namespace

void project_rows(const float* rows, int64_t stride, int64_t count, int64_t d, const float* panel, float* out) {
#ifdef REGIMES_X86_KERNELS
  if (__builtin_cpu_supports("avx512f")) return project_avx512(rows, stride, count, d, panel, out);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return project_avx2(rows, stride, count, d, panel, out);
#endif
  project_all<16, 1>(rows, stride, count, d, panel, out);
}

void accumulate_columns(const float* rows, int64_t stride, int64_t count, int64_t columns, const float* weights, float* out) {
#ifdef REGIMES_X86_KERNELS
  if (__builtin_cpu_supports("avx512f")) return accumulate_avx512(rows, stride, count, columns, weights, out);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return accumulate_avx2(rows, stride, count, columns, weights, out);
#endif
  accumulate_all<16>(rows, stride, count, columns, weights, out);
}

}  // namespace regimes
