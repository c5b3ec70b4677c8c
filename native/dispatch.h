// Chooses the backend once per process: by capability, or by DIFFUSION_REGIMES_BACKEND = reference, cpu-portable, cpu-avx2,
// cpu-avx512, cpu-vnni, cpu-amx (an unusable forced one is an error, never a silent fall-back).
#pragma once

#include <string>
#include <vector>

#include "core/operations.h"

namespace regimes {

struct BackendChoice {
  const Backend* backend = nullptr;   // null: see status
  std::string reason;
  std::vector<std::string> available;  // best first
  Status status;
};

const BackendChoice& chosen_backend();

}  // namespace regimes
