// An HTTP/2 client for tests, blocking, on nghttp2: opens streams, and can stop reading, shrink windows and reset.
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace verge::test {

// A connected TCP socket to 127.0.0.1, with a receive timeout of a minute; -1 on failure.
int connect_to(int port);
bool send_all(int fd, std::string_view bytes);
ssize_t receive(int fd, void* to, size_t size);  // as recv(), whatever interrupts it
// Reads until `until` was seen, the peer closed, or the timeout.
std::string receive_until(int fd, std::string_view until);
std::string receive_all(int fd);  // until the peer closes

struct Answer {
  std::map<std::string, std::string> headers;  // trailers too
  std::string body;
  bool closed = false;
  uint32_t error = 0;
};

class H2Client {
 public:
  explicit H2Client(int port, uint32_t window = 1 << 20);
  ~H2Client();

  // Starts a request; `complete` false leaves the stream open for more data.
  int32_t start(std::string_view path, std::vector<std::pair<std::string, std::string>> headers, std::string body, bool complete = true);
  int32_t grpc(std::string_view method, std::string_view message, std::vector<std::pair<std::string, std::string>> headers = {});
  // A streaming call of the inference service, and more of its bytes.
  int32_t stream(std::string_view path, std::vector<std::pair<std::string, std::string>> headers = {});
  void more(int32_t stream, std::string_view bytes, bool complete = false);
  // Bytes handed to more() that are not yet sent, for want of a window.
  size_t unsent(int32_t stream);
  // Reads and writes until `count` whole gRPC messages have come; they are taken from the body.
  std::vector<std::string> messages(int32_t stream, size_t count);
  void reset(int32_t stream);
  void open_window(int32_t stream, int bytes);
  void ping();
  // Reads and writes until the stream is closed; false at the timeout or when the connection has ended.
  bool wait(int32_t stream);
  bool wait_goaways(int count);
  // Reads and writes until the peer closed the connection.
  bool wait_end();
  bool flush();  // writes what is to be written
  Answer& answer(int32_t stream) { return answers_[stream]; }
  int goaways() const { return goaways_; }
  uint32_t last_goaway_error() const { return goaway_error_; }
  int fd() const { return fd_; }

 private:
  struct Upload {
    std::string body;
    size_t sent = 0;
    bool complete;
  };
  bool turn();  // one read

  int fd_;
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Answer> answers_;
  std::vector<std::unique_ptr<Upload>> uploads_;
  std::map<int32_t, Upload*> streams_;
  int goaways_ = 0;
  uint32_t goaway_error_ = 0;
  bool ended_ = false;
};

// One ModelInfer message: FP32 [elements] input INPUT0, raw.
std::string infer_message(std::string_view model, size_t elements, std::string_view id = "");
// With its five bytes of prefix.
std::string grpc_frame(std::string_view message);

}  // namespace verge::test
