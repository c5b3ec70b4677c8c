// The CPU backend: the algorithms of posterior and sweep over the tables of one instruction set.
#pragma once

#include "../core/operations.h"
#include "dense.h"
#include "digits.h"
#include "few.h"
#include "kernels.h"
#include "normals.h"
#include "projected.h"
#include "screen.h"
#include "small.h"
#include "words.h"

namespace regimes {

struct Instructions {
  const char* name;
  const Kernels* kernels;      // float64
  const DigitKernels* digits;  // bytes times fixed point
  const ProjectedKernels* projected; // screening by few bytes
  const ScreenKernels* screen; // screening and refinement
  const DenseKernels* dense;   // float32 products and exponentials
  const SmallKernels* small;   // space-ordered tiles
  const FewKernels* few;       // few Gaussians
  Normals normals;             // draws
  Normals lane_normals;        // the same, 8 trajectories side by side
  const WordKernels* words = nullptr;  // 16-bit products; null: none that beat float32
};

// One per backend; with a null member where this machine lacks it.
const Instructions& amx_set();
const Instructions& vnni_set();
const Instructions& avx512_set();
const Instructions& avx2_set();
const Instructions& portable_set();

// Points: chooses a path for every query by that query and the data alone (posterior_points.cpp).
Status posterior_points(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution);
// All components, differences in float64.
Status posterior_float64(const Kernels& kernels, const Target& target, const PosteriorRequest& request, const Execution& execution);
Status posterior_mixture(const Instructions& set, const Target& target, const PosteriorRequest& request, const Execution& execution);
Status sweep_points(const Instructions& set, const Target& target, const SweepRequest& request, const Execution& execution);
Status sweep_mixture(const Instructions& set, const Target& target, const SweepRequest& request, const Execution& execution);

}  // namespace regimes
