// /v2/verge/status. Counters are read at most twice a second, however many look.
#include <algorithm>
#include <charconv>
#include <map>

#include "net/access.h"
#include "net/bounds.h"
#include "net/front.h"
#include "net/page.h"
#include "net/rest_reply.h"

namespace verge::net {
namespace {

constexpr uint64_t kFreshNs = 500'000'000;
constexpr std::string_view kShown[] = {"verge_requests_total",   "verge_failures_total", "verge_request_seconds_bucket",  "verge_exit",         "verge_energy",
                                       "verge_lane_waiting",     "verge_memory_",        "process_resident_memory_bytes", "verge_net_shed_total", "verge_net_connections_open",
                                       "verge_net_loop_stall_total"};

bool shown(std::string_view name) {
  return std::any_of(std::begin(kShown), std::end(kShown), [&](std::string_view start) { return name.starts_with(start); });
}

// Of `text`, which begins behind the brace: name="value" pairs, with \\, \" and \n in the values. What follows the closing brace remains.
bool read_labels(std::string_view* text, Json* out) {
  while (!text->empty() && text->front() != '}') {
    const size_t equals = text->find("=\"");
    if (equals == std::string_view::npos) return false;
    const std::string name(text->substr(0, equals));
    text->remove_prefix(equals + 2);
    std::string value;
    while (!text->empty() && text->front() != '"') {
      char c = text->front();
      text->remove_prefix(1);
      if (c == '\\' && !text->empty()) {
        c = text->front() == 'n' ? '\n' : text->front();
        text->remove_prefix(1);
      }
      value.push_back(c);
    }
    if (text->empty()) return false;
    text->remove_prefix(1);
    if (!text->empty() && text->front() == ',') text->remove_prefix(1);
    (*out)[name] = std::move(value);
  }
  if (text->empty()) return false;
  text->remove_prefix(1);
  return true;
}

Json samples(Service& service) {
  Shared& shared = service.front().shared();
  std::lock_guard lock(shared.samples_mutex);
  const uint64_t now = now_ns();
  if (!shared.samples || now - shared.samples_ns > kFreshNs) {
    shared.samples = std::make_shared<const Json>(shown_samples(service.runtime().metrics_text() + shared.metrics_text()));
    shared.samples_ns = now;
  }
  return *shared.samples;
}

Json tensors(const std::vector<TensorSpec>& specs) {
  Json out = Json::array();
  for (const TensorSpec& t : specs) {
    Json shape = Json::array();
    for (int64_t d : t.shape.dims()) shape.push_back(d);
    out.push_back({{"name", t.name}, {"datatype", dtype_name(t.dtype)}, {"shape", std::move(shape)}});
  }
  return out;
}

Json models(Service& service, const Call& call) {
  Json out = Json::array();
  runtime::Front& front = service.front().runtime_front();
  const auto all = service.runtime().statistics(front, {}, 0);
  if (!all.ok()) return out;
  std::vector<std::pair<std::string, int64_t>> names;
  for (const runtime::ModelStatistics& s : *all) names.emplace_back(s.name, s.version);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto [name, version] = names[i];
    if (call.token && !call.token->may_use(name)) continue;
    const auto doc = service.runtime().model_doc(front, name, version);
    if (!doc.ok()) continue;
    // Families are offered as models are; their members name them.
    if (const auto named = doc->parameters.find("family"); named != doc->parameters.end() && named->is_string()) {
      const std::pair family{named->get<std::string>(), int64_t{1}};
      if (std::find(names.begin(), names.end(), family) == names.end()) names.push_back(family);
    }
    const auto ready = service.runtime().model_ready(front, name, version);
    Json m = {{"name", doc->name}, {"version", version}, {"ready", ready.ok() && *ready}};
    if (!doc->unavailable.ok()) m["reason"] = doc->unavailable.message();
    m["inputs"] = tensors(doc->inputs);
    m["outputs"] = tensors(doc->outputs);
    m["parameters"] = doc->parameters;
    if (!doc->default_variant.empty()) m["parameters"]["default_variant"] = doc->default_variant;
    out.push_back(std::move(m));
  }
  return out;
}

}  // namespace

Json shown_samples(std::string_view text) {
  Json out = Json::object();
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.empty() || line.front() == '#' || !shown(line)) continue;
    const size_t end = line.find_first_of("{ ");
    if (end == std::string_view::npos) continue;
    const std::string name(line.substr(0, end));
    Json labels = Json::object();
    line.remove_prefix(end + 1);
    if (*(line.data() - 1) == '{') {
      if (!read_labels(&line, &labels) || line.empty()) continue;
      line.remove_prefix(1);
    }
    double value = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), value).ec != std::errc()) continue;
    out[name].push_back(Json::array({std::move(labels), value}));
  }
  return out;
}

void server_status(Service& service, Call* call) {
  const ServerOptions& options = service.front().options();
  const bool all_models = !call->token || call->token->models.empty();
  const bool counters = all_models && may(*call, Need::kStatistics), manage = all_models && may(*call, Need::kManage);
  Json out = {{"server", {{"name", options.name}, {"version", options.version}, {"ready", service.runtime().ready()}}},
              {"can", {{"infer", may(*call, Need::kInfer)}, {"metrics", counters}, {"manage", manage}}},
              {"models", models(service, *call)}};
  if (!options.lanes.is_null()) out["lanes"] = options.lanes;
  if (manage) {
    Json& tenants = out["tenants"] = Json::object();
    for (uint32_t i = 0; i < options.tenants.size(); ++i) {
      const auto bounds = service.runtime().bounds(i);
      tenants[options.tenants[i]] = {{"bounds", bounds.ok() ? bounds_to_json(*bounds) : Json::object()}};
    }
  }
  if (counters) out["metrics"] = samples(service);
  call->compress_reply = true;
  answer_json(service, call, out);
}

}  // namespace verge::net
