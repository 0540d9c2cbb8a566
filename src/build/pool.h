// A few threads that run tasks in the order they came.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace verge::build {

class TaskPool {
 public:
  explicit TaskPool(int threads);
  ~TaskPool() { finish(); }
  void submit(std::function<void()> task);
  // Runs what is left and joins; submit() is not called afterwards.
  void finish();

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace verge::build
