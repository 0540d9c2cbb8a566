// The tool chain's child, played by a shell script that speaks the protocol, well and badly.
#include "build/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/files.h"

namespace verge::build {
namespace {

using ::testing::HasSubstr;

constexpr char kInspected[] =
    R"({"event":"inspected","kind":"onnx","signature_name":"","signature":{"inputs":[{"name":"x","dtype":"FP32","shape":[-1,2],"batch_axis":0}],)"
    R"("outputs":[{"name":"y","dtype":"FP32","shape":[-1,2],"batch_axis":0}]},"has_loop":true,"fixed_batch":1,"reference":"onnxruntime 1","notes":["n"]})";

class Convert : public ::testing::Test {
 protected:
  void SetUp() override {
    work_ = *os::make_temp_dir(::testing::TempDir(), "work-");
    ASSERT_TRUE(os::make_dirs(os::join(work_, "artifact")).ok());
    ASSERT_TRUE(os::write_file_atomic(os::join(work_, "artifact/m.onnx"), "m").ok());
  }
  void TearDown() override { (void)os::remove_tree(work_); }

  // Answers the commands that come with these lines, one after the other; "%" in front of a line is a shell command.
  Result<Toolchain> play(const std::vector<std::string>& lines) {
    std::string script;
    for (const std::string& line : lines) {
      script += line[0] == '%' ? line.substr(1) + "\n" : "read -r x; cat >&3 <<'END'\n" + line + "\nEND\n";
    }
    ToolchainOptions o;
    o.argv = {"/bin/sh", "-c", script};
    o.work = work_;
    o.log_path = os::join(work_, "log");
    return Toolchain::start(o);
  }
  std::string artifact(const std::string& dir, const std::string& entry) {
    return R"({"event":"artifact","target":"onnx-f32","status":"ok","files":[{"dir":")" + dir + R"(","entry":")" + entry +
           R"(","batch":0}],"format":"onnx","names":{"x":"x:0"},"converter":"c 1","seconds":1.5,"notes":[]})";
  }
  std::string work_;
};

TEST_F(Convert, ReadsAllEvents) {
  std::string npy = os::join(work_, "log");
  auto t = play({kInspected, R"({"event":"reference","golden":{"y":")" + npy + R"("},"evaluation":null}
{"event":"native_path","path":"tf.function","batch":1,"n":200,"p50_us":12.5}
{"event":"progress","target":"onnx-f32","step":"tracing"}
)" + artifact(os::join(work_, "artifact"), "m.onnx") + R"(
{"event":"artifact","target":"b","status":"left out","reason":"no calibration\ndata"}
{"event":"done"})"});
  ASSERT_TRUE(t.ok());
  auto i = t->inspect("/m", "onnx", "", work_, 10);
  ASSERT_TRUE(i.ok()) << i.status().message();
  EXPECT_TRUE(i->has_loop);
  EXPECT_EQ(i->fixed_batch, 1);
  EXPECT_EQ(i->signature.inputs[0].shape, (Shape{-1, 2}));
  ASSERT_TRUE(t->begin_convert({}, {1}, {}, {true, true}).ok());
  auto next = [&] {
    auto e = t->next(10);
    EXPECT_TRUE(e.ok()) << e.status().message();
    return e.ok() ? *e : ConvertEvent();
  };
  EXPECT_EQ(next().golden.at("y"), npy);
  EXPECT_EQ(next().native_path.p50_us, 12.5);
  EXPECT_EQ(next().step, "tracing");
  ConvertEvent a = next();
  EXPECT_EQ(a.files.at(0).entry, "m.onnx");
  EXPECT_EQ(a.names.at("x"), "x:0");
  EXPECT_EQ(next().reason, "no calibration data");
  EXPECT_EQ(next().kind, ConvertEvent::Kind::kDone);
}

TEST_F(Convert, ARefusalIsNotAnError) {
  auto t = play({R"({"event":"refused","reason":"PyFunc is not allowed"})"});
  auto i = t->inspect("/m", "onnx", "", work_, 10);
  EXPECT_EQ(i.status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(i.status().message(), "PyFunc is not allowed");
}

TEST_F(Convert, ACutNetworkIsItsStages) {
  const std::string t = R"({"dtype":"FP32","shape":[-1,2],"batch_axis":0,"name":")";
  auto stage = [&](const std::string& dir, const std::string& in, const std::string& out) {
    return R"({"dir":")" + dir + R"(","inputs":[)" + t + in + R"("}],"outputs":[)" + t + out + R"("}],"exit":")" + out + R"("})";
  };
  auto answer = [](const std::string& stages) { return R"({"event":"stages","stages":[)" + stages + "]}"; };
  auto cut = [&](const std::string& line) { return play({line})->cut("/m", "saved_model", "", {"a", "b"}, 10); };
  const std::string first = os::join(work_, "cut/stage1"), second = os::join(work_, "cut/stage2");
  ASSERT_TRUE(os::make_dirs(first).ok() && os::make_dirs(second).ok());
  auto stages = cut(answer(stage(first, "x", "a") + "," + stage(second, "a", "b")));
  ASSERT_TRUE(stages.ok()) << stages.status().message();
  EXPECT_EQ(stages->at(1).dir, second);
  EXPECT_EQ(stages->at(1).network.inputs.at(0).name, "a");
  EXPECT_EQ(stages->at(0).network.outputs.at(0).shape, (Shape{-1, 2}));
  EXPECT_THAT(cut(answer(stage("/etc", "x", "a") + "," + stage(second, "a", "b"))).status().message(), HasSubstr("outside its work folder"));
  EXPECT_THAT(cut(answer(stage(first, "x", "a"))).status().message(), HasSubstr("1 stages for 2 exits"));
  EXPECT_THAT(cut(answer(stage(first, "x", "b") + "," + stage(second, "a", "a"))).status().message(), HasSubstr("another exit"));
  EXPECT_EQ(cut(R"({"event":"refused","reason":"exit 'b' is computed already"})").status().code(), Code::kFailedPrecondition);
}

TEST_F(Convert, ADeadChildIsNamedWithItsSignal) {
  auto t = play({kInspected, "%kill -SEGV $$"});
  ASSERT_TRUE(t->inspect("/m", "onnx", "", work_, 10).ok());
  auto e = t->next(10);
  EXPECT_EQ(e.status().code(), Code::kUnavailable);
  EXPECT_THAT(e.status().message(), HasSubstr("SIGSEGV"));
}

TEST_F(Convert, ASilentChildRunsOutOfTime) {
  auto t = play({"%read -r x; read -r y"});
  EXPECT_EQ(t->inspect("/m", "onnx", "", work_, 0.2).status().code(), Code::kDeadlineExceeded);
}

TEST_F(Convert, WhatItSaysIsCheckedBeforeItIsBelieved) {
  auto error_of = [&](const std::string& answer) {
    auto t = play({answer});
    EXPECT_TRUE(t->begin_convert({}, {}, {}, {}).ok());
    auto e = t->next(10);
    return e.ok() ? "no error" : e.status().message();
  };
  EXPECT_THAT(error_of("not json"), HasSubstr("tool chain"));
  EXPECT_THAT(error_of("[]"), HasSubstr("tool chain"));
  EXPECT_THAT(error_of(R"({"event":"hello"})"), HasSubstr("unknown event 'hello'"));
  EXPECT_THAT(error_of(R"({"event":"error","reason":"out of disk"})"), HasSubstr("out of disk"));
  EXPECT_THAT(error_of(artifact("/etc", "passwd")), HasSubstr("outside its work folder"));
  EXPECT_THAT(error_of(artifact(work_ + "/artifact/../..", "x")), HasSubstr("outside its work folder"));
  EXPECT_THAT(error_of(artifact(os::join(work_, "artifact"), "../../x")), HasSubstr("not a path inside it"));
  EXPECT_THAT(error_of(R"({"event":"reference","golden":{"y":"/etc/hostname"}})"), HasSubstr("outside its work folder"));
  EXPECT_THAT(error_of(R"({"event":"reference","golden":{"y":5}})"), HasSubstr("not a string"));
  EXPECT_THAT(error_of(R"({"event":"artifact","target":"a","status":"ok","files":[]})"), HasSubstr("names 0 artifacts"));
}

}  // namespace
}  // namespace verge::build
