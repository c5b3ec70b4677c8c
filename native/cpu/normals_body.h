// Compiled by normals_<set>.cpp, which defines the set of numbers `Wide` of core/box_muller.h: `width` of them, with wide_counter (k,
// k + 1, ... in 64 bits each), store_wide and store_pairs (x_0 y_0 x_1 y_1 ...). Template instances over a type of an unnamed namespace
// belong to this translation unit alone.
#pragma once

#include <cstdint>

#include "normals.h"

namespace {

// The words of the next vector are made beside the normals of this one: both are long chains of operations.
void wide_normals(uint64_t seed, uint64_t trajectory, uint32_t step, int64_t d, double* z) {
  const Wide::Bits second = Wide::bits(step), third = Wide::bits(trajectory & 0xffffffffu), fourth = Wide::bits(trajectory >> 32);
  const uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  constexpr int64_t stride = 2 * width;
  auto words = regimes::philox_rounds<Wide>({wide_counter(0), second, third, fourth}, key0, key1);
  for (int64_t at = 0; at < d; at += stride) {
    const auto next = regimes::philox_rounds<Wide>({wide_counter(static_cast<uint64_t>(at / 2 + width)), second, third, fourth}, key0, key1);
    Wide::Real x, y;
    regimes::normal_pair<Wide>(words, x, y);
    double last[stride];
    double* out = at + stride <= d ? z + at : last;
    store_pairs(out, x, y);
    for (int64_t j = at; out == last && j < d; ++j) z[j] = last[j - at];
    words = next;
  }
}

// One trajectory in each of 8 lanes, z [d][8]; in the same way.
void wide_lane_normals(uint64_t seed, uint64_t trajectory, uint32_t step, int64_t d, double* z) {
  constexpr int count = 8, parts = count / width;
  const Wide::Bits second = Wide::bits(step);
  const uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  const auto words_of = [&](int64_t item) {
    const Wide::Bits number = wide_counter(trajectory + static_cast<uint64_t>(item % parts * width));
    return regimes::philox_rounds<Wide>({Wide::bits(static_cast<uint64_t>(item / parts)), second, number, number >> 32}, key0, key1);
  };
  auto words = words_of(0);
  for (int64_t item = 0; item < (d + 1) / 2 * parts; ++item) {
    const auto next = words_of(item + 1);
    Wide::Real x, y;
    regimes::normal_pair<Wide>(words, x, y);
    const int64_t at = item / parts * 2, lane = item % parts * width;
    store_wide(z + at * count + lane, x);
    if (at + 1 < d) store_wide(z + (at + 1) * count + lane, y);
    words = next;
  }
}

}  // namespace
