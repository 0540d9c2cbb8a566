// Which variants can be made of a source: one table, one line a target.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "build/recipe.h"

namespace verge::build {

// Everything about the source and this machine that decides which targets apply.
struct TargetFacts {
  std::string source_kind;       // "saved_model", "keras", "h5", "onnx", "tflite", "openvino-ir"
  std::string source_precision;  // of the source's own weights: "f32", "f16", "dynamic", "int8"
  bool has_loop = false;
  bool calibration = false;      // there are calibration samples
  bool toolchain = true;         // the conversion tool chain is installed
  bool cpu_bf16 = false;         // the CPU multiplies bf16 natively
};

// What the tool chain is asked to make; several variants may share one.
struct ConversionTarget {
  std::string id;  // "<format short>-<precision>[-form]"
  std::string format;
  std::string precision;
  std::string form;
  bool operator==(const ConversionTarget&) const = default;
};

struct Target {
  std::string id;  // "<engine>-<format short>-<precision>[-form][-device]"
  std::string engine;
  std::string precision;
  std::string form;
  std::string device;
  std::map<std::string, std::string> options;
  ConversionTarget conversion;
  bool from_source = false;  // the source itself is the artifact; nothing is converted
  std::string left_out;      // why it is not made; empty: it is
};

// All targets that the source kind has and the choice wants, in the table's order. Those that cannot be made carry the reason.
std::vector<Target> choose_targets(const TargetFacts& facts, const TargetChoice& choice);

// The distinct conversions of the targets that are to be made by the tool chain, in order.
std::vector<ConversionTarget> conversions(const std::vector<Target>& targets);

// The format in which a source is an artifact as it is: "saved_model", "onnx", "tflite", "openvino-ir"; empty for Keras files.
std::string source_format(std::string_view source_kind);

// Whether this CPU multiplies bf16 natively, from Device::cpu_flags.
bool cpu_has_bf16(const std::vector<std::string>& cpu_flags);

}  // namespace verge::build
