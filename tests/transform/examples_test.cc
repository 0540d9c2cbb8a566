// The shipped model.yaml files, read as the builder reads them, against what their networks take.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "build/recipe.h"
#include "build/served.h"
#include "core/json.h"
#include "os/files.h"

namespace verge {
namespace {

TensorSpec spec_of(const std::string& name, DType t, const Shape& s) {
  TensorSpec spec;
  spec.name = name;
  spec.dtype = t;
  spec.shape = s;
  spec.batch_axis = 0;
  return spec;
}

std::string data_dir() {
  const char* d = std::getenv("VERGE_DATA");
  return d && *d ? d : VERGE_SOURCE "/../shared/data";
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Example {
  build::Recipe recipe;
  build::Served served;
};
Result<Example> load(const std::string& name, const Signature& network, const std::vector<std::string>& labels) {
  VERGE_ASSIGN(build::Recipe recipe, build::read_recipe(VERGE_SOURCE "/examples/" + name + "/model.yaml"));
  VERGE_ASSIGN(build::Served served, build::resolve_served(recipe, network, labels));
  return Example{std::move(recipe), std::move(served)};
}

Signature fall_network() {
  return {{spec_of("window", DType::kFp32, {-1, 9, 4})}, {spec_of("probability", DType::kFp32, {-1, 1})}};
}

TEST(Examples, FallDetectionIsTheServedSignature) {
  auto e = load("fall-detection", fall_network(), {});
  ASSERT_TRUE(e.ok()) << e.status().message();
  ASSERT_EQ(e->served.inputs.size(), 1u);
  EXPECT_EQ(e->served.inputs[0].spec.shape, (Shape{-1, 9, 3}));
  ASSERT_EQ(e->served.outputs.size(), 2u);
  EXPECT_EQ(e->served.outputs[1].spec.dtype, DType::kBool);
}

TEST(Examples, FallDetectionGivesTheGoldenInput) {
  const std::string golden = data_dir() + "/fall-detection/golden.json";
  if (!os::exists(golden)) GTEST_SKIP() << "skipped: no data (" << golden << ")";
  auto e = load("fall-detection", fall_network(), {});
  ASSERT_TRUE(e.ok()) << e.status().message();
  const Json j = *parse_json(slurp(golden), "golden.json");
  transform::Chain::Scratch scratch;
  int compared = 0;
  for (const Json& c : j["cases"]) {
    Tensor tags(DType::kFp32, {1, 9, 3});
    for (size_t i = 0; i < 27; ++i) tags.as<float>()[i] = c["tags"][i / 3][i % 3].get<float>();
    auto out = e->served.input_chains[0].run(tags.view(), scratch);
    ASSERT_TRUE(out.ok()) << out.status().message();
    ASSERT_EQ(out->shape, (Shape{1, 9, 4}));
    for (size_t i = 0; i < 36; ++i, ++compared)
      EXPECT_NEAR(element_as_double(*out, i), c["input"][i / 4][i % 4].get<double>(), 1e-5) << c["name"] << " element " << i;
  }
  EXPECT_EQ(compared, 72);
}

TEST(Examples, ImageClassificationProves) {
  TensorSpec in = spec_of("input", DType::kUint8, {-1, 224, 224, 3}),
             out = spec_of("MobilenetV2/Predictions/Softmax", DType::kUint8, {-1, 1001});
  auto e = load("image-classification", {{in}, {out}}, std::vector<std::string>(1001, "label"));
  ASSERT_TRUE(e.ok()) << e.status().message();
  EXPECT_EQ(e->served.inputs[0].spec.shape, (Shape{-1}));
  EXPECT_EQ(e->served.inputs[0].spec.dtype, DType::kBytes);
  ASSERT_EQ(e->served.outputs.size(), 3u);
  EXPECT_EQ(e->served.outputs[0].spec.dtype, DType::kBytes);
  EXPECT_EQ(e->served.outputs[0].spec.shape, (Shape{-1, 5}));
  EXPECT_EQ(e->served.outputs[2].spec.dtype, DType::kFp32);
  auto wrong = load("image-classification", {{in}, {out}}, std::vector<std::string>(1000, "label"));
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.status().message().find("1000 labels, but the axis has 1001 classes"), std::string::npos) << wrong.status().message();
}

TEST(Examples, PhotosDecode) {
  const std::string dir = data_dir() + "/mobilenet/";
  if (!os::exists(dir + "parrot.jpg")) GTEST_SKIP() << "skipped: no data (" << dir << ")";
  TensorSpec in = spec_of("input", DType::kUint8, {-1, 224, 224, 3}),
             out = spec_of("MobilenetV2/Predictions/Softmax", DType::kUint8, {-1, 1001});
  auto e = load("image-classification", {{in}, {out}}, std::vector<std::string>(1001, "label"));
  ASSERT_TRUE(e.ok()) << e.status().message();
  Tensor t;
  t.dtype = DType::kBytes;
  t.shape = {3};
  for (const char* name : {"cat.bmp", "grace_hopper.bmp", "parrot.jpg"}) {
    const std::string f = slurp(dir + name);
    const auto n = static_cast<uint32_t>(f.size());
    const auto* p = reinterpret_cast<const std::byte*>(&n);
    t.data.insert(t.data.end(), p, p + 4);
    p = reinterpret_cast<const std::byte*>(f.data());
    t.data.insert(t.data.end(), p, p + n);
  }
  transform::Chain::Scratch scratch;
  auto pixels = e->served.input_chains[0].run(t.view(), scratch);
  ASSERT_TRUE(pixels.ok()) << pixels.status().message();
  EXPECT_EQ(pixels->shape, (Shape{3, 224, 224, 3}));
  // Sums of all pixels of each photo, from tf.image.decode_image and tf.image.resize(antialias=True), rounded.
  const double want[] = {17104024, 12111282, 19856412};
  for (size_t k = 0; k < 3; ++k) {
    double sum = 0;
    for (size_t i = 0; i < 150528; ++i) sum += element_as_double(*pixels, k * 150528 + i);
    EXPECT_NEAR(sum, want[k], 150528 * 0.002) << "photo " << k;
  }
}

}  // namespace
}  // namespace verge
