// Compiled with the flags of digits_vnni.cpp and -mamx-tile -mamx-int8. Groups by tiles of 16 rows x 64 bytes, straight from the rows;
// packed digits and single products are those of VNNI. The kernel grants the tile registers on request: refused, or a self-check
// that differs, and the table is not available.
#include "digits_bytes.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

constexpr int tile_side = 16;          // rows of a tile, and queries of a group
constexpr int64_t tile_columns = 64;

// Layout given by the processor's manual (palette 1).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 1 / 2 3: sums of two runs of rows by two units; 4, 5: the rows; 6, 7: the digits.
void configure(int upper, int lower) {
  TileConfig config;
  const int rows[8] = {upper, upper, lower, lower, upper, lower, tile_side, tile_side};
  for (int t = 0; t < 8; ++t) {
    config.rows[t] = static_cast<uint8_t>(rows[t]);
    config.row_bytes[t] = rows[t] > 0 ? 64 : 0;
  }
  asm volatile("" ::"r"(&config) : "memory");  // GCC 12 believes that _tile_loadconfig reads 8 bytes, and drops the other stores
  _tile_loadconfig(&config);
}

// Sums of `rows` (upper, then lower if Lower) by one or two units, [upper unit 0, upper unit 1, lower unit 0, lower unit 1][16][16].
template <bool Lower, bool Two>
void tile_products(const uint8_t* rows, int64_t stride, int64_t blocks, const char* first, const char* second, int32_t* sums) {
  _tile_zero(0);
  if constexpr (Two) _tile_zero(1);
  if constexpr (Lower) _tile_zero(2);
  if constexpr (Lower && Two) _tile_zero(3);
  for (int64_t k = 0; k < blocks; ++k) {
    _tile_loadd(4, rows + k * tile_columns, stride);
    _tile_loadd(6, first + k * 1024, 64);
    _tile_dpbusd(0, 4, 6);
    if constexpr (Two) {
      _tile_loadd(7, second + k * 1024, 64);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (Lower) {
      _tile_loadd(5, rows + tile_side * stride + k * tile_columns, stride);
      _tile_dpbusd(2, 5, 6);
      if constexpr (Two) _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (Two) _tile_stored(1, sums + 256, 64);
  if constexpr (Lower) _tile_stored(2, sums + 512, 64);
  if constexpr (Lower && Two) _tile_stored(3, sums + 768, 64);
}

void tile_group_products(const uint8_t* rows, int64_t stride, int count, int64_t d, const void* packed, int groups, int planes, double* out,
                         int64_t out_rows) {
  alignas(64) int32_t sums[4 * tile_side * digit_lanes];
  asm volatile("" ::: "memory");  // GCC 12 does not know that tile loads read memory: what a caller wrote must have been stored
  const int units = groups * planes;
  int upper = 0, lower = 0;
  for (int64_t column = 0; column < d; column += column_block) {
    const int64_t columns = d - column < column_block ? d - column : column_block;
    const int64_t blocks = (columns + tile_columns - 1) / tile_columns;
    for (int row = 0; row < count; row += 2 * tile_side) {
      const int left = count - row, wanted_upper = left < tile_side ? left : tile_side;
      const int wanted_lower = left - wanted_upper < tile_side ? left - wanted_upper : tile_side;
      if (wanted_upper != upper || wanted_lower != lower) {
        upper = wanted_upper;
        lower = wanted_lower;
        configure(upper, lower);
      }
      const uint8_t* source = rows + row * stride + column;
      for (int u = 0; u < units; u += 2) {
        const bool two = u + 1 < units;
        const char* first = static_cast<const char*>(packed) + u * plane_bytes(d) + column / columns_per_step * 64;
        const char* second = first + plane_bytes(d);
        if (lower > 0) {
          two ? tile_products<true, true>(source, stride, blocks, first, second, sums)
              : tile_products<true, false>(source, stride, blocks, first, second, sums);
        } else {
          two ? tile_products<false, true>(source, stride, blocks, first, second, sums)
              : tile_products<false, false>(source, stride, blocks, first, second, sums);
        }
        for (int i = 0; i < (two ? 2 : 1); ++i) {
          const int plane = (u + i) % planes, group = (u + i) / planes;
          double* products = out + (group * out_rows + row) * digit_lanes;
          for (int r = 0; r < upper + lower; ++r) {
            const int32_t* from = sums + (r / tile_side * 2 + i) * 256 + r % tile_side * digit_lanes;
            Products sum = plane == 0 && column == 0 ? zero_products() : load_products(products + r * digit_lanes);
            add_scaled(sum, _mm512_load_si512(from), plane_factor(plane));
            store_products(products + r * digit_lanes, sum);
          }
        }
      }
    }
  }
  _tile_release();
}

constexpr regimes::DigitKernels table = make_digits("amx", true, tile_group_products, listed_sums);

bool granted() {
#ifdef __linux__
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

// Every shape of tile, against plain loops.
bool self_check() {
  constexpr int count = 55, groups = 3;
  constexpr int64_t d = 141, stride = 150;
  alignas(64) static uint8_t rows[count * stride + 64];
  alignas(64) static char packed[groups * planes_full * plane_bytes(d)];
  static int32_t x[groups * digit_lanes * d];
  static double out[groups * count * digit_lanes];
  uint32_t state = 1;
  for (uint8_t& byte : rows) byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  constexpr int plane_counts[] = {1, planes_full}, row_counts[] = {count, 32, 20, 5};
  for (const int planes : plane_counts) {
    const int32_t limit = limit_of(planes);
    for (int32_t& value : x) {
      state = state * 1664525 + 1013904223;
      value = static_cast<int32_t>(state % (2 * static_cast<uint32_t>(limit) + 1)) - limit;
    }
    for (int g = 0; g < groups; ++g) pack_group(x + g * digit_lanes * d, d, planes, packed + g * group_bytes(d, planes));
    for (const int rows_of : row_counts) {
      tile_group_products(rows, stride, rows_of, d, packed, groups, planes, out, count);
      for (int q = 0; q < groups * digit_lanes; ++q) {
        for (int r = 0; r < rows_of; ++r) {
          int64_t sum = 0;
          for (int64_t k = 0; k < d; ++k) sum += int64_t{rows[r * stride + k]} * x[q * d + k];
          if (out[(q / digit_lanes * count + r) * digit_lanes + q % digit_lanes] != static_cast<double>(sum)) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

const regimes::DigitKernels* regimes::digits_amx() {
  static const bool available = digits_vnni() != nullptr && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
                                granted() && self_check();
  return available ? &table : nullptr;
}
