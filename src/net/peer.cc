#include "net/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdio>
#include <cstring>

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

}  // namespace verge::net
