#include "tflite_file.h"

#include <algorithm>

namespace verge::litert {
namespace {

constexpr uint32_t kMaxRank = 8;
constexpr int32_t kCustomCode = 32;

// clang-format off
const char* const kTypeNames[] = {
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64", "complex128", "uint64",
    "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4", "float8_e4m3fn", "float8_e5m2"};
// clang-format on

// In the schema's order.
// clang-format off
const char* const kOperatorNames[] = {
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "EMBEDDING_LOOKUP", "FLOOR",
    "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D", "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION",
    "LSTM", "MAX_POOL_2D", "MUL", "RELU", "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF",
    "TANH", "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER",
    "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB", "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE",
    "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT", "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU",
    "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS", "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN",
    "TRANSPOSE_CONV", "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE",
    "POW", "ARG_MIN",
    "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN",
    "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL", "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU",
    "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS", "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE",
    "RANK", "ELU",
    "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE", "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM", "BATCH_MATMUL", "PLACEHOLDER", "CUMSUM", "CALL_ONCE",
    "BROADCAST_TO", "RFFT2D", "CONV_3D", "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE",
    "REDUCE_ALL", "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL",
    "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD",
    "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT"};
// clang-format on

class Parser {
 public:
  Parser(const uint8_t* data, size_t size, TfliteFile& out) : out_(out), file_(&out.file), budget_(uint64_t{4} * size + (1 << 20)) {
    out.file = FlatBuffer(data, size);
  }

  std::string run() {
    if (file_->size() < 16 || std::memcmp(file_->data() + 4, "TFL3", 4) != 0)
      return "is not a TFLite file (its identifier TFL3 is missing)";
    const FlatTable model = FlatTable::root(file_);
    if (!model) return "is damaged: its root table is outside the file";
    if (const uint32_t version = model.scalar<uint32_t>(0); version != 3 && !file_->broken())
      return "has TFLite schema version " + std::to_string(version) + "; 3 is supported";
    codes_ = model.vector(1, 4);
    buffers_ = model.vector(4, 4);
    if (const FlatVector external = model.vector(9, 4); external && external.size() > 0)
      return "keeps weights in other files (external buffers), which is not supported";
    const FlatVector subgraphs = model.vector(2, 4);
    if (!subgraphs || subgraphs.size() == 0) return "is damaged: it has no subgraph";
    for (uint32_t i = 0; i < subgraphs.size(); ++i) {
      out_.subgraphs.emplace_back();
      const FlatTable table = FlatTable::element(subgraphs, i);
      if (!table) return "is damaged: subgraph " + std::to_string(i) + " is outside the file";
      std::string wrong = subgraph(table, out_.subgraphs.back());
      if (!wrong.empty()) return "is damaged: subgraph " + std::to_string(i) + " " + wrong;
    }
    if (std::string wrong = signatures(model.vector(7, 4)); !wrong.empty()) return "is damaged: " + wrong;
    const FlatVector metadata = model.vector(6, 4);
    for (uint32_t i = 0; metadata && i < metadata.size(); ++i) {
      const FlatTable entry = FlatTable::element(metadata, i);
      if (!entry || !spend(1) || !entry.vector(0, 1) || !buffer_ok(entry.scalar<uint32_t>(1)))
        return "is damaged: metadata entry " + std::to_string(i);
    }
    if (file_->broken()) return "is damaged: an offset points outside the file";
    return {};
  }

 private:
  // Files can make many tables share one large vector; the work is bounded by a multiple of the file's size.
  bool spend(uint64_t elements) {
    if (elements > budget_) {
      file_->mark_broken();
      return false;
    }
    budget_ -= elements;
    return !file_->broken();
  }

  bool ints(const FlatVector& v, std::vector<int32_t>& out) {
    if (!v) return true;
    if (!spend(uint64_t{v.size()} + 1)) return false;
    out.resize(v.size());
    for (uint32_t i = 0; i < v.size(); ++i) out[i] = v.at<int32_t>(i);
    return !file_->broken();
  }

  // Where a buffer's content stands. False when its range is outside the file.
  bool content(uint32_t index, uint64_t& at, uint64_t& bytes) {
    at = bytes = 0;
    if (!buffers_ || index >= buffers_.size()) return false;
    const FlatTable buffer = FlatTable::element(buffers_, index);
    if (!buffer) return false;
    if (const uint64_t offset = buffer.scalar<uint64_t>(1); offset > 1) {
      const uint64_t size = buffer.scalar<uint64_t>(2);
      if (!file_->covers(offset, size)) return false;
      at = offset;
      bytes = size;
      return true;
    }
    if (const FlatVector data = buffer.vector(0, 1)) {
      at = data.begin();
      bytes = data.size();
    }
    return !file_->broken();
  }
  bool buffer_ok(uint32_t index) {
    uint64_t at, bytes;
    return content(index, at, bytes);
  }

  std::string subgraph(const FlatTable& table, SubgraphDef& out) {
    out.name = table.string(4);
    const FlatVector tensors = table.vector(0, 4), operators = table.vector(3, 4);
    const uint32_t tensor_count = tensors ? tensors.size() : 0;
    if (!ints(table.vector(1, 4), out.inputs) || !ints(table.vector(2, 4), out.outputs)) return "has inputs or outputs outside the file";
    for (const auto* list : {&out.inputs, &out.outputs})
      for (int32_t i : *list)
        if (i < 0 || static_cast<uint32_t>(i) >= tensor_count)
          return "names input or output tensor " + std::to_string(i) + " of " + std::to_string(tensor_count);
    for (uint32_t i = 0; i < tensor_count; ++i) {
      const FlatTable entry = FlatTable::element(tensors, i);
      out.tensors.emplace_back();
      if (!entry || !spend(8)) return "has tensor " + std::to_string(i) + " outside the file";
      if (std::string wrong = tensor(entry, out.tensors.back()); !wrong.empty()) return "has tensor " + std::to_string(i) + " " + wrong;
    }
    for (uint32_t i = 0; operators && i < operators.size(); ++i) {
      const FlatTable entry = FlatTable::element(operators, i);
      out.operators.emplace_back();
      if (!entry || !spend(8)) return "has operator " + std::to_string(i) + " outside the file";
      if (std::string wrong = op(entry, tensor_count, out.operators.back()); !wrong.empty())
        return "has operator " + std::to_string(i) + " " + wrong;
    }
    return {};
  }

  std::string tensor(const FlatTable& table, TensorDef& out) {
    out.name = table.string(3);
    out.type = table.scalar<int8_t>(1);
    if (out.type < 0 || out.type >= static_cast<int8_t>(std::size(kTypeNames))) return "of unknown type " + std::to_string(out.type);
    for (const uint32_t field : {0u, 7u}) {
      const FlatVector dims = table.vector(field, 4);
      if (dims && dims.size() > kMaxRank) return "with " + std::to_string(dims.size()) + " dimensions; at most 8 are supported";
      if (!ints(dims, field == 0 ? out.shape : out.signature)) return "with its shape outside the file";
    }
    if (out.signature.empty()) out.signature = out.shape;
    const uint32_t buffer = table.scalar<uint32_t>(2);
    if (buffer != 0) {
      if (!content(buffer, out.content_at, out.content_bytes)) return "whose content is outside the file";
      out.constant = out.content_bytes > 0;
    }
    out.variable = table.scalar<uint8_t>(5) != 0;
    out.sparse = static_cast<bool>(table.table(6));
    if (const FlatVector variants = table.vector(9, 4)) out.has_variant_types = variants.size() > 0;
    out.external = table.scalar<uint32_t>(10) != 0;
    if (const FlatTable q = table.table(4)) {
      out.scales = q.vector(2, 4);
      out.zero_points = q.vector(3, 8);
      out.quantized_dimension = q.scalar<int32_t>(6);
      out.blockwise = q.scalar<uint8_t>(4) == 2;
      for (const FlatVector* v : {&out.scales, &out.zero_points})
        if (*v && !spend(v->size())) return "with quantisation outside the file";
    }
    return file_->broken() ? "that is outside the file" : std::string();
  }

  std::string op(const FlatTable& table, uint32_t tensor_count, OperatorDef& out) {
    const uint32_t index = table.scalar<uint32_t>(0);
    const FlatTable code = codes_ && index < codes_.size() ? FlatTable::element(codes_, index) : FlatTable();
    if (!code) return "of unknown operator code " + std::to_string(index);
    out.code = std::max<int32_t>(code.scalar<int8_t>(0), code.scalar<int32_t>(3));
    if (out.code == kCustomCode) out.custom = code.string(1);
    if (!ints(table.vector(1, 4), out.inputs) || !ints(table.vector(2, 4), out.outputs)) return "with inputs or outputs outside the file";
    for (int32_t i : out.inputs)
      if (i < -1 || (i >= 0 && static_cast<uint32_t>(i) >= tensor_count)) return "that reads tensor " + std::to_string(i);
    for (int32_t i : out.outputs)
      if (i < 0 || static_cast<uint32_t>(i) >= tensor_count) return "that writes tensor " + std::to_string(i);
    out.options_type = table.scalar<uint8_t>(3);
    out.options = table.table(4);
    out.options2 = table.table(12);
    if (const FlatVector v = table.vector(8, 4)) out.has_intermediates = v.size() > 0;
    const FlatVector mutating = table.vector(7, 1);
    for (uint32_t i = 0; mutating && i < mutating.size() && spend(1); ++i)
      out.mutates_variables = out.mutates_variables || mutating.at<uint8_t>(i) != 0;
    return file_->broken() ? "that is outside the file" : std::string();
  }

  std::string signatures(const FlatVector& defs) {
    for (uint32_t i = 0; defs && i < defs.size(); ++i) {
      const FlatTable table = FlatTable::element(defs, i);
      if (!table || !spend(8)) return "signature " + std::to_string(i) + " is outside the file";
      SignatureDef s;
      s.key = std::string(table.string(2));
      s.subgraph = table.scalar<uint32_t>(4);
      if (s.subgraph >= out_.subgraphs.size()) return "signature '" + s.key + "' names subgraph " + std::to_string(s.subgraph);
      const SubgraphDef& graph = out_.subgraphs[s.subgraph];
      if (!names(table.vector(0, 4), graph, graph.inputs, s.input_names) ||
          !names(table.vector(1, 4), graph, graph.outputs, s.output_names))
        return "signature '" + s.key + "' does not match the inputs and outputs of its subgraph";
      out_.signatures.push_back(std::move(s));
    }
    if (out_.signatures.empty()) {
      SignatureDef s;
      for (int32_t t : out_.subgraphs[0].inputs) s.input_names.emplace_back(out_.subgraphs[0].tensors[static_cast<size_t>(t)].name);
      for (int32_t t : out_.subgraphs[0].outputs) s.output_names.emplace_back(out_.subgraphs[0].tensors[static_cast<size_t>(t)].name);
      out_.signatures.push_back(std::move(s));
    }
    return {};
  }

  // A signature maps names to tensors in any order; LiteRT counts in the subgraph's order.
  bool names(const FlatVector& maps, const SubgraphDef& graph, const std::vector<int32_t>& tensors, std::vector<std::string>& out) {
    if ((maps ? maps.size() : 0) != tensors.size() || !spend(tensors.size() + 1)) return false;
    for (int32_t t : tensors) out.emplace_back(graph.tensors[static_cast<size_t>(t)].name);
    for (uint32_t i = 0; i < tensors.size(); ++i) {
      const FlatTable map = FlatTable::element(maps, i);
      if (!map || !spend(tensors.size())) return false;
      const uint32_t index = map.scalar<uint32_t>(1);
      bool found = false;
      for (size_t k = 0; k < tensors.size(); ++k) {
        if (static_cast<uint32_t>(tensors[k]) != index) continue;
        found = true;
        if (const std::string_view name = map.string(0); !name.empty()) out[k] = std::string(name);
      }
      if (!found) return false;
    }
    return !file_->broken();
  }

  TfliteFile& out_;
  FlatBuffer* file_;
  FlatVector codes_, buffers_;
  uint64_t budget_;
};

}  // namespace

// clang-format off
int type_bits(int8_t type) {
  switch (type) {
    case kFloat32: case kInt32: case kUint32: return 32;
    case kFloat16: case kInt16: case kUint16: case kBfloat16: return 16;
    case kUint8: case kInt8: case kBool: case 21: case 22: return 8;
    case kInt64: case kFloat64: case kUint64: case kComplex64: return 64;
    case kComplex128: return 128;
    case kInt4: case kUint4: return 4;
    case kInt2: return 2;
    default: return 0;
  }
}
// clang-format on

const char* type_name(int8_t type) { return type >= 0 && type < static_cast<int8_t>(std::size(kTypeNames)) ? kTypeNames[type] : "unknown"; }

std::string operator_name(int32_t code) {
  if (code >= 0 && code < static_cast<int32_t>(std::size(kOperatorNames))) return kOperatorNames[code];
  return "operator " + std::to_string(code);
}

std::string parse_tflite(const uint8_t* data, size_t size, TfliteFile& out) {
  std::string wrong = Parser(data, size, out).run();
  if (!wrong.empty()) return wrong;
  for (const SubgraphDef& graph : out.subgraphs)
    for (const TensorDef& tensor : graph.tensors) out.weight_bytes += tensor.content_bytes;
  return {};
}

}  // namespace verge::litert
