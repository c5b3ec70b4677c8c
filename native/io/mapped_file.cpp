#include "mapped_file.h"

#if defined(_WIN32)

namespace regimes {

Status MappedFile::open(int, std::string name, int64_t, int64_t, int64_t, int64_t, std::shared_ptr<const MappedFile>&) {
  return Status::failure(Code::file, name + ": files are not mapped on Windows. Open it with map: false");
}
MappedFile::~MappedFile() = default;
Status MappedFile::check() const { return {}; }

}  // namespace regimes

#else

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>

namespace regimes {
namespace {

#ifdef MAP_NORESERVE
constexpr int zero_pages = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
constexpr int zero_pages = MAP_PRIVATE | MAP_ANONYMOUS;
#endif

// What the signal handler reads: a list that only grows; entries of closed mappings are empty and used again.
struct Region {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> lost{false};
  bool used = false;
  Region* next = nullptr;
};

std::mutex registry;  // guards all but what the handler reads
std::atomic<Region*> regions{nullptr};
struct sigaction previous;
uintptr_t page_bytes = 0;

// Async-signal-safe: atomics and system calls.
void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Region* region = regions.load(std::memory_order_acquire); region != nullptr; region = region->next) {
    const uintptr_t begin = region->begin.load(std::memory_order_acquire), end = region->end.load(std::memory_order_acquire);
    if (address < begin || address >= end) continue;
    const uintptr_t page = address / page_bytes * page_bytes;
    // All that follows is lost as well, most likely: one signal instead of one per page.
    void* filled = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, zero_pages | MAP_FIXED, -1, 0);
    if (filled == MAP_FAILED) break;
    region->lost.store(true);
    errno = error;
    return;
  }
  errno = error;
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
  // The access is tried again, or the signal sent again, and ends the process as it would have without this handler.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &standard, nullptr);
  if (info->si_code <= 0) raise(SIGBUS);
}

// A handler that somebody installed over this one becomes the previous one. Under `registry`.
void install_handler() {
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) != 0 || ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == on_bus_error)) return;
  previous = current;
  struct sigaction own = {};
  own.sa_sigaction = on_bus_error;
  own.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&own.sa_mask);
  sigaction(SIGBUS, &own, nullptr);
}

Region* add_region(uintptr_t begin, uintptr_t end) {
  const std::lock_guard lock(registry);
  install_handler();
  Region* region = regions.load();
  while (region != nullptr && region->used) region = region->next;
  if (region == nullptr) {
    region = new Region;
    region->next = regions.load();
    regions.store(region, std::memory_order_release);
  }
  region->used = true;
  region->lost.store(false);
  region->begin.store(begin, std::memory_order_release);
  region->end.store(end, std::memory_order_release);
  return region;
}

void remove_region(Region* region) {
  const std::lock_guard lock(registry);
  region->end.store(0);
  region->begin.store(0);
  region->used = false;
}

}  // namespace

bool MappedFile::stamp_of(int descriptor, Stamp& stamp) {
  struct stat found = {};
  if (fstat(descriptor, &found) != 0) return false;
#if defined(__APPLE__)
  const timespec& written = found.st_mtimespec;
#else
  const timespec& written = found.st_mtim;
#endif
  stamp = {static_cast<int64_t>(found.st_size), static_cast<int64_t>(written.tv_sec), static_cast<int64_t>(written.tv_nsec)};
  return true;
}

Status MappedFile::open(int descriptor, std::string name, int64_t offset, int64_t size, int64_t padding, int64_t file_bytes,
                        std::shared_ptr<const MappedFile>& mapped) {
  const auto failed = [&](const char* what) { return Status::failure(Code::file, name + ": " + what + ": " + std::strerror(errno)); };
  page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::shared_ptr<MappedFile> file(new MappedFile);
  file->descriptor_ = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (file->descriptor_ < 0 || !stamp_of(file->descriptor_, file->opened_)) return failed("the file cannot be held open");
  file->name_ = name;
  file->opened_.bytes = file_bytes;
  Status status = file->check();
  if (!status.ok()) return status;
  if (offset < 0 || size < 1 || size > file_bytes || offset > file_bytes - size) {
    return Status::failure(Code::file, name + ": the rows lie outside the file");
  }
  const auto page = static_cast<int64_t>(page_bytes);
  const int64_t first = offset / page * page, inside = (offset - first + size + page - 1) / page * page;
  // Zeros first, over which the file is laid: reads behind the last row find the rest of its page, then a page of zeros.
  file->length_ = static_cast<size_t>(inside + (padding + page - 1) / page * page);
  void* base = mmap(nullptr, file->length_, PROT_READ, zero_pages, -1, 0);
  if (base == MAP_FAILED) return failed("no addresses for its mapping");
  file->base_ = base;
  const auto start = static_cast<off_t>(first);
  if (mmap(base, static_cast<size_t>(inside), PROT_READ, MAP_SHARED | MAP_FIXED, file->descriptor_, start) == MAP_FAILED) {
    return failed("it cannot be mapped (a file system without mappings?). Open it with map: false");
  }
  // Every pass over the rows goes from front to back: the system reads ahead of it, in large pieces. Advice may be ignored.
  madvise(base, static_cast<size_t>(inside), MADV_SEQUENTIAL);
  const auto begin = reinterpret_cast<uintptr_t>(base);
  file->region_ = add_region(begin, begin + static_cast<uintptr_t>(inside));
  file->data_ = static_cast<const uint8_t*>(base) + (offset - first);
  mapped = file;
  return {};
}

MappedFile::~MappedFile() {
  if (region_ != nullptr) remove_region(static_cast<Region*>(region_));
  if (base_ != nullptr) munmap(base_, length_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status MappedFile::check() const {
  Stamp now;
  const bool known = stamp_of(descriptor_, now);
  const auto* region = static_cast<const Region*>(region_);
  if (region != nullptr) {
    const std::lock_guard lock(registry);
    install_handler();
  }
  const bool lost = region != nullptr && region->lost.load();
  const bool written = now.seconds != opened_.seconds || now.nanoseconds != opened_.nanoseconds;
  if (known && !lost && !written && now.bytes == opened_.bytes) return {};
  const std::string sizes = std::to_string(opened_.bytes) + " bytes at the opening, " + std::to_string(now.bytes) + " now";
  const char* change = now.bytes != opened_.bytes ? "changed its size" : written ? "was written to" : "could not be read everywhere";
  return Status::failure(Code::file_changed, name_ + " " + change + " while it was in use (" + sizes +
                                                 "; another process?). No result of this call counts. Open it again when it is complete");
}

}  // namespace regimes

#endif
