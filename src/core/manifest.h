// The manifest of a package: what the model is, which variants were made of it, and the digest of every file. Device-independent;
// what was measured stands in profiles (core/profile.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/sequence.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge {

// One transform as written in model.yaml: `op` and its parameters (an object). src/transform knows what they mean.
struct StepSpec {
  std::string op;
  Json params = Json::object();
};

// A served input and the chain that turns it into a network's input.
struct ServedInput {
  TensorSpec spec;             // what clients send; the batch axis is free
  std::string feeds;           // name of the network's input
  std::vector<StepSpec> steps;
};

// A served output and the chain that makes it from a network's output. Several may come from one.
struct ServedOutput {
  TensorSpec spec;
  std::string from;
  std::vector<StepSpec> steps;
};

// A stage of a multi-exit model: a network of its own. Its inputs are inputs of the model's network or outputs of earlier stages, found by name; its
// outputs are the features that later stages take, and the answer of its exit. A tensor's name means the same in all stages.
struct StageSpec {
  Signature network;
  std::string exit;    // name of the exit that answers after this stage
  std::string output;  // output of `network` that stands for the model's one network output at this exit
};

enum class MetricKind { kNone, kTop1, kTopK, kMae, kRmse, kAuc, kAgreement };
std::string_view metric_name(MetricKind k);  // "top1", "topk", "mae", "rmse", "auc", "agreement", "none"
Result<MetricKind> metric_from_name(std::string_view name);
// Whether larger is better (top-1, top-k, AUC, agreement) or smaller (MAE, RMSE).
bool metric_larger_is_better(MetricKind k);

struct Metric {
  MetricKind kind = MetricKind::kNone;
  int k = 5;           // top-k only
  std::string output;  // the network's output it is computed on; empty: the first
};

// What a variant may lose before it is rejected. Negative: no limit.
struct Limits {
  double max_accuracy_loss = -1;  // in the metric's unit, against the reference
  double max_abs_diff = -1;       // largest |variant - reference| over the compared samples
};

struct ManifestFile {
  std::string path;  // relative to the artifact's folder, '/'-separated, never climbing out
  uint64_t size = 0;
  std::string sha256;  // lower-case hex
};

struct Artifact {
  std::string id;      // folder digest: sha256 over the sorted lines "path\tsize\tsha256\n"
  std::string format;  // "openvino-ir", "onnx", "tflite", "saved_model", "identity"
  std::string entry;   // the file inside an engine is given; empty: the folder itself
  int64_t batch = 0;   // fixed batch size, 0: free
  std::vector<ManifestFile> files;
  double generate_seconds = 0;
  std::string converter;  // "openvino 2026.4.1", "tf2onnx 1.17.0 + onnxruntime 1.31.1", "source file"
  uint64_t size_bytes() const;
};

enum class Conversion { kOk, kFailed, kLeftOut };
std::string_view conversion_name(Conversion c);  // "ok", "failed", "left out"

// One stage's part of a variant of a multi-exit model.
struct VariantStage {
  std::vector<std::string> artifacts;        // ids; more than one where each has a fixed batch size
  std::map<std::string, std::string> names;  // as VariantSpec::names, of the stage's network
};

// One executable form of the model. `engine`, `precision` and `options` are what is asked for; what is executed is in the profile.
struct VariantSpec {
  std::string id;         // "openvino-ir-int8", unique in the manifest, [a-z0-9._-]
  std::string engine;     // "openvino", "onnxruntime", "litert", "tensorflow", "identity"
  std::string precision;  // "f32", "f16", "bf16", "int8", "dynamic": of the weights or the arithmetic asked for
  std::string form;       // "", "unrolled", "loop"
  std::string device;     // "cpu", "arm64", "cuda", "tensorrt", "edgetpu": where it can run
  std::vector<std::string> artifacts;           // ids; more than one where each has a fixed batch size, or of several stages
  std::vector<VariantStage> stages;             // of a multi-exit model, as the manifest's; empty: the model is one network
  std::string signature;                        // SavedModel signature; empty: the default
  std::map<std::string, std::string> options;   // the engine's, e.g. {"inference_precision": "bf16"}
  Conversion conversion = Conversion::kOk;
  std::string reason;  // of failed and left out: one sentence
  std::string log;     // path under logs/, empty if there is none
  // Input and output names of this artifact, where they differ from the network's: network name -> artifact's name.
  std::map<std::string, std::string> names;
  std::string build_key;  // sha256 of what decides the artifacts' bytes; a later version with an equal key takes them over
};

struct Golden {
  int64_t samples = 0;
  std::string source;  // "evaluation data", "calibration data", "seeded noise": what the samples are
  // npy files under golden/, one a network input or output, batch first.
  std::map<std::string, std::string> inputs;
  std::map<std::string, std::string> outputs;
  std::vector<ManifestFile> files;
};

// Latency of the source model by one call path of its native framework, measured once at build ("predict", "model(x)", "tf.function").
struct NativePath {
  std::string path;
  int64_t batch = 1;
  int64_t n = 0;
  double p50_us = 0;
};

struct Manifest {
  static constexpr int kFormat = 1;
  std::string name;     // [A-Za-z0-9._-]{1,128}, starts with a letter or digit
  int64_t version = 1;  // positive
  std::string description;
  std::string family;         // models of one family take and give the same and are offered together under this name; empty: none
  std::string source_kind;    // "saved_model", "keras", "h5", "onnx", "tflite", "openvino-ir"
  std::string source_name;    // file or folder name, without its path
  std::string source_sha256;
  std::string build_key;      // sha256, see docs/package-format.md
  std::string reference;      // what the outputs were compared with: "tensorflow 2.21.0", "onnxruntime 1.31.1", …
  Signature network;          // the network's own signature
  std::vector<ServedInput> inputs;    // the served signature
  std::vector<ServedOutput> outputs;
  std::vector<StageSpec> stages;      // of a multi-exit model, in order; empty: it is one network
  SequenceSpec sequence;              // of a stateful model: what feeds the network beside the served inputs
  std::string labels_file;    // "labels.txt" in the package, empty if there are none
  std::string labels_sha256;
  Metric metric;
  Limits limits;
  int64_t evaluation_samples = 0;
  std::string evaluation_description;   // "cifar10 200-999", …
  double reference_accuracy = -1;       // metric of the reference on the evaluation data; -1: none
  std::vector<NativePath> native_paths;
  std::vector<Artifact> artifacts;
  std::vector<VariantSpec> variants;
  Golden golden;

  const Artifact* artifact(std::string_view id) const;
  const VariantSpec* variant(std::string_view id) const;
};

Result<Manifest> parse_manifest(std::string_view text);  // bounded; checks names, paths, references between parts
std::string print_manifest(const Manifest& m);           // the same bytes for the same value
Json signature_json(const Signature& s);
Json tensor_spec_json(const TensorSpec& s);
Result<TensorSpec> parse_tensor_spec(const Json& j, const std::string& where);
Result<Signature> parse_signature(const Json& j, const std::string& where);

// Folder digest of an artifact's files, in any order.
std::string folder_digest(std::vector<ManifestFile> files);

bool valid_name(std::string_view name);           // a model's or variant's name
bool valid_relative_path(std::string_view path);  // '/'-separated, no empty part, ".", "..", NUL, backslash; at most 512 bytes

}  // namespace verge
