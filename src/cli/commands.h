// The commands that are no capability of their own: what is installed, and what a zoo holds.
// Each returns the process's exit code (see exit_codes.h).
#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace verge::cli {

// A subcommand, and what it does once it was parsed.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};
// Load on a server and its simulation.
Command add_bench(CLI::App& root);
Command add_simulate(CLI::App& root);
Command add_compare(CLI::App& root);

int engines_command(bool json);
int doctor_command(bool json);
int models_command(const std::string& path, bool json);
int version_command(bool json);
int token_command(bool json);
int schema_command(const std::string& what);  // "model", "config", "transforms"

}  // namespace verge::cli
