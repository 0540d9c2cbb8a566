// A gRPC call of many messages on one HTTP/2 stream. Every message is a Call of its own from the front's pool, so that it is read, run,
// answered and counted as a unary one; the answers leave in the order of the messages.
//
//   bytes ─▶ messages, at most max_stream_messages of them in progress ─▶ Service ─▶ answers in a row ─▶ nghttp2
//
// What comes while no place is free waits in `backlog_`, which the stream's flow-control window bounds: the window is opened again only for
// bytes that were read. Everything is charged to the receive budget: while messages are in progress, the whole window is, since the client may
// fill it at any time and the memory has to be there then.
#pragma once

#include <string_view>

#include "net/bytes.h"
#include "net/call.h"

namespace verge::net {

class Front;
class Http2Session;
class MessageStream;
class Service;

// What a method does with the messages of its streams. Static.
struct StreamMethod {
  std::string_view path;
  // A complete message in call.body: call.request goes to the runtime, or the call is answered.
  void (*handle)(Service& service, Call* call);
  // The runtime has answered call.request: encodes call.reply.
  void (*write)(Call* call);
  // Encodes an error as an answer; nullptr: the stream ends with the status.
  void (*write_error)(Call* call, const Status& status);
  // The stream is closed, for whatever reason; nullptr: nobody cares.
  void (*closed)(Service& service, MessageStream* stream) = nullptr;
};

// The streaming method of this path; nullptr: there is none.
const StreamMethod* find_stream_method(std::string_view path);

class MessageStream final : public Transport {
 public:
  explicit MessageStream(Front& front) : front_(front) {}

  // --- the session's ---
  void open(Http2Session& session, Call* head, const StreamMethod& method);
  void take(std::string_view bytes);  // of DATA frames
  void half_close();
  // Says how much of the answers the next DATA frame of up to `length` bytes carries, or NGHTTP2_ERR_DEFERRED.
  ssize_t read(size_t length, uint32_t* flags);
  void send(size_t length);  // moves as much to the connection's queue
  // Whether the window may be that large: false where the budget has no memory for what may come.
  bool back_window(size_t window);
  // Goes on with what waited for a place; the session calls it when nghttp2 is at rest.
  void pump();
  void stop();     // the server stops: what was received is answered, then the stream ends
  void expired();  // its deadline has come
  void close();    // the stream is gone; what runs is cancelled

  // --- the service's ---
  void send_reply(Call* call) override;
  // Ends the stream with a status in place of the answer to `call`, which is gone after this.
  void end_with(Call* call, const Status& status);
  // An answer that belongs to no message, after those that stand. nullptr at the limits. Fill in its reply, then Service::answer().
  Call* add_answer();
  // Another answer to the message of `call`, right before or behind its own; as add_answer(), but for MessageStream::send_reply(). nullptr where too many
  // answers wait for the client as it is.
  Call* add_before(Call* call);
  Call* add_after(Call* call);
  // Takes a message that gets no answer.
  void drop(Call* call);
  size_t unsent() const { return count_; }
  const StreamMethod& method() const { return *method_; }
  Call& head() { return *head_; }
  uint8_t told = 0;  // Health/Watch: the status last told. While it is not 0, the stream outlives the client's last message

 private:
  size_t parse(std::string_view bytes);
  void adopt(Call* call);
  Call* add_beside(Call* call, bool behind);
  void drop_input();
  void cut(uint64_t order);
  bool begin_message();
  bool read_prefix(std::string_view* bytes);
  bool make_room(std::string_view bytes);
  void hold(std::string_view bytes);
  void complete();
  void push(Call* call);
  void unlink(Call* call);
  void let_go(Call* call);
  void end(const Status& status);
  void maybe_end();
  void wake();
  void note_waits();

  Front& front_;
  Http2Session* session_ = nullptr;
  Call* head_ = nullptr;
  const StreamMethod* method_ = nullptr;
  Call* current_ = nullptr;  // the message being received
  Call* first_ = nullptr;    // complete messages, in order, until their answer is sent
  Call* last_ = nullptr;
  size_t count_ = 0;
  uint64_t next_order_ = 0;
  uint64_t cut_ = 0;         // messages from this one on are given up
  size_t first_sent_ = 0;    // bytes of the first one's answer
  ByteBuffer backlog_;       // received, not yet looked at from backlog_at_ on
  size_t backlog_at_ = 0;
  size_t window_ = 0;        // the largest that the client was given
  size_t backed_ = 0;        // bytes of the receive budget that stand behind it: window_, or 0 while nothing is in progress
  Code code_ = Code::kOk;    // with which it ends
  ByteBuffer message_;
  bool room_ = false;        // current_ has room for its message
  bool stalled_ = false;     // waits for a place or for memory
  bool half_closed_ = false;
  bool ended_ = false;       // no more messages are taken
  bool deferred_ = false;    // nghttp2 waits for resume
  bool counted_receiving_ = false, counted_sending_ = false;
};

}  // namespace verge::net
