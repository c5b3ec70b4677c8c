// The two float32 products that a basis of a few directions needs, 32 lanes wide: rows times directions and its transpose. The loops
// are compiled for every vector width of the machine and chosen at run time, whichever instruction set is asked for; the order of the
// additions is fixed. Their roundings decide which rows a query looks at, never what it finds there, and bounds on them
// hold with and without fused multiply-adds.
#pragma once

#include <cstdint>

namespace regimes {

inline constexpr int64_t projection_lanes = 32;

// An output is a sum of ceil(d / chain) sums of at most `chain` terms: about sqrt(d) additions in a row.
inline int64_t projection_chain(int64_t d) {
  int64_t chain = 32;
  while (chain * chain < d) chain *= 2;
  return chain;
}

// out [count][32] = rows [count][stride] times panel [d][32].
void project_rows(const float* rows, int64_t stride, int64_t count, int64_t d, const float* panel, float* out);

// out [columns][32] += transpose of rows [count][stride] (its first `columns` columns) times weights [count][32].
void accumulate_columns(const float* rows, int64_t stride, int64_t count, int64_t columns, const float* weights, float* out);

}  // namespace regimes
