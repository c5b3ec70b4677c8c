#include "cpu.h"

namespace regimes {

#ifdef REGIMES_X86_KERNELS
// Sets that differ in their products of integers alone.
static Instructions wide_set(const char* name, const DigitKernels* digits, const ProjectedKernels* projected, const WordKernels* words) {
  return {name,           kernels_avx512(), digits, projected, screen_avx512(), dense_avx512(), small_avx512(), few_avx512(), normals_avx512(),
          lane_normals_avx512(), words};
}

const Instructions& amx_set() {
  static const Instructions set = wide_set("cpu-amx", digits_amx(), projected_vnni(), words_vnni());
  return set;
}

const Instructions& vnni_set() {
  static const Instructions set = wide_set("cpu-vnni", digits_vnni(), projected_vnni(), words_vnni());
  return set;
}

const Instructions& avx512_set() {
  static const Instructions set = wide_set("cpu-avx512", digits_words_avx512(), projected_avx512(), words_avx512());
  return set;
}

const Instructions& avx2_set() {
  static const Instructions set{"cpu-avx2", kernels_avx2(), digits_words_avx2(), projected_avx2(), screen_avx2(), dense_avx2(),
                                small_avx2(), few_avx2(), normals_avx2(), lane_normals_avx2(), words_avx2()};
  return set;
}
#endif

const Instructions& portable_set() {
  static const Instructions set{"cpu-portable",     kernels_portable(), digits_portable(), projected_portable(), screen_portable(), dense_portable(),
                                small_portable(), few_portable(),     normals,           lane_normals};
  return set;
}

}  // namespace regimes
