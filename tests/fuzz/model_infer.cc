// Our reader of ModelInferRequest against protobuf's: what protobuf refuses is refused, nothing is called malformed that protobuf takes, and
// what is accepted means the same.
#include <cstring>

#include "core/tensor.h"
#include "fuzz.h"
#include "inference.pb.h"
#include "net/model_infer_wire.h"

using namespace verge;
using namespace verge::net;
using verge::fuzz::require;

namespace {

using Message = inference::ModelInferRequest;
using Tensor_ = inference::ModelInferRequest_InferInputTensor;

std::string bytes_of(const runtime::InputTensor& t) { return {reinterpret_cast<const char*>(t.data.data()), t.data.size()}; }

template <typename To, typename From>
std::string packed(const From& values) {
  std::string out;
  for (const auto v : values) {
    const To to = static_cast<To>(v);
    out.append(reinterpret_cast<const char*>(&to), sizeof to);
  }
  return out;
}

// The typed contents as the bytes of a tensor.
std::string contents_of(const Tensor_& t, DType type) {
  const auto& c = t.contents();
  switch (type) {
    case DType::kBool: return packed<uint8_t>(c.bool_contents());
    case DType::kInt8: return packed<int8_t>(c.int_contents());
    case DType::kInt16: return packed<int16_t>(c.int_contents());
    case DType::kInt32: return packed<int32_t>(c.int_contents());
    case DType::kInt64: return packed<int64_t>(c.int64_contents());
    case DType::kUint8: return packed<uint8_t>(c.uint_contents());
    case DType::kUint16: return packed<uint16_t>(c.uint_contents());
    case DType::kUint32: return packed<uint32_t>(c.uint_contents());
    case DType::kUint64: return packed<uint64_t>(c.uint64_contents());
    case DType::kFp32: return packed<float>(c.fp32_contents());
    case DType::kFp64: return packed<double>(c.fp64_contents());
    case DType::kBytes: {
      std::string out;
      for (const std::string& s : c.bytes_contents()) {
        const auto n = static_cast<uint32_t>(s.size());
        out.append(reinterpret_cast<const char*>(&n), 4);
        out += s;
      }
      return out;
    }
    default: return {};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Aligned as a receiver places it.
  std::string input(fuzz::text_of(data, size));
  static google::protobuf::LogSilencer* silent = new google::protobuf::LogSilencer;
  static_cast<void>(silent);
  Message theirs;
  const bool well_formed = theirs.ParseFromString(input);

  ReceiveBudget budget(int64_t{64} << 20);
  LocalBudget local(budget);
  BlockPool pool;
  Scratch scratch(pool, local);
  runtime::Request ours;
  InferOptions options;
  CopyCount copies;
  const Status status = read_model_infer_request(input, scratch, &ours, &options, &copies);
  static_cast<void>(find_raw_input(input, 1));
  // A beginning says the same, of what it holds, as the whole: fields may come again later, so only that it holds together is asked.
  runtime::Request head;
  InferOptions head_options;
  for (const size_t have : {input.size(), input.size() / 2}) {
    if (read_model_infer_head(std::string_view(input).substr(0, have), &head, &head_options)) require(!head.model.empty(), "a head without a model");
  }
  if (!status.ok()) {
    // By both ends of the message: others quote the request's own texts.
    const std::string& why = status.message();
    const bool says_malformed = why.starts_with("request message: ") && (why.ends_with(" is not a well-formed protobuf message") || why.ends_with(" is not UTF-8"));
    require(!(says_malformed && well_formed), "called malformed, protobuf takes it:", status.message());
    return 0;
  }
  require(well_formed, "protobuf refuses it");
  require(ours.model == theirs.model_name() && ours.id == theirs.id(), "texts");
  require(ours.version == (theirs.model_version().empty() ? 0 : std::stoll(theirs.model_version())), "version");
  const auto accuracy = theirs.parameters().find("verge.min_accuracy");
  const bool bounded = accuracy != theirs.parameters().end();
  const auto choice = bounded ? accuracy->second.parameter_choice_case() : inference::InferParameter::PARAMETER_CHOICE_NOT_SET;
  const double expected = !bounded ? -1
                          : choice == inference::InferParameter::kDoubleParam ? accuracy->second.double_param()
                          : choice == inference::InferParameter::kInt64Param  ? static_cast<double>(accuracy->second.int64_param())
                                                                              : static_cast<double>(accuracy->second.uint64_param());
  require(ours.bounds.min_accuracy == expected && expected <= 1, "the bound of accuracy");
  require(ours.inputs.size() == static_cast<size_t>(theirs.inputs_size()), "number of inputs");
  require(ours.wanted_outputs.size() == static_cast<size_t>(theirs.outputs_size()), "number of outputs");
  for (int i = 0; i < theirs.outputs_size(); ++i) require(ours.wanted_outputs[static_cast<size_t>(i)] == theirs.outputs(i).name(), "an output's name");
  for (int i = 0; i < theirs.inputs_size(); ++i) {
    const auto& a = ours.inputs[static_cast<size_t>(i)];
    const auto& b = theirs.inputs(i);
    require(a.name == b.name() && dtype_name(a.dtype) == b.datatype(), "an input's name and type");
    require(a.shape.rank() == b.shape_size(), "rank");
    for (int d = 0; d < b.shape_size(); ++d) require(a.shape[d] == b.shape(d), "shape");
    require(check_tensor({a.dtype, a.shape, a.data}, a.name).ok(), "an accepted tensor fits its shape");
    if (a.dtype != DType::kBytes) require(reinterpret_cast<uintptr_t>(a.data.data()) % dtype_size(a.dtype) == 0, "tensors are aligned");
    if (theirs.raw_input_contents_size()) {
      require(bytes_of(a) == theirs.raw_input_contents(i), "raw content");
    } else {
      require(bytes_of(a) == contents_of(b, a.dtype), "typed content");
    }
  }
  return 0;
}
