// After warm-up a request makes no heap call of the data plane's or nghttp2's. A program of its own, since it replaces malloc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "echo_runtime.h"
#include "h2_client.h"
#include "net/server.h"

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {
// The test's own thread allocates as it likes; every other thread is the server's.
thread_local bool uncounted = false;
std::atomic<bool> counting{false};
std::atomic<int> calls{0};
void count() {
  if (counting.load(std::memory_order_relaxed) && !uncounted) ++calls;
}
}  // namespace

extern "C" {
void* malloc(size_t n) {
  count();
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  count();
  return __libc_realloc(p, n);
}
void* aligned_alloc(size_t alignment, size_t n) {
  count();
  return __libc_memalign(alignment, n);
}
}

namespace verge::net {
namespace {

class AllocationTest : public testing::Test {
 protected:
  AllocationTest() {
    uncounted = true;
    ServerOptions options;
    options.listeners[0].port = 0;
    server_ = std::move(Server::start(options, runtime_)).value();
  }
  template <typename Fn>
  int heap_calls(Fn fn) {
    for (int i = 0; i < 300; ++i) fn();
    calls = 0;
    counting = true;
    for (int i = 0; i < 300; ++i) fn();
    counting = false;
    return calls;
  }
  test::EchoRuntime runtime_;
  std::unique_ptr<Server> server_;
};

TEST_F(AllocationTest, CountsAtAll) {
  counting = true;
  uncounted = false;
  void* volatile p = std::malloc(10);
  std::free(p);
  uncounted = true;
  counting = false;
  EXPECT_EQ(calls.exchange(0), 1);
}

TEST_F(AllocationTest, GrpcInfer) {
  test::H2Client client(server_->port());
  for (size_t elements : {16, 20'000}) {
    EXPECT_EQ(heap_calls([&] {
                const int32_t id = client.grpc("ModelInfer", test::infer_message("echo", elements, "id"));
                ASSERT_TRUE(client.wait(id));
                ASSERT_EQ(client.answer(id).headers["grpc-status"], "0");
              }),
              0)
        << elements;
  }
}

// Bounds asked for, and an answer that says all there is to say of the choice.
TEST_F(AllocationTest, GrpcBounds) {
  auto parameter = [](std::string_view key, std::string_view value) {
    std::string entry = "\x0a" + std::string(1, static_cast<char>(key.size())) + std::string(key) + "\x12" + std::string(1, static_cast<char>(value.size()));
    entry += value;
    return "\x22" + std::string(1, static_cast<char>(entry.size())) + entry;
  };
  const double accuracy = 0.9;
  const std::string number = "\x21" + std::string(reinterpret_cast<const char*>(&accuracy), 8);
  const std::string message = test::infer_message("chosen", 16, "id") + parameter("verge.min_accuracy", number) + parameter("verge.max_energy_mj", "\x10\x07") +
                              parameter("verge.deadline_ms", "\x10\x07") + parameter("verge.conditions", "\x1a\x10" "exit1: elapsed>9") +
                              parameter("verge.objective", "\x1a\x06" "energy") + parameter("verge.trace", "\x08\x01");
  test::H2Client client(server_->port());
  EXPECT_EQ(heap_calls([&] {
              const int32_t id = client.grpc("ModelInfer", message);
              ASSERT_TRUE(client.wait(id));
              ASSERT_EQ(client.answer(id).headers["grpc-status"], "0");
              ASSERT_NE(client.answer(id).body.find("verge.energy_source"), std::string::npos);
            }),
            0);
}

TEST_F(AllocationTest, StreamedInfer) {
  test::H2Client client(server_->port());
  for (size_t elements : {16, 20'000}) {
    const int32_t id = client.stream("/inference.GRPCInferenceService/ModelStreamInfer");
    const size_t n = elements < 100 ? 4 : 1;
    std::string messages;
    for (size_t i = 0; i < n; ++i) messages += test::grpc_frame(test::infer_message("echo", elements, "id"));
    EXPECT_EQ(heap_calls([&] {
                client.more(id, messages);
                ASSERT_EQ(client.messages(id, n).size(), n);
              }),
              0)
        << elements;
    client.more(id, "", true);
    ASSERT_TRUE(client.wait(id));
    EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
  }
}

TEST_F(AllocationTest, RestInferJson) {
  const int fd = test::connect_to(server_->port());
  for (const char* model : {"echo", "chosen"}) {
    const std::string body = R"({"id":"q","inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"FP32","data":[1,2.5,3,4]}],"outputs":[{"name":"OUTPUT0","parameters":{"binary_data":false}}],"parameters":{"priority":1,"timeout":1000000,"sequence_id":"s","sequence_start":true,"mine":"x","verge.min_accuracy":0.5,"verge.deadline_ms":7.5,"verge.trace":true}})";
    const std::string text = "POST /v2/models/" + std::string(model) + "/infer HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    EXPECT_EQ(heap_calls([&] {
                ASSERT_TRUE(test::send_all(fd, text));
                ASSERT_NE(test::receive_until(fd, "]}]}").find("HTTP/1.1 200 "), std::string::npos);
              }),
              0)
          << model;
  }
  close(fd);
}

}  // namespace
}  // namespace verge::net
