// What is served, as fronts see it: immutable snapshots. The loader makes a new table at each change and sends it to every front; a front
// reads its own pointer and takes no lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "policy/lifecycle.h"
#include "runtime/lane_queue.h"
#include "runtime/metrics.h"
#include "runtime/runtime.h"
#include "runtime/sequences.h"
#include "transform/chain.h"

namespace verge::runtime {

// The sequences of a stateful version, for all fronts. Locked for the beginning and the end of a request; stateless models have none.
struct LiveSequences {
  LiveSequences(const SequenceSpec& spec, const Signature& network, const std::string& model, uint32_t lanes) : store(spec, network, model, lanes) {}
  std::mutex mutex;
  SequenceStore store;
};

// A version with its chains built and proved. Never changes, but for what its sequences remember.
struct ServedVersion {
  std::shared_ptr<const ModelSource> source;
  std::vector<transform::Chain> before;  // a served input's way to the network
  std::vector<uint32_t> feeds;           // served input -> network input
  std::vector<transform::Chain> after;   // the network's way to a served output
  std::vector<uint32_t> from;            // served output -> network output
  std::vector<std::shared_ptr<VariantStats>> variant_stats;  // as source->manifest.variants
  std::unique_ptr<LiveSequences> sequences;  // nullptr: it is stateless
  const Manifest& manifest() const { return source->manifest; }
};

// Builds and proves the chains of a source that is not broken. `lanes`: among how many its sequences are dealt out.
Result<std::shared_ptr<ServedVersion>> prove(std::shared_ptr<const ModelSource> source, uint32_t lanes = 1);

// How an artifact's tensors relate to the network's.
struct Binding {
  std::vector<uint32_t> inputs;   // artifact input -> network input
  std::vector<uint32_t> outputs;  // network output -> artifact output
};
Result<Binding> bind(const Signature& network, const Signature& artifact, const std::map<std::string, std::string>& names);

// A network that an engine has loaded: all of a variant, or one of its stages.
struct LoadedNetwork {
  std::shared_ptr<engine::Model> model;
  std::vector<std::unique_ptr<engine::Instance>> instances;  // one a lane
  Binding binding;
  bool lends_outputs = false;              // the engine writes into buffers of ours
  std::vector<uint64_t> input_alignment;   // of artifact inputs, bytes
  std::vector<uint64_t> output_alignment;  // of artifact outputs
};

// A loaded and warm variant.
struct Resident : LoadedNetwork {
  std::vector<LoadedNetwork> stages;       // of a multi-exit model, whose own network above is then empty
  uint64_t reserved_bytes = 0;
  int64_t max_rows = 1;  // samples of several requests that may go through the engine at once; 1: each goes alone
  // What waits for it, by lane. Touched by whoever has the lane.
  mutable std::unique_ptr<LaneGroup[]> groups;
};

struct VariantEntry {
  policy::VariantState state = policy::VariantState::kAbsent;
  std::shared_ptr<const Resident> resident;  // set in kResident
  uint64_t failed_loads = 0;
  uint64_t retry_ns = 0;  // after a failure: not to be loaded again before this time
  Status last_error;      // of the last load
};

struct VersionEntry {
  std::shared_ptr<const ServedVersion> served;  // nullptr where it is broken
  std::shared_ptr<const ModelSource> source;
  ModelStats* stats = nullptr;
  Status broken;
  std::vector<VariantEntry> variants;  // as the manifest's
  int default_variant = -1;
};

// Whether a request that names no variant is answered by it without waiting.
bool answers(const VersionEntry& version);

struct ModelEntry {
  std::map<int64_t, std::shared_ptr<const VersionEntry>> versions;
  // 0: the one for requests that name none. The latest that answers: a new version takes over when its default variant is resident, a bad one
  // never does. Where none answers, the latest that may yet, so that requests wait for it.
  const VersionEntry* find(int64_t version) const;
  const VersionEntry* latest = nullptr;
  void choose_latest();  // when `versions` is complete
};

struct Table {
  std::map<std::string, ModelEntry, std::less<>> models;
};

// What metadata says.
ModelDoc describe(const ModelEntry& model, const VersionEntry& version);
ModelStatistics statistics_of(const VersionEntry& version);
// "'a', 'b'": the variants of the manifest that a request may name.
std::string variant_names(const Manifest& manifest);

}  // namespace verge::runtime
