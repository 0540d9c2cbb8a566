// gRPC over HTTP/2, by nghttp2, whose memory comes from a pool that is warm after the first requests.
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "bench/channel.h"
#include "net/pool_mem.h"

namespace verge::bench {
namespace {

constexpr int32_t kStreamWindow = 16 << 20, kConnectionWindow = 256 << 20;
constexpr size_t kMostAnswer = size_t{1} << 30;
constexpr size_t kMostMessage = 1024;

nghttp2_nv field(std::string_view name, std::string_view value, uint8_t flags) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())), reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), flags};
}
constexpr uint8_t kStays = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;

int number(const uint8_t* p, size_t n) {
  int out = -1;
  std::from_chars(reinterpret_cast<const char*>(p), reinterpret_cast<const char*>(p) + n, out);
  return out;
}

class Http2Channel final : public Channel {
 public:
  Http2Channel(int fd, std::unique_ptr<net::TlsStream> tls, const Target& target)
      : Channel(fd, std::move(tls)), authority_(target.port ? target.text() : "localhost"), scheme_(target.scheme()), buffer_(256 << 10) {
    nghttp2_session_callbacks* c;
    nghttp2_session_callbacks_new(&c);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_option* option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_session_client_new3(&session_, c, this, option, memory_.mem());
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(c);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(session_, 0, settings, 2);
    nghttp2_session_set_local_window_size(session_, 0, 0, kConnectionWindow);
  }
  ~Http2Channel() override { nghttp2_session_del(session_); }

  bool free() const override { return !draining_ && open_.size() < std::min<size_t>(nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 100'000); }
  bool draining() const override { return draining_; }
  size_t under_way() const override { return open_.size(); }

  void send(Exchange* e) override {
    const Form& f = *e->form;
    size_t n = 0;
    fields_.resize(7 + f.fields.size());
    fields_[n++] = field(":method", "POST", kStays);
    fields_[n++] = field(":scheme", scheme_, kStays);
    fields_[n++] = field(":path", f.path, kStays);
    fields_[n++] = field(":authority", authority_, kStays);
    fields_[n++] = field("te", "trailers", kStays);
    fields_[n++] = field("content-type", "application/grpc", kStays);
    char timeout[16];
    if (e->timeout_us) {
      // At most eight digits by gRPC's rules.
      const bool large = e->timeout_us > 99'999'999;
      char* end = std::to_chars(timeout, timeout + 12, large ? std::min<uint64_t>(e->timeout_us / 1000, 99'999'999) : e->timeout_us).ptr;
      *end++ = large ? 'm' : 'u';
      fields_[n++] = field("grpc-timeout", {timeout, static_cast<size_t>(end - timeout)}, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX);
    }
    for (const auto& [name, value] : f.fields) fields_[n++] = field(name, value, kStays);
    nghttp2_data_provider body;
    body.source.ptr = e;
    body.read_callback = read_body;
    const int32_t id = nghttp2_submit_request(session_, nullptr, fields_.data(), n, &body, e);
    e->place = open_.size();
    open_.push_back(e);
    if (id < 0) {
      // Stream numbers are used up, or the session has ended.
      draining_ = true;
      e->broken = "connection used up";
      finished_.push_back(e);
      remove(e);
    }
  }

  bool flush() override {
    while (true) {
      if (!write_out()) return false;
      if (blocked_) return true;
      const uint8_t* p;
      ssize_t n = 0;
      while (out_.size() < (size_t{1} << 20) && (n = nghttp2_session_mem_send(session_, &p)) > 0) out_.append(p, static_cast<size_t>(n));
      if (n < 0) return false;
      if (out_.empty()) return true;
    }
  }

  bool receive(std::vector<Exchange*>& done) override {
    const ssize_t n = read_some(buffer_.data(), buffer_.size());
    bool well = true;
    if (n > 0) well = nghttp2_session_mem_recv(session_, buffer_.data(), static_cast<size_t>(n)) >= 0;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) well = false;
    done.insert(done.end(), finished_.begin(), finished_.end());
    finished_.clear();
    return well;
  }

  void give_up(std::vector<Exchange*>& done, const char* why) override {
    for (Exchange* e : open_) {
      e->broken = why;
      done.push_back(e);
    }
    done.insert(done.end(), finished_.begin(), finished_.end());
    finished_.clear();
    open_.clear();
  }

 private:
  static Exchange* exchange(nghttp2_session* s, int32_t id) { return static_cast<Exchange*>(nghttp2_session_get_stream_user_data(s, id)); }

  static ssize_t read_body(nghttp2_session*, int32_t, uint8_t* out, size_t length, uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* e = static_cast<Exchange*>(source->ptr);
    const size_t n = std::min(length, e->body.size() - e->body_sent);
    std::memcpy(out, e->body.data() + e->body_sent, n);
    e->body_sent += n;
    if (e->body_sent == e->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(n);
  }
  static int on_header(nghttp2_session* s, const nghttp2_frame* frame, const uint8_t* name, size_t name_length, const uint8_t* value, size_t length, uint8_t, void*) {
    Exchange* e = exchange(s, frame->hd.stream_id);
    if (!e) return 0;
    const std::string_view n(reinterpret_cast<const char*>(name), name_length);
    if (n == ":status") e->http_status = number(value, length);
    else if (n == "grpc-status") e->grpc_status = number(value, length);
    else if (n == "grpc-message") {
      e->message.clear();
      e->message.append(value, std::min(length, kMostMessage));
    }
    return 0;
  }
  static int on_data(nghttp2_session* s, uint8_t, int32_t id, const uint8_t* p, size_t n, void*) {
    Exchange* e = exchange(s, id);
    if (e && e->answer.size() + n <= kMostAnswer) e->answer.append(p, n);
    return 0;
  }
  static int on_close(nghttp2_session* s, int32_t id, uint32_t error, void* self) {
    Exchange* e = exchange(s, id);
    if (!e) return 0;
    auto* c = static_cast<Http2Channel*>(self);
    // A server may reset with NO_ERROR once it has answered.
    if (error != 0 && e->grpc_status < 0) e->broken = error == NGHTTP2_REFUSED_STREAM ? "stream refused" : "stream reset";
    c->remove(e);
    c->finished_.push_back(e);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
    if (frame->hd.type == NGHTTP2_GOAWAY) static_cast<Http2Channel*>(self)->draining_ = true;
    return 0;
  }
  void remove(Exchange* e) {
    open_[e->place] = open_.back();
    open_[e->place]->place = e->place;
    open_.pop_back();
  }

  net::PoolMem memory_;
  nghttp2_session* session_ = nullptr;
  std::string authority_;
  const char* scheme_;
  std::vector<nghttp2_nv> fields_;
  std::vector<Exchange*> open_, finished_;
  std::vector<uint8_t> buffer_;
  bool draining_ = false;
};

}  // namespace

std::unique_ptr<Channel> make_http2_channel(int fd, std::unique_ptr<net::TlsStream> tls, const Target& target) {
  return std::make_unique<Http2Channel>(fd, std::move(tls), target);
}

}  // namespace verge::bench
