#include <algorithm>
#include <array>
#include <limits>

#include "tflite_file.h"
#include "tflite_operators.h"

namespace verge::litert {
namespace {

enum Op : int32_t {
  kConv2d = 3,
  kDepthwiseConv2d = 4,
  kDequantize = 6,
  kFullyConnected = 9,
  kLstm = 16,
  kRnn = 24,
  kSvdf = 27,
  kCall = 31,
  kCustom = 32,
  kSequenceRnn = 35,
  kSequenceLstm = 44,
  kBidirectionalRnn = 46,
  kBidirectionalLstm = 52,
  kSplit = 49,
  kTransposeConv = 67,
  kPack = 83,
  kUnpack = 88,
  kSplitV = 102,
  kIf = 118,
  kWhile = 119,
  kBatchMatmul = 126,
  kCallOnce = 129,
  kConv3d = 132,
  kConv3dTranspose = 141,
  kStablehloWhile = 200,
  kStablehloComposite = 206,
};

// LiteRT's library brings these custom operators; any other needs code that is not there.
constexpr std::string_view kKnownCustom[] = {"TFLite_Detection_PostProcess", "NumericVerify",          "Mfcc",          "AudioSpectrogram",
                                             "Convolution2DTransposeBias",   "MaxPoolingWithArgmax2D", "MaxUnpooling2D"};

constexpr char kWayOut[] = "; bring the SavedModel and let `verge build` convert it";

// What one operator may read and write of the graph's own tensors at the file's sizes.
constexpr int64_t kMaxWorkingBytes = int64_t{1} << 30;

std::string at(const SubgraphDef& graph, size_t op) {
  const OperatorDef& def = graph.operators[op];
  return "operator " + std::to_string(op) + " (" + (def.code == kCustom ? std::string(def.custom.substr(0, 64)) : operator_name(def.code)) +
         ")";
}

// Elements of a shape; -1 where a dimension is negative or the product passes 2^40.
int64_t elements(const std::vector<int32_t>& shape) {
  int64_t n = 1;
  for (int32_t d : shape) {
    if (d < 0) return -1;
    if (d > 0 && n > (int64_t{1} << 40) / d) return -1;
    n *= d;
  }
  return n;
}

std::string check_operators(const TfliteFile& model) {
  for (const SubgraphDef& graph : model.subgraphs) {
    for (size_t i = 0; i < graph.operators.size(); ++i) {
      const OperatorDef& op = graph.operators[i];
      if (op.code != kCustom) continue;
      const std::string name(op.custom.substr(0, 64));
      if (name.starts_with("Flex"))
        return "needs the TensorFlow operator " + name.substr(4) + " (" + name + "), which LiteRT does not have" + kWayOut;
      bool known = false;
      for (std::string_view k : kKnownCustom) known = known || k == op.custom;
      if (!known) return "needs the custom operator " + name + ", which LiteRT does not have" + kWayOut;
    }
  }
  for (const SubgraphDef& graph : model.subgraphs) {
    for (size_t i = 0; i < graph.operators.size(); ++i) {
      const OperatorDef& op = graph.operators[i];
      if (op.code > 209 || op.code < 0 || op.code == 51) return "has " + at(graph, i) + ", which LiteRT does not know" + kWayOut;
      for (const auto* list : {&op.inputs, &op.outputs}) {
        for (int32_t t : *list) {
          if (t < 0) continue;
          const TensorDef& tensor = graph.tensors[static_cast<size_t>(t)];
          if (tensor.type == kVariant || tensor.type == kResource || tensor.has_variant_types)
            return "has " + at(graph, i) + " with a " + type_name(tensor.type) + " tensor, which LiteRT does not run" + kWayOut;
          if (tensor.variable) return "has " + at(graph, i) + " that keeps state in a variable tensor, which LiteRT does not run" + kWayOut;
        }
      }
      if (op.has_intermediates) return "has " + at(graph, i) + " with intermediate tensors, which LiteRT does not run" + kWayOut;
      if (op.mutates_variables) return "has " + at(graph, i) + " that changes its inputs, which LiteRT does not run" + kWayOut;
    }
  }
  return {};
}

std::string check_tensor(const TensorDef& t) {
  const int bits = type_bits(t.type);
  const int64_t count = elements(t.shape);
  if (count < 0) return "has an impossible shape";
  if (bits > 0 && count * bits / 8 > std::numeric_limits<int32_t>::max()) return "is larger than 2 GiB";
  if (t.signature.size() != t.shape.size()) return "has a shape and a shape signature of different rank";
  for (size_t d = 0; d < t.shape.size(); ++d)
    if (t.signature[d] != -1 && t.signature[d] != t.shape[d]) return "has a shape that its shape signature does not allow";
  if (t.external) return "keeps its content in another file";
  if (t.sparse) return "is stored sparse, which is not supported";
  if (t.constant && bits > 0 && t.content_bytes != static_cast<uint64_t>((count * bits + 7) / 8))
    return "holds " + std::to_string(t.content_bytes) + " bytes where its shape calls for " + std::to_string((count * bits + 7) / 8);
  if (t.constant && t.type == kString) {
    // count, count + 1 offsets from the start, bytes
    return {};
  }
  if (!t.blockwise && t.scales && t.scales.size() > 0) {
    const uint32_t n = t.scales.size();
    const uint32_t zeros = t.zero_points ? t.zero_points.size() : 0;
    if (n > 1) {
      if (t.quantized_dimension < 0 || static_cast<size_t>(t.quantized_dimension) >= t.shape.size())
        return "is quantised along dimension " + std::to_string(t.quantized_dimension) + ", which it does not have";
      if (static_cast<int64_t>(n) != t.shape[static_cast<size_t>(t.quantized_dimension)])
        return "has " + std::to_string(n) + " scales for " + std::to_string(t.shape[static_cast<size_t>(t.quantized_dimension)]) +
               " channels";
    }
    if (zeros > 1 && zeros != n) return "has " + std::to_string(zeros) + " zero points for " + std::to_string(n) + " scales";
    for (uint32_t i = 0; i < n; ++i) {
      const float scale = t.scales.at<float>(i);
      // Outside of it LiteRT's fixed-point multipliers end the process.
      if (!(scale > 1e-24f && scale < 1e24f)) return "has a quantisation scale of " + std::to_string(scale);
    }
    for (uint32_t i = 0; i < zeros; ++i) {
      const int64_t zero = t.zero_points.at<int64_t>(i);
      int64_t low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
      if (t.type == kInt8) low = -128, high = 127;
      if (t.type == kUint8) low = 0, high = 255;
      if (t.type == kInt16) low = -32768, high = 32767;
      if (zero < low || zero > high) return "has the zero point " + std::to_string(zero) + ", which its type cannot hold";
    }
  }
  return {};
}

// Every tensor has content, is an input, or is written once before it is read.
std::string check_order(const SubgraphDef& graph) {
  std::vector<uint8_t> ready(graph.tensors.size(), 0), constant(graph.tensors.size(), 0);
  for (size_t i = 0; i < graph.tensors.size(); ++i) ready[i] = constant[i] = graph.tensors[i].constant;
  for (int32_t t : graph.inputs) {
    if (constant[static_cast<size_t>(t)]) return "has an input with content of its own";
    ready[static_cast<size_t>(t)] = 1;
  }
  for (size_t i = 0; i < graph.operators.size(); ++i) {
    for (int32_t t : graph.operators[i].inputs) {
      if (t < 0 || ready[static_cast<size_t>(t)]) continue;
      // A constant without elements has no content.
      if (elements(graph.tensors[static_cast<size_t>(t)].shape) == 0) continue;
      return "has " + at(graph, i) + " that reads tensor " + std::to_string(t) + " before it is written";
    }
    for (int32_t t : graph.operators[i].outputs) {
      if (ready[static_cast<size_t>(t)])
        return "has " + at(graph, i) + " that writes tensor " + std::to_string(t) + ", which has a value already";
      ready[static_cast<size_t>(t)] = 1;
    }
  }
  for (int32_t t : graph.outputs)
    if (!ready[static_cast<size_t>(t)]) return "has output tensor " + std::to_string(t) + " that nothing writes";
  return {};
}

// The subgraphs an operator calls; -1 for those it does not.
std::array<int64_t, 2> called(const OperatorDef& op) {
  switch (op.code) {
    case kIf:
    case kWhile: return {op.options ? op.options.scalar<int32_t>(0) : 0, op.options ? op.options.scalar<int32_t>(1) : 0};
    case kCall: return {op.options ? static_cast<int64_t>(op.options.scalar<uint32_t>(0)) : 0, -1};
    case kCallOnce: return {op.options ? op.options.scalar<int32_t>(0) : 0, -1};
    case kStablehloWhile: return {op.options2 ? op.options2.scalar<int32_t>(0) : 0, op.options2 ? op.options2.scalar<int32_t>(1) : 0};
    case kStablehloComposite: return {op.options2 ? op.options2.scalar<int32_t>(1) : 0, -1};
    default: return {-1, -1};
  }
}

// Whether the index inputs of an operator are one number (or two, for padding) for each dimension.
// clang-format off
bool describes_shape(int32_t code) {
  switch (code) {
    case 22: case 34: case 37: case 38: case 39: case 45: case 60: case 65: case 67: case 69: case 94:
    case 100: case 130: case 141:
      return true;
    default: return false;
  }
}
// clang-format on

std::string check_forms(const TfliteFile& model, size_t index) {
  const SubgraphDef& graph = model.subgraphs[index];
  for (size_t i = 0; i < graph.operators.size(); ++i) {
    const OperatorDef& op = graph.operators[i];
    const OperatorForm form = operator_form(op.code);
    const size_t ins = op.inputs.size(), outs = op.outputs.size();
    if (ins < form.least_inputs || (form.most_inputs != kAny && ins > form.most_inputs) || outs < form.least_outputs ||
        (form.most_outputs != kAny && outs > form.most_outputs))
      return "has " + at(graph, i) + " with " + std::to_string(ins) + " inputs and " + std::to_string(outs) + " outputs";
    for (size_t k = 0; k < ins; ++k) {
      if (op.inputs[k] < 0) {
        if (k < form.least_inputs || !takes_optional_inputs(op.code))
          return "has " + at(graph, i) + " without its input " + std::to_string(k);
        continue;
      }
      const TensorDef& t = graph.tensors[static_cast<size_t>(op.inputs[k])];
      if (k < 32 && (form.index_inputs >> k & 1) && t.type != kInt32 && t.type != kInt64)
        return "has " + at(graph, i) + " whose input " + std::to_string(k) + " is " + type_name(t.type) + " instead of an integer";
      if (k < 32 && (form.index_inputs >> k & 1) && describes_shape(op.code) && elements(t.shape) > 2 * 8)
        return "has " + at(graph, i) + " whose input " + std::to_string(k) + " describes more than 8 dimensions";
    }
    const auto same_shape = [&](size_t in, size_t out) {
      return graph.tensors[static_cast<size_t>(op.inputs[in])].shape == graph.tensors[static_cast<size_t>(op.outputs[out])].shape;
    };
    // Sizes a file only claims would be allocated, and computed on.
    int64_t working = 0;
    for (const auto* list : {&op.inputs, &op.outputs}) {
      for (int32_t t : *list) {
        if (t < 0) continue;
        const TensorDef& tensor = graph.tensors[static_cast<size_t>(t)];
        if (!tensor.constant) working += elements(tensor.shape) * type_bits(tensor.type) / 8;
      }
    }
    if (working > kMaxWorkingBytes) return "has " + at(graph, i) + " that works on " + std::to_string(working) + " bytes at once";
    if (op.code == kDequantize && !same_shape(0, 0)) return "has " + at(graph, i) + " that changes the shape";
    if (const OperatorOptions expected = operator_options(op.code); expected.type != 0) {
      if (op.options_type != expected.type || !op.options) return "has " + at(graph, i) + " without its options";
      for (uint32_t field = 0; field < 32; ++field) {
        if (!(expected.positive_fields >> field & 1)) continue;
        const int32_t value = op.options.scalar<int32_t>(field, expected.defaults_to_one >> field & 1);
        if (value < 1 || value > (1 << 20)) return "has " + at(graph, i) + " with a stride, size or count of " + std::to_string(value);
      }
    }
    const auto option = [&](uint32_t field) { return op.options ? op.options.scalar<int32_t>(field) : 0; };
    if (op.code == kSplit && option(0) != static_cast<int64_t>(outs))
      return "has " + at(graph, i) + " with " + std::to_string(outs) + " outputs for " + std::to_string(option(0)) + " splits";
    if (op.code == kSplitV && option(0) != static_cast<int64_t>(outs))
      return "has " + at(graph, i) + " with " + std::to_string(outs) + " outputs for " + std::to_string(option(0)) + " splits";
    if (op.code == kUnpack && option(0) != static_cast<int64_t>(outs))
      return "has " + at(graph, i) + " with " + std::to_string(outs) + " outputs for " + std::to_string(option(0)) + " parts";
    if (op.code == kPack && option(0) != static_cast<int64_t>(ins))
      return "has " + at(graph, i) + " with " + std::to_string(ins) + " inputs for " + std::to_string(option(0)) + " parts";
    for (int64_t target : called(op)) {
      if (target == -1) continue;
      if (target < 0 || target >= static_cast<int64_t>(model.subgraphs.size()))
        return "has " + at(graph, i) + " that calls subgraph " + std::to_string(target);
    }
  }
  return {};
}

// Whether calls lead back to where they came from, or deeper than any converter goes.
bool calls_recur(const TfliteFile& model, size_t index, int depth, uint64_t& budget) {
  if (depth > 32) return true;
  for (const OperatorDef& op : model.subgraphs[index].operators) {
    for (int64_t target : called(op)) {
      if (target < 0) continue;
      if (budget == 0) return true;
      --budget;
      if (calls_recur(model, static_cast<size_t>(target), depth + 1, budget)) return true;
    }
  }
  return false;
}

// Whether a name can be shown: UTF-8 without control characters.
bool is_text(std::string_view s) {
  for (size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const size_t n = c < 0x80 ? 1 : (c >> 5) == 6 ? 2 : (c >> 4) == 14 ? 3 : (c >> 3) == 30 ? 4 : 0;
    if (n == 0 || c < 0x20 || c == 0x7f || i + n > s.size()) return false;
    for (size_t k = 1; k < n; ++k)
      if ((static_cast<unsigned char>(s[i + k]) & 0xC0) != 0x80) return false;
    i += n;
  }
  return true;
}

}  // namespace

std::string check_tflite(const TfliteFile& model) {
  if (std::string wrong = check_operators(model); !wrong.empty()) return wrong;
  for (size_t g = 0; g < model.subgraphs.size(); ++g) {
    const SubgraphDef& graph = model.subgraphs[g];
    const std::string where = "is damaged: subgraph " + std::to_string(g) + " ";
    for (size_t i = 0; i < graph.tensors.size(); ++i)
      if (std::string wrong = check_tensor(graph.tensors[i]); !wrong.empty())
        return where + "has tensor " + std::to_string(i) + " '" + std::string(graph.tensors[i].name.substr(0, 64)) + "' that " + wrong;
    if (std::string wrong = check_forms(model, g); !wrong.empty()) return where + wrong;
    if (std::string wrong = check_order(graph); !wrong.empty()) return where + wrong;
  }
  uint64_t budget = 1 << 16;
  for (size_t g = 0; g < model.subgraphs.size(); ++g)
    if (calls_recur(model, g, 0, budget)) return "is damaged: its subgraphs call each other in a circle";
  for (const SignatureDef& s : model.signatures) {
    if (s.key.size() > 1024 || !is_text(s.key)) return "is damaged: the name of a signature is no text";
    for (const auto* names : {&s.input_names, &s.output_names})
      for (const std::string& name : *names)
        if (name.size() > 1024 || !is_text(name)) return "is damaged: the name of an input or output is no text";
  }
  return {};
}

Precision executed_precision(const TfliteFile& model) {
  int integer = 0, floating = 0, hybrid = 0;
  bool f16_weights = false;
  for (const SubgraphDef& graph : model.subgraphs) {
    for (const OperatorDef& op : graph.operators) {
      size_t weights = 0;
      // clang-format off
      switch (op.code) {
        case kConv2d: case kDepthwiseConv2d: case kFullyConnected: case kConv3d: case kBatchMatmul: case kLstm: case kRnn: case kSvdf:
        case kSequenceRnn: case kSequenceLstm: case kBidirectionalRnn: case kBidirectionalLstm: weights = 1; break;
        case kTransposeConv: case kConv3dTranspose: weights = 1; break;
        case kDequantize:
          // Its one input is there: the file has been checked.
          f16_weights = f16_weights || graph.tensors[static_cast<size_t>(op.inputs[0])].type == kFloat16;
          continue;
        default: continue;
      }
      // clang-format on
      const size_t data = op.code == kTransposeConv || op.code == kConv3dTranspose ? 2 : 0;
      if (op.inputs.size() <= std::max(weights, data) || op.inputs[data] < 0 || op.inputs[weights] < 0) continue;
      const int8_t x = graph.tensors[static_cast<size_t>(op.inputs[data])].type,
                   w = graph.tensors[static_cast<size_t>(op.inputs[weights])].type;
      if (x == kFloat32 && w == kFloat32)
        ++floating;
      else if (x == kFloat32)
        ++hybrid;
      else
        ++integer;
    }
  }
  const int total = integer + floating + hybrid;
  const std::string of = " of " + std::to_string(total) + " convolutions and matrix products in the file ";
  if (total == 0) {
    for (const SubgraphDef& graph : model.subgraphs)
      for (const TensorDef& t : graph.tensors)
        if (t.type == kFloat32 || t.type == kFloat16)
          return {"f32", "the file has no convolution or matrix product; its arithmetic is on float tensors"};
    return {"int8", "the file has no convolution or matrix product; its arithmetic is on integer tensors"};
  }
  if (integer == total) return {"int8", "all" + of + "have quantised integer inputs and weights"};
  if (floating == total)
    return {"f32", "all" + of + "are on float tensors, which XNNPACK computes in binary32" +
                       (f16_weights ? "; the weights are stored as float16" : "")};
  return {"mixed", "of " + std::to_string(total) + " convolutions and matrix products in the file " + std::to_string(integer) +
                       " have quantised inputs and weights, " + std::to_string(hybrid) +
                       " integer weights with inputs quantised on the fly, " + std::to_string(floating) + " are float"};
}

}  // namespace verge::litert
