#include "core/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <cmath>
#include <sstream>

namespace verge {
namespace {

struct Refused {
  int line;
  std::string message;
};

int line_of(const YAML::Mark& mark) { return mark.is_null() ? 0 : mark.line + 1; }

// Builds the tree from the parser's events; throws Refused, which parse_yaml() turns into a Status.
class TreeBuilder : public YAML::EventHandler {
 public:
  YamlNode take() { return std::move(root_); }
  bool seen() const { return seen_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    YamlNode node;
    add(mark, anchor, std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { throw Refused{line_of(mark), "aliases (*name) are not supported"}; }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    // yaml-cpp's tags: "?" for a plain scalar, "!" for a quoted one.
    node.quoted = tag == "!";
    if (tag != "!" && tag != "?" && !tag.empty()) throw Refused{line_of(mark), "tags (" + tag + ") are not supported"};
    node.text = value;
    if (value.find('\0') != std::string::npos) throw Refused{line_of(mark), "a string holds a NUL character"};
    add(mark, anchor, std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    bool have_key = false;
    std::string key;
  };

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode::Kind kind) {
    count(mark, anchor);
    if (stack_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      throw Refused{line_of(mark), "nested deeper than " + std::to_string(kMaxYamlDepth) + " levels"};
    }
    if (!stack_.empty() && stack_.back().node.kind == YamlNode::Kind::kMap && !stack_.back().have_key) {
      throw Refused{line_of(mark), "a key must be a plain string"};
    }
    Open o;
    o.node.kind = kind;
    o.node.line = line_of(mark);
    stack_.push_back(std::move(o));
  }

  void close() {
    YamlNode node = std::move(stack_.back().node);
    stack_.pop_back();
    attach(std::move(node));
  }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode node) {
    count(mark, anchor);
    node.line = line_of(mark);
    if (!stack_.empty() && stack_.back().node.kind == YamlNode::Kind::kMap && !stack_.back().have_key) {
      if (node.kind != YamlNode::Kind::kScalar) throw Refused{node.line, "a key must be a plain string"};
      for (const auto& [key, value] : stack_.back().node.fields) {
        if (key == node.text) throw Refused{node.line, "field '" + key + "' is given twice (first on line " + std::to_string(value.line) + ")"};
      }
      if (stack_.back().node.fields.size() >= 1000) throw Refused{node.line, "more than 1000 fields in one object"};
      stack_.back().have_key = true;
      stack_.back().key = node.text;
      return;
    }
    attach(std::move(node));
  }

  void attach(YamlNode node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      seen_ = true;
      return;
    }
    Open& top = stack_.back();
    if (top.node.kind == YamlNode::Kind::kMap) {
      top.node.fields.push_back({std::move(top.key), std::move(node)});
      top.have_key = false;
    } else {
      top.node.items.push_back(std::move(node));
    }
  }

  void count(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) throw Refused{line_of(mark), "anchors (&name) are not supported"};
    if (++nodes_ > kMaxYamlNodes) throw Refused{line_of(mark), "more than " + std::to_string(kMaxYamlNodes) + " values"};
  }

  std::vector<Open> stack_;
  YamlNode root_;
  bool seen_ = false;
  size_t nodes_ = 0;
};

std::string located(const std::string& file, int line, const std::string& message) {
  return line > 0 ? file + ":" + std::to_string(line) + ": " + message : file + ": " + message;
}

bool is_plain(const YamlNode& n) { return n.kind == YamlNode::Kind::kScalar && !n.quoted; }

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (const auto& [name, node] : fields) {
    if (name == key) return &node;
  }
  return nullptr;
}

Result<YamlNode> parse_yaml(std::string_view text, const std::string& file) {
  if (text.size() > kMaxYamlBytes) {
    return invalid_argument(file + ": larger than " + std::to_string(kMaxYamlBytes >> 20) + " MiB, which no recipe is");
  }
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    TreeBuilder tree;
    if (!parser.HandleNextDocument(tree) || !tree.seen()) return invalid_argument(file + ": the file is empty");
    TreeBuilder more;
    if (parser.HandleNextDocument(more)) return invalid_argument(file + ": more than one YAML document");
    return tree.take();
  } catch (const Refused& r) {
    return invalid_argument(located(file, r.line, r.message));
  } catch (const YAML::Exception& e) {
    return invalid_argument(located(file, line_of(e.mark), "not valid YAML: " + e.msg));
  } catch (const std::exception& e) {
    return invalid_argument(file + ": not valid YAML: " + e.what());
  }
}

bool yaml_integer(const YamlNode& node, int64_t& out) {
  if (!is_plain(node) || node.text.empty()) return false;
  std::string_view s = node.text;
  if (s.front() == '+') s.remove_prefix(1);
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), out);
  return error == std::errc() && end == s.data() + s.size();
}

bool yaml_number(const YamlNode& node, double& out) {
  if (!is_plain(node) || node.text.empty()) return false;
  std::string_view s = node.text;
  if (s.front() == '+') s.remove_prefix(1);
  // from_chars also takes "inf" and "nan", which no field of a recipe can mean.
  if (s.empty() || (s.front() != '-' && s.front() != '.' && (s.front() < '0' || s.front() > '9'))) return false;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), out);
  return error == std::errc() && end == s.data() + s.size() && std::isfinite(out);
}

bool yaml_boolean(const YamlNode& node, bool& out) {
  if (!is_plain(node)) return false;
  const std::string& s = node.text;
  if (s == "true" || s == "True" || s == "TRUE") return out = true, true;
  if (s == "false" || s == "False" || s == "FALSE") return out = false, true;
  return false;
}

Json yaml_to_json(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return nullptr;
    case YamlNode::Kind::kScalar: {
      int64_t i;
      double d;
      bool b;
      if (yaml_integer(node, i)) return i;
      if (yaml_number(node, d)) return d;
      if (yaml_boolean(node, b)) return b;
      return node.text;
    }
    case YamlNode::Kind::kList: {
      Json list = Json::array();
      for (const YamlNode& item : node.items) list.push_back(yaml_to_json(item));
      return list;
    }
    case YamlNode::Kind::kMap: {
      Json object = Json::object();
      for (const auto& [key, value] : node.fields) object[key] = yaml_to_json(value);
      return object;
    }
  }
  return nullptr;
}

}  // namespace verge
