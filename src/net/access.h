// Who may do what: what a request needs, whether its listener serves that, and whether its token allows it.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "net/call.h"

namespace verge::net {

enum class Need : uint8_t {
  kPage,        // the page at "/", which tells nothing by itself
  kHealth,      // is the server alive, is it ready
  kMetadata,    // of the server and of models
  kInfer,
  kStatistics,
  kManage,      // repository, shared memory, trace and log settings
  kMetrics,
};

// By method and path. What is unknown needs kManage, so that a new method is closed until it is listed.
Need need_of(const Call& call);

// Called when the head of a request is there, so that nothing of a refused one is received. Ok for peers that need no check.
Status admit(const Call& call);

// Whether the same peer and token might do something else; nothing is counted.
bool may(const Call& call, Need need);

// For calls with a token of single models. admit_model: of one that is named. admit_named_model: of the complete request, by its path or
// message; what names no model is more than such a token may see. The model of an inference over gRPC is known later.
Status admit_model(const Call& call, std::string_view model);
Status admit_named_model(const Call& call);

}  // namespace verge::net
