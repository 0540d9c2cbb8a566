#include "net/model_config.h"

#include <gtest/gtest.h>

#include "net/wire.h"

namespace verge::net {
namespace {

// The first input's format, in both forms; they must agree.
std::string format_of(Shape shape, DType dtype = DType::kFp32, int64_t max_batch = 64) {
  TensorSpec t;
  t.name = "image";
  t.dtype = dtype;
  t.shape = shape;
  t.batch_axis = max_batch > 0 ? 0 : -1;
  runtime::ModelDoc doc;
  doc.name = "m";
  doc.max_batch = max_batch;
  doc.inputs = {t};
  ByteBuffer out;
  write_model_config(doc, &out);
  uint64_t number = 0;
  wire::Reader message(out.view());
  for (wire::Field f; message.next(&f);) {
    if (f.number != 5) continue;  // input
    wire::Reader input(f.bytes);
    for (wire::Field part; input.next(&part);)
      if (part.number == 3) number = part.value;
    EXPECT_TRUE(input.ok());
  }
  EXPECT_TRUE(message.ok());
  const std::string name = model_config_json(doc)["input"][0]["format"];
  EXPECT_EQ(name, number == 0 ? "FORMAT_NONE" : number == 1 ? "FORMAT_NHWC" : "FORMAT_NCHW");
  return name;
}

TEST(ModelConfig, TellsHowImagesLie) {
  EXPECT_EQ(format_of(Shape{-1, 224, 224, 3}), "FORMAT_NHWC");
  EXPECT_EQ(format_of(Shape{-1, 28, 28, 1}, DType::kUint8), "FORMAT_NHWC");
  EXPECT_EQ(format_of(Shape{-1, 3, -1, -1}), "FORMAT_NCHW");
  EXPECT_EQ(format_of(Shape{3, 224, 224}, DType::kFp32, 0), "FORMAT_NCHW");
  EXPECT_EQ(format_of(Shape{-1, 3, 224, 3}), "FORMAT_NONE");
  EXPECT_EQ(format_of(Shape{-1, 16, 16, 16}), "FORMAT_NONE");
  EXPECT_EQ(format_of(Shape{-1, 16, 3}), "FORMAT_NONE");
  EXPECT_EQ(format_of(Shape{-1, 16, 16, 3}, DType::kBytes), "FORMAT_NONE");
  EXPECT_EQ(format_of(Shape{}, DType::kFp32, 0), "FORMAT_NONE");
}

}  // namespace
}  // namespace verge::net
