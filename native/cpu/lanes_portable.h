// Eight float64 lanes in plain C++: the baseline of every machine, vectorised as far as the compiler's default target allows.
// There is no fused multiply-add here: sums round twice, and the one difference that must not lose digits, z - x y, is formed
// from the exact product (Dekker, 1971) and rounds at most twice, relative to its own size.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct Lanes {
  double v[8];
};
struct Mask {
  bool v[8];
};

#define REGIMES_EACH_LANE(expression)           \
  {                                             \
    Lanes result;                               \
    for (int i = 0; i < 8; ++i) result.v[i] = (expression); \
    return result;                              \
  }
#define REGIMES_EACH_MASK(expression)           \
  {                                             \
    Mask result;                                \
    for (int i = 0; i < 8; ++i) result.v[i] = (expression); \
    return result;                              \
  }

inline Lanes load(const double* p) REGIMES_EACH_LANE(p[i])
// Eight stored elements as float64.
template <class Stored>
inline Lanes widen(const Stored* p) REGIMES_EACH_LANE(static_cast<double>(p[i]))
inline void store(double* p, Lanes x) { std::memcpy(p, x.v, sizeof x.v); }
// Whole numbers, as integers.
inline void store(int32_t* p, Lanes x) {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<int32_t>(x.v[i]);
}
inline Lanes broadcast(double x) REGIMES_EACH_LANE(x)
inline Lanes operator+(Lanes x, Lanes y) REGIMES_EACH_LANE(x.v[i] + y.v[i])
inline Lanes operator-(Lanes x, Lanes y) REGIMES_EACH_LANE(x.v[i] - y.v[i])
inline Lanes operator*(Lanes x, Lanes y) REGIMES_EACH_LANE(x.v[i] * y.v[i])
inline Lanes operator/(Lanes x, Lanes y) REGIMES_EACH_LANE(x.v[i] / y.v[i])
inline Lanes max(Lanes x, Lanes y) REGIMES_EACH_LANE(x.v[i] > y.v[i] ? x.v[i] : y.v[i])
inline Lanes square_root(Lanes x) REGIMES_EACH_LANE(__builtin_sqrt(x.v[i]))
inline Lanes multiply_add(Lanes x, Lanes y, Lanes z) REGIMES_EACH_LANE(x.v[i] * y.v[i] + z.v[i])
inline double multiply_add(double x, double y, double z) { return x * y + z; }
inline double exact_product_error(double x, double y, double product) {
  const double split = 0x1p27 + 1;
  const double xs = x * split, ys = y * split;
  const double x_high = xs - (xs - x), y_high = ys - (ys - y);
  const double x_low = x - x_high, y_low = y - y_high;
  return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low;
}
inline Lanes subtract_product(Lanes z, Lanes x, Lanes y)
    REGIMES_EACH_LANE((z.v[i] - x.v[i] * y.v[i]) - exact_product_error(x.v[i], y.v[i], x.v[i] * y.v[i]))
inline Mask less(Lanes x, Lanes y) REGIMES_EACH_MASK(x.v[i] < y.v[i])
inline Mask equal(Lanes x, Lanes y) REGIMES_EACH_MASK(x.v[i] == y.v[i])
inline Lanes select(Mask m, Lanes yes, Lanes no) REGIMES_EACH_LANE(m.v[i] ? yes.v[i] : no.v[i])
inline bool any(Mask m) {
  bool result = false;
  for (bool lane : m.v) result = result || lane;
  return result;
}
inline bool all(Mask m) {
  bool result = true;
  for (bool lane : m.v) result = result && lane;
  return result;
}
// x 2^n for the whole number n held in the low bits of `magic` = n + 1.5 * 2^52.
inline Lanes scale_by_power(Lanes x, Lanes magic) {
  uint64_t bits[8], power[8];
  std::memcpy(bits, x.v, sizeof bits);
  std::memcpy(power, magic.v, sizeof power);
  for (int i = 0; i < 8; ++i) bits[i] += power[i] << 52;
  std::memcpy(x.v, bits, sizeof bits);
  return x;
}

#undef REGIMES_EACH_LANE
#undef REGIMES_EACH_MASK

}  // namespace
