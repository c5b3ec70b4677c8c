// Standard normals, many coordinates at once: normals() of core/philox.h, bit for bit. Null where the instruction set was not compiled
// or this machine lacks it.
#pragma once

#include "../core/philox.h"

namespace regimes {

Normals normals_avx512();
Normals normals_avx2();

}  // namespace regimes
