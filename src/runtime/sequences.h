// The sequences of one version of a stateful model: who is in progress, on which lane, and what the network said last.
//
// A request of a sequence is admitted where it arrives, in order; that says which lane is to run it. On that lane, before its run, it is fed:
// its control values and its state become network inputs; after it, the state that the network gave is kept for the next one. Requests of one
// sequence run one after the other because its lane runs them in the order of their admission, never two of them in one run of the engine.
//
// No clock and no lock: times are given. admit(), finish() and expire() of one store are not called at the same time (by the caller's lock);
// feed() and keep() may run beside them, by the lane that has the turn.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/sequence.h"
#include "core/status.h"
#include "core/tensor.h"
#include "runtime/api.h"

namespace verge::runtime {

// One sequence in progress. Valid while a turn of it is.
class SequenceEntry;

// A request that was admitted. finish() ends it, once.
struct SequenceTurn {
  SequenceEntry* entry = nullptr;  // nullptr: none
  uint32_t lane = 0;
  bool start = false, end = false;
};

struct SequenceCounts {
  uint64_t started = 0, ended = 0;
  uint64_t evicted_idle = 0;  // nothing came for longer than allowed
  uint64_t evicted_room = 0;  // the one unused for longest, for a new one
  uint64_t refused = 0;       // requests
};

class SequenceStore {
 public:
  // `spec` fits `network` (check_sequence). `lanes`: among how many the sequences are dealt out.
  SequenceStore(SequenceSpec spec, const Signature& network, std::string model, uint32_t lanes);
  ~SequenceStore();
  SequenceStore(const SequenceStore&) = delete;
  SequenceStore& operator=(const SequenceStore&) = delete;

  // kInvalidArgument where the request names no sequence, or one that has not begun; kResourceExhausted where there is no room for another.
  Result<SequenceTurn> admit(const Sequence& sequence, uint64_t now_ns);

  // The network inputs that the store feeds, by their index in the signature.
  std::span<const uint32_t> fed_inputs() const { return fed_; }
  // Before the run: views[k] is the input fed_inputs()[k]. They are valid until the turn's keep() or finish().
  void feed(const SequenceTurn& turn, std::span<TensorView> views);
  // After a run that worked, with all of the network's outputs in the signature's order. kInternal where a state has not the size it must have.
  Status keep(const SequenceTurn& turn, std::span<const TensorView> network_outputs);
  // The request is over, whether it ran or not. After one that says so, the sequence is forgotten.
  void finish(const SequenceTurn& turn, uint64_t now_ns);

  // Forgets what was idle for too long; also done by admit(). Returns when the next one is due, UINT64_MAX: none.
  uint64_t expire(uint64_t now_ns);

  size_t size() const { return by_age_.size(); }
  const SequenceCounts& counts() const { return counts_; }
  size_t state_bytes() const { return state_bytes_; }  // of one sequence

 private:
  // How a network input is fed: a control's two values or the id, or a state.
  enum class Role : uint8_t { kStart, kEnd, kReady, kId, kState };
  struct Feed {
    Role role;
    TensorSpec spec;       // one sample
    uint32_t output = 0;   // states: the network output that gives the next
    uint32_t state = 0;    // states: which
  };
  using Age = std::list<std::unique_ptr<SequenceEntry>>;

  void add(const std::string& input, Role role, const Signature& network, const std::string& output = "");
  void forget(SequenceEntry& entry);
  uint32_t emptiest_lane() const;
  Status begin_first(const Sequence& sequence);

  const SequenceSpec spec_;
  const std::string model_;
  const uint64_t idle_ns_;
  std::vector<Feed> feeds_;
  std::vector<uint32_t> fed_;
  uint32_t states_ = 0;
  size_t state_bytes_ = 0;
  Age by_age_;  // the longest unused first
  std::unordered_map<std::string_view, Age::iterator> by_id_;  // the keys lie in the entries
  std::vector<uint32_t> on_lane_;
  SequenceCounts counts_;
};

}  // namespace verge::runtime
