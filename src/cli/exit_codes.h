// What verge's exit codes mean. Scripts rely on them.
#pragma once

namespace verge::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitNone = 1;         // it ran, and the answer is no: no variant is ok, a check failed, an inference failed
inline constexpr int kExitUsage = 2;        // the command line, model.yaml, configuration or input file is wrong
inline constexpr int kExitEnvironment = 3;  // something is missing here: an engine, the tool chain, disk, a free port
inline constexpr int kExitInterrupted = 130;

}  // namespace verge::cli
