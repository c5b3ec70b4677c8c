#include "dense_words.h"

#include <algorithm>
#include <cmath>

#include "../core/dither.h"

namespace regimes {

namespace {

constexpr int64_t least_rows = 2048;  // of fewer the bounds on random roundings say too little

}  // namespace

bool dense_words_apply(const Instructions& set, const Target& target) {
  const bool in_digits = target.layouts->digits.lossless && set.digits->faster_than_words;
  const bool even = target.layouts->digits.gain.empty();  // the longest rows make words of the others coarse
  return set.words != nullptr && !in_digits && even && target.n >= least_rows;
}

WordUnits::WordUnits(const DigitRows& rows) : stride(static_cast<int64_t>(rows.scale.size()) + 16) {
  if (rows.lossless) {
    most_sum = 1052000;  // 2^3 chains of these weights and 255 stay below 2^31
    centre.assign(rows.centre.begin(), rows.centre.end());
    centre.resize(centre.size() + 16);
    return;
  }
  most_sum = 65535;
  shift = 3;
  double square = 0;
  for (size_t j = 0; j < rows.scale.size(); ++j) {
    const int centre = rows.centre[j];
    const double largest = static_cast<double>(rows.largest_gain) * rows.scale[j] * std::max(centre, 255 - centre) + rows.largest_residual;
    unit.push_back(static_cast<float>(std::max(largest * (1 + 1e-6) / 32766, 1e-30)));
    inverse.push_back(1 / unit.back());
    bits.push_back(static_cast<int32_t>(column_bits(static_cast<int64_t>(j))));
    square += static_cast<double>(unit.back()) * static_cast<double>(unit.back());
  }
  norm = std::sqrt(square);
}

}  // namespace regimes
