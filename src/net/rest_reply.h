// What REST paths have in common: methods allowed, answers in JSON, and the paths of management.
#pragma once

#include <string_view>

#include "core/json.h"
#include "net/service.h"

namespace verge::net {

// Sends reply.text as JSON.
void answer_json(Service& service, Call* call, int status = 200);
void answer_json(Service& service, Call* call, const Json& json);

// Whether the request's method is among those of the path; answers 405 where not.
enum class Allowed : uint8_t { kGet, kPost, kGetAndPost, kGetAndPut };
bool allow(Service& service, Call* call, Allowed allowed);

void unknown_path(Service& service, Call* call);

// Removes %XX; false where one is malformed.
bool percent_decode(std::string_view in, std::string* out);

// The part of `rest` before the next slash; `rest` is then what follows it.
std::string_view next_part(std::string_view* rest);

}  // namespace verge::net
