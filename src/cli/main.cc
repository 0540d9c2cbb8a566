// The command line: one subcommand a capability. Parsing only; the capabilities do the work.
#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <string>

#include "build/build.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "engine/check.h"
#include "engine/worker.h"
#include "report/report.h"
#include "serve/control.h"
#include "serve/infer.h"
#include "serve/serve.h"

namespace verge::cli {
namespace {

constexpr const char* kAbout =
    "Verge turns one trained model into a set of measured variants (engine x precision x device),\n"
    "proves their accuracy, packs them, and serves them.\n\n"
    "  verge build model.h5 -o zoo        convert, verify, measure, pack\n"
    "  verge report zoo/model             what came out\n"
    "  verge serve zoo                    answer gRPC and REST clients on 127.0.0.1:8000";

constexpr const char* kExitCodes =
    "Exit codes: 0 done; 1 it ran and the answer is no (no variant is ok, a check failed); 2 wrong usage or input file;\n"
    "3 something is missing here (engine, tool chain, disk, port); 130 interrupted.";

// Prints the table and writes report.html beside the manifest once a build or a profile has ended.
void show_report(const std::string& package_dir) {
  report::ReportOptions o;
  o.path = package_dir;
  report::report_main(o);
  o.format = report::Format::kHtml;
  report::report_main(o);
}

Command add_build(CLI::App& root) {
  auto* c = root.add_subcommand("build", "Turn a model into a package of verified, measured variants");
  auto o = std::make_shared<build::BuildOptions>();
  c->add_option("model", o->model, "SavedModel folder, .keras, .h5, .onnx, .tflite, OpenVINO .xml, or a model.yaml (see `verge schema model`)")
      ->required();
  c->add_option("-o,--output", o->zoo, "zoo: the folder that packages go into; made if absent")->required();
  c->add_option("--name", o->name, "name of the model (default: from model.yaml or the file)");
  c->add_option("--targets", o->targets, "variants to make, with '*' ('!' in front leaves out), e.g. --targets 'openvino-*' '!*-int8'");
  c->add_flag("--thorough", o->thorough, "measure longer: at least 1,000 runs a cell");
  c->add_flag("!--no-profile", o->profile, "verify only, do not measure");
  c->add_option("--jobs", o->jobs, "variants verified at the same time while others convert")->check(CLI::Range(1, 64));
  c->add_flag("-q,--quiet", o->quiet, "print errors only");
  c->footer(std::string("Examples:\n  verge build saved_model/ -o zoo\n  verge build model.yaml -o zoo --targets 'litert-*' 'openvino-ir-*'\n\n"
                        "A second build of an unchanged model converts nothing. Ctrl-C leaves a valid package.\n") + kExitCodes);
  return {c, [o] {
            if (!o->quiet) o->report = show_report;
            return build::build_main(*o);
          }};
}

Command add_profile(CLI::App& root) {
  auto* c = root.add_subcommand("profile", "Verify and measure a package's variants on this device");
  auto o = std::make_shared<build::ProfileOptions>();
  c->add_option("package", o->package, "ZOO/NAME/VERSION, ZOO/NAME (its latest version), or a zoo with one model")->required();
  c->add_option("--variants", o->variants, "only these, with '*'");
  c->add_flag("--thorough", o->thorough, "measure longer: at least 1,000 runs a cell");
  c->add_flag("-q,--quiet", o->quiet, "print errors only");
  c->footer("The golden samples in the package prove each variant again in the engine that will serve it here.");
  return {c, [o] {
            if (!o->quiet) o->report = show_report;
            return build::profile_main(*o);
          }};
}

Command add_report(CLI::App& root) {
  auto* c = root.add_subcommand("report", "Show what was measured: table, HTML with plots, JSON, CSV, Markdown");
  auto o = std::make_shared<report::ReportOptions>();
  auto format = std::make_shared<std::string>("table");
  c->add_option("package", o->path, "ZOO/NAME/VERSION, ZOO/NAME (its latest version), or a zoo with one model")->required();
  c->add_option("--format", *format, "table, html, json, csv or md")->check(CLI::IsMember({"table", "html", "json", "csv", "md"}));
  c->add_option("-o,--output", o->output, "file to write (default: standard output; html: report.html in the package)");
  c->add_option("--device", o->device, "fingerprint of the device to report (default: this one, else the latest)");
  return {c, [o, format] {
            o->format = report::format_from_name(*format).value();
            return report::report_main(*o);
          }};
}

Command add_serve(CLI::App& root) {
  auto* c = root.add_subcommand("serve", "Serve a zoo, a package or a model file over gRPC and REST on one port");
  auto o = std::make_shared<serve::ServeOptions>();
  c->add_option("path", o->path, "zoo, ZOO/NAME, ZOO/NAME/VERSION, or a model: .onnx, .tflite, OpenVINO .xml, a SavedModel folder");
  c->add_option("--config", o->config, "YAML file; what stands on the command line goes before it (`verge schema config`)");
  c->add_option("--listen", o->listen, "HOST:PORT or unix:/path (default 127.0.0.1:8000; port 0 takes a free one)");
  c->add_option("--fronts", o->fronts, "threads that own connections");
  c->add_option("--lanes", o->lanes, "threads that run models; 0: the fronts run them");
  c->add_option("--cores", o->cores, "cores to use, e.g. 0-3,6 (default: all this process may use)");
  c->add_option("--memory", o->memory, "limit on the models' resident memory, e.g. 512MiB; what does not fit is refused");
  c->add_option("--state-dir", o->state_dir, "where measurements of packages without a profile of this device are kept");
  c->add_option("--cache-dir", o->cache_dir, "where engines keep compiled models");
  c->add_option("--log-level", o->log_level, "debug, info, warning or error");
  c->add_option("--log-format", o->log_format, "text or json");
  c->add_flag("--access-log", o->access_log, "log each request as a JSON line");
  c->footer(
      "Examples:\n  verge serve zoo\n  verge serve model.onnx --listen 127.0.0.1:9000\n  verge serve zoo --memory 512MiB --config verge.yaml\n\n"
      "Prints one JSON line with its address when ready. SIGTERM or Ctrl-C: takes no more requests, answers those it has, exits 0.");
  return {c, [o] { return serve::serve_main(*o); }};
}

Command add_reload(CLI::App& root) {
  auto* c = root.add_subcommand("reload", "Make a running server look at its zoo, configuration and certificates again");
  auto o = std::make_shared<serve::ReloadOptions>();
  c->add_option("--address", o->address, "HOST:PORT or unix:/path of a listener that serves management (default 127.0.0.1:8000)");
  c->add_option("--token-file", o->token_file, "file with the bearer token to send, where the server asks for one");
  c->add_flag("--json", o->json, "print JSON");
  c->footer("Waits until what it found is loaded, and prints what changed. What is refused changes nothing; the exit code is 1 then.\n"
            "SIGHUP to the server does the same.");
  return {c, [o] { return serve::reload_main(*o); }};
}

Command add_rollback(CLI::App& root) {
  auto* c = root.add_subcommand("rollback", "Serve an earlier version of a model from now on");
  auto o = std::make_shared<serve::RollbackOptions>();
  c->add_option("model", o->model, "ZOO/NAME")->required();
  auto* to = c->add_option("--to", o->to, "version to serve (default: the one before)")->check(CLI::PositiveNumber);
  c->add_flag("--latest,--clear", o->latest, "end the roll-back")->excludes(to);
  c->footer("Examples:\n  verge rollback zoo/photos\n  verge rollback zoo/photos --to 3\n  verge rollback zoo/photos --latest\n\n"
            "Running servers change over by themselves, without losing a request. Later versions are not served until the roll-back ends.");
  return {c, [o] { return serve::rollback_main(*o); }};
}

Command add_infer(CLI::App& root) {
  auto* c = root.add_subcommand("infer", "Run one inference from the shell, without a server");
  auto o = std::make_shared<serve::InferOptions>();
  c->add_option("model", o->model, "package, zoo with one model, or model file")->required();
  c->add_option("-i,--input", o->inputs, "NAME=FILE, or FILE where the model has one input: .npy; any file for a BYTES input, such as an image")->required();
  c->add_option("--variant", o->variant, "variant to run (default: the one a server would choose)");
  c->add_option("--top", o->top, "elements to print of each output (default 16)");
  c->footer("Example:\n  verge infer zoo/photos -i cat.jpg");
  return {c, [o] { return serve::infer_main(*o); }};
}

Command add_engine(CLI::App& root) {
  auto* c = root.add_subcommand("engine", "Tools for authors of engine plugins");
  c->require_subcommand(1);
  auto* check = c->add_subcommand("check", "Run the engine contract's own test suite against a plugin");
  auto plugin = std::make_shared<std::string>(), artifact = std::make_shared<std::string>(), format = std::make_shared<std::string>();
  check->add_option("plugin", *plugin, "the plugin's shared object or its .engine.json")->required();
  check->add_option("--artifact", *artifact, "an artifact the plugin can load (default: those its descriptor names)");
  check->add_option("--format", *format, "format of that artifact");
  return {check, [=] { return engine::engine_check_main(*plugin, *artifact, *format); }};
}

int run(int argc, char** argv) {
  // Not in the help: only Verge itself starts workers.
  if (argc == 2 && std::string_view(argv[1]) == "worker") return engine::worker_main();

  CLI::App app{kAbout, "verge"};
  app.require_subcommand(1);
  app.footer(kExitCodes);
  app.failure_message(CLI::FailureMessage::simple);
  std::vector<Command> commands = {add_build(app), add_profile(app), add_report(app), add_serve(app), add_reload(app), add_rollback(app), add_infer(app), add_bench(app), add_simulate(app), add_compare(app), add_engine(app)};

  bool json = false;
  std::string path, what = "model";
  auto plain = [&](const char* name, const char* help, std::function<int()> fn) {
    auto* c = app.add_subcommand(name, help);
    if (std::string_view(name) != "schema") c->add_flag("--json", json, "print JSON");
    commands.push_back({c, std::move(fn)});
    return c;
  };
  plain("models", "List the models of a zoo and what is ok on this device", [&] { return models_command(path, json); })
      ->add_option("zoo", path, "folder of packages")
      ->required();
  plain("engines", "List the engines and what each can load", [&] { return engines_command(json); });
  plain("doctor", "Say what is installed, what is missing and what to do", [&] { return doctor_command(json); });
  plain("schema", "Print the JSON Schema of model.yaml or the configuration, or the table of transforms", [&] { return schema_command(what); })
      ->add_option("what", what, "model, config or transforms")
      ->check(CLI::IsMember({"model", "config", "transforms"}));
  plain("token", "Make a bearer token for clients, and its digest for the configuration", [&] { return token_command(json); });
  plain("version", "Print versions", [&] { return version_command(json); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitUsage;
  }
  for (const auto& c : commands)
    if (c.app->parsed()) return c.run();
  return kExitUsage;
}

}  // namespace
}  // namespace verge::cli

int main(int argc, char** argv) { return verge::cli::run(argc, argv); }
