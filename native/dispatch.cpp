#include "dispatch.h"

#include <cstdlib>

#include "core/carry_plan.h"
#include "cpu/cpu.h"
#include "cpu/few_gaussians.h"
#include "cpu/simulate_carried.h"
#include "cpu/simulate_few.h"
#include "reference/reference.h"

namespace regimes {
namespace {

// A backend is a table of functions: one instance per instruction set.
template <const Instructions& (*Set)()>
struct Cpu {
  static Status posterior(const Target& target, const PosteriorRequest& request, const Execution& execution) {
    return target.kind == Target::Kind::points ? posterior_points(Set(), target, request, execution)
                                               : posterior_mixture(Set(), target, request, execution);
  }
  static Status sweep(const Target& target, const SweepRequest& request, const Execution& execution) {
    return target.kind == Target::Kind::points ? sweep_points(Set(), target, request, execution)
                                               : sweep_mixture(Set(), target, request, execution);
  }
  static std::unique_ptr<CarriedBlock> carry(const Target& target, const SimulateRequest& request, const CarryPlan& plan, int64_t first,
                                             int64_t rows) {
    return carry_points(Set(), target, request, plan, first, rows);
  }
  static Status few(const Target& target, const SimulateRequest& request, int64_t first, int64_t rows, double* x,
                    const std::function<void(int64_t)>& advanced, const Execution& execution) {
    return simulate_few(Set(), target, request, first, rows, x, advanced, execution);
  }
  static RunBlock run_block(const Target& target) { return is_few(target) ? few : nullptr; }
  static const Backend* backend() {
    if (Set().kernels == nullptr || Set().digits == nullptr) return nullptr;
    static const Backend instance{Set().name, posterior, sweep, Set().digits->name, Set().normals, carry, run_block};
    return &instance;
  }
};

BackendChoice choose() {
  BackendChoice choice;
  std::vector<const Backend*> usable;
  for (const Backend* backend : {
#ifdef REGIMES_X86_KERNELS
           Cpu<amx_set>::backend(), Cpu<vnni_set>::backend(), Cpu<avx512_set>::backend(), Cpu<avx2_set>::backend(),
#endif
           Cpu<portable_set>::backend(), &reference_backend()}) {
    if (backend == nullptr) continue;
    usable.push_back(backend);
    choice.available.emplace_back(backend->name);
  }
  const char* forced = std::getenv("DIFFUSION_REGIMES_BACKEND");
  if (forced == nullptr || *forced == '\0' || std::string(forced) == "auto") {
    choice.backend = usable.front();
    choice.reason = "the widest instruction set of this processor";
    return choice;
  }
  for (const Backend* backend : usable) {
    if (backend->name == std::string(forced)) {
      choice.backend = backend;
      choice.reason = "forced by DIFFUSION_REGIMES_BACKEND";
      return choice;
    }
  }
  std::string names;
  for (const std::string& name : choice.available) names += (names.empty() ? "" : ", ") + name;
  choice.status = Status::failure(Code::backend, std::string("DIFFUSION_REGIMES_BACKEND=") + forced + " cannot run here; this machine runs " + names);
  return choice;
}

}  // namespace

const BackendChoice& chosen_backend() {
  static const BackendChoice choice = choose();
  return choice;
}

}  // namespace regimes
