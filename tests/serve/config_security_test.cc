#include "serve/config_security.h"

#include "net/bounds.h"

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

TEST(ConfigSecurity, TokensAndTenants) {
  const std::string a(64, 'a'), b(64, 'B');
  const auto c = parse_config("auth:\n  open_health: false\n  tokens:\n    - {sha256: " + a + ", tenant: gold, models: [fall-*], rights: [infer, metrics]}\n    - {sha256: " + b +
                                  ", models: ['*']}\ntenants:\n  silver:\n  gold: {weight: 3, queue_limit: 100}\n  default: {weight: 0.5}\n",
                              "s.yaml");
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_EQ(tenant_names(*c), (std::vector<std::string>{"default", "silver", "gold"}));
  EXPECT_EQ(c->tenants[0].weight, 0.5);
  EXPECT_EQ(c->tenants[2].weight, 3);
  EXPECT_EQ(c->tenants[2].queue_limit, 100u);
  const net::AuthOptions auth = auth_of(*c);
  EXPECT_TRUE(auth.enabled);
  EXPECT_FALSE(auth.open_health);
  ASSERT_EQ(auth.tokens.size(), 2u);
  EXPECT_EQ(auth.tokens[0].sha256[31], 0xaa);
  EXPECT_EQ(auth.tokens[0].tenant, 2u);
  EXPECT_EQ(auth.tokens[0].rights, net::kRightInfer | net::kRightMetrics);
  EXPECT_TRUE(auth.tokens[0].may_use("fall-1"));
  EXPECT_FALSE(auth.tokens[0].may_use("resnet8"));
  EXPECT_EQ(auth.tokens[1].rights, net::kRightInfer);
  EXPECT_TRUE(auth.tokens[1].may_use("anything"));
  EXPECT_FALSE(auth_of(*parse_config("zoo: z", "s.yaml")).enabled);
  const std::string start = "auth: {tokens: [{sha256: " + a;
  for (const auto& [text, part] : std::initializer_list<std::pair<std::string, const char*>>{
           {"auth: {}", "s.yaml:1: auth: 'tokens'"},
           {"auth: {tokens: []}", "auth.tokens: a list"},
           {"auth: {tokens: [{sha256: abc}]}", "auth.tokens[0].sha256: 64 hexadecimal digits"},
           {"auth: {tokens: [{rights: [infer]}]}", "auth.tokens[0]: there is no 'sha256'"},
           {start + ", rights: [all]}]}", "auth.tokens[0].rights: "},
           {start + ", rights: []}]}", "auth.tokens[0].rights: "},
           {start + ", tenant: gold}]}", "auth.tokens[0].tenant: 'gold' is none of the tenants"},
           {start + ", models: x}]}", "auth.tokens[0].models: "},
           {start + ", secret: x}]}", "auth.tokens[0].secret: unknown field"},
           {start + "}, {sha256: " + a + "}]}", "auth.tokens[1] is the same token"},
           {"tenants: [a]", "tenants: a map"},
           {"tenants: {a: {weight: 0}}", "tenants.a.weight: "},
           {"tenants: {a: {queue_limit: -1}}", "tenants.a.queue_limit: "},
           {"tenants: {a: {bounds: 1}}", "tenants.a.bounds: a map"},
           {"tenants:\n  a:\n    bounds:\n      min_accuracy: high\n", "s.yaml:4: tenants.a.bounds: 'min_accuracy' is 'high', expected a number from 0 to 1"},
           {"tenants: {a: {bounds: {deadline_ms: 0}}}", "'deadline_ms' is 0, expected a number of milliseconds larger than 0"},
           {"tenants: {a: {bounds: {deadline_m: 5}}}", "unknown field 'deadline_m'; did you mean 'deadline_ms'?"},
           {"tenants: {a: {bounds: {trace: true}}}", "unknown field 'trace'"},
           {"tenants: {../a: {}}", "tenants.../a: "}})
    EXPECT_NE(error_of(text).find(part), std::string::npos) << text << "\n" << error_of(text);
}

TEST(Config, Energy) {
  const auto c = parse_config("energy: {meter: nvml, idle_watts: 2.5, active_watts_per_core: 0}", "s.yaml");
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_EQ(c->energy_meter, "nvml");
  EXPECT_EQ(c->energy_model.idle_watts, 2.5);
  EXPECT_EQ(c->energy_model.active_watts_per_core, 0);
  EXPECT_EQ(parse_config("zoo: z", "s.yaml")->energy_meter, "auto");
  for (const auto& [text, part] : std::initializer_list<std::pair<const char*, const char*>>{
           {"energy: {meter: sun}", "energy.meter: 'sun' is none of auto, rapl, hwmon, nvml, model"},
           {"energy: {idle_watts: -1}", "energy.idle_watts: watts from 0"},
           {"energy: {active_watts_per_core: much}", "energy.active_watts_per_core: watts from 0"},
           {"energy: {watts: 1}", "known are meter, idle_watts, active_watts_per_core"}})
    EXPECT_NE(error_of(text).find(part), std::string::npos) << text << "\n" << error_of(text);
}

TEST(ConfigSecurity, BoundsOfTenants) {
  const auto c = parse_config(
      "tenants:\n  default: {bounds: }\n  gold:\n    bounds: {deadline_ms: 20, min_accuracy: 0.9, max_energy_mj: 5.5, objective: energy, rule: conditions, confidence: 0.5,\n"
      "      max_accuracy_loss: 0.005, exit: exit2, conditions: 'exit1: elapsed > 20'}\n",
      "s.yaml");
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_EQ(net::bounds_to_json(c->tenants[0].bounds).dump(), "{}");
  EXPECT_EQ(net::bounds_to_json(c->tenants[1].bounds),
            Json::parse(R"({"deadline_ms":20.0,"min_accuracy":0.9,"max_energy_mj":5.5,"objective":"energy","rule":"conditions","confidence":0.5,"max_accuracy_loss":0.005,
                            "exit":"exit2","conditions":"exit1: elapsed > 20"})"));
  EXPECT_TRUE(changes_while_running("tenants.gold.bounds.rule", *c));
  EXPECT_TRUE(changes_while_running("tenants.gold.bounds", *c));
  EXPECT_FALSE(changes_while_running("tenants.gold.weight", *c));
  EXPECT_FALSE(changes_while_running("tenants.new.bounds.rule", *c));  // it is no tenant of the running server
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
