// The other side of a connection, as requests and the access log see it.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "net/listener.h"

namespace verge::net {

// Who somebody is to a limit of connections: an IPv4 address, or the first half of an IPv6 one, since whoever has one of those has them all.
using PeerKey = std::array<uint8_t, 16>;

struct Peer {
  uint32_t number = 0;  // of the connection, from 1; it wraps
  Role role = Role::kAll;
  bool tls = false;
  bool local = false;    // over loopback or a Unix socket
  bool checked = false;  // not everything is allowed: admit() has to be asked
  bool counted = false;  // in PeerCounts, by `key`
  PeerKey key{};
  char text[56] = {};    // "127.0.0.1:40312", "[::1]:40312", "unix"

  std::string_view shown() const { return text; }
};

// Fills in `local` and `text`.
void describe(const PeerAddress& address, Peer* peer);
// False for Unix sockets, where there is nobody to tell from others.
bool find_key(const PeerAddress& address, PeerKey* key);

// Open connections by who has them. As many entries as there are peers connected. Any thread.
class PeerCounts {
 public:
  PeerCounts();
  // Counts one more, unless that would be more than `most`.
  bool take(const PeerKey& key, uint32_t most);
  void give(const PeerKey& key);
  size_t peers() const;

 private:
  // Seeded: who chooses addresses does not choose where they lie.
  struct Hash {
    uint64_t seed;
    size_t operator()(const PeerKey& key) const;
  };
  mutable std::mutex mutex_;
  std::unordered_map<PeerKey, uint32_t, Hash> counts_;
};

}  // namespace verge::net
