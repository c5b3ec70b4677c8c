// Packing of queries as 16-bit words, for machines that multiply bytes by widening them. Included by projected_avx2.cpp and projected_avx512.cpp.
#pragma once

#include <cstdint>

namespace {

int64_t packed_bytes(int64_t columns) { return (2 * columns + 63) / 64 * 64; }
void pack_query(const int32_t* x, int64_t columns, void* packed) {
  for (int64_t k = 0; k < columns; ++k) static_cast<int16_t*>(packed)[k] = static_cast<int16_t>(x[k]);
}

}  // namespace
