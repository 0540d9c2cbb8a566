// Makes the content of a package in a staging folder: inspect → prove the served signature → samples → convert, verifying what is finished
// at the same time → measure. Fills in a manifest and a profile; publishing is build.cc's.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "build/build.h"
#include "build/build_key.h"
#include "build/convert.h"
#include "build/exits.h"
#include "build/infer.h"
#include "build/pool.h"
#include "build/progress.h"
#include "build/publish.h"
#include "build/recipe.h"
#include "build/samples.h"
#include "build/served.h"
#include "build/targets.h"
#include "build/verify.h"
#include "core/manifest.h"
#include "core/profile.h"
#include "engine/catalog.h"
#include "engine/worker.h"
#include "package/package.h"

namespace verge::build {

struct MakeContext {
  const BuildOptions& options;
  const Recipe& recipe;
  const Source& source;
  const KeyParts& key;
  const Device& device;
  engine::Catalog& catalog;
  ToolchainOptions toolchain;  // argv empty: not installed
  std::vector<std::string> labels;
  std::optional<package::Package> previous;  // the latest version, whose artifacts may be taken over
  Progress& progress;
  std::vector<Source> stage_sources;  // of a recipe whose exits have models of their own
};

class Maker {
 public:
  Maker(const MakeContext& context, const Staging& staging);

  // Each in this order. A Status ends the build, except kCancelled from the last two: what is finished by then is usable.
  Status inspect();
  Status prepare_samples();
  Status make_variants();
  Status measure();
  // Of a multi-exit model: when to leave, from what the exits answered and the stages take.
  void calibrate_exits();

  package::Package& package() { return package_; }
  Profile& profile() { return profile_; }
  // Whether the tool chain ended before its time: the build is then worth repeating.
  bool cut_short() const { return cut_short_; }

 private:
  // inspect
  Status inspect_with_engine();
  Status start_toolchain();
  Status cut_into_stages();
  Status take_stages();
  Status settle_stages();
  // prepare_samples
  Result<std::optional<data::Dataset>> load(const std::optional<data::DatasetSpec>& spec, const char* field);
  Status settle_metric(const data::Dataset& evaluation);
  // make_variants
  Status take_source_artifact();
  void take_over_previous(std::vector<ConversionTarget>& wanted);
  Status convert(std::vector<ConversionTarget> wanted, const std::vector<int64_t>& batches);
  bool may_grow(size_t target);
  bool large_batch_worth(size_t target);
  Status grow_batches(Status converted);
  std::vector<int64_t> wanted_batches() const;
  void doubt_large_batches();
  Status read_events(std::vector<ConversionTarget>& remaining, std::string& current);
  Status on_artifact(const ConvertEvent& event);
  Status on_reference(const ConvertEvent& event);
  Status reference_from_engine();
  Status set_reference(std::map<std::string, Tensor> golden, std::map<std::string, Tensor> evaluation);
  Result<std::string> add_artifact(const std::string& dir, Artifact artifact, bool copy);
  void mark(const std::string& conversion_id, Conversion conversion, const std::string& reason, const std::string& log);
  // of a multi-exit model
  Status make_stages(std::vector<ConversionTarget> wanted);
  Status open_stage(size_t stage);
  SampleFiles stage_samples() const;
  Status on_stage_reference(const ConvertEvent& event);
  Status set_exit_references(std::map<std::string, Tensor> golden, std::map<std::string, Tensor> evaluation);
  void drop_unused_artifacts();
  std::string at_stage() const;  // "exit 'early': " where the tool chain is at a stage
  Status judge_chain(size_t target, const engine::WorkerResult& result, VariantProfile& p);
  void converted(size_t target, const std::vector<std::string>& artifacts, const std::map<std::string, std::string>& names);
  void verify_later(size_t target);
  void begin_verifying();
  void verify(size_t target);
  bool chain() const { return !c_.recipe.exits.empty(); }
  VariantSpec& variant(size_t target) { return package_.manifest.variants[target]; }

  const MakeContext& c_;
  std::string package_dir_, work_, logs_;
  std::unique_ptr<Toolchain> toolchain_;
  // What it has inspected, and what is to be converted: the whole network or a stage, by its index.
  static constexpr size_t kWhole = SIZE_MAX, kNothing = SIZE_MAX - 1;
  size_t open_ = kNothing, network_ = kWhole;
  bool answered_ = false;  // the reference of what is being converted
  Inspected inspected_;
  int64_t fixed_batch_ = 0;  // of the source's file
  Served served_;
  std::vector<Target> targets_;  // variants and profile entries have the same indices
  NetworkSamples golden_;
  std::string golden_source_;
  SampleFiles files_;
  bool real_samples_ = false;
  Reference reference_;
  bool have_reference_ = false;
  struct Stage {
    Source source;
    std::string signature;  // of its SavedModel
    std::string work;       // of the tool chain
    bool has_loop = false;  // known once it is inspected
  };
  std::vector<Stage> stages_;  // of a multi-exit model
  // What the stages were given and have made so far, in the tool chain's reference: tensor -> npy.
  SampleFiles made_;
  std::vector<Reference> exit_references_;
  std::vector<int64_t> calibration_labels_;  // classes; empty: none
  struct ExitSamples {
    std::vector<ExitAnswers> calibration, evaluation;  // of each exit
  };
  std::map<size_t, ExitSamples> exit_samples_;  // by target
  bool cut_short_ = false;
  // Targets whose artifacts are there before verifying may begin: it needs the reference, and must not run while the tool chain measures the
  // native call paths.
  std::vector<size_t> waiting_;
  // Targets whose files may become more once they are measured. What is made of them then joins what they have; what fails leaves it.
  enum class Growing { kNo, kMayBegin, kBegun, kOver };
  Growing growing_ = Growing::kNo;
  std::vector<size_t> held_, grown_;
  bool verifying_ = false;
  std::unique_ptr<TaskPool> pool_;
  std::mutex mutex_;             // guards profile_ and exit_samples_ while the pool works
  package::Package package_;
  Profile profile_;
};

}  // namespace verge::build
