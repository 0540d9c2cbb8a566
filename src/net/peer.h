// The other side of a connection, as requests and the access log see it.
#pragma once

#include <cstdint>
#include <string_view>

#include "net/listener.h"

namespace verge::net {

struct Peer {
  uint32_t number = 0;  // of the connection, from 1; it wraps
  Role role = Role::kAll;
  bool tls = false;
  bool local = false;    // over loopback or a Unix socket
  bool checked = false;  // not everything is allowed: admit() has to be asked
  char text[56] = {};    // "127.0.0.1:40312", "[::1]:40312", "unix"

  std::string_view shown() const { return text; }
};

// Fills in `local` and `text`.
void describe(const PeerAddress& address, Peer* peer);

}  // namespace verge::net
