// Views: the only way arrays travel through native code. A view owns nothing; rows are samples, row-major.
#pragma once

#include <cstdint>
#include <cstring>

namespace regimes {

// IEEE 754 binary16 as stored; as a number it is widened, which is exact. Always inlined: code of one instruction set must not serve
// another.
struct Half {
  uint16_t bits;

  [[gnu::always_inline]] inline operator float() const {
    // Exponents move from bias 15 to bias 127, the largest to the largest. Below 2^-14 the bits count multiples of 2^-24: behind the
    // leading bit of 2^-14 they are what that is too large by. No branch, so that loops become vectors.
    const uint32_t magnitude = bits & 0x7fffu;
    const uint32_t shifted = magnitude << 13;
    const uint32_t normal = shifted + (magnitude < 0x7c00u ? 112u << 23 : 224u << 23);
    const float excess = __builtin_bit_cast(float, shifted + (113u << 23)) - 0x1p-14f;
    const uint32_t small = __builtin_bit_cast(uint32_t, excess);
    return __builtin_bit_cast(float, (magnitude < 0x400u ? small : normal) | (static_cast<uint32_t>(bits) & 0x8000u) << 16);
  }
};

enum class Dtype : uint8_t { u8, f16, f32, f64 };

inline int64_t element_bytes(Dtype dtype) {
  return dtype == Dtype::u8 ? 1 : dtype == Dtype::f16 ? 2 : dtype == Dtype::f32 ? 4 : 8;
}

// Rows of a data set as stored, in memory or in the mapping of a file; elements are aligned to their size. The value of an element is
// stored * scale + shift, two float64 roundings, whatever the dtype.
struct DataView {
  const void* stored = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  Dtype dtype = Dtype::f64;
  double scale = 1;
  double shift = 0;

  double value(int64_t row, int64_t column) const {
    const int64_t k = row * columns + column;
    switch (dtype) {
      case Dtype::u8:
        return static_cast<const uint8_t*>(stored)[k] * scale + shift;
      case Dtype::f16:
        return static_cast<double>(static_cast<const Half*>(stored)[k]) * scale + shift;
      case Dtype::f32:
        return static_cast<double>(static_cast<const float*>(stored)[k]) * scale + shift;
      case Dtype::f64:
        return static_cast<const double*>(stored)[k] * scale + shift;
    }
    return 0;
  }
};

// Contiguous row-major float64 matrix.
struct MatrixView {
  const double* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;

  const double* row(int64_t i) const { return data + i * columns; }
  double operator()(int64_t i, int64_t j) const { return data[i * columns + j]; }
};

}  // namespace regimes
