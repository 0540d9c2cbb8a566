// The classification extension: instead of an output's values, its K best classes as strings "value:index" or "value:index:label".
#pragma once

#include <cstdint>

#include "core/status.h"
#include "net/model_infer_wire.h"
#include "runtime/api.h"

namespace verge::net {

// Makes `output` a BYTES tensor of the min(K, elements) largest values, largest first, of equal ones the first; NaN comes last. Batched: of
// each row of the first axis, and the shape is [rows, K]; else of the whole tensor, and it is [K]. The text lies in `scratch`.
Status classify(runtime::OutputTensor* output, uint32_t classes, bool batched, Scratch& scratch);

}  // namespace verge::net
