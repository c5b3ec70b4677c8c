// Numbers as if drawn at random, for rounding whose errors have mean zero and are independent whatever the data: x becomes
// floor(x / step + u) with u in [0, 1), off by less than a step, with a variance of at most 1/4 step^2.
#pragma once

#include <cstdint>

namespace regimes {

// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
inline uint64_t random_bits(uint64_t place) {
  uint64_t z = (place + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// 32 bits of a column; with those of a row, column ^ row, they tell the entries of a matrix apart.
inline uint32_t column_bits(int64_t column) { return static_cast<uint32_t>(random_bits(~static_cast<uint64_t>(column)) >> 32); }
inline uint32_t row_bits(int64_t row) { return static_cast<uint32_t>(random_bits(static_cast<uint64_t>(row)) >> 32); }

// Factors of rows in [1, 9/8), exact in float32: products of stretched rows round each in its own way, also where rows agree. At places
// -1, -2, ... those of chains (chain_stretch.h) and of blocks of rows (dense_heavy.h).
inline float row_stretch(int64_t row) {
  return 1 + static_cast<float>(static_cast<int32_t>(random_bits(static_cast<uint64_t>(row)) & 0xfffff)) * 0x1p-23f;
}

// In [0, 1), from the upper 24 bits.
inline float dither_of(uint32_t bits) { return static_cast<float>(static_cast<int32_t>(bits >> 8)) * 0x1p-24f; }

}  // namespace regimes
