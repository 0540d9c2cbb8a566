// `verge infer`: one inference from a shell, through the runtime that a server uses, without a server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace verge::serve {

struct InferOptions {
  std::string model;                // package, zoo with one model, or a model file
  std::vector<std::string> inputs;  // NAME=FILE, or FILE where there is one input: .npy; any file for a BYTES input, such as an image
  std::string variant;              // empty: the one a server would choose
  int64_t top = 16;                 // elements printed of each output
};

// Prints the answer as JSON. Returns 0; 1 the inference failed; 2 a wrong path, input name or file; 3 something is missing here.
int infer_main(const InferOptions& options);

}  // namespace verge::serve
