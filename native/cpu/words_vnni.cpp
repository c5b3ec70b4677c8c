// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mavx512vnni -mfma.
#include "words_registers_avx512.h"

namespace {

// As an intrinsic, GCC 12 copies the sums between registers around every instruction.
inline void multiply(Sums& sums, Sums row, Sums lanes) { asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(row), "v"(lanes)); }

}  // namespace

#include "words_body.h"

const regimes::WordKernels* regimes::words_vnni() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return supported ? &word_table : nullptr;
}
