// The ASSIST-IoT service: tensors in every form that they are sent in, what is refused, which model is meant.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "h2_client.h"
#include "net/server.h"
#include "net/tensor_proto.h"
#include "net/wire.h"
#include "server_fixture.h"

namespace verge::net {
namespace {

using test::grpc_frame;
using test::H2Client;
using testing::HasSubstr;

constexpr const char* kPath = "/extended_inference.ExtendedInferenceService/predict";

class Proto {
 public:
  Proto& varint(uint32_t number, uint64_t v) {
    ByteBuffer b;
    wire::add_tag(b, number, wire::kVarint);
    wire::add_varint(b, v);
    text_ += b.view();
    return *this;
  }
  Proto& bytes(uint32_t number, std::string_view v) {
    ByteBuffer b;
    wire::add_bytes(b, number, v);
    text_ += b.view();
    return *this;
  }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

std::string packed(const std::vector<int64_t>& values) {
  ByteBuffer b;
  for (int64_t v : values) wire::add_varint(b, static_cast<uint64_t>(v));
  return std::string(b.view());
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

Proto tensor(uint64_t type, const std::vector<uint64_t>& dims) {
  Proto shape;
  for (uint64_t d : dims) shape.bytes(2, Proto().varint(1, d).str());
  return Proto().varint(1, type).bytes(2, shape.str());
}

std::string request(int64_t id, std::string_view key, const std::string& value) {
  return Proto().varint(1, static_cast<uint64_t>(id)).bytes(2, Proto().bytes(1, key).bytes(2, value).str()).str();
}

class TensorProtoTest : public testing::Test {
 protected:
  Status read(DType to, const std::string& message) {
    message_ = message;
    scratch_.clear();
    t_ = {};
    t_.name = "x";
    t_.dtype = to;
    return read_tensor_proto(message_, scratch_, &t_, &copies_);
  }
  template <typename T>
  std::vector<T> values() const {
    std::vector<T> out(t_.data.size() / sizeof(T));
    std::memcpy(out.data(), t_.data.data(), t_.data.size());
    return out;
  }
  ReceiveBudget shared_{64 << 20};
  LocalBudget budget_{shared_};
  BlockPool pool_;
  Scratch scratch_{pool_, budget_};
  std::string message_;
  runtime::InputTensor t_;
  CopyCount copies_;
};

TEST_F(TensorProtoTest, EveryForm) {
  ASSERT_TRUE(read(DType::kFp32, tensor(5, {3}).bytes(7, packed({-248, 5, 32767})).str()).ok());
  EXPECT_EQ(values<float>(), (std::vector<float>{-248, 5, 32767}));
  ASSERT_TRUE(read(DType::kFp32, tensor(3, {2}).varint(7, 1).varint(7, static_cast<uint64_t>(-2)).str()).ok()) << "not packed";
  EXPECT_EQ(values<float>(), (std::vector<float>{1, -2}));
  ASSERT_TRUE(read(DType::kFp32, tensor(1, {2}).bytes(5, raw<float>({1.5f, -2})).str()).ok());
  EXPECT_EQ(values<float>(), (std::vector<float>{1.5f, -2}));
  ASSERT_TRUE(read(DType::kFp32, tensor(2, {2}).bytes(6, raw<double>({0.1, -2})).str()).ok());
  EXPECT_EQ(values<float>(), (std::vector<float>{0.1f, -2}));
  ASSERT_TRUE(read(DType::kFp32, tensor(4, {2, 2}).bytes(4, raw<uint8_t>({1, 2, 3, 255})).str()).ok());
  EXPECT_EQ(values<float>(), (std::vector<float>{1, 2, 3, 255}));
  EXPECT_EQ(t_.shape, (Shape{2, 2}));
  ASSERT_TRUE(read(DType::kUint8, tensor(4, {4}).bytes(4, raw<uint8_t>({1, 2, 3, 255})).str()).ok());
  EXPECT_EQ(values<uint8_t>(), (std::vector<uint8_t>{1, 2, 3, 255}));
  EXPECT_EQ(reinterpret_cast<const char*>(t_.data.data()) - message_.data() < static_cast<ptrdiff_t>(message_.size()), true) << "a view";
  ASSERT_TRUE(read(DType::kInt64, tensor(9, {2}).bytes(10, packed({INT64_MIN, INT64_MAX})).str()).ok());
  EXPECT_EQ(values<int64_t>(), (std::vector<int64_t>{INT64_MIN, INT64_MAX}));
  ASSERT_TRUE(read(DType::kUint64, tensor(23, {1}).bytes(17, packed({-1})).str()).ok());
  EXPECT_EQ(values<uint64_t>(), (std::vector<uint64_t>{UINT64_MAX}));
  ASSERT_TRUE(read(DType::kUint32, tensor(22, {1}).bytes(16, packed({4294967295})).str()).ok());
  EXPECT_EQ(values<uint32_t>(), (std::vector<uint32_t>{UINT32_MAX}));
  ASSERT_TRUE(read(DType::kInt8, tensor(10, {2}).bytes(11, packed({1, 0})).str()).ok());
  EXPECT_EQ(values<int8_t>(), (std::vector<int8_t>{1, 0}));
  ASSERT_TRUE(read(DType::kFp32, tensor(19, {2}).bytes(13, packed({0x3e00, 0xc000})).str()).ok());
  EXPECT_EQ(values<float>(), (std::vector<float>{1.5f, -2}));
  ASSERT_TRUE(read(DType::kFp32, tensor(14, {1}).bytes(4, raw<uint16_t>({0x3fc0})).str()).ok());
  EXPECT_EQ(values<float>(), (std::vector<float>{1.5f}));
  ASSERT_TRUE(read(DType::kFp16, tensor(3, {1}).bytes(7, packed({-2})).str()).ok());
  EXPECT_EQ(values<uint16_t>(), (std::vector<uint16_t>{0xc000}));
  ASSERT_TRUE(read(DType::kBytes, tensor(7, {2}).bytes(8, "ab").bytes(8, "").str()).ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(t_.data.data()), t_.data.size()), std::string("\2\0\0\0ab\0\0\0\0", 10));
  ASSERT_TRUE(read(DType::kFp32, tensor(3, {}).varint(7, 9).str()).ok()) << "a scalar";
  EXPECT_EQ(values<float>(), (std::vector<float>{9}));
  ASSERT_TRUE(read(DType::kInt32, tensor(3, {2, 3}).varint(7, 8).varint(7, 9).str()).ok()) << "the last one again";
  EXPECT_EQ(values<int32_t>(), (std::vector<int32_t>{8, 9, 9, 9, 9, 9}));
}

TEST_F(TensorProtoTest, Refusals) {
  auto message = [&](DType to, const std::string& m) { return read(to, m).message(); };
  EXPECT_THAT(message(DType::kFp32, "\xff"), HasSubstr("well-formed"));
  EXPECT_THAT(message(DType::kFp32, tensor(8, {1}).str()), HasSubstr("dtype 8 is not supported"));
  EXPECT_THAT(message(DType::kFp32, tensor(101, {1}).str()), HasSubstr("dtype 101"));
  EXPECT_THAT(message(DType::kFp32, tensor(7, {1}).bytes(8, "a").str()), HasSubstr("its type is FP32, not BYTES"));
  EXPECT_THAT(message(DType::kBytes, tensor(1, {1}).str()), HasSubstr("not FP32"));
  EXPECT_THAT(message(DType::kInt8, tensor(3, {1}).varint(7, 128).str()), HasSubstr("element 0 of INT32 does not fit INT8"));
  EXPECT_THAT(message(DType::kInt32, tensor(5, {1}).varint(7, 40000).str()), HasSubstr("element 0 of INT16 does not fit"));
  EXPECT_THAT(message(DType::kInt32, tensor(1, {1}).bytes(5, raw<float>({1.5f})).str()), HasSubstr("FP32 does not fit INT32"));
  EXPECT_THAT(message(DType::kUint8, tensor(3, {1}).varint(7, static_cast<uint64_t>(-1)).str()), HasSubstr("does not fit UINT8"));
  EXPECT_THAT(message(DType::kFp32, tensor(3, {2}).varint(7, 1).varint(7, 1).varint(7, 1).str()), HasSubstr("needs 2 elements, got 3"));
  EXPECT_THAT(message(DType::kFp32, tensor(3, {2}).str()), HasSubstr("needs 2 elements, got 0"));
  EXPECT_THAT(message(DType::kFp32, tensor(1, {2}).bytes(4, "1234").str()), HasSubstr("needs 2 elements, got 1"));
  EXPECT_THAT(message(DType::kFp32, tensor(1, {uint64_t{1} << 40}).varint(7, 1).str()), HasSubstr("got 0"));
  EXPECT_THAT(message(DType::kFp32, tensor(1, {uint64_t{1} << 40, uint64_t{1} << 40}).str()), HasSubstr("too large"));
  EXPECT_THAT(message(DType::kFp32, tensor(1, {static_cast<uint64_t>(-1)}).str()), HasSubstr("negative"));
  EXPECT_THAT(message(DType::kFp32, tensor(1, {1, 1, 1, 1, 1, 1, 1, 1, 1}).str()), HasSubstr("more than 8 dimensions"));
  EXPECT_THAT(message(DType::kFp32, tensor(1, {2}).bytes(5, "12345").str()), HasSubstr("well-formed"));
  EXPECT_THAT(message(DType::kFp32, Proto().varint(1, 1).bytes(2, Proto().varint(3, 1).str()).str()), HasSubstr("unknown rank"));
}

using AssistTest = test::ServerFixture;

std::vector<int64_t> sixteen() {
  std::vector<int64_t> v(16);
  for (int i = 0; i < 16; ++i) v[static_cast<size_t>(i)] = i - 8;
  return v;
}

TEST_F(AssistTest, AnswersWithTheIdAndWithoutTheBatchAxis) {
  start();
  H2Client client(server_->port());
  const int32_t id = client.stream(kPath);
  client.more(id, grpc_frame(request(7, "array", tensor(5, {16}).bytes(7, packed(sixteen())).str())) +
                      grpc_frame(request(-1, "INPUT0", tensor(5, {1, 16}).bytes(7, packed(sixteen())).str())));
  const auto got = client.messages(id, 2);
  ASSERT_EQ(got.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    wire::Reader reader(got[i]);
    wire::Field f;
    int64_t number = 0;
    std::string entry;
    while (reader.next(&f)) {
      if (f.number == 1) number = static_cast<int64_t>(f.value);
      if (f.number == 2) entry = f.bytes;
    }
    EXPECT_EQ(number, i ? -1 : 7);
    std::vector<float> expected;
    for (int64_t v : sixteen()) expected.push_back(static_cast<float>(v));
    const std::string value = tensor(1, i ? std::vector<uint64_t>{1, 16} : std::vector<uint64_t>{16}).bytes(4, raw(expected)).str();
    EXPECT_EQ(entry, Proto().bytes(1, "prediction").bytes(2, value).str());
  }
  client.more(id, "", true);
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "0");
}

TEST_F(AssistTest, AnErrorEndsTheStreamAfterWhatCameBefore) {
  start();
  H2Client client(server_->port());
  const std::string good = grpc_frame(request(1, "array", tensor(5, {16}).bytes(7, packed(sixteen())).str()));
  const std::pair<std::string, const char*> cases[] = {
      {request(2, "other", tensor(5, {16}).bytes(7, packed(sixteen())).str()), "has no input 'other'; it takes 'INPUT0'"},
      {request(2, "array", tensor(5, {16}).str()), "needs 16 elements, got 0"},
      {"\xff\xff", "not a well-formed protobuf message"},
  };
  for (const auto& [bad, text] : cases) {
    const int32_t id = client.stream(kPath);
    client.more(id, good + grpc_frame(bad) + good);
    EXPECT_EQ(client.messages(id, 2).size(), 1u);
    ASSERT_TRUE(client.wait(id));
    EXPECT_EQ(client.answer(id).headers["grpc-status"], "3");
    EXPECT_THAT(client.answer(id).headers["grpc-message"], HasSubstr(text));
  }
  // The one before it runs still: its answer comes, what came after it is given up.
  const int32_t id = client.stream(kPath, {{"verge-model", "slow"}});
  client.more(id, good + grpc_frame("\xff") + good);
  ASSERT_TRUE(runtime_.wait_slow(1));
  runtime_.release_slow();
  EXPECT_EQ(client.messages(id, 2).size(), 1u);
  ASSERT_TRUE(client.wait(id));
  EXPECT_EQ(client.answer(id).headers["grpc-status"], "3");
}

TEST_F(AssistTest, WhichModel) {
  ServerOptions options;
  options.assist_model = "broken";
  start(options);
  H2Client client(server_->port());
  const std::string good = grpc_frame(request(1, "array", tensor(5, {16}).bytes(7, packed(sixteen())).str()));
  auto status = [&](std::vector<std::pair<std::string, std::string>> headers) {
    const int32_t id = client.stream(kPath, std::move(headers));
    client.more(id, good, true);
    EXPECT_TRUE(client.wait(id));
    return client.answer(id).headers["grpc-status"];
  };
  EXPECT_EQ(status({}), "13") << "the option";
  EXPECT_EQ(status({{"verge-model", "threaded"}}), "0");
  EXPECT_EQ(status({{"verge-model", "nothing"}}), "5");
}

}  // namespace
}  // namespace verge::net
