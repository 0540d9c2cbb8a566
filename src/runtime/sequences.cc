#include "runtime/sequences.h"

#include <algorithm>
#include <cstring>

namespace verge::runtime {
namespace {

constexpr size_t kMaxTextBytes = 128;  // of an id that is a string, as Triton's clients know it

// Numbers and texts are different ids, also "7" and 7.
std::string key_of(const Sequence& s) { return s.text.empty() ? "#" + std::to_string(s.id) : "\"" + std::string(s.text); }

std::string shown(const Sequence& s) { return s.text.empty() ? std::to_string(s.id) : std::string(s.text); }

}  // namespace

class SequenceEntry {
 public:
  std::string key;
  std::string text;
  uint64_t id = 0;
  uint32_t lane = 0;
  uint32_t in_flight = 0;
  bool ended = false;
  uint64_t last_ns = 0;
  std::vector<Tensor> state;     // by state; of one sample
  std::vector<Tensor> controls;  // by feed; empty for states. Written anew before each run
};

SequenceStore::SequenceStore(SequenceSpec spec, const Signature& network, std::string model, uint32_t lanes)
    : spec_(std::move(spec)), model_(std::move(model)), idle_ns_(static_cast<uint64_t>(spec_.idle_seconds * 1e9)), on_lane_(std::max<uint32_t>(lanes, 1), 0) {
  add(spec_.start, Role::kStart, network);
  add(spec_.end, Role::kEnd, network);
  add(spec_.ready, Role::kReady, network);
  add(spec_.id, Role::kId, network);
  for (const SequenceState& s : spec_.state) add(s.input, Role::kState, network, s.output);
}

SequenceStore::~SequenceStore() = default;

void SequenceStore::add(const std::string& input, Role role, const Signature& network, const std::string& output) {
  if (input.empty()) return;
  const auto index = [](const std::vector<TensorSpec>& specs, const std::string& name) {
    return static_cast<uint32_t>(std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& t) { return t.name == name; }) - specs.begin());
  };
  const uint32_t i = index(network.inputs, input);
  Feed f{role, network.inputs[i]};
  for (int d = 0; d < f.spec.shape.rank(); ++d) {
    if (f.spec.shape[d] < 0) f.spec.shape[d] = 1;
  }
  if (role == Role::kState) {
    f.output = index(network.outputs, output);
    f.state = states_++;
    state_bytes_ += static_cast<size_t>(f.spec.shape.elements()) * dtype_size(f.spec.dtype);
  }
  feeds_.push_back(std::move(f));
  fed_.push_back(i);
}

Status SequenceStore::begin_first(const Sequence& sequence) {
  return invalid_argument("inference request for sequence " + shown(sequence) + " to model '" + model_ +
                          "' must specify the START flag on the first request of the sequence");
}

Result<SequenceTurn> SequenceStore::admit(const Sequence& sequence, uint64_t now_ns) {
  expire(now_ns);
  const auto refuse = [this](Status s) {
    ++counts_.refused;
    return s;
  };
  if (!sequence.given()) return refuse(invalid_argument("inference request to model '" + model_ + "' must specify a non-zero or non-empty correlation ID"));
  if (sequence.text.size() > kMaxTextBytes) {
    return refuse(invalid_argument("inference request to model '" + model_ + "': a sequence's id has at most " + std::to_string(kMaxTextBytes) + " bytes"));
  }
  std::string key = key_of(sequence);
  auto found = by_id_.find(key);
  if (!sequence.start && (found == by_id_.end() || (*found->second)->ended)) return refuse(begin_first(sequence));
  if (found == by_id_.end()) {
    if (by_age_.size() >= static_cast<size_t>(spec_.limit)) {
      const auto idle = std::find_if(by_age_.begin(), by_age_.end(), [](const auto& e) { return e->in_flight == 0; });
      if (idle == by_age_.end()) {
        return refuse(resource_exhausted("model '" + model_ + "': " + std::to_string(by_age_.size()) + " sequences are in progress, and every one has a request waiting; that is the limit"));
      }
      forget(**idle);
      ++counts_.evicted_room;
    }
    auto entry = std::make_unique<SequenceEntry>();
    entry->key = std::move(key);
    entry->text = sequence.text;
    entry->id = sequence.id;
    entry->lane = emptiest_lane();
    ++on_lane_[entry->lane];
    entry->state.resize(states_);
    entry->controls.resize(feeds_.size());
    for (const Feed& f : feeds_) {
      if (f.role == Role::kState) entry->state[f.state] = Tensor(f.spec.dtype, f.spec.shape);
    }
    by_age_.push_back(std::move(entry));
    found = by_id_.emplace(by_age_.back()->key, std::prev(by_age_.end())).first;
  }
  SequenceEntry& e = **found->second;
  by_age_.splice(by_age_.end(), by_age_, found->second);
  if (sequence.start) ++counts_.started;
  ++e.in_flight;
  e.ended = sequence.end;
  e.last_ns = now_ns;
  return SequenceTurn{&e, e.lane, sequence.start, sequence.end};
}

uint32_t SequenceStore::emptiest_lane() const {
  return static_cast<uint32_t>(std::min_element(on_lane_.begin(), on_lane_.end()) - on_lane_.begin());
}

void SequenceStore::feed(const SequenceTurn& turn, std::span<TensorView> views) {
  SequenceEntry& e = *turn.entry;
  for (size_t i = 0; i < feeds_.size(); ++i) {
    const Feed& f = feeds_[i];
    if (f.role == Role::kState) {
      // One that begins anew under an id that was in use: what is left of the old one is not its state.
      Tensor& state = e.state[f.state];
      if (turn.start) std::fill(state.data.begin(), state.data.end(), std::byte{0});
      views[i] = state.view();
      continue;
    }
    Tensor& t = e.controls[i];
    const bool text = f.role == Role::kId && f.spec.dtype == DType::kBytes;
    if (text) {
      const std::string id = e.text.empty() ? std::to_string(e.id) : e.text;
      const uint32_t length = static_cast<uint32_t>(id.size());
      t.dtype = DType::kBytes;
      t.shape = f.spec.shape;
      t.data.resize(4 + id.size());
      std::memcpy(t.data.data(), &length, 4);
      std::memcpy(t.data.data() + 4, id.data(), id.size());
      views[i] = t.view();
      continue;
    }
    if (t.dtype == DType::kInvalid) t = Tensor(f.spec.dtype, f.spec.shape);
    const uint64_t value = f.role == Role::kId ? e.id : f.role == Role::kStart ? turn.start : f.role == Role::kEnd ? turn.end : 1;
    const auto put = [&](auto v) { std::memcpy(t.data.data(), &v, sizeof v); };
    switch (f.spec.dtype) {
      case DType::kBool: put(static_cast<uint8_t>(value)); break;
      case DType::kFp32: put(static_cast<float>(value)); break;
      case DType::kInt32:
      case DType::kUint32: put(static_cast<uint32_t>(value)); break;
      default: put(value); break;
    }
    views[i] = t.view();
  }
}

Status SequenceStore::keep(const SequenceTurn& turn, std::span<const TensorView> network_outputs) {
  for (const Feed& f : feeds_) {
    if (f.role != Role::kState) continue;
    Tensor& state = turn.entry->state[f.state];
    if (f.output >= network_outputs.size() || network_outputs[f.output].data.size() != state.data.size()) {
      return internal_error("model '" + model_ + "': the state for '" + f.spec.name + "' has not the " + std::to_string(state.data.size()) + " bytes that it must have");
    }
  }
  for (const Feed& f : feeds_) {
    if (f.role != Role::kState) continue;
    Tensor& state = turn.entry->state[f.state];
    std::memcpy(state.data.data(), network_outputs[f.output].data.data(), state.data.size());
  }
  return {};
}

void SequenceStore::finish(const SequenceTurn& turn, uint64_t now_ns) {
  SequenceEntry& e = *turn.entry;
  --e.in_flight;
  e.last_ns = now_ns;
  if (turn.end) ++counts_.ended;
  if (e.in_flight == 0 && e.ended) return forget(e);
  const auto it = by_id_.find(e.key);
  by_age_.splice(by_age_.end(), by_age_, it->second);
}

uint64_t SequenceStore::expire(uint64_t now_ns) {
  // By age, but for those that have a request waiting.
  for (auto it = by_age_.begin(); it != by_age_.end();) {
    SequenceEntry& e = **it++;
    if (e.in_flight > 0) continue;
    if (now_ns < e.last_ns + idle_ns_) return e.last_ns + idle_ns_;
    forget(e);
    ++counts_.evicted_idle;
  }
  return UINT64_MAX;
}

void SequenceStore::forget(SequenceEntry& entry) {
  --on_lane_[entry.lane];
  const auto it = by_id_.find(entry.key);
  const auto age = it->second;
  by_id_.erase(it);
  by_age_.erase(age);
}

}  // namespace verge::runtime
