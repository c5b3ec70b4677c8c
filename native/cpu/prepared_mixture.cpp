#include "prepared_mixture.h"

namespace regimes {

Status prepare_mixture(const Instructions& set, const Target& target, double a, double b, const MixtureParts& parts, ThreadPool& pool,
                       const Execution& execution, std::shared_ptr<const PreparedMixture>& prepared) {
  const auto last = target.kept ? std::static_pointer_cast<const PreparedMixture>(target.kept->last()) : nullptr;
  MixtureParts wanted = parts;
  const bool same = last && last->a == a && last->b == b;
  if (same) {
    prepared = last;
    wanted.bounds = wanted.bounds || last->bounds;
    wanted.rows = wanted.rows || last->rows;
    wanted.row_bytes = wanted.row_bytes || last->row_bytes;
    wanted.aligned = wanted.aligned || last->aligned;
    const bool rest = (last->bounds || !parts.bounds) && (last->rows || !parts.rows) && (last->row_bytes || !parts.row_bytes);
    if (rest && (last->aligned || !parts.aligned)) return {};
  }
  auto made = std::make_shared<PreparedMixture>(set, target, a, b);
  prepared = made;
  Status status = made->at.build(pool, execution);
  if (status.ok() && wanted.bounds) {
    made->bounds = std::make_unique<MixtureBounds>(set, made->target, made->at);
    status = made->bounds->build(pool, execution);
  }
  if (status.ok() && wanted.rows) {
    made->rows = std::make_unique<MixtureRows>(set, made->target, made->at);
    status = made->rows->build(pool, execution);
  }
  if (status.ok() && wanted.row_bytes) {
    made->row_bytes = std::make_unique<MixtureBytes>(set, made->target, *made->rows);
    status = made->row_bytes->build(pool, execution);
  }
  if (same) made->aligned = last->aligned;
  if (status.ok() && wanted.aligned && !made->aligned) {
    auto aligned = std::make_shared<AlignedRows>();
    status = aligned->build(set, made->target, made->at, last ? last->aligned.get() : nullptr, pool, execution);
    made->aligned = std::move(aligned);
  }
  if (!status.ok() || !target.kept) return status;
  made->bytes = made->at.bytes() + (made->bounds ? made->bounds->bytes() : 0) + (made->rows ? made->rows->bytes() : 0) +
                (made->row_bytes ? made->row_bytes->bytes() : 0) + (made->aligned ? made->aligned->bytes() : 0);
  target.kept->keep(std::move(made));
  return {};
}

}  // namespace regimes
