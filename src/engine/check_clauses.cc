// The clauses that concern the plugin, loading and describing; those of running are in check_runs.cc.
#include <dlfcn.h>
#include <sched.h>
#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "engine/check_clauses.h"
#include "os/files.h"

namespace verge::engine::check {
namespace {

// A folder of this process's own for damaged files, removed at the end.
class Scratch {
 public:
  Scratch() {
    const char* base = std::getenv("TMPDIR");
    auto made = os::make_temp_dir(base && *base ? base : "/tmp", "verge-check-");
    if (!made.ok()) throw Failed{"no temporary folder: " + made.status().message()};
    dir = *made;
  }
  ~Scratch() { (void)os::remove_tree(dir); }
  std::string dir;
};

void refused(const Call& call, verge_model* model) {
  expect(!call.ok(), "the load succeeded");
  expect(model == nullptr, "a failed load left a model behind");
  expect(!call.message.empty(), "code " + std::to_string(call.code) + " came without a message");
}

void interface_version(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  void* handle = dlopen(d.plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
  expect(handle != nullptr, "the plugin could not be opened a second time");
  auto get = reinterpret_cast<verge_engine_get_fn>(dlsym(handle, "verge_engine_get"));
  expect(get != nullptr, "no symbol verge_engine_get");
  expect(get(f.host.api(), VERGE_ENGINE_ABI_MAJOR + 1) == nullptr, "verge_engine_get answered for a newer major version");
  expect(get(f.host.api(), 0) == nullptr, "verge_engine_get answered for version 0");
  expect(get(f.host.api(), VERGE_ENGINE_ABI_MAJOR) == f.v, "a second call returned another table: it must be static");
}

void engine_facts(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  const char* version = f.v->version(f.engine);
  expect(version && *version, "version is empty");
  int facts = 0;
  StatusBuffer status;
  auto sink = [](void* arg, const char* key, const char* value) {
    if (key && *key && value) ++*static_cast<int*>(arg);
  };
  verge_code code = f.v->query_device(f.engine, sink, &facts, status.get());
  expect(code == VERGE_OK, "query_device: " + status.take(code, "").to_string());
  (void)f.v->fixed_cost_bytes(f.engine);
}

void unknown_setting(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  f.destroy();
  Pairs config = library_config(d);
  config.emplace_back("no.such.setting", "1");
  COptions options(config);
  StatusBuffer status;
  verge_engine* engine = nullptr;
  verge_code code = f.v->create(f.host.api(), options.get(), &engine, status.get());
  if (code == VERGE_OK && engine) f.v->destroy(engine);
  expect(code == VERGE_INVALID_ARGUMENT, "create answered code " + std::to_string(code));
  expect(status.take(code, "").message().find("no.such.setting") != std::string::npos, "the message does not name the key");
}

void missing_file(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  expect(!d.formats.empty(), "the descriptor lists no formats");
  for (const std::string& format : d.formats) {
    verge_model* model = nullptr;
    Call call = f.load("/nonexistent/verge-check-file", format, {}, 1, &model);
    refused(call, model);
  }
}

void null_status(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  verge_artifact_file file{"/nonexistent/verge-check-file", 0};
  verge_artifact a{};
  a.size = sizeof a;
  a.count = 1;
  a.files = &file;
  a.format = d.formats.at(0).c_str();
  verge_model* model = nullptr;
  expect(f.v->model_load(f.engine, &a, nullptr, nullptr, nullptr, &model, nullptr) != VERGE_OK, "the load succeeded");
}

void short_status(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  verge_artifact_file file{"/nonexistent/verge-check-file", 0};
  verge_artifact a{};
  a.size = sizeof a;
  a.count = 1;
  a.files = &file;
  a.format = d.formats.at(0).c_str();
  for (uint64_t capacity : {0, 1, 8}) {
    char message[64];
    std::memset(message, 'x', sizeof message);
    verge_status status{sizeof status, VERGE_OK, capacity ? message : nullptr, capacity};
    verge_model* model = nullptr;
    verge_code code = f.v->model_load(f.engine, &a, nullptr, nullptr, nullptr, &model, &status);
    expect(code != VERGE_OK, "the load succeeded");
    expect(status.code == code, "status.code is " + std::to_string(status.code) + ", the function returned " + std::to_string(code));
    expect(capacity == 0 || std::memchr(message, 0, capacity) != nullptr, "the message of capacity " + std::to_string(capacity) + " has no NUL");
    for (size_t i = capacity; i < sizeof message; ++i) expect(message[i] == 'x', "bytes past a capacity of " + std::to_string(capacity) + " were written");
  }
}

void unknown_format(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  verge_model* model = nullptr;
  Call call = f.load("/nonexistent/verge-check-file", "no-such-format", {}, 1, &model);
  refused(call, model);
}

void garbage(const Descriptor& d, const std::string&, const std::string&) {
  Fixture f(d, "", "");
  Scratch scratch;
  std::string noise;
  uint32_t state = 12345;
  for (int i = 0; i < 5000; ++i) noise.push_back(static_cast<char>((state = state * 1664525 + 1013904223) >> 24));
  int number = 0;
  for (const std::string& content : {std::string(), std::string("{\"a\": ["), noise}) {
    for (const std::string& format : d.formats) {
      std::string path = os::join(scratch.dir, "file" + std::to_string(number++));
      expect(os::write_file_atomic(path, content).ok(), "cannot write a temporary file");
      verge_model* model = nullptr;
      Call call = f.load(path, format, {}, 1, &model);
      refused(call, model);
    }
  }
}

void loads(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  expect(std::find(d.formats.begin(), d.formats.end(), format) != d.formats.end(), "the descriptor does not list the format '" + format + "'");
  f.load();
}

void unknown_option(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  verge_model* model = nullptr;
  Call call = f.load(artifact, format, {{"no.such.option", "1"}}, 1, &model);
  if (model) f.v->model_unload(model);
  expect(call.code == VERGE_INVALID_ARGUMENT, "the load answered " + call.to_string());
  expect(call.message.find("no.such.option") != std::string::npos, "the message does not name the key: \"" + call.message + "\"");
}

void check_tensor_info(const LoadedModel& m, bool is_output, uint32_t count, std::set<std::string>& names) {
  for (uint32_t i = 0; i < count; ++i) {
    const verge_tensor_info& t = is_output ? m.output(i) : m.input(i);
    std::string where = std::string(is_output ? "output " : "input ") + std::to_string(i) + ": ";
    expect(t.size >= sizeof(verge_tensor_info), where + "its size is " + std::to_string(t.size));
    expect(t.name && *t.name, where + "has no name");
    expect(names.insert((is_output ? "o" : "i") + std::string(t.name)).second, where + "the name '" + t.name + "' is used twice");
    expect(t.dtype > VERGE_DTYPE_INVALID && t.dtype <= VERGE_BYTES, where + "has element type " + std::to_string(t.dtype));
    expect(t.rank >= -1 && t.rank <= VERGE_MAX_RANK, where + "has rank " + std::to_string(t.rank));
    for (int k = 0; k < t.rank; ++k) expect(t.dims[k] >= -1, where + "has dimension " + std::to_string(t.dims[k]));
    expect(t.batch_axis >= -1 && t.batch_axis < std::max(t.rank, 1), where + "has batch axis " + std::to_string(t.batch_axis));
    if (t.batch_axis >= 0) expect(t.dims[t.batch_axis] == -1, where + "its batch axis is not free (-1)");
    if (t.quantization.present) expect(t.quantization.scale > 0, where + "its quantisation has a scale that is not positive");
  }
}

void described(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  LoadedModel m = f.load();
  const verge_model_info* info = f.v->model_info(m.get());
  expect(info != nullptr, "model_info returned NULL");
  expect(info->size >= sizeof(verge_model_info), "model_info's size is " + std::to_string(info->size));
  expect(info->output_count > 0, "the model has no outputs");
  std::set<std::string> names;
  check_tensor_info(m, false, info->input_count, names);
  check_tensor_info(m, true, info->output_count, names);
  for (uint32_t i = 0; i < info->fixed_batch_count; ++i) {
    expect(info->fixed_batches && info->fixed_batches[i] > 0 && (i == 0 || info->fixed_batches[i] > info->fixed_batches[i - 1]),
           "fixed_batches are not positive and ascending");
  }
  const std::string precision = info->executed_precision ? info->executed_precision : "";
  const std::set<std::string> known = {"", "f32", "bf16", "f16", "int8", "mixed"};
  expect(known.count(precision) == 1, "executed_precision is '" + precision + "'");
  expect(precision.empty() || (info->executed_precision_source && *info->executed_precision_source), "it is not said how the precision is known");
}

void damaged(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  // Of a folder, or of a file with companions beside it, the named file alone or the largest file is cut.
  const bool folder = os::is_dir(artifact);
  const std::string from = folder ? artifact : os::dir_name(artifact);
  auto files = os::digest_tree(from);
  expect(files.ok(), "the artifact cannot be read: " + files.status().message());
  std::string victim = folder ? "" : os::base_name(artifact);
  uint64_t size = 0;
  for (const ManifestFile& file : *files) {
    if (folder ? file.size > size : file.path == victim) {
      victim = file.path;
      size = file.size;
    }
  }
  expect(size > 0, "the artifact is empty");
  auto whole = os::read_file(os::join(from, victim), 1 << 30);
  expect(whole.ok(), "the artifact cannot be read");
  Scratch scratch;
  const std::string copy = os::join(scratch.dir, "copy");
  expect(os::copy_tree(from, copy).ok(), "the artifact cannot be copied");
  const std::string target = os::join(copy, victim);
  const std::string load_path = folder ? copy : target;
  // Whatever a load of a damaged file answers, it answers: it neither crashes nor hangs, and a failure has a message.
  auto attempt = [&](const std::string& content) {
    expect(os::write_file_atomic(target, content).ok(), "cannot write a temporary file");
    verge_model* model = nullptr;
    Call call = f.load(load_path, format, {}, 1, &model);
    if (model) f.v->model_unload(model);
    expect(call.ok() || !call.message.empty(), "a failed load of a damaged file has no message");
  };
  for (uint64_t eighth = 0; eighth < 8; ++eighth) attempt(whole->substr(0, whole->size() * eighth / 8));
  attempt(whole->substr(0, whole->size() - 1));
  for (uint32_t k = 0; k < 24; ++k) {
    std::string flipped = *whole;
    flipped[(flipped.size() * k / 24 + 7 * k) % flipped.size()] ^= static_cast<char>(1 << (k % 8));
    attempt(flipped);
  }
  // The engine still loads what is whole.
  f.load();
}

void affinity_kept(const Descriptor& d, const std::string& artifact, const std::string& format) {
  cpu_set_t before, after;
  expect(sched_getaffinity(0, sizeof before, &before) == 0, "no affinity");
  {
    Fixture f(d, artifact, format);
    int core = 0;
    while (core < CPU_SETSIZE && !CPU_ISSET(core, &before)) ++core;
    int32_t cores[1] = {core};
    verge_placement placement{sizeof placement, 1, cores, 1};
    verge_artifact_file file{artifact.c_str(), 0};
    verge_artifact a{};
    a.size = sizeof a;
    a.count = 1;
    a.files = &file;
    a.format = format.c_str();
    verge_model* model = nullptr;
    StatusBuffer status;
    verge_code code = f.v->model_load(f.engine, &a, nullptr, &placement, nullptr, &model, status.get());
    expect(code == VERGE_OK, "a load on one core: " + status.take(code, "").to_string());
    LoadedModel m(f.v, model);
    verge_instance* handle = nullptr;
    code = f.v->instance_create(model, &placement, &handle, status.get());
    expect(code == VERGE_OK, "an instance on one core: " + status.take(code, "").to_string());
    LoadedInstance instance(f.v, handle);
    instance.answer(m.inputs(m.batch(1)), m.info().output_count);
  }
  expect(sched_getaffinity(0, sizeof after, &after) == 0 && CPU_EQUAL(&before, &after), "the caller's affinity was changed");
}

void bad_placement(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  LoadedModel m = f.load();
  int32_t cores[1] = {-5};
  verge_placement placement{sizeof placement, 1, cores, 1};
  verge_instance* handle = nullptr;
  StatusBuffer status;
  verge_code code = f.v->instance_create(m.get(), &placement, &handle, status.get());
  if (code == VERGE_OK && handle) f.v->instance_destroy(handle);
  expect(code != VERGE_OK, "an instance on core -5 was made");
}

void blob(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  if (!(f.v->capabilities & VERGE_CAP_EXPORT)) throw Skipped{"the engine exports no compiled form"};
  Scratch scratch;
  const std::string path = os::join(scratch.dir, "blob");
  char key[256] = "";
  LoadedModel m = f.load();
  StatusBuffer status;
  verge_code code = f.v->model_export(m.get(), path.c_str(), key, sizeof key, status.get());
  expect(code == VERGE_OK, "model_export: " + status.take(code, "").to_string());
  expect(key[0] != 0, "model_export gave no key");
  const std::string blob_format = d.name + "-blob";
  verge_model* wrong = nullptr;
  Call call = f.load(path, blob_format, {{"blob.key", std::string(key) + "x"}}, 1, &wrong);
  if (wrong) f.v->model_unload(wrong);
  expect(!call.ok(), "a blob with another key was imported");
  verge_model* imported = nullptr;
  call = f.load(path, blob_format, {{"blob.key", key}}, 1, &imported);
  expect(call.ok(), "importing: " + call.to_string());
  LoadedModel i(f.v, imported);
  auto inputs = m.inputs(m.batch(2));
  auto a = m.instance().answer(inputs, m.info().output_count);
  auto b = i.instance().answer(inputs, i.info().output_count);
  expect(equal(a, b), "the imported model answers otherwise: " + describe(b) + " instead of " + describe(a));
}

}  // namespace

const std::vector<Clause>& clauses() {
  static const std::vector<Clause> all = [] {
    std::vector<Clause> c = {
        {"the plugin opens, its table is complete, and it answers for interface version 1 only", false, interface_version},
        {"the engine says its version and facts of the device", false, engine_facts},
        {"an unknown setting is refused by name", false, unknown_setting},
        {"a missing file is an error with a message, in every format", false, missing_file},
        {"status may be NULL", false, null_status},
        {"a message is cut to the capacity it is given", false, short_status},
        {"an unknown format is refused", false, unknown_format},
        {"empty files, and files of another kind, are refused with a message", false, garbage},
        {"the model loads", true, loads},
        {"an unknown load option is refused by name", true, unknown_option},
        {"the model is described soundly", true, described},
        {"cut and bit-flipped files neither crash nor hang", true, damaged},
        {"a placement on one core is kept, and the caller's affinity stays as it was", true, affinity_kept},
        {"a core that cannot exist is refused", true, bad_placement},
        {"an exported blob is imported under its key alone, and answers the same", true, blob},
    };
    add_run_clauses(c);
    return c;
  }();
  return all;
}

}  // namespace verge::engine::check
