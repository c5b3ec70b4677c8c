// Read-only mappings of regular files, so that rows are read where they lie. The pages belong to the system's cache and go back to it
// under pressure; nothing is copied.
//
// A file that is cut short, or whose disk fails, raises SIGBUS where its pages are touched. A handler, installed with the first
// mapping, puts zeros in the place of the lost pages and notes it; signals from elsewhere go to the handler that was there before. So
// a job runs to its end, and whoever started it must ask `check` before its results count.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "../core/status.h"

namespace regimes {

class MappedFile {
 public:
  // Bytes [offset, offset + size) of an open file, which keeps its own descriptor. `padding` more readable bytes follow the last.
  // `file_bytes` is the size that the caller knows. Code::file, Code::file_changed.
  static Status open(int descriptor, std::string name, int64_t offset, int64_t size, int64_t padding, int64_t file_bytes,
                     std::shared_ptr<const MappedFile>& mapped);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const void* data() const { return data_; }

  // Code::file_changed once the file has lost bytes that were read, another size or another time of writing than at the opening.
  // A file that was replaced by another of its name is still there and unchanged. Puts the handler back where somebody took it.
  Status check() const;

 private:
  MappedFile() = default;

  struct Stamp {
    int64_t bytes = 0;
    int64_t seconds = 0;
    int64_t nanoseconds = 0;
  };
  static bool stamp_of(int descriptor, Stamp& stamp);

  std::string name_;
  int descriptor_ = -1;
  Stamp opened_;
  void* region_ = nullptr;  // the registry's entry
  void* base_ = nullptr;
  size_t length_ = 0;
  const void* data_ = nullptr;
};

}  // namespace regimes
