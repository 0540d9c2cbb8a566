#include "build/targets.h"

#include <algorithm>
#include <iterator>

namespace verge::build {
namespace {

struct Row {
  std::string_view engine;
  std::string_view format;
  std::string_view short_format;
  std::string_view precision;             // of the variant
  std::string_view conversion_precision;  // of the artifact
  std::string_view inference_precision;   // OpenVINO's option; empty: none
  std::string_view device;
};

// f32 and bf16 of one IR are two variants of one artifact: what differs is what OpenVINO is told to execute.
constexpr Row kRows[] = {
    {"openvino", "openvino-ir", "ir", "f32", "f32", "f32", "cpu"},
    {"openvino", "openvino-ir", "ir", "bf16", "f32", "bf16", "cpu"},
    {"openvino", "openvino-ir", "ir", "f16", "f16", "f32", "cpu"},
    {"openvino", "openvino-ir", "ir", "int8", "int8", "f32", "cpu"},
    {"openvino", "onnx", "onnx", "f32", "f32", "f32", "cpu"},
    {"openvino", "onnx", "onnx", "int8", "int8", "f32", "cpu"},
    {"openvino", "tflite", "tflite", "f32", "f32", "f32", "cpu"},
    {"openvino", "tflite", "tflite", "int8", "int8", "f32", "cpu"},
    {"openvino", "tflite", "tflite", "f16", "f16", "f32", "cpu"},
    {"openvino", "tflite", "tflite", "dynamic", "dynamic", "f32", "cpu"},
    {"openvino", "saved_model", "savedmodel", "f32", "f32", "f32", "cpu"},
    {"onnxruntime", "onnx", "onnx", "f32", "f32", "", "cpu"},
    {"onnxruntime", "onnx", "onnx", "int8", "int8", "", "cpu"},
    {"litert", "tflite", "tflite", "f32", "f32", "", "cpu"},
    {"litert", "tflite", "tflite", "f16", "f16", "", "cpu"},
    {"litert", "tflite", "tflite", "dynamic", "dynamic", "", "cpu"},
    {"litert", "tflite", "tflite", "int8", "int8", "", "cpu"},
    {"tensorflow", "saved_model", "savedmodel", "f32", "f32", "", "cpu"},
    {"litert", "tflite", "tflite", "f32", "f32", "", "arm64"},
    {"litert", "tflite", "tflite", "int8", "int8", "", "arm64"},
    {"onnxruntime", "onnx", "onnx", "f32", "f32", "", "arm64"},
    {"onnxruntime", "onnx", "onnx", "int8", "int8", "", "arm64"},
    {"onnxruntime", "onnx", "onnx", "f32", "f32", "", "cuda"},
    {"tensorrt", "onnx", "onnx", "f32", "f32", "", "tensorrt"},
    {"litert", "edgetpu-tflite", "edgetpu", "int8", "int8", "", "edgetpu"},
};

bool from_tensorflow(std::string_view kind) { return kind == "saved_model" || kind == "keras" || kind == "h5"; }

// Whether there is a way from the source to this artifact: the source itself, or a converter of the tool chain.
bool convertible(const TargetFacts& facts, const Row& row) {
  const bool tensorflow = from_tensorflow(facts.source_kind);
  const bool same_precision = row.conversion_precision == facts.source_precision;
  // OpenVINO widens such weights when it loads the file: worth a variant only where that file is all there is.
  if (row.engine == "openvino" && row.format == "tflite" && (row.precision == "f16" || row.precision == "dynamic")) {
    return facts.source_kind == "tflite" && same_precision;
  }
  if (tensorflow) return true;
  // What is reduced already stays as it is.
  if (facts.source_precision != "f32" && !same_precision) return false;
  if (row.format == source_format(facts.source_kind)) return true;
  return row.format == "openvino-ir" || (row.format == "onnx" && facts.source_kind == "tflite");
}

std::string with_suffixes(std::string id, std::string_view form, std::string_view device) {
  if (!form.empty()) id += "-" + std::string(form);
  if (device != "cpu" && device != "tensorrt" && device != "edgetpu") id += "-" + std::string(device);
  return id;
}

}  // namespace

std::string source_format(std::string_view kind) {
  if (kind == "saved_model" || kind == "onnx" || kind == "tflite" || kind == "openvino-ir") return std::string(kind);
  return {};
}

bool cpu_has_bf16(const std::vector<std::string>& flags) {
  return std::any_of(flags.begin(), flags.end(), [](const std::string& f) { return f == "avx512_bf16" || f == "amx_bf16" || f == "bf16"; });
}

std::vector<Target> choose_targets(const TargetFacts& given, const TargetChoice& choice) {
  TargetFacts facts = given;
  // A file in a precision that the table does not name for its format (an ONNX file in f16) is taken as what it computes: floats.
  bool known = std::any_of(std::begin(kRows), std::end(kRows), [&](const Row& r) {
    return r.format == source_format(given.source_kind) && r.conversion_precision == given.source_precision;
  });
  if (!known) facts.source_precision = "f32";
  std::vector<std::string_view> forms = {""};
  if (facts.has_loop) forms = {"unrolled", "loop"};
  std::string own_format = source_format(facts.source_kind);
  std::vector<Target> out;
  for (const Row& row : kRows) {
    if (!convertible(facts, row)) continue;
    if (row.precision == "bf16" && !facts.cpu_bf16) continue;
    for (std::string_view form : forms) {
      Target t;
      t.engine = row.engine;
      t.precision = row.precision;
      t.form = form;
      t.device = row.device;
      std::string base = std::string(row.engine) + "-" + std::string(row.short_format) + "-" + std::string(row.precision);
      t.id = with_suffixes(row.device == "tensorrt" ? "tensorrt-onnx-f32" : base, form, row.device);
      if (!row.inference_precision.empty()) t.options["inference_precision"] = row.inference_precision;
      t.conversion = {with_suffixes(std::string(row.short_format) + "-" + std::string(row.conversion_precision), form, "cpu"), std::string(row.format),
                      std::string(row.conversion_precision), std::string(form)};
      // A source with a loop is its own looped form.
      t.from_source = row.format == own_format && row.conversion_precision == facts.source_precision && form != "unrolled";
      if (!choice.wants(t.id)) continue;
      if (!t.from_source && row.conversion_precision == "int8" && !facts.calibration) {
        t.left_out = "no calibration data: a static int8 form needs representative samples (data.calibration in model.yaml)";
      } else if (!t.from_source && !facts.toolchain) {
        t.left_out = "the conversion tool chain is not installed: make toolchain";
      }
      out.push_back(std::move(t));
    }
  }
  return out;
}

std::vector<ConversionTarget> conversions(const std::vector<Target>& targets) {
  std::vector<ConversionTarget> out;
  for (const Target& t : targets) {
    if (t.from_source || !t.left_out.empty()) continue;
    if (std::find(out.begin(), out.end(), t.conversion) == out.end()) out.push_back(t.conversion);
  }
  return out;
}

}  // namespace verge::build
