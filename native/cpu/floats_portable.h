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
// where[i] = row for the lanes of `mask`.
inline void set_where(uint32_t mask, int32_t row, int32_t* where) {
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) where[i] = row;
  }
}

}  // namespace
