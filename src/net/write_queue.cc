#include "net/write_queue.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "net/front.h"
#include "net/tls.h"

namespace verge::net {
namespace {

constexpr size_t kVectors = 64;               // of one system call
constexpr size_t kKeep = size_t{64} << 10;    // copied bytes whose memory an idle connection keeps

}  // namespace

WriteQueue::~WriteQueue() {
  for (size_t i = first_; i < entries_.size(); ++i)
    if (entries_[i].done) front_.recycle(entries_[i].done);
}

void WriteQueue::append(const void* p, size_t n) {
  if (!n) return;
  const bool joins = entries_.size() > first_ && !entries_.back().view && !entries_.back().done &&
                     entries_.back().offset + entries_.back().size == copied_.size();
  if (joins)
    entries_.back().size += n;
  else
    entries_.push_back({nullptr, copied_.size(), n, nullptr});
  copied_.append(p, n);
  pending_ += n;
}

void WriteQueue::append_view(const void* p, size_t n) {
  if (!n) return;
  entries_.push_back({static_cast<const char*>(p), 0, n, nullptr});
  pending_ += n;
}

void WriteQueue::mark(Call* call) {
  if (entries_.size() == first_) {
    front_.recycle(call);
  } else if (!entries_.back().done) {
    entries_.back().done = call;
  } else {
    entries_.push_back({nullptr, copied_.size(), 0, call});
  }
}

bool WriteQueue::flush(int fd, TlsStream* tls, uint64_t* written) {
  while (first_ < entries_.size()) {
    iovec vectors[kVectors];
    size_t n = 0, bytes = 0;
    for (size_t i = first_; i < entries_.size() && n < kVectors; ++i) {
      const Entry& e = entries_[i];
      if (!e.size) continue;
      vectors[n++] = {const_cast<char*>(e.view ? e.view : copied_.data() + e.offset), e.size};
      bytes += e.size;
    }
    size_t sent = 0;
    if (bytes) {
      msghdr message{};
      message.msg_iov = vectors;
      message.msg_iovlen = n;
      const ssize_t r = tls ? tls->write(vectors, n) : sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (r < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) break;
        return false;
      }
      sent = static_cast<size_t>(r);
    }
    *written += sent;
    pending_ -= sent;
    const bool short_write = sent < bytes;
    while (first_ < entries_.size()) {
      Entry& e = entries_[first_];
      const size_t take = std::min(sent, e.size);
      if (e.view)
        e.view += take;
      else
        e.offset += take;
      e.size -= take;
      sent -= take;
      if (e.size) break;
      if (e.done) front_.recycle(e.done);
      ++first_;
    }
    if (short_write) break;
  }
  compact();
  return true;
}

void WriteQueue::compact() {
  if (first_ == entries_.size()) {
    entries_.clear();
    first_ = 0;
    copied_.clear();
    copied_.shrink(kKeep);
    return;
  }
  if (first_ >= 64) {
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }
  // Also where all that waits is one entry: with a reader that is always a little behind, that one never ends. What is moved is no more than what is let go of.
  size_t start = copied_.size();
  for (size_t i = first_; i < entries_.size(); ++i) {
    if (entries_[i].view) continue;
    start = entries_[i].offset;
    break;
  }
  if (start < kKeep || start < copied_.size() - start) return;
  copied_.erase_front(start);
  for (size_t i = first_; i < entries_.size(); ++i)
    if (!entries_[i].view) entries_[i].offset -= start;
}

}  // namespace verge::net
