#include "build/infer.h"

#include <algorithm>
#include <array>
#include <set>

#include "os/files.h"

namespace verge::build {
namespace {

constexpr uint64_t kMaxModelBytes = uint64_t{16} << 30;

struct KindRow {
  std::string_view extension;
  std::string_view kind;
  std::string_view magic;  // expected at `offset`; empty: any
  size_t offset;
};

using namespace std::string_view_literals;
constexpr std::array<KindRow, 6> kKinds = {{
    {".keras", "keras", "PK\x03\x04"sv, 0},
    {".h5", "h5", "\x89HDF\r\n\x1a\n"sv, 0},
    {".hdf5", "h5", "\x89HDF\r\n\x1a\n"sv, 0},
    {".onnx", "onnx", "", 0},
    {".tflite", "tflite", "TFL3"sv, 4},
    {".xml", "openvino-ir", "", 0},
}};

constexpr std::string_view kExpected = "a SavedModel folder, .keras, .h5, .onnx, .tflite, OpenVINO .xml, or a model.yaml";

std::string without_extension(const std::string& file) {
  size_t dot = file.rfind('.');
  return dot == std::string::npos || dot == 0 ? file : file.substr(0, dot);
}

Status add_file(Source& s, const std::string& name) {
  std::string path = os::join(s.dir, name);
  VERGE_ASSIGN(uint64_t size, os::file_size(path));
  if (size > kMaxModelBytes) return resource_exhausted(path + ": " + std::to_string(size) + " bytes; models of at most 16 GiB are accepted");
  VERGE_ASSIGN(std::string digest, os::sha256_file(path));
  s.files.push_back({name, size, digest});
  return {};
}

// Files that hold an ONNX graph's weights: the values of its `location` entries (StringStringEntryProto: key = 1, value = 2). What only looks
// like one and names no file is ignored; what climbs out of the model's folder is refused.
Status add_external_data(Source& s) {
  constexpr std::string_view kEntry = "\x0a\x08location\x12";
  VERGE_ASSIGN(os::MappedFile file, os::MappedFile::open(s.path, kMaxModelBytes));
  std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  std::set<std::string> names;
  for (size_t at = text.find(kEntry); at != std::string_view::npos; at = text.find(kEntry, at + kEntry.size())) {
    size_t begin = at + kEntry.size();
    size_t length = begin < text.size() ? static_cast<unsigned char>(text[begin]) : 0;
    if (length >= 128 && begin + 1 < text.size()) length = (length & 127) | static_cast<size_t>(static_cast<unsigned char>(text[++begin])) << 7;
    if (length == 0 || length > 512 || text.size() - begin - 1 < length) continue;
    std::string name(text.substr(begin + 1, length));
    if (name.starts_with("./")) name = name.substr(2);
    if (!valid_relative_path(name)) {
      return failed_precondition(s.path + ": its external data '" + name + "' lie outside the model's folder, which is refused; save the model with its data beside it");
    }
    if (os::exists(os::join(s.dir, name))) names.insert(name);
    if (names.size() > 4096) return resource_exhausted(s.path + ": more than 4096 files of external data");
  }
  for (const std::string& name : names) VERGE_RETURN_IF_ERROR(add_file(s, name));
  return {};
}

Status check_magic(const std::string& path, const KindRow& row) {
  if (row.magic.empty()) return {};
  VERGE_ASSIGN(os::MappedFile file, os::MappedFile::open(path, kMaxModelBytes));
  auto bytes = file.bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.size() < row.offset + row.magic.size() || text.substr(row.offset, row.magic.size()) != row.magic) {
    return invalid_argument(path + ": the name says " + std::string(row.kind) + ", the content does not (damaged, or another format)");
  }
  return {};
}

Result<Source> saved_model(const std::string& path) {
  Source s;
  s.kind = "saved_model";
  s.path = s.dir = path;
  if (!os::exists(os::join(path, "saved_model.pb"))) {
    return invalid_argument(path + ": the folder holds no saved_model.pb; expected " + std::string(kExpected));
  }
  VERGE_ASSIGN(s.files, os::digest_tree(path));
  return s;
}

}  // namespace

bool is_recipe_path(std::string_view path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

Result<Source> inspect_source(const std::string& given, const std::string& kind) {
  if (!os::exists(given)) return not_found(given + ": no such model");
  VERGE_ASSIGN(std::string path, os::absolute(given));
  Source s;
  if (os::is_dir(path)) {
    if (!kind.empty() && kind != "saved_model") return invalid_argument(path + ": a folder, but the kind is " + kind);
    VERGE_ASSIGN(s, saved_model(path));
  } else {
    std::string file = os::base_name(path);
    if (file.ends_with(".pb")) {
      return invalid_argument(path + ": for a SavedModel, name its folder (" + os::dir_name(path) + "); a frozen graph alone has no signature");
    }
    auto row = std::find_if(kKinds.begin(), kKinds.end(), [&](const KindRow& r) { return kind.empty() ? file.ends_with(r.extension) : r.kind == kind; });
    if (row == kKinds.end()) return invalid_argument(path + ": unknown kind of model; expected " + std::string(kExpected));
    VERGE_RETURN_IF_ERROR(check_magic(path, *row));
    s.kind = row->kind;
    s.path = path;
    s.dir = os::dir_name(path);
    s.entry = file;
    std::string stem = without_extension(file);
    VERGE_RETURN_IF_ERROR(add_file(s, file));
    if (s.kind == "openvino-ir") {
      if (!os::exists(os::join(s.dir, stem + ".bin"))) return invalid_argument(path + ": its weights " + stem + ".bin are not beside it");
      VERGE_RETURN_IF_ERROR(add_file(s, stem + ".bin"));
    } else if (s.kind == "onnx") {
      VERGE_RETURN_IF_ERROR(add_external_data(s));
    }
  }
  s.sha256 = folder_digest(s.files);
  return s;
}

std::string name_from_path(const std::string& path) {
  std::string full = path;
  if (auto absolute = os::absolute(path); absolute.ok()) full = *absolute;
  std::string base = os::base_name(full);
  bool folder = os::is_dir(full);
  std::string stem = folder ? base : without_extension(base);
  bool number = !stem.empty() && std::all_of(stem.begin(), stem.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (number || stem == "saved_model" || stem == "savedmodel" || stem == "model") {
    std::string parent = os::base_name(os::dir_name(full));
    if (!parent.empty() && parent != "/" && parent != ".") stem = parent;
  }
  std::string name;
  for (char c : stem) {
    bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    name += fine ? c : '-';
  }
  size_t first = name.find_first_not_of("._-");
  name = first == std::string::npos ? "" : name.substr(first, 128);
  return name.empty() ? "model" : name;
}

}  // namespace verge::build
