// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): counter-based random
// numbers. A value is a function of (seed, trajectory, step, coordinate), so results do not depend on order, batch or threads.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace regimes {

// Steps >= first_reserved_step name purposes other than a sampler's steps.
inline constexpr uint32_t first_reserved_step = 0xF0000000u;
inline constexpr uint32_t step_component = 0xF0000000u;  // which component a draw comes from
inline constexpr uint32_t step_latent = 0xF0000001u;     // x_0 inside its Gaussian
inline constexpr uint32_t step_factor = 0xF0000002u;     // the low-rank part of x_0
inline constexpr uint32_t step_noise = 0xF0000003u;      // forward noise z
inline constexpr uint32_t step_krylov = 0xF0000004u;     // start block of the eigensolver

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// Two independent uniforms in (0, 1), 52 bits each, centred in their cells so that neither 0 nor 1 occurs.
inline std::array<double, 2> uniform_pair(uint64_t seed, uint64_t trajectory, uint32_t step, uint32_t block) {
  const auto words = philox4x32({block, step, static_cast<uint32_t>(trajectory), static_cast<uint32_t>(trajectory >> 32)},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const auto unit = [](uint32_t high, uint32_t low) {
    const uint64_t bits = (uint64_t{high} << 32 | low) >> 12;
    return (static_cast<double>(bits) + 0.5) * 0x1p-52;
  };
  return {unit(words[0], words[1]), unit(words[2], words[3])};
}

// Standard normals z[0 ... d-1] of (seed, trajectory, step): coordinates 2k and 2k+1 by Box and Muller from block k.
inline void normals(uint64_t seed, uint64_t trajectory, uint32_t step, int64_t d, double* z) {
  for (int64_t k = 0; 2 * k < d; ++k) {
    const auto [u, v] = uniform_pair(seed, trajectory, step, static_cast<uint32_t>(k));
    const double radius = std::sqrt(-2 * std::log(u));
    const double angle = 2 * std::numbers::pi * v;
    z[2 * k] = radius * std::cos(angle);
    if (2 * k + 1 < d) z[2 * k + 1] = radius * std::sin(angle);
  }
}

}  // namespace regimes
