#include "core/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

namespace verge {
namespace {

std::vector<std::byte> bytes_of(std::string_view s) {
  std::vector<std::byte> out(s.size());
  std::memcpy(out.data(), s.data(), s.size());
  return out;
}

TEST(DType, NamesAndSizesRoundTrip) {
  for (int i = 1; i <= 14; ++i) {
    auto t = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(t)), t);
    EXPECT_EQ(dtype_size(t) == 0, t == DType::kBytes);
  }
  EXPECT_EQ(dtype_from_name("FLOAT"), DType::kInvalid);
  EXPECT_EQ(dtype_from_name("INVALID"), DType::kInvalid);
  EXPECT_EQ(dtype_name(static_cast<DType>(200)), "INVALID");
}

TEST(Shape, ElementsAreBoundedAndFreeDimensionsHaveNone) {
  EXPECT_EQ(Shape({2, 3}).elements(), 6);
  EXPECT_EQ(Shape({}).elements(), 1);
  EXPECT_EQ(Shape({-1, 3}).elements(), -1);
  EXPECT_EQ(Shape({0, 3}).elements(), 0);
  EXPECT_EQ(Shape({int64_t{1} << 40, int64_t{1} << 40}).elements(), -1) << "the product would overflow";
  EXPECT_EQ(Shape({int64_t{1} << 40, int64_t{1} << 40, 0}).elements(), 0);
  EXPECT_EQ(Shape({int64_t{1} << 40, int64_t{1} << 40, -1}).elements(), -1);
  EXPECT_EQ(Shape({0, -1}).elements(), -1);
  EXPECT_EQ(Shape({int64_t{1} << 31, 1, int64_t{1} << 31}).elements(), int64_t{1} << 62);
  EXPECT_EQ(Shape({int64_t{1} << 31, (int64_t{1} << 31) + 1}).elements(), -1) << "beyond 2^62, and no overflow";
  EXPECT_EQ(Shape({int64_t{1} << 32, int64_t{1} << 32, 3}).elements(), -1) << "what overflows to 0 is large";
}

TEST(Shape, RefusesTooManyOrNegativeDimensions) {
  std::vector<int64_t> nine(9, 1), negative{-2};
  EXPECT_FALSE(Shape::from(nine).ok());
  EXPECT_FALSE(Shape::from(negative).ok());
}

TEST(Shape, AcceptsConcreteShapesWhereItsOwnDimensionIsFree) {
  Shape spec{-1, 32, 3};
  EXPECT_TRUE(spec.accepts({7, 32, 3}));
  EXPECT_FALSE(spec.accepts({7, 33, 3}));
  EXPECT_FALSE(spec.accepts({7, 32}));
}

TEST(Shape, InsertAndEraseShiftTheRest) {
  Shape s{2, 3};
  s.insert(1, 9);
  EXPECT_EQ(s, Shape({2, 9, 3}));
  s.erase(0);
  EXPECT_EQ(s, Shape({9, 3}));
}

TEST(CheckTensor, ComparesBytesWithShape) {
  std::vector<std::byte> data(12);
  EXPECT_TRUE(check_tensor({DType::kFp32, {3}, data}, "x").ok());
  EXPECT_FALSE(check_tensor({DType::kFp32, {4}, data}, "x").ok());
  EXPECT_FALSE(check_tensor({DType::kFp32, {-1}, data}, "x").ok());
  auto huge = check_tensor({DType::kFp64, {int64_t{1} << 61}, data}, "x");
  EXPECT_EQ(huge.code(), Code::kInvalidArgument);
}

TEST(CheckTensor, CountsStringsOfTheWireForm) {
  using namespace std::string_literals;
  auto two = bytes_of("\1\0\0\0a\2\0\0\0bc"s);
  EXPECT_TRUE(check_tensor({DType::kBytes, {2}, two}, "s").ok());
  EXPECT_FALSE(check_tensor({DType::kBytes, {3}, two}, "s").ok());
  auto cut = bytes_of("\1\0\0\0a\2\0\0"s);
  EXPECT_FALSE(check_tensor({DType::kBytes, {2}, cut}, "s").ok());
  auto claims = bytes_of("\xff\xff\xff\xff"s + "a");
  EXPECT_FALSE(check_tensor({DType::kBytes, {1}, claims}, "s").ok());
}

TEST(Half, EveryBinary16ValueSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    float f = fp16_to_fp32(static_cast<uint16_t>(h));
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(fp16_to_fp32(fp32_to_fp16(f))));
      continue;
    }
    ASSERT_EQ(fp32_to_fp16(f), h) << h;
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(fp32_to_fp16(65504.f), 0x7bff);
  EXPECT_EQ(fp32_to_fp16(65519.f), 0x7bff);
  EXPECT_EQ(fp32_to_fp16(65520.f), 0x7c00);
  EXPECT_EQ(fp32_to_fp16(0x1p-25f), 0);       // half of the smallest subnormal goes to even
  EXPECT_EQ(fp32_to_fp16(0x1.8p-25f), 1);
  EXPECT_EQ(fp32_to_fp16(1.f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(fp32_to_fp16(1.f + 0x3p-11f), 0x3c02);
  EXPECT_EQ(fp32_to_bf16(1.f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(fp32_to_bf16(1.f + 0x3p-8f), 0x3f82);
  EXPECT_EQ(bf16_to_fp32(0x3f80), 1.f);
}

TEST(Element, ReadsEveryNumericType) {
  Tensor t(DType::kInt16, {2});
  t.as<int16_t>()[1] = -7;
  EXPECT_EQ(element_as_double(t.view(), 1), -7.0);
  Tensor h(DType::kFp16, {1});
  h.as<uint16_t>()[0] = 0xc000;
  EXPECT_EQ(element_as_double(h.view(), 0), -2.0);
}

}  // namespace
}  // namespace verge
