#include "dense_bounds.h"

#include <algorithm>
#include <cmath>

namespace regimes {
namespace {

constexpr double deviations = 6;  // see posterior_dense.h: 3e-8
constexpr double unit = 0x1p-24, small = 0x1p-53;

// `deviations` times the deviation of a logit in units of |y'_i|: of chains, and of rows rounded to float32.
double chance_of(const DenseArithmetic& with, const DenseQuery& query) {
  return with.fixed ? 0 : deviations * with.kappa * unit * (query.chain + query.largest);
}

}  // namespace

DenseErrors dense_errors(const DenseArithmetic& with, const DenseQuery& query, const DenseMoments& sums) {
  const double whole = sums.whole, far = sums.far, gap = sums.gap / whole, norm = sums.norm;
  const double spread = std::max(2 * sums.second / whole - norm * norm, 0.0) + 1e-4 * far * far;
  const double moved = query.moved + 4 * small * (query.norm + with.a * with.origin_norm);
  // Deterministic errors of single logits beyond the displacement: of the rows, and of the float64 operations.
  const double row = with.residual + 2 * small * (far + with.origin_norm), length = static_cast<double>(with.d);
  const double half_square = small * (length + 16) * with.a * far * far;
  const double product = small * query.norm * (with.fixed ? 8 * (far + 256 * with.largest_scale * std::sqrt(length)) : (8 + length) * far);
  const double logit = with.kappa * ((query.norm + with.a * far) * row + half_square + product);
  // Errors of logits that are taken as random move D by sum w_i delta_i (y_i - D), whose squares, w_i^2 |y'_i|^2 |y_i - D|^2, sum up to
  // max(w_i |y'_i|^2) T at most. root = sqrt(sum w^2), root_two >= sqrt(sum w^2 |y'|^2), root_four = sqrt(sum w^2 |y'|^4).
  const double chance = chance_of(with, query);
  const double root = std::sqrt(sums.squares) / whole, root_four = 2 * std::sqrt(sums.fourth) / whole;
  const double root_two = std::sqrt(root * root_four), mean_square = 2 * sums.second / whole, typical = std::sqrt(mean_square);
  // What a weight may be in truth, relative to what it seems: rows far out may seem lighter than they are by much.
  const double lifted = std::exp(std::min(chance * far, 700.0));
  const double square_of = chance * chance * mean_square * lifted;
  const double turned = std::min(std::sqrt(root_four * spread), root_four + norm * root_two);
  const double sums_of = 40 * unit, left_out = 2 * std::exp(-dropped_logits);
  const double shift = with.kappa * far * moved;

  double denoised = with.kappa * spread * moved * std::exp(4 * shift) + row + 2 * logit * std::sqrt(spread);
  denoised += chance * turned + (far + norm) * (square_of + gap * unit + lifted * (left_out + sums.dropped));
  denoised += 16 * unit * (typical + norm) + norm * sums_of;
  if (with.integer) {
    denoised += sums.lost / whole * far;
  } else if (with.words) {
    // Bernstein's inequality for weights and rows together: single errors are at most step |y'_i|, and w_i |units| with w_i <= 2^15 step.
    const double largest = sums.step / whole * std::max(far, 0x1p15 * with.units);
    const double variance = sums.variance / (whole * whole) + root * with.rounded * root * with.rounded;
    denoised += deviations * std::sqrt(variance) + deviations * deviations / 3 * largest;
    denoised += sums.lost / whole * with.units + 8 * unit * typical;
  } else {
    denoised += static_cast<double>(second_chain + chains + 5) * unit * typical;  // with the stretch of rows, and back in their weights
  }
  denoised += small * with.far;
  if (!with.fixed || with.words) denoised += 1100 * small * (far + with.origin_norm);  // sums of heavy rows, in blocks of 512
  double log_density = shift * shift / 2 + logit + (16 + gap) * unit + sums_of + lifted * left_out + chance * root_two + square_of;
  log_density += with.denoised ? with.kappa * moved * denoised : shift;
  // Chains that add one number again and again have errors of a mean of up to 0.42 u, whatever the stretch.
  if (!with.fixed) log_density += 0.5 * unit * with.kappa * query.norm * typical;
  return {1.01 * log_density, 1.01 * denoised};
}

double dense_drop(const DenseArithmetic& with, double norm_x) {
  return std::clamp(0.02 * score_contract * norm_x / std::max(2 * with.a * with.far, 1e-300), 1e-16, 1e-6);
}

double dense_heavy(const DenseArithmetic& with, const DenseQuery& query, int64_t n) {
  const double allowed = score_contract * query.norm / std::max(with.a * with.typical, 1e-300);
  if (!with.words) {
    // Logits of lighter rows move the score by a quarter of what is allowed, were all as heavy as they may be.
    const double root = allowed / (4 * std::max(chance_of(with, query) * with.typical, 1e-300));
    return std::clamp(root * root, 2e-4, 1e-2);
  }
  // Words of a block have steps of 2^-15 of its largest weight T. Were there as many blocks as the mass allows, 1 / T, then six deviations
  // were 6 sqrt(T 512 / 12) 2^-15 of a row; in all of n rows, 6 T sqrt(n / 12) 2^-15. T is three quarters, or a third, of what would reach what is allowed.
  const double of_mass = 4.5e5 * allowed * allowed, of_rows = 6e3 * allowed / std::sqrt(static_cast<double>(n));
  return with.fixed ? std::clamp(std::max(of_mass, of_rows), 2e-4, 1e-2) : std::clamp(of_mass, 2e-4, 2e-3);
}

}  // namespace regimes
