// Hashes by which rows that may be equal are found; that they are, a comparison has to tell.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace regimes {

inline constexpr uint64_t row_hash_seed = 0x243F6A8885A308D3u;

// Eight bytes of a row: multiply and fold, as in the finalisers of MurmurHash.
inline uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
  return hash ^ (hash >> 29);
}

inline uint64_t hash_bytes(const uint8_t* row, int64_t size, uint64_t hash = row_hash_seed) {
  for (int64_t k = 0; k < size; k += 8) {
    uint64_t word = 0;
    std::memcpy(&word, row + k, static_cast<size_t>(std::min<int64_t>(8, size - k)));
    hash = mix(hash, word);
  }
  return hash;
}

}  // namespace regimes
