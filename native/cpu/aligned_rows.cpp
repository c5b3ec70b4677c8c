#include "aligned_rows.h"

#include <algorithm>
#include <cmath>

#include "../core/dither.h"

namespace regimes {
namespace {

constexpr int64_t chain_words = 64;       // of a row, at most
constexpr int64_t chain_rows = 48;        // of a column: 24 words
constexpr int64_t block_values = int64_t{1} << 18;
constexpr int64_t most_bytes = int64_t{1} << 30;
constexpr double up = 1 + 1e-5;           // covers sums of squares in float32

int shift_of(int64_t chains) {
  int shift = 0;
  while ((int64_t{1} << shift) < chains) ++shift;
  return shift;
}

}  // namespace

// What one worker needs for a block, and what it found.
struct AlignedRows::Worker {
  std::vector<double> centred, weight, row;
  std::vector<int32_t> digits;
  std::vector<float> column_square;
  double row_square[most_features] = {}, column_norm[most_features] = {};
};

bool AlignedRows::applies(const Target& target) {
  const Covariances::Type type = target.covariances->type;
  const bool spherical = type == Covariances::Type::spherical;
  if (!(spherical || type == Covariances::Type::diagonal) || target.n < 64 || target.d < 32) return false;
  return target.n * target.d * (spherical ? 3 : 6) <= most_bytes;
}

int64_t AlignedRows::bytes() const {
  int64_t total = static_cast<int64_t>((origin.size() + ground.size() + bias.size() + gain.size()) * 8 + excess.size() * 4 +
                                       largest.size() * sizeof(AlignedBlock));
  for (const AlignedFeature& f : feature) {
    if (!f.matrix) continue;
    const AlignedMatrix& m = *f.matrix;
    total += static_cast<int64_t>(m.words.size() * 2 + m.bytes.size() + m.values.size() * 4 +
                                  (m.unit.size() + m.norm.size() + m.square.size() + f.in_logit.size()) * 8 + f.in_score.size() * 4);
  }
  return total;
}

// The mean of the means, and the ground: the precision of the mean variance.
void AlignedRows::find_centres(const Target& target, ThreadPool& pool, const Execution& execution) {
  const std::vector<double>& values = target.covariances->values;
  const bool spherical = features == 1;
  const auto precision = [&](double variance) { return 1 / (a * a * variance + b * b); };
  if (origin.empty()) {
    const int64_t width = 256, slices = (d + width - 1) / width;
    origin.assign(static_cast<size_t>(d), 0.0);
    pool.run(slices, [&](int64_t slice, int) {
      const int64_t first = slice * width, end = std::min(d, first + width);
      for (int64_t k = 0; k < n; ++k) {
        if (k % 1024 == 0 && execution.cancelled()) return;
        const double* mean = target.means.row(k);
        for (int64_t j = first; j < end; ++j) origin[j] += mean[j];
      }
      for (int64_t j = first; j < end; ++j) origin[j] /= static_cast<double>(n);
    });
  }
  if (spherical) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    ground.assign(static_cast<size_t>(d), 0.5 * (precision(*least) + precision(*most)));
    return;
  }
  const int64_t width = 256, slices = (d + width - 1) / width;
  ground.assign(static_cast<size_t>(d), 0.0);
  pool.run(slices, [&](int64_t slice, int) {
    const int64_t first = slice * width, end = std::min(d, first + width);
    for (int64_t k = 0; k < n; ++k) {
      if (k % 1024 == 0 && execution.cancelled()) return;
      for (int64_t j = first; j < end; ++j) ground[j] += values[k * d + j];
    }
    for (int64_t j = first; j < end; ++j) ground[j] = precision(ground[j] / static_cast<double>(n));
  });
}

Status AlignedRows::build(const Instructions& set, const Target& target, const GaussiansAt& at, const AlignedRows* previous,
                          ThreadPool& pool, const Execution& execution) {
  a = at.a();
  b = at.b();
  n = target.n;
  d = target.d;
  features = target.covariances->type == Covariances::Type::spherical ? 1 : 2;
  in_words = set.words != nullptr && set.digits->faster_than_floats;
  const int64_t steps = (d + 1) / 2, chains = (steps + chain_words - 1) / chain_words;
  stride = (d + 31) / 32 * 32;
  byte_stride = (d + 63) / 64 * 64;
  column_chain = (steps + chains - 1) / chains;
  column_shift = shift_of(chains);
  block = std::clamp<int64_t>(block_values / d / 12 * 12, 12, 5 * chain_rows);
  blocks = (n + block - 1) / block;
  row_chain = std::min(block, chain_rows) / 2;
  row_shift = shift_of((block / 2 + row_chain - 1) / row_chain);
  const bool again = previous != nullptr && features == 1 && previous->in_words == in_words;
  if (previous != nullptr) origin = previous->origin;
  find_centres(target, pool, execution);
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");

  const auto count = static_cast<size_t>(n);
  bias.assign(count, 0.0);
  gain.assign(count, 0.0);
  excess.assign(count, 0.0f);
  largest.assign(static_cast<size_t>(blocks), {});
  AlignedMatrix matrices[most_features];
  for (int f = 0; f < features; ++f) {
    AlignedMatrix& own = matrices[f];
    feature[f].in_logit.assign(count, 0.0);
    feature[f].in_score.assign(count, 0.0f);
    if (again) continue;
    if (in_words) {
      own.words.assign(static_cast<size_t>(n * stride + 32), 0);
      own.bytes.assign(static_cast<size_t>(n * byte_stride + 64), 128);
    } else {
      own.values.assign(static_cast<size_t>(n * d + digit_lanes), 0.0f);
    }
    own.unit.assign(count, 1.0);
    own.norm.assign(count, 0.0);
    if (features == 1) own.square.assign(count, 0.0);
  }
  if (again) feature[0].matrix = previous->feature[0].matrix;
  column_bits_.resize(static_cast<size_t>(d));
  for (int64_t j = 0; j < d; ++j) column_bits_[j] = column_bits(j);
  row_dither.resize(count);
  for (int64_t k = 0; k < n; ++k) row_dither[k] = dither_of(row_bits(k));
  std::vector<Worker> workers(static_cast<size_t>(pool.size()));
  pool.run(blocks, [&](int64_t index, int worker) {
    if (!execution.cancelled()) build_block(set, target, at, index, again, matrices, workers[worker]);
  });
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  for (int f = 0; f < features && !again; ++f) {
    for (const Worker& worker : workers) {
      matrices[f].row_norm = std::max(matrices[f].row_norm, up * std::sqrt(worker.row_square[f]));
      matrices[f].column_norm = std::max(matrices[f].column_norm, worker.column_norm[f]);
    }
    feature[f].matrix = std::make_shared<const AlignedMatrix>(std::move(matrices[f]));
  }
  // Whatever the units of the mixture, float32 holds factors and their squares.
  AlignedBlock most;
  for (const AlignedBlock& one : largest) {
    for (int f = 0; f < features; ++f) most.in_score[f] = std::max(most.in_score[f], one.in_score[f]);
    most.excess = std::max(most.excess, one.excess);
  }
  for (int f = 0; f < features; ++f) {
    AlignedFeature& own = feature[f];
    own.score_unit = most.in_score[f] > 0 ? most.in_score[f] : 1;
    for (int64_t k = 0; k < n; ++k) own.in_score[k] = static_cast<float>((f == 1 ? 2 : 1) * std::abs(own.in_logit[k]) / own.score_unit);
  }
  excess_unit = most.excess > 0 ? most.excess : 1;
  for (int64_t k = 0; features == 1 && k < n; ++k) excess[k] = static_cast<float>(-2 * gain[k] / excess_unit);
  return {};
}

void AlignedRows::build_block(const Instructions& set, const Target& target, const GaussiansAt& at, int64_t index, bool again,
                              AlignedMatrix* matrices, Worker& worker) {
  const Kernels& kernels = *set.kernels;
  const bool spherical = features == 1;
  const auto width = static_cast<size_t>(d);
  worker.centred.resize(width);
  worker.weight.resize(width);
  worker.row.resize(width);
  worker.digits.resize(width);
  worker.column_square.assign(static_cast<size_t>(features) * width, 0.0f);
  double *centred = worker.centred.data(), *weight = worker.weight.data();
  const int64_t last = std::min(n, (index + 1) * block);
  AlignedBlock& most = largest[index];
  for (int64_t k = index * block; k < last; ++k) {
    const double* mean = target.means.row(k);
    const double* values = target.covariances->values.data() + (spherical ? k : k * d);
    double precision = 0;
    if (!again) kernels.differences(&mean, 1, origin.data(), 1, nullptr, d, centred);
    if (spherical) {
      if (!again) matrices[0].square[k] = kernels.weighted_square(centred, nullptr, d);
      precision = 1 / (a * a * values[0] + b * b);
      const double square = again ? feature[0].matrix->square[k] : matrices[0].square[k], difference = precision - ground[0];
      bias[k] = -0.5 * a * a * precision * square;
      gain[k] = -0.5 * difference;
      most.excess = std::max(most.excess, std::abs(difference));
    } else {
      double sum = 0, fourths = 0;
      for (int64_t j = 0; j < d; ++j) {
        weight[j] = 1 / (a * a * values[j] + b * b);
        const double difference = weight[j] - ground[j], square = difference * difference;
        sum += difference;
        fourths += square * square;
      }
      bias[k] = -0.5 * a * a * kernels.weighted_square(centred, weight, d);
      gain[k] = -0.5 * sum;
      most.fourth = std::max(most.fourth, std::pow(fourths, 0.25));
    }
    bias[k] += target.log_weight(k) - at.half_log_det(k);
    for (int f = 0; f < features; ++f) {
      if (!again) {
        double* row = f == 0 && spherical ? centred : worker.row.data();
        for (int64_t j = 0; f == 0 && !spherical && j < d; ++j) row[j] = a * weight[j] * centred[j];
        for (int64_t j = 0; f == 1 && j < d; ++j) row[j] = weight[j] - ground[j];
        put_row(kernels, row, k, f, matrices[f], worker);
      }
      const AlignedMatrix& own = again ? *feature[f].matrix : matrices[f];
      const double scale = spherical ? a * precision * own.unit[k] : own.unit[k], factor = f == 1 ? 0.5 * scale : scale;
      feature[f].in_logit[k] = f == 1 ? -factor : factor;
      most.in_logit[f] = std::max(most.in_logit[f], factor);
      most.loaded[f] = std::max(most.loaded[f], factor * own.norm[k]);
      most.in_score[f] = std::max(most.in_score[f], scale);
      most.norm[f] = std::max(most.norm[f], own.norm[k]);
      most.in_score_loaded[f] = std::max(most.in_score_loaded[f], scale * own.norm[k]);
    }
    const int64_t passed = k + 1 - index * block;
    if (again || (passed % (2 * row_chain) != 0 && k + 1 < last)) continue;
    for (int f = 0; f < features; ++f) {
      float longest = 0;
      for (int64_t j = 0; j < d; ++j) longest = std::max(longest, worker.column_square[f * d + j]);
      worker.column_norm[f] = std::max(worker.column_norm[f], up * std::sqrt(static_cast<double>(longest)));
    }
    std::fill(worker.column_square.begin(), worker.column_square.end(), 0.0f);
  }
}

void AlignedRows::put_row(const Kernels& kernels, const double* row, int64_t k, int f, AlignedMatrix& out, Worker& worker) const {
  if (!in_words) {
    float* to = out.values.data() + k * d;
    const double length = std::sqrt(kernels.weighted_square(row, nullptr, d)), stretch = static_cast<double>(row_stretch(k));
    const double scale = length > 1e-290 ? stretch / length : 0;
    for (int64_t j = 0; j < d; ++j) to[j] = static_cast<float>(row[j] * scale);
    out.norm[k] = length > 1e-290 ? stretch : 0;
    out.unit[k] = length > 1e-290 ? length / stretch : 0;
    return;
  }
  int32_t* digits = worker.digits.data();
  double largest = 0;
  for (int64_t j = 0; j < d; ++j) largest = std::max(largest, std::abs(row[j]));
  const double inverse = largest > 1e-290 ? (word_limit - 1) / largest : 0;
  out.unit[k] = largest > 1e-290 ? largest / (word_limit - 1) : 0;
  const uint32_t own_bits = row_bits(k);
  const uint32_t* bits = column_bits_.data();
  // The offset makes the conversion round down.
  for (int64_t j = 0; j < d; ++j) {
    digits[j] = static_cast<int32_t>(row[j] * inverse + static_cast<double>(dither_of(bits[j] ^ own_bits)) + 0x1p16) - (1 << 16);
  }
  int16_t* words = out.words.data() + k * stride;
  uint8_t* bytes = out.bytes.data() + k * byte_stride;
  float* column = worker.column_square.data() + f * d;
  double square = 0;
  for (int64_t first = 0; first < d; first += 2 * column_chain) {
    const int64_t end = std::min(d, first + 2 * column_chain);
    float part[8] = {};
    for (int64_t j = first; j < end; ++j) {
      words[j] = static_cast<int16_t>(digits[j]);
      bytes[j] = static_cast<uint8_t>(((digits[j] + static_cast<int32_t>((bits[j] ^ own_bits) & 255)) >> 8) + 128);
    }
    for (int64_t j = first; j < end; ++j) {
      const auto entry = static_cast<float>(digits[j]);
      column[j] += entry * entry;
    }
    int64_t j = first;
    for (; j + 8 <= end; j += 8) {
      for (int lane = 0; lane < 8; ++lane) part[lane] += static_cast<float>(digits[j + lane]) * static_cast<float>(digits[j + lane]);
    }
    for (; j < end; ++j) part[0] += static_cast<float>(digits[j]) * static_cast<float>(digits[j]);
    double total = 0;
    for (const float one : part) total += static_cast<double>(one);
    worker.row_square[f] = std::max(worker.row_square[f], total);
    square += total;
  }
  out.norm[k] = up * std::sqrt(square);
}

}  // namespace regimes
