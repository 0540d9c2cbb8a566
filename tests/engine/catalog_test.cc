// Descriptors, libraries, lazy loading, and strings at the border.
#include "engine/catalog.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "os/files.h"
#include "os/process.h"

namespace verge::engine {
namespace {

using ::testing::HasSubstr;

class CatalogTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = os::make_temp_dir(testing::TempDir(), "catalog-");
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    dir_ = *made;
  }
  void TearDown() override { EXPECT_TRUE(os::remove_tree(dir_).ok()); }
  void write(const std::string& name, const std::string& text) { ASSERT_TRUE(os::write_file_atomic(os::join(dir_, name), text).ok()); }
  // The descriptor "e" as it stands in the catalog.
  Descriptor described(const std::string& json) {
    write("e.engine.json", json);
    auto catalog = Catalog::scan(dir_);
    EXPECT_TRUE(catalog.ok()) << catalog.status().to_string();
    const Descriptor* d = (*catalog)->find("e");
    EXPECT_NE(d, nullptr);
    return d ? *d : Descriptor();
  }
  std::string dir_;
};

TEST_F(CatalogTest, NoFolder) {
  EXPECT_EQ(Catalog::scan(dir_ + "/none").status().code(), Code::kNotFound);
  EXPECT_EQ(Catalog::scan("").status().code(), Code::kNotFound);
}

TEST_F(CatalogTest, BadDescriptorsAreUnavailableWithTheReason) {
  write("e.so", "");
  const struct {
    const char* json;
    const char* reason;
  } cases[] = {
      {"", "e.engine.json"},
      {"[]", "object"},
      {"{\"name\":\"e\"", "e.engine.json"},
      {R"({"name":"e","abi_major":1})", "plugin"},
      {R"({"name":"other","plugin":"e.so","abi_major":1})", "other"},
      {R"({"name":"e","plugin":"../e.so","abi_major":1})", "file name"},
      {R"({"name":"e","plugin":"e.so","abi_major":2})", "interface 2"},
      {R"({"name":"e","plugin":"e.so","abi_major":-1})", "interface -1"},
      {R"({"name":"e","plugin":"absent.so","abi_major":1})", "absent.so is missing"},
      {R"({"name":"e","plugin":"e.so","abi_major":1,"libraries":{}})", "libraries"},
      {R"({"name":"e","plugin":"e.so","abi_major":1,"libraries":[{"name":"/etc/passwd"}]})", "libraries[0]"},
      {R"({"name":"e","plugin":"e.so","abi_major":1,"check":[{"file":"../x","format":"f"}]})", "check[0]"},
  };
  for (const auto& c : cases) {
    Descriptor d = described(c.json);
    EXPECT_THAT(d.unavailable, HasSubstr(c.reason)) << c.json;
    EXPECT_EQ(d.unavailable.find('\n'), std::string::npos);
    auto catalog = Catalog::scan(dir_);
    ASSERT_TRUE(catalog.ok());
    EXPECT_EQ((*catalog)->get("e").status().code(), Code::kUnavailable);
  }
}

TEST_F(CatalogTest, MissingLibraryIsNamedWithWhatToDo) {
  write("e.so", "");
  Descriptor d = described(R"({"name":"e","plugin":"e.so","abi_major":1,"libraries":[{"name":"libnowhere.so.9","search":["own","/opt/x"]}]})");
  EXPECT_THAT(d.unavailable, HasSubstr("libnowhere.so.9"));
  EXPECT_THAT(d.unavailable, HasSubstr(os::base_name(dir_) + "/own"));
  EXPECT_THAT(d.unavailable, HasSubstr("/opt/x"));
  EXPECT_THAT(d.unavailable, HasSubstr("install it"));
}

TEST_F(CatalogTest, LibraryIsFoundBesideThenInSystemFolders) {
  write("e.so", "");
  ASSERT_TRUE(os::make_dirs(os::join(dir_, "own")).ok());
  write("own/libmine.so", "");
  Descriptor d = described(
      R"({"name":"e","plugin":"e.so","abi_major":1,"libraries":[{"name":"libmine.so","search":["own"]},{"name":"libc.so.6","search":[]}]})");
  EXPECT_EQ(d.unavailable, "");
  ASSERT_EQ(d.libraries.size(), 2u);
  EXPECT_EQ(d.libraries[0].found, *os::absolute(os::join(dir_, "own/libmine.so")));
  EXPECT_THAT(d.libraries[1].found, HasSubstr("libc"));
}

TEST_F(CatalogTest, FileThatIsNoPluginIsAnError) {
  write("e.so", "not an ELF file");
  write("e.engine.json", R"({"name":"e","plugin":"e.so","abi_major":1})");
  auto catalog = Catalog::scan(dir_);
  ASSERT_TRUE(catalog.ok());
  auto engine = (*catalog)->get("e");
  ASSERT_FALSE(engine.ok());
  EXPECT_THAT(engine.status().message(), HasSubstr("e.so"));
  EXPECT_EQ((*catalog)->get("nobody").status().code(), Code::kNotFound);
  EXPECT_THAT((*catalog)->get("nobody").status().message(), HasSubstr("there are: e"));
}

TEST(Catalog, ScanLoadsNothing) {
  auto catalog = Catalog::scan(VERGE_PLUGINS);
  ASSERT_TRUE(catalog.ok()) << catalog.status().to_string();
  ASSERT_NE((*catalog)->find("identity"), nullptr);
  auto maps = os::read_file("/proc/self/maps", 16 << 20);
  ASSERT_TRUE(maps.ok());
  for (const char* library : {"libverge_engine_", "libonnxruntime", "libopenvino", "libLiteRt", "libtensorflow"}) {
    EXPECT_EQ(maps->find(library), std::string::npos) << library;
  }
}

TEST(Catalog, OnePluginByItsFileOrDescriptor) {
  for (const char* file : {"libverge_engine_identity.so", "identity.engine.json"}) {
    auto catalog = scan_one(os::join(VERGE_PLUGINS, file));
    ASSERT_TRUE(catalog.ok()) << catalog.status().to_string();
    ASSERT_EQ((*catalog)->descriptors().size(), 1u);
    EXPECT_EQ((*catalog)->descriptors()[0].name, "identity");
  }
  EXPECT_EQ(scan_one(os::join(VERGE_PLUGINS, "nothing.so")).status().code(), Code::kNotFound);
  EXPECT_EQ(scan_one("/etc/passwd").status().code(), Code::kNotFound);
}

TEST(Catalog, EngineIsMadeOnce) {
  auto catalog = Catalog::scan(VERGE_PLUGINS);
  ASSERT_TRUE(catalog.ok());
  auto a = (*catalog)->get("identity"), b = (*catalog)->get("identity");
  ASSERT_TRUE(a.ok()) << a.status().to_string();
  EXPECT_EQ(a->get(), b->get());
  // Another catalog, as of a second server in this process, has its own.
  auto other = Catalog::scan(VERGE_PLUGINS);
  auto c = (*other)->get("identity");
  ASSERT_TRUE(c.ok());
  EXPECT_NE(a->get(), c->get());
}

std::vector<std::byte> wire(std::initializer_list<std::string> words) {
  std::vector<std::byte> bytes;
  for (const std::string& w : words) {
    for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(w.size() >> (8 * i)));
    for (char c : w) bytes.push_back(static_cast<std::byte>(c));
  }
  return bytes;
}

TEST(Bytes, ThereAndBack) {
  auto data = wire({"one", "", std::string("t\0o", 3), "three"});
  std::vector<uint64_t> offsets;
  std::vector<std::byte> blob;
  ASSERT_TRUE(bytes_to_engine({DType::kBytes, Shape{2, 2}, data}, offsets, blob).ok());
  EXPECT_THAT(offsets, testing::ElementsAre(0, 3, 3, 6, 11));
  EXPECT_EQ(blob.size(), 11u);
  verge_tensor t{};
  t.rank = 2;
  t.dims[0] = t.dims[1] = 2;
  t.data = blob.data();
  t.byte_size = blob.size();
  t.offsets = offsets.data();
  std::vector<std::byte> back;
  bytes_from_engine(t, back);
  EXPECT_EQ(back, data);
}

TEST(Bytes, Empty) {
  std::vector<uint64_t> offsets;
  std::vector<std::byte> blob, back{std::byte{1}};
  ASSERT_TRUE(bytes_to_engine({DType::kBytes, Shape{0}, {}}, offsets, blob).ok());
  EXPECT_THAT(offsets, testing::ElementsAre(0));
  verge_tensor t{};
  t.rank = 1;
  t.offsets = offsets.data();
  bytes_from_engine(t, back);
  EXPECT_TRUE(back.empty());
}

TEST(Bytes, RefusesWhatDoesNotAddUp) {
  std::vector<uint64_t> offsets;
  std::vector<std::byte> blob;
  auto good = wire({"ab", "c"});
  auto code = [&](const Shape& shape, std::span<const std::byte> data) { return bytes_to_engine({DType::kBytes, shape, data}, offsets, blob).code(); };
  EXPECT_EQ(code(Shape{2}, good), Code::kOk);
  EXPECT_EQ(code(Shape{1}, good), Code::kInvalidArgument);
  EXPECT_EQ(code(Shape{3}, good), Code::kInvalidArgument);
  EXPECT_EQ(code(Shape{-1}, good), Code::kInvalidArgument);
  EXPECT_EQ(code(Shape{int64_t{1} << 40}, good), Code::kInvalidArgument);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_EQ(code(Shape{2}, std::span(good).first(n)), Code::kInvalidArgument) << n;
  auto huge = good;
  huge[3] = std::byte{0xFF};
  EXPECT_EQ(code(Shape{2}, huge), Code::kInvalidArgument);
  // The second length borrows from the first element's share.
  auto borrowed = good;
  borrowed[6] = std::byte{9};
  EXPECT_EQ(code(Shape{2}, borrowed), Code::kInvalidArgument);
}

}  // namespace
}  // namespace verge::engine
