// Compiled with -mavx2 -mfma -mf16c.
#include <cpuid.h>

#include "lanes_avx2.h"
#include "floats_avx2.h"

namespace {
constexpr int distance_rows = 2, distance_groups = 2, pair_rows = 2;
}

#include "kernels_body.h"
#include "screen_body.h"
#include "small_body.h"
#include "few_body.h"

namespace {
constexpr regimes::Kernels table = make_kernels("cpu-avx2");
}

// Not every compiler's __builtin_cpu_supports knows f16c.
static bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static bool supported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

const regimes::Kernels* regimes::kernels_avx2() { return supported() ? &table : nullptr; }
const regimes::ScreenKernels* regimes::screen_avx2() { return supported() ? &screen_table : nullptr; }
const regimes::SmallKernels* regimes::small_avx2() { return supported() ? &small_table : nullptr; }
const regimes::FewKernels* regimes::few_avx2() { return supported() ? &few_table : nullptr; }
