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

void group_products(const uint8_t* rows, int64_t stride, int count, int64_t d, const void* packed, int groups, int, double* out,
                    int64_t out_rows) {
  for (int g = 0; g < groups; ++g) {
    const double* x = static_cast<const double*>(packed) + g * digit_lanes * d;
    for (int64_t column = 0; column < d; column += column_block) {
      const int64_t end = column + column_block < d ? column + column_block : d;
      for (int r = 0; r < count; ++r) {
        double* products = out + (g * out_rows + r) * digit_lanes;
        double sums[digit_lanes] = {};
        for (int64_t k = column; k < end; ++k) {
          const double value = rows[r * stride + k];
          for (int lane = 0; lane < digit_lanes; ++lane) sums[lane] += value * x[k * digit_lanes + lane];
        }
        for (int lane = 0; lane < digit_lanes; ++lane) products[lane] = column == 0 ? sums[lane] : products[lane] + sums[lane];
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

constexpr DigitKernels table{"portable",  planes_full, limit,          limit,          group_bytes,
                             single_bytes, pack_group, pack_single, group_products, single_products};

}  // namespace

const DigitKernels* digits_portable() { return &table; }

}  // namespace regimes
