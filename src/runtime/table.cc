#include "runtime/table.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "os/process.h"

namespace verge::runtime {
namespace {

int index_of(const std::vector<TensorSpec>& specs, std::string_view name) {
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

std::string names_of(const std::vector<TensorSpec>& specs) {
  std::string out;
  for (const TensorSpec& s : specs) out += (out.empty() ? "'" : ", '") + s.name + "'";
  return out.empty() ? "none" : out;
}

// Whether every concrete shape of `from` fits `to`, as far as free dimensions let that be known.
bool may_fit(const Shape& to, const Shape& from) {
  if (to.rank() != from.rank()) return false;
  for (int i = 0; i < to.rank(); ++i) {
    if (to[i] >= 0 && from[i] >= 0 && to[i] != from[i]) return false;
  }
  return true;
}

std::string type_of(const TensorSpec& s) { return std::string(dtype_name(s.dtype)) + s.shape.to_string(); }

}  // namespace

Result<std::shared_ptr<ServedVersion>> prove(std::shared_ptr<const ModelSource> source, uint32_t lanes) {
  auto v = std::make_shared<ServedVersion>();
  const Manifest& m = source->manifest;
  const transform::Context context{source->labels};
  v->most_batch = source->max_batch > 0 ? source->max_batch : m.sequence.given() ? 0 : most_batch(m);
  std::vector<bool> fed(m.network.inputs.size(), false);
  if (m.sequence.given()) {
    VERGE_RETURN_IF_ERROR(check_sequence(m.sequence, m.network));
    for (size_t i = 0; i < fed.size(); ++i) fed[i] = m.sequence.feeds(m.network.inputs[i].name);
    v->sequences = std::make_unique<LiveSequences>(m.sequence, m.network, source->name, lanes);
  }
  for (const ServedInput& in : m.inputs) {
    const std::string where = "input '" + in.spec.name + "'";
    const int target = index_of(m.network.inputs, in.feeds);
    if (target < 0) return invalid_argument(where + " feeds '" + in.feeds + "', which the network does not take; it takes " + names_of(m.network.inputs));
    if (fed[static_cast<size_t>(target)]) return invalid_argument(where + " feeds '" + in.feeds + "', which another input feeds already");
    fed[static_cast<size_t>(target)] = true;
    VERGE_ASSIGN(transform::Chain chain, transform::Chain::build(in.steps, in.spec, context, where));
    const TensorSpec& want = m.network.inputs[static_cast<size_t>(target)];
    if (chain.output().dtype != want.dtype || !may_fit(want.shape, chain.output().shape)) {
      return invalid_argument(where + ": its steps end in " + type_of(chain.output()) + ", but the network's '" + want.name + "' takes " + type_of(want));
    }
    v->before.push_back(std::move(chain));
    v->feeds.push_back(static_cast<uint32_t>(target));
  }
  for (size_t i = 0; i < fed.size(); ++i) {
    if (!fed[i]) return invalid_argument("no served input feeds the network's '" + m.network.inputs[i].name + "'");
  }
  for (const ServedOutput& out : m.outputs) {
    const std::string where = "output '" + out.spec.name + "'";
    const int from = index_of(m.network.outputs, out.from);
    if (from < 0) return invalid_argument(where + " comes from '" + out.from + "', which the network does not give; it gives " + names_of(m.network.outputs));
    VERGE_ASSIGN(transform::Chain chain, transform::Chain::build(out.steps, m.network.outputs[static_cast<size_t>(from)], context, where));
    if (chain.output().dtype != out.spec.dtype || !may_fit(out.spec.shape, chain.output().shape)) {
      return invalid_argument(where + ": its steps end in " + type_of(chain.output()) + ", but it is declared as " + type_of(out.spec));
    }
    v->after.push_back(std::move(chain));
    v->from.push_back(static_cast<uint32_t>(from));
  }
  VERGE_ASSIGN(v->stages, link_stages(m));
  for (const VariantSpec& spec : m.variants) {
    const VariantProfile* p = source->profile.variant(spec.id);
    std::vector<double> accuracy;
    if (v->stages.empty()) {
      accuracy.push_back(p == nullptr ? -1 : p->accuracy);
    } else {
      for (size_t k = 0; k < v->stages.size(); ++k) accuracy.push_back(p == nullptr || k >= p->exits.size() ? -1 : p->exits[k].accuracy);
    }
    v->exit_accuracy.push_back(std::move(accuracy));
  }
  v->source = std::move(source);
  return v;
}

Result<Binding> bind(const Signature& network, const Signature& artifact, const std::map<std::string, std::string>& names) {
  Binding b;
  const auto artifact_name = [&](const std::string& network_name) -> const std::string& {
    const auto it = names.find(network_name);
    return it == names.end() ? network_name : it->second;
  };
  // Engines name a lone tensor as they like.
  const auto find = [](const std::vector<TensorSpec>& specs, const std::string& name, size_t network_count) {
    const int i = index_of(specs, name);
    return i < 0 && specs.size() == 1 && network_count == 1 ? 0 : i;
  };
  b.inputs.assign(artifact.inputs.size(), UINT32_MAX);
  for (size_t n = 0; n < network.inputs.size(); ++n) {
    const TensorSpec& spec = network.inputs[n];
    const int a = find(artifact.inputs, artifact_name(spec.name), network.inputs.size());
    if (a < 0) {
      return failed_precondition("the artifact takes no '" + artifact_name(spec.name) + "'; it takes " + names_of(artifact.inputs));
    }
    const TensorSpec& has = artifact.inputs[static_cast<size_t>(a)];
    if (has.dtype != spec.dtype || !may_fit(has.shape, spec.shape)) {
      return failed_precondition("the artifact's input '" + has.name + "' is " + type_of(has) + " where the network's is " + type_of(spec));
    }
    b.inputs[static_cast<size_t>(a)] = static_cast<uint32_t>(n);
  }
  for (size_t a = 0; a < b.inputs.size(); ++a) {
    if (b.inputs[a] == UINT32_MAX) return failed_precondition("nothing feeds the artifact's input '" + artifact.inputs[a].name + "'");
  }
  for (const TensorSpec& spec : network.outputs) {
    const int a = find(artifact.outputs, artifact_name(spec.name), network.outputs.size());
    if (a < 0) {
      return failed_precondition("the artifact gives no '" + artifact_name(spec.name) + "'; it gives " + names_of(artifact.outputs));
    }
    const TensorSpec& has = artifact.outputs[static_cast<size_t>(a)];
    if (has.dtype != spec.dtype || (has.shape.rank() != 0 && !may_fit(has.shape, spec.shape))) {
      return failed_precondition("the artifact's output '" + has.name + "' is " + type_of(has) + " where the network's is " + type_of(spec));
    }
    b.outputs.push_back(static_cast<uint32_t>(a));
  }
  return b;
}

bool answers(const VersionEntry& version) {
  return version.default_variant >= 0 && version.variants[static_cast<size_t>(version.default_variant)].state == policy::VariantState::kResident;
}

void ModelEntry::choose_latest() {
  const auto rank = [](const VersionEntry& v) {
    if (answers(v)) return 3;
    if (!v.broken.ok() || v.default_variant < 0) return 0;
    return v.variants[static_cast<size_t>(v.default_variant)].last_error.ok() ? 2 : 1;
  };
  latest = nullptr;
  for (const auto& [number, entry] : versions) {
    if (latest == nullptr || rank(*entry) >= rank(*latest)) latest = entry.get();
  }
}

const VersionEntry* ModelEntry::find(int64_t version) const {
  if (version == 0) return latest;
  const auto it = versions.find(version);
  return it == versions.end() ? nullptr : it->second.get();
}

std::string variant_names(const Manifest& manifest) {
  std::string out;
  for (const VariantSpec& v : manifest.variants) {
    if (v.conversion == Conversion::kOk) out += (out.empty() ? "'" : ", '") + v.id + "'";
  }
  return out.empty() ? "none" : out;
}

ModelStatistics statistics_of(const VersionEntry& version) {
  ModelStatistics s;
  s.name = version.source->name;
  s.version = version.source->version;
  if (version.served == nullptr) return s;
  std::array<ModelStatistics::Batch, BatchStats::kSizes> batches{};
  uint64_t last_ns = 0;
  const auto sum = [](DurationStat& to, const Histogram& from) {
    for (const Counter& c : from.buckets) to.count += c.get();
    to.ns += from.sum_ns.get();
  };
  for (const auto& variant : version.served->variant_stats) {
    for (size_t i = 0; i < variant->part_count; ++i) {
      const VariantStats::Part& p = variant->parts[i];
      s.inference_count += p.samples.get();
      s.execution_count += p.runs.get();
      sum(s.success, p.total);
      sum(s.queue, p.queue);
      sum(s.compute_input, p.assembly);
      sum(s.compute_infer, p.compute);
      sum(s.compute_output, p.encode);
      last_ns = std::max(last_ns, p.last_ns.get());
      for (size_t b = 0; b < batches.size(); ++b) {
        const BatchStats::Size& size = p.batches.sizes[b];
        batches[b].compute_input.count += size.runs.get();
        batches[b].compute_input.ns += size.assembly_ns.get();
        batches[b].compute_infer.count += size.runs.get();
        batches[b].compute_infer.ns += size.compute_ns.get();
        batches[b].compute_output.count += size.runs.get();
      }
    }
  }
  for (size_t b = 0; b < batches.size(); ++b) {
    if (batches[b].compute_infer.count == 0) continue;
    batches[b].size = BatchStats::size_at(b);
    s.batches.push_back(batches[b]);
  }
  if (last_ns != 0) {
    const auto age = std::chrono::nanoseconds(os::monotonic_ns() - last_ns);
    s.last_inference_ms = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch() - age).count());
  }
  for (size_t i = 0; i < version.stats->front_count; ++i) {
    for (const auto& by_code : version.stats->fronts[i].failures) {
      for (const Counter& c : by_code) s.fail.count += c.get();
    }
  }
  return s;
}

int64_t most_batch(const Manifest& m) {
  const auto batched = [](const auto& served) { return served.spec.batch_axis == 0; };
  if (!std::all_of(m.inputs.begin(), m.inputs.end(), batched) || !std::all_of(m.outputs.begin(), m.outputs.end(), batched)) return 0;
  return m.sequence.given() ? 1 : kMostBatch;
}

ModelDoc describe(const ModelEntry& model, const VersionEntry& version) {
  ModelDoc d;
  d.name = version.source->name;
  d.version = version.source->version;
  d.platform = "verge";
  for (const auto& [number, entry] : model.versions) d.versions.push_back(number);
  d.parameters = Json::object();
  if (!version.broken.ok()) {
    d.unavailable = unavailable("model '" + d.name + "' cannot be served: " + version.broken.message());
    d.parameters["unavailable"] = version.broken.message();
    return d;
  }
  const ModelSource& s = *version.source;
  if (!s.manifest.family.empty()) d.parameters["family"] = s.manifest.family;
  d.max_batch = s.max_batch > 0 ? s.max_batch : most_batch(s.manifest);
  d.decoupled = s.decoupled && !s.manifest.stages.empty();
  d.sequences = s.manifest.sequence.given();
  for (const ServedInput& in : s.manifest.inputs) d.inputs.push_back(in.spec);
  for (const ServedOutput& out : s.manifest.outputs) d.outputs.push_back(out.spec);
  if (version.default_variant >= 0) {
    d.default_variant = s.manifest.variants[static_cast<size_t>(version.default_variant)].id;
    if (const Resident* r = version.variants[static_cast<size_t>(version.default_variant)].resident.get(); r != nullptr)
      d.instances = static_cast<uint32_t>(std::max<size_t>((r->stages.empty() ? r->instances : r->stages.front().instances).size(), 1));
  } else {
    d.unavailable = unavailable("model '" + d.name + "' has no variant to answer with: " + s.no_default);
    d.parameters["unavailable"] = s.no_default;
  }
  Json variants = Json::array();
  for (size_t i = 0; i < s.manifest.variants.size(); ++i) {
    const VariantSpec& spec = s.manifest.variants[i];
    const VariantEntry& entry = version.variants[i];
    const VariantProfile* p = s.profile.variant(spec.id);
    Json j = {{"id", spec.id}, {"engine", spec.engine}, {"precision", spec.precision}};
    if (spec.conversion != Conversion::kOk) {
      j["verdict"] = conversion_name(spec.conversion);
      j["reason"] = spec.reason;
    } else {
      j["verdict"] = verdict_name(p == nullptr ? Verdict::kNotMeasured : p->verdict);
      if (p != nullptr && !p->reason.empty()) j["reason"] = p->reason;
      j["state"] = policy::state_name(entry.state);
      if (entry.resident != nullptr) j["threads"] = entry.resident->threads;
      if (!entry.last_error.ok()) j["load_error"] = entry.last_error.message();
    }
    if (p != nullptr) {
      if (!p->executed_precision.empty()) j["executed_precision"] = p->executed_precision;
      if (p->accuracy >= 0) j["accuracy"] = p->accuracy;
      if (p->max_abs_diff >= 0) j["max_abs_diff"] = p->max_abs_diff;
      if (const LatencyCell* c = p->cell(1, 1); c != nullptr && c->p50_us >= 0) j["p50_us"] = c->p50_us;
      if (p->resident_bytes >= 0) j["resident_bytes"] = p->resident_bytes;
    }
    variants.push_back(std::move(j));
  }
  d.parameters["variants"] = std::move(variants);
  return d;
}

}  // namespace verge::runtime
