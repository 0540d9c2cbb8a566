#include "serve/config.h"

#include <gtest/gtest.h>

#include "core/json.h"
#include "os/files.h"

namespace verge::serve {
namespace {

TEST(Config, EveryFieldIsRead) {
  const auto c = parse_config(R"(
zoo: models
listen: '[::1]:0'
fronts: 2
lanes: 0
threads: 4
cores: 0-2,5
memory: 2GiB
queue_limit: 100
state_dir: /var/lib/verge
cache_dir: cache
log: {level: debug, format: json, access: true}
limits: {connections: 50, connections_per_peer: 7, message: 16MB, receive_budget: 64MiB, drain_seconds: 1.5}
models:
  resnet8: {default: openvino-ir-f32, resident: [a, b], threads: 2}
)",
                              "/etc/verge/server.yaml");
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_EQ(c->zoo, "/etc/verge/models");
  EXPECT_EQ(c->listen.address, "::1");
  EXPECT_EQ(c->listen.port, 0);
  EXPECT_EQ(c->fronts, 2);
  EXPECT_EQ(c->lanes, 0);
  EXPECT_EQ(c->threads, 4);
  EXPECT_EQ(c->cores, (std::vector<int>{0, 1, 2, 5}));
  EXPECT_EQ(c->memory, uint64_t{2} << 30);
  EXPECT_EQ(c->queue_limit, 100);
  EXPECT_EQ(c->state_dir, "/var/lib/verge");
  EXPECT_EQ(c->cache_dir, "/etc/verge/cache");
  EXPECT_EQ(c->log_level, "debug");
  EXPECT_EQ(c->log_format, "json");
  EXPECT_TRUE(c->access_log);
  EXPECT_EQ(c->max_connections, 50);
  EXPECT_EQ(c->max_peer_connections, 7);
  EXPECT_EQ(c->max_message, 16'000'000u);
  EXPECT_EQ(c->receive_budget, uint64_t{64} << 20);
  EXPECT_EQ(c->drain_timeout_s, 1.5);
  EXPECT_EQ(c->models.at("resnet8").default_variant, "openvino-ir-f32");
  EXPECT_EQ(c->models.at("resnet8").resident, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(c->models.at("resnet8").threads, 2);
}

TEST(Config, ErrorsNameFileLineAndField) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"zoo: z\nfronts: many\n", {"s.yaml:2: fronts: ", "from 1 to 64"}},
      {"fronts: 0\n", {"s.yaml:1: fronts: "}},
      {"threads: some\n", {"s.yaml:1: threads: auto, or a whole number from 0 to 256"}},
      {"models:\n  m: {threads: 1000}\n", {"s.yaml:2: models.m.threads: ", "256"}},
      {"port: 1\n", {"s.yaml:1: port: unknown field", "listen", "models"}},
      {"log:\n  level: loud\n", {"s.yaml:2: log.level: ", "'loud'", "warning"}},
      {"log:\n  colour: red\n", {"s.yaml:2: log.colour: unknown field", "access"}},
      {"log: yes\n", {"s.yaml:1: log: a map is expected"}},
      {"listen: 8000\n", {"s.yaml:1: listen: ", "HOST:PORT"}},
      {"listen: a:70000\n", {"listen: "}},
      {"memory: lots\n", {"memory: ", "512MiB"}},
      {"cores: 3-1\n", {"cores: "}},
      {"models: [a]\n", {"models: "}},
      {"models:\n  m:\n    resident: a\n", {"s.yaml:3: models.m.resident: "}},
      {"models:\n  m:\n    fastest: a\n", {"s.yaml:3: models.m.fastest: unknown field"}},
      {"models:\n  ../m:\n    default: a\n", {"models.../m: "}},
      {"limits: {drain_seconds: -1}\n", {"limits.drain_seconds"}},
      {"- a\n", {"a map of settings"}},
      {"a: [\n", {"s.yaml:"}},
  };
  for (const auto& [text, parts] : cases) {
    const auto c = parse_config(text, "s.yaml");
    ASSERT_FALSE(c.ok()) << text;
    EXPECT_EQ(c.status().code(), Code::kInvalidArgument);
    for (const auto& part : parts) EXPECT_NE(c.status().message().find(part), std::string::npos) << text << c.status().message();
  }
}

TEST(Config, BytesThatAreNoUtf8EndNothing) {
  for (const char* text : {"zoo: \"a\xff\"\n", "models:\n  m: {default: \"\xc3\"}\n", "\xff: 1\n"}) static_cast<void>(parse_config(text, "c.yaml"));
}

TEST(Config, TheCommandLineWins) {
  auto dir = os::make_temp_dir("/tmp", "verge-test-");
  ASSERT_TRUE(dir.ok());
  const std::string file = os::join(*dir, "s.yaml");
  ASSERT_TRUE(os::write_file_atomic(file, "zoo: here\nfronts: 2\nmemory: 1GiB\n").ok());
  ServeOptions o;
  o.config = file;
  o.fronts = 3;
  o.listen = "0.0.0.0:9";
  auto c = load_config(o);
  ASSERT_TRUE(c.ok()) << c.status().to_string();
  EXPECT_EQ(c->fronts, 3);
  EXPECT_EQ(c->listen.address, "0.0.0.0");
  EXPECT_EQ(c->memory, uint64_t{1} << 30);
  EXPECT_EQ(c->zoo, os::join(*dir, "here"));
  o.listen = "nowhere";
  EXPECT_NE(load_config(o).status().message().find("--listen: 'nowhere'"), std::string::npos);
  EXPECT_FALSE(load_config(ServeOptions{}).ok());
  ASSERT_TRUE(os::remove_tree(*dir).ok());
}

TEST(Config, TheSchemaHasEveryFieldAndNothingElsePasses) {
  const auto schema = parse_json(config_schema_json(), "schema");
  ASSERT_TRUE(schema.ok());
  const Json& properties = (*schema)["properties"];
  for (const char* name : {"zoo", "listen", "listeners", "fronts", "lanes", "threads", "cores", "memory", "queue_limit", "state_dir", "cache_dir", "log", "limits", "models"}) {
    EXPECT_TRUE(properties.contains(name)) << name;
  }
  EXPECT_EQ(properties["log"]["properties"].size(), 3u);
  EXPECT_EQ((*schema)["additionalProperties"], false);
}

TEST(Config, Sizes) {
  EXPECT_EQ(*parse_bytes("1000"), 1000u);
  EXPECT_EQ(*parse_bytes("1KiB"), 1024u);
  EXPECT_EQ(*parse_bytes("3 MB"), 3'000'000u);
  for (const char* bad : {"", "MiB", "-1", "1.5GiB", "1XB", "99999999999999999999", "999999999TiB"}) EXPECT_FALSE(parse_bytes(bad).ok()) << bad;
}

TEST(Config, Addresses) {
  std::string host;
  int port = 0;
  EXPECT_TRUE(parse_listen("localhost:80", host, port).ok());
  EXPECT_EQ(host, "localhost");
  EXPECT_TRUE(parse_listen("unix:/run/verge.sock", host, port).ok());
  EXPECT_EQ(host, "unix:/run/verge.sock");
  for (const char* bad : {"", ":80", "80", "a:", "a:x", "a:65536", "a:-1", "::1:80", "[]:80", "unix:", "unix:relative", "unix:/"}) EXPECT_FALSE(parse_listen(bad, host, port).ok()) << bad;
}

TEST(Placement, OneCoreForEverythingAndALaneACore) {
  Config c;
  const auto one = place(c, {7});
  EXPECT_TRUE(one->lanes.empty());
  EXPECT_EQ(one->fronts, 1u);
  EXPECT_EQ(one->front_cores, std::vector<int>{7});
  const auto four = place(c, {0, 1, 2, 3});
  EXPECT_EQ(four->lanes, (std::vector<std::vector<int>>{{0}, {1}, {2}, {3}}));
  c.lanes = 2;
  EXPECT_EQ(place(c, {0, 1, 2, 3})->lanes, (std::vector<std::vector<int>>{{0, 1}, {2, 3}}));
  c.cores = {1};
  EXPECT_NE(place(c, {0, 1}).status().message().find("2 lanes need"), std::string::npos);
  c.lanes = -1;
  EXPECT_EQ(place(c, {0, 1})->front_cores, std::vector<int>{1});
  c.cores = {9};
  EXPECT_NE(place(c, {0, 1}).status().message().find("core 9"), std::string::npos);
  c.cores.clear();
  c.fronts = 3;
  // What the profiles say counts where the configuration does not.
  EXPECT_EQ(place(c, {0, 1, 2, 3}, 2)->lanes, (std::vector<std::vector<int>>{{0, 1}, {2, 3}}));
  EXPECT_EQ(place(c, {0, 1}, 5)->lanes.size(), 2u);
  c.lanes = 4;
  EXPECT_EQ(place(c, {0, 1, 2, 3}, 2)->lanes.size(), 4u);
  c.lanes = 0;
  EXPECT_EQ(place(c, {0, 1})->fronts, 3u);
}

}  // namespace
}  // namespace verge::serve
