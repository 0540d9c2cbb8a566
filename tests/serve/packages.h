// Packages of the identity engine.
#pragma once

#include <gtest/gtest.h>

#include "core/npy.h"
#include "core/profile.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::serve {

inline TensorSpec spec() { return {"x", DType::kFp32, Shape{-1, 2}, 0, {}}; }

// An identity package of two variants; the second one answers later.
inline Manifest write_package(const std::string& zoo, const std::string& name, int64_t version, bool with_profile) {
  const std::string dir = os::join(os::join(zoo, name), std::to_string(version));
  const std::string model = R"({"tensors":[{"name":"x","dtype":"FP32","shape":[-1,2],"batch_axis":0}]})";
  Manifest m;
  m.name = name;
  m.version = version;
  m.source_kind = "identity";
  m.source_name = "identity.json";
  m.source_sha256 = os::sha256_hex("source");
  m.build_key = os::sha256_hex("key");
  m.reference = "identity 1";
  m.network.inputs = m.network.outputs = {spec()};
  m.inputs = {{spec(), "x", {}}};
  m.outputs = {{spec(), "x", {}}};
  Artifact a;
  a.format = "identity";
  a.entry = "model.json";
  a.files = {{"model.json", model.size(), os::sha256_hex(model)}};
  a.id = folder_digest(a.files);
  EXPECT_TRUE(os::make_dirs(os::join(dir, "artifacts/" + a.id)).ok());
  EXPECT_TRUE(os::write_file_atomic(os::join(dir, "artifacts/" + a.id + "/model.json"), model).ok());
  Tensor golden(DType::kFp32, Shape{2, 2});
  for (int i = 0; i < 4; ++i) golden.as<float>()[i] = static_cast<float>(i);
  const std::string npy = print_npy(golden);
  EXPECT_TRUE(os::make_dirs(os::join(dir, "golden")).ok());
  EXPECT_TRUE(os::write_file_atomic(os::join(dir, "golden/x.npy"), npy).ok());
  m.golden.samples = 2;
  m.golden.inputs = m.golden.outputs = {{"x", "x.npy"}};
  m.golden.files = {{"x.npy", npy.size(), os::sha256_hex(npy)}};
  for (const char* id : {"quick", "late"}) {
    VariantSpec v;
    v.id = id;
    v.engine = "identity";
    v.precision = "f32";
    v.device = "cpu";
    v.artifacts = {a.id};
    if (v.id == "late") v.options["delay_us"] = "2000";
    m.variants.push_back(v);
  }
  m.artifacts.push_back(std::move(a));
  const std::string text = print_manifest(m);
  EXPECT_TRUE(os::write_file_atomic(os::join(dir, "manifest.json"), text).ok());
  if (with_profile) {
    Profile p;
    p.device = os::this_device();
    p.manifest_sha256 = os::sha256_hex(text);
    p.measured_at = os::utc_now();
    p.verge_version = "test";
    for (const VariantSpec& v : m.variants) {
      VariantProfile vp;
      vp.id = v.id;
      vp.verdict = Verdict::kOk;
      LatencyCell c;
      c.n = 100;
      c.p50_us = v.id == "late" ? 2000 : 5;
      vp.latency.push_back(c);
      p.variants.push_back(vp);
    }
    EXPECT_TRUE(os::make_dirs(os::join(dir, "profiles")).ok());
    EXPECT_TRUE(os::write_file_atomic(os::join(dir, "profiles/" + p.device.fingerprint + ".json"), print_profile(p)).ok());
  }
  return m;
}

}  // namespace verge::serve
