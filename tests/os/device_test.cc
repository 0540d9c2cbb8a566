#include <gtest/gtest.h>

#include <thread>

#include "os/process.h"

namespace verge::os {
namespace {

TEST(Device, FingerprintIsStable) {
  Device a = this_device(), b = this_device();
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.fingerprint.size(), 16u);
  EXPECT_GT(a.cores, 0);
  EXPECT_GT(a.memory_bytes, 0);
}

TEST(Memory, ResidentBytesGrowWithWhatIsTouched) {
  uint64_t before = resident_bytes();
  std::vector<char> block(64 << 20, 1);
  EXPECT_GT(resident_bytes(), before + (48 << 20));
  EXPECT_GT(available_memory_bytes(), 0u);
}

TEST(Cores, AThreadCanBePinnedToOne) {
  std::thread([] {
    int core = usable_cores().front();
    ASSERT_TRUE(pin_thread({core}).ok());
    EXPECT_EQ(usable_cores(), std::vector<int>{core});
    EXPECT_FALSE(pin_thread({1 << 20}).ok());
  }).join();
}

}  // namespace
}  // namespace verge::os
