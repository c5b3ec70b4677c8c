// Four lanes by the compiler's vector types, products rounded before they are added: for machines without a kernel of their own.
#include <cstdint>

namespace {

typedef float Register __attribute__((vector_size(16), aligned(4)));
constexpr int register_lanes = 4, tile_registers = 2;
inline Register zero_register() { return Register{}; }
inline Register load_register(const float* p) {
  Register x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline void store_register(float* p, Register x) { __builtin_memcpy(p, &x, sizeof(x)); }
inline Register spread_register(float x) { return Register{x, x, x, x}; }
inline void fuse(Register& sum, Register x, Register y) { sum = sum + x * y; }

}  // namespace

#include "dense_body.h"

const regimes::DenseKernels* regimes::dense_portable() { return &dense_table; }
