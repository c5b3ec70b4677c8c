// Counter-based random numbers: a value is a function of (seed, trajectory, step, coordinate), so results do not depend on order,
// batch or threads. box_muller.h holds the arithmetic.
#pragma once

#include <array>
#include <cstdint>

#include "box_muller.h"

namespace regimes {

// Steps >= first_reserved_step name purposes other than a sampler's steps.
inline constexpr uint32_t first_reserved_step = 0xF0000000u;
inline constexpr uint32_t step_component = 0xF0000000u;  // which component a draw comes from
inline constexpr uint32_t step_latent = 0xF0000001u;     // x_0 inside its Gaussian
inline constexpr uint32_t step_factor = 0xF0000002u;     // the low-rank part of x_0
inline constexpr uint32_t step_noise = 0xF0000003u;      // forward noise z
inline constexpr uint32_t step_krylov = 0xF0000004u;     // start block of the eigensolver

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  const auto words = philox_rounds<OneNumber>({counter[0], counter[1], counter[2], counter[3]}, key[0], key[1]);
  return {static_cast<uint32_t>(words.w0), static_cast<uint32_t>(words.w1), static_cast<uint32_t>(words.w2), static_cast<uint32_t>(words.w3)};
}

inline PhiloxWords<OneNumber> philox_block(uint64_t seed, uint64_t trajectory, uint32_t step, uint32_t block) {
  return philox_rounds<OneNumber>({block, step, trajectory, trajectory >> 32}, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// Two independent uniforms in (0, 1), 52 bits each.
inline std::array<double, 2> uniform_pair(uint64_t seed, uint64_t trajectory, uint32_t step, uint32_t block) {
  const auto words = philox_block(seed, trajectory, step, block);
  return {unit_interval<OneNumber>(words.w0, words.w1), unit_interval<OneNumber>(words.w2, words.w3)};
}

// Standard normals z[0 ... d-1] of (seed, trajectory, step): coordinates 2k and 2k+1 by Box and Muller from block k.
using Normals = void (*)(uint64_t seed, uint64_t trajectory, uint32_t step, int64_t d, double* z);

// The definition; kernels of an instruction set (cpu/normals.h) give the same bits.
inline void normals(uint64_t seed, uint64_t trajectory, uint32_t step, int64_t d, double* z) {
  for (int64_t k = 0; 2 * k < d; ++k) {
    double second;
    normal_pair<OneNumber>(philox_block(seed, trajectory, step, static_cast<uint32_t>(k)), z[2 * k], second);
    if (2 * k + 1 < d) z[2 * k + 1] = second;
  }
}

// Lanes that trajectories with neighbouring numbers take.
inline constexpr int normal_lanes = 8;

// The normals of `normals` for the trajectories trajectory ... trajectory + 7, one per lane: z [d][8].
inline void lane_normals(uint64_t seed, uint64_t trajectory, uint32_t step, int64_t d, double* z) {
  for (int64_t k = 0; 2 * k < d; ++k) {
    for (uint64_t lane = 0; lane < normal_lanes; ++lane) {
      double first, second;
      normal_pair<OneNumber>(philox_block(seed, trajectory + lane, step, static_cast<uint32_t>(k)), first, second);
      z[2 * k * normal_lanes + static_cast<int64_t>(lane)] = first;
      if (2 * k + 1 < d) z[(2 * k + 1) * normal_lanes + static_cast<int64_t>(lane)] = second;
    }
  }
}

}  // namespace regimes
