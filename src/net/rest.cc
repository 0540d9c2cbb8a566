// The REST paths of the Open Inference Protocol v2, and /metrics.
#include <charconv>
#include <string>

#include "net/front.h"
#include "net/json_write.h"
#include "net/management.h"
#include "net/model_config.h"
#include "net/model_statistics.h"
#include "net/page.h"
#include "net/rest_reply.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

constexpr std::string_view kJsonType = "application/json";

void health(Service& service, Call* call, std::string_view key, bool good) {
  ByteBuffer& out = call->reply.text;
  out.append("{\"");
  out.append(key);
  out.append(good ? "\":true}" : "\":false}");
  if (!good) {
    call->reply.code = Code::kUnavailable;
    call->reply.retry_after = true;
  }
  answer_json(service, call, good ? 200 : 503);
}

void server_metadata(Service& service, Call* call) {
  ByteBuffer& out = call->reply.text;
  out.append("{\"name\":");
  json_string(service.front().options().name, &out);
  out.append(",\"version\":");
  json_string(service.front().options().version, &out);
  out.append(",\"extensions\":[");
  bool first = true;
  for (std::string_view name : extensions(service.front().options())) {
    if (!std::exchange(first, false)) out.push_back(',');
    json_string(name, &out);
  }
  out.append("]}");
  answer_json(service, call);
}

void tensors_json(const std::vector<TensorSpec>& specs, ByteBuffer* out) {
  out->push_back('[');
  for (size_t i = 0; i < specs.size(); ++i) {
    out->append(i ? ",{\"name\":" : "{\"name\":");
    json_string(specs[i].name, out);
    out->append(",\"datatype\":");
    json_string(dtype_name(specs[i].dtype), out);
    out->append(",\"shape\":[");
    for (int d = 0; d < specs[i].shape.rank(); ++d) {
      if (d) out->push_back(',');
      json_number(specs[i].shape[d], out);
    }
    out->append("]}");
  }
  out->push_back(']');
}

void model_metadata(Service& service, Call* call) {
  auto doc = service.serving_doc(call->request.model, call->request.version);
  if (!doc.ok()) return service.fail(call, doc.status());
  ByteBuffer& out = call->reply.text;
  out.append("{\"name\":");
  json_string(doc->name, &out);
  out.append(",\"versions\":[");
  for (size_t i = 0; i < doc->versions.size(); ++i) {
    if (i) out.push_back(',');
    json_string(std::to_string(doc->versions[i]), &out);
  }
  out.append("],\"platform\":");
  json_string(doc->platform, &out);
  out.append(",\"inputs\":");
  tensors_json(doc->inputs, &out);
  out.append(",\"outputs\":");
  tensors_json(doc->outputs, &out);
  if (!doc->parameters.is_null()) {
    out.append(",\"parameters\":");
    out.append(doc->parameters.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  out.push_back('}');
  answer_json(service, call);
}

void model_config(Service& service, Call* call) {
  auto doc = service.serving_doc(call->request.model, call->request.version);
  if (!doc.ok()) return service.fail(call, doc.status());
  answer_json(service, call, model_config_json(*doc));
}

// Of one model, or of all.
void model_statistics(Service& service, Call* call) {
  auto models = service.runtime().statistics(service.front().runtime_front(), call->request.model, call->request.version);
  if (!models.ok()) return service.fail(call, models.status());
  answer_json(service, call, statistics_json(*models));
}

void model_ready(Service& service, Call* call) {
  auto ready = service.runtime().model_ready(service.front().runtime_front(), call->request.model, call->request.version);
  if (!ready.ok()) return service.fail(call, ready.status());
  ByteBuffer& out = call->reply.text;
  out.append("{\"name\":");
  json_string(call->request.model, &out);
  out.append(*ready ? ",\"ready\":true}" : ",\"ready\":false}");
  if (!*ready) {
    call->reply.code = Code::kUnavailable;
    call->reply.retry_after = true;
  }
  answer_json(service, call, *ready ? 200 : 503);
}

void model_infer(Service& service, Call* call) {
  call->compress_reply = true;
  CopyCount copies;
  if (Status s = read_rest_infer(call, &copies); !s.ok()) return service.fail(call, std::move(s));
  service.count_copies(copies);
  service.infer(call);
}

// `rest` is what follows "/v2/models/".
void models(Service& service, Call* call, std::string_view rest) {
  const std::string_view name = next_part(&rest);
  if (name.empty()) return unknown_path(service, call);
  call->request.model = name;
  if (name.find('%') != std::string_view::npos) {
    if (!percent_decode(name, &call->name) || !valid_utf8(call->name))
      return service.fail(call, invalid_argument("malformed percent-encoding in the path"));
    call->request.model = call->name;
  }
  if (name == "stats" && rest.empty()) {
    call->request.model = {};
    if (allow(service, call, Allowed::kGet)) model_statistics(service, call);
    return;
  }
  std::string_view verb = next_part(&rest);
  if (verb == "versions") {
    auto version = parse_model_version(next_part(&rest));
    if (!version.ok()) return service.fail(call, version.status());
    if (*version == 0) return unknown_path(service, call);
    call->request.version = *version;
    verb = next_part(&rest);
  }
  if (verb == "trace" && rest == "setting") {
    if (allow(service, call, Allowed::kGetAndPost)) settings(service, call, true, call->request.model);
    return;
  }
  if (!rest.empty()) return unknown_path(service, call);
  if (verb == "infer") {
    if (allow(service, call, Allowed::kPost)) model_infer(service, call);
  } else if (verb == "ready") {
    if (allow(service, call, Allowed::kGet)) model_ready(service, call);
  } else if (verb == "config") {
    if (allow(service, call, Allowed::kGet)) model_config(service, call);
  } else if (verb == "stats") {
    if (allow(service, call, Allowed::kGet)) model_statistics(service, call);
  } else if (verb.empty()) {
    if (allow(service, call, Allowed::kGet)) model_metadata(service, call);
  } else {
    unknown_path(service, call);
  }
}

}  // namespace

void answer_json(Service& service, Call* call, int status) {
  Reply& reply = call->reply;
  reply.http_status = status;
  reply.content_type = kJsonType;
  reply.segments.push_back({nullptr, 0, reply.text.size()});
  service.answer(call);
}

void answer_json(Service& service, Call* call, const Json& json) {
  call->reply.text.append(json.dump(-1, ' ', false, Json::error_handler_t::replace));
  answer_json(service, call);
}

bool allow(Service& service, Call* call, Allowed allowed) {
  const bool get = call->method == Method::kGet || call->method == Method::kHead, post = call->method == Method::kPost, put = call->method == Method::kPut;
  std::string_view header, text;
  switch (allowed) {
    case Allowed::kGet:
      if (get) return true;
      header = "GET, HEAD", text = "GET";
      break;
    case Allowed::kPost:
      if (post) return true;
      header = text = "POST";
      break;
    case Allowed::kGetAndPost:
      if (get || post) return true;
      header = "GET, HEAD, POST", text = "GET and POST";
      break;
    case Allowed::kGetAndPut:
      if (get || put) return true;
      header = "GET, HEAD, PUT", text = "GET and PUT";
      break;
  }
  call->reply.allow = header;
  service.fail(call, invalid_argument("method not allowed; this path takes " + std::string(text)), 405);
  return false;
}

void unknown_path(Service& service, Call* call) {
  const std::string_view path = path_of(*call).substr(0, 256);
  service.fail(call, not_found("unknown path '" + (valid_utf8(path) ? std::string(path) : "?") + "'"));
}

bool percent_decode(std::string_view in, std::string* out) {
  out->clear();
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '%') {
      out->push_back(in[i]);
      continue;
    }
    unsigned byte = 0;
    if (in.size() - i < 3) return false;
    const char* end = in.data() + i + 3;
    if (std::from_chars(in.data() + i + 1, end, byte, 16).ptr != end) return false;
    out->push_back(static_cast<char>(byte));
    i += 2;
  }
  return true;
}

std::string_view next_part(std::string_view* rest) {
  const size_t slash = rest->find('/');
  const std::string_view head = rest->substr(0, slash);
  *rest = slash == std::string_view::npos ? std::string_view() : rest->substr(slash + 1);
  return head;
}

void write_rest_error(Call* call, const Status& status) {
  Reply& reply = call->reply;
  reply.text.append("{\"error\":");
  json_string(valid_utf8(status.message()) ? std::string_view(status.message()) : "malformed text", &reply.text);
  reply.text.push_back('}');
  reply.content_type = kJsonType;
  reply.segments.push_back({nullptr, 0, reply.text.size()});
}

void handle_rest(Service& service, Call* call) {
  constexpr std::string_view kModels = "/v2/models/";
  const std::string_view path = path_of(*call);
  if (path.starts_with(kModels)) return models(service, call, path.substr(kModels.size()));
  enum { kUnknown, kLive, kReady, kMetadata, kMetrics, kPage, kStatus } what = kUnknown;
  if (path == "/v2/health/live")
    what = kLive;
  else if (path == "/v2/health/ready")
    what = kReady;
  else if (path == "/v2" || path == "/v2/")
    what = kMetadata;
  else if (path == "/metrics")
    what = kMetrics;
  else if (path == "/")
    what = kPage;
  else if (path == "/v2/verge/status")
    what = kStatus;
  if (what == kUnknown) {
    if (path == "/verge/reload") return repository_reload(service, call);
    if (!path.starts_with("/v2/") || !handle_rest_management(service, call, path.substr(4))) unknown_path(service, call);
    return;
  }
  if (!allow(service, call, Allowed::kGet)) return;
  switch (what) {
    case kLive: return health(service, call, "live", service.runtime().live());
    case kReady: return health(service, call, "ready", service.runtime().ready());
    case kMetadata: return server_metadata(service, call);
    case kPage: return page(service, call);
    case kStatus: return server_status(service, call);
    default: break;
  }
  Reply& reply = call->reply;
  reply.text.append(service.runtime().metrics_text());
  reply.text.append(service.front().shared().metrics_text());
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.segments.push_back({nullptr, 0, reply.text.size()});
  service.answer(call);
}

}  // namespace verge::net
