// TLS on the client's side: one context for all connections of a run.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "core/status.h"
#include "net/tls.h"

namespace verge::bench {

struct TlsOptions {
  bool on = false;               // any of what follows turns it on too
  bool insecure = false;         // whatever certificate the server shows will do
  std::string ca;                // PEM file of the authorities that the server's certificate must come from; empty: the system's
  std::string certificate, key;  // PEM files of the client's own, where the server asks for one
  bool wanted() const { return on || insecure || !ca.empty() || !certificate.empty() || !key.empty(); }
};

class TlsClient {
 public:
  // The error names the file that is wrong.
  static Result<std::shared_ptr<const TlsClient>> create(const TlsOptions& options);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  // Waits for the handshake. `host` is who the certificate must be for; `protocol`, by ALPN, "h2" or "http/1.1".
  Result<std::unique_ptr<net::TlsStream>> connect(int fd, const std::string& host, const std::string& protocol) const;

 private:
  explicit TlsClient(SSL_CTX* context) : context_(context) {}
  SSL_CTX* const context_;
};

}  // namespace verge::bench
