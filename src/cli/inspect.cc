// engines, doctor, models, version, schema: what is installed and what a zoo holds.
#include <sys/random.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "build/build.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "core/json.h"
#include "core/version.h"
#include "engine/catalog.h"
#include "os/energy.h"
#include "os/files.h"
#include "os/process.h"
#include "package/package.h"
#include "serve/serve.h"
#include "transform/chain.h"

namespace verge::cli {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

int fail(const Status& s, int code) {
  std::fprintf(stderr, "verge: %s\n", s.message().c_str());
  return code;
}

std::string joined(const std::vector<std::string>& v) {
  std::string out;
  for (const auto& s : v) out += (out.empty() ? "" : ", ") + s;
  return out;
}

Json engine_json(const engine::Descriptor& d) {
  Json libraries = Json::array();
  for (const auto& l : d.libraries) libraries.push_back({{"name", l.name}, {"found", l.found.empty() ? Json() : Json(l.found)}});
  return {{"name", d.name},
          {"summary", d.summary},
          {"available", d.unavailable.empty()},
          {"reason", d.unavailable.empty() ? Json() : Json(d.unavailable)},
          {"formats", d.formats},
          {"precisions", d.precisions},
          {"libraries", libraries}};
}

Json model_json(const package::Package& p, const Device& device) {
  Json j = {{"name", p.manifest.name}, {"version", p.manifest.version}, {"path", p.dir}};
  j["source"] = p.manifest.source_name;
  j["variants"] = p.manifest.variants.size();
  const Profile* profile = p.profile_for(device.fingerprint);
  j["profiled_here"] = profile != nullptr;
  int64_t ok = 0;
  if (profile)
    for (const auto& v : profile->variants) ok += v.verdict == Verdict::kOk;
  j["ok_here"] = profile ? Json(ok) : Json();
  const VariantSpec* best = profile ? package::default_variant(p.manifest, *profile) : nullptr;
  j["default_variant"] = best ? Json(best->id) : Json();
  if (!p.manifest.family.empty()) j["family"] = p.manifest.family;
  if (!p.manifest.stages.empty()) {
    j["stages"] = Json::array();
    for (const StageSpec& stage : p.manifest.stages) {
      Json inputs = Json::array(), outputs = Json::array();
      for (const TensorSpec& t : stage.network.inputs) inputs.push_back(t.name);
      for (const TensorSpec& t : stage.network.outputs) outputs.push_back(t.name);
      j["stages"].push_back({{"exit", stage.exit}, {"output", stage.output}, {"inputs", inputs}, {"outputs", outputs}});
    }
  }
  j["warnings"] = p.warnings;
  return j;
}

// One line of `verge doctor`: a mark, what was looked at, and what to do where it is not well.
struct Finding {
  bool well;
  std::string subject, text;
};

std::vector<Finding> examine() {
  std::vector<Finding> out;
  const os::Install& in = os::install();
  out.push_back({::access(in.executable.c_str(), X_OK) == 0, "worker program", in.executable});
  auto catalog = engine::Catalog::scan(in.plugin_dir);
  if (!catalog.ok()) {
    out.push_back({false, "engines", catalog.status().message()});
  } else {
    for (const auto& d : (*catalog)->descriptors())
      out.push_back({d.unavailable.empty(), "engine " + d.name, d.unavailable.empty() ? "loads " + joined(d.formats) : d.unavailable});
    if ((*catalog)->descriptors().empty()) out.push_back({false, "engines", "no plugin in " + in.plugin_dir});
  }
  const bool tools = !in.toolchain_python.empty() && !in.python_dir.empty();
  out.push_back({tools, "conversion tool chain",
                 tools ? in.toolchain_python : "not installed; `make toolchain` in the sources installs it. Serving and profiling do not need it"});
  Device d = os::this_device();
  out.push_back({true, "device",
                 d.fingerprint + ": " + d.cpu_model + ", " + std::to_string(d.cores) + " cores, " +
                     std::to_string(static_cast<int64_t>(static_cast<double>(d.memory_bytes) / kMiB)) + " MiB, " + joined(d.cpu_flags)});
  auto meter = os::open_energy_meter();
  out.push_back({true, "energy meter", meter.ok() ? (*meter)->about() : "none: " + meter.status().message() + "; energy is modelled (energy.* in the configuration)"});
  if (auto gpus = os::open_energy_meter("nvml"); gpus.ok()) out.push_back({true, "energy meter", (*gpus)->about() + "; taken where energy.meter is nvml"});
  return out;
}

}  // namespace

int engines_command(bool json) {
  auto catalog = engine::Catalog::scan(os::install().plugin_dir);
  if (!catalog.ok()) return fail(catalog.status(), kExitEnvironment);
  if (json) {
    Json all = Json::array();
    for (const auto& d : (*catalog)->descriptors()) all.push_back(engine_json(d));
    std::fputs(print_json(all).c_str(), stdout);
    return kExitOk;
  }
  for (const auto& d : (*catalog)->descriptors()) {
    std::printf("%-14s %-12s %s\n", d.name.c_str(), d.unavailable.empty() ? "available" : "disabled", d.summary.c_str());
    std::printf("%-14s %-12s formats: %s\n", "", "", joined(d.formats).c_str());
    if (!d.unavailable.empty()) std::printf("%-14s %-12s %s\n", "", "", d.unavailable.c_str());
  }
  return kExitOk;
}

int doctor_command(bool json) {
  auto findings = examine();
  bool any_engine = false;
  Json all = Json::array();
  for (const auto& f : findings) {
    if (f.subject.starts_with("engine ") && f.well && f.subject != "engine identity") any_engine = true;
    if (json)
      all.push_back({{"subject", f.subject}, {"well", f.well}, {"text", f.text}});
    else
      std::printf("%s %-24s %s\n", f.well ? "ok  " : "MISS", f.subject.c_str(), f.text.c_str());
  }
  if (json) std::fputs(print_json(all).c_str(), stdout);
  if (!any_engine) std::fprintf(stderr, "verge: no inference engine can be loaded here; see the lines above\n");
  return any_engine ? kExitOk : kExitEnvironment;
}

int models_command(const std::string& path, bool json) {
  auto entries = package::list_zoo(path);
  if (!entries.ok()) return fail(entries.status(), kExitUsage);
  const Device device = os::this_device();
  Json all = Json::array();
  for (const auto& e : *entries)
    for (int64_t version : e.versions) {
      const std::string dir = os::join(os::join(path, e.name), std::to_string(version));
      auto p = package::open_package(dir);
      all.push_back(p.ok() ? model_json(*p, device) : Json{{"name", e.name}, {"version", version}, {"error", p.status().message()}});
    }
  if (json) {
    std::fputs(print_json(all).c_str(), stdout);
    return kExitOk;
  }
  if (all.empty()) std::printf("%s holds no package; make one with `verge build MODEL -o %s`\n", path.c_str(), path.c_str());
  else std::printf("%-28s %7s %9s %9s  %s\n", "MODEL", "VERSION", "VARIANTS", "OK HERE", "DEFAULT HERE");
  for (const Json& m : all) {
    if (m.contains("error")) {
      std::printf("%-28s %7lld  unusable: %s\n", m["name"].get<std::string>().c_str(), static_cast<long long>(m["version"].get<int64_t>()),
                  m["error"].get<std::string>().c_str());
      continue;
    }
    std::string ok = m["ok_here"].is_null() ? "-" : std::to_string(m["ok_here"].get<int64_t>());
    std::string best = !m["profiled_here"].get<bool>()     ? "not measured on this device; `verge profile` or `verge serve` does it"
                       : m["default_variant"].is_null() ? "none is ok"
                                                           : m["default_variant"].get<std::string>();
    std::printf("%-28s %7lld %9zu %9s  %s\n", m["name"].get<std::string>().c_str(), static_cast<long long>(m["version"].get<int64_t>()),
                m["variants"].get<size_t>(), ok.c_str(), best.c_str());
    std::string more;
    if (m.contains("family")) more = "family " + m["family"].get<std::string>();
    if (m.contains("stages")) {
      more += more.empty() ? "exits" : ", exits";
      for (const Json& stage : m["stages"]) more += " " + stage["exit"].get<std::string>();
    }
    if (!more.empty()) std::printf("%-28s %s\n", "", more.c_str());
  }
  return kExitOk;
}

int version_command(bool json) {
  if (json)
    std::fputs(print_json({{"version", kVersion}, {"engine_abi", VERGE_ENGINE_ABI_MAJOR}, {"package_format", Manifest::kFormat}}).c_str(), stdout);
  else
    std::printf("verge %s (engine ABI %u, package format %d)\n", std::string(kVersion).c_str(), VERGE_ENGINE_ABI_MAJOR, Manifest::kFormat);
  return kExitOk;
}

int token_command(bool json) {
  // 256 bits in letters that need no escaping anywhere.
  static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  unsigned char random[43];
  if (getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) return fail(unavailable("the system gives no random bytes"), kExitEnvironment);
  std::string token;
  for (const unsigned char c : random) token += kLetters[c % 64];
  const std::string hash = os::sha256_hex(token);
  if (json)
    std::fputs(print_json({{"token", token}, {"sha256", hash}}).c_str(), stdout);
  else
    std::printf("%s\n\nThe client sends it as `authorization: Bearer TOKEN`. The server's configuration holds its digest only:\n\nauth:\n  tokens:\n    - {sha256: %s, rights: [infer]}\n",
                token.c_str(), hash.c_str());
  return kExitOk;
}

namespace {

// The operators with their parameters, as JSON: the same table that validates model.yaml.
Json operators_json() {
  Json all = Json::array();
  for (const auto& op : transform::operators()) {
    Json parameters = Json::array();
    for (const auto& p : op.params) parameters.push_back({{"name", p.name}, {"type", p.type}, {"required", p.required}, {"doc", p.doc}});
    all.push_back({{"op", op.op}, {"doc", op.doc}, {"parameters", parameters}});
  }
  return all;
}

}  // namespace

int schema_command(const std::string& what) {
  std::string text = what == "model" ? build::recipe_schema_json() : what == "config" ? serve::config_schema_json() : print_json(operators_json());
  if (text.empty() || text.back() != '\n') text += '\n';
  std::fputs(text.c_str(), stdout);
  return kExitOk;
}

}  // namespace verge::cli
