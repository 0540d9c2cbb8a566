// REST inference requests: whatever is accepted has tensors of the size that their shapes say, aligned, and made of the body or its scratch.
#include "core/tensor.h"
#include "fuzz.h"
#include "net/bytes.h"
#include "net/service.h"

using namespace verge;
using namespace verge::net;
using verge::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::text_of(data, size));
  // The first two bytes are the length of the JSON; 0xffff: not given.
  const int json_bytes = choices.byte() << 8 | choices.byte();
  const std::string_view input = choices.rest();
  ReceiveBudget budget(int64_t{64} << 20);
  LocalBudget local(budget);
  BlockPool pool;
  Call call(pool, local);
  if (!call.body.reserve(input.size())) return 0;
  call.body.append(input.data(), input.size());
  call.json_bytes = json_bytes == 0xffff ? -1 : json_bytes;
  CopyCount copies;
  const Status status = read_rest_infer(&call, &copies);
  if (!status.ok()) {
    require(!status.message().empty(), "an error says what");
    return 0;
  }
  for (const auto& t : call.request.inputs) {
    require(check_tensor({t.dtype, t.shape, t.data}, t.name).ok(), "an accepted tensor fits its shape", std::string(t.name));
    if (t.dtype != DType::kBytes) require(reinterpret_cast<uintptr_t>(t.data.data()) % dtype_size(t.dtype) == 0, "tensors are aligned");
    for (std::byte b : t.data) asm volatile("" : : "r"(b));
  }
  return 0;
}
