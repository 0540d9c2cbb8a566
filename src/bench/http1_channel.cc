// REST over HTTP/1.1: one request at a time on a connection.
#include <strings.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "bench/channel.h"

namespace verge::bench {
namespace {

constexpr size_t kMostHead = 64 << 10, kMostAnswer = size_t{1} << 30;

class Http1Channel final : public Channel {
 public:
  Http1Channel(int fd, std::unique_ptr<net::TlsStream> tls, const Target& target) : Channel(fd, std::move(tls)), host_(target.port ? target.text() : "localhost") {}

  bool free() const override { return !current_ && !closing_; }
  bool draining() const override { return closing_; }
  size_t under_way() const override { return current_ ? 1 : 0; }

  void send(Exchange* e) override {
    current_ = e;
    const Form& f = *e->form;
    out_.append(f.method);
    out_.append(" ");
    out_.append(f.path);
    out_.append(" HTTP/1.1\r\nHost: ");
    out_.append(host_);
    if (f.method != "GET" || !e->body.empty()) {
      char length[24];
      char* end = std::to_chars(length, length + sizeof length, e->body.size()).ptr;
      out_.append("\r\nContent-Length: ");
      out_.append(length, static_cast<size_t>(end - length));
    }
    for (const auto& [name, value] : f.fields) {
      out_.append("\r\n");
      out_.append(name);
      out_.append(": ");
      out_.append(value);
    }
    out_.append("\r\n\r\n");
    out_.append(e->body);
  }

  bool flush() override { return write_out(); }

  bool receive(std::vector<Exchange*>& done) override {
    constexpr size_t kStep = 64 << 10;
    char* to = in_.room(std::max<size_t>(kStep, wanted_ > in_.size() ? wanted_ - in_.size() : 0));
    const ssize_t n = read_some(to, in_.capacity() - in_.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
      if (current_ && head_ && until_close_) finish(in_.size() - head_, done);
      return false;
    }
    in_.added(static_cast<size_t>(n));
    return take(done);
  }

  void give_up(std::vector<Exchange*>& done, const char* why) override {
    if (!current_) return;
    current_->broken = why;
    done.push_back(current_);
    current_ = nullptr;
  }

 private:
  bool take(std::vector<Exchange*>& done) {
    if (!current_) return false;  // an answer to nothing
    if (!head_ && !read_head()) return in_.size() <= kMostHead && !bad_;
    if (chunked_) return take_chunks(done);
    if (until_close_) return in_.size() <= kMostAnswer;
    if (in_.size() < wanted_) return true;
    finish(length_, done);
    return true;
  }

  bool read_head() {
    const std::string_view all = in_.view();
    const size_t end = all.find("\r\n\r\n");
    if (end == std::string_view::npos) return false;
    if (all.size() < 12 || !all.starts_with("HTTP/1.")) {
      bad_ = true;
      return false;
    }
    std::from_chars(all.data() + 9, all.data() + 12, current_->http_status);
    head_ = end + 4;
    length_ = 0;
    chunked_ = false;
    until_close_ = true;
    for (size_t line = all.find("\r\n"); line < end;) {
      const size_t begin = line + 2, stop = all.find("\r\n", begin);
      const std::string_view l = all.substr(begin, stop - begin);
      if (const std::string_view v = value_of(l, "content-length"); v.data()) {
        std::from_chars(v.data(), v.data() + v.size(), length_);
        until_close_ = false;
      } else if (const std::string_view encoding = value_of(l, "transfer-encoding"); encoding.data()) {
        chunked_ = encoding.find("chunked") != std::string_view::npos;
      } else if (const std::string_view json = value_of(l, "inference-header-content-length"); json.data()) {
        std::from_chars(json.data(), json.data() + json.size(), current_->json_bytes);
      } else if (const std::string_view c = value_of(l, "connection"); c.data()) {
        if (c.size() == 5 && strncasecmp(c.data(), "close", 5) == 0) closing_ = true;
      }
      line = stop;
    }
    if (current_->http_status == 204 || current_->http_status == 304) until_close_ = false;
    if (length_ > kMostAnswer) {
      bad_ = true;
      return false;
    }
    wanted_ = head_ + length_;
    chunk_at_ = head_;
    return true;
  }
  // Data is nullptr where the line is of another name.
  static std::string_view value_of(std::string_view line, std::string_view name) {
    if (line.size() <= name.size() || line[name.size()] != ':' || strncasecmp(line.data(), name.data(), name.size()) != 0) return {};
    line.remove_prefix(name.size() + 1);
    while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
    return line;
  }

  bool take_chunks(std::vector<Exchange*>& done) {
    while (true) {
      const std::string_view rest = in_.view().substr(chunk_at_);
      const size_t line = rest.find("\r\n");
      if (line == std::string_view::npos) return rest.size() < 64;
      size_t n = 0;
      if (std::from_chars(rest.data(), rest.data() + line, n, 16).ec != std::errc() || n > kMostAnswer) return false;
      if (rest.size() < line + 2 + n + 2) {
        wanted_ = chunk_at_ + line + 2 + n + 2;
        return true;
      }
      if (n == 0) {
        // Trailers are not expected; what follows the last chunk is its empty line.
        chunk_at_ += line + 4;
        deliver(done);
        in_.erase_front(chunk_at_);
        forget();
        return true;
      }
      if (current_->answer.size() + n > kMostAnswer) return false;
      current_->answer.append(rest.data() + line + 2, n);
      chunk_at_ += line + 2 + n + 2;
    }
  }

  void finish(size_t length, std::vector<Exchange*>& done) {
    current_->answer.append(in_.data() + head_, length);
    in_.erase_front(head_ + length);
    deliver(done);
    forget();
  }
  void deliver(std::vector<Exchange*>& done) {
    done.push_back(current_);
    current_ = nullptr;
  }
  void forget() {
    head_ = wanted_ = length_ = chunk_at_ = 0;
    chunked_ = until_close_ = false;
  }

  const std::string host_;
  Exchange* current_ = nullptr;
  net::ByteBuffer in_;
  size_t head_ = 0, length_ = 0, wanted_ = 0, chunk_at_ = 0;  // bytes of the head (0: not read yet), of the body, of both
  bool chunked_ = false, until_close_ = false, closing_ = false, bad_ = false;
};

}  // namespace

std::unique_ptr<Channel> make_http1_channel(int fd, std::unique_ptr<net::TlsStream> tls, const Target& target) {
  return std::make_unique<Http1Channel>(fd, std::move(tls), target);
}

}  // namespace verge::bench
