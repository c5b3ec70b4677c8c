// Compiled with -mavx2 -mfma.
#include "floats_avx2.h"

namespace {
constexpr int distance_rows = 2, distance_groups = 2, pair_rows = 2;
}

#include "kernels_body.h"
#include "small_body.h"

namespace {
constexpr regimes::Kernels table = make_kernels("cpu-avx2");
}

const regimes::Kernels* regimes::kernels_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &table : nullptr;
}

const regimes::SmallKernels* regimes::small_avx2() { return kernels_avx2() != nullptr ? &small_table : nullptr; }
