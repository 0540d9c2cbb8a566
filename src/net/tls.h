// TLS below a connection, by OpenSSL: one context for all TLS listeners, replaceable while connections are open, and one stream a socket.
//
// TLS 1.2 with forward secrecy and AEAD ciphers, and TLS 1.3; ALPN h2 and http/1.1; resumption by session tickets, whose keys live as long
// as the certificate does, so that nobody resumes past a change of the client authority; no renegotiation, compression or early data.
// Buffers of an idle stream are given back (SSL_MODE_RELEASE_BUFFERS): ten thousand idle connections would hold 340 MB otherwise.
// That, and nothing of ours, is what a request over TLS takes from the heap.
#pragma once

#include <openssl/ssl.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/status.h"
#include "net/tls_options.h"

namespace verge::net {

// One end of a TLS connection on a non-blocking socket. Not copied, not moved.
class TlsStream {
 public:
  enum class Handshake { kDone, kWantRead, kWantWrite, kPlainHttp, kFailed };

  enum class End { kServer, kClient };

  TlsStream(SSL* ssl, int fd, End end = End::kServer);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  Handshake handshake();
  // As recv() and sendmsg(): bytes moved; 0 at the peer's end (read); -1 with errno EAGAIN, or another where the connection is broken.
  ssize_t read(void* p, size_t n);
  ssize_t write(const iovec* vectors, size_t n);
  // Bytes wait inside, of which the socket tells nothing any more.
  bool pending() const { return SSL_has_pending(ssl_) != 0; }
  // The last read() needs the socket to take bytes before it can go on.
  bool read_wants_write() const { return read_wants_write_; }
  // Tells the peer that nothing more comes.
  void close_notify();
  bool negotiated(std::string_view protocol) const;  // by ALPN

 private:
  ssize_t result_of(int r);
  SSL* const ssl_;
  bool read_wants_write_ = false;
};

class TlsContext {
 public:
  // Reads the files; the error names the one that is wrong.
  static Result<std::unique_ptr<TlsContext>> create(TlsOptions options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Reads the files again. On an error everything stays as it was; open streams stay on what they began with. Any thread.
  Status reload();
  // nullptr where the machine has no memory left. Any thread.
  std::unique_ptr<TlsStream> accept(int fd);
  // Of the certificate in use, seconds since 1970: when it ends to be valid.
  int64_t valid_until() const;

 private:
  explicit TlsContext(TlsOptions options) : options_(std::move(options)) {}
  const TlsOptions options_;
  mutable std::mutex mutex_;
  SSL_CTX* context_ = nullptr;
};

}  // namespace verge::net
