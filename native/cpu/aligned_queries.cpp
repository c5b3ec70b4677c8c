#include "aligned_queries.h"

#include <algorithm>
#include <cmath>

#include "../core/dither.h"

namespace regimes {
namespace {

constexpr double unit = 0x1p-24;
constexpr double largest_deviation = 0.02 / 6;  // of a logit, beyond which no attempt is made
constexpr double largest_ground = 0x1p37;       // likewise, of what logits leave out: float64 knows them to 2^-47 of it

}  // namespace

void AlignedQueries::prepare(const MatrixView& x, int64_t first, int64_t queries, ThreadPool& pool) {
  count = queries;
  groups = (count + digit_lanes - 1) / digit_lanes;
  const auto size = static_cast<size_t>(groups * digit_lanes);
  each.assign(static_cast<size_t>(count), {});
  square.assign(size, 0.0);
  centred.assign(static_cast<size_t>(count * d_), 0.0);
  for (int f = 0; f < rows_.features; ++f) {
    PackedForms& out = packed[f];
    out.words.resize(groups * group_words() * 4);
    if (rows_.in_words) out.digits.resize(groups * set_.digits->group_bytes(d_, 1));
    for (auto* v : {&out.step, &out.rest_step, &out.rest_offset}) v->assign(size, 0.0);
  }
  pool.run(groups, [&](int64_t group, int) { pack(x, first, group); });
}

void AlignedQueries::pack(const MatrixView& x, int64_t first, int64_t group) {
  std::vector<double> z(static_cast<size_t>(d_));
  std::vector<int32_t> whole(static_cast<size_t>(d_)), rest(rows_.in_words ? static_cast<size_t>(digit_lanes * d_) : 0);
  const int64_t begin = group * digit_lanes, end = std::min(count, begin + digit_lanes);
  for (int f = 0; f < rows_.features; ++f) {
    std::fill(rest.begin(), rest.end(), 0);
    auto* words = reinterpret_cast<int32_t*>(packed[f].words.data()) + group * group_words();
    if (end < begin + digit_lanes) std::fill(words, words + group_words(), 0);
    for (int64_t q = begin; q < end; ++q) {
      if (f == 0) centre(x.row(first + q), q);
      const double* own = centred.data() + q * d_;
      for (int64_t j = 0; j < d_; ++j) z[j] = f == 0 ? own[j] : own[j] * own[j] - square[q];
      rows_.in_words ? pack_words(f, q, z, whole.data(), rest.data() + (q - begin) * d_) : pack_floats(f, q, z);
    }
    if (rows_.in_words) set_.digits->pack_group(rest.data(), d_, 1, packed[f].digits.data() + group * set_.digits->group_bytes(d_, 1));
  }
  for (int64_t q = begin; q < end; ++q) {
    double variance = 0;
    for (int64_t b = 0; b < rows_.blocks; ++b) variance = std::max(variance, logit_variance(q, b));
    each[q].attempted = std::sqrt(variance) <= largest_deviation && ground_form(q) < largest_ground;
  }
}

// x' and what is read off it.
void AlignedQueries::centre(const double* x, int64_t q) {
  AlignedQuery& own = each[q];
  double* to = centred.data() + q * d_;
  set_.kernels->differences(&x, 1, rows_.origin.data(), rows_.a, nullptr, d_, to);
  double squares = 0, fourths = 0;
  for (int64_t j = 0; j < d_; ++j) {
    const double entry = to[j] * to[j];
    squares += entry;
    fourths += entry * entry;
    own.largest = std::max(own.largest, std::abs(to[j]));
  }
  own.norm = std::sqrt(squares);
  own.norm_four = std::pow(fourths, 0.25);
  square[q] = rows_.features == 1 ? squares : squares / static_cast<double>(d_);
}

void AlignedQueries::pack_words(int f, int64_t q, std::vector<double>& z, int32_t* whole, int32_t* rest) {
  const Kernels& kernels = *set_.kernels;
  PackedForms& out = packed[f];
  const int64_t g = q / digit_lanes, lane = q % digit_lanes;
  double largest = 0, longest = 0;
  for (int64_t first = 0; first < d_; first += 2 * rows_.column_chain) {
    double part = 0;
    for (int64_t j = first; j < std::min(d_, first + 2 * rows_.column_chain); ++j) {
      part += z[j] * z[j];
      largest = std::max(largest, std::abs(z[j]));
    }
    longest = std::max(longest, part);
  }
  // |X| of a chain is at most `most`, so that its products with rows stay within 31 bits.
  const double room = (0x1p31 - 0x1p20) / std::max(rows_.feature[f].matrix->row_norm, 1.0);
  const double most = room - std::sqrt(static_cast<double>(rows_.column_chain));
  const double limit = longest > 0 ? std::min<double>(word_limit, std::floor(most * largest / std::sqrt(longest))) : word_limit;
  double step = 0, sum = 0, rest_step = 0, rest_sum = 0, most_left = 0;
  kernels.round_to_digits(z.data(), d_, static_cast<int32_t>(limit), nullptr, whole, &step, &sum);
  auto* words = reinterpret_cast<int32_t*>(out.words.data()) + g * steps_ * digit_lanes;
  double size = 0, moved = 0;
  for (int64_t j = 0; j < d_; j += 2) {
    const auto low = static_cast<uint32_t>(whole[j]) & 0xffff, high = j + 1 < d_ ? static_cast<uint32_t>(whole[j + 1]) << 16 : 0;
    words[j / 2 * digit_lanes + lane] = static_cast<int32_t>(low | high);
  }
  for (int64_t j = 0; j < d_; ++j) {
    size += z[j] * z[j];
    z[j] -= step * whole[j];
    moved += z[j] * z[j];
    most_left = std::max(most_left, std::abs(z[j]));
  }
  if (most_left > 1e-290) {
    rest_step = most_left / (set_.digits->limit_one - 1);
    for (int64_t j = 0; j < d_; ++j) {
      rest[j] = static_cast<int32_t>(std::floor(z[j] / rest_step + static_cast<double>(dither_of(column_bits(j)))));
      rest_sum += rest[j];
    }
  }
  out.step[q] = step * static_cast<double>(int64_t{1} << rows_.column_shift);
  out.rest_step[q] = 256 * rest_step;
  out.rest_offset[q] = 128 * rest_sum;
  AlignedForm& form = each[q].form[f];
  // Rows are off by less than 1, what the query's words leave meets bytes of rows that are off by 256, and sums of chains are rounded to
  // 2^shift.
  const double chains_of = std::ceil(static_cast<double>(steps_) / static_cast<double>(rows_.column_chain)), rounded = out.step[q];
  form.deviation = std::sqrt((size + 0x1p16 * moved + chains_of * rounded * rounded) / 4);
  form.coherent = 0.5 * rest_step;
  form.certain = 0x1p-45 * std::sqrt(size);
}

void AlignedQueries::pack_floats(int f, int64_t q, const std::vector<double>& z) {
  const int64_t g = q / digit_lanes, lane = q % digit_lanes;
  auto* to = reinterpret_cast<float*>(packed[f].words.data()) + g * d_ * digit_lanes;
  double highest = 0;
  for (int64_t j = 0; j < d_; ++j) highest = std::max(highest, std::abs(z[j]));
  // A power of two brings the entries to order 1.
  const double step = highest > 1e-290 && highest < 1e290 ? std::ldexp(1, std::ilogb(highest)) : 1;
  double size = 0, moved = 0, largest = 0, longest[2] = {}, part[2] = {};
  for (int64_t j = 0; j < d_; ++j) {
    const auto shrink = static_cast<double>(chain_stretch_.shrink[j / first_chain]);
    const float single = static_cast<float>(z[j] / step * chain_stretch_.stretch[j / first_chain]);
    to[j * digit_lanes + lane] = single;
    const double rest = z[j] - step * (static_cast<double>(single) * shrink);
    size += z[j] * z[j];
    moved += rest * rest;
    largest = std::max(largest, z[j] * z[j]);
    for (int level = 0; level < 2; ++level) {
      part[level] += z[j] * z[j];
      longest[level] = std::max(longest[level], part[level]);
      if ((j + 1) % (level == 0 ? first_chain : first_chain * chains) == 0) part[level] = 0;
    }
  }
  packed[f].step[q] = step;
  AlignedForm& form = each[q].form[f];
  form.deviation = unit * std::sqrt(static_cast<double>(first_chain + 1) * longest[0] + static_cast<double>(chains - 1) * longest[1] + largest);
  form.certain = std::sqrt(moved) + 0x1p-45 * std::sqrt(size);
}

double AlignedQueries::logit_variance(int64_t q, int64_t block) const {
  double variance = 0;
  for (int f = 0; f < rows_.features; ++f) {
    const AlignedBlock& size = rows_.largest[block];
    const double t = each[q].form[f].deviation * (rows_.in_words ? size.in_logit[f] : size.loaded[f]);
    variance += t * t;
  }
  return variance;
}

double AlignedQueries::farthest(int64_t q, int64_t block) const {
  const AlignedBlock& largest = rows_.largest[block];
  return 1.0001 * (largest.excess * each[q].norm + largest.fourth * each[q].norm_four + largest.in_score_loaded[0]);
}

double AlignedQueries::ground_form(int64_t q) const {
  return 0.5 * set_.kernels->weighted_square(centred.data() + q * d_, rows_.ground.data(), d_);
}

}  // namespace regimes
