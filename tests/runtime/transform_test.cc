#include "support.h"

namespace verge::runtime {
namespace {

// uint8 pixels in, scaled; class ids out: what a client sees is the outer signature.
std::shared_ptr<ModelSource> with_chains(Server& server) {
  auto s = server.source("net", {{"x", DType::kFp32, Shape{-1, 3}, 0, {}}});
  s->manifest.inputs = {{{"pixels", DType::kUint8, Shape{-1, 3}, 0, {}},
                         "x",
                         {{"cast", Json{{"dtype", "FP32"}}}, {"scale", Json{{"factor", 2.0}}}}}};
  s->manifest.outputs = {{{"class", DType::kInt64, Shape{-1}, 0, {}}, "x", {{"argmax", Json::object()}}}, {{"raw", DType::kFp32, Shape{-1, 3}, 0, {}}, "x", {}}};
  return s;
}

TEST(Transforms, RunForEveryVariantAroundTheNetwork) {
  Server server;
  TestFront front(*server.runtime);
  server.serve(with_chains(server));
  const uint8_t pixels[6] = {1, 5, 2, 9, 0, 3};
  for (const char* variant : {"fast", "slow"}) {
    Call c;
    c.to("net");
    c.request.inputs = {{"pixels", DType::kUint8, Shape{2, 3}, std::as_bytes(std::span(pixels))}};
    c.request.bounds.variant = variant;
    front.infer(c.request);
    ASSERT_TRUE(front.run_until([&] { return c.done; }));
    ASSERT_TRUE(c.request.status.ok()) << c.request.status.to_string() << server.logged();
    ASSERT_EQ(c.request.outputs.size(), 2u);
    EXPECT_EQ(c.request.outputs[0].shape.to_string(), "[2]");
    int64_t ids[2];
    ASSERT_EQ(c.request.outputs[0].data.size(), sizeof ids);
    std::memcpy(ids, c.request.outputs[0].data.data(), sizeof ids);
    EXPECT_EQ(ids[0], 1);
    EXPECT_EQ(ids[1], 0);
    EXPECT_EQ(c.floats(1), (std::vector<float>{2, 10, 4, 18, 0, 6}));
  }
}

TEST(Transforms, AMismatchRefusesTheModelWithTheStepsName) {
  Server server;
  TestFront front(*server.runtime);
  auto s = with_chains(server);
  s->manifest.inputs[0].steps.pop_back();
  s->manifest.inputs[0].steps[0].params = Json{{"dtype", "FP64"}};
  server.serve(s);
  const auto doc = server.runtime->model_doc(front.front(), "net", 0);
  front.front().drain();
  const std::string said = server.logged();
  EXPECT_NE(said.find("input 'pixels'"), std::string::npos) << said;
  EXPECT_NE(said.find("FP64"), std::string::npos) << said;
}

}  // namespace
}  // namespace verge::runtime
