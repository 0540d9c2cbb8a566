// The TensorFlow plugin with its runtime.
#include <cmath>
#include <sstream>

#include "core/json.h"
#include "engine_fixture.h"

namespace verge::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

bool mapped(const std::string& library) { return read_all("/proc/self/maps").find(library) != std::string::npos; }

class TensorFlow : public PluginTest {};

// Reading descriptors must not map 800 MB of library; the first engine that is asked for does.
TEST_F(TensorFlow, IsMappedWhenItIsAskedFor) {
  auto catalog = Catalog::scan(VERGE_PLUGINS);
  ASSERT_TRUE(catalog.ok());
  auto other = (*catalog)->get("identity");
  ASSERT_TRUE(other.ok()) << other.status().to_string();
  EXPECT_FALSE(mapped("libtensorflow"));
  VERGE_OPEN("tensorflow");
  EXPECT_TRUE(mapped("libtensorflow_cc"));
  EXPECT_THAT(engine_->version(), HasSubstr("2."));
  EXPECT_GT(engine_->fixed_cost_bytes(), uint64_t{100} << 20);
}

TEST_F(TensorFlow, RunsSignatures) {
  VERGE_OPEN("tensorflow");
  const std::string folder = source_path("engines/tensorflow/check/model");
  ready({{folder, 0}}, "saved_model");
  if (!instance_) return;
  EXPECT_EQ(model_->executed_precision(), "f32");
  ASSERT_EQ(model_->signature().outputs.size(), 3u);
  for (int64_t batch : {1, 5}) {
    std::vector<float> a(static_cast<size_t>(batch) * 4), b(a.size(), 1);
    for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i);
    const auto out = answers({Array::of(DType::kFp32, {batch, 4}, a), Array::of(DType::kFp32, {batch, 4}, b)});
    EXPECT_EQ(out[0].as<float>(), a);  // "copy", which TensorFlow gives as the input's own memory
    EXPECT_EQ(out[1].as<float>()[3], 2);
    const auto p = out[2].as<float>();
    ASSERT_EQ(p.size(), static_cast<size_t>(batch) * 3);
    EXPECT_NEAR(p[0] + p[1] + p[2], 1, 1e-5);
  }
  ready({{folder + "/saved_model.pb", 0}}, "saved_model", "double");
  if (!instance_) return;
  EXPECT_THAT(answers({Array::of<float>(DType::kFp32, {1, 4}, {1, 2, 3, 4})})[0].as<float>(), ElementsAre(2, 4, 6, 8));
  EXPECT_THAT(load({{folder, 0}}, "saved_model", "none").status().to_string(), HasSubstr("has no signature 'none'; it has: "));
}

TEST_F(TensorFlow, RunsStrings) {
  VERGE_OPEN("tensorflow");
  ready({{source_path("engines/tensorflow/check/words"), 0}}, "saved_model");
  if (!instance_) return;
  const std::string longer = "longer than a short string can hold inside itself";
  for (int i = 0; i < 3; ++i) {
    const auto out =
        answers({Array::of<int64_t>(DType::kInt64, {2}, {41, -1}), Array::strings({2, 2}, {"one", longer, "", "zw\xc3\xb6lf"})});
    ASSERT_EQ(out.size(), 4u);
    EXPECT_THAT(out[0].texts(), ElementsAre("one " + longer, " zw\xc3\xb6lf"));
    EXPECT_THAT(out[1].as<int32_t>(), ElementsAre(3, static_cast<int32_t>(longer.size()), 0, 6));
    EXPECT_THAT(out[2].as<int64_t>(), ElementsAre(42, 0));
    EXPECT_EQ(out[3].texts()[0], "ONE");
    EXPECT_EQ(out[3].dims, (std::vector<int64_t>{2, 2}));
  }
}

TEST_F(TensorFlow, SaysWhatIsWrongWithAFolder) {
  VERGE_OPEN("tensorflow");
  char name[] = "/tmp/verge-tf-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string folder = name;
  EXPECT_THAT(load({{folder, 0}}, "saved_model").status().to_string(), HasSubstr("NOT_FOUND"));
  write_all(folder + "/saved_model.pb", read_all(source_path("engines/tensorflow/check/model/saved_model.pb")));
  EXPECT_THAT(load({{folder, 0}}, "saved_model").status().to_string(), HasSubstr("variables.index: cannot be read"));
  write_all(folder + "/saved_model.pb", "nothing");
  EXPECT_THAT(load({{folder, 0}}, "saved_model").status().to_string(), HasSubstr("damaged"));
  std::ignore = std::system(("rm -rf " + folder).c_str());
}

// The published golden answers and 1,000 windows of a wearable's samples.
TEST_F(TensorFlow, DetectsFallsAsPublished) {
  VERGE_OPEN("tensorflow");
  VERGE_DATA_OR_SKIP(golden_path, "fall-detection/golden.json");
  auto golden = parse_json(read_all(golden_path), golden_path, 1 << 20);
  ASSERT_TRUE(golden.ok());
  for (const char* folder : {"fall-detection/saved_model", "fall-detection/saved_model_unrolled"}) {
    ready({{data_path(folder), 0}}, "saved_model");
    if (!instance_) return;
    EXPECT_EQ(model_->signature().inputs[0].shape, (Shape{-1, 9, 4}));
    for (const Json& c : (*golden)["cases"]) {
      std::vector<float> window;
      std::function<void(const Json&)> flatten = [&](const Json& j) {
        if (j.is_number())
          window.push_back(j.get<float>());
        else
          for (const Json& part : j) flatten(part);
      };
      flatten(c["input"]);
      ASSERT_EQ(window.size(), 36u);
      EXPECT_NEAR(answers({Array::of(DType::kFp32, {1, 9, 4}, window)})[0].as<float>()[0], c["output"].get<float>(), 1e-5) << folder;
    }
  }
}

TEST_F(TensorFlow, SpotsKeywords) {
  VERGE_OPEN("tensorflow");
  VERGE_DATA_OR_SKIP(path, "mlperf-tiny/kws_ref_model");
  ready({{path, 0}}, "saved_model");
  if (!instance_) return;
  const auto out = answers({Array::of(DType::kFp32, {3, 49, 10, 1}, std::vector<float>(3 * 490, 0.5f))});
  EXPECT_EQ(out[0].dims, (std::vector<int64_t>{3, 12}));
}

}  // namespace
}  // namespace verge::engine
