// HTTP/1.x on a connection: one request at a time, answered in order; what the client sends ahead waits in the socket.
#pragma once

#include "net/connection.h"
#include "net/http1.h"

namespace verge::net {

class Http1Session final : public Session {
 public:
  explicit Http1Session(Connection& connection) : connection_(connection) {}

  void on_bytes(std::string_view bytes) override;
  std::span<char> direct_room() override;
  void on_direct(size_t n) override;
  void produce() override;
  bool wants_bytes() const override { return state_ != State::kServer; }
  void on_peer_closed() override;
  void begin_stop() override;
  Wait waits_for() const override;
  void abandon() override;
  void send_reply(Call* call) override;

 private:
  enum class State : uint8_t { kHead, kSized, kChunked, kServer };

  size_t process(std::string_view bytes);  // returns how many were used
  bool take_head(std::string_view head);   // false: the connection ends
  void take_chunked(std::string_view* bytes);
  bool make_room(size_t bytes);
  void complete();
  void refuse(Status status, int http_status = 0);

  Connection& connection_;
  State state_ = State::kHead;
  Call* call_ = nullptr;  // from its head to its answer
  ByteBuffer input_;      // received, not used yet
  size_t scanned_ = 0;    // of input_, for the end of a head
  ChunkedDecoder chunks_;
  bool keep_alive_ = true;
  bool peer_closed_ = false;
};

}  // namespace verge::net
