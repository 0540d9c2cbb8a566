// Publishing a version: made in a temporary folder of the zoo, synced, and renamed into place, so that a reader sees a whole package or
// none, and a failed build leaves what was there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/status.h"
#include "os/files.h"

namespace verge::build {

// One builder at a time works on a zoo. `waiting` is called with a sentence when another one is at work, before waiting for it.
// kCancelled when interrupted while waiting.
Result<std::unique_ptr<os::FileLock>> lock_zoo(const std::string& zoo, const std::function<void(const std::string&)>& waiting);

// A temporary folder of the zoo, removed with all it holds when destroyed. The zoo's lock is held.
class Staging {
 public:
  // Also removes what builds that were killed have left.
  static Result<Staging> create(const std::string& zoo);
  Staging(Staging&& o) noexcept : zoo_(std::move(o.zoo_)), dir_(std::move(o.dir_)) { o.dir_.clear(); }
  Staging& operator=(Staging&&) = delete;
  ~Staging();

  std::string package_dir() const { return os::join(dir_, "package"); }
  std::string work_dir() const { return os::join(dir_, "work"); }

  // Makes package_dir() the folder ZOO/NAME/VERSION and returns that path. Fails where it exists.
  Result<std::string> publish(const std::string& name, int64_t version);

 private:
  Staging(std::string zoo, std::string dir) : zoo_(std::move(zoo)), dir_(std::move(dir)) {}
  std::string zoo_, dir_;
};

// The highest version folder of the model, whole or not; 0: none. A new version never takes a number that something occupies.
int64_t highest_version(const std::string& zoo, const std::string& name);

}  // namespace verge::build
