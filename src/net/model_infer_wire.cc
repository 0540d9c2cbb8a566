#include "net/model_infer_wire.h"

#include <charconv>
#include <limits>

#include "net/answer_parameters.h"
#include "net/shared_tensors.h"
#include "net/utf8.h"
#include "net/wire.h"

namespace verge::net {
namespace {

using wire::Field;
using wire::Reader;

Status malformed(std::string_view what) {
  return invalid_argument("request message: " + std::string(what) + " is not a well-formed protobuf message");
}
Status not_utf8(std::string_view what) { return invalid_argument("request message: " + std::string(what) + " is not UTF-8"); }
Status out_of_memory(std::string_view tensor, uint64_t bytes) {
  return resource_exhausted("tensor '" + std::string(tensor) + "': no receive memory left for " + std::to_string(bytes) +
                            " decoded bytes; send raw_input_contents, or try again");
}

Status check_utf8(std::string_view s, std::string_view what) { return valid_utf8(s) ? Status() : not_utf8(what); }

struct Parameter {
  std::string_view key;
  ParameterValue value;
};

// The value of an InferParameter; of several, the last, as in any oneof. Returns whether the field is one of them.
bool take_value(const Field& v, ParameterValue* out) {
  using Kind = ParameterValue::Kind;
  Kind kind;
  if (v.type == wire::kVarint && (v.number == 1 || v.number == 2 || v.number == 5))
    kind = v.number == 1 ? Kind::kBool : v.number == 2 ? Kind::kInt : Kind::kUint;
  else if (v.type == wire::kBytes && v.number == 3)
    kind = Kind::kString;
  else if (v.type == wire::kFixed64 && v.number == 4)
    kind = Kind::kDouble;
  else
    return false;
  *out = {kind, v.value != 0, v.value, kind == Kind::kString ? v.bytes : std::string_view()};
  return true;
}

// One entry of a map<string, InferParameter>.
Status read_parameter(std::string_view bytes, Parameter* out) {
  Reader entry(bytes);
  Field f;
  while (entry.next(&f)) {
    if (f.number == 1 && f.type == wire::kBytes) {
      out->key = f.bytes;
      VERGE_RETURN_IF_ERROR(check_utf8(out->key, "a parameter's name"));
    } else if (f.number == 2 && f.type == wire::kBytes) {
      Reader value(f.bytes);
      Field v;
      while (value.next(&v)) {
        if (take_value(v, &out->value) && v.number == 3) VERGE_RETURN_IF_ERROR(check_utf8(v.bytes, "a parameter's value"));
      }
      if (!value.ok()) return malformed("a parameter's value");
    }
  }
  return entry.ok() ? Status() : malformed("a parameter");
}

// The field of InferTensorContents that holds elements of a type; 0: only raw_input_contents can.
uint32_t contents_field(DType t) {
  switch (t) {
    case DType::kBool: return 1;
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32: return 2;
    case DType::kInt64: return 3;
    case DType::kUint8:
    case DType::kUint16:
    case DType::kUint32: return 4;
    case DType::kUint64: return 5;
    case DType::kFp32: return 6;
    case DType::kFp64: return 7;
    case DType::kBytes: return 8;
    default: return 0;
  }
}

// Puts one varint as an element of type `t`; false where it does not fit.
bool put_integer(DType t, uint64_t v, std::byte* at) {
  auto put = [at](auto x) {
    std::memcpy(at, &x, sizeof x);
    return true;
  };
  // int32 fields travel sign-extended to 64 bits and are cut to 32, uint32 ones cut alike, as protobuf does.
  const auto i = static_cast<int32_t>(static_cast<uint32_t>(v));
  const auto u = static_cast<uint32_t>(v);
  switch (t) {
    case DType::kBool: return put(static_cast<uint8_t>(v != 0));
    case DType::kInt8: return i == static_cast<int8_t>(i) && put(static_cast<int8_t>(i));
    case DType::kInt16: return i == static_cast<int16_t>(i) && put(static_cast<int16_t>(i));
    case DType::kInt32: return put(i);
    case DType::kInt64: return put(static_cast<int64_t>(v));
    case DType::kUint8: return u == static_cast<uint8_t>(u) && put(static_cast<uint8_t>(u));
    case DType::kUint16: return u == static_cast<uint16_t>(u) && put(static_cast<uint16_t>(u));
    case DType::kUint32: return put(u);
    case DType::kUint64: return put(v);
    default: return false;
  }
}

// Whether protobuf takes a field of InferTensorContents that is not the tensor's own: 1 to 5 hold varints, 6 floats, 7 doubles, 8 strings.
bool is_whole(const Field& f) {
  if (f.type != wire::kBytes || f.number > 7) return true;
  if (f.number == 6) return f.bytes.size() % 4 == 0;
  if (f.number == 7) return f.bytes.size() % 8 == 0;
  Reader packed(f.bytes);
  for (uint64_t v; !packed.at_end();)
    if (!packed.varint(&v)) return false;
  return true;
}

// Calls fn(Field) for each field `number` of every `contents` (5) in the bytes of an input. Parts of a message that came in several pieces
// follow each other, as protobuf merges them.
template <typename Fn>
Status for_each_content(std::string_view input, uint32_t number, Fn fn) {
  Reader reader(input);
  Field f;
  while (reader.next(&f)) {
    if (f.number != 5 || f.type != wire::kBytes) continue;
    Reader contents(f.bytes);
    Field c;
    while (contents.next(&c)) {
      if (c.number == number) {
        VERGE_RETURN_IF_ERROR(fn(c));
      } else if (!is_whole(c)) {
        return malformed("a tensor's contents");
      }
    }
    if (!contents.ok()) return malformed("a tensor's contents");
  }
  return {};
}

Status wrong_count(std::string_view name, const Shape& shape, uint64_t got) {
  return invalid_argument("tensor '" + std::string(name) + "': shape " + shape.to_string() + " needs " + std::to_string(shape.elements()) +
                          " elements, got " + std::to_string(got));
}

Status decode_fixed(std::string_view bytes, runtime::InputTensor* t, uint64_t elements, Scratch& scratch, CopyCount* copies) {
  const uint32_t number = contents_field(t->dtype);
  const size_t size = dtype_size(t->dtype);
  const auto single = size == 4 ? wire::kFixed32 : wire::kFixed64;
  uint64_t total = 0;
  int pieces = 0;
  std::string_view only;
  VERGE_RETURN_IF_ERROR(for_each_content(bytes, number, [&](const Field& c) -> Status {
    if (c.type == wire::kBytes) {
      if (c.bytes.size() % size) return malformed("a tensor's contents");
      only = c.bytes;
      total += c.bytes.size();
      ++pieces;
    } else if (c.type == single) {
      total += size;
      pieces += 2;
    }
    return {};
  }));
  if (total != elements * size) return wrong_count(t->name, t->shape, total / size);
  if (pieces == 1 && reinterpret_cast<uintptr_t>(only.data()) % size == 0) {
    t->data = {reinterpret_cast<const std::byte*>(only.data()), only.size()};
    return {};
  }
  std::byte* out = scratch.allocate(total);
  if (!out) return out_of_memory(t->name, total);
  t->data = {out, static_cast<size_t>(total)};
  ++copies->tensors;
  copies->bytes += total;
  return for_each_content(bytes, number, [&](const Field& c) -> Status {
    const size_t n = c.type == wire::kBytes ? c.bytes.size() : c.type == single ? size : 0;
    if (n) std::memcpy(out, c.type == wire::kBytes ? static_cast<const void*>(c.bytes.data()) : &c.value, n);
    out += n;
    return {};
  });
}

Status decode_varints(std::string_view bytes, runtime::InputTensor* t, uint64_t elements, Scratch& scratch, CopyCount* copies) {
  const size_t size = dtype_size(t->dtype);
  std::byte* out = scratch.allocate(elements * size);
  if (!out) return out_of_memory(t->name, elements * size);
  uint64_t count = 0;
  auto one = [&](uint64_t v) -> Status {
    if (count < elements && !put_integer(t->dtype, v, out + count * size))
      return invalid_argument("tensor '" + std::string(t->name) + "': element " + std::to_string(count) + " does not fit " +
                              std::string(dtype_name(t->dtype)));
    ++count;
    return {};
  };
  VERGE_RETURN_IF_ERROR(for_each_content(bytes, contents_field(t->dtype), [&](const Field& c) -> Status {
    if (c.type == wire::kVarint) return one(c.value);
    if (c.type != wire::kBytes) return {};
    Reader packed(c.bytes);
    while (!packed.at_end()) {
      uint64_t v;
      if (!packed.varint(&v)) return malformed("a tensor's contents");
      if (Status s = one(v); !s.ok()) return s;
    }
    return {};
  }));
  if (count != elements) return wrong_count(t->name, t->shape, count);
  t->data = {out, static_cast<size_t>(elements * size)};
  ++copies->tensors;
  copies->bytes += elements * size;
  return {};
}

Status decode_strings(std::string_view bytes, runtime::InputTensor* t, uint64_t elements, Scratch& scratch, CopyCount* copies) {
  uint64_t total = 0, count = 0;
  VERGE_RETURN_IF_ERROR(for_each_content(bytes, 8, [&](const Field& c) -> Status {
    if (c.type != wire::kBytes) return {};
    if (c.bytes.size() > UINT32_MAX) return invalid_argument("tensor '" + std::string(t->name) + "': a string is longer than 4 GiB");
    total += 4 + c.bytes.size();
    ++count;
    return {};
  }));
  if (count != elements) return wrong_count(t->name, t->shape, count);
  std::byte* out = scratch.allocate(total);
  if (!out) return out_of_memory(t->name, total);
  t->data = {out, static_cast<size_t>(total)};
  ++copies->tensors;
  copies->bytes += total;
  return for_each_content(bytes, 8, [&](const Field& c) -> Status {
    if (c.type != wire::kBytes) return {};
    const auto n = static_cast<uint32_t>(c.bytes.size());
    std::memcpy(out, &n, 4);
    if (n) std::memcpy(out + 4, c.bytes.data(), n);
    out += 4 + n;
    return {};
  });
}

// The typed contents of the input whose message is `bytes`; its name, type and shape are known.
Status decode_contents(std::string_view bytes, runtime::InputTensor* t, Scratch& scratch, CopyCount* copies) {
  if (!contents_field(t->dtype))
    return invalid_argument("tensor '" + std::string(t->name) + "': " + std::string(dtype_name(t->dtype)) +
                            " has no typed contents; send raw_input_contents");
  const int64_t n = t->shape.elements();
  // Every element takes a byte at least, so that what follows is bounded by what was received.
  if (n < 0 || static_cast<uint64_t>(n) > bytes.size()) return wrong_count(t->name, t->shape, 0).prefixed("too few contents");
  const auto elements = static_cast<uint64_t>(n);
  if (t->dtype == DType::kBytes) return decode_strings(bytes, t, elements, scratch, copies);
  if (t->dtype == DType::kFp32 || t->dtype == DType::kFp64) return decode_fixed(bytes, t, elements, scratch, copies);
  return decode_varints(bytes, t, elements, scratch, copies);
}

Status read_input(std::string_view bytes, runtime::InputTensor* t, SharedPlace* place, bool* has_contents) {
  Reader reader(bytes);
  Field f;
  std::string_view datatype;
  auto dimension = [&](uint64_t v) -> Status {
    const auto d = static_cast<int64_t>(v);
    if (d < 0) return invalid_argument("tensor '" + std::string(t->name) + "': dimension " + std::to_string(d) + " is negative");
    if (!t->shape.push_back(d))
      return invalid_argument("tensor '" + std::string(t->name) + "' has more than " + std::to_string(kMaxRank) + " dimensions");
    return {};
  };
  while (reader.next(&f)) {
    if (f.number == 1 && f.type == wire::kBytes) {
      t->name = f.bytes;
      VERGE_RETURN_IF_ERROR(check_utf8(t->name, "an input's name"));
    } else if (f.number == 2 && f.type == wire::kBytes) {
      datatype = f.bytes;
      VERGE_RETURN_IF_ERROR(check_utf8(datatype, "an input's datatype"));
    } else if (f.number == 3 && f.type == wire::kVarint) {
      VERGE_RETURN_IF_ERROR(dimension(f.value));
    } else if (f.number == 3 && f.type == wire::kBytes) {
      Reader packed(f.bytes);
      while (!packed.at_end()) {
        uint64_t v;
        if (!packed.varint(&v)) return malformed("a tensor's shape");
        VERGE_RETURN_IF_ERROR(dimension(v));
      }
    } else if (f.number == 4 && f.type == wire::kBytes) {
      Parameter p;
      VERGE_RETURN_IF_ERROR(read_parameter(f.bytes, &p));
      VERGE_RETURN_IF_ERROR(set_place_parameter(p.key, p.value, place));
    } else if (f.number == 5 && f.type == wire::kBytes) {
      *has_contents = true;
    }
  }
  if (!reader.ok()) return malformed("an input");
  t->dtype = dtype_from_name(datatype);
  if (t->dtype == DType::kInvalid)
    return invalid_argument("input '" + std::string(t->name) + "' has the unknown datatype '" + std::string(datatype) + "'");
  return {};
}

Status read_requested_output(std::string_view bytes, std::string_view* name, InferOptions* options) {
  Reader reader(bytes);
  Field f;
  WantedOutput wanted;
  bool known = false;
  while (reader.next(&f)) {
    if (f.number == 1 && f.type == wire::kBytes) {
      wanted.name = f.bytes;
      VERGE_RETURN_IF_ERROR(check_utf8(wanted.name, "a requested output's name"));
    } else if (f.number == 2 && f.type == wire::kBytes) {
      Parameter p;
      VERGE_RETURN_IF_ERROR(read_parameter(f.bytes, &p));
      VERGE_RETURN_IF_ERROR(set_output_parameter(p.key, p.value, &wanted, &known));
    }
  }
  if (!reader.ok()) return malformed("a requested output");
  *name = wanted.name;
  if (!wanted.place.region.empty()) VERGE_RETURN_IF_ERROR(find_shared_output(*options, &wanted));
  if (known) options->wanted.push_back(std::move(wanted));
  return {};
}

// Raw contents belong, in order, to the inputs that are not in shared memory.
void assign_raw(std::string_view message, const InferOptions& options, runtime::Request* request) {
  Reader reader(message);
  Field f;
  size_t i = 0;
  auto shared = options.shared_inputs.begin();
  while (reader.next(&f)) {
    if (f.number != 7 || f.type != wire::kBytes) continue;
    for (; shared != options.shared_inputs.end() && *shared == i; ++shared) ++i;
    request->inputs[i++].data = {reinterpret_cast<const std::byte*>(f.bytes.data()), f.bytes.size()};
  }
}

// Raw bytes lie where the message put them; engines want elements aligned.
Status align(runtime::InputTensor* t, Scratch& scratch, CopyCount* copies) {
  const size_t size = t->dtype == DType::kBytes ? 1 : dtype_size(t->dtype);
  if (reinterpret_cast<uintptr_t>(t->data.data()) % size == 0) return {};
  std::byte* out = scratch.allocate(t->data.size());
  if (!out) return out_of_memory(t->name, t->data.size());
  std::memcpy(out, t->data.data(), t->data.size());
  t->data = {out, t->data.size()};
  ++copies->tensors;
  copies->bytes += t->data.size();
  return {};
}

}  // namespace

std::byte* Scratch::allocate(size_t bytes) {
  bytes = (bytes + 63) & ~size_t{63};
  if (blocks_.empty() || blocks_.back().capacity - at_ < bytes) {
    const bool charged = !blocks_.empty() || bytes > BlockPool::kSmallest;
    const BlockPool::Block block = pool_.acquire(bytes);
    if (!block.data) return nullptr;
    if (charged && !budget_.take(static_cast<int64_t>(block.capacity))) {
      pool_.release(block);
      return nullptr;
    }
    if (charged) charged_ += static_cast<int64_t>(block.capacity);
    blocks_.push_back(block);
    at_ = 0;
  }
  std::byte* p = blocks_.back().data + at_;
  at_ += bytes;
  return p;
}

void Scratch::clear() {
  while (!blocks_.empty()) {
    pool_.release(blocks_.back());
    blocks_.pop_back();
  }
  if (charged_) budget_.give(std::exchange(charged_, 0));
  at_ = 0;
}

Result<int64_t> parse_model_version(std::string_view text) {
  if (text.empty()) return int64_t{0};
  int64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || v <= 0)
    return invalid_argument("model version '" + std::string(text.substr(0, 64)) + "' is not a positive integer");
  return v;
}

bool read_model_infer_head(std::string_view prefix, runtime::Request* request, InferOptions* options) {
  request->model = {};
  request->bounds = {.deadline_ns = request->bounds.deadline_ns};
  request->sequence = {};
  options->clear();
  Reader reader(prefix);
  Field f;
  std::string_view version;
  size_t parameters = 0;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    switch (f.number) {
      case 1: request->model = f.bytes; break;
      case 2: version = f.bytes; break;
      case 4: {
        Parameter p;
        if (++parameters > kMaxParameters || !read_parameter(f.bytes, &p).ok() || !set_request_parameter(p.key, p.value, request, options).ok()) return false;
        break;
      }
      // Messages are written in the order of their fields: nothing that matters here comes after the first input.
      case 5: {
        const auto parsed = parse_model_version(version);
        if (!parsed.ok() || request->model.empty()) return false;
        request->version = *parsed;
        bound_deadline(*options, request);
        return true;
      }
      default: break;
    }
  }
  return false;
}

Status read_model_infer_request(std::string_view message, Scratch& scratch, runtime::Request* request, InferOptions* options,
                                CopyCount* copies) {
  request->model = {};
  request->id = {};
  request->version = 0;
  request->inputs.clear();
  request->wanted_outputs.clear();
  request->bounds = {.deadline_ns = request->bounds.deadline_ns};
  request->sequence = {};
  options->clear();
  Reader reader(message);
  Field f;
  std::string_view version, with_contents;
  size_t raws = 0, parameters = 0;
  bool raw_came_early = false;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    switch (f.number) {
      // Of a field that occurs more than once the last one counts, but each must be text.
      case 1:
        VERGE_RETURN_IF_ERROR(check_utf8(f.bytes, "the model's name"));
        request->model = f.bytes;
        break;
      case 2:
        VERGE_RETURN_IF_ERROR(check_utf8(f.bytes, "the model's version"));
        version = f.bytes;
        break;
      case 3:
        VERGE_RETURN_IF_ERROR(check_utf8(f.bytes, "the id"));
        request->id = f.bytes;
        break;
      case 4: {
        if (++parameters > kMaxParameters) return invalid_argument("request message: more than 1024 parameters");
        Parameter p;
        VERGE_RETURN_IF_ERROR(read_parameter(f.bytes, &p));
        VERGE_RETURN_IF_ERROR(set_request_parameter(p.key, p.value, request, options));
        break;
      }
      case 5: {
        if (request->inputs.size() == kMaxTensors) return invalid_argument("request message: more than 1024 inputs");
        runtime::InputTensor& t = request->inputs.emplace_back();
        bool has_contents = false;
        SharedPlace place;
        VERGE_RETURN_IF_ERROR(read_input(f.bytes, &t, &place, &has_contents));
        if (!place.region.empty()) {
          if (has_contents) return invalid_argument("input '" + std::string(t.name) + "' has both contents and a place in shared memory");
          VERGE_RETURN_IF_ERROR(read_shared_input(*options, place, scratch, &t, copies));
          options->shared_inputs.push_back(request->inputs.size() - 1);
        } else if (has_contents) {
          VERGE_RETURN_IF_ERROR(decode_contents(f.bytes, &t, scratch, copies));
          with_contents = t.name.empty() ? std::string_view("?") : t.name;
        }
        break;
      }
      case 6: {
        if (request->wanted_outputs.size() == kMaxTensors) return invalid_argument("request message: more than 1024 outputs");
        VERGE_RETURN_IF_ERROR(read_requested_output(f.bytes, &request->wanted_outputs.emplace_back(), options));
        break;
      }
      case 7:
        if (raws < request->inputs.size() && options->shared_inputs.empty())
          request->inputs[raws].data = {reinterpret_cast<const std::byte*>(f.bytes.data()), f.bytes.size()};
        else
          raw_came_early = true;
        ++raws;
        break;
      default: break;
    }
  }
  if (!reader.ok()) return malformed("the request");
  VERGE_ASSIGN(request->version, parse_model_version(version));
  if (raws) {
    if (!with_contents.empty())
      return invalid_argument("contents field must not be specified when using raw_input_contents for '" + std::string(with_contents) +
                              "' for model '" + std::string(request->model) + "'");
    const size_t expected = request->inputs.size() - options->shared_inputs.size();
    if (raws != expected)
      return invalid_argument("expected one raw_input_contents for each of " + std::to_string(expected) + " inputs, got " +
                              std::to_string(raws));
    if (raw_came_early) assign_raw(message, *options, request);
  }
  for (runtime::InputTensor& t : request->inputs) {
    VERGE_RETURN_IF_ERROR(check_tensor({t.dtype, t.shape, t.data}, t.name));
    VERGE_RETURN_IF_ERROR(align(&t, scratch, copies));
  }
  bound_deadline(*options, request);
  return {};
}

size_t find_raw_input(std::string_view prefix, size_t at_least) {
  // Tags and lengths alone are read here; the field's bytes may lie beyond the prefix.
  size_t at = 0;
  auto varint = [&](uint64_t* v) {
    *v = 0;
    for (int shift = 0; shift < 63 && at < prefix.size(); shift += 7) {
      const auto b = static_cast<uint8_t>(prefix[at++]);
      *v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (b < 0x80) return true;
    }
    return false;
  };
  while (at < prefix.size()) {
    uint64_t tag, n;
    if (!varint(&tag) || (tag & 7) != wire::kBytes || !varint(&n)) return 0;
    if (tag >> 3 == 7 && n >= at_least) return at;
    if (n > prefix.size() - at) return 0;
    at += n;
  }
  return 0;
}

namespace {

// One entry of a map<string, InferParameter>: what follows is the value's field, of `size` bytes.
void begin_parameter(ByteBuffer& out, std::string_view key, size_t size) {
  wire::add_length(out, 4, wire::bytes_size(1, key.size()) + wire::bytes_size(2, size));
  wire::add_bytes(out, 1, key);
  wire::add_length(out, 2, size);
}
void add_parameter(ByteBuffer& out, std::string_view key, std::string_view value) {
  begin_parameter(out, key, wire::bytes_size(3, value.size()));
  wire::add_bytes(out, 3, value);
}
void add_parameter(ByteBuffer& out, std::string_view key, uint64_t value) {
  begin_parameter(out, key, wire::tag_size(2) + wire::varint_size(value));
  wire::add_tag(out, 2, wire::kVarint);
  wire::add_varint(out, value);
}
void add_parameter(ByteBuffer& out, std::string_view key, double value) {
  begin_parameter(out, key, wire::tag_size(4) + sizeof value);
  wire::add_tag(out, 4, wire::kFixed64);
  out.append(reinterpret_cast<const std::byte*>(&value), sizeof value);
}

// An output that went to shared memory: its parameters say where.
void write_shared_output(const runtime::OutputTensor& t, const WantedOutput& wanted, ByteBuffer& out) {
  const wire::Nested output(out, 5);
  wire::add_string(out, 1, t.name);
  wire::add_bytes(out, 2, dtype_name(t.dtype));
  for (int64_t d : t.shape.dims()) {
    wire::add_tag(out, 3, wire::kVarint);
    wire::add_varint(out, static_cast<uint64_t>(d));
  }
  add_parameter(out, "shared_memory_region", wanted.place.region);
  add_parameter(out, "shared_memory_byte_size", wanted.written);
  if (wanted.place.offset) add_parameter(out, "shared_memory_offset", wanted.place.offset);
}

}  // namespace

void write_model_infer_response(const runtime::Request& answered, const InferOptions& options, SegmentWriter& out) {
  ByteBuffer& text = out.text();
  wire::add_string(text, 1, answered.answered_model);
  if (answered.answered_version) {
    char digits[20];
    const auto end = std::to_chars(digits, digits + sizeof digits, answered.answered_version).ptr;
    wire::add_string(text, 2, {digits, static_cast<size_t>(end - digits)});
  }
  wire::add_string(text, 3, answered.id);
  each_answer_parameter(
      answered, [&](std::string_view key, std::string_view value) { add_parameter(text, key, value); },
      [&](std::string_view key, double value) { add_parameter(text, key, value); });
  for (const runtime::OutputTensor& t : answered.outputs) {
    if (!options.wanted.empty()) {
      if (const WantedOutput* wanted = options.find(t.name); wanted && wanted->region) {
        write_shared_output(t, *wanted, text);
        continue;
      }
    }
    const std::string_view type = dtype_name(t.dtype);
    size_t shape = 0;
    for (int64_t d : t.shape.dims()) shape += wire::varint_size(static_cast<uint64_t>(d));
    const size_t size = (t.name.empty() ? 0 : wire::bytes_size(1, t.name.size())) + wire::bytes_size(2, type.size()) +
                        (t.shape.rank() ? wire::bytes_size(3, shape) : 0);
    wire::add_length(text, 5, size);
    wire::add_string(text, 1, t.name);
    wire::add_bytes(text, 2, type);
    if (t.shape.rank()) {
      wire::add_length(text, 3, shape);
      for (int64_t d : t.shape.dims()) wire::add_varint(text, static_cast<uint64_t>(d));
    }
  }
  for (const runtime::OutputTensor& t : answered.outputs) {
    wire::add_length(text, 6, t.data.size());
    out.add_view(t.data.data(), t.data.size());
  }
}

}  // namespace verge::net
