// Integer products of bytes with digits: every table that this machine runs equals plain 64-bit integer loops exactly.
#include <cstring>
#include <vector>

#include "../cpu/cpu.h"
#include "check.h"

using namespace regimes;

namespace {

// A small generator of the test's own (Steele, Lea and Flood, 2014): any sequence does.
struct Source {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
};

struct Packed {
  std::vector<char> storage;
  char* data;
  explicit Packed(int64_t bytes) : storage(static_cast<size_t>(bytes + 63)) {
    data = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
  }
};

enum class Fill { random, largest, smallest, alternating };

int32_t value_of(Fill fill, int32_t limit, int64_t k, Source& source) {
  switch (fill) {
    case Fill::random:
      return static_cast<int32_t>(source.next() % (2 * static_cast<uint64_t>(limit) + 1)) - limit;
    case Fill::largest:
      return limit;
    case Fill::smallest:
      return -limit;
    case Fill::alternating:
      return k % 2 ? limit : -limit;
  }
  return 0;
}

void products_of(const DigitKernels& table, int64_t d, int count, int groups, int planes, Fill fill, bool bytes_full) {
  Source source{static_cast<uint64_t>(d * 1000 + count * 10 + groups)};
  const int64_t stride = d + 3, out_rows = count + 2;
  // What follows a row meets no digit: it is filled with 255.
  std::vector<uint8_t> rows(static_cast<size_t>(count * stride + 64), 255);
  for (int r = 0; r < count; ++r) {
    for (int64_t k = 0; k < d; ++k) rows[r * stride + k] = bytes_full ? 255 : static_cast<uint8_t>(source.next());
  }
  const int32_t limit = planes == 1 ? table.limit_one : table.limit_full;
  std::vector<int32_t> x(static_cast<size_t>(groups * digit_lanes * d));
  for (size_t k = 0; k < x.size(); ++k) x[k] = value_of(fill, limit, static_cast<int64_t>(k), source);

  const int64_t bytes = table.group_bytes(d, planes);
  CHECK(bytes % 64 == 0 && table.single_bytes(d, planes) % 64 == 0);
  Packed packed(groups * bytes), single(table.single_bytes(d, planes));
  for (int g = 0; g < groups; ++g) table.pack_group(x.data() + g * digit_lanes * d, d, planes, packed.data + g * bytes);
  std::vector<int32_t> transposed(static_cast<size_t>(digit_lanes * d));
  for (int64_t k = 0; k < digit_lanes * d; ++k) transposed[k] = x[k % digit_lanes * d + k / digit_lanes];
  Packed by_lanes(bytes);
  table.pack_lanes(transposed.data(), d, planes, by_lanes.data);
  CHECK(std::memcmp(by_lanes.data, packed.data, static_cast<size_t>(bytes)) == 0);
  const double untouched = 0.5;
  std::vector<double> out(static_cast<size_t>(groups * out_rows * digit_lanes), untouched);
  table.group_products(rows.data(), stride, count, d, packed.data, groups, planes, out.data(), out_rows);

  // A gather with repeats, backwards, and the rows in order.
  std::vector<int32_t> index(static_cast<size_t>(count) + 1);
  for (size_t i = 0; i < index.size(); ++i) index[i] = count - 1 - static_cast<int>(i) % count;
  std::vector<double> gathered(index.size()), ordered(static_cast<size_t>(count));
  bool equal = true;
  for (int q = 0; q < groups * digit_lanes; ++q) {
    std::vector<double> expected(static_cast<size_t>(count));
    for (int r = 0; r < count; ++r) {
      int64_t sum = 0;
      for (int64_t k = 0; k < d; ++k) sum += int64_t{rows[r * stride + k]} * x[q * d + k];
      expected[r] = static_cast<double>(sum);
      equal = equal && out[(q / digit_lanes * out_rows + r) * digit_lanes + q % digit_lanes] == expected[r];
    }
    if (q % 5 != 0) continue;
    table.pack_single(x.data() + q * d, d, planes, single.data);
    table.single_products(rows.data(), stride, nullptr, count, d, single.data, planes, ordered.data());
    const auto wanted = static_cast<int64_t>(index.size());
    table.single_products(rows.data(), stride, index.data(), wanted, d, single.data, planes, gathered.data());
    equal = equal && ordered == expected;
    for (size_t i = 0; i < index.size(); ++i) equal = equal && gathered[i] == expected[index[i]];
  }
  if (planes == 1) {
    // Several single queries at once, in order and gathered: the same products.
    const int64_t bytes_of_single = table.single_bytes(d, 1), wanted = static_cast<int64_t>(index.size()), several_stride = wanted + 3;
    for (const int several : {1, 2, 3, 6, 11}) {
      Packed singles(several * bytes_of_single);
      std::vector<const void*> each;
      for (int q = 0; q < several; ++q) {
        table.pack_single(x.data() + q * d, d, 1, singles.data + q * bytes_of_single);
        each.push_back(singles.data + q * bytes_of_single);
      }
      for (const bool listed : {false, true}) {
        const int64_t many = listed ? wanted : count;
        std::vector<double> products(static_cast<size_t>(several * several_stride), untouched);
        table.several_products(rows.data(), stride, listed ? index.data() : nullptr, many, d, each.data(), several, products.data(), several_stride);
        for (int q = 0; q < several; ++q) {
          for (int64_t i = 0; i < several_stride; ++i) {
            const int64_t r = listed && i < many ? index[i] : i;
            const double expected = i < many ? out[(q / digit_lanes * out_rows + r) * digit_lanes + q % digit_lanes] : untouched;
            equal = equal && products[q * several_stride + i] == expected;
          }
        }
      }
    }
  }
  if (!equal) std::fprintf(stderr, "%s d=%ld count=%d groups=%d planes=%d\n", table.name, long(d), count, groups, planes);
  CHECK(equal);
  for (int g = 0; g < groups; ++g) {
    const double* after = out.data() + (g * out_rows + count) * digit_lanes;
    for (int k = 0; k < 2 * digit_lanes; ++k) equal = equal && after[k] == untouched;
  }
  CHECK(equal);
}

// Sums over listed rows, with repeats, of the weights of one lane.
void sums_of(const DigitKernels& table, int64_t columns, int count, Fill fill, bool bytes_full) {
  Source source{static_cast<uint64_t>(columns * 100 + count)};
  const int64_t stride = columns + 5, out_stride = 3;
  const int rows_there = count / 2 + 1;
  std::vector<uint8_t> rows(static_cast<size_t>(rows_there * stride + 64), 255);
  for (int64_t k = 0; k < rows_there * stride; ++k) rows[k] = bytes_full ? 255 : static_cast<uint8_t>(source.next());
  std::vector<int32_t> index(static_cast<size_t>(count)), weights(index.size());
  for (int i = 0; i < count; ++i) {
    index[i] = static_cast<int32_t>(source.next() % static_cast<uint64_t>(rows_there));
    weights[i] = value_of(fill, table.limit_full, i, source);
  }
  Packed packed(table.single_bytes(count, table.full_planes));
  table.pack_single(weights.data(), count, table.full_planes, packed.data);
  const double untouched = 0.5;
  std::vector<double> out(static_cast<size_t>(columns * out_stride), untouched);
  table.listed_sums(rows.data(), stride, index.data(), count, columns, packed.data, out.data(), out_stride);
  bool equal = true;
  for (int64_t j = 0; j < columns; ++j) {
    int64_t sum = 0;
    for (int i = 0; i < count; ++i) sum += int64_t{rows[index[i] * stride + j]} * weights[i];
    equal = equal && out[j * out_stride] == static_cast<double>(sum) && out[j * out_stride + 1] == untouched;
  }
  if (!equal) std::fprintf(stderr, "%s listed sums columns=%ld count=%d\n", table.name, long(columns), count);
  CHECK(equal);
}

void every_table_equals_integer_loops() {
  for (const DigitKernels* table : {digits_amx(), digits_vnni(), digits_words_avx512(), digits_words_avx2(), digits_portable()}) {
    if (table == nullptr) continue;
    std::printf("%s\n", table->name);
    CHECK(table->limit_full >= (1 << 22) - 1 && table->limit_one <= table->limit_full);
    CHECK((table->listed_sums != nullptr) == table->faster_than_floats);
    for (const int64_t columns : {1, 63, 64, 65, 784}) {
      if (table->listed_sums == nullptr) break;
      for (const int count : {1, 2, 3, 4, 5, 64, 130}) sums_of(*table, columns, count, Fill::random, false);
      for (const Fill fill : {Fill::largest, Fill::smallest, Fill::alternating}) sums_of(*table, columns, 4096, fill, true);
    }
    for (const int planes : {1, table->full_planes}) {
      for (const int64_t d : {1, 3, 4, 5, 63, 64, 65, 784}) {
        for (int count = 1; count <= 17; ++count) products_of(*table, d, count, 1 + count % 5, planes, Fill::random, false);
        for (const Fill fill : {Fill::largest, Fill::smallest, Fill::alternating}) products_of(*table, d, 7, 2, planes, fill, true);
      }
      for (int groups = 1; groups <= 5; ++groups) products_of(*table, 130, 8, groups, planes, Fill::random, false);
      products_of(*table, 5000, 7, 2, planes, Fill::random, false);
      for (const Fill fill : {Fill::random, Fill::largest, Fill::smallest}) {
        products_of(*table, 5000, 5, 1, planes, fill, true);
        products_of(*table, 70000, 3, 1, planes, fill, true);
      }
    }
  }
}

}  // namespace

int main() {
  every_table_equals_integer_loops();
  return check::summary();
}
