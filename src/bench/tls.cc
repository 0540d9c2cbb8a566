#include "bench/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <cerrno>
#include <cstring>

#include "os/process.h"

namespace verge::bench {
namespace {

constexpr uint64_t kPatienceNs = 10'000'000'000;

Status wrong_file(const char* what, const std::string& file) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return invalid_argument(std::string(what) + " " + file + ": " + (reason ? reason : "cannot be read"));
}

}  // namespace

Result<std::shared_ptr<const TlsClient>> TlsClient::create(const TlsOptions& o) {
  if (o.certificate.empty() != o.key.empty()) return invalid_argument("--cert and --key: give both or none");
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  ERR_clear_error();
  SSL_CTX* c = SSL_CTX_new(TLS_client_method());
  if (!c) return resource_exhausted("no memory for a TLS context");
  std::shared_ptr<const TlsClient> client(new TlsClient(c));
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  SSL_CTX_set_options(c, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (!o.insecure) {
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
    if (o.ca.empty()) {
      SSL_CTX_set_default_verify_paths(c);
    } else if (SSL_CTX_load_verify_locations(c, o.ca.c_str(), nullptr) != 1) {
      return wrong_file("--ca", o.ca);
    }
  }
  if (!o.certificate.empty()) {
    if (SSL_CTX_use_certificate_chain_file(c, o.certificate.c_str()) != 1) return wrong_file("--cert", o.certificate);
    if (SSL_CTX_use_PrivateKey_file(c, o.key.c_str(), SSL_FILETYPE_PEM) != 1) return wrong_file("--key", o.key);
  }
  return client;
}

TlsClient::~TlsClient() { SSL_CTX_free(context_); }

Result<std::unique_ptr<net::TlsStream>> TlsClient::connect(int fd, const std::string& host, const std::string& protocol) const {
  SSL* ssl = SSL_new(context_);
  if (!ssl) return resource_exhausted("no memory for a TLS connection");
  auto stream = std::make_unique<net::TlsStream>(ssl, fd, net::TlsStream::End::kClient);
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) != 1) {
    SSL_set1_host(ssl, host.c_str());
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
  const std::string offered = static_cast<char>(protocol.size()) + protocol;
  SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(offered.data()), static_cast<unsigned>(offered.size()));
  const uint64_t end = os::monotonic_ns() + kPatienceNs;
  while (true) {
    const auto state = stream->handshake();
    if (state == net::TlsStream::Handshake::kDone) break;
    if (state != net::TlsStream::Handshake::kWantRead && state != net::TlsStream::Handshake::kWantWrite) {
      if (const long wrong = SSL_get_verify_result(ssl); wrong != X509_V_OK)
        return unavailable(std::string("its certificate is not accepted: ") + X509_verify_cert_error_string(wrong) + "; --ca FILE names its authority, --insecure takes any");
      return unavailable("the TLS handshake failed: the listener may be without TLS, or ask for a client's certificate (--cert, --key)");
    }
    const uint64_t now = os::monotonic_ns();
    if (now >= end) return unavailable("no TLS handshake within 10 s");
    pollfd p{fd, static_cast<short>(state == net::TlsStream::Handshake::kWantRead ? POLLIN : POLLOUT), 0};
    if (::poll(&p, 1, static_cast<int>((end - now) / 1'000'000) + 1) < 0 && errno != EINTR) return unavailable(std::strerror(errno));
  }
  if (protocol == "h2" && !stream->negotiated("h2")) return unavailable("it does not speak HTTP/2 over TLS");
  return stream;
}

}  // namespace verge::bench
