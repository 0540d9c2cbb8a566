// `verge reload` and `verge rollback`: what an operator asks of a server that runs, and of a zoo.
#pragma once

#include <cstdint>
#include <string>

namespace verge::serve {

struct ReloadOptions {
  std::string address = "127.0.0.1:8000";  // HOST:PORT or unix:/path, a listener that serves management, without TLS
  std::string token_file;                  // holds the bearer token to send; empty: none
  bool json = false;
};
// Asks the server to look at everything again, waits, and prints what came of it. 0; 1 something was refused; 2 a wrong address; 3 there is no
// such server.
int reload_main(const ReloadOptions& options);

struct RollbackOptions {
  std::string model;   // ZOO/NAME
  int64_t to = 0;      // 0: the version before the one that is served
  bool latest = false;  // ends the roll-back
};
// Writes or removes ZOO/NAME/serving.json. 0; 1 there is no earlier version; 2 a wrong path or version.
int rollback_main(const RollbackOptions& options);

}  // namespace verge::serve
