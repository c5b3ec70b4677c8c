// The kernels of projected.h, written once and compiled per instruction set by projected_<set>.cpp, which includes floats_<set>.h, defines, in
// an unnamed namespace, and includes this file after them:
//   Totals             32-bit sums of 16 rows and one query; zero_totals()
//   RowBytes           four columns of 16 rows; load_rows(p)
//   QueryDigits        four columns of a query; load_query(packed, step, steps)
//   multiply(totals, rows, digits)
//   whole(totals, centre)  the products less the centre, as floats
//   packed_bytes, pack_query
//   groups_together, queries_together  16 rows each, and queries, whose totals fit into the registers together
// No inline function of the standard library here, for the reason given in kernels_body.h.
#pragma once

#include "projected.h"

namespace {

using regimes::projected_tile;
using regimes::ProjectedQuery;
using regimes::ProjectedRows;

constexpr int tile_groups = projected_tile / 16;
static_assert(tile_groups % groups_together == 0);

// The totals of Queries queries, result [queries][groups_together]. A function of its own, ending in plain stores, for the reason given in
// digits_body.h.
template <int Queries>
[[gnu::noinline]] void product_tile(const uint8_t* rows, int64_t steps, const char* const* packed, Totals* result) {
  Totals total[Queries][groups_together];
#pragma GCC unroll 8
  for (int q = 0; q < Queries; ++q)
#pragma GCC unroll 8
    for (int g = 0; g < groups_together; ++g) total[q][g] = zero_totals();
  for (int64_t s = 0; s < steps; ++s) {
    QueryDigits digits[Queries];
#pragma GCC unroll 8
    for (int q = 0; q < Queries; ++q) digits[q] = load_query(packed[q], s, steps);
#pragma GCC unroll 8
    for (int g = 0; g < groups_together; ++g) {
      const RowBytes bytes = load_rows(rows + (g * steps + s) * 64);
#pragma GCC unroll 8
      for (int q = 0; q < Queries; ++q) multiply(total[q][g], bytes, digits[q]);
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < Queries; ++q)
#pragma GCC unroll 8
    for (int g = 0; g < groups_together; ++g) result[q * groups_together + g] = total[q][g];
}

// Calls write(query, group of 16 rows, values) for the first `Most` of the queries, or for all of fewer; returns how many.
template <int Most, class Write>
inline int values_of(const uint8_t* tile, int64_t columns, const char* const* packed, const ProjectedQuery* queries, int count,
                     const ProjectedRows& of_rows, Write write) {
  if constexpr (Most > 1) {
    if (count < Most) return values_of<Most - 1>(tile, columns, packed, queries, count, of_rows, write);
  }
  const int64_t steps = columns / 4;
  Totals total[Most * groups_together];
  for (int first = 0; first < tile_groups; first += groups_together) {
    product_tile<Most>(tile + first * steps * 64, steps, packed, total);
    for (int q = 0; q < Most; ++q) {
      const Floats step = spread(queries[q].step), offset = spread(queries[q].offset), radius = spread(queries[q].radius);
      for (int g = 0; g < groups_together; ++g) {
        const int at = (first + g) * 16;
        const Floats product = multiply_add(whole(total[q * groups_together + g], queries[q].centre), step, offset);
        const Floats rest = multiply_add(load(of_rows.slack + at), radius, load(of_rows.bias + at));
        write(q, first + g, multiply_add(load(of_rows.gain + at), product, rest));
      }
    }
  }
  return Most;
}

void tile_maxima(const uint8_t* tile, int64_t columns, const char* const* packed, const ProjectedQuery* queries, int count,
                 const ProjectedRows& of_rows, float* most) {
  for (int q = 0; q < count;) {
    Floats largest[queries_together];
    for (Floats& x : largest) x = spread(-3.4e38f);
    const int taken = values_of<queries_together>(tile, columns, packed + q, queries + q, count - q, of_rows,
                                                  [&](int i, int, Floats values) { largest[i] = max(largest[i], values); });
    for (int i = 0; i < taken; ++i) most[q + i] = largest_lane(largest[i]);
    q += taken;
  }
}

void tile_masks(const uint8_t* tile, int64_t columns, const char* const* packed, const ProjectedQuery* queries, int count,
                const ProjectedRows& of_rows, const float* thresholds, uint64_t* masks) {
  for (int q = 0; q < count;) {
    uint64_t reached[queries_together] = {};
    const int taken = values_of<queries_together>(tile, columns, packed + q, queries + q, count - q, of_rows, [&](int i, int g, Floats values) {
      reached[i] |= static_cast<uint64_t>(at_least(values, spread(thresholds[q + i]))) << (16 * g);
    });
    for (int i = 0; i < taken; ++i) masks[q + i] = reached[i];
    q += taken;
  }
}

void tile_values(const uint8_t* tile, int64_t columns, const char* packed, const ProjectedQuery& query, const ProjectedRows& of_rows, float* values) {
  values_of<1>(tile, columns, &packed, &query, 1, of_rows, [&](int, int g, Floats result) { store(values + 16 * g, result); });
}

constexpr regimes::ProjectedKernels projected_table{packed_bytes, pack_query, tile_maxima, tile_masks, tile_values};

}  // namespace
