// HTTP/2 on a connection, by nghttp2: gRPC and REST requests as streams.
#pragma once

#include <nghttp2/nghttp2.h>

#include "net/connection.h"
#include "net/message_stream.h"

namespace verge::net {

class Http2Session final : public Session {
 public:
  explicit Http2Session(Connection& connection);
  ~Http2Session() override;

  void on_bytes(std::string_view bytes) override;
  void produce() override;
  bool wants_bytes() const override { return true; }
  bool only_costs() const override;
  void on_peer_closed() override { connection_.close_now(); }
  void begin_stop() override;
  Wait waits_for() const override;
  void abandon() override;
  void send_reply(Call* call) override;

  // --- for streaming calls ---
  static constexpr size_t kFirstWindow = 65'535;  // of a stream, HTTP/2's own default
  static constexpr size_t kAlignFrom = 4096;  // raw tensors from this size are placed aligned
  Connection& connection() { return connection_; }
  // Whether the message whose prefix `call` holds can be served.
  static Status check_prefix(Call* call);
  // Room for a message, and windows to match.
  Status reserve(Call* call, size_t bytes, size_t aligned_at, bool* too_large);
  // Appends up to `length` more bytes of call.reply; how many.
  static size_t queue_reply(WriteQueue& queue, Call* call, size_t length);
  void resume(int32_t stream);                            // it has something to send
  void open_stream_window(int32_t stream, size_t bytes);  // they were read
  void submit_status(int32_t stream, Code code, std::string_view message);
  void want_pump(MessageStream* stream);
  void forget(MessageStream* stream);
  void count_receiving(int n) { receiving_ += static_cast<uint32_t>(n); }
  void count_sending(int n) { sending_ += static_cast<uint32_t>(n); }

 private:
  struct Callbacks;
  friend struct Callbacks;

  // What nghttp2 calls.
  int on_begin_headers(const nghttp2_frame* frame);
  int on_header(const nghttp2_frame* frame, std::string_view name, std::string_view value);
  int on_frame(const nghttp2_frame* frame);
  int on_data(int32_t stream, std::string_view bytes);
  int on_sent(const nghttp2_frame* frame);
  int on_stream_close(int32_t stream);
  ssize_t read_body(Call* call, size_t length, uint32_t* flags);
  int send_data(Call* call, const uint8_t* frame_head, size_t length);

  Call* call_of(int32_t stream) { return static_cast<Call*>(nghttp2_session_get_stream_user_data(session_, stream)); }
  void take_grpc_data(Call* call, std::string_view bytes);
  void take_body(Call* call, std::string_view bytes);
  void open_stream(Call* call, const StreamMethod& method);
  bool make_room(Call* call, size_t bytes, size_t aligned_at);
  void grow_windows(Call* call, size_t bytes);
  void request_complete(Call* call);
  void refuse(Call* call, Status status, int http_status = 0);
  void finish(Call* call);  // no more to send or receive on its stream
  bool flooded();
  void final_goaway();

  Connection& connection_;
  nghttp2_session* session_ = nullptr;
  CallList calls_;
  std::vector<MessageStream*> to_pump_;
  Call* head_of_ = nullptr;        // the call whose header block is being received
  uint32_t receiving_ = 0;         // calls whose request is not complete
  uint32_t sending_ = 0;           // calls whose answer is not completely sent
  uint32_t cheap_frames_ = 0;      // resets, pings and settings within the current window of time
  uint64_t cheap_since_ns_ = 0;
  size_t connection_window_ = 0;
  std::string last_message_;       // the last error's text
  bool saw_settings_ = false;
  bool stopping_ = false;

  struct NoticeTimer final : Timer {
    explicit NoticeTimer(Http2Session& s) : session(s) {}
    void on_timer() override;
    Http2Session& session;
  } notice_timer_{*this};
};

}  // namespace verge::net
