// Four lanes by the compiler's vector types, products rounded before they are added: for machines without a kernel of their own.
#include <cstdint>

namespace {

typedef float Register __attribute__((vector_size(16), aligned(4)));
constexpr int register_lanes = 4, tile_registers = 2;
constexpr bool packs_columns = false;
inline Register zero_register() { return Register{}; }
inline Register load_register(const float* p) {
  Register x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline void store_register(float* p, Register x) { __builtin_memcpy(p, &x, sizeof(x)); }
inline Register spread_register(float x) { return Register{x, x, x, x}; }
inline void fuse(Register& sum, Register x, Register y) { sum = sum + x * y; }
inline Register larger(Register x, Register y) { return x > y ? x : y; }
inline Register where_at_least(Register x, Register least, Register value) { return x >= least ? value : Register{}; }
typedef double Doubled __attribute__((vector_size(32), aligned(8)));
inline Doubled load_doubled(const double* p) {
  Doubled x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline Register narrowed_difference(Doubled x, Doubled y) { return __builtin_convertvector(x - y, Register); }

}  // namespace

#include "dense_body.h"

const regimes::DenseKernels* regimes::dense_portable() { return &dense_table; }
