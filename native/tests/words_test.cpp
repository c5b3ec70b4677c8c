// 16-bit products: the table of this machine equals plain 64-bit integer loops exactly.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "../cpu/line_bytes.h"
#include "../cpu/words.h"
#include "check.h"

using namespace regimes;

namespace {

int32_t next_half(uint64_t& state, int32_t limit) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(2 * limit + 1)) - limit;
}

int32_t word(int32_t low, int32_t high) { return static_cast<int32_t>((static_cast<uint32_t>(high) << 16) | (static_cast<uint32_t>(low) & 0xffff)); }
int64_t low(int32_t w) { return static_cast<int16_t>(w & 0xffff); }
int64_t high(int32_t w) { return w >> 16; }

// `count` rows of `steps` words, as rows or as columns of a matrix.
void compare(const WordKernels& table, int count, int64_t steps, int groups, int64_t chain, int shift, bool transposed) {
  // Largest sums: 2 chain limit^2 < 2^31 - 2^15 in every chain, and all chains together after the shift.
  int32_t limit = 32767;
  while (2 * std::min(chain, steps) * int64_t{limit} * limit >= (int64_t{1} << 31) - (int64_t{1} << 15) ||
         (2 * steps * int64_t{limit} * limit >> shift) + steps >= (int64_t{1} << 31)) {
    --limit;
  }
  uint64_t state = static_cast<uint64_t>(count * 1000 + steps * 10 + groups);
  const int64_t row_stride = transposed ? 1 : steps + 1, step_stride = transposed ? count + 3 : 1, out_rows = count + 2;
  std::vector<int32_t> rows(static_cast<size_t>(count * row_stride + steps * step_stride));
  for (int32_t& w : rows) w = word(next_half(state, limit), next_half(state, limit));
  for (int r = 0; r < count; r += 3) {  // the largest sums
    for (int64_t s = 0; s < steps; ++s) rows[r * row_stride + s * step_stride] = word(limit, -limit);
  }
  LineBytes packed(groups * steps * digit_lanes * 4);
  auto* lanes = reinterpret_cast<int32_t*>(packed.data());
  for (int64_t i = 0; i < groups * steps * digit_lanes; ++i) lanes[i] = i % 5 == 0 ? word(limit, -limit) : word(next_half(state, limit), next_half(state, limit));
  std::vector<double> out(static_cast<size_t>(groups * out_rows * digit_lanes), -1.5);
  table.products(rows.data(), row_stride, step_stride, count, steps, chain, shift, lanes, groups, out.data(), out_rows);
  for (int g = 0; g < groups; ++g) {
    for (int64_t r = 0; r < out_rows; ++r) {
      for (int lane = 0; lane < digit_lanes; ++lane) {
        int64_t total = 0;
        for (int64_t first = 0; first < steps; first += chain) {
          int64_t part = 0;
          for (int64_t s = first; s < std::min(steps, first + chain); ++s) {
            if (r >= count) continue;
            const int32_t x = rows[r * row_stride + s * step_stride], y = lanes[(g * steps + s) * digit_lanes + lane];
            part += low(x) * low(y) + high(x) * high(y);
          }
          total += shift > 0 ? (part + (int64_t{1} << (shift - 1))) >> shift : part;
        }
        CHECK(out[(g * out_rows + r) * digit_lanes + lane] == (r < count ? static_cast<double>(total) : -1.5));
      }
    }
  }
}

}  // namespace

int main() {
  const WordKernels* table = words_vnni();
  if (table == nullptr) return check::summary();
  for (const int count : {1, 2, 5, 6, 7, 12, 17}) {
    for (const int groups : {1, 2, 3, 4, 5, 9}) {
      for (const bool transposed : {false, true}) {
        compare(*table, count, 1, groups, 8, 0, transposed);
        compare(*table, count, 49, groups, 49, 0, transposed);
        compare(*table, count, 100, groups, 32, 2, transposed);
        compare(*table, count, 257, groups, 64, 4, transposed);
      }
    }
  }
  return check::summary();
}
