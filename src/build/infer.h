// What a bare path says by itself: the kind of source, the model's name, and the files that make it up.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/manifest.h"
#include "core/status.h"

namespace verge::build {

struct Source {
  std::string kind;    // "saved_model", "keras", "h5", "onnx", "tflite", "openvino-ir"
  std::string path;    // absolute: file or folder
  std::string dir;     // what `files` are relative to
  std::string entry;   // the file an engine is given, relative to `dir`; empty: the folder itself
  std::vector<ManifestFile> files;  // all that belongs to the model: a graph's weights beside it, too
  std::string sha256;  // of the content, names included
};

// Finds the kind by name and content, and digests the files. `kind` empty: inferred. Errors say what was expected.
Result<Source> inspect_source(const std::string& path, const std::string& kind);

// Whether the path is a model.yaml rather than a model.
bool is_recipe_path(std::string_view path);

// A model name from a path: "pretrainedResnet" of ".../pretrainedResnet.h5"; of a folder with a name that says nothing
// ("saved_model", "1"), its parent's. Characters that a name cannot hold become '-'.
std::string name_from_path(const std::string& path);

}  // namespace verge::build
