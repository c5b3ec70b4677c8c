// Plain loops: the definition of the integer products, for machines without a kernel of their own.
#include <algorithm>

#include "digits.h"

namespace regimes {
namespace {

int64_t single_bytes(int64_t d, int) { return (d * static_cast<int64_t>(sizeof(int32_t)) + 63) / 64 * 64; }
int64_t group_bytes(int64_t d, int) { return digit_lanes * d * static_cast<int64_t>(sizeof(int32_t)); }

void pack_single(const int32_t* x, int64_t d, int, void* packed) { std::copy_n(x, d, static_cast<int32_t*>(packed)); }

void pack_group(const int32_t* x, int64_t d, int, void* packed) {
  for (int64_t k = 0; k < d; ++k) {
    for (int lane = 0; lane < digit_lanes; ++lane) static_cast<int32_t*>(packed)[k * digit_lanes + lane] = x[lane * d + k];
  }
}

void group_products(const uint8_t* rows, int64_t stride, int count, int64_t d, const void* packed, int groups, int, double* out,
                    int64_t out_rows) {
  for (int g = 0; g < groups; ++g) {
    const int32_t* x = static_cast<const int32_t*>(packed) + g * digit_lanes * d;
    for (int r = 0; r < count; ++r) {
      int64_t sums[digit_lanes] = {};
      for (int64_t k = 0; k < d; ++k) {
        const int64_t u = rows[r * stride + k];
        for (int lane = 0; lane < digit_lanes; ++lane) sums[lane] += u * x[k * digit_lanes + lane];
      }
      for (int lane = 0; lane < digit_lanes; ++lane) out[(g * out_rows + r) * digit_lanes + lane] = static_cast<double>(sums[lane]);
    }
  }
}

void single_products(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* packed, int,
                     double* out) {
  const int32_t* x = static_cast<const int32_t*>(packed);
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* row = rows + (index ? index[i] : i) * stride;
    int64_t sum = 0;
    for (int64_t k = 0; k < d; ++k) sum += int64_t{row[k]} * x[k];
    out[i] = static_cast<double>(sum);
  }
}

constexpr DigitKernels table{"portable", 1, (1 << 23) - 1, (1 << 23) - 1, group_bytes, single_bytes, pack_group, pack_single, group_products, single_products};

}  // namespace

const DigitKernels* digits_portable() { return &table; }

}  // namespace regimes
