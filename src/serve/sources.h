// From what lies on disk to what the runtime serves: zoos, packages, bare model files.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "package/package.h"
#include "runtime/runtime.h"
#include "serve/config.h"
#include "serve/log.h"

namespace verge::serve {

// What all sources share. Outlives the runtime.
struct Environment {
  Config config;
  std::shared_ptr<engine::Catalog> catalog;
  Device device;
  Log* log = nullptr;
  std::string worker_log_dir;  // empty: none
};

// Something to serve, found but not yet looked into.
struct Found {
  std::string name;           // by the zoo's folders, or the file's name
  int64_t version = 1;
  bool named_by_manifest = false;  // the folders say nothing
  std::string package_dir;  // a package; else
  std::string model_path;   // a bare model
};

// What a path is.
struct Place {
  enum class Kind { kZoo, kModel, kPackage, kBare };  // ZOO, ZOO/NAME, ZOO/NAME/VERSION, a model's file or folder
  Kind kind = Kind::kZoo;
  std::string dir;  // absolute
};
Result<Place> find_place(const std::string& path);
// The versions in ZOO/NAME, ascending: folders with a number that have a manifest.
Result<std::vector<Found>> find_versions(const std::string& model_dir);
// The one at a place that is no zoo and no ZOO/NAME.
Found find_single(const Place& place);

// `path` is a zoo, ZOO/NAME, ZOO/NAME/VERSION, or a model: .onnx, .tflite, OpenVINO .xml, a SavedModel folder. A zoo may be empty.
Result<std::vector<Found>> find_models(const std::string& path);

// Opens, checks and chooses. What is wrong is in the source's `broken` or `no_default`. Where this device has no profile it measures in
// workers, or, unless it `may_measure`, returns nullptr.
std::shared_ptr<runtime::ModelSource> open_source(const Environment& env, const Found& found, bool may_measure = true);

// A bare model: its signature and speed in every engine that can read it are found in workers; no package is written.
Result<std::shared_ptr<runtime::ModelSource>> open_bare(const Environment& env, const Found& found);
// What is known of the package's variants on this device without measuring anything. kNotFound: nothing.
Result<Profile> known_profile(const Environment& env, const package::Package& package);
// "onnx", "tflite", "openvino-ir", "saved_model" by the path's form; empty: no model.
std::string bare_format(const std::string& path);

// A folder for the engine's compiled blobs of one variant, made; empty where there can be none.
std::string variant_cache_dir(const Environment& env, const std::string& key, const std::string& variant);

}  // namespace verge::serve
