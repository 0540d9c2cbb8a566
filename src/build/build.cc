#include "build/build.h"

#include <algorithm>
#include <optional>

#include "build/build_key.h"
#include "build/convert.h"
#include "build/infer.h"
#include "build/maker.h"
#include "build/measure.h"
#include "build/profile.h"
#include "build/progress.h"
#include "build/publish.h"
#include "build/recipe.h"
#include "os/files.h"
#include "os/process.h"
#include "package/package.h"

namespace verge::build {
namespace {

constexpr uint64_t kMaxLabelBytes = uint64_t{16} << 20;

int exit_code_of(const Status& s) {
  switch (s.code()) {
    case Code::kCancelled: return kExitInterrupted;
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kOutOfRange: return kExitUsage;
    case Code::kFailedPrecondition:
    case Code::kUnimplemented: return kExitNothingOk;  // the model is refused
    default: return kExitEnvironment;
  }
}

Result<Recipe> recipe_of(const BuildOptions& options) {
  Recipe recipe;
  if (is_recipe_path(options.model)) {
    VERGE_ASSIGN(recipe, read_recipe(options.model));
  } else {
    recipe.model = options.model;
  }
  if (!options.name.empty()) recipe.name = options.name;
  if (recipe.name.empty()) recipe.name = name_from_path(recipe.model);
  if (!valid_name(recipe.name)) return invalid_argument("--name: '" + recipe.name + "' is not a name: 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first");
  std::vector<std::string> include;
  for (const std::string& t : options.targets) {
    if (t.starts_with("!")) {
      recipe.targets.exclude.push_back(t.substr(1));
    } else {
      include.push_back(t);
    }
  }
  if (!include.empty()) recipe.targets.include = include;
  return recipe;
}

Result<std::vector<std::string>> split_labels(const Recipe& recipe, std::string& text) {
  std::vector<std::string> labels;
  if (recipe.labels.empty()) return labels;
  auto read = os::read_file(recipe.labels, kMaxLabelBytes);
  if (!read.ok()) return recipe.error("labels", read.status().message());
  text = std::move(*read);
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    size_t stop = end > at && text[end - 1] == '\r' ? end - 1 : end;
    labels.push_back(text.substr(at, stop - at));
    at = end + 1;
  }
  return labels;
}

// The recipe's model; of a recipe with a model for each stage one that stands for them all, and they themselves.
Result<Source> source_of(const Recipe& recipe, std::vector<Source>& stages) {
  auto error = [&](const std::string& field, const std::string& message) { return recipe.file.empty() ? failed_precondition(message) : recipe.error(field, message); };
  if (!recipe.stage_models()) {
    auto found = inspect_source(recipe.model, recipe.kind);
    if (!found.ok()) return recipe.file.empty() ? found.status() : recipe.error("model", found.status().message());
    if (!recipe.exits.empty() && found->kind != "saved_model" && found->kind != "keras" && found->kind != "h5")
      return error("exits", "a " + found->kind + " source cannot be cut into stages; exits need a SavedModel or a Keras file, or a SavedModel for each stage (exits[].model)");
    return found;
  }
  std::string lines;
  for (size_t i = 0; i < recipe.exits.size(); ++i) {
    const std::string field = "exits[" + std::to_string(i) + "].model";
    auto stage = inspect_source(recipe.exits[i].model, recipe.kind);
    if (!stage.ok()) return error(field, stage.status().message());
    if (stage->kind != "saved_model") return error(field, "is a " + stage->kind + " source; a stage of its own is a SavedModel folder");
    lines += recipe.exits[i].name + "\t" + stage->sha256 + "\n";
    stages.push_back(std::move(*stage));
  }
  Source whole = stages.back();
  whole.sha256 = os::sha256_hex(lines);
  return whole;
}

Result<KeyParts> key_parts(const Recipe& recipe, const Source& source, const std::string& labels_text, const engine::Catalog& catalog, const Device& device) {
  KeyParts key;
  key.name = recipe.name;
  key.source_sha256 = source.sha256;
  key.source_kind = source.kind;
  key.recipe = normalised_recipe(recipe);
  key.labels_sha256 = labels_text.empty() ? "" : os::sha256_hex(labels_text);
  if (recipe.calibration) {
    VERGE_ASSIGN(key.calibration, dataset_identity(*recipe.calibration));
  }
  if (recipe.evaluation) {
    VERGE_ASSIGN(key.evaluation, dataset_identity(*recipe.evaluation));
  }
  VERGE_ASSIGN(key.toolchain, toolchain_identity());
  for (const engine::Descriptor& d : catalog.descriptors()) {
    if (d.unavailable.empty()) key.engines.push_back(d.name);
  }
  std::sort(key.engines.begin(), key.engines.end());
  key.cpu_flags = device.cpu_flags;
  return key;
}

// The latest whole version, if its manifest can be read.
std::optional<package::Package> latest_package(const std::string& zoo, const std::string& name) {
  auto dir = package::resolve_package(os::join(zoo, name));
  if (!dir.ok()) return std::nullopt;
  auto package = package::open_package(*dir);
  if (!package.ok() || package->manifest.name != name) return std::nullopt;
  return std::move(*package);
}

Status intact(const package::Package& package) {
  for (const VariantSpec& v : package.manifest.variants) VERGE_RETURN_IF_ERROR(package::verify_variant(package, v));
  return package::verify_golden(package);
}

int summarise(const Manifest& manifest, const Profile& profile, const std::string& dir, Progress& progress) {
  int64_t counts[4] = {};
  for (const VariantSpec& v : manifest.variants) {
    const VariantProfile* p = profile.variant(v.id);
    ++counts[static_cast<int>(p ? p->verdict : Verdict::kNotMeasured)];
  }
  std::string text = std::to_string(manifest.variants.size()) + " variants:";
  for (Verdict v : {Verdict::kOk, Verdict::kRejected, Verdict::kFailed, Verdict::kNotMeasured}) {
    if (int64_t n = counts[static_cast<int>(v)]) text += " " + std::to_string(n) + " " + std::string(verdict_name(v)) + ",";
  }
  text.back() = ';';
  progress.line(text + " " + dir);
  return counts[static_cast<int>(Verdict::kOk)] > 0 ? kExitOk : kExitNothingOk;
}

// Most workers have nothing to say.
void drop_empty_logs(const std::string& dir, const Manifest& manifest) {
  auto names = os::list_dir(dir);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    auto size = os::file_size(os::join(dir, name));
    bool named = std::any_of(manifest.variants.begin(), manifest.variants.end(), [&](const VariantSpec& v) { return v.log == "logs/" + name; });
    if (size.ok() && *size == 0 && !named) (void)os::remove_tree(os::join(dir, name));
  }
}

class Builder {
 public:
  Builder(const BuildOptions& options, Progress& progress) : options_(options), progress_(progress) {}
  Result<int> run();

 private:
  Result<int> reuse(const package::Package& package);
  Result<int> write(Maker& maker, Staging& staging, const std::string& labels_text);

  const BuildOptions& options_;
  Progress& progress_;
  Device device_;
};

Result<int> Builder::run() {
  VERGE_ASSIGN(Recipe recipe, recipe_of(options_));
  std::vector<Source> stages;
  VERGE_ASSIGN(Source source, source_of(recipe, stages));
  std::string labels_text;
  VERGE_ASSIGN(std::vector<std::string> labels, split_labels(recipe, labels_text));
  VERGE_ASSIGN(std::shared_ptr<engine::Catalog> catalog, engine::Catalog::scan(os::install().plugin_dir));
  device_ = os::this_device();

  VERGE_RETURN_IF_ERROR(os::make_dirs(options_.zoo));
  VERGE_ASSIGN(std::unique_ptr<os::FileLock> lock, lock_zoo(options_.zoo, [&](const std::string& text) { progress_.line(text); }));
  VERGE_ASSIGN(KeyParts key, key_parts(recipe, source, labels_text, *catalog, device_));
  std::optional<package::Package> previous = latest_package(options_.zoo, recipe.name);
  const std::string whole = package_key(key);
  if (previous && previous->manifest.build_key == whole) {
    Status damage = intact(*previous);
    if (damage.ok()) return reuse(*previous);
    progress_.warning("version " + std::to_string(previous->manifest.version) + " is damaged (" + damage.message() + "); building a new one");
  }
  int64_t version = recipe.version ? recipe.version : highest_version(options_.zoo, recipe.name) + 1;
  if (recipe.version && os::exists(os::join(os::join(options_.zoo, recipe.name), std::to_string(version)))) {
    return recipe.error("version", std::to_string(version) + " exists already and was built from something else; raise it, or leave it out for the next one");
  }
  VERGE_ASSIGN(Staging staging, Staging::create(options_.zoo));
  ToolchainOptions toolchain = installed_toolchain(os::join(staging.work_dir(), "toolchain"), os::join(staging.package_dir(), "logs/toolchain.log"));
  const bool replaces = previous.has_value();
  MakeContext context{options_, recipe, source, key, device_, *catalog, toolchain, labels, std::move(previous), progress_, std::move(stages)};
  Maker maker(context, staging);
  VERGE_RETURN_IF_ERROR(maker.inspect());
  VERGE_RETURN_IF_ERROR(maker.prepare_samples());
  Status s = maker.make_variants();
  bool interrupted = s.code() == Code::kCancelled;
  if (!s.ok() && !interrupted) return s;
  // Half a package is worth something only where there is none yet: it must not stand in front of a whole one.
  auto verified = [](const VariantProfile& p) { return p.verdict == Verdict::kOk; };
  if (interrupted && (replaces || std::none_of(maker.profile().variants.begin(), maker.profile().variants.end(), verified))) return s;
  Manifest& m = maker.package().manifest;
  m.version = version;
  if (!interrupted && options_.profile) {
    Status measured = maker.measure();
    interrupted = measured.code() == Code::kCancelled;
    if (!measured.ok() && (!interrupted || replaces)) return measured;
  }
  maker.calibrate_exits();
  m.build_key = interrupted || maker.cut_short() ? incomplete_key(whole) : whole;
  VERGE_ASSIGN(int code, write(maker, staging, labels_text));
  return interrupted ? kExitInterrupted : code;
}

Result<int> Builder::write(Maker& maker, Staging& staging, const std::string& labels_text) {
  package::Package& package = maker.package();
  Manifest& m = package.manifest;
  if (!labels_text.empty()) {
    m.labels_file = "labels.txt";
    m.labels_sha256 = os::sha256_hex(labels_text);
    VERGE_RETURN_IF_ERROR(os::write_file_atomic(os::join(package.dir, m.labels_file), labels_text));
  }
  drop_empty_logs(os::join(package.dir, "logs"), m);
  std::string text = print_manifest(m);
  auto again = parse_manifest(text);
  if (!again.ok()) return internal_error("the manifest would not be readable: " + again.status().message());
  VERGE_RETURN_IF_ERROR(os::write_file_atomic(os::join(package.dir, "manifest.json"), text));
  package.manifest_sha256 = os::sha256_hex(text);
  Profile profile = new_profile(package);
  profile.build_seconds = progress_.elapsed_s();
  profile.variants = maker.profile().variants;
  profile.engine_versions = maker.profile().engine_versions;
  VERGE_RETURN_IF_ERROR(write_profile(package.dir, profile));
  VERGE_ASSIGN(std::string dir, staging.publish(m.name, m.version));
  if (options_.report) options_.report(dir);
  return summarise(m, profile, dir, progress_);
}

// Nothing has changed. A device that has no measurements yet gets them.
Result<int> Builder::reuse(const package::Package& package) {
  const Profile* profile = package.profile_for(device_.fingerprint);
  bool measured = profile && std::any_of(profile->variants.begin(), profile->variants.end(), [](const VariantProfile& p) {
                    return !p.latency.empty();
                  });
  bool any_ok = profile && std::any_of(profile->variants.begin(), profile->variants.end(), [](const VariantProfile& p) { return p.verdict == Verdict::kOk; });
  if (options_.profile && (!profile || (any_ok && !measured))) {
    progress_.line("unchanged; measuring it on this device");
    return profile_main({package.dir, {}, options_.thorough, options_.quiet, options_.report});
  }
  progress_.line("unchanged: version " + std::to_string(package.manifest.version) + " is up to date, nothing was converted");
  if (options_.report) options_.report(package.dir);
  return profile ? summarise(package.manifest, *profile, package.dir, progress_) : kExitOk;
}

}  // namespace

int build_main(const BuildOptions& options) {
  os::catch_interrupt();
  Progress progress(options.quiet);
  auto code = Builder(options, progress).run();
  if (code.ok()) return *code;
  progress.error(code.status().code() == Code::kCancelled ? "interrupted; what was there before is unchanged" : code.status().message());
  return exit_code_of(code.status());
}

}  // namespace verge::build
