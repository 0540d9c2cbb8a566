// The one table of model.yaml's fields: parsing, `verge schema` and the documentation are made from it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/suggest.h"

namespace verge::build {

enum class FieldType {
  kString,
  kInteger,
  kNumber,
  kDtype,        // a data type's Open Inference name
  kShape,        // list of dimensions, -1 for a free one
  kIntegers,     // list of integers
  kStrings,      // list of strings
  kStringMap,    // object of strings
  kSamples,      // "FIRST-LAST" or "FIRST-"
  kSteps,        // list of transforms
  kObject,       // `object`
  kObjects,      // list of `object`
};

struct ObjectDoc;

struct FieldDoc {
  std::string_view name;
  FieldType type;
  bool required;
  std::string_view doc;
  std::string_view choices = {};  // "a|b|c": the only values allowed; empty: any
  const ObjectDoc* object = nullptr;
  double min = -1e300;  // of numbers and integers, and of the elements of kIntegers
  double max = 1e300;
};

struct ObjectDoc {
  std::string_view name;
  std::span<const FieldDoc> fields;
  const FieldDoc* find(std::string_view field) const;
};

// The root object.
const ObjectDoc& recipe_object();

}  // namespace verge::build
