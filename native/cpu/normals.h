// Standard normals, many coordinates or trajectories at once: normals() and lane_normals() of core/philox.h, bit for bit. Null where the
// instruction set was not compiled or this machine lacks it.
#pragma once

#include "../core/philox.h"

namespace regimes {

Normals normals_avx512();
Normals normals_avx2();

Normals lane_normals_avx512();
Normals lane_normals_avx2();

}  // namespace regimes
