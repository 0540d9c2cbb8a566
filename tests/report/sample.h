// A package as a build of a small image classifier leaves it, in memory.
#pragma once

#include <cmath>
#include <string>

#include "package/package.h"

namespace verge::report {

inline void add_variant(package::Package& p, const std::string& id, const std::string& engine, const std::string& precision,
                        const std::string& executed, double accuracy, double diff, double p50, double load, double cached, double resident,
                        double size, double seconds) {
  const bool shared = id.ends_with("bf16");
  if (!shared) {
    Artifact a;
    a.id = id + "-artifact";
    a.format = engine == "openvino" ? "openvino-ir" : engine == "litert" ? "tflite" : engine == "tensorflow" ? "saved_model" : "onnx";
    a.files = {{"model", static_cast<uint64_t>(size), std::string(64, '0')}};
    a.generate_seconds = seconds;
    a.converter = engine + " converter";
    p.manifest.artifacts.push_back(a);
  }
  VariantSpec v;
  v.id = id;
  v.engine = engine;
  v.precision = precision;
  v.device = "cpu";
  v.artifacts = {p.manifest.artifacts.back().id};
  p.manifest.variants.push_back(v);
  VariantProfile m;
  m.id = id;
  m.verdict = Verdict::kOk;
  m.accuracy = accuracy;
  m.accuracy_samples = 800;
  m.max_abs_diff = diff;
  m.compared_samples = 256;
  m.executed_precision = executed;
  m.executed_precision_source = "the engine's execution graph";
  m.load_ms_cold = load;
  m.load_ms_cached = cached;
  m.resident_bytes = static_cast<int64_t>(resident);
  m.energy_source = "not available: this machine shows no energy counters (RAPL)";
  for (int64_t cores : {1, 2})
    for (int64_t batch : {1, 2, 4, 8, 16, 32, 64}) {
      LatencyCell c;
      c.batch = batch;
      c.cores = cores;
      const double b = static_cast<double>(batch);
      c.p50_us = p50 * (0.35 + 0.65 * b) / (cores == 2 ? 1.5 : 1.0) * (1 + 0.06 * std::sin(b));
      c.mean_us = c.p50_us * 1.03;
      c.min_us = c.p50_us * 0.95;
      c.max_us = c.p50_us * 2;
      c.n = std::min<int64_t>(1000, static_cast<int64_t>(3e5 / c.mean_us) + 1);
      if (c.n >= 20) c.p90_us = c.p50_us * 1.1;
      if (c.n >= 1000) c.p99_us = c.p50_us * 1.4;
      m.latency.push_back(c);
    }
  p.profiles[0].variants.push_back(m);
}

inline package::Package sample_package() {
  package::Package p;
  p.dir = "/zoo/resnet8/1";
  Manifest& m = p.manifest;
  m.name = "resnet8";
  m.description = "ResNet-8 for CIFAR-10";
  m.source_kind = "h5";
  m.source_name = "pretrainedResnet.h5";
  m.reference = "tensorflow 2.21.0";
  m.metric.kind = MetricKind::kTop1;
  m.limits.max_accuracy_loss = 0.02;
  m.evaluation_samples = 800;
  m.evaluation_description = "cifar10 200-999";
  m.reference_accuracy = 0.88125;
  m.golden.samples = 256;
  m.native_paths = {{"model.predict", 1, 40, 51400}, {"model(x)", 1, 60, 21800}, {"predict_on_batch", 1, 400, 1160}, {"tf.function", 1, 500, 990}};
  Profile profile;
  profile.device = {"0123456789abcdef", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "x86_64", 2, {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}, int64_t{16} << 30};
  profile.measured_at = "2026-02-03T04:05:06Z";
  profile.verge_version = "0.1.0";
  profile.engine_versions = {{"litert", "2.3.0"}, {"onnxruntime", "1.31.1"}, {"openvino", "2026.4.1"}, {"tensorflow", "2.21.0"}};
  profile.build_seconds = 131;
  p.profiles.push_back(profile);
  add_variant(p, "tensorflow-saved-model-f32", "tensorflow", "f32", "f32", 0.88125, 2.4e-7, 512, 380, -1, 68e6, 640e3, 2.1);
  add_variant(p, "openvino-ir-f32", "openvino", "f32", "f32", 0.88125, 6e-7, 215, 48, 16.2, 9.4e6, 325e3, 3.2);
  add_variant(p, "openvino-ir-bf16", "openvino", "bf16", "bf16", 0.87875, 0.031, 67.4, 46, 15.8, 7.1e6, 325e3, 3.2);
  add_variant(p, "openvino-ir-f16", "openvino", "f16", "f32", 0.88125, 9e-4, 216, 49, 16.9, 9.4e6, 171e3, 2.8);
  add_variant(p, "openvino-ir-int8", "openvino", "int8", "int8", 0.87, 0.14, 66.1, 71, 19.8, 6.1e6, 141e3, 21);
  add_variant(p, "openvino-tflite-int8", "openvino", "int8", "int8", 0.8775, 0.12, 65.8, 69, 19.1, 6.6e6, 110e3, 14);
  add_variant(p, "onnxruntime-onnx-f32", "onnxruntime", "f32", "f32", 0.88125, 5e-7, 248, 12, -1, 4.1e6, 318e3, 4.4);
  add_variant(p, "onnxruntime-onnx-int8", "onnxruntime", "int8", "mixed", 0.87125, 0.16, 323, 17, -1, 4.9e6, 118e3, 9);
  add_variant(p, "litert-tflite-f32", "litert", "f32", "f32", 0.88125, 4e-7, 314, 1.2, -1, 2.2e6, 313e3, 2.2);
  add_variant(p, "litert-tflite-f16", "litert", "f16", "f32", 0.88125, 9e-4, 324, 1.4, -1, 2.4e6, 163e3, 2.4);
  add_variant(p, "litert-tflite-dynamic", "litert", "dynamic", "mixed", 0.87875, 0.05, 162, 1.1, -1, 1.4e6, 103e3, 2.5);
  add_variant(p, "litert-tflite-int8", "litert", "int8", "int8", 0.8725, 0.13, 195, 1.1, -1, 1.2e6, 110e3, 14);
  auto refuse = [&](const std::string& id, const std::string& engine, Verdict verdict, const std::string& reason) {
    add_variant(p, id, engine, "f32", "", -1, -1, 1, -1, -1, -1, 3e5, 1);
    VariantProfile& v = p.profiles[0].variants.back();
    v = VariantProfile();
    v.id = id;
    v.verdict = verdict;
    v.reason = reason;
  };
  refuse("openvino-onnx-f32", "openvino", Verdict::kRejected, "largest difference 0.916 to the reference is above the limit 0.25");
  refuse("litert-tflite-loop", "litert", Verdict::kFailed, "killed by signal 11 (SIGSEGV) while loading");
  VariantSpec failed;
  failed.id = "onnxruntime-onnx-loop";
  failed.engine = "onnxruntime";
  failed.precision = "f32";
  failed.conversion = Conversion::kFailed;
  failed.reason = "tf2onnx has no rule for the operator TensorListReserve";
  failed.log = "logs/onnxruntime-onnx-loop.log";
  m.variants.push_back(failed);
  failed.id = "tensorrt-onnx-f16";
  failed.engine = "tensorrt";
  failed.precision = "f16";
  failed.device = "tensorrt";
  failed.conversion = Conversion::kLeftOut;
  failed.reason = "no TensorRT on this machine";
  m.variants.push_back(failed);
  return p;
}

}  // namespace verge::report
