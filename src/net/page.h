// The page at "/": what the server does, as a person sees it in a browser, and the JSON that it asks for once a second.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"
#include "net/service.h"

namespace verge::net {

// GET /: one HTML document that needs nothing else; the same for everybody, so it needs no token.
void page(Service& service, Call* call);

// GET /v2/verge/status: models, and, as far as the listener and the token allow, counters and tenants.
void server_status(Service& service, Call* call);

// Samples of a Prometheus text whose names begin with one of those that the page shows: {"verge_requests_total": [[{"model": "m"}, 3.0], …], …}.
Json shown_samples(std::string_view metrics_text);

}  // namespace verge::net
