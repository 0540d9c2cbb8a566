#include "net/access_log.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "net/json_write.h"
#include "net/utf8.h"

namespace verge::net {

void print_access_record(const AccessRecord& r, ByteBuffer* out) {
  ByteBuffer& b = *out;
  auto text = [&b](std::string_view key, std::string_view value) {
    b.append(",\"");
    b.append(key);
    b.append("\":");
    json_string(valid_utf8(value) ? value : std::string_view("?"), &b);
  };
  auto number = [&b](std::string_view key, uint64_t value) {
    b.append(",\"");
    b.append(key);
    b.append("\":");
    json_number(value, &b);
  };
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  b.append("{\"unix_ms\":");
  json_number(static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000, &b);
  text("protocol", r.protocol);
  text("path", r.path);
  text("model", r.model);
  text("variant", r.variant);
  text("id", r.id);
  text("tenant", r.tenant);
  text("peer", r.peer);
  b.append(r.tls ? ",\"tls\":true" : ",\"tls\":false");
  text("code", code_name(r.code));
  if (r.protocol != "grpc") number("status", static_cast<uint64_t>(r.http_status));
  number("request_bytes", r.request_bytes);
  number("response_bytes", r.response_bytes);
  number("batch", r.batch);
  number("queue_us", r.queue_ns / 1000);
  number("assembly_us", r.assembly_ns / 1000);
  number("compute_us", r.compute_ns / 1000);
  number("encode_us", r.encode_ns / 1000);
  number("total_us", r.total_ns / 1000);
  text("trace_id", r.trace_id);
  text("span_id", r.span_id);
  if (!r.parent_id.empty()) text("parent_id", r.parent_id);
  if (!r.trace_state.empty()) text("trace_state", r.trace_state);
  b.append("}\n");
}

bool LineRing::push(std::string_view line) {
  const uint64_t at = written_.load(std::memory_order_relaxed);
  if (line.size() > kBytes - (at - read_.load(std::memory_order_acquire))) return false;
  const size_t offset = at % kBytes, first = std::min(line.size(), kBytes - offset);
  std::memcpy(data_.get() + offset, line.data(), first);
  std::memcpy(data_.get(), line.data() + first, line.size() - first);
  written_.store(at + line.size(), std::memory_order_release);
  return true;
}

bool LineRing::take(std::vector<char>* out) {
  const uint64_t from = read_.load(std::memory_order_relaxed), to = written_.load(std::memory_order_acquire);
  if (from == to) return false;
  const size_t n = to - from, offset = from % kBytes, first = std::min(n, kBytes - offset);
  out->insert(out->end(), data_.get() + offset, data_.get() + offset + first);
  out->insert(out->end(), data_.get(), data_.get() + (n - first));
  read_.store(to, std::memory_order_release);
  return true;
}

AccessLog::AccessLog(std::vector<LineRing*> rings, std::function<void(std::string_view)> sink)
    : rings_(std::move(rings)), sink_(std::move(sink)), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

AccessLog::~AccessLog() {
  stop_.store(true);
  tell();
  thread_.join();
  if (event_ >= 0) close(event_);
}

void AccessLog::wake(const LineRing& ring) {
  // The line is seen by a thread that finds nothing to do, or it is seen here that the thread idles.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const bool idles = idle_.load(std::memory_order_relaxed) && idle_.exchange(false);
  const bool hurries = ring.half_full() && !hurried_.load(std::memory_order_relaxed) && !hurried_.exchange(true);
  if (idles || hurries) tell();
}

void AccessLog::tell() {
  constexpr uint64_t kOne = 1;
  [[maybe_unused]] const ssize_t n = write(event_, &kOne, sizeof kOne);
}

// Until it is told something, or for so long (-1: without end).
void AccessLog::wait(int ms) {
  pollfd p{.fd = event_, .events = POLLIN, .revents = 0};
  poll(&p, 1, event_ < 0 ? kGatherMs : ms);
  uint64_t count;
  [[maybe_unused]] const ssize_t n = read(event_, &count, sizeof count);
}

bool AccessLog::write_all() {
  batch_.clear();
  for (LineRing* ring : rings_) ring->take(&batch_);
  if (batch_.empty()) return false;
  sink_({batch_.data(), batch_.size()});
  return true;
}

void AccessLog::run() {
  while (true) {
    idle_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool nothing = std::all_of(rings_.begin(), rings_.end(), [](const LineRing* r) { return r->empty(); });
    if (nothing && !stop_.load()) wait(-1);
    idle_.store(false, std::memory_order_relaxed);
    if (!stop_.load()) wait(kGatherMs);
    hurried_.store(false);
    const bool last = stop_.load();
    while (write_all()) {
    }
    if (last) return;
  }
}

}  // namespace verge::net
