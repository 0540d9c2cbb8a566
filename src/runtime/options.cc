// What there is to choose among: a version's variants and exits, and those of models that are offered together.
#include <algorithm>

#include "runtime/table.h"

namespace verge::runtime {
namespace {

using policy::VariantState;

policy::Quantiles profiled(const std::vector<LatencyCell>& cells) {
  const LatencyCell* best = nullptr;
  for (const LatencyCell& c : cells) {
    if (c.batch == 1 && c.p50_us > 0 && (best == nullptr || c.cores < best->cores)) best = &c;
  }
  if (best == nullptr) return {};
  const auto ns = [](double us) { return static_cast<uint64_t>(us * 1000); };
  return {ns(best->p50_us), ns(best->p99_us > 0 ? best->p99_us : best->p50_us * 1.3)};
}

bool may_answer(const VariantSpec& spec, const VariantProfile* p) {
  if (spec.conversion != Conversion::kOk) return false;
  return p == nullptr || p->verdict == Verdict::kOk || (p->verdict == Verdict::kNotMeasured && p->reason.empty());
}

// By what was measured; options without figures neither dominate nor are dominated.
void mark(std::vector<Option>& options) {
  std::vector<policy::Candidate> candidates;
  for (const Option& o : options) {
    candidates.push_back({.accuracy = o.accuracy, .typical_ns = o.profiled.typical_ns, .cautious_ns = o.profiled.cautious_ns, .ready = o.resident});
  }
  std::vector<uint8_t> dominated(options.size());
  std::vector<int32_t> by(options.size());
  policy::mark_dominated(candidates, dominated, by);
  for (size_t i = 0; i < options.size(); ++i) {
    options[i].dominated = dominated[i] != 0;
    options[i].by = by[i];
  }
}

bool same(const TensorSpec& a, const TensorSpec& b) { return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.batch_axis == b.batch_axis; }

// Empty where requests for one can be answered by the other.
std::string difference(const Manifest& a, const Manifest& b) {
  const auto sides = [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), [](const auto& s, const auto& t) { return same(s.spec, t.spec); });
  };
  if (!sides(a.inputs, b.inputs)) return "their inputs differ";
  if (!sides(a.outputs, b.outputs)) return "their outputs differ";
  if (a.metric.kind != b.metric.kind || (a.metric.kind == MetricKind::kTopK && a.metric.k != b.metric.k)) return "their accuracies are not of one metric";
  if (a.sequence.given() || b.sequence.given()) return "one of them keeps state";
  return {};
}

}  // namespace

void add_options(VersionEntry& version) {
  version.options.clear();
  const Manifest& m = version.served->manifest();
  const bool larger_is_better = metric_larger_is_better(m.metric.kind);
  for (uint32_t v = 0; v < m.variants.size(); ++v) {
    const VariantProfile* p = version.source->profile.variant(m.variants[v].id);
    if (!may_answer(m.variants[v], p)) continue;
    Option o;
    o.variant = v;
    o.resident = version.variants[v].state == VariantState::kResident;
    const std::vector<double>& accuracy = version.served->exit_accuracy[v];
    for (uint32_t k = 0; k < accuracy.size(); ++k) {
      o.accuracy = larger_is_better ? accuracy[k] : -1;
      if (m.stages.empty()) {
        if (p != nullptr) o.profiled = profiled(p->latency);
      } else {
        o.exit = k;
        const policy::Quantiles q = p != nullptr && k < p->stages.size() ? profiled(p->stages[k].latency) : policy::Quantiles{};
        o.profiled.typical_ns = q.typical_ns == 0 ? 0 : o.profiled.typical_ns + q.typical_ns;
        o.profiled.cautious_ns = q.typical_ns == 0 ? 0 : o.profiled.cautious_ns + q.cautious_ns;
      }
      version.options.push_back(o);
    }
  }
  mark(version.options);
  version.resident_options = static_cast<uint32_t>(std::count_if(version.options.begin(), version.options.end(), [](const Option& o) { return o.resident && !o.dominated; }));
}

void add_families(Table& table, const std::function<ModelStats*(const std::string&)>& stats, const std::function<void(const std::string&, const std::string&)>& refused) {
  for (const auto& [name, model] : table.models) {
    const VersionEntry* latest = model.latest;
    if (latest == nullptr || latest->served == nullptr || latest->source->manifest.family.empty()) continue;
    const std::string& family = latest->source->manifest.family;
    if (table.models.contains(family)) {
      refused(family, "a model has this name");
      continue;
    }
    FamilyEntry& entry = table.families[family];
    if (entry.members.empty()) {
      entry.name = family;
      entry.stats = stats(family);
    } else if (const std::string why = difference(entry.members.front()->source->manifest, latest->source->manifest); !why.empty()) {
      refused(family, "'" + entry.members.front()->source->name + "' and '" + name + "': " + why);
      continue;
    }
    const auto member = static_cast<uint32_t>(entry.members.size());
    entry.members.push_back(model.versions.at(latest->source->version));
    for (Option o : latest->options) {
      o.member = member;
      entry.options.push_back(o);
    }
  }
  for (auto& [name, family] : table.families) {
    mark(family.options);
    table.most_options = std::max(table.most_options, family.options.size());
  }
}

ModelDoc describe(const FamilyEntry& family) {
  const VersionEntry& first = *family.members.front();
  ModelEntry alone;
  alone.versions[1] = family.members.front();
  ModelDoc d = describe(alone, first);
  d.name = family.name;
  d.version = 1;
  d.versions = {1};
  d.unavailable = Status();
  bool any = false;
  Json variants = Json::array(), members = Json::array();
  for (const auto& member : family.members) {
    const ModelDoc own = describe(alone, *member);
    members.push_back(member->source->name);
    any |= own.unavailable.ok();
    if (own.parameters.contains("variants")) {
      for (Json v : own.parameters["variants"]) {
        v["model"] = member->source->name;
        variants.push_back(std::move(v));
      }
    }
    d.max_batch = std::min(d.max_batch, own.max_batch);
  }
  if (!any) d.unavailable = unavailable("no model of family '" + family.name + "' has a variant to answer with");
  d.default_variant.clear();
  d.parameters = {{"family", std::move(members)}, {"variants", std::move(variants)}};
  return d;
}

ModelStatistics statistics_of(const FamilyEntry& family) {
  ModelStatistics sum;
  std::map<uint64_t, ModelStatistics::Batch> batches;
  const auto add = [](DurationStat& to, const DurationStat& from) {
    to.count += from.count;
    to.ns += from.ns;
  };
  for (const auto& member : family.members) {
    const ModelStatistics s = statistics_of(*member);
    sum.last_inference_ms = std::max(sum.last_inference_ms, s.last_inference_ms);
    sum.inference_count += s.inference_count;
    sum.execution_count += s.execution_count;
    for (const auto field : {&ModelStatistics::success, &ModelStatistics::fail, &ModelStatistics::queue, &ModelStatistics::compute_input, &ModelStatistics::compute_infer, &ModelStatistics::compute_output}) {
      add(sum.*field, s.*field);
    }
    for (const auto& b : s.batches) {
      ModelStatistics::Batch& to = batches[b.size];
      to.size = b.size;
      add(to.compute_input, b.compute_input);
      add(to.compute_infer, b.compute_infer);
      add(to.compute_output, b.compute_output);
    }
  }
  for (auto& [size, b] : batches) sum.batches.push_back(b);
  sum.name = family.name;
  sum.version = 1;
  return sum;
}

}  // namespace verge::runtime
