// Queries of the dense pass that meet the rows one by one: so few that in a group most lanes would be empty. They take the same steps over
// the same chains as a lane of a group (dense_pass.h), so that no bit tells how a query was handled; rows stand in strips of 16 chains.
// Included by dense_pass.h alone.
#pragma once

#include "dense_pass.h"

namespace regimes {
namespace {

static_assert(first_chain == single_chain);

// Where row r of a block stands in a strip.
inline int strip_place(int r) { return r % strip_rows * group_lanes + r / strip_rows; }

inline void DensePass::sum_singles(int64_t run, int64_t row, int count, Work& work) {
  constexpr double absent = -std::numeric_limits<double>::infinity();
  double* logits = work.strip_logits.data();
  if (count < block_) std::fill(work.strip_logits.begin(), work.strip_logits.end(), absent);
  for (int r = 0; r < count; ++r) work.strip_half_square[strip_place(r)] = work.half_square_single[r];
  GroupSums& sums = sums_[run * queries_.groups + whole_groups()];
  for (int lane = 0; lane < queries_.single_count; ++lane) {
    if (execution_.cancelled()) return;
    const int64_t q = whole_groups() * group_lanes + lane;
    const uint8_t* bytes = rows_.rows + row * rows_.stride;
    const char* x = queries_.singles.data() + lane * queries_.bytes_of_single(digits_, d_, form_);
    if (fixed_) {
      digits_.single_products(bytes, rows_.stride, nullptr, count, d_, x, planes(), work.single.data());
    } else {
      dense_.single_products(bytes, rows_.stride, count, d_, centre_.data(), work.stretch.data(), reinterpret_cast<const float*>(x), chains,
                             chain_stretch_.shrink.data(), work.single.data());
    }
    double max = -1.7e308;
    for (int r = 0; r < count; ++r) {
      const double logit = work.single[r] * work.shrink[r] * queries_.slope[q] + work.bias[r];
      max = logit > max ? logit : max;
      logits[strip_place(r)] = logit;
    }
    const double before = sums.max(lane), floor = before - reach_;
    if (max < floor) continue;
    DenseSums block;
    dense_.strip_weights(logits, max, least_weight(sums, q, max), work.strip_half_square.data(), largest_integer(), work.weights.data(),
                         integer_ ? work.integers.data() : nullptr, lane, &block);
    Fold fold;
    int64_t kept = fold_lane(sums, lane, max, floor, block, fold);
    int index = 0;
    while (max > before && index + 1 < count && logits[strip_place(index)] != max) ++index;

    // The other lanes stay below every floor.
    LaneSums alone = block.halves[lane / lanes];
    double floors[lanes] = {};
    for (int other = 0; other < lanes; ++other) {
      if (other != lane % lanes) alone.max[other] = absent;
    }
    floors[lane % lanes] = floor;
    alone.index[lane % lanes] = index;
    if (class_count_ > 0) {
      std::fill(work.masses.begin(), work.masses.end(), 0.0);
      for (int r = 0; r < count; ++r) {
        work.masses[int64_t{target_.classes[row + r]} * lanes + lane % lanes] += static_cast<double>(work.weights[strip_place(r)]);
      }
    }
    sums.scalars[lane / lanes].add(alone, row, work.masses.data(), floors);
    const float least = !lists_heavy_ ? 2 : least_heavy(sums, q, max, run, row, count, static_cast<double>(block.kept[lane]));
    for (int r = 0; least <= 1 && r < count; ++r) {
      float& weight = work.weights[strip_place(r)];
      if (!(weight >= least)) continue;
      sums.heavy[lane].push_back({row + r, logits[strip_place(r)]});
      weight = 0;
      --kept;
    }
    if (denoise_ && (kept > 0 || fold.moves)) add_single(run, row, count, lane, fold, work);
  }
}

// The sums of work.listed rows of bytes with work.listed_integers.
inline void DensePass::add_listed_bytes(int64_t row, int listed, Work& work) const {
  digits_.pack_single(work.listed_integers.data(), listed, planes(), work.packed_list.data());
  digits_.listed_sums(rows_.rows + row * rows_.stride, rows_.stride, work.listed.data(), listed, d_, work.packed_list.data(),
                      work.products.data(), 1);
}

// The integers that a group would sum, by whichever products suit one query.
inline void DensePass::add_single_words(int64_t run, int64_t row, int count, int lane, Fold fold, Work& work) {
  double* sums = single_sums(run, lane);
  double factor = 0, variance = 0, total = 0;
  for (int r = 0; r < count; ++r) work.listed_weights[r] = work.weights[strip_place(r)];
  set_.words->pack_single(work.listed_weights.data(), count, word_chain, units_.most_sum, work.dither.data(), work.half_square_single.data(),
                          work.single_words.data(), &factor, &variance);
  count_words(sums_[run * queries_.groups + whole_groups()], lane, count, factor, variance, fold);
  const double keep = fold.keep[lane], step = fold.factor[lane];
  const std::vector<int32_t>& words = work.single_words;
  int listed = 0;
  if (lists_bytes()) {
    for (int r = 0; r < count; ++r) {
      work.listed[listed] = r;
      work.listed_integers[listed] = words[r];
      listed += words[r] != 0;
      total += static_cast<double>(words[r]);
    }
    add_listed_bytes(row, listed, work);
    for (int64_t j = 0; j < d_; ++j) sums[j] = sums[j] * keep + (work.products[j] - total * static_cast<double>(rows_.centre[j])) * step;
    return;
  }
  for (int r = 0; r < count; r += 2) {
    const int32_t word = words[r] | (r + 1 < count ? words[r + 1] << 16 : 0);
    if (word == 0) continue;
    work.listed[listed] = r / 2;
    work.listed_integers[listed++] = word;
    if (!work.has_words) pack_bytes(row, r, std::min(2, count - r), work);
  }
  set_.words->listed_products(work.words.data(), units_.stride, d_, {work.listed.data(), work.listed_integers.data(), listed},
                              steps_of(count), word_chain, units_.shift, work.products.data());
  for (int64_t j = 0; j < d_; ++j) sums[j] = sums[j] * keep + work.products[j * group_lanes] * step;
}

// The second product of a query over the rows that have weight, and its sum into the denoised mean.
inline void DensePass::add_single(int64_t run, int64_t row, int count, int lane, const Fold& fold, Work& work) {
  double *sums = single_sums(run, lane), *products = work.products.data();
  const double keep = fold.keep[lane], factor = fold.factor[lane], total = fold.total[lane];
  int listed = 0;
  for (int r = 0; r < count; ++r) {
    work.listed[listed] = r;
    if (integer_) {
      work.listed_integers[listed] = work.integers[strip_place(r)];
      listed += work.listed_integers[listed] != 0;
    } else {
      work.listed_weights[listed] = work.weights[strip_place(r)] * (sums_stretched() ? work.shrink_single[r] : 1.0f);
      listed += work.listed_weights[listed] != 0;
    }
  }
  if (integer_) {
    add_listed_bytes(row, listed, work);
    for (int64_t j = 0; j < d_; ++j) sums[j] = sums[j] * keep + (products[j] - total * static_cast<double>(rows_.centre[j])) * factor;
    return;
  }
  if (words_) {
    add_single_words(run, row, count, lane, fold, work);
    return;
  }
  // Rows that no group reads are floats only where they are listed.
  for (int i = 0; whole_groups() == 0 && i < listed; ++i) {
    const int64_t r = work.listed[i];
    dense_.centre_bytes(rows_.rows + (row + r) * rows_.stride, rows_.stride, 1, d_, rows_.centre.data(), work.stretch.data() + r,
                        work.values.data() + r * d_);
  }
  dense_.listed_products(work.values.data(), d_, d_, {work.listed.data(), work.listed_weights.data(), listed}, count, second_chain, chains,
                         products);
  for (int64_t j = 0; j < d_; ++j) sums[j] = sums[j] * keep + products[j * group_lanes] * factor;
}

}  // namespace
}  // namespace regimes
