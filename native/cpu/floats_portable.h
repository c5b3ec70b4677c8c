// Sixteen float32 lanes in plain C++.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

struct Floats {
  float v[16];
};

inline Floats load(const float* p) {
  Floats x;
  std::memcpy(x.v, p, sizeof x.v);
  return x;
}
inline void store(float* p, Floats x) { std::memcpy(p, x.v, sizeof x.v); }
inline Floats spread(float x) {
  Floats result;
  for (float& lane : result.v) lane = x;
  return result;
}
inline Floats max(Floats x, Floats y) {
  for (int i = 0; i < 16; ++i) x.v[i] = x.v[i] > y.v[i] ? x.v[i] : y.v[i];
  return x;
}
inline Floats multiply_add(Floats x, Floats y, Floats z) {
  for (int i = 0; i < 16; ++i) z.v[i] += x.v[i] * y.v[i];
  return z;
}
// Bit i: x_i >= y_i.
inline uint32_t at_least(Floats x, Floats y) {
  uint32_t mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<uint32_t>(x.v[i] >= y.v[i]) << i;
  return mask;
}
// Bit i: x_i >= y_i, eight float64 lanes.
inline uint32_t at_least(Lanes x, Lanes y) {
  uint32_t mask = 0;
  for (int i = 0; i < 8; ++i) mask |= static_cast<uint32_t>(x.v[i] >= y.v[i]) << i;
  return mask;
}

#define REGIMES_EACH_FLOAT(expression)           \
  {                                              \
    Floats result;                               \
    for (int i = 0; i < 16; ++i) result.v[i] = (expression); \
    return result;                               \
  }

inline Floats operator+(Floats x, Floats y) REGIMES_EACH_FLOAT(x.v[i] + y.v[i])
inline Floats operator-(Floats x, Floats y) REGIMES_EACH_FLOAT(x.v[i] - y.v[i])
inline Floats operator*(Floats x, Floats y) REGIMES_EACH_FLOAT(x.v[i] * y.v[i])
inline Floats operator/(Floats x, Floats y) REGIMES_EACH_FLOAT(x.v[i] / y.v[i])
inline Floats square_root(Floats x) REGIMES_EACH_FLOAT(__builtin_sqrtf(x.v[i]))
// z - x y, formed in float64.
inline Floats subtract_product(Floats z, Floats x, Floats y)
    REGIMES_EACH_FLOAT(static_cast<float>(static_cast<double>(z.v[i]) - static_cast<double>(x.v[i]) * static_cast<double>(y.v[i])))
// value where x >= least, else 0.
inline Floats where_above(Floats x, Floats least, Floats value) REGIMES_EACH_FLOAT(x.v[i] >= least.v[i] ? value.v[i] : 0.0f)
// floor(x) for |x| < 2^22.
inline float whole(float x) {
  const float nearest = (x + 0x1.8p23f) - 0x1.8p23f;
  return nearest > x ? nearest - 1 : nearest;
}
// x - floor(x), and p 2^floor(x) for |x| < 100.
inline Floats above_whole(Floats x) REGIMES_EACH_FLOAT(x.v[i] - whole(x.v[i]))
inline Floats scale_by_whole(Floats p, Floats x) {
  for (int i = 0; i < 16; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &p.v[i], sizeof bits);
    const float power = x.v[i] > -100 && x.v[i] < 100 ? whole(x.v[i]) : 0;
    bits += static_cast<uint32_t>(static_cast<int32_t>(power)) << 23;
    std::memcpy(&p.v[i], &bits, sizeof bits);
  }
  return p;
}
// Lanes i and i + 8 added, as float64.
inline Lanes fold(Floats x) {
  Lanes result;
  for (int i = 0; i < 8; ++i) result.v[i] = static_cast<double>(x.v[i] + x.v[i + 8]);
  return result;
}

// Eight float64 lanes, rounded.
inline void narrow(float* p, Lanes x) {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<float>(x.v[i]);
}

#undef REGIMES_EACH_FLOAT

}  // namespace
