#include "runtime/loader.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "os/process.h"
#include "runtime/execute.h"
#include "runtime/profiled.h"

namespace verge::runtime {
namespace {

using policy::LifeEvent;
using policy::VariantState;

constexpr uint64_t kMostRetryNs = 60'000'000'000;
constexpr size_t kMostLeft = 16;

uint64_t alignment_of(const engine::Instance& instance, bool output, uint32_t index, DType dtype) {
  const uint64_t natural = std::max<uint64_t>(dtype_size(dtype), 1);
  const auto preferred = instance.preferred_buffer(output, index, 1);
  // An alignment beyond a page is a mistake of the plugin, not a need.
  return preferred.ok() ? std::max(natural, std::min<uint64_t>(preferred->alignment, 4096)) : natural;
}

// How many samples of different requests may go through the engine at once: all tensors lead with the batch, none holds strings, and the
// artifact takes more than one.
int64_t rows_together(const Manifest& m, const Resident& resident) {
  const Signature& artifact = resident.model->signature();
  const std::vector<int64_t>& fixed = resident.model->fixed_batches();
  const auto leads = [](const TensorSpec& t) { return t.batch_axis == 0 && t.dtype != DType::kBytes; };
  for (const auto& in : m.inputs) {
    if (in.spec.batch_axis != 0) return 1;
  }
  for (const auto* tensors : {&m.network.inputs, &m.network.outputs}) {
    if (tensors->empty() || !std::all_of(tensors->begin(), tensors->end(), leads)) return 1;
  }
  if (!fixed.empty()) return fixed.back();
  for (const TensorSpec& t : artifact.inputs) {
    if (t.shape.rank() == 0 || t.shape[0] >= 0) return 1;
  }
  return policy::BatchCurve::kMostRows;
}

// A feature is written where the stages that take it want it: no copy between them.
void align_features(const ServedVersion& version, Resident& resident) {
  for (size_t k = 0; k < version.stages.size(); ++k) {
    const LoadedNetwork& taker = resident.stages[k];
    for (size_t a = 0; a < taker.binding.inputs.size(); ++a) {
      const ServedStage::Input& from = version.stages[k].inputs[taker.binding.inputs[a]];
      if (from.stage < 0) continue;
      LoadedNetwork& giver = resident.stages[static_cast<size_t>(from.stage)];
      uint64_t& alignment = giver.output_alignment[giver.binding.outputs[from.index]];
      alignment = std::max(alignment, taker.input_alignment[a]);
    }
  }
}

}  // namespace

Loader::Loader(Shared& shared, std::function<void(std::shared_ptr<const Table>)> publish)
    : shared_(shared), publish_(std::move(publish)), table_(std::make_shared<Table>()), ledger_(shared.options.memory_limit, os::resident_bytes()) {
  thread_ = std::thread([this] { loop(); });
}

Loader::~Loader() {
  push([this] {
    for (auto& [key, version] : versions_) withdraw(version);
    versions_.clear();
    incoming_.clear();
    std::lock_guard lock(table_mutex_);
    table_ = std::make_shared<Table>();
  });
  settle();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

// --- the queue of jobs ---

void Loader::push(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    ++pending_;
  }
  changed_.notify_one();
}

void Loader::loop() {
  pthread_setname_np(pthread_self(), "loader");
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    if (--pending_ == 0) settled_.notify_all();
  }
}

void Loader::settle() {
  std::unique_lock lock(mutex_);
  settled_.wait(lock, [&] { return pending_ == 0; });
}

void Loader::serve(std::shared_ptr<const ModelSource> source, std::function<void(Status)> loaded) {
  auto publication = std::make_shared<Publication>();
  publication->loaded = std::move(loaded);
  publication->counted = !started_.load(std::memory_order_relaxed);
  if (publication->counted) unsettled_.fetch_add(1, std::memory_order_relaxed);
  push([this, source = std::move(source), publication = std::move(publication)] { do_serve(source, publication); });
}

void Loader::retire(std::string name, int64_t version, std::function<void()> unloaded) {
  push([this, key = Key{std::move(name), version}, unloaded = std::move(unloaded)] { do_retire(key, unloaded); });
}

void Loader::request_load(std::shared_ptr<const ServedVersion> served, uint32_t variant) {
  push([this, served = std::move(served), variant] {
    const auto it = versions_.find({served->source->name, served->source->version});
    // Gone or replaced meanwhile: the front sees that in its next table.
    if (it != versions_.end() && it->second->served == served) do_load(it->second, variant);
  });
}

void Loader::push_load(std::shared_ptr<Version> version, uint32_t variant, std::shared_ptr<Publication> publication) {
  push([this, version = std::move(version), variant, publication = std::move(publication)] { load_published(version, variant, *publication); });
}

// --- what is served ---

std::shared_ptr<Loader::Version> Loader::make_version(const std::shared_ptr<const ModelSource>& source) {
  auto version = std::make_shared<Version>();
  version->source = source;
  version->stats = shared_.metrics.model(source->name);
  version->broken = source->broken;
  if (!version->broken.ok()) return version;
  // Two fronts that are lanes of their own could run two requests of one sequence at once.
  const bool lanes_missing = source->manifest.sequence.given() && shared_.lanes.empty() && shared_.options.fronts > 1;
  auto served = lanes_missing ? Result<std::shared_ptr<ServedVersion>>(failed_precondition("it keeps state, which needs lanes or a single front; set 'lanes' or 'fronts: 1'"))
                              : prove(source, shared_.lane_count());
  if (!served.ok()) {
    version->broken = served.status();
    return version;
  }
  for (const VariantSpec& v : source->manifest.variants) {
    std::vector<std::string> exits;
    for (const StageSpec& stage : source->manifest.stages) exits.push_back(stage.exit);
    (*served)->variant_stats.push_back(shared_.metrics.variant(source->name, source->version, v.id, std::move(exits)));
    if (v.id == source->default_variant) version->default_variant = static_cast<int>((*served)->variant_stats.size()) - 1;
  }
  version->served = std::move(served).value();
  version->variants.resize(source->manifest.variants.size());
  return version;
}

void Loader::do_serve(std::shared_ptr<const ModelSource> source, std::shared_ptr<Publication> publication) {
  const Key key{source->name, source->version};
  auto version = make_version(source);
  Json fields = {{"model", source->name}, {"version", source->version}};
  if (!version->broken.ok()) {
    publication->status = version->broken;
    fields["reason"] = version->broken.message();
    log(LogLevel::kError, "model_broken", std::move(fields));
  } else if (version->default_variant < 0) {
    publication->status = unavailable(source->no_default);
    fields["reason"] = source->no_default;
    log(LogLevel::kError, "model_without_variant", std::move(fields));
  } else {
    fields["default_variant"] = source->default_variant;
    log(LogLevel::kInfo, "model_served", std::move(fields));
  }
  const auto old = versions_.find(key);
  const bool answered = old != versions_.end() && old->second->default_variant >= 0 &&
                        old->second->variants[static_cast<size_t>(old->second->default_variant)].state == VariantState::kResident;
  if (answered && !publication->status.ok()) return finish(*publication);
  if (answered) {
    incoming_[key] = version;
  } else {
    if (old != versions_.end()) withdraw(old->second);
    versions_[key] = version;
    publish();
  }
  if (!version->broken.ok()) return finish(*publication);
  std::vector<uint32_t> loads;
  if (version->default_variant >= 0) loads.push_back(static_cast<uint32_t>(version->default_variant));
  for (const std::string& id : source->resident) {
    for (uint32_t v = 0; v < source->manifest.variants.size(); ++v) {
      if (source->manifest.variants[v].id == id && static_cast<int>(v) != version->default_variant) loads.push_back(v);
    }
  }
  publication->left = static_cast<uint32_t>(loads.size());
  if (loads.empty()) return finish(*publication);
  for (const uint32_t v : loads) push_load(version, v, publication);
}

void Loader::load_published(const std::shared_ptr<Version>& version, uint32_t variant, Publication& publication) {
  const Key key{version->source->name, version->source->version};
  const auto is = [&](const auto& map) {
    const auto it = map.find(key);
    return it != map.end() && it->second == version;
  };
  const bool is_default = static_cast<int>(variant) == version->default_variant;
  if (is(versions_) || is(incoming_)) {
    do_load(version, variant);
    if (is_default) publication.status = version->variants[variant].last_error;
    if (is_default && is(incoming_)) {
      incoming_.erase(key);
      if (publication.status.ok()) take_over(version);
    }
  } else if (is_default) {
    publication.status = Status(Code::kCancelled, "it was withdrawn or replaced before it was loaded");
  }
  if (--publication.left == 0) finish(publication);
}

void Loader::take_over(const std::shared_ptr<Version>& version) {
  std::shared_ptr<Version>& place = versions_[{version->source->name, version->source->version}];
  withdraw(place);
  place = version;
  publish();
}

void Loader::finish(Publication& publication) {
  // The fronts are told that ready() may have changed.
  if (publication.counted && unsettled_.fetch_sub(1, std::memory_order_acq_rel) == 1) publish();
  if (publication.loaded) publication.loaded(std::move(publication.status));
}

void Loader::do_retire(const Key& key, std::function<void()> unloaded) {
  incoming_.erase(key);
  const auto it = versions_.find(key);
  if (it != versions_.end()) {
    const std::shared_ptr<Version> version = it->second;
    versions_.erase(it);
    withdraw(version);
    log(LogLevel::kInfo, "model_retired", {{"model", key.first}, {"version", key.second}});
    publish();
    if (version->leaving > 0) {
      version->gone.push_back([this, key, unloaded = std::move(unloaded)] {
        left(key);
        if (unloaded) unloaded();
      });
      return;
    }
    left(key);
  }
  if (unloaded) unloaded();
}

// The figures of some versions that have gone are still told, so that a scrape sees how they ended.
void Loader::left(const Key& key) {
  left_.push_back(key);
  if (left_.size() <= kMostLeft) return;
  if (!versions_.contains(left_.front())) shared_.metrics.forget(left_.front().first, left_.front().second);
  left_.pop_front();
}

void Loader::withdraw(const std::shared_ptr<Version>& version) {
  for (uint32_t v = 0; v < version->variants.size(); ++v) {
    if (version->variants[v].state != VariantState::kResident) continue;
    move_to(*version, v, LifeEvent::kUnload);
    {
      std::lock_guard lock(mutex_);
      ++pending_;
    }
    ++version->leaving;
    version->variants[v].resident.reset();
  }
}

void Loader::publish() {
  auto table = std::make_shared<Table>();
  for (const auto& [key, version] : versions_) {
    auto entry = std::make_shared<VersionEntry>();
    entry->served = version->served;
    entry->source = version->source;
    entry->stats = version->stats;
    entry->broken = version->broken;
    entry->default_variant = version->default_variant;
    entry->variants = version->variants;
    if (entry->served != nullptr) add_options(*entry);
    table->most_options = std::max(table->most_options, entry->options.size());
    table->models[key.first].versions[key.second] = std::move(entry);
  }
  for (auto& [name, model] : table->models) model.choose_latest();
  add_families(
      *table, [this](const std::string& name) { return shared_.metrics.model(name); },
      [this](const std::string& family, const std::string& why) {
        if (std::exchange(families_refused_[family], why) != why) log(LogLevel::kWarning, "family_not_offered", {{"family", family}, {"reason", why}});
      });
  std::shared_ptr<const Table> old;  // dropped outside of the lock
  {
    std::lock_guard lock(table_mutex_);
    old = std::exchange(table_, table);
  }
  publish_(table);
}

std::shared_ptr<const Table> Loader::table() const {
  std::lock_guard lock(table_mutex_);
  return table_;
}

void Loader::memory(uint64_t& limit, uint64_t& base, uint64_t& reserved) const {
  std::lock_guard lock(table_mutex_);
  limit = ledger_.limit();
  base = ledger_.base();
  reserved = ledger_.reserved();
}

void Loader::move_to(Version& version, uint32_t variant, LifeEvent event) {
  VariantEntry& v = version.variants[variant];
  const auto next = policy::next_state(v.state, event);
  if (!next) {
    log(LogLevel::kError, "impossible_event", {{"state", policy::state_name(v.state)}, {"event", policy::event_name(event)}});
    return;
  }
  v.state = *next;
}

// --- loading ---

void Loader::do_load(const std::shared_ptr<Version>& version, uint32_t variant) {
  VariantEntry& v = version->variants[variant];
  if (v.state != VariantState::kAbsent) return;
  const VariantSpec& spec = version->served->manifest().variants[variant];
  VariantStats& stats = *version->served->variant_stats[variant];
  Json fields = {{"model", version->source->name}, {"version", version->source->version}, {"variant", spec.id}};
  const uint64_t begun = os::monotonic_ns();

  auto loaded = load(*version, variant);
  if (!loaded.ok()) {
    v.last_error = loaded.status().prefixed("model '" + version->source->name + "', variant '" + spec.id + "'");
    ++v.failed_loads;
    v.retry_ns = os::monotonic_ns() + std::min(kMostRetryNs, shared_.options.load_retry_ns << std::min<uint64_t>(v.failed_loads - 1, 6));
    stats.failed_loads.fetch_add(1, std::memory_order_relaxed);
    fields["reason"] = loaded.status().message();
    log(LogLevel::kError, "load_failed", std::move(fields));
    publish();
    return;
  }
  move_to(*version, variant, LifeEvent::kWarm);
  v.last_error = Status();
  stats.loads.fetch_add(1, std::memory_order_relaxed);
  stats.resident_bytes.fetch_add((*loaded)->reserved_bytes, std::memory_order_relaxed);
  fields["seconds"] = static_cast<double>(os::monotonic_ns() - begun) / 1e9;
  const engine::Model* model = (*loaded)->model != nullptr ? (*loaded)->model.get() : (*loaded)->stages.front().model.get();
  fields["executed_precision"] = model->executed_precision();
  fields["reserved_bytes"] = (*loaded)->reserved_bytes;
  fields["process_resident_bytes"] = os::resident_bytes();
  log(LogLevel::kInfo, "variant_resident", std::move(fields));
  // Whoever lets go of it last (a front, when the last answer is written) must not be the one who unloads it.
  v.resident = std::shared_ptr<const Resident>(loaded->release(), [this, version, variant](const Resident* r) {
    push([this, version, variant, r] { release(version, variant, const_cast<Resident*>(r)); });
  });
  publish();
}

void Loader::release(const std::shared_ptr<Version>& version, uint32_t variant, Resident* resident) {
  const uint64_t bytes = resident->reserved_bytes;
  delete resident;
  engine::trim_memory();
  {
    std::lock_guard lock(table_mutex_);
    ledger_.give_back(bytes);
  }
  move_to(*version, variant, LifeEvent::kReleased);
  VariantStats& stats = *version->served->variant_stats[variant];
  stats.unloads.fetch_add(1, std::memory_order_relaxed);
  stats.resident_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  log(LogLevel::kInfo, "variant_unloaded",
      {{"model", version->source->name}, {"version", version->source->version}, {"variant", version->served->manifest().variants[variant].id},
       {"process_resident_bytes", os::resident_bytes()}});
  {
    std::lock_guard lock(mutex_);
    --pending_;
  }
  const auto it = versions_.find({version->source->name, version->source->version});
  if (it != versions_.end() && it->second == version) publish();
  if (--version->leaving == 0) {
    for (const auto& gone : std::exchange(version->gone, {})) gone();
  }
}

Status Loader::reserve(const ModelSource& source, const VariantSpec& spec, const VariantProfile* profile, uint64_t& bytes, uint64_t& engine_bytes) {
  std::string how;
  if (profile != nullptr && profile->resident_bytes >= 0) {
    bytes = static_cast<uint64_t>(profile->resident_bytes);
    how = "measured on this device";
  } else {
    uint64_t files = 0;
    for (const std::string& id : spec.artifacts) {
      if (const Artifact* a = source.manifest.artifact(id); a != nullptr) files += a->size_bytes();
    }
    bytes = policy::estimated_resident_bytes(files);
    how = "estimated from files of " + policy::format_bytes(files);
  }
  // The engine's own memory comes with its first model and stays.
  engine_bytes = 0;
  if (profile != nullptr && profile->engine_fixed_bytes > 0 && !engines_used_.contains(spec.engine)) {
    engine_bytes = static_cast<uint64_t>(profile->engine_fixed_bytes);
    how += ", " + policy::format_bytes(engine_bytes) + " of it for the engine itself";
  }
  std::lock_guard lock(table_mutex_);
  VERGE_RETURN_IF_ERROR(ledger_.reserve(bytes + engine_bytes, "it", how));
  engines_used_[spec.engine] = true;
  return {};
}

int Loader::threads_on(uint32_t lane, const ModelSource& source, const VariantProfile* profile) const {
  const RuntimeOptions& options = shared_.options;
  const int most = options.lanes.empty() ? 1 : std::max<int>(static_cast<int>(options.lanes[lane].size()), 1);
  const int asked = source.threads >= 0 ? source.threads : options.threads;
  if (asked < 0) return profile == nullptr ? 1 : policy::choose_threads(thread_curve(profile->latency), most);
  return asked == 0 ? most : std::min(asked, most);
}

// An engine's model of one network, with an instance for each lane. `where` is put before errors, if not empty.
Status Loader::load_network(const ModelSource& source, const VariantSpec& spec, const Signature& network, const std::string& where, LoadedNetwork& out) {
  const auto tell = [&](const Status& s) { return where.empty() ? s : s.prefixed(where); };
  const std::vector<int> no_cores;
  const std::vector<std::vector<int>>& lanes = shared_.options.lanes;
  auto files = source.prepare(spec);
  if (!files.ok()) return tell(files.status());
  auto engine = shared_.options.catalog->get(spec.engine);
  if (!engine.ok()) return tell(engine.status());
  engine::LoadSpec load_spec = std::move(files).value();
  const VariantProfile* profile = source.profile.variant(spec.id);
  load_spec.threads = threads_on(0, source, profile);
  load_spec.cores = lanes.size() == 1 ? lanes[0] : no_cores;
  auto model = (*engine)->load(load_spec);
  if (!model.ok()) return tell(model.status());
  LoadedNetwork loaded;
  loaded.model = std::move(model).value();
  loaded.lends_outputs = ((*engine)->capabilities() & VERGE_CAP_EXTERNAL_OUTPUTS) != 0;
  const Signature& artifact = loaded.model->signature();
  auto binding = bind(network, artifact, spec.names);
  if (!binding.ok()) return tell(binding.status());
  loaded.binding = std::move(binding).value();
  for (uint32_t lane = 0; lane < shared_.lane_count(); ++lane) {
    auto instance = loaded.model->create_instance(lanes.empty() ? no_cores : lanes[lane], threads_on(lane, source, profile));
    if (!instance.ok()) return tell(instance.status());
    loaded.instances.push_back(std::move(instance).value());
  }
  for (uint32_t i = 0; i < artifact.inputs.size(); ++i) loaded.input_alignment.push_back(alignment_of(*loaded.instances[0], false, i, artifact.inputs[i].dtype));
  for (uint32_t i = 0; i < artifact.outputs.size(); ++i) loaded.output_alignment.push_back(alignment_of(*loaded.instances[0], true, i, artifact.outputs[i].dtype));
  static_cast<LoadedNetwork&>(out) = std::move(loaded);
  return {};
}

Result<std::unique_ptr<Resident>> Loader::load(Version& version, uint32_t variant) {
  const ModelSource& source = *version.source;
  const VariantSpec& spec = source.manifest.variants[variant];
  if (spec.conversion != Conversion::kOk) return failed_precondition(std::string(conversion_name(spec.conversion)) + ": " + spec.reason);
  uint64_t bytes = 0, engine_bytes = 0;
  VERGE_RETURN_IF_ERROR(reserve(source, spec, source.profile.variant(spec.id), bytes, engine_bytes));
  move_to(version, variant, LifeEvent::kLoad);
  publish();

  const auto failed = [&](Status s) {
    const bool warming = version.variants[variant].state == VariantState::kWarming;
    move_to(version, variant, LifeEvent::kFailed);
    if (warming) move_to(version, variant, LifeEvent::kReleased);
    engine::trim_memory();
    std::lock_guard lock(table_mutex_);
    ledger_.give_back(bytes);
    return s;
  };

  auto resident = std::make_unique<Resident>();
  const uint64_t before = os::resident_bytes();
  const uint32_t lanes = shared_.lane_count();
  if (spec.stages.empty()) {
    if (Status s = load_network(source, spec, source.manifest.network, {}, *resident); !s.ok()) return failed(std::move(s));
  } else {
    resident->parts = static_cast<uint32_t>(spec.stages.size());
    resident->stages.resize(spec.stages.size());
    for (size_t k = 0; k < spec.stages.size(); ++k) {
      // To whoever prepares the files a stage is a variant of its own.
      VariantSpec stage = spec;
      stage.artifacts = spec.stages[k].artifacts;
      stage.names = spec.stages[k].names;
      stage.stages.clear();
      const std::string where = "stage " + std::to_string(k + 1);
      if (Status s = load_network(source, stage, source.manifest.stages[k].network, where, resident->stages[k]); !s.ok()) {
        resident.reset();
        return failed(std::move(s));
      }
    }
    align_features(*version.served, *resident);
  }
  move_to(version, variant, LifeEvent::kLoaded);
  publish();
  resident->groups = std::make_unique<LaneGroup[]>(lanes);
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    LaneGroup& group = resident->groups[lane];
    group.heap.reserve(policy::BatchCurve::kMostRows);
    if (spec.stages.empty()) group.fixed = resident->model->fixed_batches();
    group.stages.resize(resident->stages.size());
    group.work.joined.resize(source.manifest.network.inputs.size());
    group.work.joined_inputs.resize(source.manifest.network.inputs.size());
  }
  // Requests of a multi-exit model leave at different exits, so each goes alone.
  resident->max_rows = spec.stages.empty() ? rows_together(source.manifest, *resident) : 1;
  if (source.max_batch > 0) resident->max_rows = std::min(resident->max_rows, source.max_batch);
  resident->predictors = std::make_unique<Predictor[]>(size_t{lanes} * resident->parts);
  if (const VariantProfile* p = source.profile.variant(spec.id); p != nullptr) {
    for (uint32_t lane = 0; lane < lanes; ++lane) seed(*resident, *p, lane, threads_on(lane, source, p));
  }
  resident->threads = threads_on(0, source, source.profile.variant(spec.id));
  if (Status s = warm(*version.served, *resident, spec); !s.ok()) {
    resident.reset();
    return failed(std::move(s));
  }
  // The prediction may have been too small (an engine's first model brings more). Growth by others' requests is counted too: to the safe side.
  const uint64_t after = os::resident_bytes(), grown = after > before ? after - before : 0;
  std::lock_guard lock(table_mutex_);
  if (grown > bytes + engine_bytes) {
    ledger_.add(grown - bytes - engine_bytes);
    bytes = grown - engine_bytes;
  }
  resident->reserved_bytes = bytes;
  return resident;
}

void Loader::log(LogLevel level, std::string_view event, Json fields) const {
  if (shared_.options.log) shared_.options.log(level, event, std::move(fields));
}

}  // namespace verge::runtime
