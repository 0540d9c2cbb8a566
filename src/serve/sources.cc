#include "serve/sources.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "core/npy.h"
#include "os/files.h"
#include "os/process.h"
#include "serve/candidates.h"

namespace verge::serve {
namespace {

constexpr uint64_t kMaxGoldenBytes = uint64_t{64} << 20;

int64_t version_number(const std::string& name) {
  if (name.empty() || name.size() > 18 || name.find_first_not_of("0123456789") != std::string::npos) return 0;
  return std::stoll(name);
}

// ZOO/NAME/VERSION, also where the manifest itself turns out to be unreadable: the folders give name and number.
Found found_package(const std::string& dir) {
  Found f;
  f.package_dir = dir;
  f.name = os::base_name(os::dir_name(dir));
  const int64_t version = version_number(os::base_name(dir));
  f.version = std::max<int64_t>(version, 1);
  f.named_by_manifest = version < 1 || !valid_name(f.name);
  return f;
}

// The first golden sample of every network input.
Result<std::map<std::string, Tensor>> first_golden_sample(const package::Package& p) {
  std::map<std::string, Tensor> out;
  if (p.manifest.golden.samples == 0) return out;
  VERGE_RETURN_IF_ERROR(package::verify_golden(p));
  for (const TensorSpec& input : p.manifest.network.inputs) {
    const auto file = p.manifest.golden.inputs.find(input.name);
    if (file == p.manifest.golden.inputs.end()) continue;
    const std::string path = os::join(os::join(p.dir, "golden"), file->second);
    VERGE_ASSIGN(const std::string bytes, os::read_file(path, kMaxGoldenBytes));
    VERGE_ASSIGN(Tensor t, parse_npy(bytes, path));
    if (t.dtype != input.dtype) return data_loss(path + ": its type is not the network input's");
    // Strings have no fixed size, and an input without a batch axis is one sample as it is.
    if (t.dtype == DType::kBytes || t.shape.rank() == 0) continue;
    if (input.batch_axis == 0) {
      if (t.shape[0] < 1) continue;
      t.data.resize(t.data.size() / static_cast<size_t>(t.shape[0]));
      t.shape[0] = 1;
    } else if (input.batch_axis < 0 && t.shape.rank() == input.shape.rank() + 1 && t.shape[0] >= 1) {
      t.data.resize(t.data.size() / static_cast<size_t>(t.shape[0]));
      t.shape.erase(0);
    }
    if (input.shape.accepts(t.shape)) out[input.name] = std::move(t);
  }
  // A mixture of real and made-up samples is no sample.
  if (out.size() != p.manifest.network.inputs.size()) out.clear();
  return out;
}

// What is shared by the loads of one package.
struct Opened {
  package::Package package;
  std::mutex mutex;
  std::set<std::string> tried;  // variants that ran in a worker
};

Result<engine::LoadSpec> prepare(const Environment& env, Opened& opened, const VariantSpec& variant, bool proven) {
  const package::Package& p = opened.package;
  VERGE_RETURN_IF_ERROR(package::verify_variant(p, variant));
  engine::LoadSpec load = package::load_spec(p, variant);
  {
    std::lock_guard lock(opened.mutex);
    proven |= opened.tried.contains(variant.id);
  }
  if (!proven) {
    std::map<std::string, std::string> golden;
    if (package::verify_golden(p).ok()) {
      for (const auto& [name, file] : p.manifest.golden.inputs) golden[name] = os::join(os::join(p.dir, "golden"), file);
    }
    VERGE_RETURN_IF_ERROR(try_in_worker(variant.id, variant.engine, env.catalog->settings(variant.engine), load, variant.names, golden, env.worker_log_dir));
    std::lock_guard lock(opened.mutex);
    opened.tried.insert(variant.id);
  }
  load.cache_dir = variant_cache_dir(env, p.manifest_sha256, variant.id);
  return load;
}

Result<Profile> measured_profile(const Environment& env, const package::Package& p) {
  env.log->info("measuring_candidates", {{"model", p.manifest.name},
                                         {"version", p.manifest.version},
                                         {"reason", "the package has no profile of this device"},
                                         {"device", env.device.fingerprint},
                                         {"hint", "`verge profile` measures more and keeps it in the package"}});
  VERGE_ASSIGN(Profile measured, measure_candidates(p, *env.catalog, env.worker_log_dir, [&](const VariantProfile& v) {
                 Json fields = {{"model", p.manifest.name}, {"variant", v.id}, {"verdict", verdict_name(v.verdict)}};
                 if (!v.reason.empty()) fields["reason"] = v.reason;
                 if (const LatencyCell* c = v.cell(1, 1); c != nullptr) fields["p50_us"] = c->p50_us;
                 env.log->info("candidate_measured", fields);
               }));
  const Status stored = keep_profile(env.config.state_dir, measured);
  if (stored.ok()) {
    env.log->info("profile_kept", {{"model", p.manifest.name}, {"state_dir", env.config.state_dir}});
  } else {
    env.log->warning("profile_not_kept", {{"model", p.manifest.name}, {"reason", stored.message()}});
  }
  return measured;
}

void choose(const Environment& env, runtime::ModelSource& s) {
  const auto configured = env.config.models.find(s.name);
  if (configured != env.config.models.end()) {
    s.threads = static_cast<int>(configured->second.threads);
    s.decoupled = configured->second.decoupled && !s.manifest.stages.empty();
    if (configured->second.decoupled && s.manifest.stages.empty())
      env.log->error("config_refused", {{"model", s.name}, {"version", s.version}, {"field", "models." + s.name + ".decoupled"}, {"reason", "the model has no exits, so it answers once"}});
  }
  const auto known = [&](const std::string& id) {
    const VariantSpec* v = s.manifest.variant(id);
    return v != nullptr && v->conversion == Conversion::kOk;
  };
  if (configured != env.config.models.end()) {
    const ModelConfig& c = configured->second;
    for (const std::string& id : c.resident) {
      if (known(id)) {
        s.resident.push_back(id);
      } else {
        env.log->error("config_names_no_variant", {{"model", s.name}, {"version", s.version}, {"field", "models." + s.name + ".resident"}, {"variant", id}});
      }
    }
    if (!c.default_variant.empty()) {
      const VariantProfile* p = s.profile.variant(c.default_variant);
      if (!known(c.default_variant)) {
        s.no_default = "the configuration's models." + s.name + ".default names '" + c.default_variant + "', which the package does not have";
      } else if (p != nullptr && p->verdict != Verdict::kOk && p->verdict != Verdict::kNotMeasured) {
        s.no_default = "the configuration's models." + s.name + ".default names '" + c.default_variant + "', which is " + std::string(verdict_name(p->verdict)) + " here: " + p->reason;
      } else {
        s.default_variant = c.default_variant;
      }
      return;
    }
  }
  if (const VariantSpec* v = package::default_variant(s.manifest, s.profile); v != nullptr) {
    s.default_variant = v->id;
    return;
  }
  s.no_default = "no variant is ok on this device";
  for (const VariantProfile& v : s.profile.variants) {
    if (v.verdict != Verdict::kOk && !v.reason.empty()) s.no_default += "; " + v.id + ": " + std::string(verdict_name(v.verdict)) + ", " + v.reason;
    if (s.no_default.size() > 600) break;
  }
}

Result<std::shared_ptr<runtime::ModelSource>> open_packaged(const Environment& env, const Found& found, bool may_measure) {
  auto opened = std::make_shared<Opened>();
  VERGE_ASSIGN(opened->package, package::open_package(found.package_dir));
  package::Package& p = opened->package;
  auto profile = known_profile(env, p);
  if (!profile.ok()) {
    if (!may_measure) return std::shared_ptr<runtime::ModelSource>();
    profile = measured_profile(env, p);
    if (!profile.ok()) return profile.status();
  }
  for (const std::string& w : p.warnings) env.log->warning("package_warning", {{"model", found.name}, {"version", found.version}, {"reason", w}});
  auto s = std::make_shared<runtime::ModelSource>();
  s->profile = std::move(profile).value();
  leave_out_not_installed(p.manifest, *env.catalog, s->profile);
  s->name = found.named_by_manifest ? p.manifest.name : found.name;
  s->version = found.named_by_manifest ? p.manifest.version : found.version;
  if (p.manifest.name != s->name || p.manifest.version != s->version) {
    env.log->warning("folder_differs", {{"model", s->name}, {"version", s->version}, {"manifest_name", p.manifest.name}, {"manifest_version", p.manifest.version}});
  }
  s->manifest = p.manifest;
  s->labels = p.labels;
  choose(env, *s);
  std::set<std::string> proven;
  for (const VariantProfile& v : s->profile.variants) {
    if (v.verdict == Verdict::kOk) proven.insert(v.id);
  }
  s->prepare = [&env, opened, proven](const VariantSpec& v) { return prepare(env, *opened, v, proven.contains(v.id)); };
  s->warm_up = [opened] { return first_golden_sample(opened->package); };
  return s;
}

}  // namespace

Result<Profile> known_profile(const Environment& env, const package::Package& p) {
  if (const Profile* own = p.profile_for(env.device.fingerprint); own != nullptr) return *own;
  // The same machine with fewer cores for this process (taskset, cgroup): what was measured on few cores holds.
  for (const Profile& other : p.profiles) {
    const Device &a = other.device, &b = env.device;
    if (a.cpu_model == b.cpu_model && a.architecture == b.architecture && a.cpu_flags == b.cpu_flags && a.cores >= b.cores) return other;
  }
  auto kept = read_kept_profile(env.config.state_dir, p.manifest_sha256, env.device.fingerprint);
  if (kept.ok() || kept.status().code() == Code::kNotFound) return kept;
  env.log->warning("profile_unusable", {{"model", p.manifest.name}, {"reason", kept.status().message()}});
  return not_found("its profile cannot be used");
}

std::string variant_cache_dir(const Environment& env, const std::string& key, const std::string& variant) {
  if (env.config.cache_dir.empty()) return "";
  const std::string dir = os::join(os::join(os::join(env.config.cache_dir, "compiled"), key.substr(0, 32)), variant);
  return os::make_dirs(dir).ok() ? dir : "";
}

std::string bare_format(const std::string& path) {
  if (os::is_dir(path)) return os::exists(os::join(path, "saved_model.pb")) ? "saved_model" : "";
  for (const auto& [extension, format] : {std::pair{".onnx", "onnx"}, {".tflite", "tflite"}, {".xml", "openvino-ir"}}) {
    if (path.ends_with(extension)) return format;
  }
  return "";
}

Result<Place> find_place(const std::string& path) {
  if (!os::exists(path)) return not_found(path + ": there is no such file or folder");
  VERGE_ASSIGN(const std::string dir, os::absolute(path));
  if (!bare_format(dir).empty()) return Place{Place::Kind::kBare, dir};
  if (!os::is_dir(dir)) {
    return invalid_argument(path + ": neither a zoo nor a model that can be served as it is (.onnx, .tflite, OpenVINO .xml, SavedModel folder); `verge build` takes .keras and .h5");
  }
  if (os::exists(os::join(dir, "manifest.json"))) return Place{Place::Kind::kPackage, dir};
  VERGE_ASSIGN(const std::vector<Found> versions, find_versions(dir));
  return Place{versions.empty() ? Place::Kind::kZoo : Place::Kind::kModel, dir};
}

Result<std::vector<Found>> find_versions(const std::string& model_dir) {
  VERGE_ASSIGN(const std::vector<std::string> names, os::list_dir(model_dir));
  std::vector<Found> out;
  for (const std::string& name : names) {
    const std::string version = os::join(model_dir, name);
    // "01" is not the folder of version 1.
    if (version_number(name) > 0 && name[0] != '0' && os::exists(os::join(version, "manifest.json"))) out.push_back(found_package(version));
  }
  std::sort(out.begin(), out.end(), [](const Found& a, const Found& b) { return a.version < b.version; });
  return out;
}

Found find_single(const Place& place) {
  if (place.kind == Place::Kind::kPackage) return found_package(place.dir);
  Found f;
  f.model_path = place.dir;
  std::string name = os::base_name(place.dir);
  if (const size_t dot = name.rfind('.'); !os::is_dir(place.dir) && dot != std::string::npos && dot > 0) name.resize(dot);
  for (char& c : name) {
    const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!ok) c = '_';
  }
  f.name = valid_name(name) ? name : "model";
  return f;
}

Result<std::vector<Found>> find_models(const std::string& path) {
  VERGE_ASSIGN(const Place place, find_place(path));
  if (place.kind == Place::Kind::kModel) return find_versions(place.dir);
  if (place.kind != Place::Kind::kZoo) return std::vector<Found>{find_single(place)};
  std::vector<Found> out;
  VERGE_ASSIGN(const std::vector<package::ZooEntry> zoo, package::list_zoo(place.dir));
  for (const package::ZooEntry& entry : zoo) {
    for (const int64_t version : entry.versions) out.push_back(found_package(os::join(os::join(place.dir, entry.name), std::to_string(version))));
  }
  return out;
}

std::shared_ptr<runtime::ModelSource> open_source(const Environment& env, const Found& found, bool may_measure) {
  if (!found.model_path.empty() && !may_measure) return nullptr;
  auto source = found.model_path.empty() ? open_packaged(env, found, may_measure) : open_bare(env, found);
  if (source.ok()) return std::move(source).value();
  auto broken = std::make_shared<runtime::ModelSource>();
  broken->name = found.name;
  broken->version = found.version;
  broken->broken = source.status();
  return broken;
}

}  // namespace verge::serve
