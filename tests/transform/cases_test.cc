// Replays the text cases of tests/cases/transform/*.txt. A case is a block of `key: value` lines, blocks are parted by `---`, lines that
// begin with '#' are comments:
//   case: its name
//   input: FP32 [-1,4]        the proved type; the leading axis is the batch axis unless `batch: none`
//   quantization: 0.5 3       of the input, per tensor
//   labels: a|b|c
//   steps: [{"scale": {"factor": 2}}]
//   output: FP32 [-1,4]       the type the chain must prove (optional)
//   in: FP32 [1,4] : 1 2 3 4
//   out: FP32 [1,4] : 2 4 6 8
//   tolerance: 1e-6           largest difference; default 0
//   build-error: text         instead of in and out: the refusal must contain it
//   run-error: text           instead of out
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/transform/text_tensor.h"
#include "transform/chain.h"

namespace verge::transform {
namespace {

struct Case {
  std::string where;
  std::map<std::string, std::string> fields;
  std::string field(const std::string& key) const {
    auto it = fields.find(key);
    return it == fields.end() ? "" : it->second;
  }
};

std::vector<Case> read_cases() {
  std::vector<std::string> files;
  for (const auto& e : std::filesystem::directory_iterator(VERGE_CASES "/transform"))
    if (e.path().extension() == ".txt") files.push_back(e.path());
  std::sort(files.begin(), files.end());
  std::vector<Case> cases;
  for (const auto& file : files) {
    std::ifstream in(file);
    std::string line;
    Case c;
    int n = 0;
    auto flush = [&] {
      if (!c.fields.empty()) cases.push_back(std::move(c));
      c = {};
    };
    while (std::getline(in, line)) {
      ++n;
      if (line.empty() || line[0] == '#') continue;
      if (line == "---") {
        flush();
        continue;
      }
      const size_t colon = line.find(':');
      if (c.fields.empty()) c.where = std::filesystem::path(file).filename().string() + ":" + std::to_string(n);
      const std::string key = line.substr(0, colon);
      EXPECT_THAT((std::vector<std::string>{"case", "input", "batch", "quantization", "labels", "steps", "output", "in", "out", "tolerance",
                                            "build-error", "run-error"}),
                  ::testing::Contains(key))
          << file << ":" << n;
      c.fields[key] = line.substr(std::min(line.size(), colon + 2));
    }
    flush();
  }
  return cases;
}

Result<TensorSpec> parse_type(const std::string& text) {
  TensorSpec spec;
  spec.name = "x";
  const size_t space = text.find(' ');
  spec.dtype = dtype_from_name(text.substr(0, space));
  auto j = parse_json(text.substr(space + 1), "shape");
  if (!j.ok() || spec.dtype == DType::kInvalid) return invalid_argument("bad type " + text);
  for (const auto& d : *j) spec.shape.push_back(d.get<int64_t>());
  return spec;
}

void expect_equal(const TensorView& got, const Tensor& want, double tolerance) {
  ASSERT_EQ(dtype_name(got.dtype), dtype_name(want.dtype));
  ASSERT_EQ(got.shape, want.shape) << got.shape.to_string() << " for " << want.shape.to_string();
  ASSERT_TRUE(check_tensor(got, "result").ok()) << check_tensor(got, "result").to_string();
  if (got.dtype == DType::kBytes) {
    EXPECT_TRUE(std::equal(got.data.begin(), got.data.end(), want.data.begin(), want.data.end()));
    return;
  }
  for (size_t i = 0; i < static_cast<size_t>(want.shape.elements()); ++i) {
    const double g = element_as_double(got, i), w = element_as_double(want.view(), i);
    if (std::isnan(w)) {
      EXPECT_TRUE(std::isnan(g)) << "element " << i << " is " << g << ", not NaN";
      continue;
    }
    if (g == w) continue;
    ASSERT_LE(std::abs(g - w), tolerance) << "element " << i << " is " << g << ", not " << w;
  }
}

class TransformCase : public ::testing::TestWithParam<Case> {};

TEST_P(TransformCase, Replays) {
  const Case& c = GetParam();
  SCOPED_TRACE(c.where + " " + c.field("case"));
  auto spec = parse_type(c.field("input"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  spec->batch_axis = c.field("batch") == "none" ? -1 : 0;
  if (std::string q = c.field("quantization"); !q.empty())
    spec->quantization.push_back({std::stod(q), std::stoll(q.substr(q.find(' '))), -1});
  std::vector<std::string> labels;
  for (std::string rest = c.field("labels"); !rest.empty();) {
    labels.push_back(rest.substr(0, rest.find('|')));
    rest = rest.find('|') == std::string::npos ? "" : rest.substr(rest.find('|') + 1);
  }
  auto json = parse_json(c.field("steps"), "steps");
  ASSERT_TRUE(json.ok()) << json.status().message();
  std::vector<StepSpec> steps;
  for (const auto& s : *json) steps.push_back({s.begin().key(), s.begin().value()});

  auto chain = Chain::build(steps, *spec, {labels}, "input 'x'");
  if (std::string want = c.field("build-error"); !want.empty()) {
    ASSERT_FALSE(chain.ok()) << "built, giving " << chain->output().shape.to_string();
    EXPECT_THAT(chain.status().message(), ::testing::HasSubstr(want));
    EXPECT_THAT(chain.status().message(), ::testing::StartsWith("input 'x'"));
    return;
  }
  ASSERT_TRUE(chain.ok()) << chain.status().message();
  if (std::string want = c.field("output"); !want.empty()) {
    auto proved = parse_type(want);
    ASSERT_TRUE(proved.ok());
    EXPECT_EQ(dtype_name(chain->output().dtype), dtype_name(proved->dtype));
    EXPECT_EQ(chain->output().shape, proved->shape) << chain->output().shape.to_string();
  }
  if (c.field("in").empty()) return;
  auto in = testing::parse_text_tensor(c.field("in"));
  ASSERT_TRUE(in.ok()) << in.status().message();
  // The second run reuses the buffers, the third reads from an odd address.
  std::vector<std::byte> odd(in->data.size() + 1);
  std::copy(in->data.begin(), in->data.end(), odd.begin() + 1);
  TensorView shifted = in->view();
  shifted.data = std::span<const std::byte>(odd).subspan(1);
  Chain::Scratch scratch;
  for (const TensorView& view : {in->view(), in->view(), shifted}) {
    auto got = chain->run(view, scratch);
    if (std::string want = c.field("run-error"); !want.empty()) {
      ASSERT_FALSE(got.ok());
      EXPECT_THAT(got.status().message(), ::testing::HasSubstr(want));
      continue;
    }
    ASSERT_TRUE(got.ok()) << got.status().message();
    EXPECT_TRUE(chain->output().shape.accepts(got->shape)) << got->shape.to_string();
    EXPECT_EQ(chain->output().dtype, got->dtype);
    auto want = testing::parse_text_tensor(c.field("out"));
    ASSERT_TRUE(want.ok()) << want.status().message();
    expect_equal(*got, *want, c.field("tolerance").empty() ? 0 : std::stod(c.field("tolerance")));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, TransformCase, ::testing::ValuesIn(read_cases()), [](const auto& test) {
  std::string name = test.param.where;
  for (char& ch : name)
    if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
  return name;
});

}  // namespace
}  // namespace verge::transform
