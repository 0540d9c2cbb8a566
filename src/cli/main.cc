#include <cstdio>
#include <string_view>

#include "engine/worker.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "worker") return verge::engine::worker_main();
  std::fprintf(stderr, "verge: only the worker is linked so far\n");
  return 2;
}
