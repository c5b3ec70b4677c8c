// Checks of the native tests: CHECK counts and reports, and the test goes on. A NaN fails every CHECK_NEAR.
//   int main() { ...; return check::summary(); }
#pragma once

#include <cmath>
#include <cstdio>

namespace check {

// Builds with sanitizers look for faults of memory and of order, 10 times slower and more: tests take smaller data there, of every
// kind, and leave long comparisons in 113-bit arithmetic to the other builds.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

// What stands in scores and denoised means before a call: none of it may be left, nor enter a sum.
inline constexpr double unwritten = -7;

inline int passed = 0;
inline int failed = 0;

inline void record(bool ok, const char* file, int line, const char* text) {
  ++(ok ? passed : failed);
  if (!ok) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
}

inline void near(double actual, double expected, double tolerance, const char* file, int line, const char* text) {
  const bool ok = std::abs(actual - expected) <= tolerance;
  ++(ok ? passed : failed);
  if (!ok) std::fprintf(stderr, "%s:%d: failed: %s is %.17g, expected %.17g +- %.3g\n", file, line, text, actual, expected, tolerance);
}

// Prints "N passed, N failed"; the exit status of the test.
inline int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition) check::record(static_cast<bool>(condition), __FILE__, __LINE__, #condition)
#define CHECK_NEAR(actual, expected, tolerance) check::near(actual, expected, tolerance, __FILE__, __LINE__, #actual)
