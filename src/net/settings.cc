// Trace and log settings: told as they are. They are the configuration's, so that a request to change one is refused unless it changes nothing.
#include <charconv>
#include <string>
#include <vector>

#include "net/front.h"
#include "net/grpc_reply.h"
#include "net/management.h"
#include "net/rest_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr size_t kMaxBody = size_t{64} << 10;

// A setting and its value as JSON has it; gRPC's forms follow from that.
struct Setting {
  const char* name;
  Json value;
};

std::vector<Setting> trace_settings() {
  // Traces are not written to files: a request's trace context is carried through instead.
  return {{"trace_file", ""}, {"trace_level", Json::array({"OFF"})}, {"trace_rate", "1000"}, {"trace_count", "-1"},
          {"log_frequency", "0"}, {"trace_mode", "triton"}};
}

std::vector<Setting> log_settings(const ServerOptions& options) {
  const std::string& level = options.log_level;
  const bool debug = level == "debug", info = debug || level == "info", warning = info || level == "warning";
  return {{"log_file", ""}, {"log_info", info}, {"log_warning", warning}, {"log_error", true},
          {"log_verbose_level", debug ? 1 : 0}, {"log_format", "default"}};
}

// Ok where `wanted` is what the setting is, or (null, or no value at all) asks for the default.
Status unchanged(const std::vector<Setting>& settings, std::string_view name, const Json& wanted) {
  for (const Setting& s : settings) {
    if (name != s.name) continue;
    if (wanted.is_null() || (wanted.is_array() && wanted.empty()) || wanted == s.value) return {};
    // A list of one may be told as its element, and the other way round.
    if (s.value.is_array() && s.value.size() == 1 && s.value[0] == wanted) return {};
    if (wanted.is_array() && wanted.size() == 1 && wanted[0] == s.value) return {};
    return unimplemented("setting '" + std::string(s.name) + "' cannot be changed while the server runs; it is " + s.value.dump());
  }
  return invalid_argument("unknown setting '" + std::string(name.substr(0, 64)) + "'");
}

// SettingsEntry {key = 1, value = 2}; the value of traces is {repeated string value = 1}, that of logs {bool 1, uint32 2, string 3}.
Status read_entry(std::string_view bytes, bool trace, std::string_view* name, Json* value) {
  wire::Reader entry(bytes);
  wire::Field f;
  *value = trace ? Json::array() : Json();
  while (entry.next(&f)) {
    if (f.type != wire::kBytes) continue;
    if (f.number == 1) *name = f.bytes;
    if (f.number != 2) continue;
    wire::Reader reader(f.bytes);
    wire::Field v;
    while (reader.next(&v)) {
      const bool text = v.type == wire::kBytes && v.number == (trace ? 1 : 3);
      if (text && (!valid_utf8(v.bytes) || (trace && value->size() == 64))) return malformed_message();
      if (text && trace)
        value->push_back(v.bytes);
      else if (text)
        *value = v.bytes;
      else if (!trace && v.type == wire::kVarint && v.number == 1)
        *value = v.value != 0;
      else if (!trace && v.type == wire::kVarint && v.number == 2)
        *value = v.value;
    }
    if (!reader.ok()) return malformed_message();
  }
  return entry.ok() && valid_utf8(*name) ? Status() : malformed_message();
}

Status check_grpc(std::string_view message, bool trace, const std::vector<Setting>& settings, std::string_view* model) {
  wire::Reader reader(message);
  wire::Field f;
  Status refused;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    if (trace && f.number == 2) *model = f.bytes;
    if (f.number != 1 || !refused.ok()) continue;
    std::string_view name;
    Json value;
    VERGE_RETURN_IF_ERROR(read_entry(f.bytes, trace, &name, &value));
    refused = unchanged(settings, name, value);
  }
  return reader.ok() && valid_utf8(*model) ? refused : malformed_message();
}

Status check_rest(std::string_view body, const std::vector<Setting>& settings) {
  auto json = parse_json(body, "request", kMaxBody);
  if (!json.ok()) return invalid_argument(json.status().message());
  if (!json->is_object()) return invalid_argument("the request is not a JSON object");
  for (const auto& [name, value] : json->items()) VERGE_RETURN_IF_ERROR(unchanged(settings, name, value));
  return {};
}

void answer_grpc(Service& service, Call* call, bool trace, const std::vector<Setting>& settings) {
  ByteBuffer& text = start_message(call);
  for (const Setting& s : settings) {
    const wire::Nested entry(text, 1);
    wire::add_string(text, 1, s.name);
    const wire::Nested value(text, 2);
    if (s.value.is_array()) {
      for (const Json& v : s.value) wire::add_bytes(text, 1, v.get_ref<const std::string&>());
    } else if (s.value.is_string()) {
      wire::add_bytes(text, trace ? 1 : 3, s.value.get_ref<const std::string&>());
    } else {
      // A oneof's value is written even where it is 0.
      wire::add_tag(text, s.value.is_boolean() ? 1 : 2, wire::kVarint);
      wire::add_varint(text, s.value.is_boolean() ? s.value.get<bool>() : s.value.get<uint64_t>());
    }
  }
  answer_message(service, call);
}

}  // namespace

void settings(Service& service, Call* call, bool trace, std::string_view model) {
  const std::vector<Setting> current = trace ? trace_settings() : log_settings(service.front().options());
  Status s;
  if (call->is_grpc)
    s = check_grpc(call->body.text(), trace, current, &model);
  else if (call->method == Method::kPost)
    s = check_rest(call->body.text(), current);
  if (s.ok() && !model.empty()) s = service.runtime().model_ready(service.front().runtime_front(), model, 0).status();
  if (!s.ok()) return service.fail(call, std::move(s));
  if (call->is_grpc) return answer_grpc(service, call, trace, current);
  Json json = Json::object();
  for (const Setting& setting : current) json[setting.name] = setting.value;
  answer_json(service, call, json);
}

}  // namespace verge::net
