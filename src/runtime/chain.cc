#include "runtime/chain.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/scores.h"
#include "core/stages.h"
#include "os/process.h"
#include "runtime/execute.h"
#include "runtime/front.h"
#include "runtime/table.h"

namespace verge::runtime {
namespace {

int index_of(const std::vector<TensorSpec>& specs, const std::string& name) {
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

// Stage `k` on what the earlier ones left. Counts the features' bytes by whether the engine got them where they lay.
Status run_stage(const ServedVersion& version, const Resident& resident, uint32_t lane, uint32_t k, Run& run) {
  const ServedStage& stage = version.stages[k];
  const LoadedNetwork& loaded = resident.stages[k];
  LaneGroup& group = resident.groups[lane];
  EngineBuffers& buffers = group.stages[k];
  buffers.padded = 0;
  buffers.network_inputs.resize(stage.inputs.size());
  for (size_t i = 0; i < stage.inputs.size(); ++i) {
    const ServedStage::Input& from = stage.inputs[i];
    buffers.network_inputs[i] = from.stage < 0 ? run.network_inputs[from.index] : group.stages[static_cast<size_t>(from.stage)].network_outputs[from.index];
  }
  VERGE_RETURN_IF_ERROR(run_network(version.manifest().stages[k].network, loaded, lane, buffers, group.work, Outputs::kOwn));
  run.padded += buffers.padded;
  for (size_t a = 0; a < loaded.binding.inputs.size(); ++a) {
    const uint32_t n = loaded.binding.inputs[a];
    if (stage.inputs[n].stage < 0) continue;
    const TensorView& feature = buffers.network_inputs[n];
    (buffers.engine_inputs[a].data == feature.data.data() ? run.plan.shared_bytes : run.plan.copied_bytes) += feature.data.size();
  }
  return {};
}

bool accurate(const Run& run, const policy::StageKnown& stage) { return run.plan.settings.min_accuracy < 0 || stage.accuracy >= run.plan.settings.min_accuracy - 1e-9; }

// The answer of an exit beyond which the chain goes on, for the front to give out where the next stage takes too long. `*kept` says whether it still may.
Status keep(Run& run, const policy::ExitState& state, bool* kept) {
  ExitAnswer& a = *run.early[state.exit];
  VERGE_RETURN_IF_ERROR(take_exit(run, state.exit, a));
  a.exit = state.exit;
  a.chosen.accuracy = state.stages[state.exit].accuracy;
  a.chosen.confidence = state.confidence;
  run.reason = Reason::kEngine;
  *kept = run.keep(&a);
  return {};
}

Status has_gone_out(Run& run) {
  run.reason = Reason::kOverrun;
  return Status(Code::kDeadlineExceeded, "");  // nobody hears of it
}

// The answer of an exit that is not the last: to the front, which sends it while the next stage runs. Not where it is below the accuracy bound.
Status hand_out(Run& run, const policy::ExitState& state) {
  const policy::StageKnown& stage = state.stages[state.exit];
  if (!accurate(run, stage)) return {};
  ExitAnswer& a = *run.early[state.exit];
  VERGE_RETURN_IF_ERROR(take_exit(run, state.exit, a));
  a.request = run.request;
  a.model = run.plan.family.empty() ? std::string_view(run.version->source->name) : run.plan.family;
  a.version = run.plan.family.empty() ? run.version->source->version : 1;
  a.variant = run.version->manifest().variants[run.variant].id;
  a.chosen = {};
  a.chosen.said = a.chosen.several = true;
  if (!run.plan.family.empty()) a.chosen.model = run.version->source->name;
  a.chosen.exit = stage.exit;
  a.chosen.rule = run.plan.rule->name;
  a.chosen.reason = "a later exit follows";
  a.chosen.accuracy = stage.accuracy;
  a.chosen.measured_ms = static_cast<double>(state.elapsed_ns) / 1e6;
  a.chosen.confidence = state.confidence;
  a.chosen.energy_mj = state.energy_mj;
  run.front->early(&a);
  run.reason = Reason::kEngine;
  return {};
}

}  // namespace

Result<std::vector<ServedStage>> link_stages(const Manifest& m) {
  std::vector<ServedStage> out;
  if (m.stages.empty()) return out;
  VERGE_RETURN_IF_ERROR(check_stages(m.stages, m.network));
  for (size_t k = 0; k < m.stages.size(); ++k) {
    ServedStage stage;
    for (const TensorSpec& in : m.stages[k].network.inputs) {
      ServedStage::Input from;
      int found = index_of(m.network.inputs, in.name);
      for (size_t earlier = 0; found < 0 && earlier < k; ++earlier) {
        found = index_of(m.stages[earlier].network.outputs, in.name);
        from.stage = static_cast<int32_t>(earlier);
      }
      if (found < 0) return invalid_argument("stage " + std::to_string(k + 1) + ": nothing gives its input '" + in.name + "'");
      if (index_of(m.network.inputs, in.name) >= 0) from.stage = -1;
      from.index = static_cast<uint32_t>(found);
      stage.inputs.push_back(from);
    }
    const int output = index_of(m.stages[k].network.outputs, m.stages[k].output);
    if (output < 0) return invalid_argument("stage " + std::to_string(k + 1) + ": it gives no '" + m.stages[k].output + "'");
    stage.output = static_cast<uint32_t>(output);
    out.push_back(std::move(stage));
  }
  return out;
}

void known_stages(const ServedVersion& version, uint32_t variant, const Resident& resident, uint32_t lane, int64_t rows, double watts, std::span<policy::StageKnown> out) {
  const Manifest& m = version.manifest();
  const std::vector<double>& accuracies = version.exit_accuracy[variant];
  for (uint32_t k = 0; k < m.stages.size(); ++k) {
    const policy::Quantiles q = resident.predictor(lane, k).predict(rows);
    out[k] = {.exit = m.stages[k].exit,
              .accuracy = k < accuracies.size() ? accuracies[k] : -1,
              .energy_mj = watts > 0 && q.typical_ns != 0 ? watts * static_cast<double>(q.typical_ns) * 1e-6 : -1,
              .typical_ns = q.typical_ns,
              .cautious_ns = q.cautious_ns};
  }
}

Status run_chain(Run& run) {
  const ServedVersion& version = *run.version;
  const Resident& resident = *run.resident;
  Plan& plan = run.plan;
  const uint32_t count = static_cast<uint32_t>(version.stages.size()), lane = run.lane();
  std::array<policy::StageKnown, kMostStages> known;
  known_stages(version, run.variant, resident, lane, run.batch, plan.watts, {known.data(), count});
  policy::ExitState state{.stages = {known.data(), count}, .deadline_ns = plan.deadline_ns, .margin_ns = plan.margin_ns};
  uint64_t mark = run.started_ns;
  const auto elapsed = [&](uint64_t now) { return now > plan.arrival_ns ? now - plan.arrival_ns : 0; };
  state.elapsed_ns = elapsed(run.assembled_ns);
  state.nobody_waits = !run.front->others_wait(run);
  if (!run.probes && !policy::any_in_reach(*plan.rule, state, plan.settings)) {
    run.reason = Reason::kDeadlineBound;
    return Status(Code::kDeadlineExceeded, "");  // the front words it
  }
  run.reason = Reason::kEngine;
  run.counts_run = true;
  run.run_rows = run.batch;
  // What a rule looks at is worth its price; the answer's own confidence is told in any case.
  const bool looks = plan.rule->needs_thresholds || plan.rule->needs_conditions || plan.settings.confidence >= 0 || plan.every_exit || plan.keeps;
  for (uint32_t k = 0; k < count; ++k) {
    VERGE_RETURN_IF_ERROR(run_stage(version, resident, lane, k, run));
    const auto sure = [&] {
      const ScoreSummary s = summarize_scores(resident.groups[lane].stages[k].network_outputs[version.stages[k].output]);
      state.confidence = s.confidence;
      state.entropy = s.entropy;
    };
    if (looks) sure();
    const uint64_t now = os::monotonic_ns();
    resident.predictor(lane, k).learn(run.batch, now - mark, now);
    mark = now;
    state.exit = k;
    run.exits_done.store(k + 1, std::memory_order_relaxed);
    state.elapsed_ns = elapsed(now);
    state.energy_mj = plan.watts > 0 ? plan.watts * static_cast<double>(now - run.started_ns) * 1e-6 : -1;
    state.nobody_waits = !run.front->others_wait(run);
    state.kept = plan.keeps && accurate(run, known[k]);
    const policy::Decision d = policy::decide_exit(*plan.rule, state, plan.settings);
    if (d.go == policy::Go::kOn) {
      if (state.kept) {
        bool kept = false;
        VERGE_RETURN_IF_ERROR(keep(run, state, &kept));
        if (!kept) return has_gone_out(run);
        mark = os::monotonic_ns();
        continue;
      }
      if (!plan.every_exit) continue;
      VERGE_RETURN_IF_ERROR(hand_out(run, state));
      mark = os::monotonic_ns();
      continue;
    }
    if (plan.keeps && !run.end_keeping()) return has_gone_out(run);
    plan.reason = d.reason;
    if (d.go == policy::Go::kGiveUp) {
      const bool time = plan.deadline_ns != policy::kNoDeadline && state.elapsed_ns >= plan.deadline_ns;
      run.reason = time ? Reason::kDeadlineBound : Reason::kAccuracyBound;
      return Status(time ? Code::kDeadlineExceeded : Code::kFailedPrecondition, "");
    }
    if (!looks) sure();
    plan.left_at = k;
    plan.confidence = state.confidence;
    plan.accuracy = known[k].accuracy;
    return {};
  }
  return internal_error("the chain has no last exit");
}

Status run_all_stages(const ServedVersion& version, const Resident& resident, uint32_t lane, Run& run, std::span<uint64_t> took) {
  for (uint32_t k = 0; k < version.stages.size(); ++k) {
    const uint64_t begun = os::monotonic_ns();
    VERGE_RETURN_IF_ERROR(run_stage(version, resident, lane, k, run));
    took[k] = os::monotonic_ns() - begun;
  }
  return {};
}

}  // namespace verge::runtime
