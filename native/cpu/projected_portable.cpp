// Plain loops: the definition of the products, for machines without a kernel of their own.
#include "lanes_portable.h"
#include "floats_portable.h"

namespace {

struct Totals {
  int32_t sums[16];
};
struct RowBytes {
  const uint8_t* at;
};
struct QueryDigits {
  const int32_t* at;
};
constexpr int groups_together = 1, queries_together = 1;

inline Totals zero_totals() { return {}; }
inline RowBytes load_rows(const uint8_t* p) { return {p}; }
inline QueryDigits load_query(const char* packed, int64_t step, int64_t) { return {reinterpret_cast<const int32_t*>(packed) + 4 * step}; }
inline void multiply(Totals& total, RowBytes rows, QueryDigits digits) {
  for (int r = 0; r < 16; ++r) {
    for (int k = 0; k < 4; ++k) total.sums[r] += rows.at[4 * r + k] * digits.at[k];
  }
}
inline Floats whole(const Totals& total, int32_t centre) {
  float values[16];
  for (int r = 0; r < 16; ++r) values[r] = static_cast<float>(total.sums[r] - centre);
  return load(values);
}
inline float largest_lane(Floats x) {
  float values[16];
  store(values, x);
  float most = values[0];
  for (const float value : values) most = value > most ? value : most;
  return most;
}

int64_t packed_bytes(int64_t columns) { return (4 * columns + 63) / 64 * 64; }
void pack_query(const int32_t* x, int64_t columns, void* packed) { __builtin_memcpy(packed, x, 4 * static_cast<size_t>(columns)); }

}  // namespace

#include "projected_body.h"

const regimes::ProjectedKernels* regimes::projected_portable() { return &projected_table; }
