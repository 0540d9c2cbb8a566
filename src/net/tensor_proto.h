// tensorflow.TensorProto on the wire: packed in tensor_content, or repeated values of its type.
#pragma once

#include <string_view>

#include "core/status.h"
#include "net/bytes.h"
#include "net/model_infer_wire.h"
#include "runtime/api.h"

namespace verge::net {

// Values that a message does not spell out are its last one again; elements that may come about that way.
inline constexpr int64_t kMaxRepeated = int64_t{1} << 20;

// Reads the message into `out`, whose name and dtype are given: whole numbers are cast where they fit, and to every floating-point type;
// floating-point values to every floating-point type. The data is a view into `message` where no cast is needed and it lies aligned, else
// it is in `scratch`.
Status read_tensor_proto(std::string_view message, Scratch& scratch, runtime::InputTensor* out, CopyCount* copies);

// The message, as the value of field `number`: numbers in tensor_content, strings in string_val. `shape` stands in for the tensor's own.
void write_tensor_proto(uint32_t number, const runtime::OutputTensor& tensor, const Shape& shape, SegmentWriter& out);
size_t tensor_proto_size(const runtime::OutputTensor& tensor, const Shape& shape);

}  // namespace verge::net
