// The part of dense_body.h for mixtures of Gaussians: 16 queries at once, one per lane.
#pragma once

namespace {

using regimes::CentredLanes;
using regimes::ChainNorms;

typedef int32_t Integers __attribute__((vector_size(32), aligned(4)));

constexpr int lane_halves = digit_lanes / 8;

// Element j of 16 rows.
struct LaneValues {
  Doubles half[lane_halves];
};

inline LaneValues column_of(const double* const* x, int64_t j) {
  double values[digit_lanes];
  for (int lane = 0; lane < digit_lanes; ++lane) values[lane] = x[lane][j];
  return {load_vector<Doubles>(values), load_vector<Doubles>(values + 8)};
}

inline Doubles larger(Doubles x, Doubles y) { return x > y ? x : y; }

struct RunningNorms {
  Doubles total[lane_halves] = {}, chain[lane_halves] = {}, chains[lane_halves] = {}, most[lane_halves] = {}, part[lane_halves] = {}, whole[lane_halves] = {};

  inline void add(int half, Doubles square) {
    part[half] += square;
    most[half] = larger(most[half], square);
  }
  inline void end_chain() {
    for (int half = 0; half < lane_halves; ++half) {
      chain[half] = larger(chain[half], part[half]);
      whole[half] += part[half];
      part[half] = Doubles{};
    }
  }
  inline void end_chains() {
    for (int half = 0; half < lane_halves; ++half) {
      chains[half] = larger(chains[half], whole[half]);
      total[half] += whole[half];
      whole[half] = Doubles{};
    }
  }
  inline void store(ChainNorms* out) const {
    for (int half = 0; half < lane_halves; ++half) {
      store_vector(out->total + half * 8, total[half]);
      store_vector(out->chain + half * 8, chain[half]);
      store_vector(out->chains + half * 8, chains[half]);
      store_vector(out->most + half * 8, most[half]);
    }
  }
};

void centre_lanes(const double* const* x, const double* origin, double a, const double* common, const double* level, int64_t d,
                  int64_t chain, int64_t chains, const double* stretch, const float* shrink, float* lanes, float* squares, CentredLanes* out) {
  RunningNorms of_x, of_squares;
  Doubles weighted[lane_halves] = {}, moved[lane_halves] = {};
  for (int64_t j = 0; j < d; ++j) {
    const LaneValues value = column_of(x, j);
    const double there = stretch != nullptr ? stretch[j / chain] : 1;
    const double back = shrink != nullptr ? static_cast<double>(shrink[j / chain]) : 1;
#pragma GCC unroll 2
    for (int half = 0; half < lane_halves; ++half) {
      const Doubles centred = value.half[half] - a * origin[j], square = centred * centred;
      const Singles single = __builtin_convertvector(centred * there, Singles);
      const Doubles rest = centred - __builtin_convertvector(single, Doubles) * back;
      store_vector(lanes + j * digit_lanes + half * 8, single);
      weighted[half] += common[j] * square;
      moved[half] += rest * rest;
      of_x.add(half, square);
      if (squares == nullptr) continue;
      const Doubles deviation = square - level[j];
      store_vector(squares + j * digit_lanes + half * 8, __builtin_convertvector(deviation * there, Singles));
      of_squares.add(half, deviation * deviation);
    }
    if ((j + 1) % chain == 0 || j + 1 == d) {
      of_x.end_chain();
      of_squares.end_chain();
    }
    if ((j + 1) % (chain * chains) == 0 || j + 1 == d) {
      of_x.end_chains();
      of_squares.end_chains();
    }
  }
  for (int half = 0; half < lane_halves; ++half) {
    store_vector(out->weighted + half * 8, weighted[half]);
    store_vector(out->moved + half * 8, moved[half]);
  }
  of_x.store(&out->x);
  of_squares.store(&out->square);
}

void fix_lanes(const float* lanes, int64_t d, const float* inverse, const float* dither, int32_t* whole, double* sums) {
  constexpr int64_t exact = 1 << 16;  // sums of as many whole numbers below 2^15 stay below 2^31
  for (int half = 0; half < lane_halves; ++half) {
    const Singles factor = load_vector<Singles>(inverse + half * 8), magic = Singles{} + 0x1.8p23f;
    Doubles total = {};
    for (int64_t first = 0; first < d; first += exact) {
      Integers part = {};
      for (int64_t j = first; j < (d - first < exact ? d : first + exact); ++j) {
        const Singles rounded = (load_vector<Singles>(lanes + j * digit_lanes + half * 8) * factor + (dither[j] - 0.5f)) + magic;
        const Integers value = __builtin_convertvector(rounded - magic, Integers);
        part += value;
        store_vector(whole + j * digit_lanes + half * 8, value);
      }
      total += __builtin_convertvector(part, Doubles);
    }
    store_vector(sums + half * 8, total);
  }
}

void component_forms(double* products, int64_t size, const double* shrink, const double* offset, const double* matrix, int64_t rank,
                     const double* row_square, float* h, double* along, double* weighted) {
  for (int half = 0; half < lane_halves; ++half) {
    double* t = products + half * 8;
    Doubles inside = {}, norm = {};
    for (int64_t i = 0; i < size; ++i) {
      store_vector(t + i * digit_lanes, load_vector<Doubles>(t + i * digit_lanes) * (shrink != nullptr ? shrink[i] : 1) - offset[i]);
    }
    for (int64_t i = 0; i < size; ++i) {
      const Doubles own = load_vector<Doubles>(t + i * digit_lanes);
      Doubles value = {};
      if (rank == 0) value = matrix[i] * own;
      for (int64_t s = 0; rank > 0 && s < size; ++s) value += matrix[i * rank + s] * load_vector<Doubles>(t + s * digit_lanes);
      inside += value * own;
      norm += row_square[i] * value * value;
      store_vector(h + i * digit_lanes + half * 8, __builtin_convertvector(value, Singles));
    }
    store_vector(along + half * 8, inside);
    store_vector(weighted + half * 8, norm);
  }
}

void scatter_scores(const double* sums, const double* gains, const double* const* x, const double* origin, double a, const double* common,
                    const double* shared, int64_t d, double* const* scores) {
  for (int64_t j = 0; j < d; ++j) {
    const LaneValues value = column_of(x, j);
    double score[digit_lanes];
#pragma GCC unroll 2
    for (int half = 0; half < lane_halves; ++half) {
      const Doubles ground = load_vector<Doubles>(shared + half * 8) * common[j];
      const Doubles gain = gains != nullptr ? load_vector<Doubles>(gains + j * digit_lanes + half * 8) : Doubles{};
      const Doubles centred = value.half[half] - a * origin[j];
      store_vector(score + half * 8, load_vector<Doubles>(sums + j * digit_lanes + half * 8) - centred * (ground + gain));
    }
    for (int lane = 0; lane < digit_lanes; ++lane) scores[lane][j] = score[lane];
  }
}

}  // namespace
