// A multi-exit package of the identity engine whose exits answer what the request says: stage k takes the features of stage k-1 (the first: "x") and the
// network input "pK", and gives the features "fK" and, as its exit's scores, "eK" = pK. So a test decides how sure each exit is, and how long it takes.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "core/manifest.h"
#include "core/profile.h"
#include "core/status.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::package {

struct ChainOptions {
  std::string name = "chain";
  int64_t version = 1;
  std::string family;
  std::vector<int64_t> delay_us = {1000, 1000, 1000, 1000};  // of each stage; their number is that of the exits
  std::vector<double> accuracy = {0.78, 0.84, 0.89, 0.91};   // of each exit, as the profile says; as many
  int64_t features = 4;  // elements a sample
  int64_t classes = 3;
  std::vector<std::string> variants = {"identity-f32"};
  double slower = 1.5;  // profile times of each variant against the one before
};

inline Manifest chain_manifest(const ChainOptions& o, std::vector<std::string>& files) {
  Manifest m;
  m.name = o.name;
  m.version = o.version;
  m.family = o.family;
  m.source_kind = "saved_model";
  m.metric.kind = MetricKind::kTop1;
  m.evaluation_samples = 1000;
  m.reference_accuracy = o.accuracy.back();
  const auto spec = [](const std::string& name, int64_t width) { return TensorSpec{name, DType::kFp32, Shape{-1, width}, 0, {}}; };
  m.network.inputs = {spec("x", o.features)};
  m.inputs = {{spec("x", o.features), "x", {}}};
  VariantSpec variant;
  variant.engine = "identity";
  variant.precision = "f32";
  variant.device = "cpu";
  for (size_t k = 0; k < o.delay_us.size(); ++k) {
    const std::string n = std::to_string(k + 1), before = k == 0 ? "x" : "f" + std::to_string(k);
    m.network.inputs.push_back(spec("p" + n, o.classes));
    m.inputs.push_back({spec("p" + n, o.classes), "p" + n, {}});
    m.stages.push_back({{{spec(before, o.features), spec("p" + n, o.classes)}, {spec("f" + n, o.features), spec("e" + n, o.classes)}}, "exit" + n, "e" + n});
    Json tensors = Json::array();
    tensors.push_back({{"name", before}, {"output", "f" + n}, {"dtype", "FP32"}, {"shape", {-1, o.features}}});
    tensors.push_back({{"name", "p" + n}, {"output", "e" + n}, {"dtype", "FP32"}, {"shape", {-1, o.classes}}});
    files.push_back(Json{{"tensors", tensors}, {"delay_us", o.delay_us[k]}}.dump());
    Artifact a;
    a.format = "identity";
    a.entry = "model.json";
    a.files = {{"model.json", files.back().size(), os::sha256_hex(files.back())}};
    a.id = folder_digest(a.files);
    variant.stages.push_back({{a.id}, {}});
    variant.artifacts.push_back(a.id);
    m.artifacts.push_back(std::move(a));
  }
  m.network.outputs = {spec(m.stages.back().output, o.classes)};
  m.outputs = {{spec("scores", o.classes), m.stages.back().output, {}}};
  for (const std::string& id : o.variants) {
    variant.id = id;
    m.variants.push_back(variant);
  }
  return m;
}

// What a profile of this device says of it: each stage takes its delay, each exit has its accuracy, half of what is left leaves at each exit.
inline Profile chain_profile(const ChainOptions& o, const std::string& manifest_sha256) {
  Profile p;
  p.device = os::this_device();
  p.manifest_sha256 = manifest_sha256;
  const auto cell = [](double us) {
    LatencyCell c;
    c.n = 1000;
    c.mean_us = c.min_us = c.p50_us = us;
    c.p90_us = us * 1.1;
    c.p99_us = c.max_us = us * 1.2;
    return c;
  };
  double factor = 1;
  for (const std::string& id : o.variants) {
    VariantProfile v;
    v.id = id;
    v.verdict = Verdict::kOk;
    v.accuracy = o.accuracy.back();
    v.accuracy_samples = 1000;
    v.resident_bytes = 1 << 20;
    double whole = 0;
    for (size_t k = 0; k < o.delay_us.size(); ++k) {
      const double us = static_cast<double>(o.delay_us[k]) * factor;
      whole += us;
      v.stages.push_back({{cell(us)}, (1 << 20) / static_cast<int64_t>(o.delay_us.size())});
      v.exits.push_back({o.accuracy[k], 0});
    }
    v.latency = {cell(whole)};
    // From "everything leaves first" to "nothing leaves early".
    for (const double threshold : {0.0, 0.5, 0.8, 0.95}) {
      ExitPoint point;
      point.thresholds.assign(o.delay_us.size() - 1, threshold);
      double left = 1, so_far = 0, accuracy = 0, cost = 0;
      for (size_t k = 0; k < o.delay_us.size(); ++k) {
        so_far += static_cast<double>(o.delay_us[k]) * factor;
        const double share = k + 1 == o.delay_us.size() ? left : left * (1 - threshold);
        point.shares.push_back(share);
        accuracy += share * o.accuracy[k];
        cost += share * so_far / whole;
        left -= share;
      }
      point.accuracy = accuracy;
      point.cost = cost;
      point.calibration_loss = o.accuracy.back() - accuracy;
      v.confidence.push_back(point);
      // Entropies fall as confidences rise.
      for (double& t : point.thresholds) t = 1 - t;
      v.entropy.push_back(point);
    }
    p.variants.push_back(std::move(v));
    factor *= o.slower;
  }
  return p;
}

// Writes ZOO/NAME/VERSION with a profile of this device; its folder.
inline Result<std::string> write_chain_package(const std::string& zoo, const ChainOptions& o = {}) {
  std::vector<std::string> files;
  const Manifest m = chain_manifest(o, files);
  const std::string dir = os::join(os::join(zoo, o.name), std::to_string(o.version));
  for (size_t k = 0; k < files.size(); ++k) {
    const std::string folder = os::join(os::join(dir, "artifacts"), m.variants.at(0).stages[k].artifacts[0]);
    VERGE_RETURN_IF_ERROR(os::make_dirs(folder));
    VERGE_RETURN_IF_ERROR(os::write_file_atomic(os::join(folder, "model.json"), files[k]));
  }
  const std::string text = print_manifest(m);
  VERGE_RETURN_IF_ERROR(os::write_file_atomic(os::join(dir, "manifest.json"), text));
  const Profile p = chain_profile(o, os::sha256_hex(text));
  VERGE_RETURN_IF_ERROR(os::make_dirs(os::join(dir, "profiles")));
  VERGE_RETURN_IF_ERROR(os::write_file_atomic(os::join(os::join(dir, "profiles"), p.device.fingerprint + ".json"), print_profile(p)));
  return dir;
}

}  // namespace verge::package
