// Typed access to a step's parameters. Like JsonReader it keeps the first error, so that a step reads all it needs and checks status()
// once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::transform {

struct OpDoc;

class Params {
 public:
  // Refuses what is no object, names that `doc` does not have, types that differ from `doc`, and missing required parameters.
  Params(const OpDoc& doc, const Json& params);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  // A value outside [lo, hi] is an error. The fallback is for an absent parameter.
  int64_t integer(std::string_view name, int64_t lo, int64_t hi, int64_t fallback = 0);
  double number(std::string_view name, double fallback = 0);
  bool boolean(std::string_view name, bool fallback);
  std::vector<double> numbers(std::string_view name, std::vector<double> fallback = {});  // one number is a list of one
  std::vector<int64_t> ints(std::string_view name, std::vector<int64_t> fallback = {});
  DType dtype(std::string_view name, DType fallback);
  // One of `choices`, the first of which is the fallback.
  std::string_view choice(std::string_view name, std::initializer_list<std::string_view> choices);

  void fail(std::string message);
  const Status& status() const { return status_; }

 private:
  const Json* find(std::string_view name) const;
  const Json& params_;
  Status status_;
};

}  // namespace verge::transform
