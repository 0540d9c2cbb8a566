// What a server and its models say of themselves.
#include "bench/protocol.h"
#include "core/json.h"
#include "net/wire.h"

namespace verge::bench {
namespace {

namespace wire = net::wire;
constexpr double kPatience = 30;  // s; a server may load a model only now

std::string grpc_body(std::string_view model, std::string_view version) {
  net::ByteBuffer b;
  wire::add_string(b, 1, model);
  wire::add_string(b, 2, version);
  std::string out(5, '\0');
  for (int i = 0; i < 4; ++i) out[static_cast<size_t>(i + 1)] = static_cast<char>(b.size() >> (24 - 8 * i));
  return out.append(b.view());
}

Result<TensorSpec> tensor_of(const std::string& name, const std::string& type, const std::vector<int64_t>& dims) {
  TensorSpec t;
  t.name = name;
  t.dtype = dtype_from_name(type);
  if (t.dtype == DType::kInvalid) return unimplemented("tensor " + name + " has the type '" + type + "', which bench cannot make");
  VERGE_ASSIGN(t.shape, Shape::from(dims));
  return t;
}

Result<TensorSpec> tensor_of(std::string_view message) {
  std::string name, type;
  std::vector<int64_t> dims;
  wire::Reader r(message);
  for (wire::Field f; r.next(&f);) {
    if (f.number == 1) name = f.bytes;
    else if (f.number == 2) type = f.bytes;
    else if (f.number == 3 && f.type == wire::kVarint) dims.push_back(static_cast<int64_t>(f.value));
    else if (f.number == 3) {
      wire::Reader packed(f.bytes);
      for (uint64_t v; !packed.at_end() && packed.varint(&v);) dims.push_back(static_cast<int64_t>(v));
    }
  }
  return tensor_of(name, type, dims);
}

Result<TensorSpec> tensor_of(const Json& j) {
  JsonReader r(j, "the model's metadata");
  const std::string name = r.str("name"), type = r.str("datatype");
  std::vector<int64_t> dims;
  for (const Json& d : r.array("shape"))
    if (d.is_number_integer()) dims.push_back(d.get<int64_t>());
  VERGE_RETURN_IF_ERROR(r.status());
  return tensor_of(name, type, dims);
}

Status exchange(Channel& c, Protocol p, const Form& form, std::string_view body, Exchange& e) {
  e.form = &form;
  e.body = body;
  VERGE_RETURN_IF_ERROR(call_once(c, e, kPatience));
  if (const Answer a = read_answer(p, e); a.ok) return {};
  const bool absent = p == Protocol::kGrpc ? e.grpc_status == 5 : e.http_status == 404;
  return Status(absent ? Code::kNotFound : Code::kFailedPrecondition, error_text(p, e));
}

}  // namespace

Result<ModelInfo> ask_model(Channel& c, Protocol p, const std::string& model, const std::string& version, const Headers& headers) {
  Form form;
  form.fields = headers;
  Exchange e;
  ModelInfo m;
  if (p == Protocol::kGrpc) {
    form.path = "/inference.GRPCInferenceService/ModelMetadata";
    VERGE_RETURN_IF_ERROR(exchange(c, p, form, grpc_body(model, version), e));
    wire::Reader r(e.answer.view().substr(std::min<size_t>(5, e.answer.size())));
    for (wire::Field f; r.next(&f);) {
      if (f.number == 1) m.name = f.bytes;
      else if (f.number == 3) m.platform = f.bytes;
      else if (f.number == 4 || f.number == 5) {
        VERGE_ASSIGN(TensorSpec t, tensor_of(f.bytes));
        (f.number == 4 ? m.inputs : m.outputs).push_back(std::move(t));
      }
    }
  } else {
    form.method = "GET";
    form.path = "/v2/models/" + model + (version.empty() ? "" : "/versions/" + version);
    VERGE_RETURN_IF_ERROR(exchange(c, p, form, {}, e));
    VERGE_ASSIGN(const Json j, parse_json(e.answer.view(), "the model's metadata"));
    JsonReader r(j, "the model's metadata");
    m.name = r.str("name");
    m.platform = r.str("platform", "");
    for (const char* key : {"inputs", "outputs"}) {
      if (!r.has(key)) continue;
      for (const Json& one : r.array(key)) {
        VERGE_ASSIGN(TensorSpec t, tensor_of(one));
        (key[0] == 'i' ? m.inputs : m.outputs).push_back(std::move(t));
      }
    }
    VERGE_RETURN_IF_ERROR(r.status());
  }
  return m;
}

Result<ServerInfo> ask_server(Channel& c, Protocol p, const Headers& headers) {
  Form form;
  form.fields = headers;
  Exchange e;
  ServerInfo s;
  if (p == Protocol::kGrpc) {
    form.path = "/inference.GRPCInferenceService/ServerMetadata";
    VERGE_RETURN_IF_ERROR(exchange(c, p, form, grpc_body("", ""), e));
    wire::Reader r(e.answer.view().substr(std::min<size_t>(5, e.answer.size())));
    for (wire::Field f; r.next(&f);) {
      if (f.number == 1) s.name = f.bytes;
      else if (f.number == 2) s.version = f.bytes;
    }
  } else {
    form.method = "GET";
    form.path = "/v2";
    VERGE_RETURN_IF_ERROR(exchange(c, p, form, {}, e));
    VERGE_ASSIGN(const Json j, parse_json(e.answer.view(), "the server's metadata"));
    JsonReader r(j, "the server's metadata");
    s.name = r.str("name", "");
    s.version = r.str("version", "");
  }
  return s;
}

}  // namespace verge::bench
