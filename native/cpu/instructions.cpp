#include "cpu.h"

namespace regimes {

#ifdef REGIMES_X86_KERNELS
const Instructions& amx_set() {
  static const Instructions set{"cpu-amx", kernels_avx512(), digits_amx(), screen_avx512(),
    dense_avx512(), small_avx512(), normals_avx512(), words_vnni()};
  return set;
}

const Instructions& vnni_set() {
  static const Instructions set{"cpu-vnni", kernels_avx512(), digits_vnni(), screen_avx512(),
    dense_avx512(), small_avx512(), normals_avx512(), words_vnni()};
  return set;
}

const Instructions& avx512_set() {
  static const Instructions set{"cpu-avx512", kernels_avx512(), digits_words_avx512(), screen_avx512(), dense_avx512(), small_avx512(), normals_avx512()};
  return set;
}

const Instructions& avx2_set() {
  static const Instructions set{"cpu-avx2", kernels_avx2(), digits_words_avx2(), screen_avx2(), dense_avx2(), small_avx2(), normals_avx2()};
  return set;
}
#endif

const Instructions& portable_set() {
  static const Instructions set{"cpu-portable", kernels_portable(), digits_portable(), screen_portable(), dense_portable(), small_portable(), normals};
  return set;
}

}  // namespace regimes
