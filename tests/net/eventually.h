// What a server's own threads do, and only its figures tell, is seen a moment later.
#pragma once

#include <chrono>
#include <thread>

namespace verge::test {

// Looks until it holds; false if that takes a minute, which is a failure on any machine.
template <typename Fn>
bool eventually(Fn fn) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!fn()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace verge::test
