// The statistics extension.
#pragma once

#include <vector>

#include "core/json.h"
#include "net/bytes.h"
#include "runtime/api.h"

namespace verge::net {

// The fields of a ModelStatisticsResponse.
void write_statistics(const std::vector<runtime::ModelStatistics>& models, ByteBuffer* out);
Json statistics_json(const std::vector<runtime::ModelStatistics>& models);

}  // namespace verge::net
