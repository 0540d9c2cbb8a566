#include "net/classification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace verge::net {
namespace {

using testing::ElementsAre;

class ClassificationTest : public testing::Test {
 protected:
  template <typename T>
  std::vector<std::string> classes(DType type, Shape shape, std::vector<T> values, uint32_t k, bool batched = false) {
    output_ = {"OUT", type, shape, std::as_bytes(std::span(values)), labels_};
    status_ = classify(&output_, k, batched, scratch_);
    std::vector<std::string> out;
    if (!status_.ok()) return out;
    EXPECT_EQ(output_.dtype, DType::kBytes);
    EXPECT_TRUE(check_tensor({output_.dtype, output_.shape, output_.data}, "OUT").ok());
    const auto* p = reinterpret_cast<const char*>(output_.data.data());
    for (const char* end = p + output_.data.size(); p != end;) {
      uint32_t n;
      std::memcpy(&n, p, 4);
      out.emplace_back(p + 4, n);
      p += 4 + n;
    }
    return out;
  }
  ReceiveBudget shared_{1 << 20};
  LocalBudget budget_{shared_};
  BlockPool pool_;
  Scratch scratch_{pool_, budget_};
  const std::vector<std::string>* labels_ = nullptr;
  runtime::OutputTensor output_;
  Status status_;
};

TEST_F(ClassificationTest, LargestFirstWithSixDigits) {
  EXPECT_THAT(classes<float>(DType::kFp32, {4}, {0.25f, -1, 16.5f, 0.75f}, 3), ElementsAre("16.500000:2", "0.750000:3", "0.250000:0"));
  EXPECT_EQ(output_.shape, Shape({3}));
}

TEST_F(ClassificationTest, OfEqualOnesTheFirst) {
  EXPECT_THAT(classes<int32_t>(DType::kInt32, {5}, {1, 7, 1, 7, 7}, 4), ElementsAre("7:1", "7:3", "7:4", "1:0"));
}

TEST_F(ClassificationTest, MoreThanThereAre) {
  EXPECT_THAT(classes<uint8_t>(DType::kUint8, {2}, {3, 255}, 1000), ElementsAre("255:1", "3:0"));
  EXPECT_THAT(classes<float>(DType::kFp32, {0}, {}, 3), ElementsAre());
  EXPECT_EQ(output_.shape, Shape({0}));
}

TEST_F(ClassificationTest, EachRowOfABatch) {
  const std::vector<std::string> labels = {"cat", "dög"};
  labels_ = &labels;
  EXPECT_THAT(classes<float>(DType::kFp32, {2, 3}, {1, 2, 3, 9, 8, 7}, 2, true),
              ElementsAre("3.000000:2", "2.000000:1:dög", "9.000000:0:cat", "8.000000:1:dög"));
  EXPECT_EQ(output_.shape, Shape({2, 2}));
  EXPECT_THAT(classes<float>(DType::kFp32, {2, 3}, {1, 2, 3, 9, 8, 7}, 1, false), ElementsAre("9.000000:3"));
  EXPECT_THAT(classes<float>(DType::kFp32, {0, 3}, {}, 2, true), ElementsAre());
}

TEST_F(ClassificationTest, EveryNumericType) {
  EXPECT_THAT(classes<uint8_t>(DType::kBool, {2}, {0, 1}, 1), ElementsAre("1:1"));
  EXPECT_THAT(classes<uint16_t>(DType::kUint16, {2}, {65535, 1}, 1), ElementsAre("65535:0"));
  EXPECT_THAT(classes<uint32_t>(DType::kUint32, {1}, {4294967295u}, 1), ElementsAre("4294967295:0"));
  EXPECT_THAT(classes<uint64_t>(DType::kUint64, {1}, {UINT64_MAX}, 1), ElementsAre("18446744073709551615:0"));
  EXPECT_THAT(classes<int8_t>(DType::kInt8, {2}, {-128, -1}, 1), ElementsAre("-1:1"));
  EXPECT_THAT(classes<int16_t>(DType::kInt16, {1}, {-3}, 1), ElementsAre("-3:0"));
  EXPECT_THAT(classes<int64_t>(DType::kInt64, {1}, {INT64_MIN}, 1), ElementsAre("-9223372036854775808:0"));
  EXPECT_THAT(classes<uint16_t>(DType::kFp16, {2}, {0x3c00, 0x4000}, 1), ElementsAre("2.000000:1"));
  EXPECT_THAT(classes<uint16_t>(DType::kBf16, {2}, {0x3f80, 0x4000}, 1), ElementsAre("2.000000:1"));
}

TEST_F(ClassificationTest, ExtremeDoubles) {
  const double inf = std::numeric_limits<double>::infinity();
  const auto got = classes<double>(DType::kFp64, {4}, {-std::numeric_limits<double>::max(), std::nan(""), inf, -inf}, 4);
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0], "inf:2");
  EXPECT_EQ(got[1].size(), 1 + 309 + 7 + 2u);
  EXPECT_EQ(got[2], "-inf:3");
  EXPECT_EQ(got[3], "nan:1");
}

TEST_F(ClassificationTest, Refusals) {
  classes<char>(DType::kBytes, {0}, {}, 2);
  EXPECT_EQ(status_.code(), Code::kInvalidArgument);
  classes<double>(DType::kFp64, {400'000}, std::vector<double>(400'000), 1);
  EXPECT_EQ(status_.code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace verge::net
