#include "core/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace verge {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;

std::string file(const std::string& dict, const std::string& data, char version = 1) {
  std::string out = "\x93NUMPY"s + version + '\0';
  std::string header = dict + "\n";
  out += static_cast<char>(header.size() & 0xFF);
  out += static_cast<char>(header.size() >> 8);
  if (version > 1) out += "\0\0"s;
  return out + header + data;
}

TEST(NpyTest, ReadsWhatNumpyWrites) {
  auto t = parse_npy(file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", "\0\0\x80\x3f\0\0\0\x40"s), "x");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->dtype, DType::kFp32);
  EXPECT_EQ(t->shape, (Shape{2, 1}));
  EXPECT_EQ(t->as<float>()[0], 1);
  EXPECT_EQ(t->as<float>()[1], 2);
  t = parse_npy(file("{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }", "abc", 2), "x");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->shape, (Shape{3}));
  t = parse_npy(file("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", std::string(8, '\0'), 3), "x");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->shape.rank(), 0);
}

TEST(NpyTest, StringsBecomeBytes) {
  auto t = parse_npy(file("{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }", "ab\0xyz"s), "x");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->dtype, DType::kBytes);
  EXPECT_EQ(std::string(t->as<char>(), t->data.size()), "\2\0\0\0ab\3\0\0\0xyz"s);
  EXPECT_EQ(parse_npy(print_npy(*t), "again")->data, t->data);
  t = parse_npy(file("{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }", "\xb5\0\0\0\0\xf6\1\0"s), "x");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(std::string(t->as<char>(), t->data.size()), "\6\0\0\0\xc2\xb5\xf0\x9f\x98\x80"s);
}

TEST(NpyTest, EveryTypeSurvivesARoundTrip) {
  for (int i = 1; i <= 13; ++i) {
    Tensor t(static_cast<DType>(i), {2, 3});
    for (size_t k = 0; k < t.data.size(); ++k) t.data[k] = static_cast<std::byte>(k);
    const std::string text = print_npy(t);
    EXPECT_EQ(text.size(), kNpyHeaderBytes + t.data.size());
    auto back = parse_npy(text, "x");
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_EQ(back->dtype, t.dtype);
    EXPECT_EQ(back->shape, t.shape);
    EXPECT_EQ(back->data, t.data);
  }
  const int64_t large = int64_t{1} << 60;
  EXPECT_EQ(print_npy_header(DType::kFp32, {1, 1, 1, 1, 1, 1, 1, large}).size(), kNpyHeaderBytes);
}

TEST(NpyTest, RefusesWithTheReason) {
  auto reason = [](const std::string& text) {
    auto t = parse_npy(text, "x.npy");
    EXPECT_FALSE(t.ok());
    return t.status().message();
  };
  const std::string good = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", std::string(8, '\0'));
  ASSERT_TRUE(parse_npy(good, "x").ok());
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_npy(good.substr(0, n), "x").ok()) << n;
  EXPECT_THAT(reason(good + "x"), HasSubstr("x.npy"));
  EXPECT_THAT(reason("PK\3\4 a zip"), HasSubstr("magic"));
  EXPECT_THAT(reason(file("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", std::string(8, '\0'))), HasSubstr("big-endian"));
  EXPECT_THAT(reason(file("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "pickle")), HasSubstr("type"));
  EXPECT_THAT(reason(file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "")), HasSubstr("records"));
  EXPECT_THAT(reason(file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }", std::string(8, '\0'))), HasSubstr("Fortran"));
  EXPECT_THAT(reason(file("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "")), HasSubstr("shape"));
  EXPECT_THAT(reason(file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", std::string(4, '\0'))), HasSubstr("8 dimensions"));
  EXPECT_THAT(reason(file("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }", "")), HasSubstr("large"));
  EXPECT_THAT(reason(file("{'descr': '<f4', 'fortran_order': False, 'shape': (2500000000,), }", "")), HasSubstr("0 bytes"));
  EXPECT_THAT(reason(file("{'descr': '|S0', 'fortran_order': False, 'shape': (100000000,), }", "")), HasSubstr("empty strings"));
  EXPECT_THAT(reason("\x93NUMPY\x02\0\xff\xff\xff\xff"s), HasSubstr("claims"));
}

}  // namespace
}  // namespace verge
