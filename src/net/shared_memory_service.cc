// The calls of the system shared memory extension, and those of CUDA's, of which there is none.
#include <string>

#include "net/front.h"
#include "net/grpc_reply.h"
#include "net/management.h"
#include "net/rest_reply.h"
#include "net/shared_memory.h"
#include "net/shared_tensors.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr size_t kMaxBody = size_t{64} << 10;

SharedMemory* memory_of(Service& service, Call* call) {
  SharedMemory* memory = service.front().shared().memory.get();
  if (!memory) service.fail(call, shared_memory_disabled());
  return memory;
}

void done(Service& service, Call* call) {
  if (call->is_grpc) {
    start_message(call);
    return answer_message(service, call);
  }
  call->reply.text.append("{}");
  answer_json(service, call);
}

// Requests whose name = 1 is all that matters.
Status read_name(std::string_view message, std::string_view* name) {
  wire::Reader reader(message);
  wire::Field f;
  while (reader.next(&f))
    if (f.number == 1 && f.type == wire::kBytes) *name = f.bytes;
  return reader.ok() && valid_utf8(*name) ? Status() : malformed_message();
}

struct Registration {
  std::string_view name;
  std::string key;
  uint64_t offset = 0, size = 0;
};

// SystemSharedMemoryRegisterRequest: name = 1, key = 2, offset = 3, byte_size = 4.
Status read_registration(std::string_view message, Registration* out) {
  wire::Reader reader(message);
  wire::Field f;
  std::string_view key;
  while (reader.next(&f)) {
    if (f.number == 1 && f.type == wire::kBytes) out->name = f.bytes;
    if (f.number == 2 && f.type == wire::kBytes) key = f.bytes;
    if (f.number == 3 && f.type == wire::kVarint) out->offset = f.value;
    if (f.number == 4 && f.type == wire::kVarint) out->size = f.value;
  }
  if (!reader.ok() || !valid_utf8(out->name) || !valid_utf8(key)) return malformed_message();
  out->key = key;
  return {};
}

Status read_registration_json(std::string_view body, Registration* out) {
  const auto json = parse_json(body, "request", kMaxBody);
  if (!json.ok()) return invalid_argument(json.status().message());
  JsonReader reader(*json, "request");
  out->key = reader.str("key");
  const int64_t offset = reader.integer("offset", 0), size = reader.integer("byte_size");
  if (offset < 0 || size < 0) reader.fail("'offset' and 'byte_size' must not be negative");
  out->offset = static_cast<uint64_t>(offset);
  out->size = static_cast<uint64_t>(size);
  return reader.status().ok() ? Status() : invalid_argument(reader.status().message());
}

}  // namespace

void shared_memory_status(Service& service, Call* call, std::string_view name) {
  const SharedMemory* memory = memory_of(service, call);
  if (!memory) return;
  if (call->is_grpc)
    if (Status s = read_name(call->body.text(), &name); !s.ok()) return service.fail(call, std::move(s));
  std::vector<std::shared_ptr<const SharedRegion>> regions;
  if (name.empty()) {
    regions = memory->list();
  } else {
    auto region = memory->find(name);
    if (!region.ok()) return service.fail(call, region.status());
    regions.push_back(std::move(region).value());
  }
  if (call->is_grpc) {
    ByteBuffer& text = start_message(call);
    for (const auto& r : regions) {
      const wire::Nested entry(text, 1);
      wire::add_string(text, 1, r->name());
      const wire::Nested status(text, 2);
      wire::add_string(text, 1, r->name());
      wire::add_string(text, 2, r->key());
      wire::add_uint(text, 3, r->offset());
      wire::add_uint(text, 4, r->size());
    }
    return answer_message(service, call);
  }
  Json list = Json::array();
  for (const auto& r : regions) list.push_back({{"name", r->name()}, {"key", r->key()}, {"offset", r->offset()}, {"byte_size", r->size()}});
  answer_json(service, call, list);
}

void shared_memory_register(Service& service, Call* call, std::string_view name) {
  SharedMemory* memory = memory_of(service, call);
  if (!memory) return;
  Registration r;
  r.name = name;
  const std::string_view body = call->body.text();
  Status s = call->is_grpc ? read_registration(body, &r) : read_registration_json(body, &r);
  if (s.ok()) s = memory->add(r.name, r.key, r.offset, r.size);
  if (!s.ok()) return service.fail(call, std::move(s));
  done(service, call);
}

void shared_memory_unregister(Service& service, Call* call, std::string_view name) {
  SharedMemory* memory = memory_of(service, call);
  if (!memory) return;
  if (call->is_grpc)
    if (Status s = read_name(call->body.text(), &name); !s.ok()) return service.fail(call, std::move(s));
  memory->remove(name);
  done(service, call);
}

void cuda_memory(Service& service, Call* call, std::string_view verb) {
  // Clients ask what there is, and unregister all of it, before they know whether they need it.
  if (verb == "register") return service.fail(call, unimplemented("CUDA shared memory is not supported; use system shared memory"));
  if (call->is_grpc || verb == "unregister") return done(service, call);
  answer_json(service, call, Json::array());
}

}  // namespace verge::net
