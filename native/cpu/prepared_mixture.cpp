#include "prepared_mixture.h"

namespace regimes {

Status prepare_mixture(const Instructions& set, const Target& target, double a, double b, const MixtureParts& parts, ThreadPool& pool,
                       const Execution& execution, std::shared_ptr<const PreparedMixture>& prepared) {
  if (target.kept) {
    prepared = std::static_pointer_cast<const PreparedMixture>(target.kept->find(a, b));
    if (prepared && (prepared->bounds || !parts.bounds) && (prepared->rows || !parts.rows) && (prepared->row_bytes || !parts.row_bytes)) return {};
  }
  auto made = std::make_shared<PreparedMixture>(set, target, a, b);
  prepared = made;
  Status status = made->at.build(pool, execution);
  if (status.ok() && parts.bounds) {
    made->bounds = std::make_unique<MixtureBounds>(set, made->target, made->at);
    status = made->bounds->build(pool, execution);
  }
  if (status.ok() && parts.rows) {
    made->rows = std::make_unique<MixtureRows>(set, made->target, made->at);
    status = made->rows->build(pool, execution);
  }
  if (status.ok() && parts.row_bytes) {
    made->row_bytes = std::make_unique<MixtureBytes>(set, made->target, *made->rows);
    status = made->row_bytes->build(pool, execution);
  }
  if (!status.ok() || !target.kept) return status;
  made->bytes = made->at.bytes() + (made->bounds ? made->bounds->bytes() : 0) + (made->rows ? made->rows->bytes() : 0) +
                (made->row_bytes ? made->row_bytes->bytes() : 0);
  target.kept->keep(std::move(made));
  return {};
}

}  // namespace regimes
