// Rows of low dimension in space order: tiles of neighbours with bounding boxes, so that what is far from a query is skipped by a
// rigorous bound. Coordinates of a tile lie one after the other ("[d][tile]"), as the kernels read them.
#pragma once

#include <cstdint>
#include <vector>

#include "chunks.h"
#include "operations.h"

namespace regimes {

inline constexpr int64_t box_dimensions = 12;  // largest d: beyond, boxes of 256 rows cover too much, and screening is faster at most noise
inline constexpr int64_t box_tile = 256;       // rows of a tile; all but the last are full
inline constexpr int64_t tiles_per_chunk = chunk_rows / box_tile;
static_assert(chunk_rows % box_tile == 0);

struct Boxes {
  int64_t tiles = 0;                  // 0: no layout
  int64_t padded = 0;                 // tiles rounded up to whole groups of 8
  std::vector<int32_t> order;         // [tiles * box_tile] row at each place, ascending inside a tile; -1 behind the last row
  std::vector<double> low, high;      // [d][padded] extremes of each tile's values; padding repeats the last tile
  std::vector<double> centre;         // [tiles][d] middle of the box
  std::vector<double> radius;         // [tiles] max_i |y_i - centre|, rounded up
  std::vector<double> heaviest;       // [padded] largest log weight of the tile; 0 for uniform weights
  std::vector<double> spread;         // [tiles] largest - smallest log weight of the tile, nats, leaving zero weights out
  double largest_radius = 0;
  std::vector<float> rows;            // [tiles][d][box_tile] y_i - centre, to nearest; 0 behind the last row
  std::vector<float> bias;            // [tiles][box_tile] log2 of the weight over the heaviest; -1e30 for none and behind the last row.
                                      // Uniform weights: the last tile alone
  std::vector<double> log_weights;    // [tiles][box_tile], no_weight behind the last row. Uniform weights: the last tile, 0 elsewhere
  std::vector<uint8_t> stored;        // [tiles][d][box_tile] the rows as stored, of the data's type
  bool weighted = false;

  // Both null where the tile is full and the weights are uniform.
  const float* bias_of(int64_t tile) const {
    return weighted ? bias.data() + tile * box_tile : tile == tiles - 1 ? bias.data() : nullptr;
  }
  const double* log_weights_of(int64_t tile) const {
    return weighted ? log_weights.data() + tile * box_tile : tile == tiles - 1 ? log_weights.data() : nullptr;
  }
  int64_t bytes() const;
};

// For a target of points with d <= box_dimensions (leaves `boxes` empty otherwise). A median split along the widest direction until
// tiles remain, at multiples of chunks while there are several: O(n log n), 16 n bytes beside the result; the bits do not depend on
// the threads. Code::cancelled.
Status build_boxes(const Target& target, const Execution& execution, Boxes& boxes);

}  // namespace regimes
