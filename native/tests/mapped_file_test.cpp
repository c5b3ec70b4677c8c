// Mapped files: what they hold, the zeros behind them, and what becomes of jobs when somebody cuts the file short or writes to it.
#if !defined(_WIN32)

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "../io/mapped_file.h"
#include "check.h"

using namespace regimes;

namespace {

constexpr int64_t file_bytes = 1 << 20;

// A file of bytes k mod 251, gone with the object.
struct Scratch {
  std::string path = (std::filesystem::temp_directory_path() / "mapped-file-test-").string() + std::string(6, 'X');  // mkstemp's pattern
  int descriptor = mkstemp(path.data());

  Scratch() {
    std::vector<uint8_t> bytes(file_bytes);
    for (int64_t k = 0; k < file_bytes; ++k) bytes[k] = static_cast<uint8_t>(k % 251);
    CHECK(write(descriptor, bytes.data(), bytes.size()) == file_bytes);
  }
  ~Scratch() {
    close(descriptor);
    unlink(path.c_str());
  }
};

std::shared_ptr<const MappedFile> map(const Scratch& file, int64_t offset, int64_t size) {
  std::shared_ptr<const MappedFile> mapped;
  const Status status = MappedFile::open(file.descriptor, "rows.npy", offset, size, 64, file_bytes, mapped);
  CHECK(status.ok());
  return mapped;
}

int64_t sum(const MappedFile& file, int64_t from, int64_t to) {
  const auto* bytes = static_cast<const volatile uint8_t*>(file.data());
  int64_t total = 0;
  for (int64_t k = from; k < to; ++k) total += bytes[k];
  return total;
}

void the_bytes_asked_for_are_there_and_padding_behind_them() {
  const Scratch file;
  for (const int64_t offset : {int64_t{0}, int64_t{1}, int64_t{4095}, int64_t{4096}, int64_t{70001}}) {
    const auto mapped = map(file, offset, file_bytes - offset);
    const auto* bytes = static_cast<const uint8_t*>(mapped->data());
    CHECK(bytes[0] == offset % 251 && bytes[file_bytes - offset - 1] == (file_bytes - 1) % 251);
    CHECK(sum(*mapped, file_bytes - offset, file_bytes - offset + 64) == 0);
    CHECK(mapped->check().ok());
  }
  std::shared_ptr<const MappedFile> none;
  CHECK(MappedFile::open(file.descriptor, "rows.npy", 1, file_bytes, 64, file_bytes, none).code == Code::file && none == nullptr);
  CHECK(MappedFile::open(file.descriptor, "rows.npy", 0, 10, 64, file_bytes + 1, none).code == Code::file_changed && none == nullptr);
}

void a_file_cut_short_reads_as_zeros_and_is_named() {
  const Scratch file, other;
  const auto mapped = map(file, 0, file_bytes), untouched = map(other, 0, file_bytes);
  CHECK(sum(*mapped, 0, 10) == 45);
  CHECK(ftruncate(file.descriptor, 8192) == 0);
  std::vector<std::thread> threads;
  int64_t sums[4] = {1, 1, 1, 1};
  for (int64_t& one : sums) threads.emplace_back([&] { one = sum(*mapped, 8192, file_bytes); });
  for (std::thread& thread : threads) thread.join();
  for (const int64_t one : sums) CHECK(one == 0);
  const Status status = mapped->check();
  CHECK(status.code == Code::file_changed);
  CHECK(status.detail.find("rows.npy") != std::string::npos && status.detail.find("1048576") != std::string::npos &&
        status.detail.find("8192") != std::string::npos);
  CHECK(untouched->check().ok() && sum(*untouched, 0, 10) == 45);
  // Making it as long as it was does not bring the rows back.
  CHECK(ftruncate(file.descriptor, file_bytes) == 0);
  CHECK(mapped->check().code == Code::file_changed);
}

void a_file_written_to_is_noticed_and_one_replaced_is_not() {
  const Scratch file, replaced;
  const auto mapped = map(file, 0, file_bytes), old = map(replaced, 0, file_bytes);
  usleep(20000);  // beyond the grain of the file system's clock
  CHECK(pwrite(file.descriptor, "x", 1, 5) == 1);
  CHECK(mapped->check().code == Code::file_changed);
  CHECK(unlink(replaced.path.c_str()) == 0);
  CHECK(old->check().ok() && sum(*old, 0, 10) == 45);
}

void a_handler_installed_later_is_kept_behind_ours() {
  const Scratch file;
  const auto mapped = map(file, 0, file_bytes);
  static volatile sig_atomic_t seen;
  seen = 0;
  struct sigaction theirs = {};
  theirs.sa_handler = [](int) { seen = 1; };
  CHECK(sigaction(SIGBUS, &theirs, nullptr) == 0);
  CHECK(mapped->check().ok());
  raise(SIGBUS);
  CHECK(seen == 1);
  CHECK(ftruncate(file.descriptor, 0) == 0);
  CHECK(sum(*mapped, 0, file_bytes) == 0 && mapped->check().code == Code::file_changed);
}

}  // namespace

int main() {
  the_bytes_asked_for_are_there_and_padding_behind_them();
  a_file_cut_short_reads_as_zeros_and_is_named();
  a_file_written_to_is_noticed_and_one_replaced_is_not();
  a_handler_installed_later_is_kept_behind_ours();
  return check::summary();
}

#else
int main() { return 0; }
#endif
