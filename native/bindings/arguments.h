// JavaScript arguments as C++ values. lib/ has validated them with good messages; these checks only keep memory safe.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../core/status.h"

namespace regimes::bindings {

// A JavaScript Error whose `code` is `code`, to be thrown.
Napi::Error coded_error(Napi::Env env, const char* code, const std::string& message);
Napi::Error status_error(Napi::Env env, const Status& status);

double number(const Napi::Object& object, const char* name);
bool flag(const Napi::Object& object, const char* name);
int64_t whole(const Napi::Object& object, const char* name);  // in [0, 2^53]
uint64_t seed(const Napi::Object& object, const char* name);  // a bigint, modulo 2^64
std::vector<std::string> names(const Napi::Object& object, const char* name);

enum class Contents { zeros, anything };

// A new array of `count` elements, made by JavaScript: there E_OUT_OF_MEMORY is thrown where Node-API would abort.
Napi::ArrayBuffer new_buffer(Napi::Env env, int64_t count, size_t element_size, Contents contents = Contents::zeros);
Napi::Float64Array new_doubles(Napi::Env env, int64_t count);
Napi::Float64Array to_array(Napi::Env env, const std::vector<double>& values);

// Copies of typed arrays of exactly `count` elements; null and undefined give an empty vector where `optional`.
std::vector<double> doubles(const Napi::Value& value, const char* name, int64_t count, bool optional = false);
std::vector<int32_t> integers(const Napi::Value& value, const char* name, int64_t count, bool optional = false);

}  // namespace regimes::bindings
