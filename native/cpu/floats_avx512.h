// Sixteen float32 lanes in one AVX-512 register.
#pragma once

#include "lanes_avx512.h"

namespace {

struct Floats {
  __m512 v;
};

inline Floats load_floats(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store_floats(float* p, Floats x) { _mm512_storeu_ps(p, x.v); }
inline Floats broadcast_float(float x) { return {_mm512_set1_ps(x)}; }
inline Floats operator+(Floats x, Floats y) { return {_mm512_add_ps(x.v, y.v)}; }
inline Floats operator-(Floats x, Floats y) { return {_mm512_sub_ps(x.v, y.v)}; }
inline Floats operator*(Floats x, Floats y) { return {_mm512_mul_ps(x.v, y.v)}; }
inline Floats max(Floats x, Floats y) { return {_mm512_max_ps(x.v, y.v)}; }
inline Floats multiply_add(Floats x, Floats y, Floats z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
inline Floats subtract_product(Floats z, Floats x, Floats y) { return {_mm512_fnmadd_ps(x.v, y.v, z.v)}; }
// value where x >= least, else 0.
inline Floats where_above(Floats x, Floats least, Floats value) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, least.v, _CMP_GE_OQ), value.v)};
}
// x - floor(x), and p 2^floor(x).
inline Floats above_whole(Floats x) { return {_mm512_reduce_ps(x.v, 0x09)}; }
inline Floats scale_by_whole(Floats p, Floats x) { return {_mm512_scalef_ps(p.v, x.v)}; }
// Lanes i and i + 8 added, as float64.
inline Lanes fold(Floats x) {
  return {_mm512_cvtps_pd(_mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1)))};
}

}  // namespace
