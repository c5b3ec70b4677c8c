#include "dense_words.h"

#include <algorithm>
#include <cmath>

namespace regimes {

namespace {

constexpr int64_t least_rows = 2048;  // of fewer the bounds on random roundings say too little

// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
uint64_t random_bits(uint64_t place) {
  uint64_t z = (place + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

bool dense_words_apply(const Instructions& set, const Target& target) {
  return set.words != nullptr && !target.layouts->digits.lossless && target.n >= least_rows;
}

WordUnits::WordUnits(const DigitRows& rows) : stride(static_cast<int64_t>(rows.scale.size()) + 16) {
  double square = 0;
  for (size_t j = 0; j < rows.scale.size(); ++j) {
    const int centre = rows.centre[j];
    const double largest = rows.scale[j] * std::max(centre, 255 - centre) + rows.largest_residual;
    unit.push_back(static_cast<float>(std::max(largest * (1 + 1e-6) / 32766, 1e-30)));
    inverse.push_back(1 / unit.back());
    bits.push_back(static_cast<int32_t>(random_bits(~static_cast<uint64_t>(j)) >> 32));
    square += static_cast<double>(unit.back()) * static_cast<double>(unit.back());
  }
  norm = std::sqrt(square);
}

float dither_of(int64_t row) { return static_cast<float>(random_bits(static_cast<uint64_t>(row)) >> 40) * 0x1p-24f; }

}  // namespace regimes
