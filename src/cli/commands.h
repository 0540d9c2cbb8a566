// The commands that are no capability of their own: what is installed, and what a zoo holds.
// Each returns the process's exit code (see exit_codes.h).
#pragma once

#include <string>

namespace verge::cli {

int engines_command(bool json);
int doctor_command(bool json);
int models_command(const std::string& path, bool json);
int version_command(bool json);
int token_command(bool json);
int schema_command(const std::string& what);  // "model", "config", "transforms"

}  // namespace verge::cli
