#include "arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace regimes::bindings {
namespace {

const char* code_name(Code code) {
  switch (code) {
    case Code::ok:
    case Code::internal:
      return "E_INTERNAL";
    case Code::cancelled:
      return "E_CANCELLED";
    case Code::shape:
      return "E_SHAPE";
    case Code::domain:
      return "E_DOMAIN";
    case Code::nonfinite:
      return "E_NONFINITE";
    case Code::range:
      return "E_RANGE";
    case Code::weights:
      return "E_WEIGHTS";
    case Code::not_psd:
      return "E_NOT_PSD";
    case Code::out_of_memory:
      return "E_OUT_OF_MEMORY";
    case Code::file:
      return "E_FILE";
    case Code::file_changed:
      return "E_FILE_CHANGED";
    case Code::backend:
      return "E_BACKEND";
  }
  return "E_INTERNAL";
}

template <class Array, class Element>
std::vector<Element> copy_of(const Napi::Value& value, napi_typedarray_type type, const char* name, int64_t count, bool optional) {
  if (optional && (value.IsNull() || value.IsUndefined())) return {};
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw coded_error(value.Env(), "E_INTERNAL", std::string(name) + " has the wrong type");
  }
  const Array array = value.As<Array>();
  if (static_cast<int64_t>(array.ElementLength()) != count) {
    throw coded_error(value.Env(), "E_SHAPE",
                      std::string(name) + " has " + std::to_string(array.ElementLength()) + " elements, need " + std::to_string(count));
  }
  std::vector<Element> copy(static_cast<size_t>(count));
  if (count > 0) std::memcpy(copy.data(), array.Data(), copy.size() * sizeof(Element));
  return copy;
}

// Bytes that can still be taken without swapping or waking the out-of-memory killer; infinite where the system does not say.
double available_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  double kilobytes = 0;
  while (meminfo >> name >> kilobytes >> unit) {
    if (name == "MemAvailable:") return kilobytes * 1024;
  }
  return INFINITY;
}

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g GB", bytes / 1e9);
  return text;
}

// The buffer behind one of Node's own, whose bytes are those that lay there.
Napi::Value uninitialised(const Napi::Object& global, const Napi::Value& bytes) {
  const Napi::Object maker = global.Get("Buffer").As<Napi::Object>();
  return maker.Get("allocUnsafeSlow").As<Napi::Function>().Call(maker, {bytes}).As<Napi::Object>().Get("buffer");
}

}  // namespace

Napi::Error coded_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Error status_error(Napi::Env env, const Status& status) { return coded_error(env, code_name(status.code), status.detail); }

double number(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throw coded_error(object.Env(), "E_INTERNAL", std::string(name) + " is not a number");
  return value.As<Napi::Number>().DoubleValue();
}

bool flag(const Napi::Object& object, const char* name) { return object.Get(name).ToBoolean().Value(); }

int64_t whole(const Napi::Object& object, const char* name) {
  const double value = number(object, name);
  if (!(value >= 0 && value <= 0x1p53 && std::floor(value) == value)) {
    throw coded_error(object.Env(), "E_INTERNAL", std::string(name) + " is not a whole number");
  }
  return static_cast<int64_t>(value);
}

uint64_t seed(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsBigInt()) throw coded_error(object.Env(), "E_INTERNAL", std::string(name) + " is not a bigint");
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

std::vector<std::string> names(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) throw coded_error(object.Env(), "E_INTERNAL", std::string(name) + " is not an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<std::string> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(array.Get(i).ToString().Utf8Value());
  return result;
}

Napi::ArrayBuffer new_buffer(Napi::Env env, int64_t count, size_t element_size, Contents contents) {
  const double bytes = static_cast<double>(count) * static_cast<double>(element_size);
  // Pages are only taken when they are written, so an allocation succeeds that would later have the process killed.
  const double available = bytes > 0x1p28 ? available_bytes() : INFINITY;
  const auto refusal = [&] {
    const std::string there = std::isfinite(available) ? ", " + gigabytes(available) + " are available" : "";
    return coded_error(env, "E_OUT_OF_MEMORY", "a result needs " + gigabytes(bytes) + there + ". Ask for fewer queries, draws or readings at a time");
  };
  if (!(bytes <= std::min(available, 0x1p53))) throw refusal();
  // Fewer bytes are zeroed sooner than these are asked for; more come in fresh pages, which are zero anyway.
  const bool as_it_comes = contents == Contents::anything && bytes >= 0x1p14 && bytes <= 0x1p26;
  try {
    const Napi::Value size = Napi::Number::New(env, bytes);
    const Napi::Object global = env.Global();
    const Napi::Value made = as_it_comes ? uninitialised(global, size) : global.Get("ArrayBuffer").As<Napi::Function>().New({size});
    // The global may have been replaced: nothing is written to a buffer of another size.
    if (made.IsArrayBuffer() && static_cast<double>(made.As<Napi::ArrayBuffer>().ByteLength()) == bytes) return made.As<Napi::ArrayBuffer>();
  } catch (const Napi::Error&) {
  }
  throw refusal();
}

Napi::Float64Array new_doubles(Napi::Env env, int64_t count) {
  return Napi::Float64Array::New(env, static_cast<size_t>(count), new_buffer(env, count, sizeof(double)), 0);
}

Napi::Float64Array to_array(Napi::Env env, const std::vector<double>& values) {
  Napi::Float64Array array = new_doubles(env, static_cast<int64_t>(values.size()));
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(double));
  return array;
}

std::vector<double> doubles(const Napi::Value& value, const char* name, int64_t count, bool optional) {
  return copy_of<Napi::Float64Array, double>(value, napi_float64_array, name, count, optional);
}

std::vector<int32_t> integers(const Napi::Value& value, const char* name, int64_t count, bool optional) {
  return copy_of<Napi::Int32Array, int32_t>(value, napi_int32_array, name, count, optional);
}

}  // namespace regimes::bindings
