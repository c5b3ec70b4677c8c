// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma.
#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int width = 8;

struct WideReal {
  __m512d v;
};
struct WideBits {
  __m512i v;
};

inline WideReal operator+(WideReal x, WideReal y) { return {_mm512_add_pd(x.v, y.v)}; }
inline WideReal operator-(WideReal x, WideReal y) { return {_mm512_sub_pd(x.v, y.v)}; }
inline WideReal operator*(WideReal x, WideReal y) { return {_mm512_mul_pd(x.v, y.v)}; }
inline WideReal operator/(WideReal x, WideReal y) { return {_mm512_div_pd(x.v, y.v)}; }
inline WideBits operator+(WideBits x, WideBits y) { return {_mm512_add_epi64(x.v, y.v)}; }
inline WideBits operator-(WideBits x, WideBits y) { return {_mm512_sub_epi64(x.v, y.v)}; }
inline WideBits operator&(WideBits x, WideBits y) { return {_mm512_and_si512(x.v, y.v)}; }
inline WideBits operator|(WideBits x, WideBits y) { return {_mm512_or_si512(x.v, y.v)}; }
inline WideBits operator^(WideBits x, WideBits y) { return {_mm512_xor_si512(x.v, y.v)}; }
inline WideBits operator<<(WideBits x, int count) { return {_mm512_slli_epi64(x.v, static_cast<unsigned>(count))}; }
inline WideBits operator>>(WideBits x, int count) { return {_mm512_srli_epi64(x.v, static_cast<unsigned>(count))}; }

struct Wide {
  using Real = WideReal;
  using Bits = WideBits;
  static Real real(double x) { return {_mm512_set1_pd(x)}; }
  static Bits bits(uint64_t x) { return {_mm512_set1_epi64(static_cast<long long>(x))}; }
  static Real as_real(Bits x) { return {_mm512_castsi512_pd(x.v)}; }
  static Bits as_bits(Real x) { return {_mm512_castpd_si512(x.v)}; }
  static Real square_root(Real x) { return {_mm512_sqrt_pd(x.v)}; }
  static Bits low_product(Bits x, Bits y) { return {_mm512_mul_epu32(x.v, y.v)}; }
};

inline WideBits wide_counter(uint64_t k) { return Wide::bits(k) + WideBits{_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)}; }
inline void store_wide(double* z, WideReal x) { _mm512_storeu_pd(z, x.v); }
inline void store_pairs(double* z, WideReal x, WideReal y) {
  _mm512_storeu_pd(z, _mm512_permutex2var_pd(x.v, _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), y.v));
  _mm512_storeu_pd(z + 8, _mm512_permutex2var_pd(x.v, _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4), y.v));
}

}  // namespace

#include "normals_body.h"

static bool supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}

regimes::Normals regimes::normals_avx512() { return supported() ? wide_normals : nullptr; }
regimes::Normals regimes::lane_normals_avx512() { return supported() ? wide_lane_normals : nullptr; }
