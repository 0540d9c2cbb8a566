#include "engine/catalog.h"

#include <algorithm>

#include "engine/plugin.h"
#include "os/files.h"

namespace verge::engine {

Result<std::shared_ptr<Catalog>> Catalog::scan(const std::string& plugin_dir) {
  if (plugin_dir.empty() || !os::is_dir(plugin_dir)) {
    return not_found("no plugin folder '" + plugin_dir + "': the installation is incomplete, install verge again");
  }
  VERGE_ASSIGN(std::vector<std::string> names, os::list_dir(plugin_dir));
  auto catalog = std::make_shared<Catalog>();
  for (const std::string& name : names) {
    if (name.ends_with(".engine.json")) catalog->descriptors_.push_back(read_descriptor(os::join(plugin_dir, name)));
  }
  return catalog;
}

Result<std::shared_ptr<Catalog>> scan_one(const std::string& plugin_or_descriptor) {
  VERGE_ASSIGN(std::string path, descriptor_path(plugin_or_descriptor));
  auto catalog = std::make_shared<Catalog>();
  catalog->descriptors_.push_back(read_descriptor(path));
  return catalog;
}

const Descriptor* Catalog::find(std::string_view engine) const {
  auto it = std::find_if(descriptors_.begin(), descriptors_.end(), [&](const Descriptor& d) { return d.name == engine; });
  return it == descriptors_.end() ? nullptr : &*it;
}

const std::map<std::string, std::string>& Catalog::settings(const std::string& engine) const {
  static const std::map<std::string, std::string> none;
  const auto it = settings_.find(engine);
  return it == settings_.end() ? none : it->second;
}

Result<std::shared_ptr<Engine>> Catalog::get(std::string_view engine) {
  const Descriptor* descriptor = find(engine);
  if (!descriptor) {
    std::string known;
    for (const Descriptor& d : descriptors_) known += (known.empty() ? "" : ", ") + d.name;
    return not_found("no engine '" + std::string(engine) + "'; there are: " + (known.empty() ? "none" : known));
  }
  // One creation at a time: plugins' libraries are not asked to start twice at once.
  std::lock_guard lock(mutex_);
  if (auto it = engines_.find(engine); it != engines_.end()) return it->second;
  VERGE_ASSIGN(const verge_engine_vtable* vtable, open_plugin(*descriptor, &host_api()));
  auto config = library_config(*descriptor);
  for (const auto& setting : settings(descriptor->name)) config.push_back(setting);
  COptions options(config);
  std::shared_ptr<Engine> created(new Engine());
  created->name_ = descriptor->name;
  created->vtable_ = vtable;
  StatusBuffer status;
  verge_code code = vtable->create(&host_api(), options.get(), &created->handle_, status.get());
  if (code != VERGE_OK) return status.take(code, "starting").prefixed("engine " + descriptor->name);
  if (!created->handle_) return internal_error("engine " + descriptor->name + ": create succeeded without an engine");
  engines_.emplace(descriptor->name, created);
  return created;
}

}  // namespace verge::engine
