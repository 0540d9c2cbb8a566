#include "serve/config_security.h"

#include <gtest/gtest.h>

namespace verge::serve {
namespace {

std::string error_of(const std::string& text) { return parse_config(text, "s.yaml").status().message(); }

TEST(ConfigSecurity, Listeners) {
  const auto c = parse_config(R"(
listeners:
  - {address: '0.0.0.0:8000'}
  - {address: 'unix:/run/verge/verge.sock', mode: 0600, role: all}
  - {address: '127.0.0.1:9000', role: management}
)",
                              "s.yaml");
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  const auto l = listeners_of(*c);
  ASSERT_EQ(l.size(), 3u);
  EXPECT_EQ(l[0].address, "0.0.0.0");
  EXPECT_EQ(l[0].role, net::Role::kInference) << "beside a listener for management";
  EXPECT_EQ(l[1].address, "unix:/run/verge/verge.sock");
  EXPECT_EQ(l[1].mode, 0600u);
  EXPECT_EQ(l[1].role, net::Role::kAll) << "as it says";
  EXPECT_EQ(l[2].port, 9000);
  EXPECT_EQ(l[2].role, net::Role::kManagement);
}

TEST(ConfigSecurity, OneListenerServesAll) {
  const auto c = parse_config("listeners: [{address: 'localhost:0'}]", "s.yaml");
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(listeners_of(*c).at(0).role, net::Role::kAll);
  const auto simple = parse_config("listen: 'unix:/run/v.sock'", "s.yaml");
  ASSERT_TRUE(simple.ok());
  ASSERT_EQ(listeners_of(*simple).size(), 1u);
  EXPECT_EQ(listeners_of(*simple)[0].address, "unix:/run/v.sock");
  const auto none = parse_config("zoo: z", "s.yaml");
  EXPECT_EQ(listeners_of(*none).at(0).address, "127.0.0.1") << "nothing beyond loopback without being told";
}

TEST(ConfigSecurity, Tls) {
  const std::string listener = "listeners: [{address: 'localhost:0', tls: true}]\n";
  const auto c = parse_config(listener + "tls: {certificate: server.pem, key: /etc/key.pem, client_ca: ca.pem}", "/etc/verge/s.yaml");
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_TRUE(listeners_of(*c).at(0).tls);
  EXPECT_EQ(c->tls.certificate, "/etc/verge/server.pem");
  EXPECT_EQ(c->tls.key, "/etc/key.pem");
  EXPECT_EQ(c->tls.client_ca, "/etc/verge/ca.pem");
  EXPECT_EQ(c->tls.clients, net::ClientCertificates::kRequire);
  EXPECT_EQ(parse_config(listener + "tls: {certificate: a, key: b, client_ca: c, clients: optional}", "s.yaml")->tls.clients,
            net::ClientCertificates::kOptional);
  for (const auto& [text, part] : std::initializer_list<std::pair<const char*, const char*>>{
           {"tls: {certificate: a, key: b}", "no listener has 'tls: true'"},
           {"listeners: [{address: 'localhost:0', tls: true}]", "needs a certificate"},
           {"tls: {certificate: a}", "s.yaml:1: tls: 'certificate' and 'key'"},
           {"tls: {certificate: a, key: b, clients: require}", "needs 'client_ca'"},
           {"tls: {certificate: a, key: b, clients: maybe}", "tls.clients: require or optional"},
           {"tls: {certificate: a, key: b, ciphers: x}", "tls.ciphers: unknown field"},
           {"tls: {certificate: [a], key: b}", "tls.certificate: "}})
    EXPECT_NE(error_of(text).find(part), std::string::npos) << text << "\n" << error_of(text);
}

TEST(ConfigSecurity, ListenersErrorsNameLineAndField) {
  const std::pair<const char*, const char*> cases[] = {
      {"listeners: 1", "s.yaml:1: listeners: a list"},
      {"listeners: []", "listeners: a list"},
      {"listeners:\n  - {role: all}", "s.yaml:2: listeners[0]: there is no 'address'"},
      {"listeners:\n  - {address: nowhere}", "listeners[0].address: 'nowhere'"},
      {"listeners:\n  - {address: 'a:1', role: boss}", "listeners[0].role: "},
      {"listeners:\n  - {address: 'a:1', mode: 0600}", "'mode' is for unix"},
      {"listeners:\n  - {address: 'unix:/s', mode: 0999}", "listeners[0].mode: "},
      {"listeners:\n  - {address: 'unix:/s', mode: 4755}", "listeners[0].mode: "},
      {"listeners:\n  - {address: 'a:1', tls: maybe}", "listeners[0].tls: "},
      {"listeners:\n  - {address: 'a:1', port: 1}", "listeners[0].port: unknown field"},
      {"listen: 'a:1'\nlisteners:\n  - {address: 'a:1'}", "both given"},
  };
  for (const auto& [text, part] : cases) EXPECT_NE(error_of(text).find(part), std::string::npos) << text << "\n" << error_of(text);
}

}  // namespace
}  // namespace verge::serve
