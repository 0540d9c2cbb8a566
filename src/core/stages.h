// The stages of a multi-exit model as they stand in a manifest: their text form and the proof that each finds its inputs.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "core/manifest.h"
#include "core/status.h"

namespace verge {

inline constexpr size_t kMostStages = 64;

Json stages_json(const std::vector<StageSpec>& stages);
Result<std::vector<StageSpec>> parse_stages(const Json& array, const std::string& where);

// That there are 2 to kMostStages stages with exits of different names; that every stage's inputs are inputs of `network` or outputs of earlier stages,
// of the same type and shape; that no two tensors have one name; and that every exit's output can stand for the network's only one, which is the last exit's.
Status check_stages(const std::vector<StageSpec>& stages, const Signature& network);

Json variant_stages_json(const std::vector<VariantStage>& stages);
Result<std::vector<VariantStage>> parse_variant_stages(const Json& array, const std::string& where);
// That a variant has a part for each of the `stages`, and that these name artifacts which the variant names, too. A variant that was not made may have none.
Status check_variant_stages(const VariantSpec& variant, size_t stages);

}  // namespace verge
