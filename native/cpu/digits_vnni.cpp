// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mavx512vnni -mfma.
#include "digits_bytes.h"

namespace {
constexpr regimes::DigitKernels table = make_digits("vnni", false, group_products, listed_sums);
}

const regimes::DigitKernels* regimes::digits_vnni() {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
  return supported ? &table : nullptr;
}
