#include <map>

#include "openvino/openvino_engine.h"

namespace verge_openvino {
namespace {

std::string info_of(const std::shared_ptr<ov::Node>& node, const char* key) {
  const auto& info = node->get_rt_info();
  auto it = info.find(key);
  if (it == info.end() || !it->second.is<std::string>()) return "";
  return it->second.as<std::string>();
}

// The nodes that do nearly all the arithmetic.
bool is_heavy(const std::string& type) {
  for (const char* name : {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "GroupConvolution", "RNNSeq", "RNNCell", "LSTMSequence",
                           "LSTMCell", "GRUSequence", "GRUCell", "ScaledDotProductAttention"}) {
    if (type == name) return true;
  }
  return false;
}

bool is_plumbing(const std::string& type) {
  for (const char* name : {"Input", "Output", "Const", "Constant", "Parameter", "Result", "Reorder", "Reshape", "Convert", "Transpose", "ShapeOf",
                           "Gather", "Concatenation", "Split", "StridedSlice", "Broadcast", "MemoryInput", "MemoryOutput"}) {
    if (type == name) return true;
  }
  return false;
}

std::string short_name(const std::string& type) {
  if (type == "f32" || type == "bf16" || type == "f16") return type;
  if (type == "u8" || type == "i8" || type == "I8" || type == "U8") return "int8";
  if (type == "f64") return "f32";
  return "";
}

}  // namespace

Precision executed_precision(const ov::CompiledModel& compiled, const std::string& asked) {
  std::map<std::string, int> heavy, other;
  try {
    for (const auto& node : compiled.get_runtime_model()->get_ordered_ops()) {
      std::string type = info_of(node, "layerType");
      std::string precision = short_name(info_of(node, "runtimePrecision"));
      if (precision.empty() || is_plumbing(type)) continue;
      ++(is_heavy(type) ? heavy : other)[precision];
    }
  } catch (const std::exception&) {
    return {asked, "what was asked for: OpenVINO would not show its execution graph"};
  }
  const bool counted_heavy = !heavy.empty();
  const auto& counts = counted_heavy ? heavy : other;
  if (counts.empty()) return {asked, "what was asked for: the execution graph shows no arithmetic"};
  std::string listed;
  for (const auto& [precision, count] : counts) listed += (listed.empty() ? "" : ", ") + std::to_string(count) + " in " + precision;
  std::string kind = counted_heavy ? "convolution, matrix and recurrent nodes" : "computing nodes";
  return {counts.size() == 1 ? counts.begin()->first : "mixed", "OpenVINO's execution graph: " + kind + ": " + listed};
}

std::string cause(const char* what) {
  std::string kept, last;
  std::string_view rest = what ? what : "";
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    last = line;
    if (line.substr(0, 15) == "Exception from " || (line.substr(0, 6) == "Check " && line.find(" failed at ") != line.npos)) continue;
    if (kept.size() > 400) break;
    kept += (kept.empty() ? "" : " ") + std::string(line);
  }
  if (kept.empty()) kept = last;
  return "OpenVINO: " + (kept.empty() ? "failed without a message" : kept);
}

int32_t dtype_of(const ov::element::Type& type) {
  switch (static_cast<ov::element::Type_t>(type)) {
    case ov::element::Type_t::boolean: return VERGE_BOOL;
    case ov::element::Type_t::u8: return VERGE_UINT8;
    case ov::element::Type_t::u16: return VERGE_UINT16;
    case ov::element::Type_t::u32: return VERGE_UINT32;
    case ov::element::Type_t::u64: return VERGE_UINT64;
    case ov::element::Type_t::i8: return VERGE_INT8;
    case ov::element::Type_t::i16: return VERGE_INT16;
    case ov::element::Type_t::i32: return VERGE_INT32;
    case ov::element::Type_t::i64: return VERGE_INT64;
    case ov::element::Type_t::f16: return VERGE_FP16;
    case ov::element::Type_t::f32: return VERGE_FP32;
    case ov::element::Type_t::f64: return VERGE_FP64;
    case ov::element::Type_t::bf16: return VERGE_BF16;
    default: return VERGE_DTYPE_INVALID;
  }
}

ov::element::Type element_type(int32_t dtype) {
  switch (dtype) {
    case VERGE_BOOL: return ov::element::boolean;
    case VERGE_UINT8: return ov::element::u8;
    case VERGE_UINT16: return ov::element::u16;
    case VERGE_UINT32: return ov::element::u32;
    case VERGE_UINT64: return ov::element::u64;
    case VERGE_INT8: return ov::element::i8;
    case VERGE_INT16: return ov::element::i16;
    case VERGE_INT32: return ov::element::i32;
    case VERGE_INT64: return ov::element::i64;
    case VERGE_FP16: return ov::element::f16;
    case VERGE_FP32: return ov::element::f32;
    case VERGE_FP64: return ov::element::f64;
    case VERGE_BF16: return ov::element::bf16;
    default: return ov::element::dynamic;
  }
}

}  // namespace verge_openvino
