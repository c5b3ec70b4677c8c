// Forward draws x_t = a x_0 + b z. Component mu, x_0 and z are functions of (seed, r) alone, so that draw r is the same at every
// time, for any number of threads and any split of the draws. `source` is normals() itself or a faster kernel with the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "operations.h"
#include "philox.h"
#include "status.h"

namespace regimes {

// Sums of the first i + 1 weights, [n]; empty for uniform weights. Build it once for many draws.
std::vector<double> cumulative_weights(const Target& target);

// mu ~ pi in [0, n): floor(u n) for uniform weights, else the first component whose cumulative weight exceeds u times the total;
// a component of weight zero is never drawn. u is the first uniform of (seed, r, step_component).
int32_t draw_component(const Target& target, const std::vector<double>& cumulative, uint64_t seed, uint64_t r);

// The same for a single draw; O(n) with weights.
int32_t draw_component(const Target& target, uint64_t seed, uint64_t r);

// x_0 [d] ~ p(. | component): the row itself; or with g = normals(seed, r, step_latent) and h = normals(seed, r, step_factor)
// spherical, diagonal m + sqrt(v) g; full m + sum_j sqrt(lambda_j) g_j u_j (needs prepare()); low_rank m + sqrt(psi) g + W h.
void draw_origin(const Target& target, uint64_t seed, uint64_t r, int64_t component, double* origin, Normals source = normals);

// z [d] ~ N(0, I).
void draw_noise(uint64_t seed, uint64_t r, int64_t d, double* noise, Normals source = normals);

// Draws first ... first + count - 1. b = 0 gives a x_0. Code::domain unless a and b are finite and >= 0.
Status sample(const Target& target, const SampleRequest& request, const Execution& execution, Normals source = normals);

}  // namespace regimes
