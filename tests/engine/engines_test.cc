// Each engine against tiny networks whose answers are known, through the host's own objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/npy.h"
#include "engine/catalog.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;

std::string source(const std::string& path) { return os::join(VERGE_SOURCE, path); }

verge_tensor tensor(DType dtype, std::initializer_list<int64_t> dims, const void* data, size_t bytes) {
  verge_tensor t{};
  t.size = sizeof t;
  t.dtype = static_cast<int32_t>(dtype);
  t.rank = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), t.dims);
  t.data = const_cast<void*>(data);
  t.byte_size = bytes;
  return t;
}

verge_tensor floats(std::initializer_list<int64_t> dims, const std::vector<float>& v) {
  return tensor(DType::kFp32, dims, v.data(), v.size() * sizeof(float));
}

std::vector<float> as_floats(const verge_tensor& t) {
  const auto* f = static_cast<const float*>(t.data);
  return {f, f + t.byte_size / sizeof(float)};
}

std::vector<int64_t> dims(const verge_tensor& t) { return {t.dims, t.dims + t.rank}; }

std::vector<verge_tensor> no_buffers(size_t n) {
  std::vector<verge_tensor> outputs(n);
  for (verge_tensor& t : outputs) t.size = sizeof t;
  return outputs;
}

class EngineTest : public testing::TestWithParam<const char*> {
 protected:
  void open(const std::string& name) {
    auto catalog = Catalog::scan(VERGE_PLUGINS);
    ASSERT_TRUE(catalog.ok()) << catalog.status().to_string();
    const Descriptor* d = (*catalog)->find(name);
    if (!d) GTEST_SKIP() << name << " is not built here";
    if (!d->unavailable.empty()) GTEST_SKIP() << name << ": " << d->unavailable;
    auto engine = (*catalog)->get(name);
    ASSERT_TRUE(engine.ok()) << engine.status().to_string();
    engine_ = *engine;
  }
  Result<std::shared_ptr<Model>> load(const std::string& path, const std::string& format, std::map<std::string, std::string> options = {},
                                      int threads = 1) {
    LoadSpec spec;
    spec.files = {{path, 0}};
    spec.format = format;
    spec.options = std::move(options);
    spec.threads = threads;
    return engine_->load(spec);
  }
  // Loads, makes an instance, fails the test where that fails.
  void ready(const std::string& path, const std::string& format, std::map<std::string, std::string> options = {}) {
    auto model = load(path, format, std::move(options));
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    model_ = *model;
    auto instance = model_->create_instance({}, 1);
    ASSERT_TRUE(instance.ok()) << instance.status().to_string();
    instance_ = std::move(*instance);
  }
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<Instance> instance_;
};

#define OPEN(name)                  \
  open(name);                       \
  if (!engine_) return

// --- identity ---

class Identity : public EngineTest {
 protected:
  void SetUp() override {
    auto made = os::make_temp_dir(testing::TempDir(), "identity-");
    ASSERT_TRUE(made.ok());
    dir_ = *made;
    open("identity");
  }
  void TearDown() override { EXPECT_TRUE(os::remove_tree(dir_).ok()); }
  std::string file(const std::string& text) {
    std::string path = os::join(dir_, "model.json");
    EXPECT_TRUE(os::write_file_atomic(path, text).ok());
    return path;
  }
  std::string dir_;
};

TEST_F(Identity, CopiesNumbersAndStringsIntoLentAndOwnBuffers) {
  ready(source("engines/identity/check/model.json"), "identity");
  ASSERT_EQ(model_->signature().inputs.size(), 2u);
  EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{-1, 3}));
  EXPECT_EQ(model_->signature().inputs[0].batch_axis, 0);
  EXPECT_EQ(model_->signature().outputs[1].name, "same_words");
  std::vector<float> x = {1, 2, 3, 4, 5, 6};
  std::vector<uint64_t> offsets = {0, 2, 2};
  std::vector<verge_tensor> in = {floats({2, 3}, x), tensor(DType::kBytes, {2}, "hi", 2)};
  in[1].offsets = offsets.data();
  auto out = no_buffers(2);
  std::vector<float> lent(8, -1);
  out[0].data = lent.data();
  out[0].byte_size = lent.size() * sizeof(float);
  Status ran = instance_->run(in, out);
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  EXPECT_EQ(out[0].data, lent.data());
  EXPECT_THAT(lent, ElementsAre(1, 2, 3, 4, 5, 6, -1, -1));
  EXPECT_THAT(dims(out[0]), ElementsAre(2, 3));
  EXPECT_EQ(out[1].byte_size, 2u);
  EXPECT_THAT(std::vector<uint64_t>(out[1].offsets, out[1].offsets + 3), ElementsAre(0, 2, 2));
}

TEST_F(Identity, EveryElementType) {
  std::string text = "{\"tensors\":[";
  for (int t = 1; t <= 14; ++t) {
    text += std::string(t > 1 ? "," : "") + "{\"name\":\"t" + std::to_string(t) + "\",\"dtype\":\"" +
            std::string(dtype_name(static_cast<DType>(t))) + "\",\"shape\":[-1]}";
  }
  ready(file(text + "]}"), "identity");
  ASSERT_EQ(model_->signature().inputs.size(), 14u);
  for (int t = 1; t <= 14; ++t) EXPECT_EQ(model_->signature().inputs[static_cast<size_t>(t - 1)].dtype, static_cast<DType>(t));
}

TEST_F(Identity, DelayTakesTimeAndCanBeCancelled) {
  ready(file(R"({"tensors":[{"name":"x","dtype":"FP32","shape":[-1]}]})"), "identity", {{"delay_us", "30000000"}});
  std::vector<float> x = {1};
  std::vector<verge_tensor> in = {floats({1}, x)};
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) instance_->cancel();
  });
  auto out = no_buffers(1);
  Status status = instance_->run(in, out);
  done = true;
  other.join();
  EXPECT_EQ(status.code(), Code::kCancelled);
  ready(file(R"({"tensors":[{"name":"x","dtype":"FP32","shape":[-1]}],"delay_us":20000})"), "identity");
  uint64_t start = os::monotonic_ns();
  ASSERT_TRUE(instance_->run(in, out).ok());
  EXPECT_GE(os::monotonic_ns() - start, 20'000'000u);
}

TEST_F(Identity, BadFilesAreRefusedByFileAndField) {
  const struct {
    const char* text;
    const char* reason;
  } cases[] = {
      {"", "no JSON"},
      {"[]", "no JSON object"},
      {"{}", "tensors"},
      {R"({"tensors":[]})", "tensors"},
      {R"({"tensors":[{"dtype":"FP32","shape":[]}]})", "tensors[0]: 'name'"},
      {R"({"tensors":[{"name":"x","dtype":"FLOAT","shape":[]}]})", "no element type 'FLOAT'"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[-2]}]})", "dimension"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[1e99]}]})", "dimension"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[18446744073709551615]}]})", "dimension"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[1,1,1,1,1,1,1,1,1]}]})", "shape"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[1],"batch_axis":1}]})", "batch_axis"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[]},{"name":"x","dtype":"FP32","shape":[]}]})", "second input"},
      {R"({"tensors":[{"name":"x","dtype":"FP32","shape":[]}],"delay_us":-1})", "delay_us"},
  };
  for (const auto& c : cases) {
    auto model = load(file(c.text), "identity");
    ASSERT_FALSE(model.ok()) << c.text;
    EXPECT_THAT(model.status().message(), HasSubstr(c.reason));
    EXPECT_THAT(model.status().message(), HasSubstr("model.json"));
  }
  std::string deep(100'000, '[');
  EXPECT_THAT(load(file("{\"tensors\":" + deep), "identity").status().message(), HasSubstr("deeply"));
}

// --- engines that run real networks ---

TEST_P(EngineTest, AffineNetworkOfAnyBatch) {
  OPEN(GetParam());
  ready(source("engines/onnxruntime/check/model.onnx"), "onnx");
  EXPECT_EQ(model_->executed_precision(), "f32");
  EXPECT_THAT(model_->executed_precision_source(), HasSubstr("1 in f32"));
  ASSERT_EQ(model_->signature().inputs.size(), 1u);
  EXPECT_EQ(model_->signature().inputs[0].name, "x");
  EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{-1, 3}));
  EXPECT_EQ(model_->signature().inputs[0].batch_axis, 0);
  EXPECT_EQ(model_->signature().outputs[0].name, "y");
  EXPECT_TRUE(model_->fixed_batches().empty());
  std::vector<float> x = {1, 2, 3, 0, 0, 0, -1, 4, 8};
  for (int64_t batch : {3, 1, 2}) {
    auto out = no_buffers(1);
    std::vector<verge_tensor> in = {tensor(DType::kFp32, {batch, 3}, x.data(), static_cast<size_t>(batch) * 12)};
    Status ran = instance_->run(in, out);
    ASSERT_TRUE(ran.ok()) << ran.to_string();
    EXPECT_THAT(dims(out[0]), ElementsAre(batch, 2));
    auto y = as_floats(out[0]);
    EXPECT_NEAR(y[0], 1 + 1 + 6 + 0.125, 1e-6);
    EXPECT_NEAR(y[1], -2 + 0.75 - 3, 1e-6);
  }
}

TEST_P(EngineTest, LentBufferIsUsedAndMayChange) {
  OPEN(GetParam());
  ready(source("engines/onnxruntime/check/model.onnx"), "onnx");
  // More buffers than an instance keeps in mind, so that some must be bound again.
  std::vector<std::vector<float>> inputs(7, {1, 2, 3}), outputs(7, std::vector<float>(2));
  for (int round = 0; round < 3; ++round) {
    for (size_t k = 0; k < inputs.size(); ++k) {
      inputs[k][0] = static_cast<float>(k) + static_cast<float>(round) * 10;
      std::vector<verge_tensor> in = {floats({1, 3}, inputs[k])}, out = no_buffers(1);
      out[0].data = outputs[k].data();
      out[0].byte_size = 8;
      ASSERT_TRUE(instance_->run(in, out).ok());
      EXPECT_EQ(out[0].data, outputs[k].data());
      EXPECT_NEAR(outputs[k][0], inputs[k][0] + 7.125, 1e-5);
    }
  }
}

TEST_P(EngineTest, OutputLargerThanItsDescriptionTold) {
  OPEN(GetParam());
  ready(source("tests/engine/data/double.onnx"), "onnx");
  std::vector<float> x = {1, 2, 3}, lent(6, 0);
  for (size_t capacity : {12, 24, 12}) {
    std::vector<verge_tensor> in = {floats({1, 3}, x)}, out = no_buffers(1);
    out[0].data = lent.data();
    out[0].byte_size = capacity;
    Status ran = instance_->run(in, out);
    ASSERT_TRUE(ran.ok()) << ran.to_string();
    EXPECT_THAT(dims(out[0]), ElementsAre(2, 3));
    EXPECT_THAT(as_floats(out[0]), ElementsAre(1, 2, 3, 1, 2, 3));
  }
}

TEST_P(EngineTest, SeveralInputsOutputsAndFreeDimensions) {
  OPEN(GetParam());
  ready(source("tests/engine/data/several.onnx"), "onnx");
  ASSERT_EQ(model_->signature().inputs.size(), 2u);
  EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{-1, -1}));
  EXPECT_EQ(model_->signature().outputs[1].shape.rank(), 0);
  for (const TensorSpec& s : model_->signature().inputs) EXPECT_EQ(s.batch_axis, -1);
  std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {1, 1, 1};
  std::vector<verge_tensor> in = {floats({2, 3}, a), floats({3, 1}, b)};
  auto out = no_buffers(2);
  Status ran = instance_->run(in, out);
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  EXPECT_THAT(dims(out[0]), ElementsAre(2, 1));
  EXPECT_THAT(as_floats(out[0]), ElementsAre(6, 15));
  EXPECT_EQ(out[1].rank, 0);
  EXPECT_THAT(as_floats(out[1]), ElementsAre(21));
}

TEST_P(EngineTest, WeightsOutsideTheFolderAreRefused) {
  OPEN(GetParam());
  auto model = load(source("tests/engine/data/outside.onnx"), "onnx");
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), Code::kPermissionDenied);
  EXPECT_THAT(model.status().message(), HasSubstr("outside the model's folder"));
}

TEST_P(EngineTest, ErrorsNameTheFileAndTheWay) {
  OPEN(GetParam());
  EXPECT_EQ(load("/nonexistent/model.onnx", "onnx").status().code(), Code::kNotFound);
  EXPECT_THAT(load("/nonexistent/model.onnx", "onnx").status().message(), HasSubstr("/nonexistent/model.onnx"));
  EXPECT_THAT(load(source("engines/onnxruntime/check/model.onnx"), "onnx", {{"bogus", "1"}}).status().message(), HasSubstr("bogus"));
  auto no_onnx = load(source("LICENSE"), "onnx");
  ASSERT_FALSE(no_onnx.ok());
  EXPECT_EQ(no_onnx.status().message().find('\n'), std::string::npos);
}

TEST_P(EngineTest, InstancesRunSideBySide) {
  OPEN(GetParam());
  ready(source("engines/onnxruntime/check/model.onnx"), "onnx");
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      auto instance = model_->create_instance({}, 1);
      if (!instance.ok()) {
        ++wrong;
        return;
      }
      std::vector<float> x = {static_cast<float>(t), 0, 0};
      for (int n = 0; n < 300; ++n) {
        std::vector<verge_tensor> in = {floats({1, 3}, x)}, out = no_buffers(1);
        if (!(*instance)->run(in, out).ok() || std::fabs(as_floats(out[0])[0] - x[0] - 0.125f) > 1e-6f) ++wrong;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(EngineTest, ModelOutlivesItsCatalogAndEngineHandle) {
  OPEN(GetParam());
  ready(source("engines/onnxruntime/check/model.onnx"), "onnx");
  engine_.reset();
  model_.reset();
  std::vector<float> x = {1, 2, 3};
  std::vector<verge_tensor> in = {floats({1, 3}, x)}, out = no_buffers(1);
  EXPECT_TRUE(instance_->run(in, out).ok());
}

INSTANTIATE_TEST_SUITE_P(Real, EngineTest, testing::Values("onnxruntime", "openvino"), [](const auto& i) { return std::string(i.param); });

using OnnxRuntime = EngineTest;

TEST_F(OnnxRuntime, Strings) {
  OPEN("onnxruntime");
  ready(source("engines/onnxruntime/check/words.onnx"), "onnx");
  EXPECT_EQ(model_->signature().inputs[0].dtype, DType::kBytes);
  const std::string blob("a\0bxyz", 6);
  std::vector<uint64_t> offsets = {0, 3, 3, 6};
  std::vector<int64_t> count = {1, 2, 3};
  std::vector<verge_tensor> in = {tensor(DType::kBytes, {3}, blob.data(), blob.size()), tensor(DType::kInt64, {3}, count.data(), 24)};
  in[0].offsets = offsets.data();
  auto out = no_buffers(2);
  Status ran = instance_->run(in, out);
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  EXPECT_EQ(std::string(static_cast<const char*>(out[0].data), out[0].byte_size), blob);
  EXPECT_THAT(std::vector<uint64_t>(out[0].offsets, out[0].offsets + 4), ElementsAre(0, 3, 3, 6));
  EXPECT_EQ(static_cast<const int64_t*>(out[1].data)[2], 6);
}

TEST_F(OnnxRuntime, FixedBatchOfAFileIsAFixedBatch) {
  OPEN("onnxruntime");
  ready(source("tests/engine/data/fixed1.onnx"), "onnx");
  EXPECT_THAT(model_->fixed_batches(), ElementsAre(1));
  EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{-1, 3}));
  std::vector<float> x = {1, 2, 3, 4, 5, 6};
  std::vector<verge_tensor> in = {floats({2, 3}, x)}, out = no_buffers(1);
  Status ran = instance_->run(in, out);
  EXPECT_EQ(ran.code(), Code::kInvalidArgument);
  EXPECT_THAT(ran.message(), HasSubstr("batches of 1 only, not 2"));
}

// Nine readings, or nine samples: the file does not tell, so it is a batch only where the artifact says so.
TEST_P(EngineTest, FixedFirstDimensionIsABatchOnlyWhereSaid) {
  OPEN(GetParam());
  const std::string file = source("tests/engine/data/fixed9.onnx");
  ready(file, "onnx");
  EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{9, 3}));
  EXPECT_EQ(model_->signature().inputs[0].batch_axis, -1);
  EXPECT_EQ(model_->signature().outputs[0].batch_axis, -1);
  EXPECT_TRUE(model_->fixed_batches().empty());
  const auto loaded = [&](int64_t batch, bool no_batch) {
    LoadSpec spec;
    spec.files = {{file, batch}};
    spec.format = "onnx";
    spec.no_batch = no_batch;
    return engine_->load(spec);
  };
  const auto said = loaded(9, false), denied = loaded(9, true);
  ASSERT_TRUE(said.ok() && denied.ok());
  EXPECT_EQ((*said)->signature().inputs[0].shape, (Shape{-1, 3}));
  EXPECT_EQ((*said)->signature().outputs[0].batch_axis, 0);
  EXPECT_EQ((*denied)->signature().outputs[0].batch_axis, -1);
  EXPECT_TRUE((*denied)->fixed_batches().empty());
}

TEST_F(OnnxRuntime, QuantizedNetworkRunsInInt8) {
  OPEN("onnxruntime");
  ready(source("tests/engine/data/quantized.onnx"), "onnx");
  EXPECT_EQ(model_->executed_precision(), "int8") << model_->executed_precision_source();
  EXPECT_THAT(model_->executed_precision_source(), HasSubstr("1 in int8"));
}

TEST_F(OnnxRuntime, OutputThatIsNoTensorIsRefused) {
  OPEN("onnxruntime");
  auto model = load(source("tests/engine/data/sequence.onnx"), "onnx");
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), Code::kUnimplemented);
  EXPECT_THAT(model.status().message(), HasSubstr("output 's'"));
}

using OpenVino = EngineTest;

TEST_F(OpenVino, IrAndFixedBatchMadeFree) {
  OPEN("openvino");
  ready(source("engines/openvino/check/model.xml"), "openvino-ir");
  EXPECT_EQ(model_->signature().inputs[0].name, "x");
  EXPECT_EQ(model_->signature().outputs[0].name, "y");
  ready(source("tests/engine/data/fixed1.onnx"), "onnx");
  EXPECT_TRUE(model_->fixed_batches().empty());
  std::vector<float> x = {1, 2, 3, 4, 5, 6};
  std::vector<verge_tensor> in = {floats({2, 3}, x)}, out = no_buffers(1);
  ASSERT_TRUE(instance_->run(in, out).ok());
  EXPECT_THAT(as_floats(out[0]), ElementsAre(-1, -2, -3, -4, -5, -6));
  ready(source("tests/engine/data/fixed1.onnx"), "onnx", {{"dynamic_batch", "no"}});
  EXPECT_THAT(model_->fixed_batches(), ElementsAre(1));
  EXPECT_FALSE(instance_->run(in, out).ok());
}

TEST_F(OpenVino, SizesCompiledForThemselvesAndOthersAnswerAlike) {
  OPEN("openvino");
  ready(source("engines/openvino/check/model.xml"), "openvino-ir");
  EXPECT_TRUE(model_->fixed_batches().empty());
  std::vector<float> x(3 * 9);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) / 8;
  std::vector<verge_tensor> in = {floats({9, 3}, x)}, out = no_buffers(1);
  ASSERT_TRUE(instance_->run(in, out).ok());
  const std::vector<float> all = as_floats(out[0]);
  const size_t width = all.size() / 9;
  // Up and down, so that each size comes after another one.
  for (const int64_t size : {1, 3, 2, 5, 4, 1, 8, 4, 2}) {
    std::vector<float> part(x.begin(), x.begin() + 3 * size);
    in = {floats({size, 3}, part)};
    out = no_buffers(1);
    ASSERT_TRUE(instance_->run(in, out).ok()) << size;
    EXPECT_EQ(out[0].dims[0], size);
    const std::vector<float> got = as_floats(out[0]);
    ASSERT_EQ(got.size(), width * static_cast<size_t>(size));
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], all[i], 1e-5) << size;
  }
}

TEST_F(OpenVino, EmptyInputDoesNotPassForARun) {
  OPEN("openvino");
  ready(source("engines/openvino/check/model.xml"), "openvino-ir");
  std::vector<verge_tensor> in = {tensor(DType::kFp32, {0, 3}, nullptr, 0)}, out = no_buffers(1);
  EXPECT_EQ(instance_->run(in, out).code(), Code::kInvalidArgument);
}

TEST_F(OpenVino, StringsAreRefusedWithTheReason) {
  OPEN("openvino");
  auto model = load(source("engines/onnxruntime/check/words.onnx"), "onnx");
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), Code::kUnimplemented);
  EXPECT_THAT(model.status().message(), HasSubstr("string"));
}

TEST_F(OpenVino, PrecisionIsRefusedOrExecuted) {
  OPEN("openvino");
  auto facts = engine_->device_facts();
  ASSERT_TRUE(facts.ok());
  for (const char* precision : {"bf16", "f16"}) {
    auto model = load(source("engines/openvino/check/model.xml"), "openvino-ir", {{"inference_precision", precision}});
    if ((*facts)[std::string("cpu.") + precision] == "yes") {
      ASSERT_TRUE(model.ok()) << model.status().to_string();
      EXPECT_EQ((*model)->executed_precision(), precision) << (*model)->executed_precision_source();
    } else {
      EXPECT_EQ(model.status().code(), Code::kUnimplemented);
      EXPECT_THAT(model.status().message(), HasSubstr(std::string("no ") + precision));
    }
  }
  EXPECT_THAT(load(source("engines/openvino/check/model.xml"), "openvino-ir", {{"inference_precision", "f8"}}).status().message(), HasSubstr("f8"));
}

TEST_F(OpenVino, IrWithoutItsWeights) {
  OPEN("openvino");
  auto made = os::make_temp_dir(testing::TempDir(), "ir-");
  ASSERT_TRUE(made.ok());
  auto xml = os::read_file(source("engines/openvino/check/model.xml"), 1 << 20);
  ASSERT_TRUE(xml.ok());
  ASSERT_TRUE(os::write_file_atomic(os::join(*made, "model.xml"), *xml).ok());
  EXPECT_FALSE(load(os::join(*made, "model.xml"), "openvino-ir").ok());
  ASSERT_TRUE(os::write_file_atomic(os::join(*made, "model.bin"), "short").ok());
  EXPECT_FALSE(load(os::join(*made, "model.xml"), "openvino-ir").ok());
  EXPECT_TRUE(os::remove_tree(*made).ok());
}

// Published files: the right classes from one, the way out for another.
TEST_F(OpenVino, PublishedNetworks) {
  const char* set = std::getenv("VERGE_DATA");
  std::string data = set && *set ? set : source("../shared/data");
  if (!os::is_dir(data)) GTEST_SKIP() << "skipped: no data";
  OPEN("openvino");
  auto images = os::read_file(os::join(data, "cifar10/test1000-images.uint8"), 16 << 20);
  auto labels = os::read_file(os::join(data, "cifar10/test1000-labels.uint8"), 1 << 20);
  ASSERT_TRUE(images.ok() && labels.ok());
  constexpr size_t kImage = 32 * 32 * 3, kCount = 200;
  std::vector<float> x(kCount * kImage);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<unsigned char>((*images)[i]);
  ready(os::join(data, "mlperf-tiny/pretrainedResnet.tflite"), "tflite");
  std::vector<verge_tensor> in = {floats({kCount, 32, 32, 3}, x)}, out = no_buffers(1);
  Status ran = instance_->run(in, out);
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  auto y = as_floats(out[0]);
  ASSERT_EQ(y.size(), kCount * 10);
  size_t right = 0;
  for (size_t i = 0; i < kCount; ++i) {
    auto best = std::max_element(y.begin() + static_cast<long>(i) * 10, y.begin() + static_cast<long>(i + 1) * 10);
    right += static_cast<size_t>(best - y.begin()) - i * 10 == static_cast<unsigned char>((*labels)[i]);
  }
  EXPECT_GT(right, kCount * 80 / 100);
  // The published LSTM with TensorList operators is refused with the way out.
  auto lstm = load(os::join(data, "fall-detection/fall_detection.tflite"), "tflite");
  ASSERT_FALSE(lstm.ok());
  EXPECT_THAT(lstm.status().message(), HasSubstr("TensorList"));
  EXPECT_THAT(lstm.status().message(), HasSubstr("SavedModel"));
}

}  // namespace
}  // namespace verge::engine
