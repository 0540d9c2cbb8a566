#include "net/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdio>
#include <cstring>
#include <random>

namespace verge::net {

void describe(const PeerAddress& address, Peer* peer) {
  char numeric[INET6_ADDRSTRLEN] = {};
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    inet_ntop(AF_INET, &v4->sin_addr, numeric, sizeof numeric);
    peer->local = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    std::snprintf(peer->text, sizeof peer->text, "%s:%u", numeric, unsigned{ntohs(v4->sin_port)});
  } else if (address.storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    inet_ntop(AF_INET6, &v6->sin6_addr, numeric, sizeof numeric);
    peer->local = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) != 0;
    std::snprintf(peer->text, sizeof peer->text, "[%s]:%u", numeric, unsigned{ntohs(v6->sin6_port)});
  } else {
    peer->local = true;
    std::strcpy(peer->text, "unix");
  }
}

bool find_key(const PeerAddress& address, PeerKey* key) {
  *key = {};
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    (*key)[10] = (*key)[11] = 0xff;  // as IPv6 writes it
    std::memcpy(key->data() + 12, &v4->sin_addr, 4);
    return true;
  }
  if (address.storage.ss_family != AF_INET6) return false;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  const bool whole = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) || IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
  std::memcpy(key->data(), &v6->sin6_addr, whole ? 16 : 8);
  return true;
}

PeerCounts::PeerCounts() : counts_(0, Hash{uint64_t{std::random_device{}()} << 32 | std::random_device{}()}) {}

size_t PeerCounts::Hash::operator()(const PeerKey& key) const {
  uint64_t half[2];
  std::memcpy(half, key.data(), sizeof half);
  uint64_t h = seed;
  for (uint64_t v : half) {
    h = (h ^ v) * 0x9e3779b97f4a7c15;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93;
    h ^= h >> 32;
  }
  return h;
}

bool PeerCounts::take(const PeerKey& key, uint32_t most) {
  std::lock_guard lock(mutex_);
  const auto at = counts_.find(key);
  if (at == counts_.end()) {
    counts_.emplace(key, 1);
    return true;
  }
  if (at->second >= most) return false;
  ++at->second;
  return true;
}

void PeerCounts::give(const PeerKey& key) {
  std::lock_guard lock(mutex_);
  const auto at = counts_.find(key);
  if (--at->second == 0) counts_.erase(at);
}

size_t PeerCounts::peers() const {
  std::lock_guard lock(mutex_);
  return counts_.size();
}

}  // namespace verge::net
