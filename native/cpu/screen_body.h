// The kernels of screen.h, written once over Lanes and Floats; included by kernels_<set>.cpp after kernels_body.h, whose rules hold here.
#pragma once

#include "../core/layouts.h"
#include "screen.h"

namespace {

using regimes::DigitLaneTerms;
using regimes::DigitRowTerms;
using regimes::ListSums;

// The first `count` of eight numbers, then zeros.
template <class Number>
inline Lanes load_first(const Number* p, int64_t count) {
  if (count >= 8) return widen(p);
  Number part[8] = {};
  for (int64_t k = 0; k < count; ++k) part[k] = p[k];
  return widen(part);
}

template <class Number>
inline void store_first(Number* p, Lanes x, int64_t count) {
  if (count >= 8) return store(p, x);
  Number part[8];
  store(part, x);
  for (int64_t k = 0; k < count; ++k) p[k] = part[k];
}

void reach(const float* values, int count, const float* threshold, uint16_t* masks, int64_t mask_stride) {
  const Floats least = load(threshold);
  for (int r = 0; r < count; ++r) masks[r * mask_stride] = static_cast<uint16_t>(at_least(load(values + r * 16), least));
}

// Calls take(row, values of the first eight lanes, of the others).
template <bool Uneven, class Take>
inline void digit_values(const double* products, int count, const DigitRowTerms& rows, const DigitLaneTerms& lanes, Take take) {
  const Lanes step_low = load(lanes.step), step_high = load(lanes.step + 8);
  for (int r = 0; r < count; ++r) {
    const Lanes low = load(products + r * 16) * step_low, high = load(products + r * 16 + 8) * step_high, bias = broadcast(rows.bias[r]);
    if constexpr (Uneven) {
      const Lanes gain = broadcast(rows.gain[r]), slack = broadcast(rows.slack[r]);
      take(r, gain * (low - load(lanes.centre)) + (slack * load(lanes.radius) + bias),
           gain * (high - load(lanes.centre + 8)) + (slack * load(lanes.radius + 8) + bias));
    } else {
      take(r, low + bias, high + bias);
    }
  }
}

void digit_reach(const double* products, int count, const DigitRowTerms& rows, const DigitLaneTerms& lanes, const double* threshold,
                 uint16_t* masks, int64_t mask_stride) {
  const Lanes least_low = load(threshold), least_high = load(threshold + 8);
  const auto mark = [&](int r, Lanes low, Lanes high) {
    masks[r * mask_stride] = static_cast<uint16_t>(at_least(low, least_low) | at_least(high, least_high) << 8);
  };
  rows.gain ? digit_values<true>(products, count, rows, lanes, mark) : digit_values<false>(products, count, rows, lanes, mark);
}

void digit_maxima(const double* products, int count, const DigitRowTerms& rows, const DigitLaneTerms& lanes, double* largest) {
  Lanes most_low = broadcast(-1.7e308), most_high = most_low;
  const auto join = [&](int, Lanes low, Lanes high) {
    most_low = max(most_low, low);
    most_high = max(most_high, high);
  };
  rows.gain ? digit_values<true>(products, count, rows, lanes, join) : digit_values<false>(products, count, rows, lanes, join);
  store(largest, most_low);
  store(largest + 8, most_high);
}

double centred_floats(const double* x, int64_t d, double a, const double* origin, float* centred) {
  const Lanes factor = broadcast(a);
  Lanes square = broadcast(0);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    const Lanes value = subtract_product(load(x + j), factor, load(origin + j));
    square = multiply_add(value, value, square);
    narrow(centred + j, value);
  }
  double total = lane_total(square);
  for (; j < d; ++j) {
    const double value = multiply_add(-a, origin[j], x[j]);
    total = multiply_add(value, value, total);
    centred[j] = static_cast<float>(value);
  }
  return total;
}

void round_query(const double* x, int64_t d, double a, const regimes::QueryRounding& rounding, double* work, int32_t* digits,
                 regimes::RoundedQuery* rounded) {
  const Lanes factor = broadcast(a), zero = broadcast(0);
  const double *origins = rounding.origin, *scales = rounding.scale, *inverses = rounding.per_scale, *centres = rounding.centre;
  double *scaled = work, *centred = work + d;
  Lanes most = zero, size = zero;
  for (int64_t j = 0; j < d; j += 8) {
    const Lanes value = load_first(x + j, d - j), origin = load_first(origins + j, d - j);
    const Lanes difference = subtract_product(value, factor, origin), loaded = difference * load_first(scales + j, d - j);
    store_first(scaled + j, loaded, d - j);
    store_first(centred + j, difference, d - j);
    most = max(most, max(loaded, zero - loaded));
    size = size + (max(value, zero - value) + factor * max(origin, zero - origin));
  }
  const double largest = lane_largest(most), full_step = largest > least_rounded ? largest / rounding.limit : 0;
  const double shifted = full_step * (0x1p29 + 1), step = shifted - (shifted - full_step);
  const Lanes inverse = broadcast(largest > least_rounded ? rounding.limit / largest : 0), unit = broadcast(step);
  Lanes centre = zero, square = zero, displacement = zero;
  for (int64_t j = 0; j < d; j += 8) {
    const Lanes whole = nearest_whole(load_first(scaled + j, d - j) * inverse), per_scale = load_first(inverses + j, d - j);
    const Lanes value = load_first(centred + j, d - j), near = select(less(zero, per_scale), whole * unit * per_scale, value), rest = value - near;
    store_first(digits + j, whole, d - j);
    centre = multiply_add(whole, load_first(centres + j, d - j), centre);
    square = multiply_add(near, near, square);
    displacement = multiply_add(rest, rest, displacement);
  }
  *rounded = {step, step * lane_total(centre), lane_total(square), lane_total(displacement), lane_total(size)};
}

void score_of(const double* denoised, const double* x, int64_t d, double a, double b2, double* score) {
  const Lanes factor = broadcast(a), variance = broadcast(b2), zero = broadcast(0);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) store(score + j, multiply_add(factor, load(denoised + j), zero - load(x + j)) / variance);
  for (; j < d; ++j) score[j] = multiply_add(a, denoised[j], -x[j]) / b2;
}

// Values that are stored as they are: float64 with scale 1 and shift 0.
struct Plain {
  double value;
  explicit operator double() const { return value; }
};

// Eight consecutive stored elements, as values.
inline Lanes values_at(const Plain* stored, int64_t k, Lanes, Lanes) { return load(&stored[k].value); }
template <class Stored>
inline Lanes values_at(const Stored* stored, int64_t k, Lanes scale, Lanes shift) {
  return widen(stored + k) * scale + shift;
}

template <class Stored>
double row_distance(const Stored* row, int64_t d, double scale, double shift, const double* x, double a) {
  const Lanes factor = broadcast(a), scales = broadcast(scale), shifts = broadcast(shift);
  Lanes total = broadcast(0);
  for (int64_t outer = 0; outer < d; outer += outer_block) {
    const int64_t end = smaller(outer + outer_block, d);
    Lanes sum[4] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
    int64_t k = outer;
    for (; k + 32 <= end; k += 32) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        const Lanes difference = subtract_product(load(x + k + 8 * c), factor, values_at(row, k + 8 * c, scales, shifts));
        sum[c] = multiply_add(difference, difference, sum[c]);
      }
    }
    for (; k + 8 <= end; k += 8) {
      const Lanes difference = subtract_product(load(x + k), factor, values_at(row, k, scales, shifts));
      sum[0] = multiply_add(difference, difference, sum[0]);
    }
    if (k < end) {
      double rest_x[8] = {}, rest_y[8] = {};
      for (int64_t j = k; j < end; ++j) {
        rest_x[j - k] = x[j];
        rest_y[j - k] = static_cast<double>(row[j]) * scale + shift;
      }
      const Lanes difference = subtract_product(load(rest_x), factor, load(rest_y));
      sum[1] = multiply_add(difference, difference, sum[1]);
    }
    total = total + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
  return lane_total(total);
}

// An unevaluated sum of two float64 lanes.
struct Extended {
  Lanes high, low;
};

// high + low = x + y exactly (Knuth, 1969).
inline Extended two_sum(Lanes x, Lanes y) {
  const Lanes sum = x + y, part = sum - x;
  return {sum, (x - (sum - part)) + (y - part)};
}

inline Extended add(Extended x, Extended y) {
  const Extended sum = two_sum(x.high, y.high);
  return two_sum(sum.high, sum.low + (x.low + y.low));
}

// x y - fl(x y), exactly.
inline Lanes product_error(Lanes x, Lanes y, Lanes product) { return broadcast(0) - subtract_product(product, x, y); }

// (x - a y)^2
inline Extended squared_difference(Lanes x, Lanes a, Lanes y) {
  const Lanes product = a * y;
  const Extended leading = two_sum(x, broadcast(0) - product);
  const Extended r = two_sum(leading.high, leading.low - product_error(a, y, product));
  const Lanes square = r.high * r.high;
  return two_sum(square, multiply_add(r.high + r.high, r.low, product_error(r.high, r.high, square)));
}

template <class Stored>
void row_distance_extended(const Stored* row, int64_t d, double scale, double shift, const double* x, double a, double* high, double* low) {
  const Lanes factor = broadcast(a);
  Extended total = {broadcast(0), broadcast(0)};
  for (int64_t k = 0; k < d; k += 8) {
    double part_x[8] = {}, part_y[8] = {};
    for (int64_t j = k; j < smaller(k + 8, d); ++j) {
      part_x[j - k] = x[j];
      part_y[j - k] = static_cast<double>(row[j]) * scale + shift;
    }
    total = add(total, squared_difference(load(part_x), factor, load(part_y)));
  }
  double highs[8], lows[8];
  store(highs, total.high);
  store(lows, total.low);
  double sum = 0, rest = 0;
  for (int i = 0; i < 8; ++i) {
    const double next = sum + highs[i], part = next - sum;
    rest += ((sum - (next - part)) + (highs[i] - part)) + lows[i];
    sum = next;
  }
  *high = sum + rest;
  *low = rest - (*high - sum);
}

template <class Stored>
void add_listed(const Stored* stored, int64_t d, Lanes scale, Lanes shift, const int32_t* index, const double* weights, int64_t count,
                double* sums) {
  int64_t i = 0;
  for (; i < count; i += 4) {
    const int many = static_cast<int>(smaller(4, count - i));
    const Stored* row[4];
    Lanes weight[4];
    for (int r = 0; r < 4; ++r) {
      row[r] = stored + int64_t{index[i + (r < many ? r : 0)]} * d;
      weight[r] = broadcast(r < many ? weights[i + r] : 0);
    }
    int64_t j = 0;
    for (; j + 8 <= d; j += 8) {
      Lanes sum = load(sums + j);
      if (many == 4) {
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) sum = multiply_add(weight[r], values_at(row[r], j, scale, shift), sum);
      } else {
        for (int r = 0; r < many; ++r) sum = multiply_add(weight[r], values_at(row[r], j, scale, shift), sum);
      }
      store(sums + j, sum);
    }
    if (j < d) {
      double part[8] = {}, value[8] = {};
      for (int64_t k = j; k < d; ++k) part[k - j] = sums[k];
      Lanes sum = load(part);
      for (int r = 0; r < many; ++r) {
        for (int64_t k = j; k < d; ++k) value[k - j] = static_cast<double>(row[r][k]);
        sum = multiply_add(weight[r], load(value) * scale + shift, sum);
      }
      store(part, sum);
      for (int64_t k = j; k < d; ++k) sums[k] = part[k - j];
    }
  }
}

// Calls body(pointer to the first stored element) with the pointer's own type.
template <class Body>
inline void with_stored(const DataView& data, Body body) {
  switch (data.dtype) {
    case Dtype::u8:
      return body(static_cast<const uint8_t*>(data.stored));
    case Dtype::f16:
      return body(static_cast<const Half*>(data.stored));
    case Dtype::f32:
      return body(static_cast<const float*>(data.stored));
    case Dtype::f64:
      if (data.scale == 1 && data.shift == 0) return body(static_cast<const Plain*>(data.stored));
      return body(static_cast<const double*>(data.stored));
  }
}

// Rows of a list lie anywhere in memory: ask for them a few rows ahead.
template <class Stored>
inline void prefetch_row(const Stored* row, int64_t d) {
  const char* bytes = reinterpret_cast<const char*>(row);
  const int64_t size = smaller(d * static_cast<int64_t>(sizeof(Stored)), 8192);
  for (int64_t at = 0; at < size; at += 64) __builtin_prefetch(bytes + at);
}

void row_distances(const DataView& data, const int32_t* index, int64_t count, const double* x, double a, double* out) {
  with_stored(data, [&](auto* stored) {
    for (int64_t i = 0; i < count; ++i) {
      if (i + 2 < count) prefetch_row(stored + int64_t{index[i + 2]} * data.columns, data.columns);
      out[i] = row_distance(stored + int64_t{index[i]} * data.columns, data.columns, data.scale, data.shift, x, a);
    }
  });
}

void row_distances_extended(const DataView& data, const int32_t* index, int64_t count, const double* x, double a, double* high, double* low) {
  with_stored(data, [&](auto* stored) {
    for (int64_t i = 0; i < count; ++i) {
      row_distance_extended(stored + int64_t{index[i]} * data.columns, data.columns, data.scale, data.shift, x, a, high + i, low + i);
    }
  });
}

void add_listed_rows(const DataView& data, const int32_t* index, const double* weights, int64_t count, double* sums) {
  with_stored(data, [&](auto* stored) {
    add_listed(stored, data.columns, broadcast(data.scale), broadcast(data.shift), index, weights, count, sums);
  });
}

template <class Stored>
void centred_products(const Stored* row, int64_t d, double scale, double shift, const double* origin, const double* x, double* product,
                      double* half_square) {
  const Lanes scales = broadcast(scale), shifts = broadcast(shift);
  Lanes products = broadcast(0), squares = broadcast(0);
  int64_t k = 0;
  for (; k + 8 <= d; k += 8) {
    const Lanes value = values_at(row, k, scales, shifts) - load(origin + k);
    products = multiply_add(load(x + k), value, products);
    squares = multiply_add(value, value, squares);
  }
  double along = 0, square = 0;
  for (; k < d; ++k) {
    const double value = static_cast<double>(row[k]) * scale + shift - origin[k];
    along += x[k] * value;
    square += value * value;
  }
  *product = lane_total(products) + along;
  *half_square = (lane_total(squares) + square) / 2;
}

void row_products(const DataView& data, int64_t row, int64_t next, const double* origin, const double* x, double* product,
                  double* half_square) {
  with_stored(data, [&](auto* stored) {
    prefetch_row(stored + next * data.columns, data.columns);
    centred_products(stored + row * data.columns, data.columns, data.scale, data.shift, origin, x, product, half_square);
  });
}

void list_sums(const double* logits, int64_t padded, double maximum, int64_t top, double* exponentials, ListSums* sums) {
  const Lanes most = broadcast(maximum), zero = broadcast(0);
  Lanes rest = zero, gap = zero, gap_squared = zero, squares = zero;
  // Blocks of 64 steps shorten the chains of roundings.
  for (int64_t start = 0; start < padded; start += 512) {
    Lanes block_rest = zero, block_gap = zero, block_gap_squared = zero, block_squares = zero;
    for (int64_t i = start; i < smaller(start + 512, padded); i += 8) {
      const Lanes distance = most - load(logits + i);
      const Lanes value = exponential(zero - distance);
      store(exponentials + i, value);
      Lanes other = value;
      if (i <= top && top < i + 8) {
        double lane[8];
        store(lane, value);
        lane[top - i] = 0;
        other = load(lane);
      }
      // A term that underflowed counts as zero, however large its distance.
      const Lanes weighted = select(less(zero, value), value * distance, zero);
      block_rest = block_rest + other;
      block_squares = multiply_add(other, other, block_squares);
      block_gap = block_gap + weighted;
      block_gap_squared = block_gap_squared + select(less(zero, value), weighted * distance, zero);
    }
    rest = rest + block_rest;
    gap = gap + block_gap;
    gap_squared = gap_squared + block_gap_squared;
    squares = squares + block_squares;
  }
  *sums = {lane_total(rest), lane_total(gap), lane_total(gap_squared), lane_total(squares)};
}

constexpr regimes::ScreenKernels screen_table{reach, digit_reach, digit_maxima, centred_floats, round_query, score_of, row_distances, row_distances_extended,
                                              add_listed_rows, row_products, list_sums};

}  // namespace
