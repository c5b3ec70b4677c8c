// Exact integer products of rows of unsigned bytes with queries in fixed point, one table per instruction set. A query is a vector
// of integers X_k, |X_k| <= limit(planes), split into `planes` digits that the machine multiplies; the products
//   P_r = sum_k u_rk X_k
// are exact integers (below 2^53 for d < 2^19) whatever the order, so that threads, tiles and batches cannot change a bit. One plane
// is what screening needs; `full_planes` give at least 23 bits.
// Reading: up to 63 bytes after the end of a row; their digits are zero.
#pragma once

#include <cstdint>

namespace regimes {

inline constexpr int digit_lanes = 16;  // queries per group

// Packed digits live in whole aligned lines.
struct alignas(64) DigitLine {
  char bytes[64];
};

struct DigitKernels {
  const char* name;        // "amx", "vnni", "words-avx512", "words-avx2", "portable"
  int full_planes;
  int32_t limit_one;       // largest |X_k| in one plane
  int32_t limit_full;      // largest |X_k| in full_planes planes
  bool faster_than_floats; // whether products in full precision beat those of float32
  bool faster_than_words;  // and those of 16 bits (words.h)

  // Bytes of one packed group (16 queries), and of one packed single query: multiples of 64.
  int64_t (*group_bytes)(int64_t d, int planes);
  int64_t (*single_bytes)(int64_t d, int planes);
  // x [16][d] -> a packed group; x [d] -> a packed single query. Packed memory is aligned to 64 bytes. planes: 1 or full_planes.
  void (*pack_group)(const int32_t* x, int64_t d, int planes, void* packed);
  void (*pack_single)(const int32_t* x, int64_t d, int planes, void* packed);
  // x [d][16] -> a packed group, the same as pack_group of its transpose; a fast one.
  void (*pack_lanes)(const int32_t* x, int64_t d, int planes, void* packed);

  // out[g][r][16] = P for `count` rows (rows + r * stride) and `groups` consecutive packed groups; out has out_rows rows per group.
  void (*group_products)(const uint8_t* rows, int64_t stride, int count, int64_t d, const void* packed, int groups, int planes,
                         double* out, int64_t out_rows);
  // out[i] = P for the rows index[i] (index null: rows 0 ... count - 1) and one packed single query.
  void (*single_products)(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* packed,
                          int planes, double* out);
  // out[q * out_stride + i] = the same in one plane for each of several packed single queries.
  void (*several_products)(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t d, const void* const* packed,
                           int queries, double* out, int64_t out_stride);
  // The sums of listed rows: out[j * out_stride] = sum_i rows[index[i] * stride + j] X_i for j < columns, from X [count], count <= 4096,
  // packed as a single query in full_planes. Null where floats are faster.
  void (*listed_sums)(const uint8_t* rows, int64_t stride, const int32_t* index, int64_t count, int64_t columns, const void* packed,
                      double* out, int64_t out_stride);
};

// Null where the instruction set was not compiled or this machine lacks it.
const DigitKernels* digits_amx();
const DigitKernels* digits_vnni();
const DigitKernels* digits_words_avx512();
const DigitKernels* digits_words_avx2();
const DigitKernels* digits_portable();

}  // namespace regimes
