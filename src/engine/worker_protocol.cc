#include "engine/worker_protocol.h"

#include <cmath>

#include "core/manifest.h"
#include "os/files.h"

namespace verge::engine {
namespace {

constexpr size_t kMaxOutputs = 1024;
constexpr size_t kMaxStages = 64;

// Paths may hold any bytes; what is not UTF-8 becomes U+FFFD and the file is then not found, which says so.
std::string one_line(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json map_json(const std::map<std::string, std::string>& m) {
  Json j = Json::object();
  for (const auto& [k, v] : m) j[k] = v;
  return j;
}

std::map<std::string, std::string> read_map(JsonReader& r, const char* key) {
  std::map<std::string, std::string> m;
  if (!r.has(key)) return m;
  for (const auto& [k, v] : r.object(key).items()) {
    if (!v.is_string()) {
      r.fail(std::string(key) + "." + k + " must be a string");
      break;
    }
    m[k] = v.get<std::string>();
  }
  return m;
}

template <typename T>
std::vector<T> read_integers(JsonReader& r, const char* key) {
  std::vector<T> out;
  if (!r.has(key)) return out;
  for (const Json& v : r.array(key)) {
    if (!v.is_number_integer() || v.get<int64_t>() < 0 || v.get<int64_t>() > (int64_t{1} << 24)) {
      r.fail(std::string(key) + " must hold small integers");
      break;
    }
    out.push_back(static_cast<T>(v.get<int64_t>()));
  }
  return out;
}

Json load_json(const LoadSpec& s) {
  Json files = Json::array();
  for (const auto& [path, batch] : s.files) files.push_back({{"path", path}, {"batch", batch}});
  return {{"files", files}, {"format", s.format}, {"signature", s.signature}, {"cache_dir", s.cache_dir}, {"options", map_json(s.options)},
          {"cores", s.cores}, {"threads", s.threads}, {"no_batch", s.no_batch}};
}

Result<LoadSpec> parse_load(const Json& j) {
  JsonReader r(j, "job.load");
  LoadSpec s;
  for (const Json& f : r.array("files")) {
    JsonReader file(f, "job.load.files");
    std::string path = file.str("path");
    s.files.emplace_back(std::move(path), file.integer("batch", 0));
    VERGE_RETURN_IF_ERROR(file.status());
  }
  s.format = r.str("format");
  s.signature = r.str("signature", "");
  s.cache_dir = r.str("cache_dir", "");
  s.options = read_map(r, "options");
  s.cores = read_integers<int>(r, "cores");
  s.threads = static_cast<int>(r.integer("threads", 1));
  s.no_batch = r.boolean("no_batch", false);
  VERGE_RETURN_IF_ERROR(r.status());
  return s;
}

Json stage_json(const StageJob& s) {
  return {{"load", load_json(s.load)}, {"names", map_json(s.names)}, {"inputs", s.inputs}, {"outputs", s.outputs}, {"exit", s.exit}};
}

Status read_stages(JsonReader& r, std::vector<StageJob>& out) {
  if (!r.has("stages")) return {};
  const Json& list = r.array("stages");
  if (list.size() > kMaxStages) r.fail("more than " + std::to_string(kMaxStages) + " stages");
  VERGE_RETURN_IF_ERROR(r.status());
  for (const Json& j : list) {
    JsonReader e(j, "job.stages");
    StageJob s;
    s.names = read_map(e, "names");
    s.inputs = e.strings("inputs");
    s.outputs = e.strings("outputs");
    s.exit = e.str("exit");
    const Json& load = e.object("load");
    VERGE_RETURN_IF_ERROR(e.status());
    VERGE_ASSIGN(s.load, parse_load(load));
    out.push_back(std::move(s));
  }
  return {};
}

}  // namespace

std::string evaluation_file(const WorkerJob& job, size_t index) {
  return os::join(job.evaluation_outputs_dir, std::to_string(index) + ".npy");
}

std::string calibration_file(const WorkerJob& job, size_t index) {
  return os::join(job.calibration_outputs_dir, std::to_string(index) + ".npy");
}

std::string print_job(const WorkerJob& job, WorkerTask task) {
  Json stages = Json::array();
  for (const StageJob& s : job.stages) stages.push_back(stage_json(s));
  Json j = {{"task", task == WorkerTask::kMeasure ? "measure" : "cached load"},
            {"variant_id", job.variant_id},
            {"engine", job.engine},
            {"plugin_dir", job.plugin_dir},
            {"settings", map_json(job.settings)},
            {"load", load_json(job.load)},
            {"names", map_json(job.names)},
            {"stages", stages},
            {"calibration_inputs", map_json(job.calibration_inputs)},
            {"calibration_outputs_dir", job.calibration_outputs_dir},
            {"golden_inputs", map_json(job.golden_inputs)},
            {"golden_outputs", map_json(job.golden_outputs)},
            {"evaluation_inputs", map_json(job.evaluation_inputs)},
            {"evaluation_outputs_dir", job.evaluation_outputs_dir},
            {"evaluation_batch", job.evaluation_batch},
            {"batches", job.batches},
            {"core_counts", job.core_counts},
            {"cell_seconds", job.cell_seconds},
            {"cell_runs", job.cell_runs},
            {"thorough", job.thorough},
            {"measure_cached_load", job.measure_cached_load},
            {"time_limit_s", job.time_limit_s}};
  return one_line(j);
}

Result<WorkerJob> parse_job(std::string_view line, WorkerTask& task) {
  VERGE_ASSIGN(Json j, parse_json(line, "job"));
  JsonReader r(j, "job");
  WorkerJob job;
  task = r.str("task") == "cached load" ? WorkerTask::kCachedLoad : WorkerTask::kMeasure;
  job.variant_id = r.str("variant_id");
  job.engine = r.str("engine");
  job.plugin_dir = r.str("plugin_dir");
  job.settings = read_map(r, "settings");
  job.names = read_map(r, "names");
  job.golden_inputs = read_map(r, "golden_inputs");
  job.golden_outputs = read_map(r, "golden_outputs");
  job.evaluation_inputs = read_map(r, "evaluation_inputs");
  job.evaluation_outputs_dir = r.str("evaluation_outputs_dir", "");
  job.calibration_inputs = read_map(r, "calibration_inputs");
  job.calibration_outputs_dir = r.str("calibration_outputs_dir", "");
  job.evaluation_batch = static_cast<int>(r.integer("evaluation_batch", 64));
  job.batches = read_integers<int64_t>(r, "batches");
  job.core_counts = read_integers<int64_t>(r, "core_counts");
  job.cell_seconds = r.number("cell_seconds", 0.3);
  job.cell_runs = r.integer("cell_runs", 1000);
  job.thorough = r.boolean("thorough", false);
  job.measure_cached_load = r.boolean("measure_cached_load", true);
  job.time_limit_s = r.number("time_limit_s", 120);
  const Json& load = r.object("load");
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_ASSIGN(job.load, parse_load(load));
  VERGE_RETURN_IF_ERROR(read_stages(r, job.stages));
  return job;
}

Json result_json(const WorkerResult& r) {
  return {{"profile", variant_profile_json(r.profile)},
          {"signature", signature_json(r.signature)},
          {"evaluation_outputs", r.evaluation_outputs.size()},
          {"calibration_outputs", r.calibration_outputs.size()},
          {"engine_version", r.engine_version}};
}

Result<WorkerResult> parse_result(const Json& j, const WorkerJob& job) {
  JsonReader r(j, "the worker's result");
  WorkerResult result;
  const Json& profile = r.object("profile");
  const Json& signature = r.object("signature");
  int64_t outputs = r.integer("evaluation_outputs", 0), calibration = r.integer("calibration_outputs", 0);
  result.engine_version = r.str("engine_version", "");
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_ASSIGN(result.profile, parse_variant_profile(profile, r.where()));
  VERGE_ASSIGN(result.signature, parse_signature(signature, r.where() + ": signature"));
  for (int64_t n : {outputs, calibration})
    if (n < 0 || static_cast<size_t>(n) > std::min(kMaxOutputs, result.signature.outputs.size()))
      return internal_error("the worker claims " + std::to_string(n) + " evaluation outputs");
  for (size_t i = 0; i < static_cast<size_t>(outputs); ++i) result.evaluation_outputs.push_back(evaluation_file(job, i));
  for (size_t i = 0; i < static_cast<size_t>(calibration); ++i) result.calibration_outputs.push_back(calibration_file(job, i));
  result.profile.id = job.variant_id;
  return result;
}

}  // namespace verge::engine
