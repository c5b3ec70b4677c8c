// Rows and weights as 16-bit integers for the second product of the dense path (posterior_dense.h), where the machine has such products
// (words.h) and none of bytes that are faster.
#pragma once

#include <vector>

#include "../core/layouts.h"
#include "cpu.h"

namespace regimes {

bool dense_words_apply(const Instructions& set, const Target& target);

// y'_ij = unit_j Y_ij, |Y_ij| <= 32767, rounded; of bytes exactly, |Y_ij| <= 255.
struct WordUnits {
  int64_t stride = 0;         // of the words of a row
  std::vector<float> unit;    // [d]
  std::vector<float> inverse; // [d]
  std::vector<int32_t> bits;  // [d] that tell the columns' roundings apart; rows have random bits of their own
  std::vector<uint8_t> centre;  // [d + 16] levels of the centre
  double norm = 0;            // |unit| where rows are rounded
  float most_sum = 0;         // of the weights of a chain
  int shift = 0;              // of its sums: a block has at most 2^3 chains

  WordUnits() = default;
  explicit WordUnits(const DigitRows& rows);
};

}  // namespace regimes
