// In the steady state a request makes no heap call, on whichever thread.
#include <atomic>
#include <cstdlib>
#include <new>

#include "chain_support.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<uint64_t> calls_made{0};
void* counted(size_t n, size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) calls_made.fetch_add(1, std::memory_order_relaxed);
  void* p = alignment <= 16 ? std::malloc(n == 0 ? 1 : n) : std::aligned_alloc(alignment, (n + alignment - 1) / alignment * alignment);
  if (p == nullptr) std::abort();
  return p;
}
}  // namespace

void* operator new(size_t n) { return counted(n, 16); }
void* operator new[](size_t n) { return counted(n, 16); }
void* operator new(size_t n, std::align_val_t a) { return counted(n, static_cast<size_t>(a)); }
void* operator new[](size_t n, std::align_val_t a) { return counted(n, static_cast<size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace verge::runtime {
namespace {

class Allocation : public testing::TestWithParam<std::pair<size_t, uint64_t>> {};
INSTANTIATE_TEST_SUITE_P(Placement, Allocation,
                         testing::Values(std::pair<size_t, uint64_t>{0, 0}, std::pair<size_t, uint64_t>{1, 0}, std::pair<size_t, uint64_t>{2, 1'000'000'000}));

TEST_P(Allocation, NoneInTheSteadyState) {
  Server server({.lanes = GetParam().first, .hand_off_ns = GetParam().second});
  TestFront front(*server.runtime);
  auto plain = server.source("plain", {Server::vector_spec("x", 16)});
  auto chained = server.source("chained", {Server::vector_spec("x", 16)});
  chained->manifest.inputs = {{{"pixels", DType::kUint8, Shape{-1, 16}, 0, {}}, "x", {{"cast", Json{{"dtype", "FP32"}}}, {"scale", Json{{"factor", 0.5}}}}}};
  chained->manifest.outputs = {{{"p", DType::kFp32, Shape{-1, 16}, 0, {}}, "x", {{"softmax", Json::object()}}}};
  auto text = server.source("text", {{"t", DType::kBytes, Shape{-1}, 0, {}}});
  server.serve(plain);
  server.serve(chained);
  server.serve(text);
  const std::vector<float> floats(16, 1.5f);
  const std::vector<uint8_t> pixels(16, 7);
  const char string[] = "\3\0\0\0abc";
  constexpr int kInFlight = 8;
  std::vector<std::unique_ptr<Call>> requests;
  for (int i = 0; i < kInFlight; ++i) {
    requests.push_back(std::make_unique<Call>());
    Request& r = requests.back()->request;
    if (i % 3 == 0) {
      r.model = "plain";
      r.inputs = {{"x", DType::kFp32, Shape{1, 16}, std::as_bytes(std::span(floats))}};
    } else if (i % 3 == 1) {
      r.model = "chained";
      r.inputs = {{"pixels", DType::kUint8, Shape{1, 16}, std::as_bytes(std::span(pixels))}};
    } else {
      r.model = "text";
      r.inputs = {{"t", DType::kBytes, Shape{1}, std::as_bytes(std::span(string)).first(7)}};
    }
    r.bounds.deadline_ns = after_ms(60'000);
  }
  const auto round = [&] {
    for (auto& c : requests) {
      c->done = false;
      front.infer(c->request);
    }
    const bool all = front.run_until([&] { return std::all_of(requests.begin(), requests.end(), [](const auto& c) { return c->done; }); });
    bool ok = true;
    for (auto& c : requests) {
      ok &= c->request.status.ok() && !c->request.outputs.empty();
      c->request.release();
    }
    return all && ok;
  };
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(round());
  server.runtime->settle();
  calls_made = 0;
  counting = true;
  bool good = true;
  for (int i = 0; i < 500; ++i) good &= round();
  counting = false;
  EXPECT_TRUE(good);
  EXPECT_EQ(calls_made.load(), 0u);
}

// Bounds, a choice, stages, an exit rule: none of it allocates, unless verge.trace is asked for.
TEST(Allocation, NoneForMultiExitModelsAndBounds) {
  ChainServer server;
  TestFront front(*server.runtime);
  server.serve(server.chain({.delay_us = {20, 20, 20, 20}, .variants = {"a", "b"}}));
  ASSERT_TRUE(server.runtime->set_bounds(0, {.rule = "conditions", .conditions = "exit2: confidence >= 0.5"}).ok());
  std::vector<std::unique_ptr<ChainCall>> calls;
  for (int i = 0; i < 6; ++i) calls.push_back(std::make_unique<ChainCall>("chain", four_exits()));
  calls[1]->request.bounds.min_accuracy = 0.8;
  calls[2]->request.bounds.rule = "confidence";
  calls[2]->request.bounds.confidence = 0.75;
  calls[3]->request.bounds.conditions = "exit1: elapsed > 10000; exit3: confidence >= 0.7";
  calls[4]->request.bounds.rule = "entropy";
  calls[4]->request.bounds.max_accuracy_loss = 0.05;
  const auto round = [&] {
    bool ok = true;
    for (auto& c : calls) {
      c->done = false;
      c->request.bounds.deadline_ns = after_ms(60'000);
      front.infer(c->request);
      ok &= front.run_until([&] { return c->done; }) && c->request.status.ok() && c->request.chosen.said;
      c->request.release();
    }
    return ok;
  };
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(round());
  server.runtime->settle();
  calls_made = 0;
  counting = true;
  bool good = true;
  for (int i = 0; i < 300; ++i) good &= round();
  counting = false;
  EXPECT_TRUE(good);
  EXPECT_EQ(calls_made.load(), 0u);
}

TEST(Counter, Counts) {
  counting = true;
  calls_made = 0;
  delete new int;
  counting = false;
  EXPECT_EQ(calls_made.load(), 1u);
}

}  // namespace
}  // namespace verge::runtime
