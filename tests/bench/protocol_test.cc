#include "bench/protocol.h"

#include <gtest/gtest.h>

#include <cstring>

#include "net/wire.h"

namespace verge::bench {
namespace {

namespace wire = net::wire;

void set_answer(Exchange& e, std::string_view message) {
  e.reset();
  e.http_status = 200;
  e.grpc_status = 0;
  e.answer.append(std::string_view("\0\0\0\0\0", 5));
  e.answer.append(message);
}

TEST(Protocol, ReadsParametersAndScoresOfAGrpcAnswer) {
  net::ByteBuffer b;
  const double accuracy = 0.875;
  {
    wire::Nested entry(b, 4);
    wire::add_bytes(b, 1, "verge.expected_accuracy");
    wire::Nested value(b, 2);
    wire::add_tag(b, 4, wire::kFixed64);
    b.append(&accuracy, 8);
  }
  {
    wire::Nested entry(b, 4);
    wire::add_bytes(b, 1, "verge.exit");
    wire::Nested value(b, 2);
    wire::add_bytes(b, 3, "exit3");
  }
  for (const char* name : {"first", "scores"}) {
    wire::Nested output(b, 5);
    wire::add_bytes(b, 1, name);
    wire::add_bytes(b, 2, "FP32");
  }
  const float first[2] = {1, 0}, scores[6] = {0.1f, 0.7f, 0.2f, 0.9f, 0.05f, 0.05f};
  wire::add_bytes(b, 6, {reinterpret_cast<const char*>(first), sizeof first});
  wire::add_bytes(b, 6, {reinterpret_cast<const char*>(scores), sizeof scores});
  Exchange e;
  set_answer(e, b.view());
  const Answer a = read_answer(Protocol::kGrpc, e);
  EXPECT_TRUE(a.ok);
  EXPECT_EQ(a.exit, "exit3");
  EXPECT_EQ(a.expected_accuracy, 0.875);
  const int64_t labels[] = {1, 2};
  EXPECT_EQ(count_right(Protocol::kGrpc, e, "scores", labels, 2), 1);
  EXPECT_EQ(count_right(Protocol::kGrpc, e, "absent", labels, 2), -1);
  // Cut anywhere, it is read in part or not at all.
  const std::string whole(b.view());
  for (size_t n = 0; n < whole.size(); ++n) {
    set_answer(e, whole.substr(0, n));
    (void)read_answer(Protocol::kGrpc, e);
    (void)count_right(Protocol::kGrpc, e, "scores", labels, 2);
  }
}

TEST(Protocol, ReadsTypedContents) {
  net::ByteBuffer b;
  {
    wire::Nested output(b, 5);
    wire::add_bytes(b, 1, "y");
    wire::add_bytes(b, 2, "INT64");
    wire::Nested contents(b, 5);
    wire::Nested packed(b, 3);
    wire::add_varint(b, 4);
    wire::add_varint(b, 7);
  }
  Exchange e;
  set_answer(e, b.view());
  const int64_t labels[] = {4, 6};
  EXPECT_EQ(count_right(Protocol::kGrpc, e, "y", labels, 2), 1);
}

TEST(Protocol, ReadsRestAnswers) {
  Exchange e;
  e.http_status = 200;
  e.answer.append(std::string_view(R"({"model_name":"m","parameters":{"verge.variant":"a-int8", "verge.predicted_ms": 1.5},"outputs":[{"name":"y","datatype":"FP32","shape":[2,3],"data":[[0.1,0.7,0.2],[0.9,0.05,0.05]]}]})"));
  const Answer a = read_answer(Protocol::kRestJson, e);
  EXPECT_EQ(a.variant, "a-int8");
  EXPECT_EQ(a.predicted_ms, 1.5);
  const int64_t labels[] = {1, 0};
  EXPECT_EQ(count_right(Protocol::kRestJson, e, "y", labels, 2), 2);
  e.reset();
  e.http_status = 503;
  e.answer.append(std::string_view(R"({"error":"full"})"));
  EXPECT_EQ(read_answer(Protocol::kRest, e).code, "HTTP 503 unavailable");
  EXPECT_EQ(error_text(Protocol::kRest, e), "HTTP 503 unavailable: full");
}

// Found by the fuzzer: numbers that no whole number can be.
TEST(Protocol, WholeNumbersMayBeNone) {
  Exchange e;
  e.http_status = 200;
  e.answer.append(std::string_view(R"({"outputs":[{"name":"y","datatype":"INT64","shape":[2],"data":[2.16814e+241,7]}]})"));
  const int64_t labels[] = {INT64_MIN, 7};
  EXPECT_EQ(count_right(Protocol::kRestJson, e, "y", labels, 2), 1);
}

TEST(Protocol, TheTimeoutIsPutInPlace) {
  ModelInfo m;
  m.inputs.push_back({"x", DType::kFp32, Shape{-1, 2}, 0, {}});
  TenantSpec t;
  t.model = "m";
  Sample s;
  s.emplace_back(DType::kFp32, Shape{1, 2});
  RequestBody b = make_request(Protocol::kRest, t, m, s, "", true);
  for (const uint64_t us : {uint64_t{1}, uint64_t{20'000}, uint64_t{9'999'999'999}, UINT64_MAX}) {
    patch_timeout(b, us);
    const Json j = Json::parse(b.bytes.substr(0, b.json_bytes));
    EXPECT_EQ(j["parameters"]["timeout"].get<uint64_t>(), std::min<uint64_t>(us, 9'999'999'999));
    EXPECT_EQ(j["inputs"][0]["parameters"]["binary_data_size"], 8);
    EXPECT_EQ(b.bytes.size(), b.json_bytes + 8);
  }
}

}  // namespace
}  // namespace verge::bench
