// What is served, as fronts see it: immutable snapshots. The loader makes a new table at each change and sends it to every front; a front
// reads its own pointer and takes no lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "policy/admission.h"
#include "policy/choose.h"
#include "policy/lifecycle.h"
#include "policy/predictor.h"
#include "runtime/chain.h"
#include "runtime/lane_queue.h"
#include "runtime/metrics.h"
#include "runtime/runtime.h"
#include "runtime/sequences.h"
#include "transform/chain.h"

namespace verge::runtime {

using policy::Predictor;

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
  std::vector<ServedStage> stages;       // of a multi-exit model, as the manifest's
  std::vector<std::vector<double>> exit_accuracy;  // by variant and exit; of a model without exits one a variant. Negative: unknown
  std::unique_ptr<LiveSequences> sequences;  // nullptr: it is stateless
  int64_t most_batch = 0;  // samples that a request may hold; 0: the batch does not lead everywhere, or a sequence's rule counts
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
  int threads = 1;       // of an engine instance on the first lane
  int64_t max_rows = 1;  // samples of several requests that may go through the engine at once; 1: each goes alone
  // What waits for it, by lane. Touched by whoever has the lane.
  mutable std::unique_ptr<LaneGroup[]> groups;
  // What it takes, by lane and stage. Learned from by whoever has the lane.
  uint32_t parts = 1;  // stages, or one
  std::unique_ptr<Predictor[]> predictors;
  Predictor& predictor(uint32_t lane, uint32_t part = 0) const { return predictors[size_t{lane} * parts + part]; }
};

struct VariantEntry {
  policy::VariantState state = policy::VariantState::kAbsent;
  std::shared_ptr<const Resident> resident;  // set in kResident
  uint64_t failed_loads = 0;
  uint64_t retry_ns = 0;  // after a failure: not to be loaded again before this time
  Status last_error;      // of the last load
};

// One way to answer: a variant, up to one of its exits.
struct Option {
  uint32_t member = 0;      // of a family: which of its versions
  uint32_t variant = 0;
  uint32_t exit = kNoExit;  // kNoExit: the model has none
  double accuracy = -1;
  policy::Quantiles profiled;  // of one sample, as the profile has it
  bool resident = false;
  bool dominated = false;   // by option `by`: never to be chosen
  int32_t by = -1;
};

struct VersionEntry {
  std::vector<Option> options;  // what a request that has bounds chooses among
  uint32_t resident_options = 0;  // loaded, and not dominated
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

// Models offered together under one name.
struct FamilyEntry {
  std::string name;
  std::vector<std::shared_ptr<const VersionEntry>> members;  // the latest version of each, none broken
  std::vector<Option> options;                               // of all members
  ModelStats* stats = nullptr;
};

struct Table {
  std::map<std::string, ModelEntry, std::less<>> models;
  std::map<std::string, FamilyEntry, std::less<>> families;  // none has a model's name
  size_t most_options = 0;  // of a model or family
};
// When all versions are in: their options, and the families. `stats` finds a family's. Says what cannot be offered together.
void add_options(VersionEntry& version);
void add_families(Table& table, const std::function<ModelStats*(const std::string&)>& stats, const std::function<void(const std::string& family, const std::string& why)>& refused);

// What metadata says.
ModelDoc describe(const ModelEntry& model, const VersionEntry& version);
ModelDoc describe(const FamilyEntry& family);
ModelStatistics statistics_of(const VersionEntry& version);
std::string measured_text(const Table& table, uint32_t lanes);  // of all that is resident, for /metrics
ModelStatistics statistics_of(const FamilyEntry& family);
// "'a', 'b'": the variants of the manifest that a request may name.
std::string variant_names(const Manifest& manifest);

}  // namespace verge::runtime
