// Compiled with -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma.
#include "lanes_avx512.h"
#include "floats_avx512.h"

namespace {
constexpr int distance_rows = 4, distance_groups = 4, pair_rows = 8;
}

#include "kernels_body.h"
#include "screen_body.h"
#include "small_body.h"
#include "few_body.h"

namespace {
constexpr regimes::Kernels table = make_kernels("cpu-avx512");
}

static bool supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}

const regimes::Kernels* regimes::kernels_avx512() { return supported() ? &table : nullptr; }
const regimes::ScreenKernels* regimes::screen_avx512() { return supported() ? &screen_table : nullptr; }
const regimes::SmallKernels* regimes::small_avx512() { return supported() ? &small_table : nullptr; }
const regimes::FewKernels* regimes::few_avx512() { return supported() ? &few_table : nullptr; }
