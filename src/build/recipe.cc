#include "build/recipe.h"

#include <algorithm>
#include <charconv>

#include "build/recipe_fields.h"
#include "core/yaml.h"
#include "os/files.h"
#include "transform/chain.h"

namespace verge::build {
namespace {

constexpr size_t kMaxItems = 1000;  // inputs, outputs, steps, patterns, columns

std::vector<std::string_view> split_choices(std::string_view choices) {
  std::vector<std::string_view> out;
  while (!choices.empty()) {
    size_t bar = choices.find('|');
    out.push_back(choices.substr(0, bar));
    choices.remove_prefix(bar == std::string_view::npos ? choices.size() : bar + 1);
  }
  return out;
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string out;
  for (std::string_view w : words) out += (out.empty() ? "" : ", ") + std::string(w);
  return out;
}

std::string shortened(const std::string& s) { return s.size() <= 60 ? s : s.substr(0, 57) + "..."; }

std::string describe(const YamlNode& n) {
  switch (n.kind) {
    case YamlNode::Kind::kNull: return "nothing";
    case YamlNode::Kind::kScalar: return "'" + shortened(n.text) + "'";
    case YamlNode::Kind::kList: return "a list";
    case YamlNode::Kind::kMap: return "an object";
  }
  return "";
}

std::string path_of(const std::string& parent, std::string_view field) {
  return parent.empty() ? std::string(field) : parent + "." + std::string(field);
}
std::string path_of(const std::string& parent, size_t index) { return parent + "[" + std::to_string(index) + "]"; }

// "12-40", "12-".
bool parse_samples(const std::string& text, int64_t& first, int64_t& last) {
  size_t dash = text.find('-');
  if (dash == std::string::npos || dash == 0) return false;
  auto number = [](std::string_view s, int64_t& out) {
    auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), out);
    return error == std::errc() && end == s.data() + s.size() && out >= 0 && !s.empty() && s.front() != '-';
  };
  std::string_view s = text;
  if (!number(s.substr(0, dash), first)) return false;
  if (dash + 1 == text.size()) return last = -1, true;
  return number(s.substr(dash + 1), last) && last >= first;
}

// Checks the tree against the table; records the line of every field it passes.
class Checker {
 public:
  Checker(const std::string& file, std::map<std::string, int>& lines) : file_(file), lines_(lines) {}

  Status object(const YamlNode& node, const ObjectDoc& doc, const std::string& path) {
    if (node.kind != YamlNode::Kind::kMap) return fail(node, path, "expected an object with fields, found " + describe(node));
    std::vector<std::string_view> names;
    for (const FieldDoc& f : doc.fields) names.push_back(f.name);
    for (const auto& [key, value] : node.fields) {
      const FieldDoc* field = doc.find(key);
      std::string field_path = path_of(path, key);
      if (!field) return fail(value, shortened(field_path), "unknown field" + did_you_mean(key, names) + " (known: " + joined(names) + ")");
      VERGE_RETURN_IF_ERROR(this->field(value, *field, field_path));
    }
    for (const FieldDoc& f : doc.fields) {
      if (f.required && !node.find(f.name)) return fail(node, path_of(path, f.name), "required: " + std::string(f.doc));
    }
    return {};
  }

  Status fail(const YamlNode& node, const std::string& path, const std::string& message) const {
    return invalid_argument(file_ + ":" + std::to_string(node.line) + ": " + (path.empty() ? "" : path + ": ") + message);
  }

 private:
  Status field(const YamlNode& node, const FieldDoc& doc, const std::string& path) {
    lines_[path] = node.line;
    switch (doc.type) {
      case FieldType::kString: return string(node, doc, path);
      case FieldType::kInteger: return integer(node, doc, path);
      case FieldType::kNumber: {
        double d;
        if (!yaml_number(node, d)) return fail(node, path, "expected a number, found " + describe(node));
        if (d < doc.min || d > doc.max) return fail(node, path, "must be at least " + shown(doc.min) + ", found " + node.text);
        return {};
      }
      case FieldType::kDtype:
        if (node.kind != YamlNode::Kind::kScalar || dtype_from_name(node.text) == DType::kInvalid) {
          return fail(node, path, "expected a data type (BOOL, UINT8, INT64, FP32, BYTES, …), found " + describe(node));
        }
        return {};
      case FieldType::kShape: {
        VERGE_RETURN_IF_ERROR(list(node, path));
        if (node.items.size() >= static_cast<size_t>(kMaxRank)) {
          return fail(node, path, "at most " + std::to_string(kMaxRank - 1) + " dimensions beside the batch axis");
        }
        for (const YamlNode& item : node.items) {
          int64_t d;
          if (!yaml_integer(item, d) || d < -1 || d > (int64_t{1} << 31)) {
            return fail(item, path, "expected dimensions (0 … 2147483648, -1 for a free one), found " + describe(item));
          }
        }
        return {};
      }
      case FieldType::kIntegers:
        VERGE_RETURN_IF_ERROR(list(node, path));
        for (const YamlNode& item : node.items) VERGE_RETURN_IF_ERROR(integer(item, doc, path));
        return {};
      case FieldType::kStrings:
        VERGE_RETURN_IF_ERROR(list(node, path));
        for (const YamlNode& item : node.items) VERGE_RETURN_IF_ERROR(string(item, doc, path));
        return {};
      case FieldType::kStringMap:
        if (node.kind != YamlNode::Kind::kMap) return fail(node, path, "expected an object of strings, found " + describe(node));
        for (const auto& [key, value] : node.fields) VERGE_RETURN_IF_ERROR(string(value, doc, path_of(path, key)));
        return {};
      case FieldType::kSamples: {
        int64_t first, last;
        if (node.kind != YamlNode::Kind::kScalar || !parse_samples(node.text, first, last)) {
          return fail(node, path, "expected FIRST-LAST (0-199) or FIRST- (200-), found " + describe(node));
        }
        return {};
      }
      case FieldType::kSteps:
        VERGE_RETURN_IF_ERROR(list(node, path));
        for (size_t i = 0; i < node.items.size(); ++i) VERGE_RETURN_IF_ERROR(step(node.items[i], path_of(path, i)));
        return {};
      case FieldType::kObject: return object(node, *doc.object, path);
      case FieldType::kObjects:
        VERGE_RETURN_IF_ERROR(list(node, path));
        for (size_t i = 0; i < node.items.size(); ++i) {
          lines_[path_of(path, i)] = node.items[i].line;
          VERGE_RETURN_IF_ERROR(object(node.items[i], *doc.object, path_of(path, i)));
        }
        return {};
    }
    return {};
  }

  Status list(const YamlNode& node, const std::string& path) const {
    if (node.kind != YamlNode::Kind::kList) return fail(node, path, "expected a list, found " + describe(node));
    if (node.items.size() > kMaxItems) return fail(node, path, "more than " + std::to_string(kMaxItems) + " elements");
    return {};
  }

  Status string(const YamlNode& node, const FieldDoc& doc, const std::string& path) const {
    if (node.kind != YamlNode::Kind::kScalar) return fail(node, path, "expected a string, found " + describe(node));
    if (node.text.empty()) return fail(node, path, "must not be empty");
    if (node.text.size() > 4096) return fail(node, path, "longer than 4096 bytes");
    if (!doc.choices.empty()) {
      std::vector<std::string_view> choices = split_choices(doc.choices);
      if (std::find(choices.begin(), choices.end(), node.text) == choices.end()) {
        return fail(node, path, "'" + shortened(node.text) + "' is not one of " + joined(choices) + did_you_mean(node.text, choices));
      }
    }
    return {};
  }

  static std::string shown(double d) {
    std::string s = std::to_string(d);
    while (s.find('.') != std::string::npos && (s.back() == '0' || s.back() == '.')) {
      bool dot = s.back() == '.';
      s.pop_back();
      if (dot) break;
    }
    return s;
  }

  Status integer(const YamlNode& node, const FieldDoc& doc, const std::string& path) const {
    int64_t i;
    if (!yaml_integer(node, i)) return fail(node, path, "expected an integer, found " + describe(node));
    if (static_cast<double>(i) < doc.min || static_cast<double>(i) > doc.max) {
      return fail(node, path, "must be between " + shown(doc.min) + " and " + shown(doc.max) + ", found " + node.text);
    }
    return {};
  }

  // One transform: {op: {parameters}}, or the bare name of an operator without parameters.
  Status step(const YamlNode& node, const std::string& path) {
    lines_[path] = node.line;
    const YamlNode* params = nullptr;
    std::string op;
    if (node.kind == YamlNode::Kind::kScalar) {
      op = node.text;
    } else if (node.kind == YamlNode::Kind::kMap && node.fields.size() == 1) {
      op = node.fields[0].key;
      params = &node.fields[0].value;
    } else {
      return fail(node, path, "a step is one operator with its parameters, as {cast: {dtype: FP32}}; found " +
                                  (node.kind == YamlNode::Kind::kMap ? std::to_string(node.fields.size()) + " fields" : describe(node)));
    }
    std::vector<std::string_view> names;
    const transform::OpDoc* found = nullptr;
    for (const transform::OpDoc& o : transform::operators()) {
      names.push_back(o.op);
      if (o.op == op) found = &o;
    }
    if (!found) return fail(node, path, "unknown operator '" + shortened(op) + "'" + did_you_mean(op, names) + " (known: " + joined(names) + ")");
    if (params && params->kind != YamlNode::Kind::kMap && params->kind != YamlNode::Kind::kNull) {
      return fail(node, path, op + ": expected an object of parameters, found " + describe(*params));
    }
    std::vector<std::string_view> known;
    for (const transform::ParamDoc& p : found->params) known.push_back(p.name);
    if (params) {
      for (const auto& [key, value] : params->fields) {
        auto it = std::find_if(found->params.begin(), found->params.end(), [&](const transform::ParamDoc& p) { return p.name == key; });
        if (it == found->params.end()) {
          return fail(value, path_of(path, op),
                      "unknown parameter '" + shortened(key) + "'" + did_you_mean(key, known) +
                          (known.empty() ? " (it has none)" : " (known: " + joined(known) + ")"));
        }
        VERGE_RETURN_IF_ERROR(parameter(value, *it, path_of(path_of(path, op), key)));
      }
    }
    for (const transform::ParamDoc& p : found->params) {
      if (p.required && (!params || !params->find(p.name))) {
        return fail(node, path_of(path, op), "parameter '" + std::string(p.name) + "' is required: " + std::string(p.doc));
      }
    }
    return {};
  }

  Status parameter(const YamlNode& node, const transform::ParamDoc& doc, const std::string& path) const {
    int64_t i;
    double d;
    bool b;
    auto all = [&](auto&& fits) {
      return node.kind == YamlNode::Kind::kList && node.items.size() <= 65536 && std::all_of(node.items.begin(), node.items.end(), fits);
    };
    auto is_int = [&](const YamlNode& n) { return yaml_integer(n, i); };
    auto is_number = [&](const YamlNode& n) { return yaml_number(n, d); };
    bool ok = true;
    std::string expected;
    if (doc.type == "int") {
      ok = is_int(node), expected = "an integer";
    } else if (doc.type == "number") {
      ok = is_number(node), expected = "a number";
    } else if (doc.type == "ints") {
      ok = is_int(node) || all(is_int), expected = "a list of integers";
    } else if (doc.type == "numbers") {
      ok = is_number(node) || all(is_number), expected = "a list of numbers";
    } else if (doc.type == "bool") {
      ok = yaml_boolean(node, b), expected = "true or false";
    } else if (doc.type == "dtype") {
      ok = node.kind == YamlNode::Kind::kScalar && dtype_from_name(node.text) != DType::kInvalid, expected = "a data type (FP32, UINT8, …)";
    } else {
      ok = node.kind == YamlNode::Kind::kScalar, expected = "a string";
    }
    if (!ok) return fail(node, path, "expected " + expected + ", found " + describe(node));
    return {};
  }

  const std::string& file_;
  std::map<std::string, int>& lines_;
};

// Readers of a tree that the Checker has passed.
std::string text_of(const YamlNode& node, std::string_view field) {
  const YamlNode* n = node.find(field);
  return n ? n->text : std::string();
}

int64_t integer_of(const YamlNode& node, std::string_view field, int64_t fallback) {
  const YamlNode* n = node.find(field);
  int64_t value = fallback;
  if (n) yaml_integer(*n, value);
  return value;
}

std::optional<double> number_of(const YamlNode& node, std::string_view field) {
  const YamlNode* n = node.find(field);
  double value;
  if (!n || !yaml_number(*n, value)) return std::nullopt;
  return value;
}

std::vector<std::string> strings_of(const YamlNode& node, std::string_view field) {
  std::vector<std::string> out;
  if (const YamlNode* n = node.find(field)) {
    for (const YamlNode& item : n->items) out.push_back(item.text);
  }
  return out;
}

std::optional<Shape> shape_of(const YamlNode& node, std::string_view field) {
  const YamlNode* n = node.find(field);
  if (!n) return std::nullopt;
  Shape shape;
  for (const YamlNode& item : n->items) {
    int64_t d = 0;
    yaml_integer(item, d);
    shape.push_back(d);
  }
  return shape;
}

std::vector<StepSpec> steps_of(const YamlNode& node) {
  std::vector<StepSpec> out;
  const YamlNode* n = node.find("steps");
  if (!n) return out;
  for (const YamlNode& item : n->items) {
    StepSpec step;
    if (item.kind == YamlNode::Kind::kScalar) {
      step.op = item.text;
    } else {
      step.op = item.fields[0].key;
      Json params = yaml_to_json(item.fields[0].value);
      // A parameter that is declared as a string stays one, whatever it looks like.
      for (const transform::OpDoc& op : transform::operators()) {
        if (op.op != step.op) continue;
        for (const transform::ParamDoc& p : op.params) {
          const YamlNode* value = item.fields[0].value.find(p.name);
          if (value && p.type == "string") params[std::string(p.name)] = value->text;
        }
      }
      step.params = params.is_object() ? std::move(params) : Json::object();
    }
    out.push_back(std::move(step));
  }
  return out;
}

std::string resolved(const std::string& dir, const std::string& path) {
  return path.empty() || path.front() == '/' || dir.empty() ? path : os::join(dir, path);
}

Result<data::DatasetSpec> dataset_of(const YamlNode& node, const std::string& path, const std::string& dir, const Checker& checker) {
  data::DatasetSpec spec;
  spec.format = text_of(node, "format");
  spec.path = resolved(dir, text_of(node, "path"));
  spec.dtype = node.find("dtype") ? dtype_from_name(text_of(node, "dtype")) : DType::kInvalid;
  if (auto shape = shape_of(node, "shape")) spec.shape = *shape;
  spec.columns = strings_of(node, "columns");
  if (const YamlNode* samples = node.find("samples")) parse_samples(samples->text, spec.first, spec.last);
  auto ends_with = [&](std::string_view end) { return std::string_view(spec.path).ends_with(end); };
  bool npz = spec.format == "npz" || (spec.format.empty() && ends_with(".npz"));
  bool csv = spec.format == "csv" || (spec.format.empty() && ends_with(".csv"));
  if (const YamlNode* inputs = node.find("inputs")) {
    for (const auto& [name, value] : inputs->fields) spec.inputs[name] = npz ? value.text : resolved(dir, value.text);
  }
  // Labels are a file's path unless the format has keys or columns of its own.
  std::string labels = text_of(node, "labels");
  spec.labels = npz || csv ? labels : resolved(dir, labels);
  if (spec.path.empty() && spec.inputs.empty()) return checker.fail(node, path + ".path", "required: the data's file or folder (or `inputs`, one file an input)");
  return spec;
}

constexpr size_t kMostExits = 64;

// Either outputs of the recipe's model, or a model each.
Status exits_of(const YamlNode& root, const std::string& dir, const Checker& checker, Recipe& r) {
  const YamlNode* exits = root.find("exits");
  const YamlNode* model = root.find("model");
  if (!exits) return model ? Status() : checker.fail(root, "model", "required: " + std::string(recipe_object().find("model")->doc));
  if (exits->items.size() < 2 || exits->items.size() > kMostExits)
    return checker.fail(*exits, "exits", "expected 2 to " + std::to_string(kMostExits) + " exits, the last of which is the whole network's answer");
  const bool own = exits->items[0].find("model") != nullptr;
  for (size_t i = 0; i < exits->items.size(); ++i) {
    const YamlNode& n = exits->items[i];
    const std::string path = path_of("exits", i);
    RecipeExit exit{text_of(n, "name"), text_of(n, "output"), resolved(dir, text_of(n, "model"))};
    if (!valid_name(exit.name)) return checker.fail(*n.find("name"), path + ".name", "'" + shortened(exit.name) + "' is not a name: 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first");
    for (const RecipeExit& other : r.exits) {
      if (other.name == exit.name) return checker.fail(*n.find("name"), path + ".name", "'" + shortened(exit.name) + "' is given twice");
      if (!own && other.output == exit.output) return checker.fail(n, path + ".output", "'" + shortened(exit.output) + "' is given twice");
    }
    if (own != !exit.model.empty()) return checker.fail(n, path + ".model", own ? "required: either every exit has a model of its own or none" : "either every exit has a model of its own or none, and the first has not");
    if (!own && exit.output.empty()) return checker.fail(n, path + ".output", "required: the network's output that answers at this exit");
    r.exits.push_back(std::move(exit));
  }
  if (own && model) return checker.fail(*model, "model", "every exit has a model of its own, so there is no other");
  if (!own && !model) return checker.fail(root, "model", "required: the network whose outputs the exits name");
  if (root.find("sequence")) return checker.fail(*exits, "exits", "a model with a sequence has no exits");
  if (own) r.model = r.exits.back().model;
  return {};
}

template <typename T>
Status unique_names(const YamlNode& root, std::string_view field, const std::vector<T>& list, const Checker& checker) {
  for (size_t i = 0; i < list.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (list[i].name == list[j].name) {
        return checker.fail(root.find(field)->items[i], path_of(std::string(field), i) + ".name", "'" + shortened(list[i].name) + "' is given twice");
      }
    }
  }
  return {};
}

}  // namespace

bool matches_pattern(std::string_view pattern, std::string_view text) {
  // Greedy with one point of return, linear in practice and never exponential.
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool TargetChoice::wants(std::string_view variant_id) const {
  auto fits = [&](const std::string& pattern) { return matches_pattern(pattern, variant_id); };
  if (std::any_of(exclude.begin(), exclude.end(), fits)) return false;
  return include.empty() || std::any_of(include.begin(), include.end(), fits);
}

Status Recipe::error(std::string_view path, std::string_view message) const {
  std::string where = file;
  // The nearest enclosing field that the file holds has the line.
  for (std::string p(path); !file.empty() && !p.empty();) {
    if (auto it = lines.find(p); it != lines.end()) {
      where += ":" + std::to_string(it->second);
      break;
    }
    size_t cut = p.find_last_of(".[");
    p = cut == std::string::npos ? "" : p.substr(0, cut);
  }
  return invalid_argument((where.empty() ? "" : where + ": ") + (path.empty() ? "" : std::string(path) + ": ") + std::string(message));
}

Result<Recipe> parse_recipe(std::string_view text, const std::string& file, const std::string& dir) {
  VERGE_ASSIGN(YamlNode root, parse_yaml(text, file));
  Recipe r;
  r.file = file;
  Checker checker(file, r.lines);
  VERGE_RETURN_IF_ERROR(checker.object(root, recipe_object(), ""));

  r.name = text_of(root, "name");
  if (!r.name.empty() && !valid_name(r.name)) {
    return checker.fail(*root.find("name"), "name", "'" + shortened(r.name) + "' is not a name: 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first");
  }
  r.version = integer_of(root, "version", 0);
  r.description = text_of(root, "description");
  r.family = text_of(root, "family");
  if (!r.family.empty() && !valid_name(r.family)) {
    return checker.fail(*root.find("family"), "family", "'" + shortened(r.family) + "' is not a name: 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first");
  }
  r.model = resolved(dir, text_of(root, "model"));
  VERGE_RETURN_IF_ERROR(exits_of(root, dir, checker, r));
  r.kind = text_of(root, "kind");
  r.signature = text_of(root, "signature");
  r.batch = text_of(root, "batch");
  if (!r.batch.empty() && !r.exits.empty()) return checker.fail(*root.find("batch"), "batch", "belongs to models without exits, whose stages always have a batch");
  r.labels = resolved(dir, text_of(root, "labels"));
  if (const YamlNode* inputs = root.find("inputs")) {
    if (inputs->items.empty()) return checker.fail(*inputs, "inputs", "must not be empty; leave it out for the network's own inputs");
    for (size_t i = 0; i < inputs->items.size(); ++i) {
      const YamlNode& n = inputs->items[i];
      RecipeInput in{text_of(n, "name"), n.find("dtype") ? dtype_from_name(text_of(n, "dtype")) : DType::kInvalid, shape_of(n, "shape"),
                     text_of(n, "feeds"), steps_of(n)};
      std::string path = path_of("inputs", i);
      if (!in.steps.empty() && in.dtype == DType::kInvalid) return checker.fail(n, path + ".dtype", "required where there are steps");
      if (!in.steps.empty() && !in.shape) return checker.fail(n, path + ".shape", "required where there are steps ([] for one element a sample)");
      r.inputs.push_back(std::move(in));
    }
    VERGE_RETURN_IF_ERROR(unique_names(root, "inputs", r.inputs, checker));
  }
  if (const YamlNode* outputs = root.find("outputs")) {
    if (outputs->items.empty()) return checker.fail(*outputs, "outputs", "must not be empty; leave it out for the network's own outputs");
    for (const YamlNode& n : outputs->items) r.outputs.push_back({text_of(n, "name"), text_of(n, "from"), steps_of(n)});
    VERGE_RETURN_IF_ERROR(unique_names(root, "outputs", r.outputs, checker));
  }
  if (const YamlNode* sequence = root.find("sequence")) {
    auto parsed = parse_sequence(yaml_to_json(*sequence), "sequence");
    if (!parsed.ok()) return checker.fail(*sequence, "sequence", parsed.status().message());
    r.sequence = std::move(parsed).value();
    if (!r.sequence.given()) return checker.fail(*sequence, "sequence", "names neither a control nor a state; leave it out for a model without either");
  }
  if (const YamlNode* data = root.find("data")) {
    if (const YamlNode* n = data->find("calibration")) {
      VERGE_ASSIGN(r.calibration, dataset_of(*n, "data.calibration", dir, checker));
    }
    if (const YamlNode* n = data->find("evaluation")) {
      VERGE_ASSIGN(r.evaluation, dataset_of(*n, "data.evaluation", dir, checker));
    }
  }
  if (const YamlNode* metric = root.find("metric")) {
    VERGE_ASSIGN(r.metric.kind, metric_from_name(text_of(*metric, "kind")));
    r.metric.k = static_cast<int>(integer_of(*metric, "k", 5));
    r.metric.output = text_of(*metric, "output");
    if (metric->find("k") && r.metric.kind != MetricKind::kTopK) return checker.fail(*metric->find("k"), "metric.k", "belongs to kind topk only");
    if (!r.evaluation) return checker.fail(*metric, "metric", "needs data.evaluation: accuracy is measured, never invented");
  }
  if (const YamlNode* limits = root.find("limits")) {
    r.max_accuracy_loss = number_of(*limits, "max_accuracy_loss");
    r.max_abs_diff = number_of(*limits, "max_abs_diff");
  }
  if (const YamlNode* targets = root.find("targets")) {
    r.targets.include = strings_of(*targets, "include");
    r.targets.exclude = strings_of(*targets, "exclude");
    if (const YamlNode* batches = targets->find("batches")) {
      for (const YamlNode& item : batches->items) {
        int64_t b = 1;
        yaml_integer(item, b);
        r.targets.batches.push_back(b);
      }
      if (r.targets.batches.empty() || r.targets.batches.size() > 16) return checker.fail(*batches, "targets.batches", "expected 1 to 16 batch sizes");
      std::sort(r.targets.batches.begin(), r.targets.batches.end());
      r.targets.batches.erase(std::unique(r.targets.batches.begin(), r.targets.batches.end()), r.targets.batches.end());
    }
  }
  return r;
}

Result<Recipe> read_recipe(const std::string& path) {
  VERGE_ASSIGN(std::string text, os::read_file(path, kMaxYamlBytes));
  VERGE_ASSIGN(std::string full, os::absolute(path));
  return parse_recipe(text, path, os::dir_name(full));
}

namespace {

Json steps_json(const std::vector<StepSpec>& steps) {
  Json list = Json::array();
  for (const StepSpec& s : steps) {
    // Parameters in the order of their names, so that the order in the file does not matter.
    std::map<std::string, Json> sorted;
    for (const auto& [key, value] : s.params.items()) sorted[key] = value;
    Json params = Json::object();
    for (const auto& [key, value] : sorted) params[key] = value;
    list.push_back(Json{{"op", s.op}, {"params", params}});
  }
  return list;
}

Json optional_json(const std::optional<double>& d) { return d ? Json(*d) : Json(nullptr); }

}  // namespace

Json normalised_recipe(const Recipe& r) {
  Json j = Json::object();
  j["name"] = r.name;
  j["version"] = r.version;
  j["description"] = r.description;
  j["kind"] = r.kind;
  j["signature"] = r.signature;
  j["inputs"] = Json::array();
  for (const RecipeInput& in : r.inputs) {
    Json shape = nullptr;
    if (in.shape) shape = std::vector<int64_t>(in.shape->dims().begin(), in.shape->dims().end());
    j["inputs"].push_back(Json{{"name", in.name}, {"dtype", dtype_name(in.dtype)}, {"shape", shape}, {"feeds", in.feeds}, {"steps", steps_json(in.steps)}});
  }
  j["outputs"] = Json::array();
  for (const RecipeOutput& out : r.outputs) {
    j["outputs"].push_back(Json{{"name", out.name}, {"from", out.from}, {"steps", steps_json(out.steps)}});
  }
  if (r.sequence.given()) j["sequence"] = sequence_json(r.sequence);
  if (!r.family.empty()) j["family"] = r.family;
  if (!r.batch.empty()) j["batch"] = r.batch;
  if (!r.exits.empty()) {
    j["exits"] = Json::array();
    for (const RecipeExit& e : r.exits) j["exits"].push_back(Json{{"name", e.name}, {"output", e.output}});
  }
  j["metric"] = Json{{"kind", metric_name(r.metric.kind)}, {"k", r.metric.k}, {"output", r.metric.output}};
  j["max_accuracy_loss"] = optional_json(r.max_accuracy_loss);
  j["max_abs_diff"] = optional_json(r.max_abs_diff);
  j["include"] = r.targets.include;
  j["exclude"] = r.targets.exclude;
  j["batches"] = r.targets.batches;
  return j;
}

}  // namespace verge::build
