#include "serve/config_models.h"

#include <algorithm>

#include "core/manifest.h"

namespace verge::serve {
namespace {

using Kind = YamlNode::Kind;

constexpr size_t kMostVersions = 1000;
constexpr int64_t kMostThreads = 256;

std::string at(const std::string& file, const YamlNode& node, const std::string& field) { return file + ":" + std::to_string(node.line) + ": " + field; }

Json described(const char* type, const char* description) { return Json{{"type", type}, {"description", description}}; }

Json versions_schema(const char* description) {
  return Json{{"description", description},
              {"oneOf", Json::array({Json{{"enum", {"latest", "all"}}}, Json{{"type", "array"}, {"minItems", 1}, {"items", {{"type", "integer"}, {"minimum", 1}}}}})}};
}

Status parse_versions(const YamlNode& node, VersionPolicy& out) {
  const Status wrong = invalid_argument("latest, all, or a list of versions such as [1, 3] is expected");
  out = {};
  if (node.kind == Kind::kScalar) {
    if (node.text == "all") out.kind = VersionPolicy::Kind::kAll;
    return node.text == "all" || node.text == "latest" ? Status() : wrong;
  }
  if (node.kind != Kind::kList || node.items.empty() || node.items.size() > kMostVersions) return wrong;
  out.kind = VersionPolicy::Kind::kListed;
  for (const YamlNode& item : node.items) {
    int64_t v = 0;
    if (!yaml_integer(item, v) || v < 1) return wrong;
    out.listed.push_back(v);
  }
  std::sort(out.listed.begin(), out.listed.end());
  out.listed.erase(std::unique(out.listed.begin(), out.listed.end()), out.listed.end());
  return {};
}

Status read_versions(Config& config, const YamlNode& node, const std::string& file) {
  return parse_versions(node, config.versions).prefixed(at(file, node, "versions"));
}

Status read_models(Config& config, const YamlNode& node, const std::string& file) {
  if (node.kind != Kind::kMap) return invalid_argument("a map from model names to settings is expected").prefixed(at(file, node, "models"));
  for (const auto& [name, settings] : node.fields) {
    const std::string field = "models." + name;
    if (!valid_name(name)) return invalid_argument("this is no model's name").prefixed(at(file, settings, field));
    if (settings.kind != Kind::kMap) return invalid_argument("a map with 'default', 'decoupled', 'resident', 'threads' and 'versions' is expected").prefixed(at(file, settings, field));
    ModelConfig m;
    for (const auto& [key, value] : settings.fields) {
      const std::string where = at(file, value, field + "." + key);
      if (key == "default") {
        if (value.kind != Kind::kScalar || !valid_name(value.text)) return invalid_argument("a variant's id is expected").prefixed(where);
        m.default_variant = value.text;
      } else if (key == "resident") {
        if (value.kind != Kind::kList) return invalid_argument("a list of variant ids is expected").prefixed(where);
        for (const YamlNode& item : value.items) {
          if (item.kind != Kind::kScalar || !valid_name(item.text)) return invalid_argument("a list of variant ids is expected").prefixed(where);
          m.resident.push_back(item.text);
        }
      } else if (key == "decoupled") {
        if (!yaml_boolean(value, m.decoupled)) return invalid_argument("true or false is expected").prefixed(where);
      } else if (key == "threads") {
        if (Status s = read_threads(value, m.threads); !s.ok()) return s.prefixed(where);
      } else if (key == "versions") {
        m.versions.emplace();
        if (Status s = parse_versions(value, *m.versions); !s.ok()) return s.prefixed(where);
      } else {
        return invalid_argument("unknown field; known are decoupled, default, resident, threads, versions").prefixed(where);
      }
    }
    config.models[name] = std::move(m);
  }
  return {};
}

Json models_schema() {
  return {{"type", "object"},
          {"description", "settings of single models, by name"},
          {"additionalProperties",
           {{"type", "object"},
            {"additionalProperties", false},
            {"properties",
             {{"default", described("string", "the variant that answers where a request names none; default: the fastest within the accuracy limit")},
              {"resident", Json{{"type", "array"}, {"items", {{"type", "string"}}}, {"description", "variants loaded from the start beside the default one"}}},
              {"decoupled", described("boolean", "a multi-exit model that answers each request of a stream once an exit, and refuses unary ones; default false")},
              {"threads", threads_schema("threads of its engine instances, as the server's; default: what the server's say")},
              {"versions", versions_schema("the versions of this model that are served; default: the server's")}}}}}};
}

// What an engine takes is the engine's to say: its keys are checked when it starts, with its first model.
Status read_engines(Config& config, const YamlNode& node, const std::string& file) {
  if (node.kind != Kind::kMap) return invalid_argument("a map from engines to settings is expected").prefixed(at(file, node, "engines"));
  for (const auto& [engine, settings] : node.fields) {
    const std::string field = "engines." + engine;
    if (!valid_name(engine)) return invalid_argument("this is no engine's name").prefixed(at(file, settings, field));
    if (settings.kind != Kind::kMap) return invalid_argument("a map of the engine's settings is expected").prefixed(at(file, settings, field));
    for (const auto& [key, value] : settings.fields) {
      const std::string where = at(file, value, field + "." + key);
      if (value.kind != Kind::kScalar) return invalid_argument("one value is expected").prefixed(where);
      if (key.starts_with("library.")) return invalid_argument("where libraries lie is the installation's to say").prefixed(where);
      config.engines[engine][key] = value.text;
    }
  }
  return {};
}

Json engines_schema() {
  return {{"type", "object"},
          {"description", "settings of engines, by engine, as docs/engine-guide.md names them; e.g. tensorflow: {onednn: off}"},
          {"additionalProperties", {{"type", "object"}, {"additionalProperties", {{"type", Json::array({"string", "integer", "number", "boolean"})}}}}}};
}

}  // namespace

Status read_threads(const YamlNode& node, int64_t& out) {
  if (node.kind == Kind::kScalar && node.text == "auto") {
    out = -1;
    return {};
  }
  int64_t v = 0;
  if (!yaml_integer(node, v) || v < 0 || v > kMostThreads) return invalid_argument("auto, or a whole number from 0 to " + std::to_string(kMostThreads) + " is expected");
  out = v;
  return {};
}

Json threads_schema(const char* description) {
  return Json{{"description", description}, {"oneOf", Json::array({Json{{"const", "auto"}}, Json{{"type", "integer"}, {"minimum", 0}, {"maximum", kMostThreads}}})}};
}

std::span<const Section> model_sections() {
  static const Section sections[] = {
      {"versions", versions_schema("the versions of each model that are served: latest, all, or a list; default latest"), read_versions},
      {"models", models_schema(), read_models},
      {"engines", engines_schema(), read_engines},
  };
  return sections;
}

}  // namespace verge::serve
