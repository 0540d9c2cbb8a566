// What is asked of the repository from outside, and what it tells; how it follows the zoo is in repository.cc.
#include "serve/repository.h"

#include <algorithm>

#include "net/bounds.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::serve {

// --- callers ---

namespace {

Status check_max_batch(const std::string& who, int64_t asked, int64_t most) {
  if (asked <= most) return {};
  return invalid_argument("failed to load '" + who + "', its max_batch_size cannot be " + std::to_string(asked) + ": " +
                          (most == 0   ? "not every input and output has the batch as its first axis"
                           : most == 1 ? "it keeps state, so its requests hold one sample"
                                       : "this server takes at most " + std::to_string(most)));
}

}  // namespace

void Repository::load(std::string name, Overrides overrides, Done done) {
  auto op = std::make_shared<Operation>();
  op->status = unavailable("the server is stopping");
  op->done = [done = std::move(done)](Operation& o) { done(std::move(o.status)); };
  if (!valid_name(name)) {
    op->status = not_found("failed to load '" + name.substr(0, 128) + "', failed to poll from model repository: this is no model's name");
    return;
  }
  post([this, name = std::move(name), overrides, op = std::move(op)] {
    if (Status s = check_overrides(name, overrides); !s.ok()) {
      op->status = std::move(s);
      return;
    }
    Model& m = models_[name];
    m.unloaded = false;
    m.max_batch = overrides.max_batch;
    look(name, op, true);
  });
}

// Before anything changes. What is not there or cannot be opened is told by the load itself.
Status Repository::check_overrides(const std::string& name, const Overrides& overrides) {
  if (overrides.max_batch == 0) return {};
  const auto model = models_.find(name);
  const auto found = find(name);
  if (!found.ok()) return found.status();
  std::vector<int64_t> present;
  for (const Found& f : *found) present.push_back(f.version);
  const std::vector<int64_t> wanted = select_versions(policy(name), present, model == models_.end() ? 0 : model->second.pinned).wanted;
  for (const Found& f : *found) {
    if (std::find(wanted.begin(), wanted.end(), f.version) == wanted.end()) continue;
    if (!f.package_dir.empty()) {
      if (const auto p = package::open_package(f.package_dir); p.ok()) VERGE_RETURN_IF_ERROR(check_max_batch(name, overrides.max_batch, runtime::most_batch(p->manifest)));
      continue;
    }
    // Without a package it is known when the model has been tried.
    const bool known = model != models_.end() && model->second.versions.contains(f.version);
    const int64_t most = known ? model->second.versions.at(f.version).most_batch : -1;
    if (most < 0) return failed_precondition("failed to load '" + name + "', its max_batch_size cannot be overridden yet: the model has not been tried");
    VERGE_RETURN_IF_ERROR(check_max_batch(name, overrides.max_batch, most));
  }
  return {};
}

// Of versions that came after the load with overrides, too.
void Repository::override_settings(Model& m, Version& v, std::shared_ptr<runtime::ModelSource>& source) {
  v.max_batch = m.max_batch;
  if (!source->broken.ok()) return;
  v.most_batch = runtime::most_batch(source->manifest);
  source->max_batch = m.max_batch;
  Status s = check_max_batch(source->name, m.max_batch, v.most_batch);
  if (s.ok()) return;
  auto broken = std::make_shared<runtime::ModelSource>();
  broken->name = source->name;
  broken->version = source->version;
  broken->broken = std::move(s);
  source = std::move(broken);
}

void Repository::unload(std::string name, Done done) {
  auto op = std::make_shared<Operation>();
  op->status = unavailable("the server is stopping");
  op->until_unloaded = true;
  op->done = [done = std::move(done)](Operation& o) { done(std::move(o.status)); };
  post([this, name = std::move(name), op = std::move(op)] {
    const auto m = models_.find(name);
    if (m == models_.end()) {
      op->status = not_found("failed to unload '" + name.substr(0, 128) + "': there is no such model");
      return;
    }
    m->second.unloaded = true;
    m->second.max_batch = 0;
    look(name, op, false);
  });
}

void Repository::reload(Reported done) {
  auto op = std::make_shared<Operation>();
  op->refused.push_back("the server is stopping");
  op->done = [done = std::move(done)](Operation& o) { done({{"changed", o.changed}, {"refused", o.refused}}); };
  post([this, op = std::move(op)] {
    op->refused.clear();
    apply_config(*op);
    if (options_.reload_tls) {
      if (Status s = options_.reload_tls(); !s.ok()) op->refused.push_back(s.message());
    }
    look_at_all(op, true);
  });
}

void Repository::apply_config(Operation& op) {
  if (!options_.read_config) return;
  auto read = options_.read_config();
  Status s = read.ok() ? take_bounds(*read) : read.status();
  if (!s.ok()) {
    env_.log->error("config_refused", {{"reason", s.message()}});
    op.refused.push_back(s.message());
    return;
  }
  const std::map<std::string, std::string> before = std::exchange(env_.config.given, read->given);
  std::set<std::string> fields;
  for (const auto& [field, value] : before) {
    if (const auto now = read->given.find(field); now == read->given.end() || now->second != value) fields.insert(field);
  }
  for (const auto& [field, value] : read->given) {
    if (!before.contains(field)) fields.insert(field);
  }
  for (const std::string& field : fields) {
    if (changes_while_running(field, env_.config)) {
      op.changed.push_back("configuration: " + field);
    } else {
      // Said again by the next reload, until the server is started anew.
      if (const auto old = before.find(field); old != before.end()) {
        env_.config.given[field] = old->second;
      } else {
        env_.config.given.erase(field);
      }
      op.refused.push_back("configuration: " + field + " cannot change while the server runs; it counts from the next start");
    }
  }
  // A model is opened again where its settings are others; which versions are served is looked at anyway.
  for (auto& [name, m] : models_) {
    const auto was = env_.config.models.find(name), is = read->models.find(name);
    const ModelConfig none, &old = was == env_.config.models.end() ? none : was->second, &now = is == read->models.end() ? none : is->second;
    if (old.default_variant == now.default_variant && old.resident == now.resident && old.threads == now.threads && old.decoupled == now.decoupled) continue;
    for (auto& [number, v] : m.versions) v.stamp.clear();
  }
  env_.config.models = read->models;
  env_.config.versions = read->versions;
  if (options_.apply) options_.apply(*read);
}

// All of them or none. Bounds that the file leaves as they were stay what the running server was told since.
Status Repository::take_bounds(const Config& read) {
  std::vector<std::pair<uint32_t, runtime::BoundsDefaults>> before;
  for (uint32_t i = 0; i < env_.config.tenants.size(); ++i) {
    runtime::TenantOptions& tenant = env_.config.tenants[i];
    const auto named = std::find_if(read.tenants.begin(), read.tenants.end(), [&](const auto& t) { return t.name == tenant.name; });
    const runtime::BoundsDefaults bounds = named == read.tenants.end() ? runtime::BoundsDefaults{} : named->bounds;
    if (net::bounds_to_json(bounds) == net::bounds_to_json(tenant.bounds)) continue;
    auto current = runtime_.bounds(i);
    Status s = current.ok() ? runtime_.set_bounds(i, bounds) : current.status();
    if (!s.ok()) {
      for (auto& [other, old] : before) static_cast<void>(runtime_.set_bounds(other, std::move(old)));
      return s.prefixed("tenants." + tenant.name + ".bounds");
    }
    before.emplace_back(i, std::move(current).value());
  }
  for (runtime::TenantOptions& tenant : env_.config.tenants) {
    const auto named = std::find_if(read.tenants.begin(), read.tenants.end(), [&](const auto& t) { return t.name == tenant.name; });
    tenant.bounds = named == read.tenants.end() ? runtime::BoundsDefaults{} : named->bounds;
  }
  return {};
}

// --- what others see ---

void Repository::publish_view() {
  std::vector<View> view;
  for (const auto& [name, m] : models_) {
    for (const auto& [number, v] : m.versions) {
      View one{name, number, v.served, v.loading, v.leaving, v.variant, v.refusal};
      if (!v.served && !v.loading && v.refusal.ok()) {
        one.refusal = m.unloaded ? failed_precondition("unloaded") : failed_precondition(not_selected(policy(name), number, m.pinned));
      }
      view.push_back(std::move(one));
    }
  }
  std::lock_guard lock(view_mutex_);
  view_.swap(view);
}

std::vector<Repository::Entry> Repository::index(bool ready_only) const {
  std::map<std::pair<std::string, int64_t>, std::vector<runtime::VariantReport>> reports;
  for (runtime::VariantReport& r : runtime_.variants()) {
    const std::pair key{r.model, r.version};
    reports[key].push_back(std::move(r));
  }
  std::vector<Entry> out;
  std::lock_guard lock(view_mutex_);
  for (const View& v : view_) {
    Entry e{v.name, v.version, "UNAVAILABLE", v.refusal.message()};
    const runtime::VariantReport* report = nullptr;
    if (const auto r = reports.find({v.name, v.version}); r != reports.end()) {
      for (const auto& one : r->second) {
        if (one.variant == v.variant) report = &one;
      }
    }
    if (v.leaving && !v.served) {
      e.state = "UNLOADING";
      e.reason.clear();
    } else if (report != nullptr && report->state == "resident") {
      e.state = "READY";
      if (!v.refusal.ok()) e.reason = "what lies in its folder now was refused: " + v.refusal.message();
    } else if (v.loading) {
      e.state = "LOADING";
      e.reason.clear();
    } else if (e.reason.empty()) {
      e.reason = report != nullptr && !report->error.empty() ? report->error : "it is not loaded";
    }
    if (!ready_only || e.state == "READY") out.push_back(std::move(e));
  }
  return out;
}

Json Repository::served() const {
  Json out = Json::array();
  std::lock_guard lock(view_mutex_);
  for (const View& v : view_) {
    if (!v.served) continue;
    Json m = {{"name", v.name}, {"version", v.version}};
    if (!v.variant.empty()) m["variant"] = v.variant;
    if (!v.refusal.ok()) m["reason"] = v.refusal.message();
    out.push_back(std::move(m));
  }
  return out;
}

Status Repository::refusal(const std::string& name) const {
  std::lock_guard lock(view_mutex_);
  for (const View& v : view_) {
    if (v.name == name && !v.refusal.ok()) return v.refusal;
  }
  return {};
}

}  // namespace verge::serve
