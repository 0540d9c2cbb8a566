// The conversion tool chain as a child process; the protocol is docs/conversion-protocol.md. What it answers is checked before it is
// believed: it works on untrusted models.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "build/targets.h"
#include "core/manifest.h"
#include "core/status.h"
#include "os/process.h"

namespace verge::build {

struct ToolchainOptions {
  std::vector<std::string> argv;       // the interpreter and the module
  std::vector<std::string> extra_env;
  std::string log_path;                // standard output and error of the child
  std::string work;                    // folder for all that it writes; paths it names must lie below
};
// Of this installation. argv is empty where the tool chain is not installed.
ToolchainOptions installed_toolchain(const std::string& work, const std::string& log_path);

struct Inspected {
  std::string signature_name;
  Signature signature;
  bool has_loop = false;
  int64_t fixed_batch = 0;  // that the source's file is bound to; 0: any
  std::string precision;    // of the source's own weights, where the tool chain says
  std::string reference;  // "tensorflow 2.21.0"
  std::vector<std::string> notes;
};

struct SampleFiles {
  std::map<std::string, std::string> calibration, golden, evaluation;  // network input -> npy; empty: none
};

// A stage that a network was cut into: a SavedModel of its own.
struct CutStage {
  std::string dir;
  Signature network;
};

struct ArtifactFile {
  std::string dir;
  std::string entry;
  int64_t batch = 0;
};

struct ConvertEvent {
  enum class Kind { kReference, kNativePath, kProgress, kArtifact, kDone };
  Kind kind = Kind::kDone;
  // kReference: network output -> npy; of the calibration samples where they were asked for
  std::map<std::string, std::string> golden, evaluation, calibration;
  NativePath native_path;
  std::string target;  // kProgress, kArtifact
  std::string step;    // kProgress
  Conversion conversion = Conversion::kOk;  // kArtifact, as all that follows
  std::string reason, log, format, converter;
  std::vector<ArtifactFile> files;
  std::map<std::string, std::string> names;
  double seconds = 0;
  std::vector<std::string> notes;
};

class Toolchain {
 public:
  static Result<Toolchain> start(const ToolchainOptions& options);

  // kFailedPrecondition with the tool chain's sentence when the source is refused. What convert makes of it goes to `work`, the tool chain's own folder
  // or one below.
  Result<Inspected> inspect(const std::string& source, const std::string& kind, const std::string& signature, const std::string& work, double timeout_s,
                            const std::string& batch = {});
  // Cuts a network at its outputs `exits`, into as many stages; refusals as above.
  Result<std::vector<CutStage>> cut(const std::string& source, const std::string& kind, const std::string& signature, const std::vector<std::string>& exits, double timeout_s);

  struct ConvertOptions {
    bool native_paths = false;
    bool reference_calibration = false;  // the reference answers the calibration samples, too
  };
  Status begin_convert(const std::vector<ConversionTarget>& targets, const std::vector<int64_t>& batches, const SampleFiles& samples, const ConvertOptions& options);
  // kDeadlineExceeded, kCancelled, and kUnavailable with how the child ended.
  Result<ConvertEvent> next(double timeout_s);

  // Ends the child; how it went.
  os::Exit finish(double timeout_s) { return process_.wait(timeout_s); }
  void kill() { process_.kill_group(); }

 private:
  Toolchain(os::LineProcess process, ToolchainOptions options) : process_(std::move(process)), options_(std::move(options)) {}
  Result<Json> read_event(double timeout_s);
  Status inside(const std::string& path, const std::string& what) const;

  os::LineProcess process_;
  ToolchainOptions options_;
};

}  // namespace verge::build
