#include "copy_numbers.h"

#include <cmath>

namespace regimes {
namespace {

// One body for every vector width of the machine: nothing here rounds.
template <class Number>
[[gnu::always_inline]] inline double copied(const Number* from, int64_t count, double* to) {
  constexpr int64_t width = 16;
  double largest[width] = {}, differences[width] = {};  // of numbers from themselves
  const auto add = [&](int64_t lane, int64_t i) {
    const auto value = static_cast<double>(from[i]);
    const double size = std::abs(value);
    largest[lane] = size > largest[lane] ? size : largest[lane];
    differences[lane] += value - value;
    to[i] = value;
  };
  const int64_t whole = count / width * width;
  for (int64_t i = 0; i < whole; i += width) {
    for (int64_t lane = 0; lane < width; ++lane) add(lane, i + lane);
  }
  for (int64_t i = whole; i < count; ++i) add(i - whole, i);
  double most = 0, sum = 0;
  for (int64_t lane = 0; lane < width; ++lane) {
    most = largest[lane] > most ? largest[lane] : most;
    sum += differences[lane];
  }
  return most + sum;
}

#ifdef REGIMES_X86_KERNELS
[[gnu::target("avx2")]] double copied_avx2(const float* from, int64_t count, double* to) { return copied(from, count, to); }
[[gnu::target("avx2")]] double copied_avx2(const double* from, int64_t count, double* to) { return copied(from, count, to); }
#endif

template <class Number>
double copied_here(const Number* from, int64_t count, double* to) {
#ifdef REGIMES_X86_KERNELS
  if (__builtin_cpu_supports("avx2")) return copied_avx2(from, count, to);
#endif
  return copied(from, count, to);
}

}  // namespace

double copy_numbers(const float* from, int64_t count, double* to) { return copied_here(from, count, to); }
double copy_numbers(const double* from, int64_t count, double* to) { return copied_here(from, count, to); }

}  // namespace regimes
