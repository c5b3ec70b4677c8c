// The kernels of sweep: see kernels_body.h, which includes this file.
#pragma once

namespace {

using regimes::FloatPairBlock;
using regimes::IntegerPairs;
using regimes::PairBlock;
using regimes::pair_group;

void integer_pairs(const IntegerPairs& p, int rows, float* q, float* v) {
  for (int half = 0; half < 16; half += 8) {
    const Lanes own_term = load(p.own_term + half), own_noise = load(p.own_noise + half), noise_step = load(p.noise_step + half);
    for (int r = 0; r < rows; ++r) {
      const int at = r * 16 + half;
      const Lanes product = load(p.own + at);
      // Whole numbers below 2^53: exact, and 0 for equal rows.
      narrow(q + at, (own_term + broadcast(p.row_term[r])) - (product + product));
      narrow(v + at, (own_noise - load(p.noise + at)) * noise_step);
    }
  }
}

template <int Rows>
inline void float_pair_tile(const float* oz, const float* y, int64_t stride, int64_t columns, float* q, float* v) {
  Floats squares[Rows], products[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) squares[r] = products[r] = spread(0);
  for (int64_t k = 0; k < columns; ++k) {
    const Floats o = load(oz + k * 32), z = load(oz + k * 32 + 16);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Floats difference = o - spread(y[r * stride + k]);
      squares[r] = multiply_add(difference, difference, squares[r]);
      products[r] = multiply_add(difference, z, products[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    store(q + r * 16, load(q + r * 16) + squares[r]);
    store(v + r * 16, load(v + r * 16) + products[r]);
  }
}

void float_pair_products(const float* oz, const float* y, int64_t stride, int rows, int64_t columns, float* q, float* v) {
  int r = 0;
  for (; r + pair_rows <= rows; r += pair_rows) float_pair_tile<pair_rows>(oz, y + r * stride, stride, columns, q + r * 16, v + r * 16);
  for (; r < rows; ++r) float_pair_tile<1>(oz, y + r * stride, stride, columns, q + r * 16, v + r * 16);
}

constexpr double bits_per_nat = 0x1.71547652b82fep+0, log_two = 0x1.62e42fefa39efp-1;

// 2^x for |x| < 1000, relative error below 4e-14, 1 at 0. The polynomials are Chebyshev interpolants of (2^f - 1) / f.
#ifdef REGIMES_LANES_LOOKUP
// 2^(k/16) 2^f with k whole and |f| <= 1/32.
inline Lanes power_of_two(Lanes x) {
  const Lanes magic = broadcast(0x1.8p48);
  const Lanes sum = x + magic;
  const Lanes f = x - (sum - magic), power = power_of_sixteenths(sum);
  Lanes p = broadcast(0x1.5d893e58acc63p-10);
  p = multiply_add(p, f, broadcast(0x1.3b2c4ac7da565p-7));
  p = multiply_add(p, f, broadcast(0x1.c6b08d6faa1bep-5));
  p = multiply_add(p, f, broadcast(0x1.ebfbdff6988c8p-3));
  p = multiply_add(p, f, broadcast(0x1.62e42fefa39efp-1));
  return multiply_add(power * f, p, power);
}
#else
// 2^n 2^f with n whole and |f| <= 1/2.
inline Lanes power_of_two(Lanes x) {
  const Lanes magic = broadcast(0x1.8p52);
  const Lanes power = x + magic;
  const Lanes f = x - (power - magic);
  Lanes p = broadcast(0x1.b63880a30e9ffp-24);
  p = multiply_add(p, f, broadcast(0x1.63d136366db24p-20));
  p = multiply_add(p, f, broadcast(0x1.ffcb9515a8016p-17));
  p = multiply_add(p, f, broadcast(0x1.4308ac85aa947p-13));
  p = multiply_add(p, f, broadcast(0x1.5d87fe86fe88ep-10));
  p = multiply_add(p, f, broadcast(0x1.3b2ab7181b755p-7));
  p = multiply_add(p, f, broadcast(0x1.c6b08d7047e52p-5));
  p = multiply_add(p, f, broadcast(0x1.ebfbdff823cedp-3));
  p = multiply_add(p, f, broadcast(0x1.62e42fefa39efp-1));
  return scale_by_power(multiply_add(p, f, broadcast(1)), power);
}
#endif

// 2^x for |x| below 100, relative error at most 4 2^-24; x within the rounding below a whole number may give 2^(x + 2^-24).
inline Floats power_of_two(Floats x) {
  const Floats r = above_whole(x);
  Floats p = spread(0x1.ec320ap-10f);
  p = multiply_add(p, r, spread(0x1.26900ep-7f));
  p = multiply_add(p, r, spread(0x1.c95446p-5f));
  p = multiply_add(p, r, spread(0x1.ebd5a8p-3f));
  p = multiply_add(p, r, spread(0x1.62e4f6p-1f));
  p = multiply_add(p, r, spread(0x1.fffffep-1f));
  return scale_by_whole(p, x);
}

// 2^x for |x| below 100, relative error below 2^-20.
inline Floats coarse_power_of_two(Floats x) {
#ifdef REGIMES_FLOATS_LOOKUP
  // 2^(k/16) 2^f with k whole and |f| <= 1/32.
  const Floats magic = spread(0x1.8p19f), sum = x + magic, f = x - (sum - magic), power = power_of_sixteenths(sum);
  return multiply_add(multiply_add(spread(0x1.ebfbe0p-3f), f, spread(0x1.62e980p-1f)), power * f, power);
#else
  return power_of_two(x);
#endif
}

// The number of ratios, ascending, that are at most `limit`.
inline int64_t ratios_up_to(const double* ratios, int64_t times, double limit) {
  int64_t low = 0, high = times;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (ratios[middle] <= limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// For each group of rows, how many of the first times it takes part in. L = -(r^2 q / 2 + r v) + bias falls below -reach for good at
// the larger root r* of r^2 q / 2 + r v = reach + bias. Both sides are widened far beyond rounding; pair_sums decides pair by pair.
template <bool Weighted>
inline void find_live(const PairBlock& b, int64_t* live) {
  const Lanes zero = broadcast(0), infinity = broadcast(__builtin_inf());
  const double reach = b.reach * (1 + 1e-9) + 1e-9;
  for (int group = 0; group < b.rows / pair_group; ++group) {
    Lanes last = broadcast(-1);
    for (int r = group * pair_group; r < (group + 1) * pair_group; ++r) {
      const Lanes q = load(b.q + r * 8), v = load(b.v + r * 8);
      Lanes height = broadcast(reach);
      if (Weighted) height = (height + broadcast(b.bias[r])) - load(b.own_bias);
      const Lanes twice = height + height;
      const Lanes root = square_root(max(multiply_add(q, twice, v * v), zero));
      const Mask away = less(zero, v);  // -v and the root have opposite signs: the other form of the solution keeps its digits
      const Lanes crossing = select(away, twice, root - v) / select(away, v + root, q);
      last = max(select(equal(q, zero), infinity, crossing), last);  // a NaN stays out
    }
    double each[8];
    store(each, last);
    double limit = each[0];
    for (int lane = 1; lane < 8; ++lane) limit = each[lane] > limit ? each[lane] : limit;
    live[group] = ratios_up_to(b.ratios, b.times, limit * (1 + 1e-9));
  }
}

template <bool Weighted, bool Moments, bool Classes>
void pair_sums_of(const PairBlock& b) {
  int64_t live[regimes::most_pair_rows / pair_group];
  uint8_t list[regimes::most_pair_rows / pair_group];
  find_live<Weighted>(b, live);
  int groups = b.rows / pair_group;
  for (int g = 0; g < groups; ++g) list[g] = static_cast<uint8_t>(g);

  const Lanes zero = broadcast(0), least = broadcast(-b.reach * bits_per_nat);
  Lanes own_bias = zero;
  if (Weighted) own_bias = load(b.own_bias);
  for (int64_t t = 0; t < b.times; ++t) {
    // Rows keep their order and their chain, so that what a neighbour keeps alive adds exact zeros here.
    int kept = 0;
    for (int k = 0; k < groups; ++k) {
      list[kept] = list[k];
      kept += live[list[k]] > t ? 1 : 0;
    }
    groups = kept;
    if (groups == 0) return;
    const double ratio = b.ratios[t];
    const Lanes of_q = broadcast(-0.5 * (ratio * ratio) * bits_per_nat), of_v = broadcast(-ratio * bits_per_nat);
    Lanes sum[pair_group], gap[pair_group], squares[pair_group];
#pragma GCC unroll 4
    for (int c = 0; c < pair_group; ++c) sum[c] = gap[c] = squares[c] = zero;
    double* masses = Classes ? b.class_sums + t * b.class_count * 8 : nullptr;
    for (int k = 0; k < groups; ++k) {
      const int64_t row = int64_t{list[k]} * pair_group;
#pragma GCC unroll 4
      for (int c = 0; c < pair_group; ++c) {
        const Lanes q = load(b.q + (row + c) * 8), v = load(b.v + (row + c) * 8);
        Lanes offset = of_v * v;
        if (Weighted) offset = multiply_add(broadcast(b.bias[row + c]) - own_bias, broadcast(bits_per_nat), offset);
        const Lanes logit = multiply_add(of_q, q, offset);
        const Mask alive = less(least, logit);
        const Lanes value = select(alive, power_of_two(logit), zero);
        sum[c] = sum[c] + value;
        if (Moments) {
          gap[c] = multiply_add(value, select(alive, logit, zero), gap[c]);
          squares[c] = multiply_add(value, value, squares[c]);
        }
        if (Classes) {
          double* mass = masses + int64_t{b.classes[row + c]} * 8;
          store(mass, load(mass) + value);
        }
      }
    }
    double* sums = b.sums + t * 24;
    store(sums, load(sums) + ((sum[0] + sum[1]) + (sum[2] + sum[3])));
    if (Moments) {
      store(sums + 8, multiply_add((gap[0] + gap[1]) + (gap[2] + gap[3]), broadcast(log_two), load(sums + 8)));
      store(sums + 16, load(sums + 16) + ((squares[0] + squares[1]) + (squares[2] + squares[3])));
    }
  }
}

template <bool Weighted>
void pair_sums_as(const PairBlock& b) {
  if (b.class_sums != nullptr) return b.moments ? pair_sums_of<Weighted, true, true>(b) : pair_sums_of<Weighted, false, true>(b);
  return b.moments ? pair_sums_of<Weighted, true, false>(b) : pair_sums_of<Weighted, false, false>(b);
}

void pair_sums(const PairBlock& b) { b.bias != nullptr ? pair_sums_as<true>(b) : pair_sums_as<false>(b); }

// Adds a pair to the sums of its draw at all times and takes it out of the block.
template <bool Weighted>
[[gnu::noinline]] void add_high_pair(const FloatPairBlock& b, int row, int lane) {
  float& square = b.q[row * 16 + lane];
  const double q = static_cast<double>(square), v = static_cast<double>(b.v[row * 16 + lane]);
  const double bias = Weighted ? static_cast<double>(b.bias[row]) - static_cast<double>(b.own_bias[lane]) : 0;
  for (int64_t t = 0; t < b.times; ++t) {
    const double ratio = b.ratios[t], logit = bias - ratio * (0.5 * ratio * q + v);
    if (!(logit > -b.reach)) continue;
    double each[8];
    store(each, power_of_two(broadcast(logit * bits_per_nat)));
    double* sums = b.sums[lane / 8] + t * 24 + lane % 8;
    sums[0] += each[0];
    if (b.gaps) sums[8] += each[0] * logit;
    if (b.squares) sums[16] += each[0] * each[0];
    if (b.class_sums[0] != nullptr) b.class_sums[lane / 8][(t * b.class_count + b.classes[row]) * 8 + lane % 8] += each[0];
  }
  square = __builtin_nanf("");
}

// find_live of 16 draws. The margins exceed the roundings of root - v, below 2^-22 root, and of the quotient; a crossing of q = 0 is
// infinite. Logits that rise too high for float32 are dealt with.
template <bool Weighted>
inline void find_live_floats(const FloatPairBlock& b, int64_t* live) {
  const Floats zero = spread(0), margin = spread(1e-6f), least = spread(1e-30f), highest = spread(static_cast<float>(regimes::highest_logit));
  const Floats reach = spread(static_cast<float>(b.reach) * (1 + 1e-6f));
  for (int group = 0; group < b.rows / pair_group; ++group) {
    Floats last = spread(-1);
    for (int r = group * pair_group; r < (group + 1) * pair_group; ++r) {
      const Floats v = load(b.v + r * 16), v2 = v * v;
      const Floats bias = Weighted ? spread(b.bias[r]) - load(b.own_bias) : zero, room = highest - bias;
      const Floats q = load(b.q + r * 16);
      uint32_t high = at_least(q, zero) & ~at_least(q * (room + room), v2);
      if (__builtin_expect(high != 0, 0)) {
        for (; high != 0; high &= high - 1) add_high_pair<Weighted>(b, r, __builtin_ctz(high));
      }
      const Floats square = load(b.q + r * 16), height = reach + bias;
      const Floats root = square_root(max(multiply_add(square, height + height, v2), zero));
      last = max((multiply_add(root, margin, root - v) + least) / square, last);  // a NaN stays out
    }
    float each[16];
    store(each, last);
    float limit = each[0];
    for (int lane = 1; lane < 16; ++lane) limit = each[lane] > limit ? each[lane] : limit;
    live[group] = ratios_up_to(b.ratios, b.times, static_cast<double>(limit) * (1 + 1e-5));
  }
}

inline void add_halves(double* low, double* high, Floats x) {
  float each[16];
  store(each, x);
  store(low, load(low) + widen(each));
  store(high, load(high) + widen(each + 8));
}

template <bool Weighted, bool Gaps, bool Squares, bool Classes>
void float_pair_sums_of(const FloatPairBlock& b) {
  int64_t live[regimes::most_pair_rows / pair_group];
  uint8_t list[regimes::most_pair_rows / pair_group];
  find_live_floats<Weighted>(b, live);
  int groups = b.rows / pair_group;
  for (int g = 0; g < groups; ++g) list[g] = static_cast<uint8_t>(g);

  const Floats zero = spread(0), least = spread(static_cast<float>(-b.reach * bits_per_nat)), bits = spread(static_cast<float>(bits_per_nat));
  for (int64_t t = 0; t < b.times; ++t) {
    // As in pair_sums_of.
    int kept = 0;
    for (int k = 0; k < groups; ++k) {
      list[kept] = list[k];
      kept += live[list[k]] > t ? 1 : 0;
    }
    groups = kept;
    if (groups == 0) return;
    // Beyond 1e15 every pair with q >= 1e-20 is far below reach.
    const double ratio = b.ratios[t] < 1e15 ? b.ratios[t] : 1e15;
    const Floats of_q = spread(static_cast<float>(-0.5 * (ratio * ratio) * bits_per_nat)), of_v = spread(static_cast<float>(-ratio * bits_per_nat));
    Floats sum[pair_group], gap[pair_group], squares[pair_group];
#pragma GCC unroll 4
    for (int c = 0; c < pair_group; ++c) sum[c] = gap[c] = squares[c] = zero;
    for (int k = 0; k < groups; ++k) {
      const int64_t row = int64_t{list[k]} * pair_group;
#pragma GCC unroll 4
      for (int c = 0; c < pair_group; ++c) {
        Floats offset = of_v * load(b.v + (row + c) * 16);
        if (Weighted) offset = multiply_add(spread(b.bias[row + c]) - load(b.own_bias), bits, offset);
        const Floats logit = multiply_add(of_q, load(b.q + (row + c) * 16), offset);
        const Floats bounded = max(logit, least);  // least where it is NaN
        const Floats value = where_above(logit, least, coarse_power_of_two(bounded));
        sum[c] = sum[c] + value;
        if (Gaps) gap[c] = multiply_add(value, bounded, gap[c]);
        if (Squares) squares[c] = multiply_add(value, value, squares[c]);
        if (Classes) {
          const int64_t at = (t * b.class_count + b.classes[row + c]) * 8;
          add_halves(b.class_sums[0] + at, b.class_sums[1] + at, value);
        }
      }
    }
    double *low = b.sums[0] + t * 24, *high = b.sums[1] + t * 24;
    add_halves(low, high, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    if (Gaps) add_halves(low + 8, high + 8, ((gap[0] + gap[1]) + (gap[2] + gap[3])) * spread(static_cast<float>(log_two)));
    if (Squares) add_halves(low + 16, high + 16, (squares[0] + squares[1]) + (squares[2] + squares[3]));
  }
}

template <bool Weighted, bool Classes>
void float_pair_sums_as(const FloatPairBlock& b) {
  if (b.gaps) return b.squares ? float_pair_sums_of<Weighted, true, true, Classes>(b) : float_pair_sums_of<Weighted, true, false, Classes>(b);
  return b.squares ? float_pair_sums_of<Weighted, false, true, Classes>(b) : float_pair_sums_of<Weighted, false, false, Classes>(b);
}

void float_pair_sums(const FloatPairBlock& b) {
  if (b.class_sums[0] != nullptr) return b.bias != nullptr ? float_pair_sums_as<true, true>(b) : float_pair_sums_as<false, true>(b);
  b.bias != nullptr ? float_pair_sums_as<true, false>(b) : float_pair_sums_as<false, false>(b);
}

}  // namespace
