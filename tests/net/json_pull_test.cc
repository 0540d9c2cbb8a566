#include "net/json_pull.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "net/json_write.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

bool accepts(std::string_view text) {
  JsonPull json(text);
  return json.skip() && json.at_end();
}

TEST(JsonPull, TakesAndRefuses) {
  for (const char* good : {"{}", "[]", " [ 1 , -2.5e+3 , \"a\\u00e4\\n\" , true , false , null , {\"a\" : [ ] } ] ", "0", "-0", "1e5", "\"\"",
                           "NaN", "Infinity", "-Infinity", "[NaN,-Infinity]", "{\"a\":{\"b\":{}}}"})
    EXPECT_TRUE(accepts(good)) << good;
  for (const char* bad : {"", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}", "{1:1}", "01", "1.", ".5",
                          "+1", "-", "1e", "1e+", "--1", "nul", "tru", "True", "nan", "-NaN", "Inf", "\"", "\"\\x\"", "\"\\u12g4\"", "\"\\u12\"", "\"a\nb\"",
                          "1 2", "[1 2]", "{\"a\":1 \"b\":2}", "[1}", "{\"a\":1]", "]", "}", ",", "[]]", "'a'", "/**/1", "\"\\"})
    EXPECT_FALSE(accepts(bad)) << bad;
}

TEST(JsonPull, BoundsDepth) {
  auto nested = [](int n) { return std::string(static_cast<size_t>(n), '[') + std::string(static_cast<size_t>(n), ']'); };
  EXPECT_TRUE(accepts(nested(JsonPull::kMaxDepth)));
  EXPECT_FALSE(accepts(nested(JsonPull::kMaxDepth + 1)));
  EXPECT_FALSE(accepts(std::string(1 << 20, '[')));
}

TEST(JsonPull, AgreesWithAnotherParserOnDamagedText) {
  const std::string seed = R"({"id":"a\u00e4\ud83d\ude00","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[[1.5,-2e-3]]}],"b":[true,false,null]})";
  std::mt19937 random(7);
  int accepted = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text = seed;
    for (unsigned n = random() % 3 + 1; n--;) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = "{}[],:\"\\u019.eE+-tfn \x01\x7f"[random() % 24]; break;
        case 1: text.erase(at, random() % 4 + 1); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 5)); break;
      }
    }
    if (text.empty() || text.find("NaN") != std::string::npos || text.find("Inf") != std::string::npos) continue;
    // A lone surrogate is found when a string's escapes are removed, not before.
    bool lone = false;
    for (size_t at = text.find("\\u"); at != std::string::npos; at = text.find("\\u", at + 2))
      lone = lone || (at + 3 < text.size() && (text[at + 2] == 'd' || text[at + 2] == 'D'));
    const bool theirs = nlohmann::json::accept(text);
    if (lone && accepts(text) && !theirs) continue;
    EXPECT_EQ(accepts(text), theirs) << text;
    accepted += theirs;
  }
  EXPECT_GT(accepted, 1000);
}

TEST(JsonPull, Unescapes) {
  char out[64];
  auto unescape = [&](std::string_view raw) {
    const size_t n = json_unescape(raw, out);
    return n == SIZE_MAX ? std::string("lone") : std::string(out, n);
  };
  EXPECT_EQ(unescape(R"(a\"\\\/\b\f\n\r\t)"), "a\"\\/\b\f\n\r\t");
  EXPECT_EQ(unescape(R"(\u0041\u00e4\u20ac\ud83d\ude00)"), "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
  for (const char* lone : {R"(\ud83d)", R"(\ude00)", R"(\ud83dx)", R"(\ud83d\u0041)", R"(\ud83d\n12345)"}) EXPECT_EQ(unescape(lone), "lone") << lone;
}

template <typename T>
std::string number_text(T v) {
  ByteBuffer b;
  json_number(v, &b);
  return std::string(b.view());
}

TEST(JsonWrite, NumbersAndStrings) {
  EXPECT_EQ(number_text(1.0f), "1.0");
  EXPECT_EQ(number_text(-0.0), "-0.0");
  EXPECT_EQ(number_text(0.1f), "0.1");
  EXPECT_EQ(number_text(1e30), "1e+30");
  EXPECT_EQ(number_text(std::numeric_limits<float>::quiet_NaN()), "NaN");
  EXPECT_EQ(number_text(-std::numeric_limits<double>::infinity()), "-Infinity");
  EXPECT_EQ(number_text(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(number_text(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(number_text(uint8_t{200}), "200");
  std::mt19937_64 random(3);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double v;
    std::memcpy(&v, &bits, 8);
    if (!std::isfinite(v)) continue;
    const std::string text = number_text(v);
    ASSERT_EQ(std::strtod(text.c_str(), nullptr), v);
    ASSERT_TRUE(nlohmann::json::accept(text)) << text;
  }
  ByteBuffer b;
  json_string(std::string("a\"\\\n\r\t\x01\x1f\xc3\xa4\0z", 11), &b);
  EXPECT_EQ(b.view(), "\"a\\\"\\\\\\n\\r\\t\\u0001\\u001f\xc3\xa4\\u0000\"");
}

TEST(Utf8, TellsFormedFromMalformed) {
  for (const char* good : {"", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "longer than eight \xc3\xa4 bytes", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(valid_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                          "\xff", "12345678\xc3", "\xe2\x82", "\xe2(\xa1", "\xf0\x9f\x98"})
    EXPECT_FALSE(valid_utf8(bad)) << bad;
}

}  // namespace
}  // namespace verge::net
