// The model configuration extension: what Triton's clients ask about a model beside its tensors.
#pragma once

#include "core/json.h"
#include "net/bytes.h"
#include "runtime/api.h"

namespace verge::net {

// The fields of a ModelConfig message.
void write_model_config(const runtime::ModelDoc& doc, ByteBuffer* out);
// The same as Triton prints it, defaults included.
Json model_config_json(const runtime::ModelDoc& doc);

}  // namespace verge::net
