// Standard normals from counters: Philox4x32-10, 52-bit uniforms, Box and Muller with a logarithm, sine and cosine of our own. Written
// once over a set of numbers N: one float64 here, 4 or 8 of them in the kernels of cpu/normals.h. Additions, multiplications, divisions
// and square roots alone, no fused ones, and operations on bits, each rounded as written: the same bits wherever it is compiled.
//
// Errors against 113 bits (draws_test.cpp): logarithm below 1, sine and cosine below 2 units in the last place, a normal below 3.
#pragma once

#include <cmath>
#include <cstdint>

namespace regimes {

// One number at a time: the definition.
struct OneNumber {
  using Real = double;
  using Bits = uint64_t;
  static double real(double x) { return x; }
  static uint64_t bits(uint64_t x) { return x; }
  static double as_real(uint64_t x) { return __builtin_bit_cast(double, x); }
  static uint64_t as_bits(double x) { return __builtin_bit_cast(uint64_t, x); }
  static double square_root(double x) { return std::sqrt(x); }
  // Product of the low 32 bits of both.
  static uint64_t low_product(uint64_t x, uint64_t y) { return (x & 0xffffffffu) * (y & 0xffffffffu); }
};

// Four words, each in the low 32 bits; what stands above them has no meaning.
template <class N>
struct PhiloxWords {
  typename N::Bits w0, w1, w2, w3;
};

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
template <class N>
inline PhiloxWords<N> philox_rounds(PhiloxWords<N> c, uint32_t key0, uint32_t key1) {
  using Bits = typename N::Bits;
  const Bits m0 = N::bits(0xD2511F53u), m1 = N::bits(0xCD9E8D57u);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Bits p0 = N::low_product(c.w0, m0), p1 = N::low_product(c.w2, m1);
    c = {(p1 >> 32) ^ c.w1 ^ N::bits(key0), p1, (p0 >> 32) ^ c.w3 ^ N::bits(key1), p0};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

// Uniform in (0, 1) from 52 bits, centred in its cell so that neither 0 nor 1 occurs.
template <class N>
inline typename N::Real unit_interval(typename N::Bits high, typename N::Bits low) {
  const typename N::Bits bits = ((high << 32) | (low & N::bits(0xffffffffu))) >> 12;
  // 2^52 + bits less 2^52 - 1/2: both exact.
  return (N::as_real(bits | N::bits(0x4330000000000000)) - N::real(0x1p52 - 0.5)) * N::real(0x1p-52);
}

// -log u for u in [2^-53, 1): u = 2^k m, m in [sqrt(1/2), sqrt 2), and with f = m - 1, s = f / (2 + f):
// log m = f - f^2/2 + s (f^2/2 + R(s^2)), R(z) = log((1 + s) / (1 - s)) / s - 2. R is z times the Chebyshev interpolant of R / z,
// error below 2e-18; k log 2 in two parts, the first exact.
template <class N>
inline typename N::Real negative_log(typename N::Real u) {
  using Real = typename N::Real;
  using Bits = typename N::Bits;
  const Bits root_half = N::bits(0x3fe6a09e00000000);
  const Bits shifted = N::as_bits(u) + N::bits(0x3ff0000000000000 - 0x3fe6a09e00000000);
  const Real k = N::as_real((shifted >> 52) | N::bits(0x4330000000000000)) - N::real(0x1p52 + 1023);
  const Real f = N::as_real((shifted & N::bits(0x000fffffffffffff)) + root_half) - N::real(1);
  const Real s = f / (f + N::real(2));
  const Real z = s * s, zz = z * z;
  const Real half_square = N::real(0.5) * f * f;
  const Real even = (N::real(0x1.2b5900de53b32p-3) * zz + N::real(0x1.7462b51cb66b1p-3)) * zz + N::real(0x1.2492492df281ap-2);
  const Real odd = (N::real(0x1.39fe51a7c18f9p-3) * zz + N::real(0x1.c71c62e3f11e6p-3)) * zz + N::real(0x1.99999999952d7p-2);
  const Real r = z * ((even * zz + N::real(0x1.5555555555558p-1)) + z * odd);
  const Real small = s * (half_square + r) + k * N::real(0x1.cf79abc9e3b3ap-40);
  return ((half_square - small) - f) - k * N::real(0x1.62e42fefa0000p-1);
}

// cos 2 pi v and sin 2 pi v for v in [0, 1]: 4 v = n + f with |f| <= 1/2, exactly; sine and cosine of pi f / 2 as polynomials in f,
// Chebyshev interpolants with errors below 2e-17 and 2e-18; then n quarter turns.
template <class N>
inline void turn(typename N::Real v, typename N::Real& cosine, typename N::Real& sine) {
  using Real = typename N::Real;
  using Bits = typename N::Bits;
  const Real quarters = v * N::real(4), shifted = quarters + N::real(0x1.8p52);
  const Real f = quarters - (shifted - N::real(0x1.8p52));
  const Bits n = N::as_bits(shifted);
  const Real t = f * f, tt = t * t;
  const Real sine_even = (N::real(-0x1.e3027dea82bd7p-19) * tt + N::real(-0x1.32d2cce500387p-8)) * tt + N::real(-0x1.4abbce625be52p-1);
  const Real sine_odd = (N::real(0x1.e4a9d9166f052p-25) * tt + N::real(0x1.50783208843ebp-13)) * tt + N::real(0x1.466bc6775a476p-4);
  const Real cosine_even = (N::real(0x1.f9cfc07738157p-22) * tt + N::real(0x1.e1f50688302c5p-11)) * tt + N::real(0x1.03c1f081b5ac4p-2);
  const Real cosine_odd = (N::real(-0x1.b38340f56931fp-28) * tt + N::real(-0x1.a6d1f0ab7905cp-16)) * tt + N::real(-0x1.55d3c7e3cbd74p-6);
  const Real sin_f = f * N::real(0x1.921fb54442d18p+0) + f * (N::real(0x1.1a62633145c07p-54) + t * (sine_even + t * sine_odd));
  const Real cos_f = N::real(1) - (t * N::real(0x1.3bd3cc9be45dep+0) - tt * (cosine_even + t * cosine_odd));
  const Bits s = N::as_bits(sin_f), c = N::as_bits(cos_f), swapped = N::bits(0) - (n & N::bits(1)), other = (s ^ c) & swapped;
  cosine = N::as_real((c ^ other) ^ (((n + N::bits(1)) & N::bits(2)) << 62));
  sine = N::as_real((s ^ other) ^ ((n & N::bits(2)) << 62));
}

// Two independent standard normals from the four words of a counter.
template <class N>
inline void normal_pair(PhiloxWords<N> words, typename N::Real& first, typename N::Real& second) {
  const typename N::Real minus_log = negative_log<N>(unit_interval<N>(words.w0, words.w1));
  const typename N::Real radius = N::square_root(minus_log + minus_log);
  typename N::Real cosine, sine;
  turn<N>(unit_interval<N>(words.w2, words.w3), cosine, sine);
  first = radius * cosine;
  second = radius * sine;
}

}  // namespace regimes
