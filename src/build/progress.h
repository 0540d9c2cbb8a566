// What a long build says while it works. On a terminal the last line is live; elsewhere only finished steps are told, a line each.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace verge::build {

// Writes to standard error; thread-safe.
class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress();

  // Replaces the live line.
  void live(const std::string& text);
  // A line that stays.
  void line(const std::string& text);
  void warning(const std::string& text);
  // Also when quiet.
  void error(const std::string& text);

  double elapsed_s() const;

 private:
  void clear_live();
  void put(const std::string& text);

  std::mutex mutex_;
  bool quiet_;
  bool terminal_;
  bool live_shown_ = false;
  uint64_t start_ns_;
};

}  // namespace verge::build
