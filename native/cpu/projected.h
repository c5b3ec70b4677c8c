// Screening's first products: rows of few unsigned bytes (PrefixRows) times queries of 16-bit integers, one table per instruction set. Rows
// stand in tiles of 64, 16 rows to a register: tile [4][columns / 4][16 rows][4 columns]. A product
//   P_r = sum_k u_rk X_k,  |X_k| <= projected_limit,  columns <= 128
// is an exact integer of 32 bits whatever the order, and what a row is worth the float32
//   value_r = gain_r ((P_r - centre) step + offset) + (slack_r radius + bias_r)
// rounded when the integer becomes a float, and by each multiplication and addition in one rounding (two on the portable path).
#pragma once

#include <cstdint>

namespace regimes {

inline constexpr int projected_tile = 64;
inline constexpr int32_t projected_limit = 32639;  // two digits of a byte, 127 * 256 + 127; 255 * 32639 * 128 < 2^31

struct ProjectedQuery {
  int32_t centre;
  float step, offset, radius;
};

// Of the rows of one tile.
struct ProjectedRows {
  const float *gain, *slack, *bias;
};

struct ProjectedKernels {
  // Bytes of a packed query, a multiple of 64, and packing of x [columns].
  int64_t (*query_bytes)(int64_t columns);
  void (*pack)(const int32_t* x, int64_t columns, void* packed);

  // most[i] = the largest value of a tile's rows for packed query i.
  void (*tile_maxima)(const uint8_t* tile, int64_t columns, const char* const* packed, const ProjectedQuery* queries, int count,
                      const ProjectedRows& of_rows, float* most);

  // Bit r of masks[i]: value_r of query i is at least thresholds[i].
  void (*tile_masks)(const uint8_t* tile, int64_t columns, const char* const* packed, const ProjectedQuery* queries, int count,
                     const ProjectedRows& of_rows, const float* thresholds, uint64_t* masks);

  // The values of a tile's rows for one packed query.
  void (*tile_values)(const uint8_t* tile, int64_t columns, const char* packed, const ProjectedQuery& query, const ProjectedRows& of_rows,
                      float* values);
};

// Null where the instruction set was not compiled or this machine lacks it.
const ProjectedKernels* projected_vnni();
const ProjectedKernels* projected_avx512();
const ProjectedKernels* projected_avx2();
const ProjectedKernels* projected_portable();

}  // namespace regimes
