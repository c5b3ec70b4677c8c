#include "sweep_products.h"

#include <algorithm>
#include <cmath>

#include "../core/layouts.h"

namespace regimes {
namespace {

constexpr int64_t overrun = 64;         // bytes that integer kernels may read beyond a row
constexpr int64_t least_columns = 32;   // below, integer kernels work on padding
constexpr int64_t most_columns = int64_t{1} << 19;  // products stay below 2^53

}  // namespace

ByteRows byte_rows(const Target& target) {
  if (target.d < least_columns || target.d > most_columns) return {};
  if (target.points.dtype == Dtype::u8) return {static_cast<const uint8_t*>(target.points.stored), target.d, target.points.scale};
  if (target.layouts == nullptr || !target.layouts->digits.lossless) return {};
  const DigitRows& digits = target.layouts->digits;
  double scale = 0;
  for (const double column : digits.scale) {
    if (column == 0) continue;
    if (scale != 0 && column != scale) return {};
    scale = column;
  }
  return {digits.rows, digits.stride, scale};
}

int64_t pair_rows_at_once(int64_t bytes_per_row) {
  const int64_t fit = (int64_t{1} << 18) / std::max<int64_t>(bytes_per_row, 1) / 8 * 8;
  return std::clamp<int64_t>(fit, 8, most_pair_rows);
}

void Differences::reserve(int64_t groups) {
  origin_.resize(static_cast<size_t>(groups * draw_group * target_.d));
  noise_.resize(origin_.size());
}

void Differences::set_group(int64_t group, const double* origins, const double* noises, const int32_t*) {
  const int64_t d = target_.d;
  for (int64_t draw = 0; draw < draw_group; ++draw) {
    const int64_t at = (group * draw_group + draw / lanes * lanes) * d + draw % lanes;
    for (int64_t k = 0; k < d; ++k) {
      origin_[static_cast<size_t>(at + k * lanes)] = origins[draw * d + k];
      noise_[static_cast<size_t>(at + k * lanes)] = noises[draw * d + k];
    }
  }
}

void Differences::load(int64_t first, int64_t count, Scratch& scratch) const {
  scratch.rows.resize(static_cast<size_t>(block_rows() * target_.d));
  kernels_.convert(target_.points, first * target_.d, count * target_.d, scratch.rows.data());
}

void Differences::pairs(int64_t, int64_t group, int64_t count, int64_t stride, Scratch& scratch, double* q, double* v) const {
  for (int64_t half = 0; half < draw_group / lanes; ++half) {
    const int64_t at = (group * draw_group + half * lanes) * target_.d, out = half * stride * lanes;
    kernels_.pair_products(origin_.data() + at, noise_.data() + at, scratch.rows.data(), static_cast<int>(count), target_.d, q + out, v + out);
  }
}

namespace {

// Elements [first, first + count) as stored.
void stored_floats(const DataView& points, int64_t first, int64_t count, float* out) {
  if (points.dtype == Dtype::f32) {
    std::copy_n(static_cast<const float*>(points.stored) + first, count, out);
  } else {
    std::copy_n(static_cast<const Half*>(points.stored) + first, count, out);
  }
}

}  // namespace

bool takes_float_differences(const Target& target, ThreadPool& pool) {
  if (target.points.dtype != Dtype::f32 && target.points.dtype != Dtype::f16) return false;
  const int64_t size = target.n * target.d, grain = int64_t{1} << 16, tasks = (size + grain - 1) / grain;
  std::vector<float> largest(static_cast<size_t>(tasks));
  std::vector<std::vector<float>> values(static_cast<size_t>(pool.size()), std::vector<float>(static_cast<size_t>(grain)));
  pool.run(tasks, [&](int64_t task, int worker) {
    const int64_t first = task * grain, count = std::min(grain, size - first);
    float* piece = values[static_cast<size_t>(worker)].data();
    stored_floats(target.points, first, count, piece);
    float most = 0;
    for (int64_t k = 0; k < count; ++k) most = std::max(most, std::abs(piece[k]));
    largest[static_cast<size_t>(task)] = most;
  });
  const float most = *std::max_element(largest.begin(), largest.end());
  return most > 1e-6f && most < 1e9f / std::sqrt(static_cast<float>(target.d));
}

void FloatDifferences::set_group(int64_t group, const double*, const double* noises, const int32_t* components) {
  float* draws = draws_.data() + group * 2 * draw_group * d_;
  std::vector<float> origin(static_cast<size_t>(d_));
  for (int64_t draw = 0; draw < draw_group; ++draw) {
    stored_floats(points_, components[draw] * d_, d_, origin.data());
    for (int64_t k = 0; k < d_; ++k) {
      draws[2 * k * draw_group + draw] = origin[static_cast<size_t>(k)];
      draws[(2 * k + 1) * draw_group + draw] = static_cast<float>(std::copysign(1.0, points_.scale) * noises[draw * d_ + k]);
    }
  }
}

void FloatDifferences::multiply(int64_t first_group, int64_t groups, int64_t count, Scratch& scratch) const {
  constexpr int64_t columns_at_once = 128;  // of the draws fit into the first-level cache, of a block of rows into the second
  const int64_t area = block_rows() * draw_group;
  scratch.q.assign(static_cast<size_t>(groups_per_run * area), 0.0f);
  scratch.v.assign(scratch.q.size(), 0.0f);
  const bool in_place = points_.dtype == Dtype::f32;
  if (!in_place) scratch.rows.resize(static_cast<size_t>(block_rows() * columns_at_once));
  for (int64_t column = 0; column < d_; column += columns_at_once) {
    const int64_t columns = std::min(columns_at_once, d_ - column);
    const int64_t first = scratch.first * d_ + column;
    for (int64_t i = 0; !in_place && i < count; ++i) stored_floats(points_, first + i * d_, columns, scratch.rows.data() + i * columns_at_once);
    const float* rows = in_place ? static_cast<const float*>(points_.stored) + first : scratch.rows.data();
    for (int64_t g = 0; g < groups; ++g) {
      kernels_.float_pair_products(draws_.data() + ((first_group + g) * d_ + column) * 2 * draw_group, rows, in_place ? d_ : columns_at_once,
                                   static_cast<int>(count), columns, scratch.q.data() + g * area, scratch.v.data() + g * area);
    }
  }
}

void FloatDifferences::pairs(int64_t first_group, int64_t group, int64_t count, int64_t, Scratch& scratch, float* q, float* v) const {
  const int64_t at = (group - first_group) * block_rows() * draw_group;
  std::copy_n(scratch.q.data() + at, count * draw_group, q);
  std::copy_n(scratch.v.data() + at, count * draw_group, v);
}

Digits::Digits(const Instructions& set, const Target& target, const ByteRows& bytes, ThreadPool& pool)
    : kernels_(*set.kernels), digits_(*set.digits), bytes_(bytes), n_(target.n), d_(target.d),
      row_terms_(static_cast<size_t>(n_)) {
  noise_.planes = digits_.full_planes;
  for (Packed* packed : {&own_, &noise_}) packed->group_bytes = digits_.group_bytes(d_, packed->planes);
  const int64_t grain = 1024;
  pool.run((n_ + grain - 1) / grain, [&](int64_t task, int) {
    for (int64_t i = task * grain; i < std::min((task + 1) * grain, n_); ++i) {
      const uint8_t* row = bytes_.rows + i * bytes_.stride;
      int64_t sum = 0;
      for (int64_t k = 0; k < d_; ++k) sum += int64_t{row[k]} * (row[k] - 256);
      row_terms_[static_cast<size_t>(i)] = static_cast<double>(sum);
    }
  });
}

void Digits::reserve(int64_t groups) {
  for (Packed* packed : {&own_, &noise_}) packed->lines.resize(static_cast<size_t>(groups * packed->group_bytes) / sizeof(DigitLine));
  lanes_.resize(static_cast<size_t>(groups * draw_group));
}

void Digits::set_group(int64_t group, const double*, const double* noises, const int32_t* components) {
  std::vector<int32_t> own(static_cast<size_t>(draw_group * d_)), noise(own.size());
  for (int64_t draw = 0; draw < draw_group; ++draw) {
    const uint8_t* row = bytes_.rows + components[draw] * bytes_.stride;
    const double* z = noises + draw * d_;
    double step = 0, sum = 0;
    kernels_.round_to_digits(z, d_, digits_.limit_full, nullptr, noise.data() + draw * d_, &step, &sum);
    int64_t own_square = 0, own_noise = 0;
    for (int64_t k = 0; k < d_; ++k) {
      const auto at = static_cast<size_t>(draw * d_ + k);
      own[at] = row[k] - 128;  // a digit is a signed number of at least 8 bits: -128 is one
      own_square += int64_t{row[k]} * row[k];
      own_noise += int64_t{row[k]} * noise[at];
    }
    // A negative scale turns the differences of bytes about.
    lanes_[static_cast<size_t>(group * draw_group + draw)] = {static_cast<double>(own_square), static_cast<double>(own_noise),
                                                              std::copysign(step, bytes_.scale)};
  }
  digits_.pack_group(own.data(), d_, 1, own_.at(group));
  digits_.pack_group(noise.data(), d_, digits_.full_planes, noise_.at(group));
}

void Digits::load(int64_t first, int64_t count, Scratch& scratch) const {
  scratch.first = first;
  scratch.rows = bytes_.rows + first * bytes_.stride;
  for (std::vector<double>* products : {&scratch.own, &scratch.noise}) products->resize(static_cast<size_t>(groups_per_run * block_rows() * draw_group));
  if ((n_ - first - count) * bytes_.stride >= overrun) return;
  scratch.tail.resize(static_cast<size_t>(count * bytes_.stride + overrun));
  std::copy_n(scratch.rows, (count - 1) * bytes_.stride + d_, scratch.tail.data());
  scratch.rows = scratch.tail.data();
}

void Digits::multiply(int64_t first_group, int64_t groups, int64_t count, Scratch& scratch) const {
  const auto form = [&](const Packed& packed, std::vector<double>& products) {
    digits_.group_products(scratch.rows, bytes_.stride, static_cast<int>(count), d_, packed.at(first_group), static_cast<int>(groups),
                           packed.planes, products.data(), block_rows());
  };
  form(own_, scratch.own);
  form(noise_, scratch.noise);
}

void Digits::pairs(int64_t first_group, int64_t group, int64_t count, int64_t, Scratch& scratch, float* q, float* v) const {
  const int64_t at = (group - first_group) * block_rows() * draw_group;
  IntegerPairs pairs;
  pairs.own = scratch.own.data() + at;
  pairs.noise = scratch.noise.data() + at;
  pairs.row_term = row_terms_.data() + scratch.first;
  for (int lane = 0; lane < draw_group; ++lane) {
    const Lane& draw = lanes_[static_cast<size_t>(group * draw_group + lane)];
    pairs.own_term[lane] = draw.own_term;
    pairs.own_noise[lane] = draw.own_noise;
    pairs.noise_step[lane] = draw.noise_step;
  }
  kernels_.integer_pairs(pairs, static_cast<int>(count), q, v);
}

}  // namespace regimes
