// What this machine can do at most, on 1 ... threads threads at once: float32 multiply-adds and int8 products from registers, and reading
// memory far larger than the caches. Prints one JSON line. x86-64 only; elsewhere every rate is null. Rates are per second of processor
// time, best of several short runs, since a busy neighbour can only make a ceiling lower.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <time.h>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>

namespace {

// 24 independent accumulators cover the latency (4 cycles) of two units; macros, since an array would be kept in memory, and assembly,
// since GCC 12 copies the accumulators of the intrinsics around.
#define TWENTY_FOUR(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

constexpr long rounds = 2'000'000;
volatile float sink_float;
volatile int sink_int;

__attribute__((target("avx512f"))) double float32_avx512() {
#define START(i) __m512 a##i = _mm512_set1_ps(0.1f * i);
#define STEP(i) asm("vfmadd231ps %2, %1, %0" : "+v"(a##i) : "v"(x), "v"(y));
#define ADD(i) sum = _mm512_add_ps(sum, a##i);
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
  TWENTY_FOUR(START)
  for (long round = 0; round < rounds; round++) { TWENTY_FOUR(STEP) }
  __m512 sum = _mm512_setzero_ps();
  TWENTY_FOUR(ADD)
  float lanes[16];
  _mm512_storeu_ps(lanes, sum);
  sink_float = lanes[0];
  return 24.0 * 16 * 2 * rounds;
#undef START
#undef STEP
#undef ADD
}

__attribute__((target("avx2,fma"))) double float32_avx2() {
#define START(i) __m256 a##i = _mm256_set1_ps(0.1f * i);
#define STEP(i) asm("vfmadd231ps %2, %1, %0" : "+v"(a##i) : "v"(x), "v"(y));
#define ADD(i) sum = _mm256_add_ps(sum, a##i);
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
  TWELVE(START)
  for (long round = 0; round < rounds; round++) { TWELVE(STEP) }
  __m256 sum = _mm256_setzero_ps();
  TWELVE(ADD)
  float lanes[8];
  _mm256_storeu_ps(lanes, sum);
  sink_float = lanes[0];
  return 12.0 * 8 * 2 * rounds;
#undef START
#undef STEP
#undef ADD
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) double int8_vnni() {
#define START(i) __m512i a##i = _mm512_set1_epi32(i);
#define STEP(i) asm("vpdpbusd %2, %1, %0" : "+v"(a##i) : "v"(x), "v"(y));
#define ADD(i) sum = _mm512_add_epi32(sum, a##i);
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-2);
  TWENTY_FOUR(START)
  for (long round = 0; round < rounds; round++) { TWENTY_FOUR(STEP) }
  __m512i sum = _mm512_setzero_si512();
  TWENTY_FOUR(ADD)
  int lanes[16];
  _mm512_storeu_si512(lanes, sum);
  sink_int = lanes[0];
  return 24.0 * 64 * 2 * rounds;
#undef START
#undef STEP
#undef ADD
}

// Without VNNI: pairs by vpmaddubsw, fours by vpmaddwd, and an addition. The operand changes each round, or the products would be hoisted.
__attribute__((target("avx2"))) double int8_avx2() {
#define START(i) __m256i a##i = _mm256_set1_epi32(i);
#define STEP(i) a##i = _mm256_add_epi32(a##i, _mm256_madd_epi16(_mm256_maddubs_epi16(a##i, y), ones));
#define ADD(i) sum = _mm256_add_epi32(sum, a##i);
  const __m256i y = _mm256_set1_epi8(-2), ones = _mm256_set1_epi16(1);
  TWELVE(START)
  for (long round = 0; round < rounds; round++) { TWELVE(STEP) }
  __m256i sum = _mm256_setzero_si256();
  TWELVE(ADD)
  int lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sum);
  sink_int = lanes[0];
  return 12.0 * 32 * 2 * rounds;
#undef START
#undef STEP
#undef ADD
}

// Sums `words` 64-bit words, eight at a time: no vector unit is needed to wait for memory, but two loads per cycle must be in flight.
__attribute__((target("avx2"))) double read_memory(const std::vector<uint64_t>& words) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (size_t k = 0; k + 16 <= words.size(); k += 16) {
    const __m256i* at = reinterpret_cast<const __m256i*>(words.data() + k);
    a = _mm256_add_epi64(a, _mm256_loadu_si256(at));
    b = _mm256_add_epi64(b, _mm256_loadu_si256(at + 1));
    c = _mm256_add_epi64(c, _mm256_loadu_si256(at + 2));
    d = _mm256_add_epi64(d, _mm256_loadu_si256(at + 3));
  }
  int lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d)));
  sink_int = lanes[0];
  return 8.0 * static_cast<double>(words.size());
}

double processor_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Sum over threads of what each does per second, best of five; in units of 1e9.
template <class Work>
double rate(int threads, Work work) {
  double best = 0;
  for (int repetition = 0; repetition < 5; repetition++) {
    std::vector<double> rates(threads);
    std::vector<std::thread> running;
    for (int thread = 0; thread < threads; thread++) {
      running.emplace_back([&, thread] {
        const double started = processor_seconds();
        const double amount = work(thread);
        rates[thread] = amount / (processor_seconds() - started);
      });
    }
    double sum = 0;
    for (int thread = 0; thread < threads; thread++) {
      running[thread].join();
      sum += rates[thread];
    }
    if (sum > best) best = sum;
  }
  return best / 1e9;
}

std::string number(double value) { return value > 0 ? std::to_string(value) : "null"; }

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
  double narrow = 0, wide = 0, bytes = 0, memory = 0;
  if (avx2) {
    narrow = rate(threads, [](int) { return float32_avx2(); });
    bytes = rate(threads, [&](int) { return vnni ? int8_vnni() : int8_avx2(); });
    std::vector<std::vector<uint64_t>> blocks(threads, std::vector<uint64_t>(size_t{256} << 17, 1));  // 256 MB each
    memory = rate(threads, [&](int thread) { return read_memory(blocks[thread]); });
  }
  if (avx512) wide = rate(threads, [](int) { return float32_avx512(); });
  std::printf("{\"float32\": %s, \"float32Avx2\": %s, \"int8\": %s, \"int8By\": \"%s\", \"read\": %s}\n", number(wide > narrow ? wide : narrow).c_str(),
              number(narrow).c_str(), number(bytes).c_str(), vnni ? "vpdpbusd" : "vpmaddubsw", number(memory).c_str());
}

#else

int main() { std::printf("{\"float32\": null, \"float32Avx2\": null, \"int8\": null, \"int8By\": \"\", \"read\": null}\n"); }

#endif
