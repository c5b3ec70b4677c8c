// Memory for packed digits. Apart from digits.h, which the translation units of single instruction sets include.
#pragma once

#include <cstddef>
#include <vector>

#include "digits.h"

namespace regimes {

// Bytes that start on a line.
class LineBytes {
 public:
  explicit LineBytes(int64_t bytes = 0) : lines_(static_cast<size_t>(bytes + 63) / sizeof(DigitLine)) {}
  char* data() { return reinterpret_cast<char*>(lines_.data()); }
  const char* data() const { return reinterpret_cast<const char*>(lines_.data()); }
  // What is there may stay.
  void resize(int64_t bytes) { lines_.resize(static_cast<size_t>(bytes + 63) / sizeof(DigitLine)); }
  int64_t capacity() const { return static_cast<int64_t>(lines_.capacity() * sizeof(DigitLine)); }

 private:
  std::vector<DigitLine> lines_;
};

}  // namespace regimes
