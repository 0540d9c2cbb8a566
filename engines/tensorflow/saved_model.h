// What the plugin reads of a SavedModel itself: its signatures, and whether its graph only computes. A graph can open files, run Python and
// load code; such operators are looked for before TensorFlow sees it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace verge::tensorflow {

struct TensorEntry {
  std::string name;    // in the signature
  std::string tensor;  // "node:0"
  int dtype = 0;       // TensorFlow's number
  bool unknown_rank = true;
  std::vector<int64_t> dims;  // -1: free
};

struct SignatureEntry {
  std::string key;
  std::vector<TensorEntry> inputs, outputs;  // ordered by name, numbers in names by value
  std::string unsupported;                   // why it cannot be served; empty: it can
};

struct SavedModel {
  std::vector<SignatureEntry> signatures;
  std::map<int, int> product_types;  // of convolutions and matrix products: dtype -> how many
  bool has_variables = false;
  bool keeps_state = false;  // a signature reaches operators that store tensors
};

// Reads the bytes of saved_model.pb, the graph tagged "serve". Returns what is wrong or not allowed, or an empty string.
std::string read_saved_model(std::string_view bytes, SavedModel& out);

const char* tf_type_name(int dtype);

}  // namespace verge::tensorflow
