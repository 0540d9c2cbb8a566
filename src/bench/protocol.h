// The Open Inference Protocol v2 as its client: what models are, requests ready to be sent, and what an answer says. Over gRPC, and over REST with tensors
// as binary data or as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/channel.h"
#include "bench/plan.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::bench {

enum class Protocol { kGrpc, kRest, kRestJson };
std::string_view protocol_name(Protocol p);  // "grpc", "rest", "rest-json"

struct ModelInfo {
  std::string name, platform;
  std::vector<TensorSpec> inputs, outputs;  // shapes as the server says them; -1 is free
};
struct ServerInfo {
  std::string name, version;
};
using Headers = std::vector<std::pair<std::string, std::string>>;
Result<ModelInfo> ask_model(Channel& channel, Protocol p, const std::string& model, const std::string& version, const Headers& headers);
Result<ServerInfo> ask_server(Channel& channel, Protocol p, const Headers& headers);

// One sample's tensors, in the order of the model's inputs; shapes with the batch axis.
using Sample = std::vector<Tensor>;

// A request's body, framed for the protocol. `output`: the only one to be sent back; empty: all. With `timeout`, REST carries the parameter "timeout" (µs),
// which patch_timeout() sets.
struct RequestBody {
  std::string bytes;
  size_t timeout_at = 0;   // where its digits stand; 0: it has none
  size_t json_bytes = 0;   // REST with binary data: for Inference-Header-Content-Length
};
RequestBody make_request(Protocol p, const TenantSpec& tenant, const ModelInfo& model, const Sample& sample, const std::string& output, bool timeout);
void patch_timeout(RequestBody& body, uint64_t us);
Form make_form(Protocol p, const TenantSpec& tenant, size_t json_bytes, const Headers& headers);

// What an answer says. Views into the exchange, valid until it is used again. Nothing allocates.
struct Answer {
  bool ok = false;
  std::string_view code;  // of an error: "RESOURCE_EXHAUSTED", "HTTP 404", …
  std::string_view variant, exit;
  double expected_accuracy = -1, predicted_ms = -1, measured_ms = -1, energy_mj = -1;
  bool energy_measured = false;
};
Answer read_answer(Protocol p, const Exchange& e);
// The message of a refusal, readable.
std::string error_text(Protocol p, const Exchange& e);

// How many of the samples' classes equal `labels`: the largest of each sample's scores, or the value itself where there is one whole number a sample; one
// score a sample means class 1 from 0.5 on. -1 where the answer has no such output.
int count_right(Protocol p, const Exchange& e, std::string_view output, const int64_t* labels, int64_t samples);

}  // namespace verge::bench
