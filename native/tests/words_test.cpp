// 16-bit products: the table of this machine equals plain 64-bit integer loops exactly; rows and weights are rounded as it says.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "../cpu/line_bytes.h"
#include "../cpu/words.h"
#include "check.h"

using namespace regimes;

namespace {

int32_t next_half(uint64_t& state, int32_t limit) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<int32_t>((state >> 33) % (2 * static_cast<uint64_t>(limit) + 1)) - limit;
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

// Lanes one by one over the steps that are not zero give the same integers.
void compare_lists(const WordKernels& table, int64_t columns, int64_t steps, int64_t chain, int shift) {
  uint64_t state = static_cast<uint64_t>(columns + steps);
  const int64_t stride = columns + 16;
  std::vector<int32_t> rows(static_cast<size_t>(steps * stride));
  for (int32_t& w : rows) w = word(next_half(state, 3000), next_half(state, 3000));
  LineBytes packed(steps * digit_lanes * 4);
  auto* lanes = reinterpret_cast<int32_t*>(packed.data());
  for (int64_t i = 0; i < steps * digit_lanes; ++i) lanes[i] = next_half(state, 4) > 2 ? word(next_half(state, 3000), next_half(state, 3000)) : 0;
  std::vector<double> out(static_cast<size_t>(columns * digit_lanes)), listed(out.size());
  table.products(rows.data(), 1, stride, static_cast<int>(columns), steps, chain, shift, lanes, 1, out.data(), columns);
  for (int lane = 0; lane < digit_lanes; ++lane) {
    std::vector<int32_t> at, words;
    for (int64_t s = 0; s < steps; ++s) {
      if (lanes[s * digit_lanes + lane] == 0) continue;
      at.push_back(static_cast<int32_t>(s));
      words.push_back(lanes[s * digit_lanes + lane]);
    }
    table.listed_products(rows.data(), stride, columns, {at.data(), words.data(), static_cast<int>(at.size())}, steps, chain, shift,
                          listed.data() + lane);
  }
  CHECK(out == listed);
  std::vector<double> sums(out.size(), 3.0), keep(digit_lanes, 0.5), factor(digit_lanes, 0.25);
  const DenseFold into{sums.data(), keep.data(), factor.data()};
  std::vector<int32_t> scratch(static_cast<size_t>((columns + 6) * (steps + 3)));
  table.fold_columns(rows.data(), stride, scratch.data(), true, static_cast<int>(columns), steps, chain, shift, lanes, 1, &into);
  for (size_t i = 0; i < out.size(); ++i) CHECK(sums[i] == 1.5 + 0.25 * out[i]);
}

// Rounded to a neighbour each, up as often as the fraction says; a row depends on its index alone.
void rows_are_rounded_at_random(const WordKernels& table) {
  const int rows = 401;
  uint64_t state = 11;
  const int64_t columns = 37, stride = 53, steps = (rows + 1) / 2;
  std::vector<float> values(static_cast<size_t>(rows * columns)), unit(static_cast<size_t>(columns)), inverse(unit.size()),
      shrink(static_cast<size_t>(rows));
  for (int64_t j = 0; j < columns; ++j) {
    unit[j] = 0.01f * static_cast<float>(j + 1);
    inverse[j] = 1 / unit[j];
  }
  for (int r = 0; r < rows; ++r) shrink[r] = 1 / (1 + 0.01f * static_cast<float>(r % 13));
  for (size_t i = 0; i < values.size(); ++i) values[i] = unit[i % 37] / shrink[i / 37] * (static_cast<float>(i % 37) - 18.75f);
  std::vector<int32_t> words(static_cast<size_t>(steps * stride)), other(words.size()), bits(static_cast<size_t>(columns));
  for (int32_t& each : bits) each = next_half(state, 1 << 30);
  const double variance = table.pack_rows(values.data(), 1000, rows, columns, shrink.data(), unit.data(), inverse.data(), bits.data(),
                                         words.data(), stride);
  double squares = 0, up = 0;
  for (int64_t j = 0; j < columns; ++j) squares += static_cast<double>(unit[j]) * static_cast<double>(unit[j]);
  CHECK(std::abs(variance - squares * 0.1875) <= 1e-5 * squares);
  for (int r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      const int32_t w = words[r / 2 * stride + j];
      const int64_t whole = r % 2 ? high(w) : low(w), floor = j - 19;
      CHECK(whole == floor || whole == floor + 1);
      up += static_cast<double>(whole - floor);
    }
  }
  CHECK(std::abs(up / (rows * columns) - 0.25) < 0.02);
  for (int64_t j = 0; j < columns; ++j) CHECK(high(words[(steps - 1) * stride + j]) == 0);
  table.pack_rows(values.data() + 100 * columns, 1100, rows - 100, columns, shrink.data() + 100, unit.data(), inverse.data(), bits.data(),
                  other.data(), stride);
  for (int64_t s = 0; s < steps - 50; ++s) {
    for (int64_t j = 0; j < columns; ++j) CHECK(other[s * stride + j] == words[(s + 50) * stride + j]);
  }
}

void bytes_are_kept(const WordKernels& table, int rows) {
  uint64_t state = 3;
  const int64_t columns = 37, row_stride = 41, stride = 53, steps = (rows + 1) / 2;
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * row_stride + 16)), centre(static_cast<size_t>(columns + 16));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(next_half(state, 1000));
  for (uint8_t& byte : centre) byte = static_cast<uint8_t>(next_half(state, 1000));
  std::vector<int32_t> words(static_cast<size_t>(steps * stride));
  table.pack_bytes(bytes.data(), row_stride, rows, columns, centre.data(), words.data(), stride);
  for (int r = 0; r < 2 * steps; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      const int32_t w = words[r / 2 * stride + j];
      CHECK((r % 2 ? high(w) : low(w)) == (r < rows ? bytes[r * row_stride + j] - centre[j] : 0));
    }
  }
}

// Whole numbers next to weight * factor, whose chains stay within most_sum, as large as that allows; lanes without weight stay zero.
void weights_are_rounded_at_random(const WordKernels& table, int rows, int64_t chain, int64_t most_sum) {
  uint64_t state = 7;
  std::vector<float> weights(static_cast<size_t>(rows * digit_lanes)), dither(static_cast<size_t>(rows)), half_square(dither.size());
  for (int r = 0; r < rows; ++r) {
    half_square[r] = static_cast<float>(1 + r % 3);
    dither[r] = static_cast<float>(next_half(state, 1000) + 1000) / 2001;
    for (int lane = 0; lane < digit_lanes; ++lane) {
      const float light = static_cast<float>(next_half(state, 1000) + 1000) * 1e-6f;
      weights[r * digit_lanes + lane] = lane == 0 ? 0 : lane == 1 && r == rows / 2 ? 1 : lane < 8 ? light : 400 * light;
    }
  }
  std::vector<int32_t> words(static_cast<size_t>((rows + 1) / 2 * digit_lanes));
  double factor[digit_lanes], variance[digit_lanes];
  table.pack_weights(weights.data(), rows, chain, static_cast<float>(most_sum), dither.data(), half_square.data(), words.data(), factor, variance);
  for (int lane = 0; lane < digit_lanes; ++lane) {
    int64_t most = 0, largest = 0;
    double expected = 0;
    for (int first = 0; first < rows; first += static_cast<int>(2 * chain)) {
      int64_t sum = 0;
      for (int r = first; r < std::min(rows, first + static_cast<int>(2 * chain)); ++r) {
        const int32_t w = words[r / 2 * digit_lanes + lane];
        const int64_t whole = r % 2 ? high(w) : low(w);
        const float scaled = weights[r * digit_lanes + lane] * static_cast<float>(factor[lane]);
        const float fraction = scaled - std::floor(scaled);
        CHECK(whole == static_cast<int64_t>(scaled + dither[r]));
        expected += static_cast<double>(2 * half_square[r] * fraction * (1 - fraction));
        sum += whole;
        largest = std::max(largest, whole);
      }
      most = std::max(most, sum);
    }
    CHECK(most <= most_sum && largest <= 32767);
    std::vector<float> own(static_cast<size_t>(rows));
    std::vector<int32_t> alone(own.size());
    double own_factor = 0, own_variance = 0;
    for (int r = 0; r < rows; ++r) own[r] = weights[r * digit_lanes + lane];
    table.pack_single(own.data(), rows, chain, static_cast<float>(most_sum), dither.data(), half_square.data(), alone.data(), &own_factor, &own_variance);
    CHECK(own_factor == factor[lane] && own_variance == variance[lane]);
    for (int r = 0; r < rows; ++r) CHECK(alone[r] == (r % 2 ? high(words[r / 2 * digit_lanes + lane]) : low(words[r / 2 * digit_lanes + lane])));
    CHECK(lane == 0 ? most == 0 && largest == 0 : most > most_sum - 535 || largest > 32700);
    CHECK(std::abs(variance[lane] - expected) <= 1e-3 * expected);
  }
}

}  // namespace

int main() {
  const WordKernels* tables[] = {words_vnni(), words_avx512(), words_avx2()};
  for (const WordKernels* table : tables) {
    if (table == nullptr) continue;
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
    for (const int64_t columns : {1, 16, 37, 128, 300}) {
      compare_lists(*table, columns, 1, 32, 3);
      compare_lists(*table, columns, 100, 32, 3);
      compare_lists(*table, columns, 256, 32, 0);
    }
    rows_are_rounded_at_random(*table);
    for (const int rows : {1, 5, 64}) bytes_are_kept(*table, rows);
    for (const int rows : {1, 63, 64, 65, 512}) {
      weights_are_rounded_at_random(*table, rows, 32, 65535);
      weights_are_rounded_at_random(*table, rows, 32, 1050000);
    }
  }
  return check::summary();
}
