#include "net/compression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace verge::net {
namespace {

class CompressionTest : public testing::Test {
 protected:
  static std::string deflated(Encoding e, const std::string& text) {
    Deflater deflater(e);
    ByteBuffer out;
    for (int round = 0; round < 2; ++round) {  // the second time from the state of the first
      out.clear();
      deflater.begin();
      deflater.add(text.data(), text.size(), &out);
      deflater.finish(&out);
    }
    return std::string(out.view());
  }
  Status inflate(Encoding e, std::string_view message, uint64_t limit = 8 << 20) {
    // A buffer of the exact size, so that a sanitizer sees any step beyond it.
    const std::unique_ptr<char[]> exact(new char[message.size()]);
    std::copy(message.begin(), message.end(), exact.get());
    body_.reset();
    return inflate_message(inflater_, e, {exact.get(), message.size()}, limit, &body_);
  }
  static std::string text(size_t n, unsigned alphabet) {
    std::mt19937 r(4);
    std::string out(n, 0);
    for (char& c : out) c = static_cast<char>(r() % alphabet);
    return out;
  }
  ReceiveBudget shared_{16 << 20};
  LocalBudget budget_{shared_};
  BlockPool pool_;
  Body body_{pool_, budget_};
  Inflater inflater_;
};

TEST_F(CompressionTest, ThereAndBack) {
  for (Encoding e : {Encoding::kGzip, Encoding::kDeflate})
    for (size_t n : {size_t{0}, size_t{1}, size_t{1000}, kCodingStep - 1, kCodingStep, kCodingStep + 1, size_t{5'000'000}})
      for (unsigned alphabet : {1u, 16u, 256u}) {
        const std::string original = text(n, alphabet);
        ASSERT_TRUE(inflate(e, deflated(e, original)).ok()) << n;
        ASSERT_EQ(body_.text(), original) << n;
      }
}

TEST_F(CompressionTest, TheLimitIsExact) {
  const std::string packed = deflated(Encoding::kGzip, text(100'000, 4));
  EXPECT_TRUE(inflate(Encoding::kGzip, packed, 100'000).ok());
  EXPECT_EQ(inflate(Encoding::kGzip, packed, 99'999).code(), Code::kResourceExhausted);
  EXPECT_TRUE(inflater_.too_large());
}

TEST_F(CompressionTest, ABombEndsEarly) {
  const std::string bomb = deflated(Encoding::kGzip, std::string(64 << 20, 0));
  EXPECT_EQ(inflate(Encoding::kGzip, bomb, 4 << 20).code(), Code::kResourceExhausted);
  EXPECT_LE(body_.size(), (4u << 20) + 1);
  EXPECT_LE(shared_.taken(), 10 << 20);
}

TEST_F(CompressionTest, WithoutMemory) {
  ASSERT_TRUE(budget_.take(15 << 20));
  EXPECT_EQ(inflate(Encoding::kGzip, deflated(Encoding::kGzip, std::string(4 << 20, 0))).code(), Code::kResourceExhausted);
  EXPECT_FALSE(inflater_.too_large());
  budget_.give(15 << 20);
}

TEST_F(CompressionTest, SeveralMembersOfGzip) {
  const std::string one = deflated(Encoding::kGzip, "one "), none = deflated(Encoding::kGzip, "");
  ASSERT_TRUE(inflate(Encoding::kGzip, one + none + one).ok());
  EXPECT_EQ(body_.text(), "one one ");
  std::string many;
  for (int i = 0; i < 200'000; ++i) many += none;
  ASSERT_TRUE(inflate(Encoding::kGzip, many).ok());
  EXPECT_EQ(body_.size(), 0u);
}

TEST_F(CompressionTest, Malformed) {
  const std::string gzip = deflated(Encoding::kGzip, text(3000, 16)), zlib = deflated(Encoding::kDeflate, text(3000, 16));
  EXPECT_EQ(inflate(Encoding::kGzip, "").code(), Code::kInvalidArgument);
  EXPECT_EQ(inflate(Encoding::kGzip, zlib).code(), Code::kInvalidArgument);
  EXPECT_EQ(inflate(Encoding::kDeflate, gzip).code(), Code::kInvalidArgument);
  EXPECT_EQ(inflate(Encoding::kDeflate, zlib + "x").code(), Code::kInvalidArgument);
  EXPECT_EQ(inflate(Encoding::kGzip, gzip + "x").code(), Code::kInvalidArgument);
  for (size_t n = 0; n < gzip.size(); n += 13) EXPECT_EQ(inflate(Encoding::kGzip, gzip.substr(0, n)).code(), Code::kInvalidArgument) << n;
  std::mt19937 r(5);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = gzip;
    damaged[r() % damaged.size()] = static_cast<char>(r());
    (void)inflate(Encoding::kGzip, damaged);
  }
  EXPECT_TRUE(inflate(Encoding::kGzip, gzip).ok());
}

TEST(EncodingTest, Choice) {
  EXPECT_EQ(best_encoding(""), Encoding::kIdentity);
  EXPECT_EQ(best_encoding("br, zstd;q=1, *"), Encoding::kIdentity);
  EXPECT_EQ(best_encoding("deflate, gzip"), Encoding::kGzip);
  EXPECT_EQ(best_encoding("GZip;q=0.5"), Encoding::kGzip);
  EXPECT_EQ(best_encoding("gzip;q=0, deflate ; q=0.1"), Encoding::kDeflate);
  EXPECT_EQ(best_encoding("gzip;q=0.000,,;"), Encoding::kIdentity);
  EXPECT_EQ(encoding_from_name("x-gzip"), Encoding::kGzip);
  EXPECT_EQ(encoding_from_name("gzip, deflate"), Encoding::kUnknown);
  EXPECT_EQ(encoding_from_name(" identity "), Encoding::kIdentity);
}

}  // namespace
}  // namespace verge::net
