#include "bench/protocol.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <charconv>
#include <cstring>

#include "core/json.h"
#include "net/wire.h"

namespace verge::bench {
namespace {

namespace wire = net::wire;

std::string framed(std::string_view message) {
  std::string out(5, '\0');
  for (int i = 0; i < 4; ++i) out[static_cast<size_t>(i + 1)] = static_cast<char>(message.size() >> (24 - 8 * i));
  return out.append(message);
}
// Without gRPC's prefix.
std::string_view unframed(const Exchange& e) { return e.answer.size() > 5 ? e.answer.view().substr(5) : std::string_view(); }

void put_parameter(net::ByteBuffer& b, uint32_t number, const Parameter& p) {
  wire::Nested entry(b, number);
  wire::add_bytes(b, 1, p.name);
  wire::Nested value(b, 2);
  switch (p.kind) {
    case Parameter::Kind::kBoolean:
      wire::add_tag(b, 1, wire::kVarint);
      b.push_back(p.flag ? 1 : 0);
      break;
    case Parameter::Kind::kInteger:
      wire::add_tag(b, 2, wire::kVarint);
      wire::add_varint(b, static_cast<uint64_t>(p.integer));
      break;
    case Parameter::Kind::kString: wire::add_bytes(b, 3, p.text); break;
    case Parameter::Kind::kNumber:
      wire::add_tag(b, 4, wire::kFixed64);
      b.append(&p.number, 8);
      break;
  }
}

RequestBody grpc_request(const TenantSpec& t, const ModelInfo& m, const Sample& sample, const std::string& output) {
  net::ByteBuffer b;
  wire::add_string(b, 1, t.model);
  wire::add_string(b, 2, t.version);
  for (const Parameter& p : t.parameters) put_parameter(b, 4, p);
  for (size_t i = 0; i < sample.size(); ++i) {
    wire::Nested input(b, 5);
    wire::add_bytes(b, 1, m.inputs[i].name);
    wire::add_bytes(b, 2, dtype_name(sample[i].dtype));
    wire::Nested shape(b, 3);
    for (const int64_t d : sample[i].shape.dims()) wire::add_varint(b, static_cast<uint64_t>(d));
  }
  if (!output.empty()) {
    wire::Nested wanted(b, 6);
    wire::add_bytes(b, 1, output);
  }
  for (const Tensor& s : sample) wire::add_bytes(b, 7, {reinterpret_cast<const char*>(s.data.data()), s.data.size()});
  return {framed(b.view()), 0, 0};
}

Json values_json(const Tensor& t) {
  Json out = Json::array();
  if (t.dtype == DType::kBytes) {
    for (size_t at = 0; at + 4 <= t.data.size();) {
      uint32_t n;
      std::memcpy(&n, t.data.data() + at, 4);
      out.push_back(std::string(reinterpret_cast<const char*>(t.data.data()) + at + 4, n));
      at += 4 + n;
    }
    return out;
  }
  const auto n = static_cast<size_t>(t.shape.elements());
  const bool real = t.dtype == DType::kFp16 || t.dtype == DType::kFp32 || t.dtype == DType::kFp64 || t.dtype == DType::kBf16;
  for (size_t i = 0; i < n; ++i) {
    const double v = element_as_double(t.view(), i);
    if (t.dtype == DType::kBool) out.push_back(v != 0);
    else if (real) out.push_back(v);
    else out.push_back(static_cast<int64_t>(v));
  }
  return out;
}

constexpr std::string_view kTimeoutDigits = "0         ";  // JSON allows no leading zeros; spaces behind a number are nothing

RequestBody rest_request(const TenantSpec& t, const ModelInfo& m, const Sample& sample, const std::string& output, bool timeout, bool binary) {
  Json j = Json::object(), parameters = Json::object();
  for (const Parameter& p : t.parameters) parameters[p.name] = p.json();
  if (timeout) parameters["timeout"] = 1234567890;
  if (binary && output.empty()) parameters["binary_data_output"] = true;
  if (!parameters.empty()) j["parameters"] = parameters;
  for (size_t i = 0; i < sample.size(); ++i) {
    Json input = {{"name", m.inputs[i].name}, {"shape", Json(std::vector<int64_t>(sample[i].shape.dims().begin(), sample[i].shape.dims().end()))}, {"datatype", dtype_name(sample[i].dtype)}};
    if (binary) input["parameters"]["binary_data_size"] = sample[i].data.size();
    else input["data"] = values_json(sample[i]);
    j["inputs"].push_back(std::move(input));
  }
  if (!output.empty()) {
    Json wanted = {{"name", output}};
    if (binary) wanted["parameters"]["binary_data"] = true;
    j["outputs"].push_back(std::move(wanted));
  }
  RequestBody out;
  out.bytes = j.dump();
  if (timeout) {
    out.timeout_at = out.bytes.find("\"timeout\":1234567890") + 10;
    out.bytes.replace(out.timeout_at, 10, kTimeoutDigits);
  }
  if (binary) {
    out.json_bytes = out.bytes.size();
    for (const Tensor& s : sample) out.bytes.append(reinterpret_cast<const char*>(s.data.data()), s.data.size());
  }
  return out;
}

std::string_view http_text(int status) {
  switch (status) {
    case 400: return "HTTP 400 bad request";
    case 401: return "HTTP 401 unauthorized";
    case 403: return "HTTP 403 forbidden";
    case 404: return "HTTP 404 not found";
    case 408: return "HTTP 408 timeout";
    case 413: return "HTTP 413 too large";
    case 422: return "HTTP 422 unprocessable";
    case 429: return "HTTP 429 too many requests";
    case 500: return "HTTP 500 internal error";
    case 502: return "HTTP 502 bad gateway";
    case 503: return "HTTP 503 unavailable";
    case 504: return "HTTP 504 deadline exceeded";
    default: return status >= 500 ? "HTTP 5xx" : status >= 400 ? "HTTP 4xx" : "HTTP unexpected status";
  }
}

struct Said {
  std::string_view text;
  double number = -1;
};

void take(Answer& a, std::string_view name, const Said& v) {
  if (name == "verge.variant") a.variant = v.text;
  else if (name == "verge.exit") a.exit = v.text;
  else if (name == "verge.expected_accuracy") a.expected_accuracy = v.number;
  else if (name == "verge.predicted_ms") a.predicted_ms = v.number;
  else if (name == "verge.measured_ms") a.measured_ms = v.number;
  else if (name == "verge.energy_mj") a.energy_mj = v.number;
  else if (name == "verge.energy_source") a.energy_measured = v.text == "measured";
}

void read_grpc(std::string_view message, Answer& a) {
  wire::Reader r(message);
  wire::Field f;
  while (r.next(&f)) {
    if (f.number != 4 || f.type != wire::kBytes) continue;
    std::string_view name, value;
    wire::Reader entry(f.bytes);
    for (wire::Field e; entry.next(&e);) (e.number == 1 ? name : value) = e.bytes;
    if (!name.starts_with("verge.")) continue;
    Said said;
    wire::Reader choice(value);
    for (wire::Field e; choice.next(&e);) {
      if (e.number == 3) said.text = e.bytes;
      else if (e.number == 4) said.number = std::bit_cast<double>(e.value);
      else said.number = static_cast<double>(static_cast<int64_t>(e.value));
    }
    take(a, name, said);
  }
}

// The JSON in front of an answer, or all of it.
std::string_view json_of(const Exchange& e) { return e.json_bytes ? e.answer.view().substr(0, std::min(e.json_bytes, e.answer.size())) : e.answer.view(); }

// Finds `"key":` and returns what follows it. Keys are looked for as text: "verge." stands nowhere else.
std::string_view after_key(std::string_view json, std::string_view key) {
  for (size_t at = 0; (at = json.find(key, at)) != std::string_view::npos; at += key.size()) {
    if (at == 0 || json[at - 1] != '"' || at + key.size() >= json.size() || json[at + key.size()] != '"') continue;
    std::string_view rest = json.substr(at + key.size() + 1);
    size_t i = 0;
    while (i < rest.size() && (rest[i] == ' ' || rest[i] == ':')) ++i;
    return rest.substr(i);
  }
  return {};
}

void read_rest(std::string_view json, Answer& a) {
  if (json.find("\"verge.") == std::string_view::npos) return;
  constexpr std::string_view kNames[] = {"verge.variant", "verge.exit", "verge.expected_accuracy", "verge.predicted_ms", "verge.measured_ms", "verge.energy_mj", "verge.energy_source"};
  for (const std::string_view name : kNames) {
    const std::string_view v = after_key(json, name);
    if (v.empty()) continue;
    Said said;
    if (v.front() == '"') said.text = v.substr(1, v.find('"', 1) - 1);
    else std::from_chars(v.data(), v.data() + v.size(), said.number);
    take(a, name, said);
  }
}

// One output of an answer: its type, and its values raw or as protobuf's typed contents.
struct OutputView {
  DType dtype = DType::kInvalid;
  std::string_view raw;       // dense
  std::string_view contents;  // InferTensorContents
};

bool find_output(std::string_view message, std::string_view name, OutputView* out) {
  wire::Reader r(message);
  int index = -1, position = 0, raw = 0;
  for (wire::Field f; r.next(&f);) {
    if (f.number == 5 && f.type == wire::kBytes) {
      std::string_view own, type, contents;
      wire::Reader o(f.bytes);
      for (wire::Field e; o.next(&e);) {
        if (e.number == 1) own = e.bytes;
        else if (e.number == 2) type = e.bytes;
        else if (e.number == 5) contents = e.bytes;
      }
      if (index < 0 && (name.empty() || own == name)) {
        index = position;
        out->dtype = dtype_from_name(type);
        out->contents = contents;
      }
      ++position;
    } else if (f.number == 6 && f.type == wire::kBytes) {
      if (index >= 0 && raw == index) out->raw = f.bytes;
      ++raw;
    }
  }
  return index >= 0 && (!out->raw.empty() || !out->contents.empty());
}

// Calls fn(value) for each value.
template <typename F>
void each_value(const OutputView& o, F fn) {
  if (!o.raw.empty()) {
    const size_t size = dtype_size(o.dtype);
    if (!size) return;
    const auto n = static_cast<int64_t>(o.raw.size() / size);
    const TensorView v{o.dtype, Shape{n}, std::as_bytes(std::span(o.raw.data(), o.raw.size()))};
    for (int64_t i = 0; i < n; ++i) fn(element_as_double(v, static_cast<size_t>(i)));
    return;
  }
  wire::Reader r(o.contents);
  for (wire::Field f; r.next(&f);) {
    if (f.type == wire::kBytes && (f.number == 6 || f.number == 7)) {
      const size_t size = f.number == 6 ? 4 : 8;
      for (size_t at = 0; at + size <= f.bytes.size(); at += size) {
        float single;
        double v;
        if (size == 4) std::memcpy(&single, f.bytes.data() + at, 4), v = static_cast<double>(single);
        else std::memcpy(&v, f.bytes.data() + at, 8);
        fn(v);
      }
    } else if (f.type == wire::kBytes && f.number <= 5) {
      wire::Reader packed(f.bytes);
      for (uint64_t v; !packed.at_end() && packed.varint(&v);) fn(static_cast<double>(f.number == 2 ? static_cast<int64_t>(static_cast<int32_t>(v)) : static_cast<int64_t>(v)));
    } else if (f.type == wire::kVarint) {
      fn(static_cast<double>(static_cast<int64_t>(f.value)));
    }
  }
}

// The numbers of a JSON array, however deep, as text.
template <typename F>
void each_number(std::string_view array, F fn) {
  int depth = 0;
  for (size_t i = 0; i < array.size();) {
    const char c = array[i];
    if (c == '[') ++depth, ++i;
    else if (c == ']') {
      if (--depth == 0) return;
      ++i;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      double v = 0;
      const char* end = std::from_chars(array.data() + i, array.data() + array.size(), v).ptr;
      fn(v);
      i = std::max<size_t>(static_cast<size_t>(end - array.data()), i + 1);
    } else {
      ++i;
    }
  }
}

template <typename F>
bool values_of(Protocol p, const Exchange& e, std::string_view output, DType* dtype, F fn) {
  if (p == Protocol::kGrpc) {
    OutputView o;
    if (!find_output(unframed(e), output, &o)) return false;
    *dtype = o.dtype;
    each_value(o, fn);
    return true;
  }
  // Only the wanted output was asked for: what there is, is it.
  const std::string_view json = json_of(e);
  std::string_view type = after_key(json, "datatype");
  if (type.empty() || type.front() != '"') return false;
  type = type.substr(1, type.find('"', 1) - 1);
  *dtype = dtype_from_name(type);
  if (e.json_bytes && e.json_bytes < e.answer.size()) {
    each_value({*dtype, e.answer.view().substr(e.json_bytes), {}}, fn);
    return true;
  }
  const std::string_view data = after_key(json, "data");
  if (data.empty()) return false;
  each_number(data, fn);
  return true;
}

}  // namespace

std::string_view protocol_name(Protocol p) { return p == Protocol::kGrpc ? "grpc" : p == Protocol::kRest ? "rest" : "rest-json"; }

RequestBody make_request(Protocol p, const TenantSpec& t, const ModelInfo& m, const Sample& sample, const std::string& output, bool timeout) {
  return p == Protocol::kGrpc ? grpc_request(t, m, sample, output) : rest_request(t, m, sample, output, timeout, p == Protocol::kRest);
}

void patch_timeout(RequestBody& body, uint64_t us) {
  if (!body.timeout_at) return;
  char* at = body.bytes.data() + body.timeout_at;
  char* end = std::to_chars(at, at + 10, std::min<uint64_t>(us, 9'999'999'999)).ptr;
  std::memset(end, ' ', static_cast<size_t>(at + 10 - end));
}

Form make_form(Protocol p, const TenantSpec& t, size_t json_bytes, const Headers& headers) {
  Form f;
  f.fields = headers;
  if (p == Protocol::kGrpc) {
    f.path = "/inference.GRPCInferenceService/ModelInfer";
    return f;
  }
  f.path = "/v2/models/" + t.model + (t.version.empty() ? "" : "/versions/" + t.version) + "/infer";
  if (json_bytes) f.fields.emplace_back("inference-header-content-length", std::to_string(json_bytes));
  f.fields.emplace_back("content-type", json_bytes ? "application/octet-stream" : "application/json");
  return f;
}

Answer read_answer(Protocol p, const Exchange& e) {
  Answer a;
  if (e.broken) {
    a.code = e.broken;
    return a;
  }
  if (p == Protocol::kGrpc) {
    if (e.http_status != 200) {
      a.code = http_text(e.http_status);
    } else if (e.grpc_status != 0) {
      a.code = e.grpc_status < 0 ? "no grpc-status" : e.grpc_status < 17 ? code_name(static_cast<Code>(e.grpc_status)) : "UNKNOWN";
    } else {
      a.ok = true;
      read_grpc(unframed(e), a);
    }
    return a;
  }
  a.ok = e.http_status == 200;
  if (a.ok) read_rest(json_of(e), a);
  else a.code = http_text(e.http_status);
  return a;
}

std::string error_text(Protocol p, const Exchange& e) {
  if (e.broken) return e.broken;
  std::string out(read_answer(p, e).code);
  std::string text;
  if (p == Protocol::kGrpc) {
    const std::string_view m = e.message.view();
    for (size_t i = 0; i < m.size(); ++i) {
      int v = 0;
      if (m[i] == '%' && i + 2 < m.size() && std::from_chars(m.data() + i + 1, m.data() + i + 3, v, 16).ptr == m.data() + i + 3) {
        text += static_cast<char>(v);
        i += 2;
      } else {
        text += m[i];
      }
    }
  } else {
    const Json j = Json::parse(e.answer.view(), nullptr, false);
    if (j.is_object() && j.contains("error") && j["error"].is_string()) text = j["error"].get<std::string>();
  }
  return text.empty() ? out : out + ": " + text.substr(0, 500);
}

int count_right(Protocol p, const Exchange& e, std::string_view output, const int64_t* labels, int64_t samples) {
  DType dtype = DType::kInvalid;
  int64_t values = 0;
  if (!values_of(p, e, output, &dtype, [&](double) { ++values; }) || values == 0 || values % samples) return -1;
  const int64_t each = values / samples;
  const bool whole = dtype != DType::kFp16 && dtype != DType::kFp32 && dtype != DType::kFp64 && dtype != DType::kBf16;
  int64_t at = 0, best = 0;
  double largest = 0;
  int right = 0;
  values_of(p, e, output, &dtype, [&](double v) {
    const int64_t row = at / each, column = at % each;
    ++at;
    if (each == 1) {
      // A server may say whole numbers of any size.
      right += whole ? v == static_cast<double>(labels[row]) : static_cast<int64_t>(v >= 0.5) == labels[row];
      return;
    }
    if (column == 0 || v > largest || std::isnan(largest)) {
      largest = v;
      best = column;
    }
    if (column + 1 == each) right += best == labels[row];
  });
  return right;
}

}  // namespace verge::bench
