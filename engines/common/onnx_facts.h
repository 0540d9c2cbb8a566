/* Reads an ONNX file's graph far enough to say which operators it holds, how large its weights are, and whether it points to files outside
 * its folder. A bounded walk over the protobuf wire format; nothing is believed of a length that passes its parent's end. */
#ifndef VERGE_ENGINES_COMMON_ONNX_FACTS_H_
#define VERGE_ENGINES_COMMON_ONNX_FACTS_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/plugin.h"

namespace verge_plugin {

struct OnnxFacts {
  std::map<std::string, int> operators;  // op_type -> nodes, subgraphs included
  uint64_t weight_bytes = 0;             // in the file; external data apart
  std::vector<std::string> external;     // locations of external data, as written
};

class OnnxReader {
 public:
  // False where the bytes are no protobuf message of an ONNX model.
  static bool read(std::string_view bytes, OnnxFacts& facts) {
    OnnxReader reader(facts);
    return reader.message(bytes, kModel, 0) && reader.saw_graph_;
  }

 private:
  enum Kind { kModel, kGraph, kNode, kAttribute, kTensor, kSparseTensor, kFunction, kEntry };
  static constexpr int kMaxDepth = 64;
  static constexpr size_t kMaxExternal = 100'000;

  explicit OnnxReader(OnnxFacts& facts) : facts_(facts) {}

  static bool varint(std::string_view& in, uint64_t& out) {
    out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (in.empty()) return false;
      uint8_t byte = static_cast<uint8_t>(in.front());
      in.remove_prefix(1);
      out |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (!(byte & 0x80)) return true;
    }
    return false;
  }

  bool message(std::string_view in, Kind kind, int depth) {
    if (depth > kMaxDepth) return false;
    std::string_view key;
    while (!in.empty()) {
      uint64_t tag;
      if (!varint(in, tag)) return false;
      const uint64_t field = tag >> 3;
      std::string_view content;
      switch (tag & 7) {
        case 0: {
          uint64_t ignored;
          if (!varint(in, ignored)) return false;
          continue;
        }
        case 1:
        case 5: {
          size_t n = (tag & 7) == 1 ? 8 : 4;
          if (in.size() < n) return false;
          in.remove_prefix(n);
          continue;
        }
        case 2: {
          uint64_t n;
          if (!varint(in, n) || n > in.size()) return false;
          content = in.substr(0, n);
          in.remove_prefix(n);
          break;
        }
        default:
          return false;
      }
      if (!submessage(kind, field, content, key, depth)) return false;
    }
    return true;
  }

  bool submessage(Kind kind, uint64_t field, std::string_view content, std::string_view& key, int depth) {
    switch (kind) {
      case kModel:
        if (field == 7) {
          saw_graph_ = true;
          return message(content, kGraph, depth + 1);
        }
        return field != 25 || message(content, kFunction, depth + 1);
      case kGraph:
        if (field == 1) return message(content, kNode, depth + 1);
        if (field == 5) return message(content, kTensor, depth + 1);
        return field != 15 || message(content, kSparseTensor, depth + 1);
      case kFunction:
        return field != 7 || message(content, kNode, depth + 1);
      case kNode:
        if (field == 4 && content.size() <= 256) ++facts_.operators[std::string(content)];
        return field != 5 || message(content, kAttribute, depth + 1);
      case kAttribute:
        if (field == 5 || field == 10) return message(content, kTensor, depth + 1);
        if (field == 6 || field == 11) return message(content, kGraph, depth + 1);
        return (field != 22 && field != 23) || message(content, kSparseTensor, depth + 1);
      case kSparseTensor:
        return (field != 1 && field != 2) || message(content, kTensor, depth + 1);
      case kTensor:
        if (field == 13) return message(content, kEntry, depth + 1);
        // float, int32, string, int64, raw, double and uint64 data.
        if ((field >= 4 && field <= 7) || (field >= 9 && field <= 11)) facts_.weight_bytes += content.size();
        return true;
      case kEntry:
        if (field == 1) key = content;
        if (field == 2 && key == "location") {
          if (facts_.external.size() >= kMaxExternal || content.size() > PATH_MAX) return false;
          facts_.external.emplace_back(content);
        }
        return true;
    }
    return false;
  }

  OnnxFacts& facts_;
  bool saw_graph_ = false;
};

// Whether a relative path leaves its folder by "..".
inline bool climbs_out(std::string_view path) {
  int depth = 0;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (part.empty() || part == ".") continue;
    depth += part == ".." ? -1 : 1;
    if (depth < 0) return true;
  }
  return false;
}

// Reads `path` and throws where it is no ONNX file or refers to files outside its own folder.
inline OnnxFacts read_onnx_facts(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(VERGE_NOT_FOUND, path + ": cannot be read");
  struct stat s;
  if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size <= 0) {
    ::close(fd);
    invalid(path + ": no file, or empty");
  }
  size_t size = static_cast<size_t>(s.st_size);
  void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (map == MAP_FAILED) fail(VERGE_RESOURCE_EXHAUSTED, path + ": cannot be mapped");
  OnnxFacts facts;
  bool sound = false;
  try {
    sound = OnnxReader::read({static_cast<const char*>(map), size}, facts);
  } catch (...) {
    munmap(map, size);
    throw;
  }
  munmap(map, size);
  if (!sound) fail(VERGE_DATA_LOSS, path + ": is no ONNX model, or is damaged or cut off");

  size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
  char resolved_folder[PATH_MAX];
  for (const std::string& location : facts.external) {
    auto refuse = [&] { fail(VERGE_PERMISSION_DENIED, path + ": refers to weights outside the model's folder: '" + location + "'"); };
    if (location.empty() || location[0] == '/' || climbs_out(location) || location.find('\0') != std::string::npos || location.find('\\') != std::string::npos) refuse();
    if (!realpath(folder.c_str(), resolved_folder)) fail(VERGE_NOT_FOUND, folder + ": cannot be read");
    char resolved[PATH_MAX];
    if (!realpath((folder + "/" + location).c_str(), resolved)) {
      fail(VERGE_NOT_FOUND, path + ": its weights file '" + location + "' is missing");
    }
    std::string prefix = std::string(resolved_folder) + (std::strcmp(resolved_folder, "/") == 0 ? "" : "/");
    if (std::strncmp(resolved, prefix.c_str(), prefix.size()) != 0) refuse();
  }
  return facts;
}

}  // namespace verge_plugin

#endif  // VERGE_ENGINES_COMMON_ONNX_FACTS_H_
