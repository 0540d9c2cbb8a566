#include <algorithm>
#include <utility>

#include "os/process.h"
#include "runtime/execute.h"
#include "runtime/front.h"
#include "runtime/loader.h"

namespace verge::runtime {
namespace {

class RuntimeImpl final : public ServerRuntime {
 public:
  RuntimeImpl(RuntimeOptions options, std::vector<std::shared_ptr<const TenantBounds>> bounds) : shared_(std::move(options)) {
    shared_.bounds = std::move(bounds);
    for (uint32_t i = 0; i < shared_.options.lanes.size(); ++i) {
      Lane::Work work;
      work.serve = [](std::vector<Run*>& batch) {
        execute(batch);
        learn(batch);
        for (Run* run : batch) run->front->finished(run);
      };
      work.end = [](Run* run) { run->front->finished(run); };
      shared_.lanes.push_back(std::make_unique<Lane>(i, shared_.options.lanes[i], shared_.options.tenants, std::move(work)));
    }
    if (shared_.options.energy_meter) shared_.power = std::make_unique<MeasuredPower>(shared_.options.energy_meter);
    loader_ = std::make_unique<Loader>(shared_, [this](std::shared_ptr<const Table> table) { publish(std::move(table)); });
    shared_.request_load = [this](std::shared_ptr<const ServedVersion> v, uint32_t variant) { loader_->request_load(std::move(v), variant); };
    for (auto& lane : shared_.lanes) lane->start(shared_.lanes);
  }

  ~RuntimeImpl() override {
    loader_.reset();
    for (auto& lane : shared_.lanes) lane->stop();
  }

  std::unique_ptr<Front> make_front(std::function<void()> wake) override {
    std::lock_guard lock(fronts_mutex_);
    auto front = std::make_unique<Handle>(*this, shared_, static_cast<uint32_t>(made_++ % shared_.options.fronts), std::move(wake), loader_->table());
    fronts_.push_back(&front->impl);
    return front;
  }

  void infer(Front& front, Request& request) override { static_cast<Handle&>(front).impl.infer(request); }

  Status refuse(Front& front, const Request& request) override { return static_cast<Handle&>(front).impl.refuse(request); }

  Status set_bounds(uint32_t tenant, BoundsDefaults defaults) override {
    if (tenant >= shared_.options.tenants.size()) return invalid_argument("there is no tenant " + std::to_string(tenant));
    auto checked = check_bounds(std::move(defaults));
    if (!checked.ok()) return checked.status().prefixed("tenant '" + shared_.options.tenants[tenant].name + "'");
    std::lock_guard lock(fronts_mutex_);
    {
      std::lock_guard bounds_lock(shared_.bounds_mutex);
      shared_.bounds[tenant] = *checked;
    }
    for (FrontImpl* front : fronts_) front->post([front, tenant, bounds = *checked] { front->set_bounds(tenant, bounds); });
    return {};
  }
  Result<BoundsDefaults> bounds(uint32_t tenant) const override {
    std::lock_guard lock(shared_.bounds_mutex);
    if (tenant >= shared_.bounds.size()) return invalid_argument("there is no tenant " + std::to_string(tenant));
    return shared_.bounds[tenant]->given;
  }

  void cancel(Front& front, Request& request) override { static_cast<Handle&>(front).impl.cancel(request); }

  bool live() const override { return true; }
  bool ready() const override { return !preparing_.load(std::memory_order_relaxed) && loader_->ready(); }

  Result<bool> model_ready(Front& front, std::string_view name, int64_t version) const override {
    if (const FamilyEntry* family = find_family(front, name, version); family != nullptr) {
      return std::any_of(family->members.begin(), family->members.end(), [](const auto& member) { return answers(*member); });
    }
    VERGE_ASSIGN(const auto found, find(front, name, version));
    const VersionEntry& v = *found.second;
    return v.default_variant >= 0 && v.variants[static_cast<size_t>(v.default_variant)].state == policy::VariantState::kResident;
  }

  Result<ModelDoc> model_doc(Front& front, std::string_view name, int64_t version) const override {
    if (const FamilyEntry* family = find_family(front, name, version); family != nullptr) return describe(*family);
    VERGE_ASSIGN(const auto found, find(front, name, version));
    return describe(*found.first, *found.second);
  }

  Result<std::vector<ModelStatistics>> statistics(Front& front, std::string_view name, int64_t version) const override {
    const Table& table = static_cast<Handle&>(front).impl.table();
    std::vector<ModelStatistics> out;
    if (const FamilyEntry* family = find_family(front, name, version); family != nullptr) {
      out.push_back(statistics_of(*family));
      return out;
    }
    if (!name.empty()) {
      const auto found = find(front, name, version);
      if (!found.ok()) return found.status();
    }
    for (const auto& [model, entry] : table.models) {
      if (!name.empty() && model != name) continue;
      for (const auto& [number, v] : entry.versions) {
        if (version != 0 && number != version) continue;
        out.push_back(statistics_of(*v));
      }
    }
    return out;
  }

  std::string metrics_text() const override {
    Metrics::Gauges g{};
    loader_->memory(g.memory_limit, g.memory_base, g.memory_reserved);
    for (const auto& lane : shared_.lanes) g.lane_waiting.push_back(lane->waiting());
    g.ready = ready();
    g.process_resident = os::resident_bytes();
    return shared_.metrics.text(g) + measured_text(*loader_->table(), shared_.lane_count());
  }

  void begin_drain(std::function<void()> drained) override {
    std::lock_guard lock(fronts_mutex_);
    if (fronts_.empty()) return drained();
    auto left = std::make_shared<std::atomic<size_t>>(fronts_.size());
    auto all = std::make_shared<std::function<void()>>(std::move(drained));
    for (FrontImpl* front : fronts_) {
      front->post([front, left, all] {
        front->begin_drain([left, all] {
          if (left->fetch_sub(1, std::memory_order_acq_rel) == 1) (*all)();
        });
      });
    }
  }

  void serve(std::shared_ptr<const ModelSource> source, std::function<void(Status)> loaded) override { loader_->serve(std::move(source), std::move(loaded)); }
  void retire(std::string name, int64_t version, std::function<void()> unloaded) override { loader_->retire(std::move(name), version, std::move(unloaded)); }
  void set_preparing(bool preparing) override {
    if (!preparing) loader_->end_start();
    preparing_.store(preparing, std::memory_order_relaxed);
    std::lock_guard lock(fronts_mutex_);
    for (FrontImpl* front : fronts_) front->post([front] { front->changed(); });
  }
  void settle() override { loader_->settle(); }

  std::vector<VariantReport> variants() const override {
    std::vector<VariantReport> out;
    const auto table = loader_->table();
    for (const auto& [name, model] : table->models) {
      for (const auto& [number, version] : model.versions) {
        for (size_t v = 0; v < version->variants.size(); ++v) {
          const VariantEntry& entry = version->variants[v];
          out.push_back({name, number, version->source->manifest.variants[v].id, std::string(policy::state_name(entry.state)), entry.last_error.message()});
        }
      }
    }
    return out;
  }

 private:
  // What a front thread owns; the runtime forgets it when it is destroyed.
  struct Handle final : Front {
    Handle(RuntimeImpl& r, Shared& shared, uint32_t index, std::function<void()> wake, std::shared_ptr<const Table> table)
        : owner(r), impl(shared, index, std::move(wake), std::move(table)) {}
    ~Handle() override {
      std::lock_guard lock(owner.fronts_mutex_);
      std::erase(owner.fronts_, &impl);
    }
    void drain() override { impl.drain(); }
    uint64_t next_timer_ns() const override { return impl.next_timer_ns(); }
    void post(std::function<void()> fn) override { impl.post(std::move(fn)); }
    void on_change(std::function<void()> fn) override { impl.on_change(std::move(fn)); }
    bool crowded() const override { return impl.crowded(); }
    RuntimeImpl& owner;
    FrontImpl impl;
  };

  void publish(std::shared_ptr<const Table> table) {
    std::lock_guard lock(fronts_mutex_);
    for (FrontImpl* front : fronts_) front->post([front, table] { front->set_table(table); });
  }

  Result<std::pair<const ModelEntry*, const VersionEntry*>> find(Front& front, std::string_view name, int64_t version) const {
    const Table& table = static_cast<Handle&>(front).impl.table();
    const auto model = table.models.find(name);
    if (model == table.models.end()) return not_found("Request for unknown model: '" + std::string(name.substr(0, 128)) + "' is not found");
    const VersionEntry* v = model->second.find(version);
    if (v == nullptr) return not_found("model '" + model->first + "' has no version " + std::to_string(version));
    return std::pair(&model->second, v);
  }

  static const FamilyEntry* find_family(Front& front, std::string_view name, int64_t version) {
    const auto& families = static_cast<Handle&>(front).impl.table().families;
    const auto it = families.find(name);
    return it == families.end() || version > 1 ? nullptr : &it->second;
  }

  Shared shared_;
  std::mutex fronts_mutex_;  // the list of fronts; not on the request path
  std::vector<FrontImpl*> fronts_;
  uint64_t made_ = 0;
  std::atomic<bool> preparing_{false};
  std::unique_ptr<Loader> loader_;
};

}  // namespace

Result<std::unique_ptr<ServerRuntime>> make_runtime(RuntimeOptions options) {
  if (options.catalog == nullptr) return internal_error("a runtime needs an engine catalog");
  if (options.fronts < 1 || options.fronts > kMostFronts) {
    return invalid_argument("fronts: " + std::to_string(options.fronts) + " is not between 1 and " + std::to_string(kMostFronts));
  }
  if (options.lanes.size() > kMostFronts) {
    return invalid_argument("lanes: " + std::to_string(options.lanes.size()) + " are more than " + std::to_string(kMostFronts));
  }
  if (options.tenants.empty() || options.tenants.size() > kMostTenants) {
    return invalid_argument("tenants: " + std::to_string(options.tenants.size()) + " is not between 1 and " + std::to_string(kMostTenants));
  }
  for (const TenantOptions& t : options.tenants) {
    if (!(t.weight > 0 && t.weight <= 1e6)) return invalid_argument("tenant '" + t.name + "': its weight must be above 0 and at most 1000000");
  }
  if (options.queue_limit < 1) return invalid_argument("queue limit: it must be at least 1");
  std::vector<std::shared_ptr<const TenantBounds>> bounds;
  for (const TenantOptions& t : options.tenants) {
    auto checked = check_bounds(t.bounds);
    if (!checked.ok()) return checked.status().prefixed("tenant '" + t.name + "'");
    bounds.push_back(std::move(checked).value());
  }
  return std::unique_ptr<ServerRuntime>(std::make_unique<RuntimeImpl>(std::move(options), std::move(bounds)));
}

}  // namespace verge::runtime
