// Stateful models: which of a network's tensors tell it where a sequence begins and ends, and which carry its state from one request to the
// next. Clients see neither.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge {

struct SequenceState {
  std::string input;   // network input that takes the state; zeros where a sequence begins
  std::string output;  // network output that gives the next one, of the same type and shape
};

// As a network takes its inputs: each of the controls is the name of a network input of one element a sample, or empty. 1 means yes.
struct SequenceSpec {
  std::string start, end, ready;  // ready: the sample is one, not padding
  std::string id;                 // the sequence's number, or its text where the input is BYTES
  std::vector<SequenceState> state;
  int64_t limit = 1024;        // sequences in progress
  double idle_seconds = 60;    // a sequence without requests for so long is forgotten

  bool given() const { return !start.empty() || !end.empty() || !ready.empty() || !id.empty() || !state.empty(); }
  // The name of a control or of a state's input; such an input is fed by nobody else.
  bool feeds(const std::string& input) const;
  bool takes(const std::string& output) const;  // the name of a state's output
};

inline constexpr int64_t kMostSequences = 1 << 20;
inline constexpr size_t kMostStates = 256;

// That the network has these tensors, that they are of types and shapes which can be what they are named as, and that none is named twice.
Status check_sequence(const SequenceSpec& s, const Signature& network);

Json sequence_json(const SequenceSpec& s);
Result<SequenceSpec> parse_sequence(const Json& j, const std::string& where);

}  // namespace verge
