// tensorflow.TensorProto as clients of the ASSIST-IoT service send it: what is accepted fits its shape and type, and can be sent back.
#include <cstring>

#include "fuzz.h"
#include "net/tensor_proto.h"
#include "net/wire.h"

using namespace verge;
using namespace verge::net;
using verge::fuzz::require;

namespace {

std::string bytes_of(const runtime::InputTensor& t) { return {reinterpret_cast<const char*>(t.data.data()), t.data.size()}; }

runtime::InputTensor wanted(DType type) {
  runtime::InputTensor t;
  t.name = "x";
  t.dtype = type;
  return t;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr DType kTypes[] = {DType::kFp32, DType::kBytes, DType::kInt8,  DType::kUint8,  DType::kInt16, DType::kUint16, DType::kInt32,
                                     DType::kUint32, DType::kInt64, DType::kUint64, DType::kFp16, DType::kFp64, DType::kBool,  DType::kBf16};
  fuzz::Choices choices(fuzz::text_of(data, size));
  const DType type = kTypes[choices.byte() % std::size(kTypes)];
  const std::string input(choices.rest());
  ReceiveBudget budget(int64_t{16} << 20);
  LocalBudget local(budget);
  BlockPool pool;
  Scratch scratch(pool, local);
  CopyCount copies;
  runtime::InputTensor t = wanted(type);
  if (!read_tensor_proto(input, scratch, &t, &copies).ok()) return 0;
  require(t.dtype == type && t.name == "x", "name and type are what was asked for");
  require(check_tensor({t.dtype, t.shape, t.data}, t.name).ok(), "an accepted tensor fits its shape");
  if (type != DType::kBytes) require(reinterpret_cast<uintptr_t>(t.data.data()) % dtype_size(type) == 0, "tensors are aligned");

  // As an answer, and read again.
  const runtime::OutputTensor out{"x", t.dtype, t.shape, t.data};
  ByteBuffer text;
  std::vector<Segment> segments;
  {
    SegmentWriter writer(text, segments, 0);
    write_tensor_proto(2, out, t.shape, writer);
  }
  std::string sent;
  for (const Segment& s : segments) sent.append(s.external ? reinterpret_cast<const char*>(s.external) : text.view().data() + s.offset, s.size);
  wire::Reader reader(sent);
  wire::Field f;
  require(reader.next(&f) && f.number == 2 && f.bytes.size() == tensor_proto_size(out, t.shape), "the size that was said");
  const std::string back(f.bytes);
  Scratch again(pool, local);
  runtime::InputTensor u = wanted(type);
  const Status status = read_tensor_proto(back, again, &u, &copies);
  require(status.ok(), "what is sent can be read:", status.to_string());
  require(u.shape == t.shape && bytes_of(u) == bytes_of(t), "there and back");
  return 0;
}
