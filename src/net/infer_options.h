// Parameters of inference requests, whichever protocol carried them: typed values onto runtime::Request, and what concerns the data plane
// alone. Unknown names are accepted and ignored, as Triton's clients may send their own; those under "verge." must be known.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"
#include "net/parameter.h"
#include "runtime/api.h"

namespace verge::net {

class SharedMemory;
class SharedRegion;

// Where a tensor lies in shared memory, as a request says it.
struct SharedPlace {
  std::string_view region;  // empty: it does not
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// What is asked of one output beside its name.
struct WantedOutput {
  std::string_view name;
  bool binary = false;         // REST: as binary data
  bool binary_given = false;   // else the request's binary_data_output decides
  uint32_t classes = 0;        // "classification": that many best classes instead of the values; 0: the values
  SharedPlace place;           // "shared_memory_…": where the values go instead of the answer
  std::shared_ptr<const SharedRegion> region;  // of that place, held until the answer is written
  uint64_t written = 0;        // bytes put there
};

// What a request asks of the data plane itself.
struct InferOptions {
  std::vector<WantedOutput> wanted;   // REST: all that were asked for, in order; gRPC: those with parameters
  bool binary_outputs = false;        // "binary_data_output": REST, where `wanted` does not say otherwise
  bool empty_final_response = false;  // "triton_enable_empty_final_response": in streams, an answer without outputs ends each request
  uint64_t timeout_us = 0;            // "timeout"; 0: none
  double deadline_ms = 0;             // "verge.deadline_ms"; 0: none
  std::vector<size_t> shared_inputs;  // those that came from shared memory, ascending
  const SharedMemory* memory = nullptr;  // the server's, for as long as the call lives; nullptr: not enabled

  void clear() {
    wanted.clear();
    shared_inputs.clear();
    binary_outputs = empty_final_response = false;
    timeout_us = 0;
    deadline_ms = 0;
  }
  // nullptr where nothing was said of it.
  const WantedOutput* find(std::string_view name) const {
    for (const WantedOutput& w : wanted)
      if (w.name == name) return &w;
    return nullptr;
  }
  WantedOutput* find(std::string_view name) { return const_cast<WantedOutput*>(std::as_const(*this).find(name)); }
};

inline constexpr size_t kMaxSequenceText = 128;  // bytes of a sequence_id that is a string

// One parameter of a request.
Status set_request_parameter(std::string_view name, const ParameterValue& value, runtime::Request* request, InferOptions* options);
// One parameter of a requested output; *known where it says something.
Status set_output_parameter(std::string_view name, const ParameterValue& value, WantedOutput* output, bool* known);

// One parameter of an input or output that may be in shared memory.
Status set_place_parameter(std::string_view name, const ParameterValue& value, SharedPlace* place);

// Puts the parameters `timeout` and `verge.deadline_ms` into the deadline, which stays where it is earlier. They count from arrival_ns.
void bound_deadline(const InferOptions& options, runtime::Request* request);

}  // namespace verge::net
