// A socket: which protocol is spoken on it, reading, writing, back-pressure, timeouts, the end. The protocol is a Session.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "net/auth.h"
#include "net/call.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/write_queue.h"

namespace verge::net {

class Front;
class Connection;
class TlsStream;

// What a connection waits for, and so which timeout applies.
enum class Wait : uint8_t { kServer, kHandshake, kHeader, kBody, kWrite, kIdle, kLinger };

// The protocol on a connection.
class Session : public Transport {
 public:
  virtual ~Session() = default;
  virtual void on_bytes(std::string_view bytes) = 0;
  // Where the next bytes should be read to, past the front's buffer; empty: nowhere in particular.
  virtual std::span<char> direct_room() { return {}; }
  virtual void on_direct(size_t) {}
  // Moves what can be sent into the connection's queue, up to its high-water mark.
  virtual void produce() = 0;
  // Whether it takes bytes now; false stops reading from the socket.
  virtual bool wants_bytes() const = 0;
  // Whether what comes lately only costs: then it is read in small steps, between which everybody else is served.
  virtual bool only_costs() const { return false; }
  // The peer sends no more (it may still read).
  virtual void on_peer_closed() = 0;
  virtual void begin_stop() = 0;
  virtual Wait waits_for() const = 0;
  // Lets go of all calls: the connection is closed.
  virtual void abandon() = 0;
};

class Connection final : public EventHandler, public Timer {
 public:
  // Above it nothing is added to the queue and nothing read, below it both go on.
  static constexpr size_t kHighWater = size_t{256} << 10;

  // `tls` nullptr: plain.
  Connection(Front& front, int fd, const Peer& peer, std::unique_ptr<TlsStream> tls);
  ~Connection();

  bool open();  // registers with the loop
  void on_event(uint32_t events) override;
  void on_timer() override;
  // At the end of a turn in which something happened: produces, writes, and sets up what to wait for.
  void settle();
  void begin_stop();
  void close_now();
  // The next step of the TLS handshake; asked for by Front::queue_handshake().
  void step_handshake();

  // --- for the session ---
  Front& front() { return front_; }
  const Peer& peer() const { return peer_; }
  // A call that begins on this connection.
  void introduce(Call* call, Transport* transport);
  // Headers of a call that say who asks.
  void take_authorization(Call* call, std::string_view value);
  void take_tenant(Call* call, std::string_view name);
  WriteQueue& queue() { return queue_; }
  // Closes when everything queued is written; whatever the peer still sends is read and dropped for a moment, so that it sees the answer.
  void close_when_written() { closing_ = true; }
  bool closing() const { return closing_; }
  bool closed() const { return fd_ < 0; }
  // Something was received or sent that shows the peer alive: the timeout starts anew.
  void progress() { progress_ = true; }
  // Bytes of a body came, or of an answer went: those count against bodies and answers that drip.
  void moved(size_t bytes) {
    progress_ = true;
    moved_ += bytes;
  }
  // A new request begins: its header has its own time.
  void restart_wait() { wait_ = Wait::kServer; }
  void touch();  // settle() at the end of this turn
  void note_answer() { answered_ = true; }
  // A request was answered well: no stranger any more.
  void note_served() { served_ = true; }

  // --- for the front ---
  size_t index = 0;
  bool dirty = false;
  bool handshake_queued = false;

 private:
  void read();
  ssize_t receive(std::span<char> room);
  void feed(std::string_view bytes);
  bool sniff(std::string_view bytes);
  void refuse(std::string_view answer);
  void settle_now();
  void peer_closed();
  void drop_received();
  bool may_read() const;
  void handshake_done();
  void update_interest();
  void update_place();
  void update_timer();
  bool came_on(Wait wait) const;
  bool still_written();

  Front& front_;
  int fd_;
  const Peer peer_;
  std::unique_ptr<TlsStream> tls_;
  TokenCache tokens_;
  WriteQueue queue_;
  std::unique_ptr<Session> session_;  // nullptr while the first bytes do not tell
  char first_[24];
  uint8_t first_bytes_ = 0;
  bool closing_ = false;      // close once the queue is empty
  bool lingering_ = false;    // our side is shut
  bool peer_closed_ = false;
  bool progress_ = true;
  bool answered_ = false;     // an answer was made since settle()
  size_t moved_ = 0;          // bytes since the timer was armed
  bool blocked_ = false;      // the socket takes no more bytes
  bool handshaking_ = false;
  bool handshake_wants_write_ = false;
  bool stamps_ = false, stamps_asked_ = false;  // the kernel notes when bytes arrive
  bool tls_more_ = false;       // received bytes wait in tls_, of which the socket tells nothing
  bool read_blocked_ = false;   // tls_ has to write before it can read
  Wait wait_ = Wait::kServer;
  uint32_t interest_ = 0;
  bool served_ = false;
  Loop::Place place_ = Loop::Place::kAside;
  uint64_t begun_ns_ = 0;  // the handshake
};

}  // namespace verge::net
