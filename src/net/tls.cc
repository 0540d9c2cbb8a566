#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace verge::net {
namespace {

constexpr size_t kRecord = size_t{16} << 10;  // the most plain text of one TLS record
constexpr long kTicketSeconds = 3600;
constexpr unsigned char kProtocols[] = "\x02h2\x08http/1.1";

int fd_of(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

// OpenSSL's own socket BIO writes with write(), and so raises SIGPIPE.
int socket_write(BIO* bio, const char* p, size_t n, size_t* done) {
  BIO_clear_retry_flags(bio);
  const ssize_t r = send(fd_of(bio), p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (r >= 0) {
    *done = static_cast<size_t>(r);
    return 1;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) BIO_set_retry_write(bio);
  return 0;
}

int socket_read(BIO* bio, char* p, size_t n, size_t* done) {
  BIO_clear_retry_flags(bio);
  const ssize_t r = recv(fd_of(bio), p, n, MSG_DONTWAIT);
  if (r > 0) {
    *done = static_cast<size_t>(r);
    return 1;
  }
  if (r == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_read(bio);
  return 0;
}

long socket_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_write_ex(m, socket_write);
    BIO_meth_set_read_ex(m, socket_read);
    BIO_meth_set_ctrl(m, socket_control);
    return m;
  }();
  return method;
}

std::string last_error() {
  const unsigned long e = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(e);
  ERR_clear_error();
  return reason ? reason : "unknown error";
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kProtocols, sizeof kProtocols - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

// A key that needs a pass phrase must not make the server ask a terminal.
int no_pass_phrase(char*, int, int, void*) { return 0; }

struct FreeContext {
  void operator()(SSL_CTX* c) const { SSL_CTX_free(c); }
};
using Context = std::unique_ptr<SSL_CTX, FreeContext>;

Result<Context> make_context(const TlsOptions& o) {
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  ERR_clear_error();
  Context context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* c = context.get();
  if (!c) return resource_exhausted("no memory for a TLS context");
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set1_groups_list(c, "X25519:P-256:P-384");
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                             SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(c, 1);
  SSL_CTX_set_alpn_select_cb(c, choose_protocol, nullptr);
  SSL_CTX_set_default_passwd_cb(c, no_pass_phrase);
  // Tickets carry the sessions: the server keeps none.
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(c, 1);
  SSL_CTX_set_timeout(c, kTicketSeconds);
  constexpr std::string_view kSessions = "verge";
  SSL_CTX_set_session_id_context(c, reinterpret_cast<const unsigned char*>(kSessions.data()), kSessions.size());

  if (SSL_CTX_use_certificate_chain_file(c, o.certificate.c_str()) != 1)
    return invalid_argument("TLS certificate " + o.certificate + ": " + last_error());
  const bool has_key = SSL_CTX_use_PrivateKey_file(c, o.key.c_str(), SSL_FILETYPE_PEM) == 1;
  if (!has_key && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH)
    return invalid_argument("TLS key " + o.key + ": " + last_error());
  if (!has_key || SSL_CTX_check_private_key(c) != 1) return invalid_argument("TLS key " + o.key + " is not that of the certificate " + o.certificate);
  if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(c))) <= 0)
    return invalid_argument("TLS certificate " + o.certificate + " has expired");
  if (o.clients != ClientCertificates::kNone) {
    if (SSL_CTX_load_verify_locations(c, o.client_ca.c_str(), nullptr) != 1)
      return invalid_argument("TLS client authority " + o.client_ca + ": " + last_error());
    STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(o.client_ca.c_str());
    if (!names) return invalid_argument("TLS client authority " + o.client_ca + ": " + last_error());
    SSL_CTX_set_client_CA_list(c, names);  // takes it
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | (o.clients == ClientCertificates::kRequire ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
    SSL_CTX_set_verify_depth(c, 4);
  }
  return context;
}

}  // namespace

TlsStream::TlsStream(SSL* ssl, int fd, End end) : ssl_(ssl) {
  BIO* bio = BIO_new(socket_method());
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  if (end == End::kServer) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
  }
}

TlsStream::~TlsStream() { SSL_free(ssl_); }

TlsStream::Handshake TlsStream::handshake() {
  ERR_clear_error();
  const int r = SSL_do_handshake(ssl_);
  if (r == 1) return Handshake::kDone;
  switch (SSL_get_error(ssl_, r)) {
    case SSL_ERROR_WANT_READ: return Handshake::kWantRead;
    case SSL_ERROR_WANT_WRITE: return Handshake::kWantWrite;
    default: break;
  }
  const bool http = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
  ERR_clear_error();
  return http ? Handshake::kPlainHttp : Handshake::kFailed;
}

ssize_t TlsStream::result_of(int r) {
  switch (SSL_get_error(ssl_, r)) {
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    default:
      ERR_clear_error();
      errno = ECONNRESET;
      return -1;
  }
}

ssize_t TlsStream::read(void* p, size_t n) {
  ERR_clear_error();
  size_t got = 0;
  read_wants_write_ = false;
  const int r = SSL_read_ex(ssl_, p, n, &got);
  if (r == 1) return static_cast<ssize_t>(got);
  const ssize_t result = result_of(r);
  read_wants_write_ = result < 0 && errno == EAGAIN && SSL_want_write(ssl_);
  return result;
}

ssize_t TlsStream::write(const iovec* vectors, size_t count) {
  // Small pieces are put together to full records. When the socket takes no more, a record may already be made: the next call comes with the
  // same bytes at the front, as the queue keeps them, and at least as many.
  char together[kRecord];
  size_t written = 0;
  size_t at = 0, offset = 0;  // of the first byte that is not written
  while (at < count) {
    const char* p = static_cast<const char*>(vectors[at].iov_base) + offset;
    size_t n = std::min(vectors[at].iov_len - offset, kRecord);
    if (n < kRecord && at + 1 < count) {
      std::memcpy(together, p, n);
      for (size_t i = at + 1; i < count && n < kRecord; ++i) {
        const size_t more = std::min(vectors[i].iov_len, kRecord - n);
        std::memcpy(together + n, vectors[i].iov_base, more);
        n += more;
      }
      p = together;
    }
    ERR_clear_error();
    size_t done = 0;
    const int r = SSL_write_ex(ssl_, p, n, &done);
    if (r != 1) {
      const ssize_t result = result_of(r);
      if (result == 0) errno = EPIPE;
      return written && errno == EAGAIN ? static_cast<ssize_t>(written) : -1;
    }
    written += done;
    while (at < count && done >= vectors[at].iov_len - offset) {
      done -= vectors[at].iov_len - offset;
      offset = 0;
      ++at;
    }
    offset += done;
  }
  return static_cast<ssize_t>(written);
}

void TlsStream::close_notify() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

bool TlsStream::negotiated(std::string_view protocol) const {
  const unsigned char* p = nullptr;
  unsigned n = 0;
  SSL_get0_alpn_selected(ssl_, &p, &n);
  return std::string_view(reinterpret_cast<const char*>(p), n) == protocol;
}

Result<std::unique_ptr<TlsContext>> TlsContext::create(TlsOptions options) {
  std::unique_ptr<TlsContext> out(new TlsContext(std::move(options)));
  VERGE_RETURN_IF_ERROR(out->reload());
  return out;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Status TlsContext::reload() {
  VERGE_ASSIGN(Context made, make_context(options_));
  SSL_CTX* old = made.release();
  {
    std::lock_guard lock(mutex_);
    std::swap(context_, old);
  }
  SSL_CTX_free(old);  // streams that use it hold it
  return {};
}

std::unique_ptr<TlsStream> TlsContext::accept(int fd) {
  SSL* ssl;
  {
    std::lock_guard lock(mutex_);
    ssl = SSL_new(context_);
  }
  return ssl ? std::make_unique<TlsStream>(ssl, fd) : nullptr;
}

int64_t TlsContext::valid_until() const {
  std::lock_guard lock(mutex_);
  std::tm t{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context_)), &t) != 1) return 0;
  return timegm(&t);
}

}  // namespace verge::net
