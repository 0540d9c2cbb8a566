#include "build/build_key.h"

#include <set>

#include "os/files.h"

namespace verge::build {
namespace {

Status digest_sources(const std::string& dir, const std::string& prefix, std::string& lines) {
  VERGE_ASSIGN(std::vector<std::string> names, os::list_dir(dir));
  for (const std::string& name : names) {
    std::string path = os::join(dir, name);
    if (os::is_dir(path)) {
      if (name != "__pycache__") VERGE_RETURN_IF_ERROR(digest_sources(path, prefix + name + "/", lines));
    } else if (name.ends_with(".py")) {
      VERGE_ASSIGN(std::string digest, os::sha256_file(path));
      lines += prefix + name + "\t" + digest + "\n";
    }
  }
  return {};
}

// Identity of a path that may be a file or a folder; a key or column name has none of its own.
Status add_path(const std::string& path, std::string& lines) {
  if (path.empty() || !os::exists(path)) {
    lines += "name " + os::base_name(path) + "\n";
    return {};
  }
  if (os::is_dir(path)) {
    VERGE_ASSIGN(std::vector<ManifestFile> files, os::digest_tree(path));
    lines += "folder " + folder_digest(std::move(files)) + "\n";
  } else {
    VERGE_ASSIGN(std::string digest, os::sha256_file(path));
    lines += "file " + digest + "\n";
  }
  return {};
}

}  // namespace

Result<std::string> toolchain_identity() {
  const os::Install& install = os::install();
  if (!os::exists(install.toolchain_python) || install.python_dir.empty()) return std::string("none");
  std::string lines;
  std::string requirements = os::join(install.python_dir, "toolchain-requirements.txt");
  if (os::exists(requirements)) {
    VERGE_ASSIGN(std::string digest, os::sha256_file(requirements));
    lines += "requirements\t" + digest + "\n";
  }
  VERGE_RETURN_IF_ERROR(digest_sources(os::join(install.python_dir, "verge_toolchain"), "", lines));
  return os::sha256_hex(lines);
}

Result<std::string> dataset_identity(const data::DatasetSpec& spec) {
  std::string lines = "format " + spec.format + "\n" + std::string(dtype_name(spec.dtype)) + " " + spec.shape.to_string() + "\n" +
                      std::to_string(spec.first) + " " + std::to_string(spec.last) + "\n";
  for (const std::string& c : spec.columns) lines += "column " + c + "\n";
  // Folder names are labels and file names decide formats: both belong to what the samples are.
  lines += "name " + os::base_name(spec.path) + "\n";
  VERGE_RETURN_IF_ERROR(add_path(spec.path, lines));
  for (const auto& [name, file] : spec.inputs) {
    lines += "input " + name + "\n";
    VERGE_RETURN_IF_ERROR(add_path(file, lines));
  }
  lines += "labels\n";
  VERGE_RETURN_IF_ERROR(add_path(spec.labels, lines));
  return os::sha256_hex(lines);
}

std::string package_key(const KeyParts& p) {
  Json j;
  j["build_format"] = kBuildFormat;
  j["manifest_format"] = Manifest::kFormat;
  j["name"] = p.name;
  j["source"] = p.source_sha256;
  j["kind"] = p.source_kind;
  j["recipe"] = p.recipe;
  j["labels"] = p.labels_sha256;
  j["calibration"] = p.calibration;
  j["evaluation"] = p.evaluation;
  j["toolchain"] = p.toolchain;
  j["engines"] = p.engines;
  j["cpu"] = p.cpu_flags;
  return os::sha256_hex(j.dump());
}

std::string incomplete_key(const std::string& key) { return os::sha256_hex("incomplete\n" + key); }

std::string conversion_key(const KeyParts& p, const ConversionTarget& target, const std::string& signature, const std::vector<int64_t>& batches) {
  Json j;
  j["build_format"] = kBuildFormat;
  j["source"] = p.source_sha256;
  j["kind"] = p.source_kind;
  j["signature"] = signature;
  j["toolchain"] = p.toolchain;
  j["format"] = target.format;
  j["precision"] = target.precision;
  j["form"] = target.form;
  j["batches"] = batches;
  if (p.recipe.contains("exits")) j["exits"] = p.recipe["exits"];
  if (p.recipe.contains("batch")) j["batch"] = p.recipe["batch"];
  if (target.precision == "int8") {
    // Calibration runs the network over the samples as the input chains make them, on this class of CPU.
    j["calibration"] = p.calibration;
    j["inputs"] = p.recipe.contains("inputs") ? p.recipe["inputs"] : Json();
    j["cpu"] = p.cpu_flags;
  }
  return os::sha256_hex(j.dump());
}

}  // namespace verge::build
