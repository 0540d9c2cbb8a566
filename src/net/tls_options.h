// What TLS listeners are given.
#pragma once

#include <cstdint>
#include <string>

namespace verge::net {

enum class ClientCertificates : uint8_t { kNone, kOptional, kRequire };

struct TlsOptions {
  std::string certificate;  // PEM file: the server's certificate, then the chain to its authority; empty: no TLS
  std::string key;          // PEM file of its private key, not encrypted
  std::string client_ca;    // PEM file of the authorities that clients' certificates must come from
  ClientCertificates clients = ClientCertificates::kNone;
};

}  // namespace verge::net
