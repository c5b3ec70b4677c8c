// Status: how native code reports what it cannot do. Kernels never throw, abort or print; bad_alloc is caught at the job boundary.
#pragma once

#include <string>
#include <utility>

namespace regimes {

enum class Code {
  ok,
  cancelled,
  shape,
  domain,
  nonfinite,
  range,
  weights,
  not_psd,
  out_of_memory,
  file,
  file_changed,
  backend,
  internal,
};

struct Status {
  Code code = Code::ok;
  std::string detail;

  bool ok() const { return code == Code::ok; }

  static Status failure(Code code, std::string detail) { return {code, std::move(detail)}; }
};

}  // namespace regimes
