// Memory that starts on a line of the cache. Apart from digits.h, which the translation units of single instruction sets include.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

#include "digits.h"

namespace regimes {

template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{sizeof(DigitLine)};

  LineAllocator() = default;
  template <class U>
  explicit LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), line)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, line); }
  // Elements without a value given stay as the memory is.
  template <class U>
  void construct(U* at) {
    ::new (static_cast<void*>(at)) U;
  }
  template <class U, class V>
  void construct(U* at, const V& value) {
    ::new (static_cast<void*>(at)) U(value);
  }
  bool operator==(const LineAllocator&) const { return true; }
  bool operator!=(const LineAllocator&) const { return false; }
};

// Numbers whose registers do not cross lines. `resize` leaves new ones without a value: work areas, written before they are read.
template <class T>
using LineVector = std::vector<T, LineAllocator<T>>;

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
