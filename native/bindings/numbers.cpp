// What calls ask of their own arrays.
#include <algorithm>
#include <cmath>

#include "arguments.h"
#include "operations.h"

namespace regimes::bindings {

// max |x|; NaN where one of them is not finite.
Napi::Value largest_number(const Napi::CallbackInfo& info) {
  const auto values = info[0].As<Napi::Float64Array>();
  constexpr size_t width = 8;
  const double* x = values.Data();
  const size_t count = values.ElementLength(), whole = count / width * width;
  double largest[width] = {}, differences[width] = {};  // of numbers from themselves
  const auto add = [&](size_t lane, double value) {
    const double size = std::abs(value);
    largest[lane] = size > largest[lane] ? size : largest[lane];
    differences[lane] += value - value;
  };
  for (size_t i = 0; i < whole; i += width) {
    for (size_t lane = 0; lane < width; ++lane) add(lane, x[i + lane]);
  }
  for (size_t i = whole; i < count; ++i) add(i - whole, x[i]);
  double most = 0, sum = 0;
  for (size_t lane = 0; lane < width; ++lane) {
    most = std::max(most, largest[lane]);
    sum += differences[lane];
  }
  return Napi::Number::New(info.Env(), most + sum);
}

}  // namespace regimes::bindings
