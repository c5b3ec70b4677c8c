// The kernels of small.h, written once over `Lanes` (8 float64) and `Floats` (16 float32); see kernels_body.h for the rules.
#pragma once

#include "small.h"

namespace {

using regimes::box_tile;
using regimes::ExactSums;
using regimes::SmallSums;
using regimes::SmallTile;

void upper_bounds(const double* low, const double* high, const double* heaviest, int64_t padded, int64_t d, const double* x, double a,
                  double inverse_twice_b2, double* upper) {
  // The distance shrinks by far more than its own rounding and that of a logit; the weight's addition rounds by 2^-53 of the result.
  const Lanes factor = broadcast(a), zero = broadcast(0), scale = broadcast(-inverse_twice_b2 * (1 - 1e-13)), least = broadcast(-1e307);
  const Lanes above = broadcast(4e-16), below = broadcast(-4e-16);
  for (int64_t tile = 0; tile < padded; tile += 8) {
    Lanes square = zero;
    for (int64_t k = 0; k < d; ++k) {
      const Lanes query = broadcast(x[k]);
      const Lanes over = subtract_product(query, factor, load(high + k * padded + tile));
      const Lanes under = zero - subtract_product(query, factor, load(low + k * padded + tile));
      const Lanes outside = max(max(over, under), zero);
      square = multiply_add(outside, outside, square);
    }
    const Lanes weight = load(heaviest + tile), logit = max(square * scale, least) + weight;
    store(upper + tile, logit + max(logit * below, logit * above));
  }
}

template <int D, bool Biased>
inline void add_tile_of(const SmallTile& tile, double* state, float* weights) {
  Floats t[D];
#pragma GCC unroll 16
  for (int k = 0; k < D; ++k) t[k] = spread(tile.t[k]);
  const Floats slope = spread(tile.slope), start = spread(tile.start), least = spread(-60);
  Floats weight = spread(0), gap = weight, curvature = weight, squares = weight, moments[D];
#pragma GCC unroll 16
  for (int k = 0; k < D; ++k) moments[k] = weight;

  for (int64_t i = 0; i < box_tile; i += 16) {
    const float* rows = tile.rows + i;
    Floats square;
#pragma GCC unroll 16
    for (int block = 0; block < D; block += 4) {
      const Floats first = t[block] - load(rows + block * box_tile);
      Floats part = first * first;
#pragma GCC unroll 16
      for (int k = block + 1; k < (block + 4 < D ? block + 4 : D); ++k) {
        const Floats e = t[k] - load(rows + k * box_tile);
        part = multiply_add(e, e, part);
      }
      square = block == 0 ? part : square + part;
    }
    const Floats exponent = subtract_product(Biased ? start + load(tile.bias + i) : start, slope, square);
    const Floats w = where_above(exponent, least, power_of_two(exponent));
    weight = weight + w;
    const Floats weighted = w * exponent;
    gap = gap + weighted;
    curvature = multiply_add(weighted, exponent, curvature);
    squares = multiply_add(w, w, squares);
#pragma GCC unroll 16
    for (int k = 0; k < D; ++k) moments[k] = multiply_add(w, load(rows + k * box_tile), moments[k]);
    if (weights != nullptr) store(weights + i, w);
  }

  const auto add = [state](int sum, Lanes value) { store(state + sum * 8, load(state + sum * 8) + value); };
  const Lanes mass = fold(weight), tilt = fold(gap), offset = broadcast(static_cast<double>(tile.start));
  const Lanes energy = offset * mass - tilt;
  // sum w (start - log2 w)^2, with what the float32 sums and the cancellation may have lost.
  const Lanes spare = broadcast(1 + 1e-5), square = multiply_add(offset * spare, offset * mass, fold(curvature) * spare);
  const Lanes rounding = broadcast(tile.rounding) * mass;
  add(SmallSums::weight, mass);
  add(SmallSums::gap, tilt);
  add(SmallSums::squares, fold(squares));
  add(SmallSums::energy, energy);
  add(SmallSums::energy_squared, square - broadcast(2) * offset * tilt);
  add(SmallSums::displacement, broadcast(tile.radius * tile.radius) * energy);
  add(SmallSums::rounding, rounding);
  add(SmallSums::rounding_squared, broadcast(tile.rounding) * rounding);
  add(SmallSums::spread, broadcast(tile.radius) * mass);
#pragma GCC unroll 16
  for (int k = 0; k < D; ++k) add(SmallSums::moments + k, multiply_add(broadcast(tile.shift[k]), mass, fold(moments[k])));
}

template <int D>
void add_tile_sized(const SmallTile& tile, double* state, float* weights) {
  if (tile.bias != nullptr) {
    add_tile_of<D, true>(tile, state, weights);
  } else {
    add_tile_of<D, false>(tile, state, weights);
  }
}

void add_tile(const SmallTile& tile, int64_t d, double* state, float* weights) {
  switch (d) {
#define REGIMES_DIMENSION(D) \
  case D:                    \
    return add_tile_sized<D>(tile, state, weights);
    REGIMES_DIMENSION(1)
    REGIMES_DIMENSION(2)
    REGIMES_DIMENSION(3)
    REGIMES_DIMENSION(4)
    REGIMES_DIMENSION(5)
    REGIMES_DIMENSION(6)
    REGIMES_DIMENSION(7)
    REGIMES_DIMENSION(8)
    REGIMES_DIMENSION(9)
    REGIMES_DIMENSION(10)
    REGIMES_DIMENSION(11)
    REGIMES_DIMENSION(12)
#undef REGIMES_DIMENSION
    default:
      return;
  }
}

void tile_logits(const double* rows, const double* bias, int64_t d, const double* x, double a, double inverse_twice_b2, double* logits) {
  const Lanes factor = broadcast(a), scale = broadcast(-inverse_twice_b2), least = broadcast(-1e307);
  for (int64_t i = 0; i < box_tile; i += 16) {
    Lanes first = broadcast(0), second = first;
    for (int64_t k = 0; k < d; ++k) {
      const Lanes query = broadcast(x[k]);
      const Lanes e = subtract_product(query, factor, load(rows + k * box_tile + i));
      const Lanes f = subtract_product(query, factor, load(rows + k * box_tile + i + 8));
      first = multiply_add(e, e, first);
      second = multiply_add(f, f, second);
    }
    first = max(first * scale, least);
    second = max(second * scale, least);
    if (bias != nullptr) {
      first = first + load(bias + i);
      second = second + load(bias + i + 8);
    }
    store(logits + i, first);
    store(logits + i + 8, second);
  }
}

void add_exact(double* logits, const double* rows, int64_t d, double maximum, const double* origin, double* state) {
  const Lanes top = broadcast(maximum);
  Lanes rest = broadcast(0), gap = rest, gap_squared = rest, squares = rest;
  for (int64_t i = 0; i < box_tile; i += 8) {
    const Lanes logit = load(logits + i), distance = top - logit, w = exponential(logit - top), weighted = w * distance;
    rest = rest + w;
    gap = gap + weighted;
    gap_squared = multiply_add(weighted, distance, gap_squared);
    squares = multiply_add(w, w, squares);
    store(logits + i, w);
  }
  const auto add = [state](int sum, Lanes value) { store(state + sum * 8, load(state + sum * 8) + value); };
  add(ExactSums::rest, rest);
  add(ExactSums::gap, gap);
  add(ExactSums::gap_squared, gap_squared);
  add(ExactSums::squares, squares);
  for (int64_t k = 0; k < d; ++k) {
    const Lanes middle = broadcast(origin[k]);
    Lanes moment = broadcast(0);
    for (int64_t i = 0; i < box_tile; i += 8) moment = multiply_add(load(logits + i), load(rows + k * box_tile + i) - middle, moment);
    add(ExactSums::moments + static_cast<int>(k), moment);
  }
}

constexpr regimes::SmallKernels small_table = {upper_bounds, add_tile, tile_logits, add_exact};

}  // namespace
