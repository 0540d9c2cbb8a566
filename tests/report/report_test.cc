#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "core/json.h"
#include "report/summary.h"
#include "report/svg.h"
#include "report/text.h"
#include "sample.h"

namespace verge::report {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string rendered(const package::Package& p, Format f, Options o = {}) {
  auto r = render(p, f, o);
  EXPECT_TRUE(r.ok()) << r.status().message();
  return r.ok() ? *r : std::string();
}

TEST(ReportTest, JsonHasTheStableFields) {
  package::Package p = sample_package();
  auto j = parse_json(rendered(p, Format::kJson), "report");
  ASSERT_TRUE(j.ok()) << j.status().message();
  EXPECT_EQ((*j)["name"], "resnet8");
  EXPECT_EQ((*j)["default_variant"], "openvino-tflite-int8");
  ASSERT_EQ((*j)["variants"].size(), 16u);
  for (const auto& v : (*j)["variants"])
    for (const char* key : {"id", "engine", "precision", "executed_precision", "verdict", "reason", "accuracy", "max_abs_diff", "size_bytes",
                            "resident_bytes", "load_ms", "load_ms_cached", "latency"})
      EXPECT_TRUE(v.contains(key)) << v["id"] << " lacks " << key;
  auto find = [&](const std::string& id) {
    for (const auto& v : (*j)["variants"])
      if (v["id"] == id) return v;
    return Json();
  };
  const Json bf16 = find("openvino-ir-bf16");
  EXPECT_EQ(bf16["verdict"], "ok");
  EXPECT_EQ(bf16["executed_precision"], "bf16");
  EXPECT_DOUBLE_EQ(bf16["accuracy"], 0.87875);
  EXPECT_EQ(bf16["size_bytes"], 325000);
  EXPECT_DOUBLE_EQ(bf16["load_ms"], 46);
  EXPECT_DOUBLE_EQ(bf16["load_ms_cached"], 15.8);
  EXPECT_EQ(bf16["latency"][0]["batch"], 1);
  EXPECT_TRUE(bf16["reason"].is_null());
  const Json failed = find("onnxruntime-onnx-loop");
  EXPECT_EQ(failed["verdict"], "failed");
  EXPECT_EQ(failed["reason"], "tf2onnx has no rule for the operator TensorListReserve");
  EXPECT_TRUE(failed["accuracy"].is_null());
  EXPECT_TRUE(failed["load_ms"].is_null());
  EXPECT_TRUE(failed["latency"].empty());
  EXPECT_EQ(find("tensorrt-onnx-f16")["verdict"], "not measured");
  // Cells with few runs have no p99.
  const Json native = find("tensorflow-saved-model-f32");
  EXPECT_TRUE(native["latency"][0]["p99_us"].is_null());
}

TEST(ReportTest, FrontIsWhatNothingBeats) {
  package::Package p = sample_package();
  auto s = summarise(p, "");
  ASSERT_TRUE(s.ok());
  std::vector<std::string> front;
  for (const Row& r : s->rows)
    if (r.on_front) front.push_back(r.spec->id);
  EXPECT_THAT(front, ::testing::ElementsAre("openvino-tflite-int8", "openvino-ir-bf16", "openvino-ir-f32"));
  // An error metric turns "better" round.
  p.manifest.metric.kind = MetricKind::kMae;
  s = summarise(p, "");
  ASSERT_TRUE(s.ok());
  EXPECT_FALSE(s->larger_is_better());
  for (const Row& r : s->rows)
    EXPECT_FALSE(r.on_front && r.spec->id == "openvino-ir-f32");
}

TEST(ReportTest, WithoutAccuracyTheDifferenceCounts) {
  package::Package p = sample_package();
  p.manifest.metric.kind = MetricKind::kNone;
  p.manifest.reference_accuracy = -1;
  for (auto& v : p.profiles[0].variants) v.accuracy = -1;
  auto s = summarise(p, "");
  ASSERT_TRUE(s.ok());
  EXPECT_EQ(s->quality, Quality::kDifference);
  EXPECT_THAT(rendered(p, Format::kHtml), HasSubstr("Difference against latency"));
  EXPECT_THAT(rendered(p, Format::kTable), Not(HasSubstr("accuracy ")));
}

TEST(ReportTest, TableIsAlignedAndSaysWhyNot) {
  package::Package p = sample_package();
  std::string text = rendered(p, Format::kTable);
  EXPECT_THAT(text, AllOf(HasSubstr("12 ok, 1 rejected, 2 failed, 1 not measured"), HasSubstr("f16 → f32"),
                          HasSubstr("litert-tflite-loop: killed by signal 11 (SIGSEGV) while loading"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(text, HasSubstr("▸ openvino-tflite-int8"));
  // The p50 column ends at the same place in every row that has one.
  std::istringstream lines(text);
  std::string line, header;
  int end = -1, rows = 0;
  while (std::getline(lines, line)) {
    if (size_t at = line.find("p50 batch 1"); at != std::string::npos) end = columns(line.substr(0, at)) + 11;
    if (end < 0 || line.find(" ok ") == std::string::npos) continue;
    size_t unit = line.rfind(" µs");
    ASSERT_NE(unit, std::string::npos) << line;
    EXPECT_EQ(columns(line.substr(0, unit)) + 3, end) << line;
    ++rows;
  }
  EXPECT_EQ(rows, 12);
}

TEST(ReportTest, NarrowTerminalLosesColumnsNotRows) {
  package::Package p = sample_package();
  Options o;
  o.width = 80;
  std::istringstream lines(rendered(p, Format::kTable, o));
  std::string line;
  bool table = false;
  while (std::getline(lines, line)) {
    if (line.find("verdict") != std::string::npos) table = true;
    if (line.find("answers where") != std::string::npos) break;
    EXPECT_LE(table ? columns(line) : 0, 80) << line;
  }
  EXPECT_TRUE(table);
}

TEST(ReportTest, ForeignTextCannotAct) {
  package::Package p = sample_package();
  const std::string evil = "<script>alert(1)</script>\"'&\x1b[31m\xff|=1+1";
  p.manifest.name = evil;
  p.manifest.description = evil;
  p.manifest.source_name = evil;
  p.manifest.variants[0].engine = evil;
  p.manifest.variants[1].id = evil;
  p.manifest.variants[2].precision = evil;
  p.manifest.native_paths[0].path = evil;
  p.profiles[0].variants[12].reason = "=cmd|' /C calc'!A0";
  p.profiles[0].device.cpu_model = evil;
  p.warnings.push_back(evil);
  std::string page = rendered(p, Format::kHtml);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("\x1b")), Not(HasSubstr("\xff")), HasSubstr("&lt;script&gt;")));
  EXPECT_THAT(page, Not(HasSubstr("class=\"<")));
  EXPECT_THAT(rendered(p, Format::kTable), AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\xff"))));
  EXPECT_THAT(rendered(p, Format::kMarkdown), AllOf(Not(HasSubstr("<script")), HasSubstr("\\|=1+1")));
  EXPECT_THAT(rendered(p, Format::kCsv), AllOf(Not(HasSubstr(",=cmd")), HasSubstr(",'=cmd")));
  EXPECT_TRUE(parse_json(rendered(p, Format::kJson), "report").ok());
}

TEST(ReportTest, PageStandsAlone) {
  std::string page = rendered(sample_package(), Format::kHtml);
  for (const char* outside : {"http://", "https://", "src=", "@import", "url(", "<link"}) EXPECT_THAT(page, Not(HasSubstr(outside))) << outside;
  EXPECT_THAT(page, AllOf(HasSubstr("width=device-width"), HasSubstr("prefers-color-scheme:dark"), HasSubstr("model.predict"),
                          HasSubstr("C API"), HasSubstr("Accuracy against latency"), HasSubstr("Latency against batch"),
                          HasSubstr("Size of the files"), HasSubstr("Resident memory"), HasSubstr("Time to generate"), HasSubstr("Load time")));
  EXPECT_LT(page.size(), 400u << 10);
}

// Two variants of two stages: one is faster in the first, the other in the second.
package::Package chain_package() {
  package::Package p = sample_package();
  p.manifest.family = "widths";
  p.manifest.stages = {{{}, "<early>", "a"}, {{}, "late", "b"}};
  auto cell = [](double us) {
    LatencyCell c;
    c.n = 100;
    c.p50_us = c.mean_us = us;
    return c;
  };
  for (auto& v : p.profiles[0].variants) {
    const bool one = v.id == "openvino-ir-f32", other = v.id == "litert-tflite-f32";
    if (!one && !other) continue;
    v.stages = {{{cell(one ? 40 : 30)}, 1000}, {{cell(one ? 60 : 90)}, 1000}};
    v.exits = {{0.8, 1e-6}, {0.88125, 2e-6}};
    v.confidence = {{{0.0}, {1, 0}, 0.8, 0.4, 0.09}, {{0.9}, {0.5, 0.5}, 0.879, 0.7, 0.004}};
    v.entropy = {{{100.0}, {1, 0}, 0.8, 0.4, 0.09}};
  }
  return p;
}

TEST(ReportTest, ExitsAreShownWithTheirAccuracyTimeAndCurves) {
  const package::Package p = chain_package();
  const auto json = parse_json(*render(p, Format::kJson, {}), "report");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["family"], "widths");
  EXPECT_EQ((*json)["exits"][1], "late");
  for (const Json& v : (*json)["variants"]) {
    if (v["id"] != "openvino-ir-f32") continue;
    EXPECT_EQ(v["exits"][0]["p50_us"], 40);
    EXPECT_EQ(v["exits"][1]["p50_us"], 100);
    EXPECT_DOUBLE_EQ(v["exits"][0]["share_of_time"].get<double>(), 0.4);
    EXPECT_EQ(v["confidence"].size(), 2u);
  }
  const Json& mixed = (*json)["mixed_engines"];
  EXPECT_EQ(mixed["p50_us"], 90);
  EXPECT_EQ(mixed["single_variant"], "openvino-ir-f32");
  EXPECT_EQ(mixed["stages"][0]["variant"], "litert-tflite-f32");
  const std::string page = *render(p, Format::kHtml, {});
  EXPECT_NE(page.find("Where to leave"), std::string::npos);
  EXPECT_NE(page.find("calibrated for a loss of 0.0040"), std::string::npos);
  EXPECT_NE(page.find("at most 10 % gained"), std::string::npos);
  EXPECT_NE(page.find("&lt;early&gt;"), std::string::npos);
  EXPECT_EQ(page.find("<early>"), std::string::npos);
  const std::string table = *render(p, Format::kTable, {});
  EXPECT_NE(table.find("openvino-ir-f32: <early> 0.8000 in 40.0 µs, late 0.8812 in 100 µs"), std::string::npos) << table;
  // Ordinary models have none of it.
  EXPECT_EQ(render(sample_package(), Format::kJson, {})->find("exits"), std::string::npos);
  EXPECT_EQ(render(sample_package(), Format::kHtml, {})->find("Where to leave"), std::string::npos);
}

TEST(ReportTest, ExtremeFiguresAreDrawnWithoutHarm) {
  package::Package p = sample_package();
  for (auto& v : p.profiles[0].variants) {
    v.max_abs_diff = 1.7e308;
    v.resident_bytes = INT64_MAX;
    v.load_ms_cold = 1e300;
    for (auto& c : v.latency) c.p50_us = c.mean_us = 1e300, c.batch = INT64_MAX;
  }
  p.profiles[0].variants[1].latency[0] = {1, 1, 1, 1e-300, 0, 1e-300, -1, -1, 0, {}};
  for (Format f : {Format::kTable, Format::kJson, Format::kCsv, Format::kMarkdown, Format::kHtml}) EXPECT_FALSE(rendered(p, f).empty());
}

TEST(ReportTest, EmptyAndUnmeasuredPackages) {
  package::Package p = sample_package();
  p.profiles.clear();
  EXPECT_THAT(rendered(p, Format::kTable), HasSubstr("not measured on any device yet"));
  EXPECT_THAT(rendered(p, Format::kHtml), HasSubstr("not measured on any device yet"));
  EXPECT_TRUE(parse_json(rendered(p, Format::kJson), "report").ok());
  p.manifest.variants.clear();
  for (Format f : {Format::kTable, Format::kJson, Format::kCsv, Format::kMarkdown, Format::kHtml}) EXPECT_FALSE(rendered(p, f).empty());
  Options o;
  o.device = "feedfacefeedface";
  EXPECT_FALSE(render(p, Format::kTable, o).ok());
}

TEST(TextTest, NumbersReadWell) {
  EXPECT_EQ(time_us(67.42), "67.4 µs");
  EXPECT_EQ(time_us(999.6), "1.00 ms");
  EXPECT_EQ(time_us(51400), "51.4 ms");
  EXPECT_EQ(time_us(2.5e6), "2.50 s");
  EXPECT_EQ(time_us(-1), "–");
  EXPECT_EQ(bytes(97100), "97.1 kB");
  EXPECT_EQ(rate(39732), "39,700");
  EXPECT_EQ(rate(12.345), "12.3");
  EXPECT_EQ(rate(1234567), "1,230,000");
  EXPECT_EQ(signed_fraction(-0.01081), "−0.0108");
  EXPECT_EQ(signed_fraction(1e-9), "±0");
  EXPECT_EQ(difference(1.7e308), "NaN");
  EXPECT_EQ(times(7.62), "×7.6");
  EXPECT_EQ(times(763.4), "×763");
  EXPECT_EQ(columns("模型 µ"), 6);
  EXPECT_EQ(shortened("abcdef", 4), "abc…");
  EXPECT_EQ(clean("a\x1b[2Jb\xc3\x28"), "a\xEF\xBF\xBD[2Jb\xEF\xBF\xBD(");
}

TEST(ScaleTest, TicksAreReadable) {
  Scale log(66, 512, 0, 100, true);
  EXPECT_EQ(log.ticks(4), (std::vector<double>{100, 200, 300, 500}));
  EXPECT_EQ(log.ticks(3), (std::vector<double>{100, 200, 500}));
  EXPECT_GE(Scale(189, 289, 0, 100, true).ticks(10).size(), 3u);
  Scale linear(0.87, 0.8813, 100, 0, false);
  auto ticks = linear.ticks(5);
  EXPECT_GE(ticks.size(), 3u);
  EXPECT_LE(ticks.size(), 6u);
  Scale point(5, 5, 0, 10, true);
  EXPECT_FALSE(std::isnan(point(5)));
}

}  // namespace
}  // namespace verge::report
