// Compiled with -mavx2 -mfma -mf16c.
#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int width = 4;

struct WideReal {
  __m256d v;
};
struct WideBits {
  __m256i v;
};

inline WideReal operator+(WideReal x, WideReal y) { return {_mm256_add_pd(x.v, y.v)}; }
inline WideReal operator-(WideReal x, WideReal y) { return {_mm256_sub_pd(x.v, y.v)}; }
inline WideReal operator*(WideReal x, WideReal y) { return {_mm256_mul_pd(x.v, y.v)}; }
inline WideReal operator/(WideReal x, WideReal y) { return {_mm256_div_pd(x.v, y.v)}; }
inline WideBits operator+(WideBits x, WideBits y) { return {_mm256_add_epi64(x.v, y.v)}; }
inline WideBits operator-(WideBits x, WideBits y) { return {_mm256_sub_epi64(x.v, y.v)}; }
inline WideBits operator&(WideBits x, WideBits y) { return {_mm256_and_si256(x.v, y.v)}; }
inline WideBits operator|(WideBits x, WideBits y) { return {_mm256_or_si256(x.v, y.v)}; }
inline WideBits operator^(WideBits x, WideBits y) { return {_mm256_xor_si256(x.v, y.v)}; }
inline WideBits operator<<(WideBits x, int count) { return {_mm256_slli_epi64(x.v, count)}; }
inline WideBits operator>>(WideBits x, int count) { return {_mm256_srli_epi64(x.v, count)}; }

struct Wide {
  using Real = WideReal;
  using Bits = WideBits;
  static Real real(double x) { return {_mm256_set1_pd(x)}; }
  static Bits bits(uint64_t x) { return {_mm256_set1_epi64x(static_cast<long long>(x))}; }
  static Real as_real(Bits x) { return {_mm256_castsi256_pd(x.v)}; }
  static Bits as_bits(Real x) { return {_mm256_castpd_si256(x.v)}; }
  static Real square_root(Real x) { return {_mm256_sqrt_pd(x.v)}; }
  static Bits low_product(Bits x, Bits y) { return {_mm256_mul_epu32(x.v, y.v)}; }
};

inline WideBits wide_counter(uint64_t k) { return Wide::bits(k) + WideBits{_mm256_set_epi64x(3, 2, 1, 0)}; }
inline void store_wide(double* z, WideReal x) { _mm256_storeu_pd(z, x.v); }
inline void store_pairs(double* z, WideReal x, WideReal y) {
  const __m256d low = _mm256_unpacklo_pd(x.v, y.v), high = _mm256_unpackhi_pd(x.v, y.v);  // pairs 0 2, pairs 1 3
  _mm256_storeu_pd(z, _mm256_permute2f128_pd(low, high, 0x20));
  _mm256_storeu_pd(z + 4, _mm256_permute2f128_pd(low, high, 0x31));
}

}  // namespace

#include "normals_body.h"

static bool supported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

regimes::Normals regimes::normals_avx2() { return supported() ? wide_normals : nullptr; }
regimes::Normals regimes::lane_normals_avx2() { return supported() ? wide_lane_normals : nullptr; }
