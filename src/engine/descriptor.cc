// Descriptor files: what a plugin is, and whether what it needs is on this machine, without loading anything.
#include <cstdlib>
#include <set>

#include "engine/plugin.h"
#include "os/files.h"

namespace verge::engine {
namespace {

constexpr uint64_t kMaxDescriptorBytes = 256 << 10;
constexpr std::string_view kSuffix = ".engine.json";

bool plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string::npos && name != "." && name != "..";
}

// Where the system's loader looks, as far as can be said without running it.
std::vector<std::string> loader_dirs() {
  std::vector<std::string> dirs;
  if (const char* path = std::getenv("LD_LIBRARY_PATH")) {
    std::string_view rest = path;
    while (!rest.empty()) {
      size_t end = std::min(rest.find(':'), rest.size());
      if (end > 0) dirs.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
#if defined(__x86_64__)
  const char* triplet = "x86_64-linux-gnu";
#elif defined(__aarch64__)
  const char* triplet = "aarch64-linux-gnu";
#else
  const char* triplet = "";
#endif
  for (const char* base : {"/usr/local/lib", "/usr/lib", "/lib"}) {
    if (*triplet) dirs.push_back(os::join(base, triplet));
    dirs.emplace_back(base);
  }
  dirs.emplace_back("/usr/lib64");
  dirs.emplace_back("/lib64");
  return dirs;
}

std::string find_library(const LibraryNeed& need, const std::string& descriptor_dir) {
  auto try_dir = [&](const std::string& dir) -> std::string {
    std::string path = os::join(dir, need.name);
    if (!os::exists(path) || os::is_dir(path)) return "";
    auto resolved = os::absolute(path);
    return resolved.ok() ? *resolved : path;
  };
  for (const std::string& dir : need.search) {
    if (dir.empty()) continue;
    std::string found = try_dir(dir[0] == '/' ? dir : os::join(descriptor_dir, dir));
    if (!found.empty()) return found;
  }
  for (const std::string& dir : loader_dirs()) {
    std::string found = try_dir(dir);
    if (!found.empty()) return found;
  }
  return "";
}

Status fill(Descriptor& d, const std::string& path, const std::string& dir) {
  VERGE_ASSIGN(std::string text, os::read_file(path, kMaxDescriptorBytes));
  VERGE_ASSIGN(Json json, parse_json(text, path, kMaxDescriptorBytes));
  if (!json.is_object()) return invalid_argument(path + ": an object is expected");
  JsonReader r(json, path);
  std::string name = r.str("name");
  d.summary = r.str("summary", "");
  std::string plugin = r.str("plugin");
  int64_t abi = r.integer("abi_major");
  d.formats = r.strings("formats");
  d.precisions = r.strings("precisions");
  VERGE_RETURN_IF_ERROR(r.status());
  if (!valid_name(name)) return invalid_argument(path + ": name: not a valid engine name");
  if (name != d.name) return invalid_argument(path + ": name is '" + name + "', but the file is called " + d.name + std::string(kSuffix));
  if (!plain_file_name(plugin)) return invalid_argument(path + ": plugin: a file name in the same folder is expected, without '/'");
  d.plugin = os::join(dir, plugin);
  d.abi_major = abi < 0 || abi > UINT32_MAX ? 0 : static_cast<uint32_t>(abi);
  if (const Json* libraries = r.find("libraries")) {
    if (!libraries->is_array() || libraries->size() > 64) return invalid_argument(path + ": libraries: a list of at most 64 is expected");
    for (const Json& item : *libraries) {
      std::string where = path + ": libraries[" + std::to_string(d.libraries.size()) + "]";
      if (!item.is_object()) return invalid_argument(where + ": an object is expected");
      JsonReader lr(item, where);
      LibraryNeed need;
      need.name = lr.str("name");
      need.search = lr.strings("search");
      need.preload = lr.boolean("preload", false);
      VERGE_RETURN_IF_ERROR(lr.status());
      if (!plain_file_name(need.name)) return invalid_argument(where + ": name: a file name is expected, without '/'");
      need.found = find_library(need, dir);
      d.libraries.push_back(std::move(need));
    }
  }
  if (const Json* check = r.find("check")) {
    if (!check->is_array() || check->size() > 64) return invalid_argument(path + ": check: a list of at most 64 is expected");
    for (const Json& item : *check) {
      std::string where = path + ": check[" + std::to_string(d.check.size()) + "]";
      if (!item.is_object()) return invalid_argument(where + ": an object is expected");
      JsonReader cr(item, where);
      std::string file = cr.str("file");
      std::string format = cr.str("format");
      VERGE_RETURN_IF_ERROR(cr.status());
      if (!valid_relative_path(file)) return invalid_argument(where + ": file: a path below the plugin's folder is expected");
      d.check.emplace_back(os::join(dir, file), format);
    }
  }
  if (d.abi_major != VERGE_ENGINE_ABI_MAJOR) {
    return failed_precondition("the plugin speaks engine interface " + std::to_string(abi) + ", this verge speaks " +
                               std::to_string(VERGE_ENGINE_ABI_MAJOR) + ": install a plugin built for it");
  }
  if (!os::exists(d.plugin)) return failed_precondition("the plugin file " + d.plugin + " is missing: install it again");
  for (const LibraryNeed& need : d.libraries) {
    if (!need.found.empty()) continue;
    std::string looked;
    for (const std::string& s : need.search) looked += (looked.empty() ? "" : ", ") + (s.empty() || s[0] == '/' ? s : os::join(dir, s));
    return failed_precondition("the library " + need.name + " was not found: install it, or put it into " +
                               (looked.empty() ? "the system's library folders" : looked + " or the system's library folders"));
  }
  return {};
}

}  // namespace

Descriptor read_descriptor(const std::string& path) {
  Descriptor d;
  std::string file = os::base_name(path);
  d.name = file.size() > kSuffix.size() && file.ends_with(kSuffix) ? file.substr(0, file.size() - kSuffix.size()) : file;
  auto dir = os::absolute(os::dir_name(path));
  Status status = dir.ok() ? fill(d, path, *dir) : dir.status();
  if (!status.ok()) d.unavailable = status.message();
  return d;
}

Result<std::string> descriptor_path(const std::string& plugin_or_descriptor) {
  if (!os::exists(plugin_or_descriptor)) return not_found(plugin_or_descriptor + ": no such file");
  VERGE_ASSIGN(std::string path, os::absolute(plugin_or_descriptor));
  if (path.ends_with(kSuffix)) return path;
  std::string dir = os::dir_name(path);
  std::string file = os::base_name(plugin_or_descriptor);
  VERGE_ASSIGN(std::vector<std::string> names, os::list_dir(dir));
  for (const std::string& name : names) {
    if (!name.ends_with(kSuffix)) continue;
    std::string candidate = os::join(dir, name);
    auto text = os::read_file(candidate, kMaxDescriptorBytes);
    if (!text.ok()) continue;
    auto json = parse_json(*text, candidate, kMaxDescriptorBytes);
    if (!json.ok() || !json->is_object()) continue;
    auto plugin = json->find("plugin");
    if (plugin != json->end() && plugin->is_string() && plugin->get_ref<const std::string&>() == file) return candidate;
  }
  return not_found(plugin_or_descriptor + ": no descriptor beside it: a file NAME" + std::string(kSuffix) +
                   " whose \"plugin\" is \"" + file + "\" is needed");
}

std::vector<std::pair<std::string, std::string>> library_config(const Descriptor& descriptor) {
  std::vector<std::pair<std::string, std::string>> config;
  for (const LibraryNeed& need : descriptor.libraries) {
    if (!need.found.empty()) config.emplace_back("library." + need.name, need.found);
  }
  return config;
}

}  // namespace verge::engine
