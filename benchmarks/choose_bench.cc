// What a choice costs, and that it allocates nothing: choose_bench [CANDIDATES]. Prints nanoseconds; exits with 1 where a heap call was made.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "policy/choose.h"
#include "policy/exit_rule.h"
#include "policy/quantile.h"

namespace {
uint64_t heap_calls = 0;
}
void* operator new(size_t n) {
  ++heap_calls;
  if (void* p = std::malloc(n == 0 ? 1 : n)) return p;
  std::abort();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

using namespace verge::policy;

int main(int argc, char** argv) {
  const int n = argc > 1 ? std::atoi(argv[1]) : 64;
  if (n < 1 || n > 100'000) return 2;
  std::vector<Candidate> candidates;
  for (int i = 0; i < n; ++i) {
    const double x = (i * 37 % n + 1.0) / n;
    candidates.push_back({.accuracy = 0.7 + 0.29 * x, .energy_mj = 1 + 9 * x, .typical_ns = static_cast<uint64_t>(1e6 + 2e7 * x), .cautious_ns = static_cast<uint64_t>(1.2e6 + 2.4e7 * x),
                          .wait_ns = static_cast<uint64_t>(i % 4) * 500'000, .ready = i % 5 != 0});
  }
  std::vector<Passed> reasons(candidates.size());
  const Demands demands[] = {{.left_ns = 12'000'000}, {.min_accuracy = 0.85}, {.max_energy_mj = 6}, {.left_ns = 1000}, {.left_ns = 9'000'000, .min_accuracy = 0.75, .max_energy_mj = 8}};
  DurationQuantiles quantiles;
  quantiles.seed(1'000'000, 1'300'000);
  constexpr int kRounds = 20'000;
  int64_t kept = 0;
  const auto time = [&](const char* what, auto&& body) {
    const uint64_t before = heap_calls;
    const auto begun = std::chrono::steady_clock::now();
    for (int r = 0; r < kRounds; ++r) kept += body(r);
    const double ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begun).count() / kRounds;
    std::printf("%-44s %8.0f ns   %llu heap calls\n", what, ns, static_cast<unsigned long long>(heap_calls - before));
    return heap_calls == before;
  };
  bool clean = true;
  char what[64];
  std::snprintf(what, sizeof what, "choose among %d", n);
  clean &= time(what, [&](int r) { return choose(candidates, demands[r % 5]).index; });
  std::snprintf(what, sizeof what, "choose among %d, with reasons", n);
  clean &= time(what, [&](int r) { return choose(candidates, demands[r % 5], reasons).index; });
  const StageKnown stages[] = {{"1", 0.78, 1, 2'000'000, 3'000'000}, {"2", 0.84, 2, 3'000'000, 4'000'000}, {"3", 0.89, 3, 4'000'000, 5'000'000}, {"4", 0.91, 4, 7'000'000, 8'000'000}};
  clean &= time("decide after a stage (predictive)", [&](int r) {
    return static_cast<int>(decide_exit(*find_exit_rule(""), {.exit = static_cast<uint32_t>(r % 4), .stages = stages, .elapsed_ns = 3'000'000, .deadline_ns = 12'000'000}, {}).go);
  });
  clean &= time("learn a duration, read both quantiles", [&](int r) {
    quantiles.learn(1'000'000 + static_cast<uint64_t>(r * 7919 % 100'000));
    return static_cast<int>(quantiles.get().cautious_ns & 1);
  });
  return clean && kept != -1 ? 0 : 1;
}
