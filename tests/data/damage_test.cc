// Files at random: every one is loaded whole or refused with an error, and nothing else happens.
#include <gtest/gtest.h>

#include <random>

#include "core/npy.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "tests/data/test_files.h"

namespace verge::data {
namespace {

using testing::gzip;
using testing::MemoryFile;
using testing::slurp;

constexpr int kRounds = 2500;  // of each of four formats

TensorSpec floats_spec(const Shape& s) {
  TensorSpec spec;
  spec.name = "x";
  spec.dtype = DType::kFp32;
  spec.shape = s;
  spec.batch_axis = 0;
  return spec;
}

std::string damaged(const std::vector<std::string>& seeds, std::mt19937& rng) {
  if (rng() % 8 == 0) {
    std::string s(rng() % 300, '\0');
    for (char& c : s) c = static_cast<char>(rng());
    return s;
  }
  std::string s = seeds[rng() % seeds.size()];
  if (rng() % 4 == 0) s.resize(rng() % (s.size() + 1));
  if (rng() % 6 == 0) s += std::string(rng() % 20, static_cast<char>(rng()));
  for (unsigned k = rng() % 4; k > 0 && !s.empty(); --k) {
    const char extremes[] = {'\0', '\xff', '\x7f', '\x80'};
    s[rng() % s.size()] = rng() % 2 ? static_cast<char>(rng()) : extremes[rng() % 4];
  }
  return s;
}

void load_damaged(const std::string& format, const std::vector<std::string>& seeds, const Shape& shape,
                  const std::string& labels = "") {
  const MemoryFile file;
  std::mt19937 rng(5);
  int loaded = 0, refused = 0;
  for (int i = 0; i < kRounds; ++i) {
    DatasetSpec spec;
    spec.format = format;
    spec.path = file.write(damaged(seeds, rng));
    spec.labels = labels;
    spec.first = static_cast<int64_t>(rng() % 3);
    auto d = load_dataset(spec, {floats_spec(shape)}, {}, rng() % 2 ? -1 : 2);
    if (!d.ok()) {
      ASSERT_FALSE(d.status().message().empty());
      ++refused;
      continue;
    }
    ++loaded;
    ASSERT_TRUE(check_tensor(d->inputs.at("x").view(), "x").ok());
    ASSERT_EQ(d->inputs.at("x").shape[0], d->samples);
    ASSERT_EQ(d->ids.size(), static_cast<size_t>(d->samples));
  }
  EXPECT_GT(loaded, 3);
  EXPECT_GT(refused, 250);
}

Tensor some_floats() {
  Tensor t(DType::kFp32, {4, 3});
  for (int i = 0; i < 12; ++i) t.as<float>()[i] = static_cast<float>(i);
  return t;
}

TEST(Damage, Npy) {
  Tensor strings;
  strings.dtype = DType::kBytes;
  strings.shape = {2};
  for (char c : {'\1', '\0', '\0', '\0', 'a', '\2', '\0', '\0', '\0', 'b', 'c'}) strings.data.push_back(static_cast<std::byte>(c));
  load_damaged("npy", {print_npy(some_floats()), print_npy(strings), print_npy(Tensor(DType::kInt64, {5, 3}))}, {-1, -1});
}

TEST(Damage, Npz) {
  load_damaged("npz", {slurp(VERGE_CASES "/data/stored.npz"), slurp(VERGE_CASES "/data/deflated.npz")}, {-1, -1, -1}, "y");
}

TEST(Damage, Idx) {
  const std::string plain("\0\0\x08\3\0\0\0\3\0\0\0\2\0\0\0\2abcdefghijkl", 28),
      wide("\0\0\x0d\2\0\0\0\2\0\0\0\1\x3f\x80\0\0\x40\0\0\0", 20);
  load_damaged("idx", {plain, wide, gzip(plain)}, {-1, -1, -1});
}

TEST(Damage, Csv) {
  load_damaged("csv", {"a,b,c\n1,2,0\n3,4,1\n5,6,0\n", "1,\"2\",1\r\n-1e30,\" 4\",0\r\n", "x,\"y \"\"q\"\"\",c\n1,2,3\n"}, {-1, -1}, "-1");
}

}  // namespace
}  // namespace verge::data
