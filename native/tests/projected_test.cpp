// The products of few bytes: the same integers and floats on every instruction set as in plain loops, however many queries stand together.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "../cpu/projected.h"
#include "check.h"

using namespace regimes;

namespace {

struct Problem {
  int64_t columns;
  int queries;
  std::vector<uint8_t> tile;
  std::vector<int32_t> x;
  std::vector<ProjectedQuery> rounded;
  std::vector<float> gain, slack, bias;
  ProjectedRows of_rows() const { return {gain.data(), slack.data(), bias.data()}; }
};

Problem make(int64_t columns, int queries, bool extreme) {
  std::mt19937_64 random(static_cast<uint64_t>(columns * 100 + queries));
  Problem p{columns, queries, {}, {}, {}, {}, {}, {}};
  for (int64_t k = 0; k < projected_tile * columns; ++k) p.tile.push_back(extreme ? 255 : static_cast<uint8_t>(random()));
  for (int64_t k = 0; k < queries * columns; ++k) {
    const int32_t value = static_cast<int32_t>(random() % (2 * projected_limit + 1)) - projected_limit;
    p.x.push_back(extreme ? (k / columns % 2 == 0 ? projected_limit : -projected_limit) : value);
  }
  for (int q = 0; q < queries; ++q) {
    int32_t sum = 0;
    for (int64_t k = 0; k < columns; ++k) sum += p.x[q * columns + k];
    p.rounded.push_back({128 * sum, 1e-6f * static_cast<float>(1 + q), static_cast<float>(random() % 1000) * 0.1f - 50, 0.7f * static_cast<float>(q)});
  }
  for (int r = 0; r < projected_tile; ++r) {
    p.gain.push_back(static_cast<float>(random() % 100) * 0.07f);
    p.slack.push_back(static_cast<float>(random() % 100) * 0.003f);
    p.bias.push_back(static_cast<float>(random() % 1000) * -0.3f);
  }
  return p;
}

int64_t product(const Problem& p, int q, int r) {
  int64_t sum = -int64_t{p.rounded[q].centre};
  for (int64_t k = 0; k < p.columns; ++k) {
    sum += int64_t{p.tile[r / 16 * 16 * p.columns + k / 4 * 64 + r % 16 * 4 + k % 4]} * p.x[q * p.columns + k];
  }
  return sum;
}

void test(const ProjectedKernels& kernels, const Problem& p, bool fused) {
  const int64_t bytes = kernels.query_bytes(p.columns);
  CHECK(bytes % 64 == 0);
  std::vector<char> memory(static_cast<size_t>(p.queries * bytes) + 64);
  char* packed = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  std::vector<const char*> of_query;
  std::vector<float> most(static_cast<size_t>(p.queries) + 1, 0.5f), thresholds;
  std::vector<uint64_t> masks(most.size(), 7);
  for (int q = 0; q < p.queries; ++q) {
    kernels.pack(p.x.data() + q * p.columns, p.columns, packed + q * bytes);
    of_query.push_back(packed + q * bytes);
    thresholds.push_back(p.bias[q % projected_tile]);
  }
  kernels.tile_masks(p.tile.data(), p.columns, of_query.data(), p.rounded.data(), p.queries, p.of_rows(), thresholds.data(), masks.data());
  kernels.tile_maxima(p.tile.data(), p.columns, of_query.data(), p.rounded.data(), p.queries, p.of_rows(), most.data());
  bool equal = true, closest = true;
  for (int q = 0; q < p.queries; ++q) {
    float values[projected_tile], largest = -3e38f;
    kernels.tile_values(p.tile.data(), p.columns, of_query[q], p.rounded[q], p.of_rows(), values);
    for (int r = 0; r < projected_tile; ++r) {
      const auto whole = static_cast<float>(product(p, q, r));
      const auto add_product = [&](float x, float y, float z) { return fused ? std::fma(x, y, z) : x * y + z; };
      const ProjectedQuery& query = p.rounded[q];
      const float expected = add_product(p.gain[r], add_product(whole, query.step, query.offset), add_product(p.slack[r], query.radius, p.bias[r]));
      equal = equal && values[r] == expected && ((masks[q] >> r & 1) != 0) == (expected >= thresholds[q]);
      largest = std::max(largest, expected);
    }
    closest = closest && most[q] == largest;
  }
  CHECK(equal);
  CHECK(closest && most[p.queries] == 0.5f && masks[p.queries] == 7);
}

}  // namespace

int main() {
  std::vector<std::pair<const ProjectedKernels*, bool>> tables{{projected_portable(), false}};
#ifdef REGIMES_X86_KERNELS
  for (const ProjectedKernels* table : {projected_vnni(), projected_avx512(), projected_avx2()}) {
    if (table != nullptr) tables.emplace_back(table, true);
  }
#endif
  for (const auto& [table, fused] : tables) {
    for (const int64_t columns : {32, 64, 96, 128}) {
      for (const int queries : {1, 2, 3, 4, 5, 16}) {
        for (const bool extreme : {false, true}) test(*table, make(columns, queries, extreme), fused);
      }
    }
  }
  return check::summary();
}
