// float16 rows: every pattern widens exactly on every instruction set, and rows of halves give the bits of the same rows as floats.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "../core/layouts.h"
#include "../core/philox.h"
#include "../core/statistics.h"
#include "../cpu/cpu.h"
#include "check.h"

using namespace regimes;

namespace {

constexpr int patterns = 65536;

// By the definition of binary16; NaN for the NaNs.
double meaning(int bits) {
  const double sign = bits >= 0x8000 ? -1 : 1;
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return exponent == 0 ? sign * std::ldexp(fraction, -24) : sign * std::ldexp(1024 + fraction, exponent - 25);
}

bool same(double value, double expected) {
  return std::isnan(expected) ? std::isnan(value) : std::memcmp(&value, &expected, sizeof value) == 0;
}

std::vector<const Instructions*> sets() {
  std::vector<const Instructions*> usable;
#ifdef REGIMES_X86_KERNELS
  for (const Instructions* set : {&avx512_set(), &avx2_set()}) {
    if (set->kernels != nullptr) usable.push_back(set);
  }
#endif
  usable.push_back(&portable_set());
  return usable;
}

void every_pattern_is_exact() {
  std::vector<Half> halves(patterns);
  for (int bits = 0; bits < patterns; ++bits) halves[bits].bits = static_cast<uint16_t>(bits);
  const DataView view{halves.data(), patterns / 64, 64, Dtype::f16, 1, 0};
  int wrong = 0;
  for (int bits = 0; bits < patterns; ++bits) {
    // value() adds a shift of 0, which turns -0 into 0.
    wrong += !same(static_cast<double>(static_cast<float>(halves[bits])), meaning(bits));
    wrong += !same(view.value(bits / 64, bits % 64), meaning(bits) + 0);
  }
  CHECK(wrong == 0);
  for (const Instructions* set : sets()) {
    std::vector<double> values(patterns);
    // Odd lengths and starts go through the vectors and through what is left of them.
    for (int first = 0; first < patterns; first += 1021) {
      set->kernels->convert(view, first, std::min(1021, patterns - first), values.data() + first);
    }
    wrong = 0;
    for (int bits = 0; bits < patterns; ++bits) wrong += !same(values[bits], meaning(bits) + 0);
    CHECK(wrong == 0);
  }
}

// n rows of d normals that halves hold exactly, as halves and as floats.
struct Twins {
  std::vector<Half> halves;
  std::vector<float> floats;
  Target first, second;

  Twins(int64_t n, int64_t d, double gain, double steps) : halves(n * d + digit_padding), floats(n * d + digit_padding) {
    for (int64_t k = 0; k < n * d; ++k) {
      double z = 0;
      normals(3, static_cast<uint64_t>(k), step_noise, 1, &z);
      // Near few directions, so that a prefix pays.
      double along = 0;
      normals(4, static_cast<uint64_t>(k / d), step_noise, 1, &along);
      z = std::rint(steps * (z + 4 * along * std::sin(static_cast<double>(k % d))));
      const double value = std::clamp(z, -127.0, 127.0) * gain;
      floats[k] = static_cast<float>(value);
      // Bisection over the positive halves, which ascend with their bits.
      int low = 0, high = 0x7bff;
      while (low < high) {
        const int middle = (low + high) / 2;
        if (meaning(middle) < std::abs(value)) low = middle + 1;
        else high = middle;
      }
      halves[k].bits = static_cast<uint16_t>(low | (value < 0 ? 0x8000 : 0));
      CHECK(static_cast<float>(halves[k]) == floats[k]);
    }
    first.n = second.n = n;
    first.d = second.d = d;
    first.points = {halves.data(), n, d, Dtype::f16, 0.5, 0.25};
    second.points = {floats.data(), n, d, Dtype::f32, 0.5, 0.25};
  }
};

void halves_give_the_bits_of_floats() {
  for (const double steps : {30.0, 3.0}) {
    const Twins twins(2100, 70, steps > 10 ? 0.0078125 : 1.0, steps);
    const int64_t n = twins.first.n, d = twins.first.d;
    Statistics halves, floats;
    CHECK(statistics(twins.first.points, {}, halves).ok() && statistics(twins.second.points, {}, floats).ok());
    CHECK(halves.mean == floats.mean && halves.variance == floats.variance && halves.minimum == floats.minimum &&
          halves.maximum == floats.maximum && halves.distinct_rows == floats.distinct_rows);
    Layouts of_halves, of_floats;
    CHECK(build_layouts(twins.first, {}, of_halves).ok() && build_layouts(twins.second, {}, of_floats).ok());
    CHECK(of_floats.digits.rows != nullptr && !of_floats.prefix.empty());
    CHECK(of_halves.digits.lossless == of_floats.digits.lossless && of_halves.digits.owned == of_floats.digits.owned);
    CHECK(of_halves.digits.half_square == of_floats.digits.half_square && of_halves.digits.residual == of_floats.digits.residual);
    CHECK(of_halves.prefix.tiles == of_floats.prefix.tiles && of_halves.prefix.half_square == of_floats.prefix.half_square);

    std::vector<double> x(d, 0.3), one(n), two(n);
    std::vector<int32_t> index;
    for (int64_t i = 0; i < n; i += 3) index.push_back(static_cast<int32_t>(i));
    const auto count = static_cast<int64_t>(index.size());
    for (const Instructions* set : sets()) {
      set->screen->row_distances(twins.first.points, index.data(), count, x.data(), 0.7, one.data());
      set->screen->row_distances(twins.second.points, index.data(), count, x.data(), 0.7, two.data());
      CHECK(std::memcmp(one.data(), two.data(), count * sizeof(double)) == 0);
      std::vector<double> sums(d, 0.0), other(d, 0.0), weights(count, 0.125);
      set->screen->add_listed_rows(twins.first.points, index.data(), weights.data(), count, sums.data());
      set->screen->add_listed_rows(twins.second.points, index.data(), weights.data(), count, other.data());
      CHECK(sums == other);
    }
  }
}

void layouts_keep_their_budget() {
  const Twins twins(2100, 70, 0.0078125, 30);
  const int64_t n = twins.first.n, d = twins.first.d;
  Layouts whole, digits, prefix, nothing;
  CHECK(build_layouts(twins.second, {}, whole, n * (d + 16) + n * 44).ok());
  CHECK(whole.digits.rows != nullptr && !whole.prefix.empty());
  CHECK(build_layouts(twins.second, {}, digits, n * (d + 16) + n * 44 - 1).ok());
  // The larger one is left out where it alone is too large.
  CHECK(digits.digits.rows != nullptr && digits.prefix.empty());
  CHECK(build_layouts(twins.second, {}, nothing, n * 12).ok());
  CHECK(nothing.digits.rows == nullptr && nothing.prefix.empty() && nothing.bytes == 0);
  const Twins wide(2100, 200, 0.0078125, 30);
  CHECK(build_layouts(wide.second, {}, prefix, n * 44).ok());
  CHECK(prefix.digits.rows == nullptr && !prefix.prefix.empty() && prefix.prefix.captured > 0.3);
}

}  // namespace

int main() {
  every_pattern_is_exact();
  halves_give_the_bits_of_floats();
  layouts_keep_their_budget();
  return check::summary();
}
