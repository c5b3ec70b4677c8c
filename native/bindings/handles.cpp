#include "handles.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "../core/prepare.h"
#include "arguments.h"
#include "environment.h"

namespace regimes::bindings {
namespace {

constexpr napi_type_tag dataset_tag = {0x5d1a3c0e9b7f4e21u, 0x8c6b02f19d3e5a70u};
constexpr napi_type_tag target_tag = {0x21e4f7b9e0c3a1d5u, 0x07a5e3d91f20b6c8u};

// Below so many elements the float64 pass over all of them takes well under a millisecond.
constexpr int64_t least_elements = 100'000;
constexpr int64_t least_boxed = 8'192;  // in few dimensions

Napi::Object tagged(Napi::Object object, const napi_type_tag& tag) {
  object.TypeTag(&tag);
  return object;
}

Napi::Object dataset_object(Napi::Env env, std::shared_ptr<const DatasetMemory> memory, double scale, double shift) {
  const Napi::Object object = tagged(environment(env).dataset_class.New({}), dataset_tag);
  DatasetHandle& handle = *DatasetHandle::Unwrap(object);
  handle.memory = std::move(memory);
  handle.scale = scale;
  handle.shift = shift;
  return object;
}

std::vector<double> logarithms(const std::vector<double>& weights) {
  std::vector<double> logs(weights);
  for (double& value : logs) value = value > 0 ? std::log(value) : no_weight;
  return logs;
}

// Components are counted in 32 bits.
void check_count(Napi::Env env, int64_t n, const char* what) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  if (n > most) throw coded_error(env, "E_SHAPE", std::to_string(n) + " " + what + ", at most " + std::to_string(most));
}

// Another job may hold the mutex for seconds: a waiting one must still notice its own abort, and then owns nothing.
std::unique_lock<std::timed_mutex> cancellable_lock(std::timed_mutex& mutex, const Execution& execution) {
  std::unique_lock lock(mutex, std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(10)) && !execution.cancelled()) {
  }
  return lock;
}

}  // namespace

Status TargetMemory::prepare_once(const Execution& execution) {
  if (target.kind == Target::Kind::points) return {};
  const std::unique_lock lock = cancellable_lock(preparing, execution);
  if (!lock.owns_lock()) return Status::failure(Code::cancelled, "cancelled");
  if (!prepared) {
    const Status status = prepare(covariances, target.n, target.d, execution);
    if (status.code == Code::cancelled) return status;
    prepare_status = status;
    if (status.ok() && wants_screen(target)) {
      const Status screened = build_screen(target, execution, screen);
      if (!screened.ok()) return screened;
      target.screen = &screen;
    }
  }
  prepared = true;
  return prepare_status;
}

Status TargetMemory::lay_out_once(const Execution& execution, Target& use) {
  if (target.kind != Target::Kind::points || target.n * target.d < (target.d <= box_dimensions ? least_boxed : least_elements)) return {};
  const std::unique_lock lock = cancellable_lock(preparing, execution);
  if (!lock.owns_lock()) return Status::failure(Code::cancelled, "cancelled");
  if (!laid_out) {
    const Status status = build_layouts(target, execution, layouts);
    if (!status.ok()) return status;
    layout_bytes.store(layouts.bytes);
  }
  laid_out = true;
  use.layouts = &layouts;
  return {};
}

DatasetHandle::DatasetHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DatasetHandle>(info) {}

Napi::Function DatasetHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeDataset", {InstanceMethod<&DatasetHandle::dispose>("dispose")});
}

DataView DatasetHandle::view() const { return {memory->stored(), memory->n, memory->d, memory->dtype, scale, shift}; }

TargetHandle::TargetHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TargetHandle>(info) {}

Napi::Function TargetHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeTarget", {InstanceMethod<&TargetHandle::dispose>("dispose")});
}

DatasetHandle& dataset_of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&dataset_tag)) {
    throw coded_error(value.Env(), "E_OPTION", "the data set is not one of openDataset");
  }
  DatasetHandle& handle = *DatasetHandle::Unwrap(value.As<Napi::Object>());
  if (!handle.memory) throw coded_error(value.Env(), "E_DISPOSED", "this data set was disposed of. Open it again");
  return handle;
}

std::shared_ptr<TargetMemory> target_of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&target_tag)) {
    throw coded_error(value.Env(), "E_OPTION", "the target is not one of empirical or gaussianMixture");
  }
  const TargetHandle& handle = *TargetHandle::Unwrap(value.As<Napi::Object>());
  if (!handle.memory) throw coded_error(value.Env(), "E_DISPOSED", "this target was disposed of. Create it again");
  return handle.memory;
}

Napi::Value create_dataset(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object input = info[0].As<Napi::Object>();
  auto memory = std::make_shared<DatasetMemory>(env);
  memory->n = whole(input, "n");
  memory->d = whole(input, "d");
  check_count(env, memory->n, "rows");
  const Napi::Value stored = input.Get("stored");
  if (!stored.IsTypedArray()) throw coded_error(env, "E_INTERNAL", "stored is not a typed array");
  const Napi::TypedArray array = stored.As<Napi::TypedArray>();
  switch (array.TypedArrayType()) {
    case napi_uint8_array:
      memory->dtype = Dtype::u8;
      break;
    case napi_float32_array:
      memory->dtype = Dtype::f32;
      break;
    case napi_float64_array:
      memory->dtype = Dtype::f64;
      break;
    default:
      throw coded_error(env, "E_DTYPE", "rows are stored as uint8, float32 or float64");
  }
  const auto elements = static_cast<int64_t>(array.ElementLength());
  if (memory->n < 1 || memory->d < 1 || elements / memory->d != memory->n || elements % memory->d != 0) {
    throw coded_error(env, "E_SHAPE", "the stored array does not have n d elements");
  }
  memory->bytes.resize(array.ByteLength() + digit_padding);
  // Through the typed-array view of its own type: an array buffer of a shared typed array cannot be asked for.
  void* data = nullptr;
  napi_get_typedarray_info(env, array, nullptr, nullptr, &data, nullptr, nullptr);
  std::memcpy(memory->bytes.data(), data, array.ByteLength());

  memory->stated.state(static_cast<int64_t>(memory->bytes.size()));
  return dataset_object(env, std::move(memory), number(input, "scale"), number(input, "shift"));
}

Napi::Value map_dataset(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object input = info[0].As<Napi::Object>();
  auto memory = std::make_shared<DatasetMemory>(env);
  memory->n = whole(input, "n");
  memory->d = whole(input, "d");
  const std::string dtype = input.Get("dtype").ToString().Utf8Value();
  if (dtype != "uint8" && dtype != "float16" && dtype != "float32" && dtype != "float64") {
    throw coded_error(env, "E_DTYPE", "mapped rows are uint8, float16, float32 or float64, not " + dtype);
  }
  memory->dtype = dtype == "uint8" ? Dtype::u8 : dtype == "float16" ? Dtype::f16 : dtype == "float32" ? Dtype::f32 : Dtype::f64;
  const int64_t width = element_bytes(memory->dtype), offset = whole(input, "offset");
  if (memory->n < 1 || memory->d < 1 || memory->n > (int64_t{1} << 53) / width / memory->d || offset % width != 0) {
    throw coded_error(env, "E_SHAPE", "the rows are too many or begin between two elements");
  }
  const Status status =
      MappedFile::open(static_cast<int>(whole(input, "descriptor")), input.Get("what").ToString().Utf8Value(), offset,
                       memory->n * memory->d * width, digit_padding, whole(input, "fileBytes"), memory->mapping);
  if (!status.ok()) throw status_error(env, status);
  return dataset_object(env, std::move(memory), 1, 0);
}

Napi::Value rescaled_dataset(const Napi::CallbackInfo& info) {
  const DatasetHandle& from = dataset_of(info[0]);
  return dataset_object(info.Env(), from.memory, info[1].ToNumber().DoubleValue(), info[2].ToNumber().DoubleValue());
}

Napi::Value dataset_rows(const Napi::CallbackInfo& info) {
  const DatasetHandle& handle = dataset_of(info[0]);
  const int64_t from = info[1].ToNumber().Int64Value(), to = info[2].ToNumber().Int64Value();
  const DataView view = handle.view();
  if (from < 0 || to < from || to > view.rows) throw coded_error(info.Env(), "E_SHAPE", "the range of rows lies outside the data set");
  Napi::Float64Array out = new_doubles(info.Env(), (to - from) * view.columns);
  double* values = out.Data();
  for (int64_t i = from; i < to; ++i) {
    for (int64_t j = 0; j < view.columns; ++j) *values++ = view.value(i, j);
  }
  if (handle.memory->mapping) {
    const Status status = handle.memory->mapping->check();
    if (!status.ok()) throw status_error(info.Env(), status);
  }
  return out;
}

Napi::Value create_empirical(const Napi::CallbackInfo& info) {
  const DatasetHandle& dataset = dataset_of(info[0]);
  auto memory = std::make_shared<TargetMemory>(info.Env());
  const DataView view = dataset.view();
  memory->dataset = dataset.memory;
  memory->log_weights = logarithms(doubles(info[1], "weights", view.rows, true));
  memory->classes = integers(info[2], "labels", view.rows, true);
  Target& target = memory->target;
  target.kind = Target::Kind::points;
  target.n = view.rows;
  target.d = view.columns;
  target.points = view;
  target.class_count = info[3].ToNumber().Int32Value();
  for (const int32_t label : memory->classes) {
    if (label < 0 || label >= target.class_count) throw coded_error(info.Env(), "E_LABELS", "a label lies outside its classes");
  }
  if (!memory->log_weights.empty()) target.log_weights = memory->log_weights.data();
  if (!memory->classes.empty()) target.classes = memory->classes.data();
  const Napi::Object object = tagged(environment(info.Env()).target_class.New({}), target_tag);
  TargetHandle::Unwrap(object)->memory = std::move(memory);
  return object;
}

Napi::Value create_mixture(const Napi::CallbackInfo& info) {
  const int64_t k = info[2].ToNumber().Int64Value(), d = info[3].ToNumber().Int64Value();
  check_count(info.Env(), k, "components");
  auto memory = std::make_shared<TargetMemory>(info.Env());
  memory->log_weights = logarithms(doubles(info[0], "weights", k));
  memory->means = doubles(info[1], "means", k * d);
  const Napi::Object covariance = info[4].As<Napi::Object>();
  const std::string type = covariance.Get("type").ToString().Utf8Value();
  Covariances& c = memory->covariances;
  if (type == "spherical") {
    c.type = Covariances::Type::spherical;
    c.values = doubles(covariance.Get("variances"), "variances", k);
  } else if (type == "diagonal") {
    c.type = Covariances::Type::diagonal;
    c.values = doubles(covariance.Get("variances"), "variances", k * d);
  } else if (type == "full") {
    c.type = Covariances::Type::full;
    c.values = doubles(covariance.Get("matrices"), "matrices", k * d * d);
  } else {
    c.type = Covariances::Type::low_rank;
    c.rank = whole(covariance, "rank");
    c.values = doubles(covariance.Get("diagonals"), "diagonals", k * d);
    c.factors = doubles(covariance.Get("factors"), "factors", k * d * c.rank);
  }
  Target& target = memory->target;
  target.kind = Target::Kind::mixture;
  target.n = k;
  target.d = d;
  target.means = {memory->means.data(), k, d};
  target.covariances = &memory->covariances;
  target.kept = &memory->kept;
  target.log_weights = memory->log_weights.data();
  // Every Gaussian is a class of its own.
  memory->classes.resize(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i) memory->classes[i] = static_cast<int32_t>(i);
  target.classes = memory->classes.data();
  target.class_count = static_cast<int32_t>(k);
  const Napi::Object object = tagged(environment(info.Env()).target_class.New({}), target_tag);
  TargetHandle::Unwrap(object)->memory = std::move(memory);
  return object;
}

}  // namespace regimes::bindings
