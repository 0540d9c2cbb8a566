// The LiteRT plugin with its runtime.
#include <cmath>
#include <random>
#include <thread>

#include "engine_fixture.h"
#include "tflite_writer.h"

namespace verge::engine {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing_tflite::content;
using testing_tflite::GraphSpec;
using testing_tflite::write_tflite;

Array floats(std::vector<int64_t> dims, const std::vector<float>& v) { return Array::of(DType::kFp32, std::move(dims), v); }

class LiteRt : public PluginTest {
 protected:
  void SetUp() override {
    char name[] = "/tmp/verge-litert-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    instance_.reset();
    model_.reset();
    std::ignore = std::system(("rm -rf " + folder_).c_str());
  }
  std::string file(const std::string& name, const std::vector<GraphSpec>& graphs) {
    const std::string path = folder_ + "/" + name;
    write_all(path, write_tflite(graphs));
    return path;
  }
  std::string folder_;
};

TEST_F(LiteRt, AnswersAtEveryBatchSize) {
  VERGE_OPEN("litert");
  ready({{source_path("engines/litert/check/model.tflite"), 0}}, "tflite");
  if (!instance_) return;
  const Signature& s = model_->signature();
  ASSERT_EQ(s.inputs.size(), 2u);
  EXPECT_EQ(s.inputs[0].batch_axis, 0);
  EXPECT_TRUE(model_->fixed_batches().empty());
  EXPECT_EQ(model_->executed_precision(), "f32");
  const bool a_first = s.inputs[0].name == "a", difference_first = s.outputs[0].name == "difference";
  for (int64_t batch : {1, 7, 2, 64, 1}) {
    std::vector<float> a(static_cast<size_t>(batch) * 4), b(a.size());
    for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i) * 0.25f, b[i] = static_cast<float>(i % 5);
    const Array x = floats({batch, 4}, a), y = floats({batch, 4}, b);
    const auto out = answers(a_first ? std::vector<Array>{x, y} : std::vector<Array>{y, x});
    const Array& difference = out[difference_first ? 0 : 1];
    const Array& score = out[difference_first ? 1 : 0];
    ASSERT_EQ(difference.dims, (std::vector<int64_t>{batch, 4}));
    ASSERT_EQ(score.dims, (std::vector<int64_t>{batch, 3}));
    const auto d = difference.as<float>(), p = score.as<float>();
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(d[i], a[i] - b[i]);
    for (size_t i = 0; i < p.size(); i += 3) EXPECT_NEAR(p[i] + p[i + 1] + p[i + 2], 1, 1e-5);
  }
  EXPECT_THAT(error({floats({0, 4}, {}), floats({0, 4}, {})}), HasSubstr("batch is empty"));
  EXPECT_THAT(error({floats({1, 4}, {1, 2, 3, 4}), floats({2, 4}, std::vector<float>(8))}), HasSubstr("different batch sizes"));
  EXPECT_EQ(answers({floats({1, 4}, {1, 2, 3, 4}), floats({1, 4}, {1, 2, 3, 4})}).size(), 2u);
}

TEST_F(LiteRt, ChoosesAmongFilesOfFixedBatch) {
  VERGE_OPEN("litert");
  auto graph = [](int32_t batch) {
    return GraphSpec{
        {{"x", {batch, 4}}, {"k", {4}, 0, content(std::vector<float>{1, 2, 3, 4})}, {"y", {batch, 4}}}, {{0, {0, 1}, {2}}}, {0}, {2}};
  };
  const std::string one = file("one.tflite", {graph(1)}), eight = file("eight.tflite", {graph(8)});
  ready({{eight, 8}, {one, 1}}, "tflite");
  if (!instance_) return;
  EXPECT_EQ(model_->fixed_batches(), (std::vector<int64_t>{1, 8}));
  EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{-1, 4}));
  for (int64_t batch : {8, 1, 8}) {
    const auto out = answers({floats({batch, 4}, std::vector<float>(static_cast<size_t>(batch) * 4, 10))});
    ASSERT_EQ(out[0].dims, (std::vector<int64_t>{batch, 4}));
    EXPECT_EQ(out[0].as<float>().back(), 14);
  }
  EXPECT_THAT(error({floats({2, 4}, std::vector<float>(8))}), HasSubstr("not among the artifact's: 1, 8"));
  EXPECT_THAT(load({{one, 1}, {one, 1}}, "tflite").status().to_string(), HasSubstr("second file of batch size 1"));
  // Eight samples, or one of eight readings: only the artifact can tell.
  EXPECT_EQ((*load({{eight, 8}}, "tflite"))->signature().inputs[0].batch_axis, 0);
  EXPECT_EQ((*load({{one, 0}}, "tflite"))->signature().inputs[0].batch_axis, 0);
  const auto readings = (*load({{eight, 0}}, "tflite"))->signature();
  EXPECT_EQ(readings.inputs[0].shape, (Shape{8, 4}));
  EXPECT_EQ(readings.outputs[0].batch_axis, -1);
  EXPECT_THAT(load({{one, 1}, {eight, 4}}, "tflite").status().to_string(), HasSubstr("said to have batch size 4"));
  EXPECT_THAT(load({{one, 1}, {source_path("engines/litert/check/int8.tflite"), 8}}, "tflite").status().to_string(), HasSubstr("than in"));
}

// The graph's output is its input, twice.
TEST_F(LiteRt, GivesAnInputThatIsAnOutput) {
  VERGE_OPEN("litert");
  const GraphSpec graph{{{"x", {1, 4}, 0, {}, {-1, 4}}, {"y", {1, 4}, 0, {}, {-1, 4}}}, {{19, {0}, {1}}}, {0}, {0, 1, 1}};
  ready({{file("same.tflite", {graph}), 0}}, "tflite");
  if (!instance_) return;
  for (int64_t batch : {1, 3}) {
    std::vector<float> x(static_cast<size_t>(batch) * 4, -2);
    x[1] = 5;
    const auto out = answers({floats({batch, 4}, x)});
    ASSERT_EQ(out.size(), 3u);
    EXPECT_EQ(out[0].as<float>(), x);
    EXPECT_EQ(out[1].as<float>()[1], 5);
    EXPECT_EQ(out[1].as<float>()[0], 0);
    EXPECT_EQ(out[1].bytes, out[2].bytes);
  }
}

TEST_F(LiteRt, SaysWhatItCannotServe) {
  VERGE_OPEN("litert");
  const GraphSpec strings{{{"x", {4}, 5}, {"y", {4}, 5}}, {{19, {0}, {1}}}, {0}, {1}};
  EXPECT_THAT(load({{file("strings.tflite", {strings}), 0}}, "tflite").status().to_string(), Not(HasSubstr("OK")));
  // WHERE: as many rows as there are true elements.
  const GraphSpec where{{{"x", {4}, 6}, {"y", {1, 1}, 4}}, {{109, {0}, {1}}}, {0}, {1}};
  EXPECT_THAT(load({{file("where.tflite", {where}), 0}}, "tflite").status().to_string(), HasSubstr("size"));
  EXPECT_THAT(load({{source_path("engines/litert/check/model.tflite"), 0}}, "tflite", "other").status().to_string(),
              HasSubstr("has no signature 'other'; it has: serving_default"));
  EXPECT_THAT(load({{folder_ + "/none.tflite", 0}}, "tflite").status().to_string(), HasSubstr("NOT_FOUND"));
  EXPECT_THAT(load({{folder_, 0}}, "tflite").status().to_string(), HasSubstr("not a regular file"));
}

TEST_F(LiteRt, RefusesThePublishedFallDetection) {
  VERGE_OPEN("litert");
  VERGE_DATA_OR_SKIP(path, "fall-detection/fall_detection.tflite");
  const std::string message = load({{path, 0}}, "tflite").status().to_string();
  EXPECT_THAT(message, HasSubstr("TensorListReserve"));
  EXPECT_THAT(message, HasSubstr("bring the SavedModel and let `verge build` convert it"));
}

TEST_F(LiteRt, KeepsTheAccuracyOfResNet8) {
  VERGE_OPEN("litert");
  VERGE_DATA_OR_SKIP(images, "cifar10/test1000-images.uint8");
  const Cifar cifar{read_all(images), read_all(data_path("cifar10/test1000-labels.uint8"))};
  ASSERT_EQ(cifar.count(), 1000u);
  for (const auto& [path, precision, expected] :
       {std::tuple{"mlperf-tiny/pretrainedResnet.tflite", "f32", 0.881}, {"mlperf-tiny/pretrainedResnet_quant.tflite", "int8", 0.877}}) {
    ready({{data_path(path), 0}}, "tflite");
    if (!instance_) return;
    EXPECT_EQ(model_->executed_precision(), precision);
    const TensorSpec& input = model_->signature().inputs[0];
    const TensorSpec& output = model_->signature().outputs[0];
    const bool quantised = input.dtype == DType::kInt8;
    EXPECT_EQ(input.quantization.size(), quantised ? 1u : 0u);
    int right = 0;
    constexpr size_t kBatch = 40;
    for (size_t first = 0; first < cifar.count(); first += kBatch) {
      Array x{input.dtype, {kBatch, 32, 32, 3}, "", {}};
      if (quantised) {
        // scale 1, zero point -128
        for (size_t i = 0; i < kBatch * Cifar::kImage; ++i) x.bytes.push_back(static_cast<char>(cifar.pixel(first, i) - 128));
      } else {
        std::vector<float> v(kBatch * Cifar::kImage);
        for (size_t i = 0; i < v.size(); ++i) v[i] = cifar.pixel(first, i);
        x = floats(x.dims, v);
      }
      const auto out = answers({x});
      ASSERT_EQ(out[0].dims, (std::vector<int64_t>{kBatch, 10}));
      for (size_t i = 0; i < kBatch; ++i) {
        double best = -1e9;
        int chosen = -1;
        for (int c = 0; c < 10; ++c) {
          const size_t at = i * 10 + static_cast<size_t>(c);
          const double p = output.dtype == DType::kInt8 ? static_cast<signed char>(out[0].bytes[at]) : out[0].as<float>()[at];
          if (p > best) best = p, chosen = c;
        }
        right += chosen == cifar.labels[first + i];
      }
    }
    EXPECT_NEAR(right / 1000.0, expected, 0.005) << path;
  }
}

TEST_F(LiteRt, RunsQuantisedNetworksOfOneSize) {
  VERGE_OPEN("litert");
  VERGE_DATA_OR_SKIP(path, "mobilenet/mobilenet_v1_0.25_128_quant.tflite");
  ready({{path, 0}}, "tflite");
  if (!instance_) return;
  EXPECT_EQ(model_->executed_precision(), "int8");
  EXPECT_EQ(model_->fixed_batches(), std::vector<int64_t>{1});
  const auto out = answers({Array{DType::kUint8, {1, 128, 128, 3}, std::string(128 * 128 * 3, 100), {}}});
  EXPECT_EQ(out[0].dims, (std::vector<int64_t>{1, 1001}));
  EXPECT_THAT(error({Array{DType::kUint8, {2, 128, 128, 3}, std::string(2 * 128 * 128 * 3, 100), {}}}), HasSubstr("not among"));
}

// 200 damaged copies of real files, each loaded and run in a process of its own: an error or an answer.
TEST_F(LiteRt, SurvivesDamagedFiles) {
  VERGE_OPEN("litert");
  std::vector<std::string> sources = {source_path("engines/litert/check/model.tflite"), source_path("engines/litert/check/int8.tflite")};
  for (const char* p : {"mlperf-tiny/kws_ref_model.tflite", "mlperf-tiny/pretrainedResnet_quant.tflite"})
    if (const std::string path = data_path(p); !path.empty()) sources.push_back(path);
  std::mt19937 random(20);
  for (int i = 0; i < 200; ++i) {
    std::string bytes = read_all(sources[static_cast<size_t>(i) % sources.size()]);
    const size_t at = random() % bytes.size();
    if (i % 5 == 0) {
      bytes.resize(at);
    } else {
      // The end of these files holds the graph, their beginning the weights.
      const size_t place = i % 2 ? bytes.size() - 1 - at % (bytes.size() / 4) : at;
      for (int k = 0; k < 3; ++k) bytes[(place + static_cast<size_t>(k) * 4) % bytes.size()] = static_cast<char>(random());
    }
    const std::string path = folder_ + "/damaged.tflite";
    write_all(path, bytes);
    const int signal = signal_of([&] {
      auto model = load({{path, 0}}, "tflite");
      if (!model.ok()) return;
      auto instance = (*model)->create_instance({}, 1);
      if (!instance.ok()) return;
      std::vector<Array> inputs;
      for (const TensorSpec& t : (*model)->signature().inputs) {
        Array a{t.dtype, {}, "", {}};
        int64_t n = 1;
        for (int64_t d : t.shape.dims()) n *= a.dims.emplace_back(d < 0 ? 1 : d);
        a.bytes.assign(static_cast<size_t>(n) * dtype_size(t.dtype), 0);
        inputs.push_back(std::move(a));
      }
      std::ignore = run(**instance, inputs).ok();
    });
    EXPECT_EQ(signal, 0) << "case " << i << " of " << sources[static_cast<size_t>(i) % sources.size()];
    if (signal) write_all("/tmp/verge-damaged-" + std::to_string(i) + ".tflite", bytes);
  }
}

// 100 MB, loaded and unloaded twenty times.
TEST_F(LiteRt, GivesMemoryBack) {
  VERGE_OPEN("litert");
  constexpr int32_t kSide = 5000;
  std::vector<float> weights(static_cast<size_t>(kSide) * kSide);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 17) * 0.01f;
  const std::string path =
      file("big.tflite",
           {{{{"x", {1, kSide}, 0, {}, {-1, kSide}}, {"w", {kSide, kSide}, 0, content(weights)}, {"y", {1, kSide}, 0, {}, {-1, kSide}}},
             {{9, {0, 1, -1}, {2}}},
             {0},
             {2}}});
  weights = {};
  trim_memory();
  const uint64_t before = resident_bytes();
  uint64_t early = 0, late = 0, loaded = 0;
  for (int i = 0; i < 20; ++i) {
    ready({{path, 0}}, "tflite");
    if (!instance_) return;
    answers({floats({1, kSide}, std::vector<float>(kSide, 1))});
    loaded = std::max(loaded, resident_bytes());
    instance_.reset();
    model_.reset();
    trim_memory();
    (i < 10 ? early : late) = std::max(i < 10 ? early : late, resident_bytes());
  }
  EXPECT_GT(loaded, before + (90 << 20));
  EXPECT_LE(static_cast<double>(late), 1.02 * static_cast<double>(early));
  EXPECT_LE(late, before + (30 << 20));
}

TEST_F(LiteRt, RunsInstancesAtTheSameTime) {
  VERGE_OPEN("litert");
  ready({{source_path("engines/litert/check/model.tflite"), 0}}, "tflite");
  if (!instance_) return;
  auto other = model_->create_instance({}, 2);
  ASSERT_TRUE(other.ok()) << other.status().to_string();
  const std::vector<Array> inputs = {floats({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), floats({2, 4}, {8, 7, 6, 5, 4, 3, 2, 1})};
  const auto expected = answers(inputs);
  auto work = [&](Instance& instance) {
    for (int i = 0; i < 500; ++i) {
      auto out = run(instance, inputs);
      ASSERT_TRUE(out.ok());
      ASSERT_EQ((*out)[0].bytes, expected[0].bytes);
      ASSERT_EQ((*out)[1].bytes, expected[1].bytes);
    }
  };
  std::thread first([&] { work(*instance_); }), second([&] { work(**other); });
  first.join();
  second.join();
}

}  // namespace
}  // namespace verge::engine
