#include "runtime/execute.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "os/process.h"
#include "policy/dispatch.h"
#include "runtime/lane_queue.h"

namespace verge::runtime {
namespace {

// Outputs up to this size go into memory of the lane and are copied from there: an engine that is given the same place each time binds nothing again,
// which costs it more than such a copy.
constexpr size_t kCopiedOutputs = size_t{16} << 10;

bool is_aligned(const void* p, size_t alignment) { return reinterpret_cast<uintptr_t>(p) % alignment == 0; }

Status no_memory(size_t bytes) { return resource_exhausted("no memory for a buffer of " + std::to_string(bytes) + " bytes"); }

Result<std::span<const std::byte>> align(std::span<const std::byte> data, size_t alignment, Buffer& buffer) {
  if (is_aligned(data.data(), alignment)) return data;
  std::byte* copy = buffer.ensure(data.size(), alignment);
  if (copy == nullptr) return no_memory(data.size());
  if (!data.empty()) std::memcpy(copy, data.data(), data.size());
  return std::span<const std::byte>(copy, data.size());
}

void set_shape(verge_tensor& t, DType dtype, const Shape& shape) {
  t.size = sizeof t;
  t.dtype = static_cast<int32_t>(dtype);
  t.rank = shape.rank();
  std::copy(shape.dims().begin(), shape.dims().end(), t.dims);
}

// All that an engine run needs, whichever part a run plays in its batch: one that always came second must not allocate when it comes first.
void make_room(EngineBuffers& run, const Signature& network, const Signature& artifact) {
  const size_t in = artifact.inputs.size(), out = artifact.outputs.size();
  if (run.lent.size() < std::max(out, network.outputs.size())) run.lent.resize(std::max(out, network.outputs.size()));
  run.engine_inputs.resize(in);
  run.engine_outputs.resize(out);
  run.network_outputs.resize(network.outputs.size());
  if (run.wire.size() < network.outputs.size()) run.wire.resize(network.outputs.size());
}

// One engine run over `rows` samples from sample `first` of the network inputs, padded to `batch` (equal to rows: as they are). `batch` 0:
// the model has no batch axis.
struct Slice {
  int64_t first = 0, rows = 0, batch = 0;
  bool whole = true;  // all samples, no padding
};

class NetworkRun {
 public:
  NetworkRun(const Signature& network, const LoadedNetwork& resident, uint32_t lane, EngineBuffers& run, LaneWork& work, Outputs outputs,
             const policy::BatchCurve* curve)
      : network_(network),
        resident_(resident),
        artifact_(resident.model->signature()),
        instance_(*resident.instances[lane]),
        work_(work),
        run_(run),
        outputs_(outputs),
        curve_(curve) {}

  Status run() {
    prepare();
    const std::vector<int64_t>& fixed = resident_.model->fixed_batches();
    const int64_t batch = batch_size();
    if (fixed.empty() || batch < 0 || std::binary_search(fixed.begin(), fixed.end(), batch)) {
      VERGE_RETURN_IF_ERROR(run_slice({0, batch, batch, true}));
      return collect(batch, batch);
    }
    const policy::Chunk only = policy::next_chunk(fixed, batch, curve_);
    if (only.rows == batch) {
      VERGE_RETURN_IF_ERROR(run_slice({0, batch, only.batch, false}));
      return collect(batch, only.batch);
    }
    return run_chunks(fixed, batch);
  }

 private:
  void prepare() {
    run_.release_engine_outputs();
    make_room(run_, network_, artifact_);
    work_.make_room(artifact_.inputs.size(), artifact_.outputs.size());
  }

  // -1: no input of the network has a batch axis.
  int64_t batch_size() const {
    for (size_t i = 0; i < network_.inputs.size(); ++i) {
      if (const int axis = network_.inputs[i].batch_axis; axis >= 0) return run_.network_inputs[i].shape[axis];
    }
    return -1;
  }

  Status run_slice(const Slice& slice) {
    for (size_t a = 0; a < artifact_.inputs.size(); ++a) VERGE_RETURN_IF_ERROR(set_input(a, slice));
    run_.release_engine_outputs();
    for (size_t o = 0; o < artifact_.outputs.size(); ++o) VERGE_RETURN_IF_ERROR(set_output(o, slice.batch));
    VERGE_RETURN_IF_ERROR(instance_.run(run_.engine_inputs, run_.engine_outputs));
    if (slice.batch > slice.rows) run_.padded += static_cast<uint64_t>(slice.batch - slice.rows);
    return {};
  }

  Status set_input(size_t a, const Slice& slice) {
    const uint32_t n = resident_.binding.inputs[a];
    const TensorView& in = run_.network_inputs[n];
    const TensorSpec& spec = network_.inputs[n];
    verge_tensor& t = run_.engine_inputs[a];
    t = {};
    if (!artifact_.inputs[a].shape.accepts(in.shape) && slice.whole) {
      return invalid_argument("input '" + spec.name + "': this variant takes " + artifact_.inputs[a].shape.to_string() + ", which " + in.shape.to_string() +
                              " does not fit; ask for another one by verge.variant");
    }
    Shape shape = in.shape;
    std::span<const std::byte> data = in.data;
    if (!slice.whole && spec.batch_axis >= 0) {
      if (spec.batch_axis != 0 || in.dtype == DType::kBytes) {
        return unimplemented("input '" + spec.name + "': batches of " + std::to_string(in.shape[spec.batch_axis]) +
                             " cannot be cut for this variant, whose files have fixed batch sizes");
      }
      const size_t sample = in.data.size() / static_cast<size_t>(in.shape[0]);
      const size_t rows = static_cast<size_t>(slice.rows), batch = static_cast<size_t>(slice.batch);
      data = in.data.subspan(static_cast<size_t>(slice.first) * sample, rows * sample);
      shape[0] = slice.batch;
      if (batch > rows) {
        std::byte* padded = work_.gathered[a].ensure(batch * sample, resident_.input_alignment[a]);
        if (padded == nullptr) return no_memory(batch * sample);
        std::memcpy(padded, data.data(), data.size());
        // The last sample again: zeros may be no sample at all to the network.
        for (size_t r = rows; r < batch; ++r) std::memcpy(padded + r * sample, data.data() + (rows - 1) * sample, sample);
        data = {padded, batch * sample};
      }
    }
    set_shape(t, in.dtype, shape);
    if (in.dtype == DType::kBytes) {
      VERGE_RETURN_IF_ERROR(engine::bytes_to_engine({in.dtype, shape, data}, work_.offsets[a], work_.blobs[a]));
      t.data = work_.blobs[a].data();
      t.byte_size = work_.blobs[a].size();
      t.offsets = work_.offsets[a].data();
      return {};
    }
    VERGE_ASSIGN(data, align(data, resident_.input_alignment[a], work_.gathered[a]));
    t.data = const_cast<std::byte*>(data.data());
    t.byte_size = data.size();
    return {};
  }

  // Lends a buffer where the engine takes one and the shape is known beforehand.
  Status set_output(size_t o, int64_t batch) {
    verge_tensor& t = run_.engine_outputs[o];
    t = {};
    t.size = sizeof t;
    const TensorSpec& spec = artifact_.outputs[o];
    if (!resident_.lends_outputs || spec.dtype == DType::kBytes) return {};
    Shape shape = spec.shape;
    if (spec.batch_axis >= 0 && shape[spec.batch_axis] < 0 && batch >= 0) shape[spec.batch_axis] = batch;
    const int64_t elements = shape.elements();
    if (!shape.is_static() || elements < 0) return {};
    const size_t bytes = static_cast<size_t>(elements) * dtype_size(spec.dtype);
    Buffer& buffer = outputs_ == Outputs::kLane && bytes <= kCopiedOutputs ? work_.lent[o] : run_.lent[o];
    t.data = buffer.ensure(bytes, resident_.output_alignment[o]);
    if (t.data == nullptr) return no_memory(bytes);
    t.byte_size = bytes;
    return {};
  }

  Result<TensorView> output_view(size_t n) {
    const verge_tensor& t = run_.engine_outputs[resident_.binding.outputs[n]];
    const TensorSpec& spec = network_.outputs[n];
    VERGE_ASSIGN(const Shape shape, Shape::from({t.dims, static_cast<size_t>(t.rank)}));
    if (t.dtype != static_cast<int32_t>(spec.dtype) || !shape.is_static()) {
      return internal_error("the engine answered output '" + spec.name + "' as " + std::string(dtype_name(static_cast<DType>(t.dtype))) + shape.to_string() +
                            " where " + std::string(dtype_name(spec.dtype)) + spec.shape.to_string() + " is declared");
    }
    if (t.space.kind != VERGE_SPACE_HOST || t.has_strides != 0) return unimplemented("output '" + spec.name + "' is not dense in host memory");
    if (spec.dtype == DType::kBytes) {
      engine::bytes_from_engine(t, run_.wire[n]);
      return TensorView{DType::kBytes, shape, run_.wire[n]};
    }
    const int64_t elements = shape.elements();
    if (elements < 0 || static_cast<uint64_t>(elements) * dtype_size(spec.dtype) != t.byte_size) {
      return internal_error("the engine answered output '" + spec.name + "' with " + std::to_string(t.byte_size) + " bytes for " +
                            std::string(dtype_name(spec.dtype)) + shape.to_string());
    }
    return TensorView{spec.dtype, shape, {static_cast<const std::byte*>(t.data), static_cast<size_t>(t.byte_size)}};
  }

  // Views of the engine's outputs, padding cut off.
  Status collect(int64_t rows, int64_t batch) {
    for (size_t n = 0; n < network_.outputs.size(); ++n) {
      VERGE_ASSIGN(TensorView v, output_view(n));
      if (rows < batch && network_.outputs[n].batch_axis >= 0) VERGE_RETURN_IF_ERROR(keep_rows(n, rows, batch, v));
      run_.network_outputs[n] = v;
    }
    return {};
  }

  Status keep_rows(size_t n, int64_t rows, int64_t batch, TensorView& v) {
    const TensorSpec& spec = network_.outputs[n];
    if (spec.batch_axis != 0 || v.dtype == DType::kBytes || v.shape.rank() == 0 || v.shape[0] != batch) {
      return unimplemented("output '" + spec.name + "': " + std::to_string(rows) + " samples cannot be cut out of " + v.shape.to_string());
    }
    v.data = v.data.first(v.data.size() / static_cast<size_t>(batch) * static_cast<size_t>(rows));
    v.shape[0] = rows;
    return {};
  }

  // More samples than one run should take: several, their outputs put together in buffers of ours.
  Status run_chunks(const std::vector<int64_t>& fixed, int64_t batch) {
    const size_t outputs = network_.outputs.size(), lent = artifact_.outputs.size();
    if (run_.lent.size() < lent + outputs) run_.lent.resize(lent + outputs);
    for (int64_t first = 0; first < batch;) {
      const policy::Chunk chunk = policy::next_chunk(fixed, batch - first, curve_);
      VERGE_RETURN_IF_ERROR(run_slice({first, chunk.rows, chunk.batch, false}));
      for (size_t n = 0; n < outputs; ++n) {
        VERGE_ASSIGN(TensorView v, output_view(n));
        VERGE_RETURN_IF_ERROR(keep_rows(n, chunk.rows, chunk.batch, v));
        const size_t sample = v.data.size() / static_cast<size_t>(chunk.rows), bytes = sample * static_cast<size_t>(batch);
        TensorView& whole = run_.network_outputs[n];
        if (first == 0) {
          std::byte* buffer = run_.lent[lent + n].ensure(bytes, 64);
          if (buffer == nullptr) return no_memory(bytes);
          whole = v;
          whole.shape[0] = batch;
          whole.data = {buffer, bytes};
        } else if (whole.data.size() != bytes) {
          return internal_error("output '" + network_.outputs[n].name + "' changes its shape from one part of the batch to the next");
        }
        std::memcpy(const_cast<std::byte*>(whole.data.data()) + static_cast<size_t>(first) * sample, v.data.data(), v.data.size());
      }
      first += chunk.rows;
    }
    run_.release_engine_outputs();
    return {};
  }

  const Signature& network_;
  const LoadedNetwork& resident_;
  const Signature& artifact_;
  engine::Instance& instance_;
  LaneWork& work_;
  EngineBuffers& run_;
  const Outputs outputs_;
  const policy::BatchCurve* const curve_;
};

}  // namespace

Status run_network(const Signature& network, const LoadedNetwork& loaded, uint32_t lane, EngineBuffers& buffers, LaneWork& work, Outputs outputs,
                   const policy::BatchCurve* curve) {
  return NetworkRun(network, loaded, lane, buffers, work, outputs, curve).run();
}

namespace {

// A request's samples among those that share its engine run.
struct Part {
  int64_t first = 0, rows = 1, of = 1;
};

// The lane's memory for a network input, where the engine will read it: what the last step of a chain writes there is copied no more.
class InputPlace : public transform::Place {
 public:
  InputPlace(const Resident& resident, LaneWork& work, size_t input, const Part& part) : resident_(resident), work_(work), input_(input), part_(part) {}
  std::byte* take(size_t bytes) override {
    const auto& bound = resident_.binding.inputs;
    const auto a = static_cast<size_t>(std::find(bound.begin(), bound.end(), input_) - bound.begin());
    const auto rows = static_cast<size_t>(part_.rows);
    if (a >= resident_.input_alignment.size() || part_.rows < 1 || bytes % rows != 0) return nullptr;
    const size_t sample = bytes / rows, whole = sample * static_cast<size_t>(part_.of);
    // A sample of another size than the first's will be found out; until then it must not disturb the others.
    if (part_.first != 0 && work_.joined_inputs[input_].data.size() != whole) return nullptr;
    std::byte* begin = work_.joined[input_].ensure(whole, resident_.input_alignment[a]);
    return begin == nullptr ? nullptr : begin + static_cast<size_t>(part_.first) * sample;
  }

 private:
  const Resident& resident_;
  LaneWork& work_;
  const size_t input_;
  const Part part_;
};

// The request's inputs on their way to the network: views of the request or of the lane's memory, good until the next request is prepared.
Status prepare_inputs(Run& run, LaneWork& work, const Part& part) {
  const ServedVersion& version = *run.version;
  const Manifest& m = version.manifest();
  const Request& request = *run.request;
  run.reason = Reason::kTransform;
  run.network_inputs.resize(m.network.inputs.size());
  if (work.before.size() < m.inputs.size()) work.before.resize(m.inputs.size());
  if (work.aligned.size() < m.inputs.size()) work.aligned.resize(m.inputs.size());
  for (size_t s = 0; s < m.inputs.size(); ++s) {
    const InputTensor& in = request.inputs[run.inputs[s]];
    TensorView view{in.dtype, in.shape, in.data};
    const transform::Chain& chain = version.before[s];
    if (!chain.empty()) {
      VERGE_ASSIGN(view.data, align(view.data, std::max<size_t>(dtype_size(in.dtype), 1), work.aligned[s]));
      InputPlace place(*run.resident, work, version.feeds[s], part);
      VERGE_ASSIGN(view, chain.run(view, work.before[s], version.stages.empty() ? &place : nullptr));
    }
    const TensorSpec& spec = m.network.inputs[version.feeds[s]];
    if (!spec.shape.accepts(view.shape)) {
      return invalid_argument("input '" + m.inputs[s].spec.name + "': its steps make " + view.shape.to_string() + " of it, but the network takes " +
                              spec.shape.to_string());
    }
    run.network_inputs[version.feeds[s]] = view;
  }
  return {};
}

// Samples that a prepared run brings along the network's batch axis. 0: its inputs disagree.
int64_t network_rows(const Run& run) {
  int64_t rows = 0;
  for (const TensorView& v : run.network_inputs) {
    if (v.shape.rank() == 0 || v.shape[0] < 1 || (rows != 0 && v.shape[0] != rows)) return 0;
    rows = v.shape[0];
  }
  return rows;
}

bool same_but_rows(const Run& a, const Run& b) {
  for (size_t i = 0; i < a.network_inputs.size(); ++i) {
    const Shape &x = a.network_inputs[i].shape, &y = b.network_inputs[i].shape;
    if (x.rank() != y.rank()) return false;
    for (int d = 1; d < x.rank(); ++d) {
      if (x[d] != y[d]) return false;
    }
  }
  return true;
}

// Puts the prepared inputs of `run` behind those of the requests before it, as samples `at`, … of `rows`. The one copy that sharing an engine
// run costs, and none where a chain's last step has written there.
Status join(const Run& run, int64_t at, int64_t rows, LaneWork& work) {
  const Resident& resident = *run.resident;
  for (size_t a = 0; a < resident.binding.inputs.size(); ++a) {
    const size_t n = resident.binding.inputs[a];
    const TensorView& in = run.network_inputs[n];
    const size_t sample = in.data.size() / static_cast<size_t>(run.batch), bytes = sample * static_cast<size_t>(rows);
    TensorView& whole = work.joined_inputs[n];
    if (at == 0) {
      std::byte* buffer = work.joined[n].ensure(bytes, resident.input_alignment[a]);
      if (buffer == nullptr) return no_memory(bytes);
      whole = in;
      whole.shape[0] = rows;
      whole.data = {buffer, bytes};
    }
    if (whole.data.size() != bytes) return internal_error("requests of a batch differ in the size of a sample");
    std::byte* to = const_cast<std::byte*>(whole.data.data()) + static_cast<size_t>(at) * sample;
    if (!in.data.empty() && to != in.data.data()) std::memcpy(to, in.data.data(), in.data.size());
  }
  return {};
}

// Where the answer of an engine run lies. Of a multi-exit model that is the stage at whose exit it was left, and its one output stands for the
// network's.
struct Answered {
  EngineBuffers& buffers;
  const LoadedNetwork& loaded;
  int64_t only = -1;  // the output that stands for all
  uint32_t output(uint32_t n) const { return only < 0 ? n : static_cast<uint32_t>(only); }
};

Answered answered_at(Run& run, uint32_t exit) {
  return {run.resident->groups[run.lane()].stages[exit], run.resident->stages[exit], run.version->stages[exit].output};
}
Answered answered(Run& engine_run) {
  return engine_run.version->stages.empty() ? Answered{engine_run, *engine_run.resident} : answered_at(engine_run, engine_run.plan.left_at);
}

// Where an answer is put together.
struct Taken {
  std::vector<OutputTensor>& outputs;
  std::vector<Buffer>& lent;
  std::vector<transform::Chain::Scratch>& after;
};

// The wanted outputs of one request: samples `first`, …, of an engine run (rows < 0: all of them).
Status take_outputs(Run& run, const Answered& from, int64_t first, int64_t rows, const Taken& into) {
  const ServedVersion& version = *run.version;
  const Manifest& m = version.manifest();
  run.reason = Reason::kTransform;
  if (into.after.size() < m.outputs.size()) into.after.resize(m.outputs.size());
  into.outputs.clear();
  for (const uint32_t o : run.wanted) {
    const transform::Chain& chain = version.after[o];
    const uint32_t n = from.output(version.from[o]);
    TensorView view = from.buffers.network_outputs[n];
    if (rows >= 0) {
      if (view.shape.rank() == 0 || view.shape[0] < first + rows) {
        return internal_error("output '" + m.outputs[o].from + "' of a batch came back as " + view.shape.to_string());
      }
      const size_t sample = view.data.size() / static_cast<size_t>(view.shape[0]);
      view.data = view.data.subspan(static_cast<size_t>(first) * sample, static_cast<size_t>(rows) * sample);
      view.shape[0] = rows;
    }
    const uint32_t a = from.loaded.binding.outputs[n];
    const std::byte* from_engine = view.data.data();
    if (!chain.empty()) {
      VERGE_ASSIGN(view, chain.run(view, into.after[o]));
    }
    // What no step has put elsewhere lies with the engine run: in buffers of the batch's first request, of the lane, or of the instance, which are
    // used again before the answer is written.
    const bool lanes_own = &from.buffers != &run;
    if ((view.dtype != DType::kBytes || lanes_own) && view.data.data() == from_engine) {
      const verge_tensor& t = from.buffers.engine_outputs[a];
      const auto* begin = static_cast<const std::byte*>(t.data);
      const bool inside = from_engine >= begin && from_engine < begin + std::max<uint64_t>(t.byte_size, 1);
      if (lanes_own || (inside && t.owner == nullptr && t.release == nullptr && t.data != into.lent[a].data())) {
        if (into.lent.size() <= a) into.lent.resize(a + 1);
        std::byte* copy = into.lent[a].ensure(view.data.size(), 64);
        if (copy == nullptr) return no_memory(view.data.size());
        if (!view.data.empty()) std::memcpy(copy, view.data.data(), view.data.size());
        view.data = {copy, view.data.size()};
      }
    }
    const bool labelled = !version.source->labels.empty() && view.shape.rank() > 0 && static_cast<size_t>(view.shape[view.shape.rank() - 1]) == version.source->labels.size();
    into.outputs.push_back({m.outputs[o].spec.name, view.dtype, view.shape, view.data, labelled ? &version.source->labels : nullptr});
  }
  return {};
}

Status take_outputs(Run& run, Run& engine_run, int64_t first, int64_t rows) {
  return take_outputs(run, answered(engine_run), first, rows, {run.request->outputs, run.lent, run.after});
}

void execute_alone(Run& run, LaneGroup& group) {
  LaneWork& work = group.work;
  run.status = prepare_inputs(run, work, {});
  LiveSequences* sequences = run.version->sequences.get();
  if (sequences != nullptr && run.status.ok()) {
    const auto inputs = sequences->store.fed_inputs();
    run.fed.resize(inputs.size());
    sequences->store.feed(run.turn, run.fed);
    for (size_t k = 0; k < inputs.size(); ++k) run.network_inputs[inputs[k]] = run.fed[k];
  }
  run.assembled_ns = os::monotonic_ns();
  if (const uint64_t deadline = run.request->bounds.deadline_ns; run.status.ok() && deadline != 0 && run.assembled_ns >= deadline) {
    run.reason = Reason::kExpired;
    run.status = Status(Code::kDeadlineExceeded, "");  // the front words it
  }
  if (run.status.ok() && !run.version->stages.empty()) {
    run.status = run_chain(run);
  } else if (run.status.ok()) {
    run.reason = Reason::kEngine;
    run.counts_run = true;
    run.run_rows = run.batch;
    run.status = run_network(run.version->manifest().network, *run.resident, run.lane(), run, work, Outputs::kLane, &group.curve);
  }
  if (sequences != nullptr && run.status.ok()) run.status = sequences->store.keep(run.turn, run.network_outputs);
  if (run.status.ok()) run.status = take_outputs(run, run, 0, -1);
  run.finished_ns = os::monotonic_ns();
}

// False where they cannot share a run after all; nothing is changed then but their prepared inputs.
bool execute_together(std::span<Run* const> batch, LaneGroup& group) {
  LaneWork& work = group.work;
  Run& first = *batch.front();
  int64_t rows = 0, at = 0;
  for (const Run* run : batch) rows += run->batch;
  for (Run* run : batch) {
    if (!prepare_inputs(*run, work, {at, run->batch, rows}).ok() || network_rows(*run) != run->batch || !same_but_rows(first, *run)) return false;
    if (!join(*run, at, rows, work).ok()) return false;
    at += run->batch;
  }
  const uint64_t assembled = os::monotonic_ns();
  std::swap(first.network_inputs, work.joined_inputs);
  const Status ran = run_network(first.version->manifest().network, *first.resident, first.lane(), first, work, Outputs::kLane, &group.curve);
  std::swap(first.network_inputs, work.joined_inputs);
  // What the engine refuses may be the fault of one of them: each then runs by itself.
  if (!ran.ok()) return false;
  first.counts_run = true;
  at = 0;
  for (Run* run : batch) {
    run->run_rows = rows;
    run->assembled_ns = assembled;
    run->status = take_outputs(*run, first, at, run->batch);
    at += run->batch;
  }
  const uint64_t finished = os::monotonic_ns();
  for (Run* run : batch) run->finished_ns = finished;
  return true;
}

}  // namespace

Status take_exit(Run& run, uint32_t exit, ExitAnswer& into) { return take_outputs(run, answered_at(run, exit), 0, -1, {into.outputs, into.lent, into.after}); }

void execute(std::span<Run* const> batch) {
  Run& first = *batch.front();
  const uint64_t begun = os::monotonic_ns();
  for (Run* run : batch) {
    run->started_ns = run->assembled_ns = begun;
    run->counts_run = false;
    run->padded = 0;
    if (run->version->stages.empty()) make_room(*run, run->version->manifest().network, run->resident->model->signature());
  }
  LaneGroup& group = first.resident->groups[first.lane()];
  if (batch.size() > 1 && execute_together(batch, group)) {
    first.resident->predictor(first.lane()).learn(first.run_rows, first.finished_ns - begun, first.finished_ns);
  } else {
    for (Run* run : batch) {
      const uint64_t own = batch.size() > 1 ? os::monotonic_ns() : begun;
      run->started_ns = own;
      execute_alone(*run, group);
      // A chain learns stage by stage.
      if (run->status.ok() && run->version->stages.empty()) run->resident->predictor(run->lane()).learn(run->batch, run->finished_ns - own, run->finished_ns);
    }
  }
  group.work.trim();
}

void learn(std::span<Run* const> batch) {
  LaneGroup& group = batch.front()->resident->groups[batch.front()->lane()];
  for (const Run* run : batch)
    if (run->counts_run && run->status.ok()) group.curve.learn(run->run_rows, run->finished_ns - run->started_ns);
  group.tell_predictions();
}

}  // namespace verge::runtime
