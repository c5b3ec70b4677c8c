// Factors by which the parts of queries that meet in one chain of float32 are stretched, and the sum of a chain is shrunk again: chains
// that add the same number again and again round each in its own way, like rows that agree (row_stretch).
#pragma once

#include <cstdint>
#include <vector>

#include "../core/dither.h"

namespace regimes {

struct ChainStretch {
  std::vector<double> stretch;  // [chains] 1 / shrink
  std::vector<float> shrink;    // in [1, 9/8)

  ChainStretch(int64_t steps, int64_t chain) {
    for (int64_t c = 0; c * chain < steps; ++c) {
      shrink.push_back(row_stretch(-1 - c));
      stretch.push_back(1 / static_cast<double>(shrink.back()));
    }
  }
};

}  // namespace regimes
