// Wakes fronts at points in time, for requests that wait for something else than a lane. One thread, started at the first use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>

namespace verge::runtime {

class Alarm {
 public:
  class Target {
   public:
    virtual void on_alarm() = 0;  // any thread

   protected:
    ~Target() = default;
  };

  ~Alarm();
  // `at_ns` as os::monotonic_ns().
  void set(uint64_t at_ns, Target* target);
  // After this returns, `target` is not called any more.
  void forget(Target* target);

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<uint64_t, Target*> due_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace verge::runtime
