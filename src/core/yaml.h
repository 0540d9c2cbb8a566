// YAML text as a bounded tree that remembers lines, so that errors can name file, line and field. Aliases, tags and duplicate keys
// are refused: a recipe needs none of them, and aliases can grow without bound.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/status.h"

namespace verge {

struct YamlField;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  int line = 0;         // 1-based
  bool quoted = false;  // scalars: written in quotes, hence always a string
  std::string text;     // of a scalar
  std::vector<YamlNode> items;
  std::vector<YamlField> fields;  // in the file's order

  const YamlNode* find(std::string_view key) const;  // nullptr if absent
};

struct YamlField {
  std::string key;
  YamlNode value;
};

inline constexpr size_t kMaxYamlBytes = size_t{1} << 20;
inline constexpr int kMaxYamlDepth = 24;
inline constexpr size_t kMaxYamlNodes = 100'000;

// `file` names the text in errors: "FILE:LINE: message".
Result<YamlNode> parse_yaml(std::string_view text, const std::string& file);

// Scalars by YAML 1.2's core rules. False if the node is not of that type.
bool yaml_integer(const YamlNode& node, int64_t& out);
bool yaml_number(const YamlNode& node, double& out);  // integers too; finite only
bool yaml_boolean(const YamlNode& node, bool& out);

// The same value as JSON: plain scalars become null, booleans, integers or numbers where they look like one, else strings.
Json yaml_to_json(const YamlNode& node);

}  // namespace verge
