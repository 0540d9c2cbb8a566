// The inference request and answer of the REST protocol: JSON, with tensors in JSON or as binary data behind it.
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "net/answer_parameters.h"
#include "net/json_pull.h"
#include "net/json_write.h"
#include "net/service.h"
#include "net/shared_tensors.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

using Type = JsonPull::Type;

Status tensor_error(std::string_view name, const std::string& what) {
  return invalid_argument("tensor '" + std::string(name) + "': " + what);
}

template <typename T>
bool put(std::byte* at, T v) {
  std::memcpy(at, &v, sizeof v);
  return true;
}

template <typename T>
bool put_integer(std::string_view token, std::byte* at) {
  T v;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), v);
  return error == std::errc() && end == token.data() + token.size() && put(at, v);
}

template <typename T>
bool put_float(std::string_view token, std::byte* at) {
  if (token.back() == 'N') return put(at, std::numeric_limits<T>::quiet_NaN());
  if (token.back() == 'y') return put(at, token.front() == '-' ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity());
  T v;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), v);
  if (error == std::errc::result_out_of_range) {
    // Too small is zero; too large does not fit.
    double wide = 0;
    const auto second = std::from_chars(token.data(), token.data() + token.size(), wide);
    const size_t e = token.find_first_of("eE");
    const bool tiny = second.ec == std::errc() ? std::fabs(wide) < 1 : e != std::string_view::npos && token[e + 1] == '-';
    return tiny && put(at, token.front() == '-' ? T{-0.0} : T{0});
  }
  return error == std::errc() && end == token.data() + token.size() && put(at, v);
}

bool put_number(DType t, std::string_view token, std::byte* at) {
  switch (t) {
    case DType::kBool: return (token == "0" || token == "1") && put(at, static_cast<uint8_t>(token == "1"));
    case DType::kUint8: return put_integer<uint8_t>(token, at);
    case DType::kUint16: return put_integer<uint16_t>(token, at);
    case DType::kUint32: return put_integer<uint32_t>(token, at);
    case DType::kUint64: return put_integer<uint64_t>(token, at);
    case DType::kInt8: return put_integer<int8_t>(token, at);
    case DType::kInt16: return put_integer<int16_t>(token, at);
    case DType::kInt32: return put_integer<int32_t>(token, at);
    case DType::kInt64: return put_integer<int64_t>(token, at);
    case DType::kFp32: return put_float<float>(token, at);
    case DType::kFp64: return put_float<double>(token, at);
    default: return false;
  }
}

// Reads one request. The text is walked once; only a tensor whose data stand before its type is walked twice.
class RequestReader {
 public:
  RequestReader(Call* call, std::string_view text, std::string_view binary, CopyCount* copies)
      : call_(call), request_(call->request), options_(call->options), json_(text), text_end_(text.data() + text.size()), binary_(binary), copies_(copies) {}

  Status read() {
    std::string_view key;
    bool inputs = false, outputs = false, parameters = false, id = false;
    if (json_.peek() != Type::kObject) return json_.failed() ? syntax() : invalid_argument("the request is not a JSON object");
    json_.enter_object();
    while (json_.next_key(&key)) {
      bool* seen = key == "inputs" ? &inputs : key == "outputs" ? &outputs : key == "parameters" ? &parameters : key == "id" ? &id : nullptr;
      if (!seen) {
        if (!json_.skip()) return syntax();
        continue;
      }
      if (std::exchange(*seen, true)) return invalid_argument("'" + std::string(key) + "' occurs twice");
      if (key == "inputs") {
        VERGE_RETURN_IF_ERROR(read_inputs());
      } else if (key == "outputs") {
        VERGE_RETURN_IF_ERROR(read_outputs());
      } else if (key == "parameters") {
        VERGE_RETURN_IF_ERROR(read_parameters([&](std::string_view name, const ParameterValue& value) {
          return set_request_parameter(name, value, &request_, &options_);
        }));
      } else {
        VERGE_RETURN_IF_ERROR(text_value("id", &request_.id));
      }
    }
    if (!json_.at_end()) return syntax();
    if (!inputs) return invalid_argument("the request has no 'inputs'");
    if (!binary_.empty())
      return invalid_argument(std::to_string(binary_.size()) + " bytes of binary data belong to no input; is binary_data_size right?");
    for (const runtime::InputTensor& t : request_.inputs) VERGE_RETURN_IF_ERROR(check_tensor({t.dtype, t.shape, t.data}, t.name));
    bound_deadline(options_, &request_);
    return {};
  }

 private:
  Status syntax() const { return invalid_argument("the request's JSON is malformed: " + json_.error()); }

  // A string, without its escapes.
  Status text_value(std::string_view what, std::string_view* out) {
    const Type type = json_.peek();
    if (json_.failed()) return syntax();
    if (type != Type::kString) return invalid_argument("'" + std::string(what) + "' must be a string");
    bool escaped;
    if (!json_.string(out, &escaped)) return syntax();
    if (!escaped) return {};
    std::byte* room = call_->scratch.allocate(out->size());
    if (!room) return no_memory();
    const size_t n = json_unescape(*out, reinterpret_cast<char*>(room));
    if (n == SIZE_MAX) return invalid_argument("'" + std::string(what) + "' holds half of a surrogate pair");
    *out = {reinterpret_cast<const char*>(room), n};
    return {};
  }

  static Status no_memory() { return resource_exhausted("no receive memory left for the request's tensors; try again"); }

  Status read_shape(Shape* shape) {
    if (json_.peek() != Type::kArray) return json_.failed() ? syntax() : invalid_argument("'shape' must be an array of integers");
    json_.enter_array();
    while (json_.next_element()) {
      std::string_view token;
      if (!json_.number(&token)) return syntax();
      int64_t d = 0;
      const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), d);
      if (error != std::errc() || end != token.data() + token.size() || d < 0)
        return invalid_argument("'" + std::string(token.substr(0, 32)) + "' is no dimension of a shape");
      if (!shape->push_back(d)) return invalid_argument("a shape has more than " + std::to_string(kMaxRank) + " dimensions");
    }
    return json_.failed() ? syntax() : Status();
  }

  Status read_inputs() {
    if (json_.peek() != Type::kArray) return json_.failed() ? syntax() : invalid_argument("'inputs' must be an array");
    json_.enter_array();
    while (json_.next_element()) {
      if (request_.inputs.size() == kMaxTensors) return invalid_argument("more than 1024 inputs");
      VERGE_RETURN_IF_ERROR(read_input(&request_.inputs.emplace_back()));
    }
    return json_.failed() ? syntax() : Status();
  }

  Status read_input(runtime::InputTensor* t) {
    if (json_.peek() != Type::kObject) return json_.failed() ? syntax() : invalid_argument("an input must be an object");
    json_.enter_object();
    std::string_view key;
    bool has_shape = false, has_data = false;
    const char* later = nullptr;  // data that stand before the type or the shape
    int64_t binary_size = -1;
    SharedPlace place;
    while (json_.next_key(&key)) {
      if (key == "name") {
        VERGE_RETURN_IF_ERROR(text_value("name", &t->name));
      } else if (key == "datatype") {
        std::string_view name;
        VERGE_RETURN_IF_ERROR(text_value("datatype", &name));
        t->dtype = dtype_from_name(name);
        if (t->dtype == DType::kInvalid) return tensor_error(t->name, "unknown datatype '" + std::string(name.substr(0, 32)) + "'");
      } else if (key == "shape") {
        if (std::exchange(has_shape, true)) return tensor_error(t->name, "'shape' occurs twice");
        VERGE_RETURN_IF_ERROR(read_shape(&t->shape));
      } else if (key == "parameters") {
        VERGE_RETURN_IF_ERROR(read_input_parameters(t->name, &binary_size, &place));
      } else if (key == "data") {
        if (std::exchange(has_data, true)) return tensor_error(t->name, "'data' occurs twice");
        if (t->dtype == DType::kInvalid || !has_shape) {
          json_.peek();
          later = json_.position();
          if (!json_.skip()) return syntax();
        } else {
          VERGE_RETURN_IF_ERROR(read_data(t));
        }
      } else if (!json_.skip()) {
        return syntax();
      }
    }
    if (json_.failed()) return syntax();
    if (t->dtype == DType::kInvalid) return tensor_error(t->name, "has no 'datatype'");
    if (!has_shape) return tensor_error(t->name, "has no 'shape'");
    if (!place.region.empty()) {
      if (has_data || binary_size >= 0) return tensor_error(t->name, "has both data and a place in shared memory");
      return read_shared_input(options_, place, call_->scratch, t, copies_);
    }
    if (has_data && binary_size >= 0) return tensor_error(t->name, "has both 'data' and 'binary_data_size'");
    if (binary_size >= 0) return take_binary(t, static_cast<uint64_t>(binary_size));
    if (!has_data) return tensor_error(t->name, "has neither 'data' nor 'binary_data_size'");
    if (!later) return {};
    const char* here = json_.position();
    json_.rewind(later);
    VERGE_RETURN_IF_ERROR(read_data(t));
    json_.rewind(here);
    return {};
  }

  Status take_binary(runtime::InputTensor* t, uint64_t size) {
    if (size > binary_.size())
      return tensor_error(t->name, "binary_data_size is " + std::to_string(size) + ", but " + std::to_string(binary_.size()) +
                                       " bytes are left behind the JSON");
    t->data = {reinterpret_cast<const std::byte*>(binary_.data()), static_cast<size_t>(size)};
    binary_.remove_prefix(static_cast<size_t>(size));
    const size_t element = t->dtype == DType::kBytes ? 1 : dtype_size(t->dtype);
    if (reinterpret_cast<uintptr_t>(t->data.data()) % element == 0) return {};
    std::byte* out = call_->scratch.allocate(size);
    if (!out) return no_memory();
    std::memcpy(out, t->data.data(), size);
    t->data = {out, static_cast<size_t>(size)};
    count(size);
    return {};
  }

  void count(uint64_t bytes) {
    ++copies_->tensors;
    copies_->bytes += bytes;
  }

  Status read_data(runtime::InputTensor* t) {
    if (t->dtype == DType::kFp16 || t->dtype == DType::kBf16)
      return tensor_error(t->name, std::string(dtype_name(t->dtype)) + " cannot be sent in JSON; send binary data");
    const int64_t n = t->shape.elements();
    // Each element takes a character and a comma at least.
    if (n < 0 || static_cast<uint64_t>(n) > static_cast<uint64_t>(text_end_ - json_.position()))
      return tensor_error(t->name, "shape " + t->shape.to_string() + " needs more elements than the data have");
    const auto elements = static_cast<uint64_t>(n);
    if (json_.peek() != Type::kArray) return json_.failed() ? syntax() : tensor_error(t->name, "'data' must be an array");
    size_t room = elements * dtype_size(t->dtype);
    if (t->dtype == DType::kBytes) {
      // In the text a string takes its quotes and a comma beside its characters, as a tensor four bytes.
      const char* start = json_.position();
      if (!json_.skip()) return syntax();
      room = static_cast<size_t>(json_.position() - start) + 2 * elements + 4;
      json_.rewind(start);
    }
    std::byte* out = call_->scratch.allocate(room);
    if (!out) return no_memory();
    uint64_t got = 0;
    std::byte* at = out;
    VERGE_RETURN_IF_ERROR(read_elements(t, elements, &got, &at));
    if (got != elements)
      return tensor_error(t->name, "shape " + t->shape.to_string() + " needs " + std::to_string(elements) + " elements, got " +
                                       std::to_string(got));
    t->data = {out, static_cast<size_t>(at - out)};
    count(t->data.size());
    return {};
  }

  // One array, nested ones in it included.
  Status read_elements(runtime::InputTensor* t, uint64_t limit, uint64_t* got, std::byte** at) {
    const size_t size = dtype_size(t->dtype);
    if (!json_.enter_array()) return syntax();
    while (json_.next_element()) {
      const Type type = json_.peek();
      if (type == Type::kArray) {
        VERGE_RETURN_IF_ERROR(read_elements(t, limit, got, at));
        continue;
      }
      if (*got == limit) return tensor_error(t->name, "shape " + t->shape.to_string() + " needs fewer elements than the data have");
      std::string_view token;
      bool flag, fits = false;
      switch (type) {
        case Type::kNumber:
          if (!json_.number(&token)) return syntax();
          fits = put_number(t->dtype, token, *at);
          *at += size;
          break;
        case Type::kBool:
          if (!json_.boolean(&flag)) return syntax();
          token = flag ? "true" : "false";
          fits = t->dtype == DType::kBool && put(*at, static_cast<uint8_t>(flag));
          *at += size;
          break;
        case Type::kString: {
          if (!json_.string(&token, &flag)) return syntax();
          if (t->dtype != DType::kBytes) break;
          char* out = reinterpret_cast<char*>(*at) + 4;
          size_t n = token.size();
          if (flag)
            n = json_unescape(token, out);
          else if (n)
            std::memcpy(out, token.data(), n);
          fits = n <= UINT32_MAX && put(*at, static_cast<uint32_t>(n));
          if (fits) *at += 4 + n;
          break;
        }
        case Type::kNone: return syntax();
        default: break;
      }
      if (!fits)
        return tensor_error(t->name, "element " + std::to_string(*got) + " ('" + std::string(token.substr(0, 32)) + "') is no " +
                                         std::string(dtype_name(t->dtype)));
      ++*got;
    }
    return json_.failed() ? syntax() : Status();
  }

  Status read_input_parameters(std::string_view tensor, int64_t* binary_size, SharedPlace* place) {
    return read_parameters([&](std::string_view name, const ParameterValue& value) {
      if (name != "binary_data_size") return set_place_parameter(name, value, place);
      uint64_t size = 0;
      if (!value.natural(&size) || size > INT64_MAX) return tensor_error(tensor, "'binary_data_size' is no size");
      *binary_size = static_cast<int64_t>(size);
      return Status();
    });
  }

  // Any value as a parameter's; objects, arrays and null are none.
  Status read_value(std::string_view key, ParameterValue* out) {
    using Kind = ParameterValue::Kind;
    *out = {};
    std::string_view token;
    switch (json_.peek()) {
      case Type::kBool:
        out->kind = Kind::kBool;
        if (!json_.boolean(&out->flag)) return syntax();
        return {};
      case Type::kNumber: {
        if (!json_.number(&token)) return syntax();
        out->kind = token.front() == '-' ? Kind::kInt : Kind::kUint;
        const char* end = token.data() + token.size();
        int64_t negative = 0;
        const auto [at, error] = token.front() == '-' ? std::from_chars(token.data(), end, negative) : std::from_chars(token.data(), end, out->bits);
        if (token.front() == '-') out->bits = static_cast<uint64_t>(negative);
        if (error != std::errc() || at != end) {
          out->kind = Kind::kDouble;
          double v = 0;
          if (!put_float<double>(token, reinterpret_cast<std::byte*>(&v))) v = (token.front() == '-' ? -1 : 1) * std::numeric_limits<double>::infinity();
          out->bits = std::bit_cast<uint64_t>(v);
        }
        return {};
      }
      case Type::kString:
        out->kind = Kind::kString;
        return text_value(key, &out->text);
      default: return json_.skip() ? Status() : syntax();
    }
  }

  // Calls set(name, value) for each parameter of an object.
  template <typename Fn>
  Status read_parameters(Fn set) {
    if (json_.peek() != Type::kObject) return json_.failed() ? syntax() : invalid_argument("'parameters' must be an object");
    json_.enter_object();
    std::string_view key;
    ParameterValue value;
    while (json_.next_key(&key)) {
      VERGE_RETURN_IF_ERROR(read_value(key, &value));
      VERGE_RETURN_IF_ERROR(set(key, value));
    }
    return json_.failed() ? syntax() : Status();
  }

  Status read_outputs() {
    if (json_.peek() != Type::kArray) return json_.failed() ? syntax() : invalid_argument("'outputs' must be an array");
    json_.enter_array();
    while (json_.next_element()) {
      if (options_.wanted.size() == kMaxTensors) return invalid_argument("more than 1024 outputs");
      if (json_.peek() != Type::kObject) return json_.failed() ? syntax() : invalid_argument("an output must be an object");
      json_.enter_object();
      WantedOutput& wanted = options_.wanted.emplace_back();
      std::string_view key;
      while (json_.next_key(&key)) {
        if (key == "name") {
          VERGE_RETURN_IF_ERROR(text_value("name", &wanted.name));
        } else if (key == "parameters") {
          VERGE_RETURN_IF_ERROR(read_parameters([&](std::string_view name, const ParameterValue& value) {
            bool known = false;
            return set_output_parameter(name, value, &wanted, &known);
          }));
        } else if (!json_.skip()) {
          return syntax();
        }
      }
      if (json_.failed()) return syntax();
      if (!wanted.place.region.empty()) VERGE_RETURN_IF_ERROR(find_shared_output(options_, &wanted));
      request_.wanted_outputs.push_back(wanted.name);
    }
    return json_.failed() ? syntax() : Status();
  }

  Call* call_;
  runtime::Request& request_;
  InferOptions& options_;
  JsonPull json_;
  const char* text_end_;
  std::string_view binary_;
  CopyCount* copies_;
};

template <typename T>
void write_elements(const runtime::OutputTensor& t, ByteBuffer* out) {
  const std::byte* p = t.data.data();
  for (size_t i = 0; i < t.data.size() / sizeof(T); ++i) {
    T v;
    std::memcpy(&v, p + i * sizeof(T), sizeof v);
    if (i) out->push_back(',');
    json_number(v, out);
  }
}

Status write_strings(const runtime::OutputTensor& t, ByteBuffer* out) {
  const auto* p = reinterpret_cast<const char*>(t.data.data());
  size_t left = t.data.size();
  for (bool first = true; left >= 4; first = false) {
    uint32_t n;
    std::memcpy(&n, p, 4);
    if (n > left - 4) break;
    const std::string_view s(p + 4, n);
    if (!valid_utf8(s)) return tensor_error(t.name, "holds a string that is not UTF-8; ask for binary data");
    if (!first) out->push_back(',');
    json_string(s, out);
    p += 4 + size_t{n};
    left -= 4 + size_t{n};
  }
  return {};
}

Status write_data(const runtime::OutputTensor& t, ByteBuffer* out) {
  switch (t.dtype) {
    case DType::kBool:
      for (size_t i = 0; i < t.data.size(); ++i) {
        if (i) out->push_back(',');
        out->append(t.data[i] != std::byte{0} ? "true" : "false");
      }
      return {};
    case DType::kUint8: write_elements<uint8_t>(t, out); return {};
    case DType::kUint16: write_elements<uint16_t>(t, out); return {};
    case DType::kUint32: write_elements<uint32_t>(t, out); return {};
    case DType::kUint64: write_elements<uint64_t>(t, out); return {};
    case DType::kInt8: write_elements<int8_t>(t, out); return {};
    case DType::kInt16: write_elements<int16_t>(t, out); return {};
    case DType::kInt32: write_elements<int32_t>(t, out); return {};
    case DType::kInt64: write_elements<int64_t>(t, out); return {};
    case DType::kFp32: write_elements<float>(t, out); return {};
    case DType::kFp64: write_elements<double>(t, out); return {};
    case DType::kBytes: return write_strings(t, out);
    default: return tensor_error(t.name, std::string(dtype_name(t.dtype)) + " cannot be sent in JSON; ask for binary data");
  }
}

bool is_binary(const Call& call, std::string_view name) {
  const WantedOutput* wanted = call.options.find(name);
  if (wanted && wanted->region) return false;
  return wanted && wanted->binary_given ? wanted->binary : call.options.binary_outputs;
}

}  // namespace

Status read_rest_infer(Call* call, CopyCount* copies) {
  const std::string_view body = call->body.text();
  std::string_view text = body, binary;
  if (call->json_bytes >= 0) {
    if (static_cast<uint64_t>(call->json_bytes) > body.size())
      return invalid_argument("Inference-Header-Content-Length is " + std::to_string(call->json_bytes) + ", the body has " +
                              std::to_string(body.size()) + " bytes");
    text = body.substr(0, static_cast<size_t>(call->json_bytes));
    binary = body.substr(text.size());
  }
  if (!valid_utf8(text))
    return invalid_argument("the request's JSON is not UTF-8; where binary data follow it, Inference-Header-Content-Length is needed");
  return RequestReader(call, text, binary, copies).read();
}

Status write_rest_infer(Call* call) {
  const runtime::Request& request = call->request;
  Reply& reply = call->reply;
  ByteBuffer& out = reply.text;
  out.append("{\"model_name\":");
  json_string(request.answered_model, &out);
  out.append(",\"model_version\":\"");
  json_number(request.answered_version, &out);
  out.push_back('"');
  if (!request.id.empty()) {
    out.append(",\"id\":");
    json_string(request.id, &out);
  }
  bool parameters = false;
  const auto key = [&](std::string_view name) {
    out.append(std::exchange(parameters, true) ? ",\"" : ",\"parameters\":{\"");
    out.append(name);
    out.append("\":");
  };
  each_answer_parameter(
      request, [&](std::string_view name, std::string_view value) { key(name), json_string(value, &out); },
      [&](std::string_view name, double value) { key(name), json_number(value, &out); });
  if (parameters) out.push_back('}');
  out.append(",\"outputs\":[");
  bool first = true, any_binary = false;
  for (const runtime::OutputTensor& t : request.outputs) {
    out.append(first ? "{\"name\":" : ",{\"name\":");
    first = false;
    json_string(t.name, &out);
    out.append(",\"datatype\":\"");
    out.append(dtype_name(t.dtype));
    out.append("\",\"shape\":[");
    for (int i = 0; i < t.shape.rank(); ++i) {
      if (i) out.push_back(',');
      json_number(t.shape[i], &out);
    }
    if (const WantedOutput* wanted = call->options.find(t.name); wanted && wanted->region) {
      out.append("],\"parameters\":{\"shared_memory_region\":");
      json_string(wanted->place.region, &out);
      out.append(",\"shared_memory_byte_size\":");
      json_number(wanted->written, &out);
      if (wanted->place.offset) {
        out.append(",\"shared_memory_offset\":");
        json_number(wanted->place.offset, &out);
      }
      out.append("}}");
    } else if (is_binary(*call, t.name)) {
      any_binary = true;
      out.append("],\"parameters\":{\"binary_data_size\":");
      json_number(t.data.size(), &out);
      out.append("}}");
    } else {
      out.append("],\"data\":[");
      VERGE_RETURN_IF_ERROR(write_data(t, &out));
      out.append("]}");
    }
  }
  out.append("]}");
  reply.content_type = any_binary ? "application/octet-stream" : "application/json";
  if (any_binary) reply.json_bytes = static_cast<int64_t>(out.size());
  SegmentWriter body(out, reply.segments, 0);
  if (any_binary)
    for (const runtime::OutputTensor& t : request.outputs)
      if (is_binary(*call, t.name)) body.add_view(t.data.data(), t.data.size());
  return {};
}

}  // namespace verge::net
