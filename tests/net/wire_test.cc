#include "net/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "net/grpc.h"
#include "net/model_infer_wire.h"

namespace verge::net {
namespace {

// Messages are built by the writer that the answers use; that both speak protobuf is what the tests with tritonclient show.
struct Message {
  ByteBuffer bytes;
  Message& text(uint32_t n, std::string_view v) {
    wire::add_bytes(bytes, n, v);
    return *this;
  }
  Message& sub(uint32_t n, const Message& m) { return text(n, m.bytes.view()); }
  Message& varint(uint32_t n, uint64_t v) {
    wire::add_tag(bytes, n, wire::kVarint);
    wire::add_varint(bytes, v);
    return *this;
  }
  Message& raw(std::string_view v) {
    bytes.append(v);
    return *this;
  }
  Message() = default;
  Message(Message&&) = delete;
};

std::string packed(std::initializer_list<uint64_t> values) {
  ByteBuffer b;
  for (uint64_t v : values) wire::add_varint(b, v);
  return std::string(b.view());
}

class ReadTest : public testing::Test {
 protected:
  // Reads from a buffer of its own of the exact size, so that a sanitizer sees any step beyond it.
  Status read(std::string_view message) {
    copy_.reset(new char[message.size() + 1]);
    std::memcpy(copy_.get() + 1, message.data(), message.size());
    scratch_.clear();
    copies_ = {};
    return read_model_infer_request({copy_.get() + 1, message.size()}, scratch_, &request_, &options_, &copies_);
  }
  Status read(const Message& m) { return read(m.bytes.view()); }
  template <typename T>
  std::vector<T> values(size_t input) {
    const auto data = request_.inputs[input].data;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data.data()) % sizeof(T), 0u);
    std::vector<T> out(data.size() / sizeof(T));
    if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
    return out;
  }
  static void tensor(Message& m, std::string_view name, std::string_view type, std::initializer_list<uint64_t> shape) {
    m.text(1, name).text(2, type).text(3, packed(shape));
  }

  ReceiveBudget budget_{64 << 20};
  LocalBudget local_{budget_};
  BlockPool pool_;
  Scratch scratch_{pool_, local_};
  runtime::Request request_;
  CopyCount copies_;
  InferOptions options_;
  std::unique_ptr<char[]> copy_;
};

TEST_F(ReadTest, RawInputs) {
  Message a, b, m;
  tensor(a, "A", "FP32", {1, 2});
  tensor(b, "B", "INT8", {3});
  const float f[2] = {1.5f, -2.f};
  m.text(1, "model").text(2, "3").text(3, "id").sub(5, a).sub(5, b);
  m.text(7, {reinterpret_cast<const char*>(f), 8}).text(7, "\x01\x02\x03");
  Message out;
  out.text(1, "Y");
  m.sub(6, out);
  ASSERT_TRUE(read(m).ok()) << read(m).to_string();
  EXPECT_EQ(request_.model, "model");
  EXPECT_EQ(request_.version, 3);
  EXPECT_EQ(request_.id, "id");
  ASSERT_EQ(request_.inputs.size(), 2u);
  EXPECT_EQ(request_.inputs[0].name, "A");
  EXPECT_EQ(request_.inputs[0].shape, (Shape{1, 2}));
  EXPECT_EQ(values<float>(0), (std::vector<float>{1.5f, -2.f}));
  EXPECT_EQ(values<int8_t>(1), (std::vector<int8_t>{1, 2, 3}));
  ASSERT_EQ(request_.wanted_outputs.size(), 1u);
  EXPECT_EQ(request_.wanted_outputs[0], "Y");
}

TEST_F(ReadTest, RawBeforeInputs) {
  Message a, m;
  tensor(a, "A", "UINT8", {2});
  m.text(7, "\x05\x06").text(1, "model").sub(5, a);
  ASSERT_TRUE(read(m).ok());
  EXPECT_EQ(values<uint8_t>(0), (std::vector<uint8_t>{5, 6}));
}

TEST_F(ReadTest, TypedContentsInEveryForm) {
  Message a, contents, more, m;
  tensor(a, "A", "INT16", {2, 2});
  contents.text(2, packed({1, static_cast<uint64_t>(-2)})).varint(2, 32767);
  more.varint(2, static_cast<uint64_t>(-32768));
  a.sub(5, contents).sub(5, more);
  m.sub(5, a);
  ASSERT_TRUE(read(m).ok()) << read(m).to_string();
  EXPECT_EQ(values<int16_t>(0), (std::vector<int16_t>{1, -2, 32767, -32768}));
}

TEST_F(ReadTest, FixedContents) {
  const double d[3] = {0.5, -1, 1e300};
  for (bool split : {false, true}) {
    Message a, contents, m;
    tensor(a, "A", "FP64", {3});
    if (split) {
      for (double v : d) {
        wire::add_tag(contents.bytes, 7, wire::kFixed64);
        contents.bytes.append(&v, 8);
      }
    } else {
      contents.text(7, {reinterpret_cast<const char*>(d), sizeof d});
    }
    a.sub(5, contents);
    m.sub(5, a);
    ASSERT_TRUE(read(m).ok());
    EXPECT_EQ(values<double>(0), (std::vector<double>{0.5, -1, 1e300}));
  }
}

TEST_F(ReadTest, StringContents) {
  Message a, contents, m;
  tensor(a, "A", "BYTES", {2});
  contents.text(8, "ab").text(8, "");
  a.sub(5, contents);
  m.sub(5, a);
  ASSERT_TRUE(read(m).ok());
  const auto data = request_.inputs[0].data;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), data.size()), std::string("\2\0\0\0ab\0\0\0\0", 10));
}

TEST_F(ReadTest, RefusesWhatDoesNotFit) {
  auto refused = [&](const char* type, std::initializer_list<uint64_t> shape, uint32_t field, const std::string& content, const char* says) {
    Message a, contents, m;
    tensor(a, "A", type, shape);
    contents.text(field, content);
    a.sub(5, contents);
    m.sub(5, a);
    const Status s = read(m);
    EXPECT_EQ(s.code(), Code::kInvalidArgument) << type;
    EXPECT_NE(s.message().find(says), std::string::npos) << s.message();
  };
  refused("INT8", {1}, 2, packed({128}), "does not fit");
  refused("UINT8", {1}, 4, packed({256}), "does not fit");
  refused("UINT16", {1}, 4, packed({65536}), "does not fit");
  refused("INT32", {3}, 2, packed({1, 2}), "needs 3");
  refused("INT32", {1}, 2, packed({1, 2}), "needs 1");
  refused("INT32", {1}, 2, "\x80", "well-formed");
  refused("INT32", {1}, 4, packed({1}), "needs 1");
  // What protobuf does not take is refused, also where it is not the tensor's own kind of contents.
  for (uint32_t of_others = 1; of_others <= 5; ++of_others) refused("FP64", {1}, of_others, "\x80", "well-formed");
  refused("FP64", {1}, 6, "abc", "well-formed");
  refused("FP32", {1}, 7, "abcd", "well-formed");
  refused("FP32", {1}, 6, "abc", "well-formed");
  refused("FP16", {1}, 6, "abcd", "no typed contents");
  refused("XX", {1}, 6, "abcd", "unknown datatype");
  refused("FP32", {uint64_t{1} << 40, uint64_t{1} << 40}, 6, "abcd", "needs");
  refused("INT64", {uint64_t{1} << 31}, 3, packed({1}), "needs");
  refused("INT64", {static_cast<uint64_t>(-1)}, 3, packed({1}), "negative");
  refused("INT64", {1, 1, 1, 1, 1, 1, 1, 1, 1}, 3, packed({1}), "dimensions");
}

TEST_F(ReadTest, RefusesRawThatDoesNotFit) {
  auto status = [&](size_t raws, std::string_view raw, bool contents) {
    Message a, c, m;
    tensor(a, "A", "FP32", {1});
    c.text(6, "abcd");
    if (contents) a.sub(5, c);
    m.sub(5, a);
    for (size_t i = 0; i < raws; ++i) m.text(7, raw);
    return read(m);
  };
  EXPECT_TRUE(status(1, "abcd", false).ok());
  EXPECT_FALSE(status(1, "abc", false).ok());
  EXPECT_FALSE(status(2, "abcd", false).ok());
  EXPECT_FALSE(status(0, "", false).ok());
  EXPECT_FALSE(status(1, "abcd", true).ok());
}

TEST_F(ReadTest, Parameters) {
  auto status = [&](std::string_view key, uint32_t field, std::string_view text) {
    Message value, entry, m;
    if (field == 3) value.text(3, text);
    else value.varint(field, 1);
    entry.text(1, key).sub(2, value);
    m.sub(4, entry);
    return read(m);
  };
  EXPECT_TRUE(status("verge.variant", 3, "v").ok());
  EXPECT_EQ(request_.bounds.variant, "v");
  EXPECT_TRUE(status("anything", 2, "").ok());
  EXPECT_EQ(request_.bounds.variant, "");
  EXPECT_EQ(status("verge.variant", 1, "").code(), Code::kInvalidArgument);
  EXPECT_EQ(status("verge.unknown", 3, "v").code(), Code::kInvalidArgument);
}

TEST_F(ReadTest, RefusesVersions) {
  for (const char* text : {"0", "-1", "x", "1x", " 1", "99999999999999999999", "+1"}) {
    Message m;
    m.text(2, text);
    EXPECT_EQ(read(m).code(), Code::kInvalidArgument) << text;
  }
}

TEST_F(ReadTest, EveryTextIsUtf8AlsoThoseThatALaterOneReplaces) {
  for (uint32_t field : {1, 2, 3}) {
    Message m;
    m.text(field, "\xff").text(field, "1");
    EXPECT_THAT(read(m).message(), testing::HasSubstr("UTF-8")) << field;
  }
  Message a, m;
  a.text(1, "\xff");
  tensor(a, "A", "UINT8", {0});
  m.sub(5, a).text(7, "");
  EXPECT_THAT(read(m).message(), testing::HasSubstr("UTF-8"));
}

TEST_F(ReadTest, SkipsUnknownFieldsAndGroups) {
  Message m;
  m.text(1, "model").varint(100, 7).text(101, "x");
  m.raw("\x0b\x08\x01\x13\x14\x0c");  // group 1 { 1: 1, group 2 {} }
  ASSERT_TRUE(read(m).ok()) << read(m).to_string();
  EXPECT_EQ(request_.model, "model");
  EXPECT_FALSE(read(std::string_view("\x0b\x14", 2)).ok());  // ended by another number
  EXPECT_FALSE(read(std::string_view("\x0b", 1)).ok());
  EXPECT_FALSE(read(std::string_view("\x0c", 1)).ok());
  EXPECT_FALSE(read(std::string_view("\x00", 1)).ok());  // field 0
  EXPECT_FALSE(read(std::string_view("\x0e", 1)).ok());  // type 6
  EXPECT_FALSE(read(std::string(100, '\x0b')).ok());     // groups without end
  EXPECT_FALSE(read(std::string(11, '\xff')).ok());      // a varint without end
}

TEST_F(ReadTest, SurvivesDamage) {
  Message a, b, contents, entry, value, m;
  tensor(a, "INPUT0", "FP32", {1, 4});
  tensor(b, "INPUT1", "INT64", {2});
  contents.text(3, packed({7, static_cast<uint64_t>(-7)}));
  b.sub(5, contents);
  value.text(3, "fast");
  entry.text(1, "verge.variant").sub(2, value);
  m.text(1, "model").text(2, "1").text(3, "request").sub(4, entry).sub(5, b).sub(5, a).text(7, std::string(16, 'x'));
  const std::string whole(m.bytes.view());
  for (size_t n = 0; n < whole.size(); ++n) static_cast<void>(read(std::string_view(whole).substr(0, n)));
  std::mt19937 random(11);
  for (int i = 0; i < 50000; ++i) {
    std::string damaged = whole;
    for (unsigned n = random() % 4 + 1; n--;) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (!read(damaged).ok()) continue;
    for (const auto& t : request_.inputs) EXPECT_TRUE(check_tensor({t.dtype, t.shape, t.data}, t.name).ok());
  }
}

TEST_F(ReadTest, DecodingIsBoundedByTheBudget) {
  Message a, contents, m;
  tensor(a, "A", "INT64", {1 << 20});
  contents.text(3, std::string(1 << 20, '\x01'));
  a.sub(5, contents);
  m.sub(5, a);
  ReceiveBudget small(4 << 20);
  LocalBudget local(small);
  BlockPool pool;
  Scratch scratch(pool, local);
  EXPECT_EQ(read_model_infer_request(m.bytes.view(), scratch, &request_, &options_, &copies_).code(), Code::kResourceExhausted);
}

TEST(FindRawInput, SeesWhereTheBytesStart) {
  Message a, m;
  a.text(1, "A").text(2, "FP32");
  m.text(1, "model").sub(5, a);
  const size_t before = m.bytes.size();
  m.text(7, std::string(10000, 'x'));
  const std::string_view all = m.bytes.view();
  for (size_t have = before + 3; have < before + 10; ++have) EXPECT_EQ(find_raw_input(all.substr(0, have), 4096), before + 3);
  for (size_t have = 0; have < before; ++have) EXPECT_EQ(find_raw_input(all.substr(0, have), 4096), 0u);
  EXPECT_EQ(find_raw_input(all, 20000), 0u);
  EXPECT_EQ(find_raw_input(std::string(200, '\xff'), 1), 0u);
}

// What one buffer held is there for the next one, not kept by each.
TEST(ByteBuffer, OutgrowsItsOwnMemoryIntoThePool) {
  BlockPool pool;
  const void* block = nullptr;
  for (int i = 0; i < 3; ++i) {
    ByteBuffer buffer(&pool);
    std::string expected;
    for (int n = 0; n < 3000; ++n) {
      buffer.append("0123456789");
      expected += "0123456789";
    }
    EXPECT_EQ(buffer.view(), expected);
    EXPECT_GE(buffer.capacity(), buffer.size());
    if (block != nullptr) {
      EXPECT_EQ(buffer.data(), block);
    }
    block = buffer.data();
    buffer.shrink(ByteBuffer::kOwn);
    EXPECT_EQ(buffer.capacity(), 0u);
    buffer.append("again");
    EXPECT_EQ(buffer.view(), "again");
  }
}

TEST(ModelInferHead, TellsModelAndBoundsWithoutTheTensors) {
  ByteBuffer value, parameter, tensor, out;
  wire::add_varint(value, 2 << 3);  // int64_param
  wire::add_varint(value, 1);
  wire::add_bytes(parameter, 1, "priority");
  wire::add_bytes(parameter, 2, value.view());
  wire::add_bytes(tensor, 1, "INPUT0");
  wire::add_bytes(out, 1, "some model");
  wire::add_bytes(out, 2, "3");
  wire::add_bytes(out, 4, parameter.view());
  const std::string before(out.view());
  wire::add_bytes(out, 5, tensor.view());
  const std::string head(out.view());
  wire::add_bytes(out, 7, std::string(20'000, 'x'));
  const std::string whole(out.view());
  for (size_t have = 0; have <= whole.size(); have += have < head.size() + 8 ? 1 : 997) {
    runtime::Request request;
    request.bounds.deadline_ns = 77;
    InferOptions options;
    EXPECT_EQ(read_model_infer_head(std::string_view(whole).substr(0, have), &request, &options), have >= head.size()) << have;
    if (have < head.size()) continue;
    EXPECT_EQ(request.model, "some model");
    EXPECT_EQ(request.version, 3);
    EXPECT_EQ(request.bounds.priority, 1u);
    EXPECT_EQ(request.bounds.deadline_ns, 77u);
  }
  runtime::Request request;
  InferOptions options;
  wire::add_bytes(parameter, 1, "timeout");  // whose value is no number of that kind any more
  wire::add_bytes(parameter, 2, std::string("\x1a\x01x", 3));
  ByteBuffer wrong;
  wire::add_bytes(wrong, 1, "m");
  wire::add_bytes(wrong, 4, parameter.view());
  wire::add_bytes(wrong, 5, tensor.view());
  EXPECT_FALSE(read_model_infer_head(wrong.view(), &request, &options));
  EXPECT_FALSE(read_model_infer_head(std::string(200, '\xff'), &request, &options));
}

TEST(Body, PlacesWhatMatters) {
  BlockPool pool;
  ReceiveBudget budget(1 << 20);
  LocalBudget local(budget);
  Body body(pool, local);
  for (size_t at : {0, 1, 33, 63, 64, 1000}) {
    body.reset();
    ASSERT_TRUE(body.reserve(100000, at));
    EXPECT_EQ((reinterpret_cast<uintptr_t>(body.bytes().data()) + at) % kBlockAlignment, 0u);
  }
  body.reset();
  ASSERT_TRUE(body.reserve(10));
  body.append("0123456789", 10);
  ASSERT_TRUE(body.reserve(200000, 5));
  EXPECT_EQ(body.text(), "0123456789");
  EXPECT_FALSE(body.reserve(2 << 20));
  EXPECT_EQ(body.text(), "0123456789");
  body.reset();
  EXPECT_LE(budget.taken(), 1 << 20);
}

TEST(ReceiveBudget, IsSharedAndComesBack) {
  ReceiveBudget budget(8 << 20);
  {
    LocalBudget a(budget), b(budget);
    EXPECT_TRUE(a.take(5 << 20));
    EXPECT_FALSE(b.take(4 << 20));
    EXPECT_TRUE(b.take(1 << 20));
    a.give(5 << 20);
    EXPECT_TRUE(b.take(4 << 20));
    EXPECT_EQ(budget.taken() - a.spare() - b.spare(), 5 << 20);
    b.give(5 << 20);
    EXPECT_EQ(budget.taken(), a.spare() + b.spare());
  }
  EXPECT_EQ(budget.taken(), 0);
}

TEST(Grpc, Timeouts) {
  EXPECT_EQ(parse_grpc_timeout("1S"), 1'000'000'000u);
  EXPECT_EQ(parse_grpc_timeout("100m"), 100'000'000u);
  EXPECT_EQ(parse_grpc_timeout("5u"), 5'000u);
  EXPECT_EQ(parse_grpc_timeout("7n"), 7u);
  EXPECT_EQ(parse_grpc_timeout("2M"), 120'000'000'000u);
  EXPECT_EQ(parse_grpc_timeout("1H"), 3'600'000'000'000u);
  EXPECT_EQ(parse_grpc_timeout("0S"), 1u);
  EXPECT_LT(parse_grpc_timeout("99999999H"), uint64_t{1} << 63);
  for (const char* bad : {"", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1SS", " 1S", "1 S"}) EXPECT_EQ(parse_grpc_timeout(bad), 0u) << bad;
}

TEST(Grpc, PercentEncoding) {
  ByteBuffer b;
  percent_encode("50% \xc3\xa4\n~", &b);
  EXPECT_EQ(b.view(), "50%25 %C3%A4%0A~");
}

}  // namespace
}  // namespace verge::net
