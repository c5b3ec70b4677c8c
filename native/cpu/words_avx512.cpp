// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma. A product is a multiplication of pairs and an addition.
#include "words_registers_avx512.h"

namespace {

// As intrinsics, GCC 12 copies the sums between registers around every instruction.
inline void multiply(Sums& sums, Sums row, Sums lanes) {
  Sums pairs;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sums), "=&v"(pairs) : "v"(row), "v"(lanes));
}

}  // namespace

#include "words_body.h"

const regimes::WordKernels* regimes::words_avx512() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl");
  return supported ? &word_table : nullptr;
}
