// The JSON Schema of model.yaml, made from the same tables that parsing uses.
#include "build/build.h"
#include "build/recipe_fields.h"
#include "core/json.h"
#include "core/tensor.h"
#include "transform/chain.h"

namespace verge::build {
namespace {

Json dtype_schema() {
  Json names = Json::array();
  for (int t = 1; t <= static_cast<int>(DType::kBytes); ++t) names.push_back(dtype_name(static_cast<DType>(t)));
  return Json{{"enum", names}};
}

Json list_of(Json items) { return Json{{"type", "array"}, {"items", std::move(items)}}; }

Json param_schema(const transform::ParamDoc& p) {
  Json j;
  if (p.type == "int") {
    j = {{"type", "integer"}};
  } else if (p.type == "number") {
    j = {{"type", "number"}};
  } else if (p.type == "ints" || p.type == "numbers") {
    Json element = {{"type", p.type == "ints" ? "integer" : "number"}};
    j["anyOf"] = Json::array({element, list_of(element)});
  } else if (p.type == "bool") {
    j = {{"type", "boolean"}};
  } else if (p.type == "dtype") {
    j = {{"$ref", "#/$defs/dtype"}};
  } else {
    j = {{"type", Json::array({"string", "number", "boolean"})}};
  }
  j["description"] = p.doc;
  return j;
}

Json step_schema() {
  Json choices = Json::array();
  Json bare = Json::array();
  for (const transform::OpDoc& op : transform::operators()) {
    Json params = {{"type", Json::array({"object", "null"})}, {"description", op.doc}, {"additionalProperties", false}};
    Json required = Json::array();
    params["properties"] = Json::object();
    for (const transform::ParamDoc& p : op.params) {
      params["properties"][std::string(p.name)] = param_schema(p);
      if (p.required) required.push_back(p.name);
    }
    if (required.empty()) {
      bare.push_back(op.op);
    } else {
      params["type"] = "object";
      params["required"] = required;
    }
    Json choice = {{"type", "object"}, {"additionalProperties", false}, {"required", Json::array({op.op})}};
    choice["properties"][std::string(op.op)] = params;
    choices.push_back(choice);
  }
  if (!bare.empty()) choices.push_back(Json{{"enum", bare}});
  return Json{{"description", "one transform: an operator and its parameters"}, {"oneOf", choices}};
}

Json object_schema(const ObjectDoc& doc);

Json field_schema(const FieldDoc& f) {
  auto bounded = [&](Json j) {
    if (f.min > -1e299) j["minimum"] = f.min;
    if (f.max < 1e299) j["maximum"] = f.max;
    return j;
  };
  Json j;
  switch (f.type) {
    case FieldType::kString:
      j = {{"type", "string"}, {"minLength", 1}};
      if (!f.choices.empty()) {
        j = {{"enum", Json::array()}};
        for (std::string_view rest = f.choices; !rest.empty();) {
          size_t bar = rest.find('|');
          j["enum"].push_back(rest.substr(0, bar));
          rest.remove_prefix(bar == std::string_view::npos ? rest.size() : bar + 1);
        }
      }
      break;
    case FieldType::kInteger: j = bounded({{"type", "integer"}}); break;
    case FieldType::kNumber: j = bounded({{"type", "number"}}); break;
    case FieldType::kDtype: j = {{"$ref", "#/$defs/dtype"}}; break;
    case FieldType::kShape:
      j = list_of({{"type", "integer"}, {"minimum", -1}});
      j["maxItems"] = kMaxRank - 1;
      break;
    case FieldType::kIntegers: j = list_of(bounded({{"type", "integer"}})); break;
    case FieldType::kStrings: j = list_of({{"type", "string"}}); break;
    case FieldType::kStringMap: j = {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}}; break;
    case FieldType::kSamples: j = {{"type", "string"}, {"pattern", "^[0-9]+-[0-9]*$"}}; break;
    case FieldType::kSteps: j = list_of({{"$ref", "#/$defs/step"}}); break;
    case FieldType::kObject: j = object_schema(*f.object); break;
    case FieldType::kObjects: j = list_of(object_schema(*f.object)); break;
  }
  j["description"] = f.doc;
  return j;
}

Json object_schema(const ObjectDoc& doc) {
  Json j = {{"type", "object"}, {"additionalProperties", false}};
  Json required = Json::array();
  j["properties"] = Json::object();
  for (const FieldDoc& f : doc.fields) {
    j["properties"][std::string(f.name)] = field_schema(f);
    if (f.required) required.push_back(f.name);
  }
  if (!required.empty()) j["required"] = required;
  return j;
}

}  // namespace

std::string recipe_schema_json() {
  Json j;
  j["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  j["title"] = "Verge model.yaml";
  j["description"] = "What a model is: its network, what clients send and see, its data, metric and limits.";
  Json root = object_schema(recipe_object());
  for (auto& [key, value] : root.items()) j[key] = value;
  j["anyOf"] = Json::array({Json{{"required", Json::array({"model"})}}, Json{{"required", Json::array({"exits"})}}});
  j["$defs"] = {{"dtype", dtype_schema()}, {"step", step_schema()}};
  return print_json(j);
}

}  // namespace verge::build
