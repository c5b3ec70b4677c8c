// Plain loops in float64, which holds every product and sum exactly: the definition of the integer products, for machines without a
// kernel of their own. One plane is full.
#include "digits.h"

namespace regimes {
namespace {

constexpr int planes_full = 1;
constexpr int32_t limit = (1 << 25) - 1;
constexpr int64_t column_block = 256;  // 16 lanes of columns that stay in the first-level cache while rows pass

int64_t single_bytes(int64_t d, int) { return (d + 7) / 8 * 8 * static_cast<int64_t>(sizeof(double)); }
int64_t group_bytes(int64_t d, int) { return digit_lanes * d * static_cast<int64_t>(sizeof(double)); }

void pack_single(const int32_t* x, int64_t d, int, void* packed) {
  for (int64_t k = 0; k < d; ++k) static_cast<double*>(packed)[k] = x[k];
}

void pack_group(const int32_t* x, int64_t d, int, void* packed) {
  for (int64_t k = 0; k < d; ++k) {
    for (int lane = 0; lane < digit_lanes; ++lane) static_cast<double*>(packed)[k * digit_lanes + lane] = x[lane * d + k];
  }
}

void pack_lanes(const int32_t* x, int64_t d, int, void* packed) {
  for (int64_t k = 0; k < digit_lanes * d; ++k) static_cast<double*>(packed)[k] = x[k];
}

// Rows rows and half a group at once: their sums are few enough for the registers of any machine.
template <int Rows>
void product_tile(const uint8_t* rows, int64_t stride, int64_t columns, const double* x, double* out, bool first) {
  constexpr int half = digit_lanes / 2;
  double sums[Rows][half] = {};
  for (int64_t k = 0; k < columns; ++k) {
    for (int r = 0; r < Rows; ++r) {
      const double value = rows[r * stride + k];
      for (int lane = 0; lane < half; ++lane) sums[r][lane] += value * x[k * digit_lanes + lane];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    double* total = out + r * digit_lanes;
    for (int lane = 0; lane < half; ++lane) total[lane] = first ? sums[r][lane] : total[lane] + sums[r][lane];
  }
}

void group_products(const uint8_t* rows, int64_t stride, int count, int64_t d, const void* packed, int groups, int, double* out,
                    int64_t out_rows) {
  for (int g = 0; g < groups; ++g) {
    const double* x = static_cast<const double*>(packed) + g * digit_lanes * d;
    for (int64_t column = 0; column < d; column += column_block) {
      const int64_t columns = d - column < column_block ? d - column : column_block;
      for (int half = 0; half < digit_lanes; half += digit_lanes / 2) {
        const double* lanes_of = x + column * digit_lanes + half;
        for (int r = 0; r < count;) {
          const uint8_t* row = rows + r * stride + column;
          double* products = out + (g * out_rows + r) * digit_lanes + half;
          if (r + 2 <= count) {
            product_tile<2>(row, stride, columns, lanes_of, products, column == 0);
            r += 2;
          } else {
            product_tile<1>(row, stride, columns, lanes_of, products, column == 0);
            ++r;
          }
        }
      }
    }
  }
}

void single_products(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* packed, int,
                     double* out) {
  constexpr int parts = 8;
  const double* x = static_cast<const double*>(packed);
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* row = rows + (index ? index[i] : i) * stride;
    double sums[parts] = {};
    int64_t k = 0;
    for (; k + parts <= d; k += parts) {
      for (int part = 0; part < parts; ++part) sums[part] += row[k + part] * x[k + part];
    }
    double sum = 0;
    for (; k < d; ++k) sum += row[k] * x[k];
    for (int part = 0; part < parts; ++part) sum += sums[part];
    out[i] = sum;
  }
}

void several_products(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* const* packed,
                      int queries, double* out, int64_t out_stride) {
  for (int q = 0; q < queries; ++q) single_products(rows, stride, index, count, d, packed[q], 1, out + q * out_stride);
}

constexpr DigitKernels table{"portable", planes_full, limit,      limit,          false,          false, group_bytes, single_bytes,
                             pack_group, pack_single, pack_lanes, group_products, single_products, several_products, nullptr};

}  // namespace

const DigitKernels* digits_portable() { return &table; }

}  // namespace regimes
