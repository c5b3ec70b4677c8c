// Views: the only way arrays travel through native code. A view owns nothing; rows are samples, row-major.
#pragma once

#include <cstdint>
#include <cstring>

namespace regimes {

enum class Dtype : uint8_t { u8, f32, f64 };

// Rows of a data set as stored. The value of an element is stored * scale + shift, two float64 roundings, whatever the dtype.
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
