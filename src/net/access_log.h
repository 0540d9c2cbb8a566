// One JSON line for each answered request, written by a thread of its own: a slow disk or terminal never holds up a front.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "core/status.h"
#include "net/bytes.h"

namespace verge::net {

struct AccessRecord {
  std::string_view protocol;  // "grpc", "http1", "http2"
  std::string_view path;
  std::string_view model;
  std::string_view variant;
  std::string_view id;
  std::string_view peer;
  std::string_view tenant;
  bool tls = false;
  int http_status = 0;
  Code code = Code::kOk;
  uint64_t request_bytes = 0, response_bytes = 0;  // of the bodies
  uint32_t batch = 0;                              // samples in the engine run that answered; 0: none did
  uint64_t queue_ns = 0, assembly_ns = 0, compute_ns = 0, encode_ns = 0;
  uint64_t total_ns = 0;                           // from the complete request to the complete answer
  std::string_view trace_id, span_id, parent_id;   // parent_id and trace_state: as the client gave them, or empty
  std::string_view trace_state;
};
// Appends the record as one JSON line.
void print_access_record(const AccessRecord& record, ByteBuffer* out);

// Lines from one thread to another, bounded. What does not fit is refused whole.
class LineRing {
 public:
  static constexpr size_t kBytes = size_t{1} << 20;
  LineRing() : data_(new char[kBytes]) {}

  bool push(std::string_view line);   // the writing thread
  bool take(std::vector<char>* out);  // the reading thread: appends all there is, whole lines; false: nothing
  bool empty() const { return waiting() == 0; }
  bool half_full() const { return waiting() > kBytes / 2; }

 private:
  uint64_t waiting() const { return written_.load(std::memory_order_acquire) - read_.load(std::memory_order_acquire); }
  const std::unique_ptr<char[]> data_;
  alignas(64) std::atomic<uint64_t> written_{0};
  alignas(64) std::atomic<uint64_t> read_{0};
};

// Lines are gathered for a moment before they are written: a thread that is woken for every turn of a front costs that front several times what it does.
class AccessLog {
 public:
  static constexpr int kGatherMs = 20;
  // `sink` is called on the log's thread with one or more whole lines.
  AccessLog(std::vector<LineRing*> rings, std::function<void(std::string_view)> sink);
  ~AccessLog();  // writes what is left
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  void wake(const LineRing& ring);  // any thread: something was pushed there

 private:
  void run();
  bool write_all();
  const std::vector<LineRing*> rings_;
  const std::function<void(std::string_view)> sink_;
  void tell();
  void wait(int ms);
  std::vector<char> batch_;
  const int event_;
  std::atomic<bool> idle_{false};     // the thread waits for a first line
  std::atomic<bool> hurried_{false};  // it was told to gather no longer
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace verge::net
