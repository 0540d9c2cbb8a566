// What the plugin needs to know of a .tflite file, read without LiteRT and checked, because LiteRT trusts the meaning of a well-formed
// file: a damaged one can end in a division by zero or a write through a read-only mapping.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "flatbuffer.h"

namespace verge::litert {

// The numbers of the TFLite schema.
enum TfliteType : int8_t {
  kFloat32 = 0,
  kFloat16 = 1,
  kInt32 = 2,
  kUint8 = 3,
  kInt64 = 4,
  kString = 5,
  kBool = 6,
  kInt16 = 7,
  kComplex64 = 8,
  kInt8 = 9,
  kFloat64 = 10,
  kComplex128 = 11,
  kUint64 = 12,
  kResource = 13,
  kVariant = 14,
  kUint32 = 15,
  kUint16 = 16,
  kInt4 = 17,
  kBfloat16 = 18,
  kInt2 = 19,
  kUint4 = 20,
};

// Bits of one element; 0 for types without a fixed size.
int type_bits(int8_t type);
const char* type_name(int8_t type);
// "CONV_2D"; "operator 123" for numbers past the table.
std::string operator_name(int32_t code);

struct TensorDef {
  std::string_view name;
  int8_t type = 0;
  std::vector<int32_t> shape;
  std::vector<int32_t> signature;  // as shape, -1 where a dimension is free; equals shape where the file has none
  bool constant = false;           // has content in the file
  uint64_t content_at = 0, content_bytes = 0;
  bool variable = false, sparse = false, has_variant_types = false, external = false;
  FlatVector scales, zero_points;
  int32_t quantized_dimension = 0;
  bool blockwise = false;
};

struct OperatorDef {
  int32_t code = 0;
  std::string_view custom;
  std::vector<int32_t> inputs, outputs;
  uint8_t options_type = 0;
  FlatTable options, options2;
  bool has_intermediates = false, mutates_variables = false;
};

struct SubgraphDef {
  std::string_view name;
  std::vector<TensorDef> tensors;
  std::vector<OperatorDef> operators;
  std::vector<int32_t> inputs, outputs;
};

struct SignatureDef {
  std::string key;
  uint32_t subgraph = 0;
  std::vector<std::string> input_names, output_names;  // in the order of the subgraph's inputs and outputs
};

// Stays where it is: the parts point to `file`.
struct TfliteFile {
  TfliteFile() = default;
  TfliteFile(const TfliteFile&) = delete;
  TfliteFile& operator=(const TfliteFile&) = delete;

  FlatBuffer file{nullptr, 0};
  std::vector<SubgraphDef> subgraphs;
  std::vector<SignatureDef> signatures;  // at least one; the key of a file without signatures is empty
  uint64_t weight_bytes = 0;
};

// Reads the structure into a fresh `out`; the views point into `data`. Returns what is wrong, or an empty string. Fills every index and
// bounds-checks it.
std::string parse_tflite(const uint8_t* data, size_t size, TfliteFile& out);

// Why LiteRT must not be given this file: operators it does not have, or a graph that does not hold together. Empty: none.
std::string check_tflite(const TfliteFile& model);

struct Precision {
  std::string executed;  // as verge_model_info
  std::string source;
};
// Of the whole file: the types of its convolutions, matrix products and recurrent layers.
Precision executed_precision(const TfliteFile& model);

}  // namespace verge::litert
