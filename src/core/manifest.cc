#include "core/manifest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <set>

#include "core/stages.h"

namespace verge {
namespace {

// Bounds on what a manifest may claim: far above any real package, far below what would hurt.
constexpr size_t kMaxManifestBytes = 16u << 20;
constexpr size_t kMaxTensors = 1024;
constexpr size_t kMaxVariants = 1024;
constexpr size_t kMaxFiles = 65536;
constexpr size_t kMaxSteps = 64;

struct MetricRow {
  MetricKind kind;
  std::string_view name;
  bool larger_is_better;
};
constexpr MetricRow kMetrics[] = {{MetricKind::kNone, "none", true}, {MetricKind::kTop1, "top1", true},  {MetricKind::kTopK, "topk", true},
                                  {MetricKind::kMae, "mae", false},  {MetricKind::kRmse, "rmse", false}, {MetricKind::kAuc, "auc", true},
                                  {MetricKind::kAgreement, "agreement", true}};

Json strings_json(const std::vector<std::string>& v) {
  Json j = Json::array();
  for (const auto& s : v) j.push_back(s);
  return j;
}

Json map_json(const std::map<std::string, std::string>& m) {
  Json j = Json::object();
  for (const auto& [k, v] : m) j[k] = v;
  return j;
}

Status read_map(JsonReader& r, const char* key, std::map<std::string, std::string>& out) {
  if (!r.has(key)) return {};
  for (const auto& [k, v] : r.object(key).items()) {
    if (!v.is_string()) return invalid_argument(r.where() + ": " + key + "." + k + " must be a string");
    out[k] = v.get<std::string>();
  }
  return r.status();
}

Json files_json(const std::vector<ManifestFile>& files) {
  Json j = Json::array();
  for (const auto& f : files) j.push_back({{"path", f.path}, {"size", f.size}, {"sha256", f.sha256}});
  return j;
}

bool valid_sha256(std::string_view s) {
  if (s.size() != 64) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Status read_files(const Json& array, const std::string& where, std::vector<ManifestFile>& out) {
  if (array.size() > kMaxFiles) return invalid_argument(where + ": more than " + std::to_string(kMaxFiles) + " files");
  for (size_t i = 0; i < array.size(); ++i) {
    JsonReader r(array[i], where + "[" + std::to_string(i) + "]");
    ManifestFile f;
    f.path = r.str("path");
    int64_t size = r.integer("size");
    f.sha256 = r.str("sha256");
    VERGE_RETURN_IF_ERROR(r.status());
    if (!valid_relative_path(f.path)) return invalid_argument(r.where() + ": '" + f.path + "' is not a path inside the package");
    if (size < 0) return invalid_argument(r.where() + ": negative size");
    if (!valid_sha256(f.sha256)) return invalid_argument(r.where() + ": sha256 is not 64 lower-case hex digits");
    f.size = static_cast<uint64_t>(size);
    out.push_back(std::move(f));
  }
  return {};
}

Json steps_json(const std::vector<StepSpec>& steps) {
  Json j = Json::array();
  for (const auto& s : steps) j.push_back({{"op", s.op}, {"params", s.params}});
  return j;
}

Status read_steps(const Json& array, const std::string& where, std::vector<StepSpec>& out) {
  if (array.size() > kMaxSteps) return invalid_argument(where + ": more than " + std::to_string(kMaxSteps) + " steps");
  for (size_t i = 0; i < array.size(); ++i) {
    JsonReader r(array[i], where + "[" + std::to_string(i) + "]");
    StepSpec s;
    s.op = r.str("op");
    if (r.has("params")) s.params = r.object("params");
    VERGE_RETURN_IF_ERROR(r.status());
    out.push_back(std::move(s));
  }
  return {};
}

Json artifact_json(const Artifact& a) {
  return {{"id", a.id},       {"format", a.format},       {"entry", a.entry},
          {"batch", a.batch}, {"converter", a.converter}, {"generate_seconds", a.generate_seconds},
          {"files", files_json(a.files)}};
}

Result<Artifact> parse_artifact(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  Artifact a;
  a.id = r.str("id");
  a.format = r.str("format");
  a.entry = r.str("entry", std::string());
  a.batch = r.integer("batch", 0);
  a.converter = r.str("converter", std::string());
  a.generate_seconds = r.number("generate_seconds", 0);
  const Json& files = r.array("files");
  VERGE_RETURN_IF_ERROR(r.status());
  if (!valid_sha256(a.id)) return invalid_argument(where + ": id is not a sha256");
  if (a.batch < 0 || a.batch > 65536) return invalid_argument(where + ": batch must be 0 … 65536");
  VERGE_RETURN_IF_ERROR(read_files(files, where + ".files", a.files));
  if (folder_digest(a.files) != a.id) return data_loss(where + ": id is not the digest of its files");
  if (!a.entry.empty() && std::none_of(a.files.begin(), a.files.end(), [&](const auto& f) { return f.path == a.entry; }))
    return invalid_argument(where + ": entry '" + a.entry + "' is not among its files");
  return a;
}

Json variant_json(const VariantSpec& v) {
  Json j = {{"id", v.id}, {"engine", v.engine}, {"precision", v.precision}, {"form", v.form}, {"device", v.device}};
  j["conversion"] = conversion_name(v.conversion);
  if (!v.reason.empty()) j["reason"] = v.reason;
  if (!v.log.empty()) j["log"] = v.log;
  j["artifacts"] = strings_json(v.artifacts);
  if (!v.stages.empty()) j["stages"] = variant_stages_json(v.stages);
  if (!v.signature.empty()) j["signature"] = v.signature;
  j["options"] = map_json(v.options);
  if (!v.names.empty()) j["names"] = map_json(v.names);
  if (!v.build_key.empty()) j["build_key"] = v.build_key;
  return j;
}

Result<VariantSpec> parse_variant(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  VariantSpec v;
  v.id = r.str("id");
  v.engine = r.str("engine");
  v.precision = r.str("precision");
  v.form = r.str("form", std::string());
  v.device = r.str("device", "cpu");
  v.reason = r.str("reason", std::string());
  v.log = r.str("log", std::string());
  v.signature = r.str("signature", std::string());
  v.build_key = r.str("build_key", std::string());
  v.artifacts = r.strings("artifacts");
  std::string conversion = r.str("conversion");
  VERGE_RETURN_IF_ERROR(read_map(r, "options", v.options));
  VERGE_RETURN_IF_ERROR(read_map(r, "names", v.names));
  VERGE_RETURN_IF_ERROR(r.status());
  if (!valid_name(v.id)) return invalid_argument(where + ": '" + v.id + "' is not a valid variant id");
  if (!valid_name(v.engine)) return invalid_argument(where + ": '" + v.engine + "' is not a valid engine name");
  if (r.has("stages")) {
    const Json& stages = r.array("stages");
    VERGE_RETURN_IF_ERROR(r.status());
    VERGE_ASSIGN(v.stages, parse_variant_stages(stages, where + ".stages"));
  }
  if (!v.log.empty() && !valid_relative_path(v.log)) return invalid_argument(where + ": log is not a path inside the package");
  if (conversion == "ok") {
    v.conversion = Conversion::kOk;
    if (v.artifacts.empty()) return invalid_argument(where + ": has no artifacts");
  } else if (conversion == "failed") {
    v.conversion = Conversion::kFailed;
  } else if (conversion == "left out") {
    v.conversion = Conversion::kLeftOut;
  } else {
    return invalid_argument(where + ": conversion must be 'ok', 'failed' or 'left out', not '" + conversion + "'");
  }
  return v;
}

Json source_json(const Manifest& m) {
  return {{"kind", m.source_kind}, {"name", m.source_name}, {"sha256", m.source_sha256}};
}

Json served_json(const TensorSpec& spec, const char* link, const std::string& target, const std::vector<StepSpec>& steps) {
  Json j = tensor_spec_json(spec);
  j[link] = target;
  j["steps"] = steps_json(steps);
  return j;
}

Status read_transforms(JsonReader& r, Manifest& m) {
  const Json& inputs = r.array("inputs");
  const Json& outputs = r.array("outputs");
  VERGE_RETURN_IF_ERROR(r.status());
  if (inputs.size() > kMaxTensors || outputs.size() > kMaxTensors)
    return invalid_argument(r.where() + ": more than " + std::to_string(kMaxTensors) + " inputs or outputs");
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string where = r.where() + ": inputs[" + std::to_string(i) + "]";
    JsonReader e(inputs[i], where);
    ServedInput in;
    in.feeds = e.str("feeds");
    const Json& steps = e.array("steps");
    VERGE_RETURN_IF_ERROR(e.status());
    VERGE_ASSIGN(in.spec, parse_tensor_spec(inputs[i], where));
    VERGE_RETURN_IF_ERROR(read_steps(steps, where + ".steps", in.steps));
    if (!m.network.input(in.feeds)) return invalid_argument(where + ": feeds '" + in.feeds + "', which the network has not");
    m.inputs.push_back(std::move(in));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string where = r.where() + ": outputs[" + std::to_string(i) + "]";
    JsonReader e(outputs[i], where);
    ServedOutput out;
    out.from = e.str("from");
    const Json& steps = e.array("steps");
    VERGE_RETURN_IF_ERROR(e.status());
    VERGE_ASSIGN(out.spec, parse_tensor_spec(outputs[i], where));
    VERGE_RETURN_IF_ERROR(read_steps(steps, where + ".steps", out.steps));
    if (!m.network.output(out.from)) return invalid_argument(where + ": from '" + out.from + "', which the network has not");
    m.outputs.push_back(std::move(out));
  }
  return {};
}

Status read_measure(JsonReader& r, Manifest& m) {
  if (r.has("metric")) {
    JsonReader e(r.object("metric"), r.where() + ": metric");
    VERGE_ASSIGN(m.metric.kind, metric_from_name(e.str("kind")));
    m.metric.k = static_cast<int>(std::clamp<int64_t>(e.integer("k", 5), 1, 1000000));
    m.metric.output = e.str("output", std::string());
    VERGE_RETURN_IF_ERROR(e.status());
  }
  if (r.has("limits")) {
    JsonReader e(r.object("limits"), r.where() + ": limits");
    m.limits.max_accuracy_loss = e.number("max_accuracy_loss", -1);
    m.limits.max_abs_diff = e.number("max_abs_diff", -1);
    VERGE_RETURN_IF_ERROR(e.status());
  }
  if (r.has("evaluation")) {
    JsonReader e(r.object("evaluation"), r.where() + ": evaluation");
    m.evaluation_samples = e.integer("samples", 0);
    m.evaluation_description = e.str("description", std::string());
    m.reference_accuracy = e.number("reference_accuracy", -1);
    VERGE_RETURN_IF_ERROR(e.status());
  }
  if (!r.has("native_paths")) return r.status();
  for (const Json& p : r.array("native_paths")) {
    JsonReader e(p, r.where() + ": native_paths");
    m.native_paths.push_back({e.str("path"), e.integer("batch", 1), e.integer("n"), e.number("p50_us")});
    VERGE_RETURN_IF_ERROR(e.status());
  }
  return r.status();
}

Status read_sequence(JsonReader& r, Manifest& m) {
  if (!r.has("sequence")) return {};
  const Json& block = r.object("sequence");
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_ASSIGN(m.sequence, parse_sequence(block, r.where() + ": sequence"));
  VERGE_RETURN_IF_ERROR(check_sequence(m.sequence, m.network).prefixed(r.where()));
  for (const ServedInput& in : m.inputs)
    if (m.sequence.feeds(in.feeds)) return invalid_argument(r.where() + ": input '" + in.spec.name + "' feeds '" + in.feeds + "', which the sequence does");
  return {};
}

Status read_stages(JsonReader& r, Manifest& m) {
  if (!r.has("stages")) return {};
  const Json& list = r.array("stages");
  VERGE_RETURN_IF_ERROR(r.status());
  VERGE_ASSIGN(m.stages, parse_stages(list, r.where() + ": stages"));
  VERGE_RETURN_IF_ERROR(check_stages(m.stages, m.network).prefixed(r.where()));
  if (m.sequence.given()) return invalid_argument(r.where() + ": a multi-exit model has no sequences");
  return {};
}

Status read_golden(JsonReader& r, Manifest& m) {
  if (!r.has("golden")) return {};
  JsonReader e(r.object("golden"), r.where() + ": golden");
  m.golden.samples = e.integer("samples");
  m.golden.source = e.str("source", std::string());
  VERGE_RETURN_IF_ERROR(read_map(e, "inputs", m.golden.inputs));
  VERGE_RETURN_IF_ERROR(read_map(e, "outputs", m.golden.outputs));
  const Json& files = e.array("files");
  VERGE_RETURN_IF_ERROR(e.status());
  VERGE_RETURN_IF_ERROR(read_files(files, e.where() + ".files", m.golden.files));
  std::set<std::string> known;
  for (const auto& f : m.golden.files) known.insert(f.path);
  for (const auto* side : {&m.golden.inputs, &m.golden.outputs})
    for (const auto& [name, file] : *side)
      if (!known.count(file)) return invalid_argument(e.where() + ": file '" + file + "' of '" + name + "' is not listed");
  return {};
}

Status read_parts(JsonReader& r, Manifest& m) {
  const Json& artifacts = r.array("artifacts");
  const Json& variants = r.array("variants");
  VERGE_RETURN_IF_ERROR(r.status());
  if (variants.size() > kMaxVariants || artifacts.size() > kMaxVariants)
    return invalid_argument(r.where() + ": more than " + std::to_string(kMaxVariants) + " variants or artifacts");
  for (size_t i = 0; i < artifacts.size(); ++i) {
    VERGE_ASSIGN(Artifact a, parse_artifact(artifacts[i], r.where() + ": artifacts[" + std::to_string(i) + "]"));
    m.artifacts.push_back(std::move(a));
  }
  std::set<std::string> ids;
  for (size_t i = 0; i < variants.size(); ++i) {
    VERGE_ASSIGN(VariantSpec v, parse_variant(variants[i], r.where() + ": variants[" + std::to_string(i) + "]"));
    for (const auto& id : v.artifacts)
      if (!m.artifact(id)) return invalid_argument(r.where() + ": variant '" + v.id + "' names the unknown artifact " + id);
    VERGE_RETURN_IF_ERROR(check_variant_stages(v, m.stages.size()).prefixed(r.where()));
    if (!ids.insert(v.id).second) return invalid_argument(r.where() + ": variant '" + v.id + "' stands twice");
    m.variants.push_back(std::move(v));
  }
  return {};
}

}  // namespace

std::string_view metric_name(MetricKind k) {
  for (const auto& row : kMetrics)
    if (row.kind == k) return row.name;
  return "none";
}

Result<MetricKind> metric_from_name(std::string_view name) {
  std::string all;
  for (const auto& row : kMetrics) {
    if (row.name == name) return row.kind;
    all += (all.empty() ? "" : ", ") + std::string(row.name);
  }
  return invalid_argument("unknown metric '" + std::string(name) + "'; known: " + all);
}

bool metric_larger_is_better(MetricKind k) {
  for (const auto& row : kMetrics)
    if (row.kind == k) return row.larger_is_better;
  return true;
}

std::string_view conversion_name(Conversion c) {
  switch (c) {
    case Conversion::kOk: return "ok";
    case Conversion::kFailed: return "failed";
    case Conversion::kLeftOut: return "left out";
  }
  return "failed";
}

uint64_t Artifact::size_bytes() const {
  uint64_t n = 0;
  for (const auto& f : files) n += f.size;
  return n;
}

const Artifact* Manifest::artifact(std::string_view id) const {
  for (const auto& a : artifacts)
    if (a.id == id) return &a;
  return nullptr;
}

const VariantSpec* Manifest::variant(std::string_view id) const {
  for (const auto& v : variants)
    if (v.id == id) return &v;
  return nullptr;
}

std::string folder_digest(std::vector<ManifestFile> files) {
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  std::string lines;
  for (const auto& f : files) lines += f.path + "\t" + std::to_string(f.size) + "\t" + f.sha256 + "\n";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_Digest(lines.data(), lines.size(), digest, &length, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

Json tensor_spec_json(const TensorSpec& s) {
  Json shape = Json::array();
  for (int64_t d : s.shape.dims()) shape.push_back(d);
  Json j = {{"name", s.name}, {"dtype", dtype_name(s.dtype)}, {"shape", shape}, {"batch_axis", s.batch_axis}};
  if (!s.quantization.empty()) {
    const auto& q = s.quantization[0];
    j["quantization"] = Json::array({{{"scale", q.scale}, {"zero_point", q.zero_point}, {"axis", q.axis}}});
  }
  return j;
}

Result<TensorSpec> parse_tensor_spec(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  TensorSpec s;
  s.name = r.str("name");
  std::string dtype = r.str("dtype");
  const Json& dims = r.array("shape");
  s.batch_axis = static_cast<int>(std::clamp<int64_t>(r.integer("batch_axis", -1), -1, kMaxRank));
  VERGE_RETURN_IF_ERROR(r.status());
  if (s.name.empty() || s.name.size() > 1024) return invalid_argument(where + ": name must have 1 to 1024 bytes");
  s.dtype = dtype_from_name(dtype);
  if (s.dtype == DType::kInvalid) return invalid_argument(where + ": unknown dtype '" + dtype + "'");
  std::vector<int64_t> shape;
  for (const Json& d : dims) {
    if (!d.is_number_integer()) return invalid_argument(where + ": shape must hold integers");
    shape.push_back(d.get<int64_t>());
  }
  auto parsed = Shape::from(shape);
  if (!parsed.ok()) return parsed.status().prefixed(where);
  s.shape = *parsed;
  if (s.batch_axis >= s.shape.rank()) return invalid_argument(where + ": batch_axis is outside the shape");
  if (r.has("quantization"))
    for (const Json& q : r.array("quantization")) {
      JsonReader e(q, where + ": quantization");
      s.quantization.push_back({e.number("scale"), e.integer("zero_point"), static_cast<int>(e.integer("axis", -1))});
      VERGE_RETURN_IF_ERROR(e.status());
    }
  VERGE_RETURN_IF_ERROR(r.status());
  return s;
}

Json signature_json(const Signature& s) {
  Json inputs = Json::array(), outputs = Json::array();
  for (const auto& t : s.inputs) inputs.push_back(tensor_spec_json(t));
  for (const auto& t : s.outputs) outputs.push_back(tensor_spec_json(t));
  return {{"inputs", inputs}, {"outputs", outputs}};
}

Result<Signature> parse_signature(const Json& j, const std::string& where) {
  JsonReader r(j, where);
  const Json& inputs = r.array("inputs");
  const Json& outputs = r.array("outputs");
  VERGE_RETURN_IF_ERROR(r.status());
  if (inputs.size() > kMaxTensors || outputs.size() > kMaxTensors)
    return invalid_argument(where + ": more than " + std::to_string(kMaxTensors) + " inputs or outputs");
  Signature s;
  for (auto [from, to, side] : {std::tuple{&inputs, &s.inputs, "inputs"}, std::tuple{&outputs, &s.outputs, "outputs"}})
    for (size_t i = 0; i < from->size(); ++i) {
      VERGE_ASSIGN(TensorSpec t, parse_tensor_spec((*from)[i], where + "." + side + "[" + std::to_string(i) + "]"));
      to->push_back(std::move(t));
    }
  return s;
}

Result<Manifest> parse_manifest(std::string_view text) {
  VERGE_ASSIGN(Json j, parse_json(text, "manifest", kMaxManifestBytes));
  JsonReader r(j, "manifest");
  Manifest m;
  int64_t format = r.integer("format");
  VERGE_RETURN_IF_ERROR(r.status());
  if (format != Manifest::kFormat)
    return failed_precondition("manifest: format " + std::to_string(format) + ", this build of Verge reads format " +
                               std::to_string(Manifest::kFormat));
  m.name = r.str("name");
  m.version = r.integer("version");
  m.description = r.str("description", std::string());
  m.family = r.str("family", std::string());
  m.build_key = r.str("build_key", std::string());
  m.reference = r.str("reference", std::string());
  const Json& source = r.object("source");
  VERGE_RETURN_IF_ERROR(r.status());
  if (!valid_name(m.name)) return invalid_argument("manifest: '" + m.name + "' is not a valid model name");
  if (!m.family.empty() && !valid_name(m.family)) return invalid_argument("manifest: '" + m.family + "' is not a valid name of a family");
  if (m.version < 1) return invalid_argument("manifest: version must be positive");
  JsonReader s(source, "manifest: source");
  m.source_kind = s.str("kind");
  m.source_name = s.str("name", std::string());
  m.source_sha256 = s.str("sha256", std::string());
  VERGE_RETURN_IF_ERROR(s.status());
  VERGE_ASSIGN(m.network, parse_signature(r.object("network"), "manifest: network"));
  VERGE_RETURN_IF_ERROR(read_transforms(r, m));
  VERGE_RETURN_IF_ERROR(read_sequence(r, m));
  VERGE_RETURN_IF_ERROR(read_stages(r, m));
  if (r.has("labels")) {
    JsonReader l(r.object("labels"), "manifest: labels");
    m.labels_file = l.str("file");
    m.labels_sha256 = l.str("sha256");
    VERGE_RETURN_IF_ERROR(l.status());
    if (!valid_relative_path(m.labels_file)) return invalid_argument("manifest: labels.file is not a path inside the package");
  }
  VERGE_RETURN_IF_ERROR(read_measure(r, m));
  VERGE_RETURN_IF_ERROR(read_golden(r, m));
  VERGE_RETURN_IF_ERROR(read_parts(r, m));
  return m;
}

std::string print_manifest(const Manifest& m) {
  Json j;
  j["format"] = Manifest::kFormat;
  j["name"] = m.name;
  j["version"] = m.version;
  if (!m.description.empty()) j["description"] = m.description;
  if (!m.family.empty()) j["family"] = m.family;
  j["source"] = source_json(m);
  j["build_key"] = m.build_key;
  j["reference"] = m.reference;
  j["network"] = signature_json(m.network);
  j["inputs"] = Json::array();
  for (const auto& in : m.inputs) j["inputs"].push_back(served_json(in.spec, "feeds", in.feeds, in.steps));
  j["outputs"] = Json::array();
  for (const auto& out : m.outputs) j["outputs"].push_back(served_json(out.spec, "from", out.from, out.steps));
  if (m.sequence.given()) j["sequence"] = sequence_json(m.sequence);
  if (!m.stages.empty()) j["stages"] = stages_json(m.stages);
  if (!m.labels_file.empty()) j["labels"] = {{"file", m.labels_file}, {"sha256", m.labels_sha256}};
  if (m.metric.kind != MetricKind::kNone) {
    j["metric"] = {{"kind", metric_name(m.metric.kind)}};
    if (m.metric.kind == MetricKind::kTopK) j["metric"]["k"] = m.metric.k;
    if (!m.metric.output.empty()) j["metric"]["output"] = m.metric.output;
  }
  j["limits"] = Json::object();
  if (m.limits.max_accuracy_loss >= 0) j["limits"]["max_accuracy_loss"] = m.limits.max_accuracy_loss;
  if (m.limits.max_abs_diff >= 0) j["limits"]["max_abs_diff"] = m.limits.max_abs_diff;
  if (m.evaluation_samples > 0) {
    j["evaluation"] = {{"samples", m.evaluation_samples}, {"description", m.evaluation_description}};
    if (m.reference_accuracy >= 0) j["evaluation"]["reference_accuracy"] = m.reference_accuracy;
  }
  if (!m.native_paths.empty()) {
    j["native_paths"] = Json::array();
    for (const auto& p : m.native_paths)
      j["native_paths"].push_back({{"path", p.path}, {"batch", p.batch}, {"n", p.n}, {"p50_us", p.p50_us}});
  }
  if (m.golden.samples > 0)
    j["golden"] = {{"samples", m.golden.samples},
                   {"source", m.golden.source},
                   {"inputs", map_json(m.golden.inputs)},
                   {"outputs", map_json(m.golden.outputs)},
                   {"files", files_json(m.golden.files)}};
  j["variants"] = Json::array();
  for (const auto& v : m.variants) j["variants"].push_back(variant_json(v));
  j["artifacts"] = Json::array();
  for (const auto& a : m.artifacts) j["artifacts"].push_back(artifact_json(a));
  return print_json(j);
}

}  // namespace verge
