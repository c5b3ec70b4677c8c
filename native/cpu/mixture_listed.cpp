#include "mixture_listed.h"

#include <algorithm>
#include <cmath>

#include "gaussian_solver.h"

namespace regimes {
namespace {

constexpr double small = 0x1p-53;
constexpr int64_t share = 4;             // float64 over so small a share of the components costs less than float32 over all
constexpr int64_t looked_at = 4;         // times most(): so many are looked at where bounds are rough
constexpr double least_weight = 1e-9;    // of components that take part in the score

}  // namespace

MixtureListed::MixtureListed(const Instructions& set, const Target& target, const MixtureRows& rows)
    : set_(set), target_(target), rows_(rows), at_(rows.at()), n_(target.n), d_(target.d),
      most_(rows.full() ? 0 : std::max<int64_t>(1, target.n / share)) {
  for (int64_t k = 0; k < n_; ++k) highest_ = std::max(highest_, target_.log_weight(k) - at_.half_log_det(k));
}

void MixtureListed::start(int64_t count) {
  answers_.assign(static_cast<size_t>(count), {});
  score_.reset(new double[static_cast<size_t>(count * d_)]);
}

Status MixtureListed::answer(const double* x, const std::vector<int32_t>& queries, const double* logits, const float* errors, int64_t stride,
                             bool decisive, ThreadPool& pool, const Execution& execution) {
  if (most_ == 0 || queries.empty()) return {};
  const auto count = static_cast<int64_t>(queries.size());
  const double reach = std::log(static_cast<double>(n_)) + listed_logits;
  const auto bias = [&](int64_t k) { return target_.log_weight(k) - at_.half_log_det(k); };
  // The component that seems heaviest, exactly, unless too many are sure to lie within reach; then those that may.
  std::vector<double> best(static_cast<size_t>(count), -INFINITY), most(best);
  std::vector<int32_t> peak(static_cast<size_t>(count), 0), sure(peak);
  for (int64_t k = 0; k < n_; ++k) {
    const double* row = logits + k * stride;
    const float* error = errors + k * stride;
    for (int64_t i = 0; i < count; ++i) {
      const double upper = row[i] + static_cast<double>(error[i]);
      if (!(row[i] <= -1e300) && !(upper <= most[i])) most[i] = upper > most[i] ? upper : INFINITY;  // not a number where float32 overflows
      if (!(row[i] > best[i])) continue;
      best[i] = row[i];
      peak[i] = static_cast<int32_t>(k);
    }
  }
  for (int64_t k = 0; k < n_; ++k) {
    for (int64_t i = 0; i < count; ++i) sure[i] += logits[k * stride + i] - static_cast<double>(errors[k * stride + i]) >= most[i] - reach ? 1 : 0;
  }
  const int64_t rank = target_.covariances->rank;
  std::vector<ExactForm> peaks;
  for (int64_t i = 0; i < count; ++i) {
    if (sure[i] <= most_) peaks.push_back({peak[i], queries[i], -1, 0, 0, i});
  }
  h_.resize(static_cast<size_t>(count * rank));
  rows_.exact_forms(x, nullptr, peaks, h_.data(), pool, execution);
  std::vector<ExactForm> forms;
  std::vector<int32_t> of_query(answers_.size(), 0);
  for (int64_t i = 0; i < count; ++i) of_query[queries[i]] = static_cast<int32_t>(i);
  for (const ExactForm& form : peaks) {
    const int64_t i = of_query[form.query];
    const double exact = bias(form.component) - 0.5 * form.form;
    const size_t before = forms.size();
    for (int64_t k = 0; k < n_; ++k) {
      const double logit = logits[k * stride + i], error = static_cast<double>(errors[k * stride + i]);
      if (k == form.component) {
        forms.push_back(form);
        continue;
      }
      if (logit < -1e300 || logit + error < exact - reach) continue;
      forms.push_back({static_cast<int32_t>(k), form.query});
    }
    const auto found = static_cast<int64_t>(forms.size() - before);
    if (!decisive && found > looked_at * most_) forms.resize(before);
  }
  std::vector<ExactForm> others;
  for (const ExactForm& form : forms) {
    if (form.form >= 0) continue;
    others.push_back(form);
    others.back().place = count + static_cast<int64_t>(others.size()) - 1;
  }
  h_.resize(static_cast<size_t>((count + static_cast<int64_t>(others.size())) * rank));
  rows_.exact_forms(x, nullptr, others, h_.data(), pool, execution);
  if (execution.cancelled()) return Status::failure(Code::cancelled, "cancelled");
  std::erase_if(forms, [](const ExactForm& form) { return form.form < 0; });
  forms.insert(forms.end(), others.begin(), others.end());
  std::sort(forms.begin(), forms.end(), [](const ExactForm& left, const ExactForm& right) {
    return left.query != right.query ? left.query < right.query : left.component < right.component;
  });
  std::vector<int32_t> taken;
  for (size_t from = 0; from < forms.size();) {
    size_t end = from;
    while (end < forms.size() && forms[end].query == forms[from].query) ++end;
    Answer& answer = answers_[forms[from].query];
    if (weigh(forms.data() + from, static_cast<int64_t>(end - from), answer)) taken.push_back(forms[from].query);
    from = end;
  }
  sum_scores(x, taken, pool, execution);
  return execution.cancelled() ? Status::failure(Code::cancelled, "cancelled") : Status{};
}

// Entries, weights and the parts of the bounds that need no score.
bool MixtureListed::weigh(const ExactForm* forms, int64_t count, Answer& answer) const {
  double top = -INFINITY, total = 0;
  const double reach = std::log(static_cast<double>(n_)) + listed_logits;
  std::vector<double> logit(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t k = forms[i].component;
    logit[i] = target_.log_weight(k) - at_.half_log_det(k) - 0.5 * forms[i].form;
    top = std::max(top, logit[i]);
  }
  std::vector<Entry> entries;
  for (int64_t i = 0; i < count; ++i) {
    if (!(logit[i] >= top - reach)) continue;
    entries.push_back({forms[i].component, logit[i], std::exp(logit[i] - top), forms[i].place});
    total += entries.back().weight;
  }
  if (entries.empty() || static_cast<int64_t>(entries.size()) > most_) return false;
  const double rounding = (at_.model().logit_units + 64) * small, offset = at_.model().logit_offset * small;
  const double units = (at_.model().logit_units + at_.model().velocity_units + 256) * small;
  double certain = 0, certain_square = 0, speed = 0, rough = 0, scale = 0;
  auto entry = entries.begin();
  for (int64_t i = 0; i < count; ++i) {
    if (entry == entries.end() || forms[i].component != entry->component) continue;
    const MixtureRows::Component& c = rows_.component(entry->component);
    entry->weight /= total;
    const double ground = forms[i].ground, form = forms[i].form, bias = std::abs(entry->logit + 0.5 * form);
    const double error = rounding * (2 * ground + form) + offset + small * (bias + 2 * std::abs(entry->logit) + 8);
    certain += entry->weight * error;
    certain_square += entry->weight * error * error;
    speed += entry->weight * c.most * form;
    rough += entry->weight * (std::sqrt(c.most * ground) + forms[i].norm * static_cast<double>(rows_.size(entry->component) + 1));
    if (ground > 0) scale += entry->weight * form * std::sqrt(c.least / ground);
    ++entry;
  }
  const double left_out = std::exp(-listed_logits) + static_cast<double>(most_) * least_weight;
  // |S^-1 f|^2 <= most form; what is left out lies at least `reach` below, and its weight times the root of its form falls with the logit.
  const double far = std::sqrt(2 * rows_.steepest() * (reach + std::max(0.0, highest_ - top)));
  answer.error_log_density = 1.02 * (certain + left_out + 64 * small);
  const double spread = std::sqrt(speed);
  answer.error_score = 1.02 * ((entries.size() > 1 ? std::sqrt(certain_square) * spread : 0) + units * rough + left_out * (far + spread) +
                               (at_.model().velocity_units + 256) * small * spread);
  if (answer.error_score > score_contract * scale || answer.error_log_density > 0.95 * log_density_contract) return false;
  answer.entries = std::move(entries);
  return true;
}

// Sums in the order of the components.
void MixtureListed::sum_scores(const double* x, const std::vector<int32_t>& queries, ThreadPool& pool, const Execution& execution) {
  struct Part {
    int32_t component, query;
    double weight;
    const double* h;
  };
  const auto count = static_cast<int64_t>(queries.size()), step = std::max<int64_t>(1, (count + pool.size() - 1) / pool.size());
  pool.run((count + step - 1) / step, [&](int64_t task, int) {
    std::vector<Part> parts;
    for (int64_t i = task * step; i < std::min(count, (task + 1) * step); ++i) {
      std::fill_n(score_.get() + queries[i] * d_, d_, 0.0);
      for (const Entry& entry : entries(queries[i])) {
        if (entry.weight >= least_weight) parts.push_back({entry.component, queries[i], entry.weight, h_.data() + entry.place * target_.covariances->rank});
      }
    }
    std::stable_sort(parts.begin(), parts.end(), [](const Part& left, const Part& right) { return left.component < right.component; });
    MixtureRows::Exact exact(rows_);
    std::vector<double> pulls(static_cast<size_t>(solver_vectors * d_));
    for (size_t from = 0; from < parts.size();) {
      if (execution.cancelled()) return;
      const int32_t k = parts[from].component;
      if (from == 0 || parts[from - 1].component != k) exact.load(k);
      const double* row[solver_vectors];
      const double* h[solver_vectors];
      int size = 0;
      for (; size < solver_vectors && from + size < parts.size() && parts[from + size].component == k; ++size) {
        row[size] = x + parts[from + size].query * d_;
        h[size] = parts[from + size].h;
      }
      exact.pulls(row, h, size, pulls.data());
      for (int v = 0; v < size; ++v) {
        set_.kernels->add_weighted(-parts[from + v].weight, pulls.data() + v * d_, exact.weight(), d_, score_.get() + parts[from + v].query * d_);
      }
      from += static_cast<size_t>(size);
    }
  });
}

}  // namespace regimes
