#include "net/assist.h"

#include "net/front.h"
#include "net/grpc_reply.h"
#include "net/tensor_proto.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

// ExtendedInferenceRequest and ExtendedInferenceResponse: id = 1, a map from names to tensors = 2.
constexpr uint32_t kId = 1, kTensors = 2;
constexpr std::string_view kInputKey = "array", kOutputKey = "prediction";

Status unknown_input(const AssistModels::Model& model, std::string_view key) {
  std::string names;
  for (const TensorSpec& t : model.inputs) names += (names.empty() ? "'" : ", '") + t.name + "'";
  return invalid_argument("model '" + model.name + "' has no input '" + std::string(key.substr(0, 128)) + "'; it takes " + names);
}

// The input that a key means; nullptr: none.
const TensorSpec* input_of(const AssistModels::Model& model, std::string_view key) {
  for (const TensorSpec& t : model.inputs)
    if (t.name == key) return &t;
  return key == kInputKey && model.inputs.size() == 1 ? &model.inputs.front() : nullptr;
}

// A view whose text lives as long as the request, whatever becomes of the model.
Result<std::string_view> kept(Scratch& scratch, std::string_view text) {
  std::byte* p = scratch.allocate(text.size());
  if (!p) return resource_exhausted("no receive memory left; try again");
  std::memcpy(p, text.data(), text.size());
  return std::string_view(reinterpret_cast<const char*>(p), text.size());
}

Status read_entry(std::string_view bytes, const AssistModels::Model& model, Call* call, CopyCount* copies) {
  wire::Reader reader(bytes);
  wire::Field f;
  std::string_view key, value;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    if (f.number == 1) key = f.bytes;
    if (f.number == 2) value = f.bytes;
  }
  if (!reader.ok() || !valid_utf8(key)) return malformed_message();
  const TensorSpec* spec = input_of(model, key);
  if (!spec) return unknown_input(model, key);
  if (call->request.inputs.size() == kMaxTensors) return invalid_argument("request message: more than 1024 inputs");
  runtime::InputTensor& t = call->request.inputs.emplace_back();
  VERGE_ASSIGN(t.name, kept(call->scratch, spec->name));
  t.dtype = spec->dtype;
  VERGE_RETURN_IF_ERROR(read_tensor_proto(value, call->scratch, &t, copies));
  if (spec->batch_axis >= 0 && t.shape.rank() == spec->shape.rank() - 1) {
    t.shape.insert(spec->batch_axis, 1);
    call->batch_axis_added = true;
  }
  return {};
}

Status read_request(Service& service, Call* call, CopyCount* copies) {
  VERGE_ASSIGN(const AssistModels::Model* model, service.assist().find(service, call->part_of->head().model_header));
  call->request.inputs.clear();
  VERGE_ASSIGN(call->request.model, kept(call->scratch, model->name));
  wire::Reader reader(call->body.text());
  wire::Field f;
  while (reader.next(&f)) {
    if (f.number == kId && f.type == wire::kVarint) call->message_id = static_cast<int32_t>(static_cast<uint32_t>(f.value));
    if (f.number == kTensors && f.type == wire::kBytes) VERGE_RETURN_IF_ERROR(read_entry(f.bytes, *model, call, copies));
  }
  return reader.ok() ? Status() : malformed_message();
}

void handle_predict(Service& service, Call* call) {
  CopyCount copies;
  if (Status s = read_request(service, call, &copies); !s.ok()) return service.fail(call, std::move(s));
  service.count_copies(copies);
  service.infer(call);
}

void write_prediction(Call* call) {
  const runtime::Request& request = call->request;
  Reply& reply = call->reply;
  ByteBuffer& text = start_message(call);
  {
    SegmentWriter out(text, reply.segments, 0);
    if (call->message_id) {
      wire::add_tag(text, kId, wire::kVarint);
      wire::add_varint(text, static_cast<uint64_t>(static_cast<int64_t>(call->message_id)));
    }
    const AssistModels::Model* model = nullptr;
    if (call->batch_axis_added)
      if (auto found = call->service->assist().find(*call->service, request.model); found.ok()) model = *found;
    // The first output is the prediction, unless one is called so.
    bool named = false;
    for (const runtime::OutputTensor& t : request.outputs) named = named || t.name == kOutputKey;
    for (size_t i = 0; i < request.outputs.size(); ++i) {
      const runtime::OutputTensor& t = request.outputs[i];
      const std::string_view key = i == 0 && !named ? kOutputKey : t.name;
      Shape shape = t.shape;
      if (model)
        for (const TensorSpec& spec : model->outputs)
          if (spec.name == t.name && spec.batch_axis >= 0 && spec.batch_axis < shape.rank() && shape[spec.batch_axis] == 1) shape.erase(spec.batch_axis);
      wire::add_length(text, kTensors, wire::bytes_size(1, key.size()) + wire::bytes_size(2, tensor_proto_size(t, shape)));
      wire::add_bytes(text, 1, key);
      write_tensor_proto(2, t, shape, out);
    }
  }
  if (reply.segments.empty()) reply.segments.push_back({nullptr, 0, text.size()});
  seal_message(call);
}

}  // namespace

const StreamMethod kAssistPredict = {"/extended_inference.ExtendedInferenceService/predict", handle_predict, write_prediction, nullptr};

void AssistModels::forget() {
  known_.clear();
  only_.clear();
  looked_ = false;
}

Result<const AssistModels::Model*> AssistModels::find(Service& service, std::string_view header) {
  std::string_view name = header;
  if (name.empty()) name = service.front().options().assist_model;
  if (name.empty()) {
    if (!looked_) {
      auto all = service.runtime().statistics(service.front().runtime_front(), "", 0);
      bool one = all.ok() && !all->empty();
      for (size_t i = 1; one && i < all->size(); ++i) one = (*all)[i].name == (*all)[0].name;
      if (one) only_ = (*all)[0].name;
      looked_ = true;
    }
    name = only_;
    if (name.empty())
      return failed_precondition("which model is meant? Send its name as metadata 'verge-model', or set assist.model on the server");
  }
  if (const auto at = known_.find(name); at != known_.end()) return &at->second;
  VERGE_ASSIGN(auto doc, service.runtime().model_doc(service.front().runtime_front(), name, 0));
  // Names that only come and go must not pile up.
  if (known_.size() == 1024) known_.clear();
  return &known_.emplace(std::string(name), Model{doc.name, std::move(doc.inputs), std::move(doc.outputs)}).first->second;
}

}  // namespace verge::net
