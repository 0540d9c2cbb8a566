// What text cases cannot say: the table of operators, buffers that are reused, damaged images, and chains and tensors at random.
#include "transform/chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <new>
#include <random>
#include <set>
#include <thread>

#include "tests/transform/text_tensor.h"

namespace {
thread_local bool t_counting = false;
thread_local int64_t t_allocations = 0;
}  // namespace

[[gnu::noinline]] void* operator new(size_t n) {
  if (t_counting) ++t_allocations;
  if (void* p = std::malloc(n ? n : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace verge::transform {
namespace {

using ::testing::HasSubstr;

TensorSpec spec_of(DType t, const Shape& s, int batch_axis = 0) {
  TensorSpec spec;
  spec.name = "x";
  spec.dtype = t;
  spec.shape = s;
  spec.batch_axis = batch_axis;
  return spec;
}

std::vector<StepSpec> steps_of(const std::string& json) {
  std::vector<StepSpec> steps;
  const Json list = *parse_json(json, "steps");
  for (const auto& s : list) steps.push_back({s.begin().key(), s.begin().value()});
  return steps;
}

Tensor wire(const std::vector<std::string>& files) {
  Tensor t;
  t.dtype = DType::kBytes;
  t.shape = {static_cast<int64_t>(files.size())};
  for (const auto& f : files) {
    testing::put(t, static_cast<uint32_t>(f.size()));
    for (char c : f) testing::put(t, c);
  }
  return t;
}

// The images of the golden cases.
std::vector<std::string> sample_files() {
  std::vector<std::string> files;
  std::ifstream in(VERGE_CASES "/transform/golden_images.txt");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("in: BYTES")) continue;
    auto t = testing::parse_text_tensor(line.substr(4));
    if (!t.ok() || t->data.size() < 8) continue;
    uint32_t n;
    std::memcpy(&n, t->data.data(), 4);
    files.emplace_back(reinterpret_cast<const char*>(t->data.data()) + 4, n);
  }
  return files;
}

TEST(Operators, TableIsComplete) {
  std::set<std::string_view> names, types{"int", "number", "numbers", "ints", "string", "dtype", "bool"};
  for (const OpDoc& op : operators()) {
    EXPECT_TRUE(names.insert(op.op).second) << op.op << " is there twice";
    EXPECT_FALSE(op.doc.empty());
    std::set<std::string_view> params;
    for (const ParamDoc& p : op.params) {
      EXPECT_TRUE(params.insert(p.name).second);
      EXPECT_TRUE(types.count(p.type)) << op.op << "." << p.name;
      EXPECT_FALSE(p.doc.empty());
    }
  }
  EXPECT_EQ(names.size(), 20u);
}

TEST(Operators, DocsAgreeWithTheTable) {
  std::ifstream in(VERGE_DOCS "/transforms.md");
  const std::string docs{std::istreambuf_iterator<char>(in), {}};
  for (const OpDoc& op : operators()) {
    EXPECT_THAT(docs, HasSubstr("### " + std::string(op.op) + "\n\n" + std::string(op.doc) + "\n"));
    for (const ParamDoc& p : op.params)
      EXPECT_THAT(docs, HasSubstr("| `" + std::string(p.name) + "`" + (p.required ? " (required)" : "") + " | " + std::string(p.type) +
                                  " | " + std::string(p.doc) + " |"));
  }
}

TEST(Chain, EmptyPassesTheInputThrough) {
  auto chain = Chain::build({}, spec_of(DType::kFp32, {-1, 2}), {}, "input 'x'");
  ASSERT_TRUE(chain.ok());
  EXPECT_TRUE(chain->empty());
  Tensor t(DType::kFp32, {1, 2});
  Chain::Scratch scratch;
  auto out = chain->run(t.view(), scratch);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->data.data(), t.data.data());
}

TEST(Chain, RefusesABatchAxisThatDoesNotLead) {
  auto chain = Chain::build(steps_of(R"([{"softmax": {}}])"), spec_of(DType::kFp32, {2, -1}, 1), {}, "output 'y'");
  EXPECT_THAT(chain.status().message(), HasSubstr("output 'y': has its batch axis at 1"));
  std::vector<StepSpec> many(65, {"sigmoid", Json::object()});
  EXPECT_THAT(Chain::build(many, spec_of(DType::kFp32, {-1}), {}, "x").status().message(), HasSubstr("has 65 steps"));
}

TEST(Chain, ShapeStepsCopyNothing) {
  auto chain = Chain::build(steps_of(R"([{"reshape": {"shape": [4]}}, {"expand": {}}])"), spec_of(DType::kFp32, {-1, 2, 2}), {}, "x");
  Tensor t(DType::kFp32, {3, 2, 2});
  Chain::Scratch scratch;
  auto out = chain->run(t.view(), scratch);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->data.data(), t.data.data());
  EXPECT_EQ(out->shape, (Shape{3, 1, 4}));
}

class OnePlace : public Place {
 public:
  explicit OnePlace(size_t capacity) : memory(capacity) {}
  std::byte* take(size_t bytes) override {
    ++asked;
    return bytes <= memory.size() ? memory.data() : nullptr;
  }
  std::vector<std::byte> memory;
  int asked = 0;
};

TEST(Chain, ResultLiesWhereItIsWanted) {
  const auto in = spec_of(DType::kUint8, {-1, 4});
  Tensor x(DType::kUint8, {2, 4});
  for (size_t i = 0; i < x.data.size(); ++i) x.data[i] = static_cast<std::byte>(i);
  // Whether the last step that computes can write there; what only shapes may follow it.
  const std::pair<const char*, bool> cases[] = {
      {R"([{"cast": {"dtype": "FP32"}}])", true},
      {R"([{"scale": {"factor": 2}}, {"reshape": {"shape": [2, 2]}}])", true},
      {R"([{"scale": {"factor": 2}}, {"cast": {"dtype": "INT64"}}])", true},
      {R"([{"cast": {"dtype": "FP32"}}, {"softmax": {}}])", false},
  };
  for (const auto& [json, there] : cases) {
    SCOPED_TRACE(json);
    auto chain = Chain::build(steps_of(json), in, {}, "x");
    ASSERT_TRUE(chain.ok()) << chain.status().message();
    Chain::Scratch scratch, other;
    OnePlace place(64), small(7);
    const auto plain = chain->run(x.view(), scratch), placed = chain->run(x.view(), other, &place), refused = chain->run(x.view(), scratch, &small);
    ASSERT_TRUE(plain.ok() && placed.ok() && refused.ok());
    EXPECT_EQ(placed->data.data() == place.memory.data(), there);
    EXPECT_LE(place.asked, 1);
    EXPECT_TRUE(std::equal(refused->data.begin(), refused->data.end(), placed->data.begin(), placed->data.end()));
    EXPECT_EQ(placed->dtype, refused->dtype);
    EXPECT_EQ(placed->shape, refused->shape);
  }
}

TEST(Chain, RunsWithoutHeapCallsOnceWarm) {
  const std::vector<std::string> labels = {"a", "b", "c"};
  const struct {
    const char* steps;
    TensorSpec spec;
    Shape shape;
  } chains[] = {
      {R"([{"cast": {"dtype": "FP32"}}, {"scale": {"factor": 0.5}}])", spec_of(DType::kUint8, {-1, 28, 28, 1}), {2, 28, 28, 1}},
      {R"([{"resize": {"height": 5, "width": 7, "method": "triangle"}}, {"transpose": {"perm": [2, 0, 1]}}])",
       spec_of(DType::kUint8, {-1, -1, -1, 3}),
       {2, 16, 12, 3}},
      {R"([{"scale": {"factor": 3.90625}}, {"append_column": {}}, {"normalise": {"mean": [1, 2, 3, 4], "std": [1, 2, 3, 4]}}])",
       spec_of(DType::kInt16, {-1, 9, 3}),
       {3, 9, 3}},
      {R"([{"softmax": {}}, {"topk": {"k": 2, "output": "labels"}}])", spec_of(DType::kFp32, {-1, 3}), {4, 3}},
      {R"([{"window": {"size": 4, "stride": 1, "take": "all"}}, {"vector_length": {}}, {"quantise": {"dtype": "INT8", "scale": 0.1}}])",
       spec_of(DType::kFp32, {-1, -1, 3}),
       {1, 20, 3}},
  };
  for (const auto& c : chains) {
    auto chain = Chain::build(steps_of(c.steps), c.spec, {labels}, "x");
    ASSERT_TRUE(chain.ok()) << chain.status().message();
    Tensor t(c.spec.dtype, c.shape);
    Chain::Scratch scratch;
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(chain->run(t.view(), scratch).ok());
    t_allocations = 0;
    t_counting = true;
    const bool ok = chain->run(t.view(), scratch).ok();
    t_counting = false;
    EXPECT_TRUE(ok);
    EXPECT_EQ(t_allocations, 0) << c.steps;
  }
}

// Many at a time, in registers as wide as the machine's: all values, each length and each place where the bytes may begin.
TEST(Chain, BytesBecomeFloatsWhateverTheirNumberAndAlignment) {
  auto chain = Chain::build(steps_of(R"([{"cast": {"dtype": "FP32"}}])"), spec_of(DType::kUint8, {-1, -1}), {}, "x");
  ASSERT_TRUE(chain.ok());
  Chain::Scratch scratch;
  std::vector<std::byte> bytes(512);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 167 + 5);
  for (int64_t count = 1; count <= 300; ++count) {
    const auto offset = static_cast<size_t>(count * 7 % 65);
    auto out = chain->run({DType::kUint8, {1, count}, {bytes.data() + offset, static_cast<size_t>(count)}}, scratch);
    ASSERT_TRUE(out.ok());
    ASSERT_EQ(out->data.size(), static_cast<size_t>(count) * sizeof(float));
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_EQ(reinterpret_cast<const float*>(out->data.data())[i], static_cast<float>(bytes[offset + static_cast<size_t>(i)])) << count << " " << i;
    }
  }
}

TEST(Chain, OneChainServesManyThreads) {
  auto chain = Chain::build(steps_of(R"([{"normalise": {"mean": [1, 2], "std": [1, 2]}}, {"softmax": {}}])"),
                            spec_of(DType::kFp32, {-1, 2}), {}, "x");
  ASSERT_TRUE(chain.ok());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&, k] {
      Chain::Scratch scratch;
      for (int i = 0; i < 200; ++i) {
        Tensor t(DType::kFp32, {1 + (i + k) % 5, 2});
        auto out = chain->run(t.view(), scratch);
        if (!out.ok() || reinterpret_cast<const float*>(out->data.data())[0] != 0.5f) ++wrong;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Decode, DamagedImagesAreRefusedOrDecoded) {
  const auto seeds = sample_files();
  ASSERT_GT(seeds.size(), 20u);
  auto chain =
      Chain::build(steps_of(R"([{"decode": {"height": 6, "width": 5, "max_pixels": 100000}}])"), spec_of(DType::kBytes, {-1}), {}, "x");
  auto grey = Chain::build(steps_of(R"([{"decode": {"channels": 1, "max_pixels": 100000}}])"), spec_of(DType::kBytes, {-1}), {}, "x");
  ASSERT_TRUE(chain.ok() && grey.ok());
  std::mt19937 rng(3);
  Chain::Scratch scratch;
  int refused = 0;
  for (int i = 0; i < 10000; ++i) {
    std::string f;
    if (i % 5 == 0) {
      f.resize(rng() % 200);
      for (char& c : f) c = static_cast<char>(rng());
      const char* heads[] = {"\xff\xd8\xff", "\x89PNG\r\n\x1a\n", "BM"};
      f = heads[rng() % 3] + f;
    } else {
      f = seeds[rng() % seeds.size()];
      if (f.empty()) continue;
      if (rng() % 4 == 0) f.resize(rng() % f.size());
      for (unsigned k = rng() % 4; k > 0 && !f.empty(); --k) f[rng() % f.size()] = static_cast<char>(rng());
    }
    const Tensor t = wire({f});
    auto out = (i % 2 ? *chain : *grey).run(t.view(), scratch);
    if (out.ok()) {
      ASSERT_TRUE(check_tensor(*out, "out").ok());
    } else {
      ASSERT_EQ(out.status().code(), Code::kInvalidArgument) << out.status().message();
      ++refused;
    }
  }
  EXPECT_GT(refused, 5000);
}

TEST(Decode, TakesNoMemoryForWhatAHeaderClaims) {
  // A bitmap of 16,000,000 pixels without any: refused before its pixels are given room.
  std::string bmp("BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", 18);
  for (uint32_t v : {4000u, 4000u, 1u | 24u << 16, 0u, 0u, 0u, 0u, 0u, 0u}) bmp.append(reinterpret_cast<const char*>(&v), 4);
  auto chain = Chain::build(steps_of(R"([{"decode": {}}])"), spec_of(DType::kBytes, {-1}), {}, "x");
  Chain::Scratch scratch;
  const Tensor t = wire({bmp});
  auto out = chain->run(t.view(), scratch);
  EXPECT_THAT(out.status().message(), HasSubstr("the BMP is cut off"));
  EXPECT_LT(scratch.a.data.capacity() + scratch.b.data.capacity(), 1000u);
}

// Random steps with random parameters on random tensors: each is refused or gives what was proved.
TEST(Chain, RandomChainsKeepTheirProof) {
  std::mt19937 rng(11);
  const DType types[] = {DType::kBool,  DType::kUint8,  DType::kInt8, DType::kUint16, DType::kInt16, DType::kInt32,
                         DType::kInt64, DType::kUint64, DType::kFp16, DType::kBf16,   DType::kFp32,  DType::kFp64};
  const char* words[] = {"bilinear", "triangle", "nearest", "indices",       "values", "labels",
                         "all",      "last",     "first",   "vector_length", "sum",    "mean"};
  const std::vector<std::string> labels = {"a", "b", "c"};
  int built = 0, ran = 0;
  for (int i = 0; i < 10000; ++i) {
    TensorSpec spec = spec_of(types[rng() % std::size(types)], {}, rng() % 4 ? 0 : -1);
    Shape concrete;
    const int rank = static_cast<int>(rng() % 5) + (spec.batch_axis == 0);
    for (int a = 0; a < rank; ++a) {
      const int64_t d = rng() % 8 ? 1 + rng() % 5 : 0;
      concrete.push_back(d);
      spec.shape.push_back(rng() % 3 && !(a == 0 && spec.batch_axis == 0) ? d : -1);
    }
    std::vector<StepSpec> steps;
    for (unsigned k = 1 + rng() % 4; k > 0; --k) {
      const OpDoc& op = operators()[rng() % operators().size()];
      Json params = Json::object();
      for (const ParamDoc& p : op.params) {
        if (!p.required && rng() % 2) continue;
        const std::string name(p.name);
        auto number = [&] { return static_cast<int64_t>(rng() % 7) - (rng() % 3 == 0); };
        if (p.type == "int") params[name] = number();
        if (p.type == "number") params[name] = static_cast<double>(number()) / 2;
        if (p.type == "bool") params[name] = rng() % 2 == 0;
        if (p.type == "dtype") params[name] = std::string(dtype_name(types[rng() % std::size(types)]));
        if (p.type == "string") params[name] = words[rng() % std::size(words)];
        if (p.type == "numbers" || p.type == "ints") {
          params[name] = Json::array();
          for (unsigned n = 1 + rng() % 4; n > 0; --n) params[name].push_back(number());
          if (name == "perm") {
            std::vector<int> perm(static_cast<size_t>(std::max(1, rank - (spec.batch_axis == 0))));
            for (size_t a = 0; a < perm.size(); ++a) perm[a] = static_cast<int>(a);
            std::shuffle(perm.begin(), perm.end(), rng);
            params[name] = perm;
          }
        }
      }
      steps.push_back({std::string(op.op), params});
    }
    auto chain = Chain::build(steps, spec, {labels}, "x");
    if (!chain.ok()) {
      ASSERT_EQ(chain.status().code(), Code::kInvalidArgument) << chain.status().message();
      continue;
    }
    ++built;
    Tensor t(spec.dtype, concrete);
    for (auto& b : t.data) b = static_cast<std::byte>(rng());
    Chain::Scratch scratch;
    auto out = chain->run(t.view(), scratch);
    if (!out.ok()) continue;
    ++ran;
    ASSERT_EQ(out->dtype, chain->output().dtype);
    ASSERT_TRUE(chain->output().shape.accepts(out->shape)) << out->shape.to_string() << " for " << chain->output().shape.to_string();
    ASSERT_TRUE(check_tensor(*out, "out").ok());
    ASSERT_TRUE(spec.batch_axis < 0 || out->shape[0] == concrete[0]);
  }
  EXPECT_GT(built, 1000);
  EXPECT_GT(ran, 600);
}

}  // namespace
}  // namespace verge::transform
