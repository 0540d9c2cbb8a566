// Bytes waiting for a socket: copied ones and views in order, written with as few system calls as the socket allows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "net/bytes.h"

namespace verge::net {

struct Call;
class Front;
class TlsStream;

class WriteQueue {
 public:
  explicit WriteQueue(Front& front) : front_(front) {}
  ~WriteQueue();  // gives the marked calls back
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  void append(const void* p, size_t n);       // copies
  void append_view(const void* p, size_t n);  // must stay until the call marked next is given back
  // Gives `call` back to the front when everything appended so far is written.
  void mark(Call* call);

  bool empty() const { return pending_ == 0; }
  size_t pending() const { return pending_; }
  size_t held() const { return copied_.capacity(); }  // memory for copied bytes
  // Writes what the socket takes now, through `tls` where there is one. False: the connection is broken.
  bool flush(int fd, TlsStream* tls, uint64_t* written);

 private:
  struct Entry {
    const char* view;   // nullptr: in copied_
    size_t offset;      // into copied_
    size_t size;
    Call* done;         // given back after this entry
  };
  void compact();

  Front& front_;
  ByteBuffer copied_;
  std::vector<Entry> entries_;
  size_t first_ = 0;  // entries before are written
  size_t pending_ = 0;
};

}  // namespace verge::net
