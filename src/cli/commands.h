// The commands that are no capability of their own: what is installed, what a zoo holds, one inference from a shell.
// Each returns the process's exit code (see exit_codes.h).
#pragma once

#include <string>
#include <vector>

namespace verge::cli {

int engines_command(bool json);
int doctor_command(bool json);
int models_command(const std::string& path, bool json);
int version_command(bool json);
int schema_command(const std::string& what);  // "model", "config", "transforms"

struct InferOptions {
  std::string model;                // package, zoo with one model, or a model file
  std::vector<std::string> inputs;  // NAME=FILE (.npy; any file for a BYTES input), or FILE where there is one input
  std::string variant;
  int64_t top = 0;                  // print at most this many elements of each output; 0: 16
};
int infer_command(const InferOptions& options);

}  // namespace verge::cli
