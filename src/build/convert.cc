#include "build/convert.h"

#include <algorithm>

#include "os/files.h"

namespace verge::build {
namespace {

constexpr size_t kMaxEntries = 4096;  // of a map or list in an event

Result<std::map<std::string, std::string>> string_map(JsonReader& r, const char* key) {
  std::map<std::string, std::string> out;
  const Json* j = r.find(key);
  if (!j) return out;
  if (!j->is_object() || j->size() > kMaxEntries) return data_loss(r.where() + ": " + key + " is not an object of strings");
  for (const auto& [name, value] : j->items()) {
    if (!value.is_string()) return data_loss(r.where() + ": " + key + "." + name + " is not a string");
    out[name] = value.get<std::string>();
  }
  return out;
}

Json sample_json(const std::map<std::string, std::string>& files) {
  if (files.empty()) return nullptr;
  Json j = Json::object();
  for (const auto& [name, path] : files) j[name] = path;
  return j;
}

// One sentence from outside, kept short enough for a table and a log.
std::string sentence(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  if (text.size() > 1000) text = text.substr(0, 997) + "...";
  return text;
}

}  // namespace

ToolchainOptions installed_toolchain(const std::string& work, const std::string& log_path) {
  ToolchainOptions o;
  o.work = work;
  o.log_path = log_path;
  const os::Install& install = os::install();
  if (!os::exists(install.toolchain_python) || install.python_dir.empty()) return o;
  o.argv = {install.toolchain_python, "-m", "verge_toolchain"};
  o.extra_env = {"PYTHONPATH=" + install.python_dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"};
  return o;
}

Result<Toolchain> Toolchain::start(const ToolchainOptions& options) {
  os::SpawnOptions spawn;
  spawn.argv = options.argv;
  spawn.extra_env = options.extra_env;
  spawn.log_path = options.log_path;
  spawn.cwd = options.work;
  VERGE_ASSIGN(os::LineProcess process, os::LineProcess::start(spawn));
  return Toolchain(std::move(process), options);
}

Status Toolchain::inside(const std::string& path, const std::string& what) const {
  VERGE_ASSIGN(std::string full, os::absolute(path));
  VERGE_ASSIGN(std::string work, os::absolute(options_.work));
  if (!full.starts_with(work + "/")) return data_loss("the tool chain names " + path + " as " + what + ", which lies outside its work folder");
  return {};
}

Result<Json> Toolchain::read_event(double timeout_s) {
  auto line = process_.read_line(timeout_s);
  if (!line.ok()) {
    if (line.status().code() != Code::kUnavailable) return line.status();
    return unavailable("the tool chain " + process_.wait(10).to_string() + "; its log: " + options_.log_path);
  }
  VERGE_ASSIGN(Json j, parse_json(*line, "tool chain"));
  JsonReader r(j, "tool chain");
  std::string event = r.str("event");
  VERGE_RETURN_IF_ERROR(r.status());
  if (event == "error") return internal_error("the tool chain: " + sentence(r.str("reason", std::string("unknown error"))));
  return j;
}

Result<Inspected> Toolchain::inspect(const std::string& source, const std::string& kind, const std::string& signature, const std::string& work, double timeout_s,
                                     const std::string& batch) {
  Json command = {{"cmd", "inspect"}, {"source", source}, {"kind", kind}, {"signature", nullptr}, {"work", work}};
  if (!signature.empty()) command["signature"] = signature;
  if (!batch.empty()) command["batch"] = batch;
  VERGE_RETURN_IF_ERROR(process_.write_line(command.dump()));
  VERGE_ASSIGN(Json j, read_event(timeout_s));
  JsonReader r(j, "tool chain: inspect");
  std::string event = r.str("event");
  if (event == "refused") return failed_precondition(sentence(r.str("reason", std::string("refused without a reason"))));
  if (event != "inspected") return internal_error("the tool chain answered inspect with '" + event + "'");
  Inspected out;
  out.signature_name = r.str("signature_name", std::string());
  out.has_loop = r.boolean("has_loop", false);
  out.fixed_batch = std::clamp<int64_t>(r.integer("fixed_batch", 0), 0, 65536);
  out.precision = r.str("precision", std::string());
  out.reference = r.str("reference", std::string());
  out.notes = r.strings("notes");
  const Json& signature_value = r.object("signature");
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_ASSIGN(out.signature, parse_signature(signature_value, "tool chain: signature"));
  if (out.signature.inputs.empty() || out.signature.outputs.empty()) {
    return failed_precondition("the network has " + std::to_string(out.signature.inputs.size()) + " inputs and " +
                               std::to_string(out.signature.outputs.size()) + " outputs; at least one of each is needed");
  }
  return out;
}

Result<std::vector<CutStage>> Toolchain::cut(const std::string& source, const std::string& kind, const std::string& signature, const std::vector<std::string>& exits, double timeout_s) {
  Json command = {{"cmd", "cut"}, {"source", source}, {"kind", kind}, {"signature", nullptr}, {"work", options_.work}, {"exits", exits}};
  if (!signature.empty()) command["signature"] = signature;
  VERGE_RETURN_IF_ERROR(process_.write_line(command.dump()));
  VERGE_ASSIGN(Json j, read_event(timeout_s));
  JsonReader r(j, "tool chain: cut");
  const std::string event = r.str("event");
  if (event == "refused") return failed_precondition(sentence(r.str("reason", std::string("refused without a reason"))));
  if (event != "stages") return internal_error("the tool chain answered cut with '" + event + "'");
  const Json& stages = r.array("stages");
  VERGE_RETURN_IF_ERROR(r.status());
  if (stages.size() != exits.size()) return data_loss("the tool chain made " + std::to_string(stages.size()) + " stages for " + std::to_string(exits.size()) + " exits");
  std::vector<CutStage> out;
  for (const Json& stage : stages) {
    JsonReader e(stage, "tool chain: stage " + std::to_string(out.size() + 1));
    CutStage s;
    s.dir = e.str("dir");
    const std::string exit = e.str("exit");
    VERGE_RETURN_IF_ERROR(e.status());
    if (exit != exits[out.size()]) return data_loss(e.where() + " ends at another exit than asked for");
    VERGE_RETURN_IF_ERROR(inside(s.dir, "a stage"));
    VERGE_ASSIGN(s.network, parse_signature(stage, e.where()));
    out.push_back(std::move(s));
  }
  return out;
}

Status Toolchain::begin_convert(const std::vector<ConversionTarget>& targets, const std::vector<int64_t>& batches, const SampleFiles& samples,
                                const ConvertOptions& options) {
  Json list = Json::array();
  for (const ConversionTarget& t : targets) {
    list.push_back(Json{{"id", t.id}, {"format", t.format}, {"precision", t.precision}, {"form", t.form}, {"batches", batches}});
  }
  Json files = {{"calibration", sample_json(samples.calibration)}, {"golden", sample_json(samples.golden)}, {"evaluation", sample_json(samples.evaluation)}};
  Json command = {{"cmd", "convert"}, {"targets", list}, {"samples", files}, {"native_paths", options.native_paths}};
  if (options.reference_calibration) command["reference_calibration"] = true;
  return process_.write_line(command.dump());
}

Result<ConvertEvent> Toolchain::next(double timeout_s) {
  VERGE_ASSIGN(Json j, read_event(timeout_s));
  JsonReader r(j, "tool chain: event");
  std::string event = r.str("event");
  ConvertEvent e;
  if (event == "done") return e;
  if (event == "reference") {
    e.kind = ConvertEvent::Kind::kReference;
    VERGE_ASSIGN(e.golden, string_map(r, "golden"));
    VERGE_ASSIGN(e.evaluation, string_map(r, "evaluation"));
    VERGE_ASSIGN(e.calibration, string_map(r, "calibration"));
    for (const auto* files : {&e.golden, &e.evaluation, &e.calibration}) {
      for (const auto& [name, path] : *files) VERGE_RETURN_IF_ERROR(inside(path, "the reference's " + name));
    }
  } else if (event == "native_path") {
    e.kind = ConvertEvent::Kind::kNativePath;
    e.native_path = {sentence(r.str("path")), r.integer("batch", 1), r.integer("n", 0), r.number("p50_us")};
  } else if (event == "progress") {
    e.kind = ConvertEvent::Kind::kProgress;
    e.target = r.str("target", std::string());
    e.step = sentence(r.str("step", std::string()));
  } else if (event == "artifact") {
    e.kind = ConvertEvent::Kind::kArtifact;
    e.target = r.str("target");
    std::string status = r.str("status");
    e.conversion = status == "ok" ? Conversion::kOk : status == "left out" ? Conversion::kLeftOut : Conversion::kFailed;
    e.reason = sentence(r.str("reason", std::string()));
    e.log = r.str("log", std::string());
    e.format = r.str("format", std::string());
    e.converter = sentence(r.str("converter", std::string()));
    e.seconds = r.number("seconds", 0);
    e.notes = r.strings("notes");
    VERGE_ASSIGN(e.names, string_map(r, "names"));
    if (e.conversion == Conversion::kOk) {
      const Json& files = r.array("files");
      VERGE_RETURN_IF_ERROR(r.status());
      if (files.empty() || files.size() > 64) return data_loss("the tool chain names " + std::to_string(files.size()) + " artifacts for " + e.target);
      for (const Json& f : files) {
        JsonReader fr(f, "tool chain: artifact of " + e.target);
        ArtifactFile file{fr.str("dir"), fr.str("entry", std::string()), fr.integer("batch", 0)};
        VERGE_RETURN_IF_ERROR(fr.status());
        VERGE_RETURN_IF_ERROR(inside(file.dir, "an artifact"));
        if (!file.entry.empty() && !valid_relative_path(file.entry)) return data_loss(fr.where() + ": entry '" + file.entry + "' is not a path inside it");
        if (file.batch < 0 || file.batch > 65536) return data_loss(fr.where() + ": batch " + std::to_string(file.batch));
        e.files.push_back(std::move(file));
      }
    } else if (e.reason.empty()) {
      e.reason = "the converter gave no reason";
    }
    if (!e.log.empty() && !inside(e.log, "a log").ok()) e.log.clear();
  } else {
    return data_loss("the tool chain sent the unknown event '" + sentence(event) + "'");
  }
  VERGE_RETURN_IF_ERROR(r.status());
  return e;
}

}  // namespace verge::build
