// A whole connection over the echo runtime, in this thread: bytes in, in pieces, until the client goes. Nothing may be left behind.
// As `connection`, the input is what the client sends. As `http2`, it comes behind a preface. As `grpc`, the session's frames are well-formed and the
// input is a gRPC body on a path of choice, so that what lies behind the transport is reached; as `assist`, on that of the ASSIST-IoT service.
#include <sys/socket.h>
#include <unistd.h>

#include "../net/echo_runtime.h"
#include "fuzz.h"
#include "net/connection.h"
#include "net/front.h"

#ifdef FUZZ_GRPC
#include <nghttp2/nghttp2.h>
#endif

using namespace verge;
using namespace verge::net;
using verge::fuzz::require;

namespace {

#ifdef FUZZ_GRPC
constexpr std::string_view kPaths[] = {
    "/inference.GRPCInferenceService/ServerLive",      "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady",      "/inference.GRPCInferenceService/ServerMetadata",
    "/inference.GRPCInferenceService/ModelMetadata",   "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelConfig",     "/inference.GRPCInferenceService/ModelStatistics",
    "/inference.GRPCInferenceService/RepositoryIndex", "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
    "/inference.GRPCInferenceService/SystemSharedMemoryStatus",
    "/inference.GRPCInferenceService/SystemSharedMemoryRegister",
    "/inference.GRPCInferenceService/SystemSharedMemoryUnregister",
    "/inference.GRPCInferenceService/TraceSetting",    "/inference.GRPCInferenceService/LogSettings",
    "/inference.GRPCInferenceService/ModelStreamInfer", "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/extended_inference.ExtendedInferenceService/predict"};

void put_u32(std::string& out, size_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(v >> shift));
}
void put_frame(std::string& out, uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  put_u32(out, payload.size() << 8 | type);
  out.push_back(static_cast<char>(flags));
  put_u32(out, stream);
  out += payload;
}
void put_field(std::string& out, std::string_view name, std::string_view value) {
  out.push_back(0);
  out.push_back(static_cast<char>(name.size()));
  out += name;
  out.push_back(static_cast<char>(value.size()));
  out += value;
}

// First byte: the method. Second: the encoding, whether each message is prefixed, and how the stream ends. Then messages, each behind
// a byte of its length (255: the rest).
std::string client_bytes(std::string_view input) {
  fuzz::Choices choices(input);
#ifdef FUZZ_ASSIST
  const std::string_view path = kPaths[std::size(kPaths) - 1];
#else
  const std::string_view path = kPaths[choices.byte() % std::size(kPaths)];
#endif
  const uint8_t how = choices.byte();
  std::string out = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  put_frame(out, 4, 0, 0, "");
  std::string head = "\x83\x86";
  put_field(head, ":path", path);
  put_field(head, ":authority", "a");
  put_field(head, "content-type", "application/grpc");
  put_field(head, "te", "trailers");
  if (how & 1) put_field(head, "grpc-encoding", how & 2 ? "gzip" : "identity");
  if (how & 32) put_field(head, "grpc-timeout", choices.take(6));
  if (how & 64) put_field(head, "traceparent", choices.take(55));
  if (how & 128) put_field(head, "verge-model", choices.take(8));
  put_frame(out, 1, 4, 1, head);
  while (!choices.rest().empty()) {
    const size_t n = choices.byte();
    const std::string_view message = choices.take(n == 255 ? input.size() : n);
    std::string framed;
    framed.push_back(how & 2 ? 1 : 0);
    put_u32(framed, message.size());
    framed += message;
    // No frame may be longer than 16 KiB.
    std::string_view left = framed;
    while (!left.empty()) {
      put_frame(out, 0, 0, 1, left.substr(0, 16384));
      left.remove_prefix(std::min<size_t>(16384, left.size()));
    }
    if (out.size() > 60000) break;
  }
  if (!(how & 4)) put_frame(out, 0, 1, 1, "");
  else if (how & 8) put_frame(out, 3, 0, 1, std::string_view("\0\0\0\x08", 4));
  return out;
}
#elif defined(FUZZ_HTTP2)
std::string client_bytes(std::string_view input) { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(input); }
#else
std::string client_bytes(std::string_view input) { return std::string(input); }
#endif

// Acts at the end of each of the front's turns: sends a piece, reads what came back, and in the end closes.
class Client {
 public:
  Client(Front& front, int fd, std::string bytes, size_t step) : front_(front), fd_(fd), bytes_(std::move(bytes)), step_(step) {}
  void act() {
    static char buffer[1 << 16];
    while (recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
    }
    if (at_ < bytes_.size()) {
      const size_t n = std::min(step_, bytes_.size() - at_);
      const ssize_t sent = send(fd_, bytes_.data() + at_, n, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        at_ += static_cast<size_t>(sent);
      } else {
        at_ = bytes_.size();  // it closed, or reads no more
      }
    } else if (++idle_ == 2) {
      shutdown(fd_, SHUT_WR);
    } else if (idle_ == 4) {
      front_.begin_stop([] {});
    } else if (idle_ == 6) {
      front_.close_all();
    }
    if (idle_ < 8) front_.post([this] { act(); });
  }

 private:
  Front& front_;
  int fd_;
  std::string bytes_;
  size_t step_, at_ = 0;
  int idle_ = 0;
};

ServerOptions options() {
  ServerOptions o;
  o.max_message_bytes = 1 << 20;
  o.receive_budget_bytes = 8 << 20;
  o.max_header_bytes = 8 << 10;
  return o;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static test::EchoRuntime runtime;
  static Shared shared(options(), runtime);
  if (!shared.metrics_text) shared.metrics_text = [] { return std::string(); };
  if (size == 0) return 0;
  // The first byte says in how large pieces the rest arrives.
  static constexpr size_t kSteps[] = {1 << 20, 1 << 20, 1000, 97, 9, 1};
  const size_t step = kSteps[data[0] % std::size(kSteps)];
  std::string bytes = client_bytes(fuzz::text_of(data + 1, size - 1));
  if (bytes.size() / step > 2000) return 0;
  const int64_t held = shared.budget.taken();
  {
    auto made = Front::create(shared, 0);
    require(made.ok(), "a front can be made");
    Front& front = **made;
    int fds[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "a socket pair can be made");
    front.adopt(fds[0], Peer{});
    Client client(front, fds[1], std::move(bytes), step);
    front.post([&] { client.act(); });
    front.run();
    close(fds[1]);
    require(front.connection_count() == 0, "connections are counted");
  }
  require(shared.budget.taken() == held, "receive memory is given back");
  return 0;
}
