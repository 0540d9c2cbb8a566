#include "net/peer.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace verge::net {
namespace {

TEST(Peer, KeysAndCounts) {
  auto key = [](int family, const char* text) {
    PeerAddress a;
    a.storage.ss_family = static_cast<sa_family_t>(family);
    void* to = family == AF_INET ? static_cast<void*>(&reinterpret_cast<sockaddr_in*>(&a.storage)->sin_addr)
                                 : static_cast<void*>(&reinterpret_cast<sockaddr_in6*>(&a.storage)->sin6_addr);
    EXPECT_EQ(inet_pton(family, text, to), 1);
    PeerKey k;
    EXPECT_TRUE(find_key(a, &k));
    return k;
  };
  EXPECT_EQ(key(AF_INET6, "2001:db8::1"), key(AF_INET6, "2001:db8::ffff:1"));
  EXPECT_NE(key(AF_INET6, "2001:db8::1"), key(AF_INET6, "2001:db8:0:1::1"));
  EXPECT_NE(key(AF_INET6, "::1"), key(AF_INET, "0.0.0.0"));
  EXPECT_EQ(key(AF_INET6, "::ffff:192.0.2.1"), key(AF_INET, "192.0.2.1"));
  EXPECT_NE(key(AF_INET6, "::ffff:192.0.2.1"), key(AF_INET, "192.0.2.2"));
  PeerAddress local;
  local.storage.ss_family = AF_UNIX;
  PeerKey k;
  EXPECT_FALSE(find_key(local, &k));

  PeerCounts counts;
  const PeerKey one = key(AF_INET, "192.0.2.1"), other = key(AF_INET, "192.0.2.2");
  EXPECT_TRUE(counts.take(one, 2));
  EXPECT_TRUE(counts.take(one, 2));
  EXPECT_FALSE(counts.take(one, 2));
  EXPECT_TRUE(counts.take(other, 2));
  counts.give(one);
  EXPECT_TRUE(counts.take(one, 2));
  counts.give(one);
  counts.give(one);
  counts.give(other);
  EXPECT_EQ(counts.peers(), 0u);  // nothing stays of those who have gone
}

}  // namespace
}  // namespace verge::net
