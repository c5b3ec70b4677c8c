#include "lanes_portable.h"
#include "floats_portable.h"

namespace {
constexpr int distance_rows = 1, distance_groups = 1, pair_rows = 1;
}

#include "kernels_body.h"
#include "screen_body.h"
#include "small_body.h"
#include "few_body.h"

namespace {
constexpr regimes::Kernels table = make_kernels("cpu-portable");
}

const regimes::Kernels* regimes::kernels_portable() { return &table; }
const regimes::ScreenKernels* regimes::screen_portable() { return &screen_table; }
const regimes::SmallKernels* regimes::small_portable() { return &small_table; }
const regimes::FewKernels* regimes::few_portable() { return &few_table; }
