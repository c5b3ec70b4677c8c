// The part of kernels_body.h for Gaussian components. Lanes run over coordinates: one vector needs no neighbours, and every product
// of a row with a vector is the same sequence of operations in tiles of any shape.
#pragma once

namespace {

constexpr int64_t vector_block = 32;  // registers of 8 coordinates whose products form one chain

void differences(const double* const* x, int count, const double* mean, double a, const double* scale, int64_t d, double* out) {
  const Lanes factor = broadcast(a);
  for (int q = 0; q < count; ++q, out += d) {
    const double* from = x[q];
    int64_t j = 0;
    for (; j + 8 <= d; j += 8) {
      Lanes value = load(from + j);
      if (mean != nullptr) value = subtract_product(value, factor, load(mean + j));
      if (scale != nullptr) value = value * load(scale + j);
      store(out + j, value);
    }
    if (j == d) continue;
    double tail[8] = {}, middle[8] = {}, result[8];
    for (int64_t k = j; k < d; ++k) tail[k - j] = from[k];
    for (int64_t k = j; mean != nullptr && k < d; ++k) middle[k - j] = mean[k];
    store(result, subtract_product(load(tail), factor, load(middle)));
    for (int64_t k = j; k < d; ++k) out[k] = scale != nullptr ? result[k - j] * scale[k] : result[k - j];
  }
}

double weighted_square(const double* f, const double* weight, int64_t d) {
  Lanes total = broadcast(0);
  int64_t j = 0;
  while (j + 8 <= d) {
    const int64_t end = smaller(j + 8 * vector_block, d);
    Lanes sum = broadcast(0);
    for (; j + 8 <= end; j += 8) {
      const Lanes value = load(f + j);
      sum = multiply_add(weight != nullptr ? value * load(weight + j) : value, value, sum);
    }
    total = total + sum;
  }
  double tail = 0;
  for (; j < d; ++j) tail = multiply_add(weight != nullptr ? f[j] * weight[j] : f[j], f[j], tail);
  return lane_total(total) + tail;
}

template <int Groups>
void distances_of(const double* x, const double* mean, const double* weight, int64_t d, double a, double* out) {
  const Lanes factor = broadcast(a);
  Lanes total[Groups];
#pragma GCC unroll 4
  for (int g = 0; g < Groups; ++g) total[g] = broadcast(0);
  for (int64_t first = 0; first < d; first += inner_block) {
    const int64_t end = smaller(first + inner_block, d);
    Lanes sum[Groups];
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) sum[g] = broadcast(0);
    for (int64_t j = first; j < end; ++j) {
      const Lanes middle = broadcast(mean[j]), scale = broadcast(weight != nullptr ? weight[j] : 1);
#pragma GCC unroll 4
      for (int g = 0; g < Groups; ++g) {
        const Lanes difference = subtract_product(load(x + (g * d + j) * 8), factor, middle);
        sum[g] = multiply_add(difference * scale, difference, sum[g]);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) total[g] = total[g] + sum[g];
  }
#pragma GCC unroll 4
  for (int g = 0; g < Groups; ++g) store(out + g * 8, total[g]);
}

void weighted_distances(const double* x, int groups, const double* mean, const double* weight, int64_t d, double a, double* out) {
  if (groups == 4) return distances_of<4>(x, mean, weight, d, a, out);
  for (int g = 0; g < groups; ++g) distances_of<1>(x + g * d * 8, mean, weight, d, a, out + g * 8);
}

template <int Rows, int Vectors>
inline void product_tile(const double* rows, int64_t d, const double* f, double* out, int64_t stride) {
  Lanes total[Rows][Vectors];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int q = 0; q < Vectors; ++q) total[r][q] = broadcast(0);
  int64_t j = 0;
  while (j + 8 <= d) {
    const int64_t end = smaller(j + 8 * vector_block, d);
    Lanes sum[Rows][Vectors];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int q = 0; q < Vectors; ++q) sum[r][q] = broadcast(0);
    for (; j + 8 <= end; j += 8) {
      Lanes vector[Vectors];
#pragma GCC unroll 4
      for (int q = 0; q < Vectors; ++q) vector[q] = load(f + q * d + j);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const Lanes row = load(rows + r * d + j);
#pragma GCC unroll 4
        for (int q = 0; q < Vectors; ++q) sum[r][q] = multiply_add(row, vector[q], sum[r][q]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int q = 0; q < Vectors; ++q) total[r][q] = total[r][q] + sum[r][q];
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int q = 0; q < Vectors; ++q) {
      double tail = 0;
      for (int64_t k = j; k < d; ++k) tail = multiply_add(rows[r * d + k], f[q * d + k], tail);
      out[q * stride + r] = lane_total(total[r][q]) + tail;
    }
  }
}

template <int Vectors>
void product_rows(const double* rows, int64_t row_count, int64_t d, const double* f, double* out, int64_t stride) {
  int64_t r = 0;
  for (; r + 4 <= row_count; r += 4) product_tile<4, Vectors>(rows + r * d, d, f, out + r, stride);
  for (; r < row_count; ++r) product_tile<1, Vectors>(rows + r * d, d, f, out + r, stride);
}

void row_products(const double* rows, int64_t row_count, int64_t d, const double* f, int count, double* out, int64_t stride) {
  int q = 0;
  for (; q + 4 <= count; q += 4) product_rows<4>(rows, row_count, d, f + q * d, out + q * stride, stride);
  for (; q + 2 <= count; q += 2) product_rows<2>(rows, row_count, d, f + q * d, out + q * stride, stride);
  for (; q < count; ++q) product_rows<1>(rows, row_count, d, f + q * d, out + q * stride, stride);
}

template <int Rows, int Vectors>
inline void combination_tile(const double* rows, int64_t d, const double* factors, int64_t stride, double* out) {
  Lanes factor[Rows][Vectors];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int q = 0; q < Vectors; ++q) factor[r][q] = broadcast(factors[q * stride + r]);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    Lanes row[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) row[r] = load(rows + r * d + j);
#pragma GCC unroll 4
    for (int q = 0; q < Vectors; ++q) {
      Lanes sum = load(out + q * d + j);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) sum = multiply_add(factor[r][q], row[r], sum);
      store(out + q * d + j, sum);
    }
  }
  for (; j < d; ++j) {
    for (int q = 0; q < Vectors; ++q) {
      for (int r = 0; r < Rows; ++r) out[q * d + j] = multiply_add(factors[q * stride + r], rows[r * d + j], out[q * d + j]);
    }
  }
}

template <int Vectors>
void combine_rows(const double* rows, int64_t row_count, int64_t d, const double* factors, int64_t stride, double* out) {
  int64_t r = 0;
  for (; r + 4 <= row_count; r += 4) combination_tile<4, Vectors>(rows + r * d, d, factors + r, stride, out);
  for (; r < row_count; ++r) combination_tile<1, Vectors>(rows + r * d, d, factors + r, stride, out);
}

void add_combinations(const double* rows, int64_t row_count, int64_t d, const double* factors, int64_t stride, int count, double* out) {
  int q = 0;
  for (; q + 4 <= count; q += 4) combine_rows<4>(rows, row_count, d, factors + q * stride, stride, out + q * d);
  for (; q + 2 <= count; q += 2) combine_rows<2>(rows, row_count, d, factors + q * stride, stride, out + q * d);
  for (; q < count; ++q) combine_rows<1>(rows, row_count, d, factors + q * stride, stride, out + q * d);
}

void add_weighted(double w, const double* x, const double* weight, int64_t d, double* y) {
  const Lanes factor = broadcast(w);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    const Lanes value = weight != nullptr ? load(x + j) * load(weight + j) : load(x + j);
    store(y + j, multiply_add(factor, value, load(y + j)));
  }
  for (; j < d; ++j) y[j] = multiply_add(w, weight != nullptr ? x[j] * weight[j] : x[j], y[j]);
}

constexpr double least_rounded = 1e-290;  // below, numbers are rounded to 0

inline double lane_largest(Lanes sizes) {
  double each[8], largest = 0;
  store(each, sizes);
  for (double size : each) largest = size > largest ? size : largest;
  return largest;
}

// Added and taken away again, leaves the nearest whole number of one below 2^51 in size.
constexpr double rounding_offset = 0x1.8p52;

inline Lanes nearest_whole(Lanes value) {
  const Lanes offset = broadcast(rounding_offset);
  return (value + offset) - offset;
}

inline double largest_size(const double* t, int64_t d) {
  const Lanes zero = broadcast(0);
  Lanes most = zero;
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    const Lanes value = load(t + j);
    most = max(most, max(value, zero - value));
  }
  double largest = lane_largest(most);
  for (; j < d; ++j) {
    const double size = t[j] < 0 ? -t[j] : t[j];
    largest = size > largest ? size : largest;
  }
  return largest;
}

double round_to_digits(const double* t, int64_t d, int32_t limit, const double* centre, int32_t* digits, double* step, double* sum) {
  const double largest = largest_size(t, d), inverse = largest > least_rounded ? limit / largest : 0;
  *step = largest > least_rounded ? largest / limit : 0;
  Lanes squares = broadcast(0), sums = broadcast(0);
  const Lanes factor = broadcast(inverse), unit = broadcast(*step);
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) {
    const Lanes value = load(t + j), whole = nearest_whole(value * factor);
    const Lanes rest = subtract_product(value, unit, whole);
    squares = multiply_add(rest, rest, squares);
    sums = centre != nullptr ? multiply_add(whole, load(centre + j), sums) : sums + whole;
    store(digits + j, whole);
  }
  double square = lane_total(squares);
  *sum = lane_total(sums);
  for (; j < d; ++j) {
    const double whole = (t[j] * inverse + rounding_offset) - rounding_offset, rest = t[j] - *step * whole;
    square += rest * rest;
    *sum += whole * (centre != nullptr ? centre[j] : 1);
    digits[j] = static_cast<int32_t>(whole);
  }
  return square;
}

double weighted_bytes(const double* v, const double* weight, int64_t d, const float* dither, double* row, uint8_t* bytes) {
  int64_t j = 0;
  for (; j + 8 <= d; j += 8) store(row + j, load(v + j) * load(weight + j));
  for (; j < d; ++j) row[j] = v[j] * weight[j];
  const double largest = largest_size(row, d);
  const double inverse = largest > least_rounded ? 127 / largest : 0;
  for (j = 0; dither == nullptr && j < d; ++j) bytes[j] = static_cast<uint8_t>(static_cast<int>(row[j] * inverse + 128.5));
  for (j = 0; dither != nullptr && j < d; ++j) {
    bytes[j] = static_cast<uint8_t>(static_cast<int>(row[j] * inverse + 128.0 + static_cast<double>(dither[j])));
  }
  return largest;
}

void screen_bounds(const double* products, int rows, const ScreenQueries& q, const ScreenRow* row, float* out, int64_t out_stride) {
  const Lanes zero = broadcast(0), keep = broadcast(1 - 4e-12), half = broadcast(-0.5 * (1 - 1e-7));
  for (int r = 0; r < rows; ++r) {
    for (int part = 0; part < 16; part += 8) {
      const Lanes square = (load(q.square + part) + broadcast(row[r].square)) * keep;
      const Lanes slack = multiply_add(load(q.slack + part), broadcast(row[r].byte_norm), load(q.gain + part) *
                                       (load(products + r * 16 + part) - load(q.centre + part)));
      const Lanes near = square_root(max(square - slack, zero)) - (broadcast(row[r].residual) + load(q.residual + part));
      const Lanes distance = max(near, zero);
      const Lanes form = distance * distance * broadcast(row[r].scale);
      double bound[8];
      store(bound, multiply_add(half, form, broadcast(row[r].bias)));
      for (int lane = 0; lane < 8; ++lane) {
        const double size = bound[lane] < 0 ? -bound[lane] : bound[lane];
        const double raised = bound[lane] + (size * 2e-7 + 1e-30);
        out[r * out_stride + part + lane] = static_cast<float>(raised < -1e38 ? -1e38 : raised);
      }
    }
  }
}

void sum_terms(const regimes::LogitTerm* terms, int count, int rows, const double* bias, const double* gain, const double* square, double* out,
               double* max_of) {
  for (int part = 0; part < 16; part += 8) {
    const Lanes squares = load(square + part);
    Lanes most = broadcast(-1.7e308);
    for (int r = 0; r < rows; ++r) {
      Lanes logit = multiply_add(broadcast(gain[r]), squares, broadcast(bias[r]));
      for (int t = 0; t < count; ++t) {
        const Lanes product = (load(terms[t].products + r * 16 + part) - load(terms[t].offset + part)) * load(terms[t].step + part);
        logit = multiply_add(product, broadcast(terms[t].factor[r]), logit);
      }
      most = max(most, logit);
      store(out + r * 16 + part, logit);
    }
    store(max_of + part, most);
  }
}

}  // namespace
