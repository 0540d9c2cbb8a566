// The model repository extension onto runtime::Repository.
#include <string>

#include "net/front.h"
#include "net/grpc_reply.h"
#include "net/json_pull.h"
#include "net/json_write.h"
#include "net/load_overrides.h"
#include "net/management.h"
#include "net/rest_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr size_t kMaxModelName = 128;

runtime::Repository* repository_of(Service& service, Call* call) {
  runtime::Repository* repository = service.front().options().repository;
  if (!repository) service.fail(call, unimplemented("this server has no model repository: what it serves is fixed at its start"));
  return repository;
}

Status named_repository() { return unimplemented("'repository_name' is not supported: the server has one repository"); }

// What came with a load or unload. Of other parameters than `config` only the name is looked at.
struct Change {
  std::string_view model = {};
  bool has_config = false;
  std::string_view config = {};
  std::string unescaped = {};  // the configuration, where the request's text is not it
  std::string_view file = {};  // the first of the model's files that the request brings
  Status parameter(std::string_view name, bool load) {
    if (load && name == "config") {
      has_config = true;
      return {};
    }
    if (load && name.starts_with("file:")) {
      if (file.empty()) file = name.substr(0, 64);
      return {};
    }
    if (!load && name == "unload_dependents") return {};
    return invalid_argument("unknown parameter '" + std::string(name.substr(0, 64)) + "'" +
                            (load ? "; known is config" : "; known is unload_dependents"));
  }
};

Status config_is_no_string() { return invalid_argument("parameter 'config' must be a string"); }

// When the model's name is known.
Result<runtime::Repository::Overrides> overrides_of(const Change& change) {
  const std::string failed = "failed to load '" + std::string(change.model) + "', ";
  // Triton's status and words: its clients look for them.
  if (!change.file.empty())
    return internal_error(failed + "failed to poll from model repository: '" + std::string(change.file) + "' is not taken, models come from the server's own repository");
  if (!change.has_config) return runtime::Repository::Overrides();
  auto read = read_load_config(change.config);
  if (read.ok()) return read;
  return Status(read.status().code(), failed + read.status().message());
}

// ModelRepositoryParameter: one of bool_param = 1, int64_param = 2, string_param = 3, bytes_param = 4.
Status read_grpc_config(std::string_view value, Change* out) {
  wire::Reader reader(value);
  wire::Field f;
  bool text = false;
  while (reader.next(&f)) {
    text = f.number == 3 && f.type == wire::kBytes;
    if (text) out->config = f.bytes;
  }
  if (!reader.ok()) return malformed_message();
  if (!text) return config_is_no_string();
  return valid_utf8(out->config) ? Status() : malformed_message();
}

// RepositoryModelLoadRequest and RepositoryModelUnloadRequest: repository_name = 1, model_name = 2, parameters = 3.
Status read_grpc_change(std::string_view message, bool load, Change* out) {
  wire::Reader reader(message);
  wire::Field f;
  Status refused;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    if (f.number == 1 && !f.bytes.empty()) refused = named_repository();
    if (f.number == 2) out->model = f.bytes;
    if (f.number != 3 || !refused.ok()) continue;
    wire::Reader entry(f.bytes);
    wire::Field e;
    std::string_view key, value;
    while (entry.next(&e)) {
      if (e.type != wire::kBytes) continue;
      if (e.number == 1) key = e.bytes;
      if (e.number == 2) value = e.bytes;
    }
    if (!entry.ok() || !valid_utf8(key)) return malformed_message();
    refused = out->parameter(key, load);
    if (refused.ok() && load && key == "config") refused = read_grpc_config(value, out);
  }
  if (!reader.ok() || !valid_utf8(out->model)) return malformed_message();
  return refused;
}

// Calls fn(key, reader) for each member of the object that is the body, which may be empty; fn reads the value.
template <typename Fn>
Status read_body(Call* call, Fn fn) {
  const std::string_view text = call->body.text();
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return {};
  if (!valid_utf8(text)) return invalid_argument("the request's JSON is not UTF-8");
  JsonPull json(text);
  if (json.peek() != JsonPull::Type::kObject)
    return invalid_argument(json.failed() ? "the request's JSON is malformed: " + json.error() : "the request is not a JSON object");
  json.enter_object();
  std::string_view key;
  while (json.next_key(&key)) VERGE_RETURN_IF_ERROR(fn(key, json));
  if (!json.at_end()) return invalid_argument("the request's JSON is malformed: " + json.error());
  return {};
}

Status read_rest_change(Call* call, bool load, Change* out) {
  return read_body(call, [&](std::string_view key, JsonPull& json) -> Status {
    if (key != "parameters") {
      json.skip();
      return {};
    }
    json.enter_object();
    std::string_view name;
    while (json.next_key(&name)) {
      VERGE_RETURN_IF_ERROR(out->parameter(name, load));
      if (!load || name != "config") {
        json.skip();
        continue;
      }
      if (json.peek() != JsonPull::Type::kString) return config_is_no_string();
      bool escaped = false;
      if (!json.string(&out->config, &escaped) || !escaped) continue;
      out->unescaped.resize(out->config.size());
      const size_t size = json_unescape(out->config, out->unescaped.data());
      if (size == SIZE_MAX) return invalid_argument("parameter 'config' has half of a surrogate pair");
      out->unescaped.resize(size);
      out->config = out->unescaped;
    }
    return {};
  });
}

void changed(Service& service, Call* call, Status status) {
  if (!status.ok()) return service.fail(call, std::move(status));
  if (call->is_grpc) {
    start_message(call);
    return answer_message(service, call);
  }
  call->reply.text.append("{}");
  answer_json(service, call);
}

// The report comes as text: what brings an answer to a front carries a Status.
void reloaded(Service& service, Call* call, Status report) {
  call->reply.text.append(report.message());
  answer_json(service, call);
}

Status read_ready_only(Call* call, bool* ready_only) {
  if (!call->is_grpc)
    return read_body(call, [&](std::string_view key, JsonPull& json) -> Status {
      if (key != "ready")
        json.skip();
      else if (json.peek() == JsonPull::Type::kBool)
        json.boolean(ready_only);
      else
        return invalid_argument("'ready' must be a boolean");
      return {};
    });
  // RepositoryIndexRequest: repository_name = 1, ready = 2.
  wire::Reader reader(call->body.text());
  wire::Field f;
  bool named = false;
  while (reader.next(&f)) {
    if (f.number == 1 && f.type == wire::kBytes) named = !f.bytes.empty();
    if (f.number == 2 && f.type == wire::kVarint) *ready_only = f.value != 0;
  }
  if (!reader.ok()) return malformed_message();
  return named ? named_repository() : Status();
}

}  // namespace

void repository_index(Service& service, Call* call) {
  const runtime::Repository* repository = repository_of(service, call);
  if (!repository) return;
  bool ready_only = false;
  if (Status s = read_ready_only(call, &ready_only); !s.ok()) return service.fail(call, std::move(s));
  const auto models = repository->index(ready_only);
  if (call->is_grpc) {
    ByteBuffer& text = start_message(call);
    for (const auto& m : models) {
      const wire::Nested model(text, 1);
      wire::add_string(text, 1, m.name);
      if (m.version) wire::add_string(text, 2, std::to_string(m.version));
      wire::add_string(text, 3, m.state);
      wire::add_string(text, 4, m.reason);
    }
    return answer_message(service, call);
  }
  Json list = Json::array();
  for (const auto& m : models) {
    Json j = {{"name", m.name}};
    if (m.version) j["version"] = std::to_string(m.version);
    j["state"] = m.state;
    j["reason"] = m.reason;  // also where there is none: MLServer's type requires it
    list.push_back(std::move(j));
  }
  answer_json(service, call, list);
}

void repository_change(Service& service, Call* call, bool load, std::string_view model) {
  runtime::Repository* repository = repository_of(service, call);
  if (!repository) return;
  Change change{model};
  Status s = call->is_grpc ? read_grpc_change(call->body.text(), load, &change) : read_rest_change(call, load, &change);
  if (s.ok() && change.model.empty()) s = invalid_argument("no model is named");
  if (s.ok() && change.model.size() > kMaxModelName)
    s = invalid_argument("a model's name has at most " + std::to_string(kMaxModelName) + " bytes, not " + std::to_string(change.model.size()));
  Result<runtime::Repository::Overrides> overrides = s.ok() ? overrides_of(change) : s;
  if (!overrides.ok()) return service.fail(call, overrides.status());
  std::string name(change.model);
  auto done = service.deferred().defer(call, changed);
  if (load)
    repository->load(std::move(name), *overrides, std::move(done));
  else
    repository->unload(std::move(name), std::move(done));
}

void repository_reload(Service& service, Call* call) {
  if (!allow(service, call, Allowed::kPost)) return;
  runtime::Repository* repository = repository_of(service, call);
  if (!repository) return;
  repository->reload([done = service.deferred().defer(call, reloaded)](Json report) {
    done(Status(Code::kUnknown, report.dump(-1, ' ', false, Json::error_handler_t::replace)));
  });
}

}  // namespace verge::net
