// What the dense pass does where its products are not exact: rows that weigh much are listed, taken out of the second product and handed
// to float64 (posterior_dense.cpp); the others enter it as 16-bit integers, on machines that have such products. Included by dense_pass.h
// alone.
#pragma once

#include "dense_pass.h"

namespace regimes {
namespace {

constexpr int64_t word_chain = 32;   // steps of two rows whose products are summed in 32 bits at once
constexpr size_t most_heavy = 512;   // of a run for one query; a block more

// The weight, relative to the largest of a block, from which on its rows are heavy for a query; 2: none is. As if the rows to come were
// like those of the run until here. Where logits are exact, heavy rows widen the steps of the others alone: the fewer these are, the less.
inline float DensePass::least_heavy(const GroupSums& sums, int64_t q, double max, int64_t run, int64_t row, int count, double kept) const {
  const int lane = static_cast<int>(q % group_lanes);
  if (sums.heavy[lane].size() > most_heavy) return 2;
  const double rows_per_row = static_cast<double>(n_) / static_cast<double>(row + count - run * run_rows_);
  const LogSumExp<double>& known = sums.scalars[lane / lanes].sums[lane % lanes];
  const double whole = std::exp(std::min(known.max - max, 80.0)) * (1 + std::max(known.rest, 0.0));
  const double alone = fixed_ ? std::min(std::sqrt(static_cast<double>(count) / std::max(kept, 1.0)), 1.5) : 1;
  // Another bar for every block: at one bar for all, of thousands of rows of its very weight those would stay that seem lighter than they are.
  const auto moved = static_cast<double>(row_stretch(-1 - row));
  return static_cast<float>(std::min(alone * heavy_[q] * rows_per_row * whole / moved, 2.0));
}

// Lists the rows that weigh most by now, and takes them out of the second product. Returns how many.
inline int64_t DensePass::list_heavy(int64_t group, int64_t run, int64_t row, int count, const double* max, const double* floor,
                                     const double* logits, const DenseSums& block, float* weights, Work& work) {
  GroupSums& sums = sums_[run * queries_.groups + group];
  const int used = lanes_of(group);
  float least[group_lanes];
  for (int lane = 0; lane < group_lanes; ++lane) {
    const bool counts = lane < used && !(max[lane] < floor[lane]);
    least[lane] = counts ? least_heavy(sums, group * group_lanes + lane, max[lane], run, row, count, static_cast<double>(block.kept[lane])) : 2;
  }
  set_.screen->reach(weights, count, least, work.heavy.data(), 1);
  int64_t listed = 0;
  for (int r = 0; r < count; r += 4) {
    uint64_t four = 0;  // four rows at once: most have none
    std::memcpy(&four, &work.heavy[r], sizeof(uint16_t) * static_cast<size_t>(std::min(4, count - r)));
    for (; four != 0; four &= four - 1) {
      const int bit = __builtin_ctzll(four), at = r * group_lanes + bit;
      sums.heavy[bit % group_lanes].push_back({row + at / group_lanes, logits[at]});
      weights[at] = 0;
      ++listed;
    }
  }
  return listed;
}

// Rows first ... first + count - 1 of a block, as words.
inline void DensePass::pack_bytes(int64_t row, int first, int count, Work& work) const {
  set_.words->pack_bytes(rows_.rows + (row + first) * rows_.stride, rows_.stride, count, d_, units_.centre.data(),
                         work.words.data() + first / 2 * units_.stride, units_.stride);
}

// All of a block, where they are not there yet.
inline void DensePass::find_words(int64_t row, int count, Work& work) const {
  if (bytes_ && !work.has_words) pack_bytes(row, 0, count, work);
  work.has_words = true;
}

// How words of the weights of a lane enter its sums, and what they round.
inline void DensePass::count_words(GroupSums& sums, int lane, int count, double factor, double variance, Fold& fold) const {
  const double step = fold.factor[lane] / factor, whole = static_cast<double>(1 << units_.shift);
  const double chains_of = static_cast<double>((steps_of(count) + word_chain - 1) / word_chain);
  fold.factor[lane] = step * whole;
  sums.lost[lane] += step * chains_of * std::floor(whole / 2);
  sums.variance[lane] += step * step * variance;
  sums.step[lane] = std::max(sums.step[lane], step);
}

// The weights of a group of the second product, as words.
inline void DensePass::pack_words(int64_t run, int count, int place, Fold& fold, Work& work) {
  GroupSums& sums = sums_[run * queries_.groups + fold.group];
  double factor[group_lanes], variance[group_lanes];
  set_.words->pack_weights(work.weights.data() + int64_t{place} * count * group_lanes, count, word_chain, units_.most_sum, work.dither.data(),
                           work.half_square_single.data(), words_of(work, place, count), factor, variance);
  for (int lane = 0; lane < group_lanes; ++lane) count_words(sums, lane, count, factor[lane], variance[lane], fold);
}

// The second product of `groups` groups.
inline void DensePass::fold_words(int64_t row, int count, int groups, const DenseFold* folds, Work& work) const {
  find_words(row, count, work);
  set_.words->fold_columns(work.words.data(), units_.stride, work.word_columns.data(), !work.is_transposed, static_cast<int>(d_),
                           steps_of(count), word_chain, units_.shift,
                           words_of(work, 0, count), groups, folds);
}

// The rows with weight of each lane, and their integers.
inline void DensePass::list_halves(int count, int place, int used, int* listed, Fold& fold, Work& work) const {
  const int32_t* words = words_of(work, place, count);
  for (int r = 0; r < count; r += 2, words += group_lanes) {
    for (int lane = 0; lane < used; ++lane) {
      const int32_t word = words[lane], half[2] = {word & 0xffff, word >> 16};
      if (word == 0) continue;
      for (int i = 0; i < 2 && r + i < count; ++i) {
        const int64_t at = lane * block_ + listed[lane]++;
        work.listed[at] = r + i;
        work.listed_integers[at] = half[i];
        fold.total[lane] += static_cast<double>(half[i]);
      }
    }
  }
}

// The second product of a group, lane by lane over the steps that have weight.
inline void DensePass::list_words(int64_t row, int count, int place, int used, int* listed, Work& work) const {
  find_words(row, count, work);
  const int64_t steps = steps_of(count);
  list_rows(words_of(work, place, count), static_cast<int>(steps), used, work.listed.data(), work.listed_integers.data(), listed);
  for (int64_t column = 0; column < d_; column += listed_columns) {
    const int64_t columns = std::min(listed_columns, d_ - column);
    for (int lane = 0; lane < used; ++lane) {
      const int64_t at = lane * block_;
      if (listed[lane] == 0) continue;
      const ListedWords list{&work.listed[at], &work.listed_integers[at], listed[lane]};
      set_.words->listed_products(work.words.data() + column, units_.stride, columns, list, steps, word_chain, units_.shift,
                                  work.products.data() + column * group_lanes + lane);
    }
  }
}

}  // namespace
}  // namespace regimes
