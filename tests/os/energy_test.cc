#include "os/energy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "os/files.h"
#include "os/process.h"

namespace verge::os {
namespace {

// A tree of small files in place of /sys/class.
class EnergyTest : public testing::Test {
 protected:
  EnergyTest() {
    char name[] = "/tmp/verge-energy-XXXXXX";
    root_ = ::mkdtemp(name);
    places_ = {root_ + "/powercap", root_ + "/hwmon", VERGE_FAKE_NVML};
  }
  ~EnergyTest() override { static_cast<void>(remove_tree(root_)); }
  void put(const std::string& path, const std::string& text) {
    const std::string full = root_ + "/" + path;
    ASSERT_TRUE(make_dirs(dir_name(full)).ok());
    // The same file, as the kernel's: a reader that has it open sees the new text.
    std::ofstream(full, std::ios::trunc) << text << "\n";
  }
  std::unique_ptr<EnergyMeter> open(std::string_view wanted = "auto") {
    auto meter = open_energy_meter(wanted, places_);
    EXPECT_TRUE(meter.ok()) << meter.status().to_string();
    return meter.ok() ? std::move(meter).value() : nullptr;
  }
  std::string root_;
  EnergyPlaces places_;
};

TEST_F(EnergyTest, NoneSaysWhatIsLacking) {
  places_.nvml = root_ + "/none.so";
  for (const auto& [wanted, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"auto", "no RAPL counters in"}, {"auto", "no power monitor in"}, {"hwmon", "no power monitor"}, {"nvml", "none.so"}, {"wattmeter", "there is no energy meter 'wattmeter'"}}) {
    const auto meter = open_energy_meter(wanted, places_);
    ASSERT_FALSE(meter.ok());
    EXPECT_EQ(meter.status().code(), Code::kUnavailable);
    EXPECT_NE(meter.status().message().find(text), std::string::npos) << meter.status().message();
  }
}

TEST_F(EnergyTest, RaplAddsPackagesAndLeavesTheirPartsOut) {
  for (const char* zone : {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl-mmio:0"}) {
    put(std::string("powercap/") + zone + "/energy_uj", "1000000");
    put(std::string("powercap/") + zone + "/max_energy_range_uj", "9000000");
  }
  const auto meter = open();
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->source(), "rapl");
  EXPECT_NE(meter->about().find("2 processor packages"), std::string::npos);
  EXPECT_DOUBLE_EQ(meter->joules(), 0);
  put("powercap/intel-rapl:0/energy_uj", "3000000");
  put("powercap/intel-rapl:0:0/energy_uj", "8000000");
  EXPECT_DOUBLE_EQ(meter->joules(), 2);
  put("powercap/intel-rapl:1/energy_uj", "8500000");
  EXPECT_DOUBLE_EQ(meter->joules(), 9.5);
  put("powercap/intel-rapl:1/energy_uj", "500000");  // past 9 J it begins anew
  EXPECT_DOUBLE_EQ(meter->joules(), 10.5);
  put("powercap/intel-rapl:0/energy_uj", "lost");
  EXPECT_LT(meter->joules(), 0);
}

TEST_F(EnergyTest, RaplThatCannotBeReadIsNone) {
  put("powercap/intel-rapl:0/max_energy_range_uj", "9");
  const auto meter = open_energy_meter("rapl", places_);
  ASSERT_FALSE(meter.ok());
  EXPECT_NE(meter.status().message().find("intel-rapl:0/energy_uj cannot be read by this user"), std::string::npos) << meter.status().message();
}

TEST_F(EnergyTest, PowerMonitorsAddUp) {
  put("hwmon/hwmon0/name", "nvme");
  put("hwmon/hwmon0/power1_input", "900000000");
  put("hwmon/hwmon1/name", "ina226");
  put("hwmon/hwmon1/power1_input", "4000000");  // 4 W
  const auto meter = open();
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->source(), "hwmon");
  EXPECT_EQ(meter->about(), "hwmon: ina226");
  const uint64_t before = monotonic_ns();
  const double first = meter->joules();
  const uint64_t begun = monotonic_ns();
  while (monotonic_ns() - begun < 20'000'000) {
  }
  const uint64_t ended = monotonic_ns();
  const double last = meter->joules();
  // It looked at some time within each of its calls.
  EXPECT_GE(last - first, 4 * static_cast<double>(ended - begun) / 1e9 - 1e-6);
  EXPECT_LE(last - first, 4 * static_cast<double>(monotonic_ns() - before) / 1e9 + 1e-6);
}

// Jetson boards: three rails of a device, one of which feeds the others.
TEST_F(EnergyTest, VoltsTimesAmperesOfTheRailThatFeedsAll) {
  put("hwmon/hwmon3/name", "ina3221");
  const char* labels[] = {"VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC"};
  for (int i = 1; i <= 3; ++i) {
    const std::string n = std::to_string(i);
    put("hwmon/hwmon3/in" + n + "_label", labels[i - 1]);
    put("hwmon/hwmon3/in" + n + "_input", "5000");
    put("hwmon/hwmon3/curr" + n + "_input", std::to_string(i * 1000));
  }
  const auto meter = open("hwmon");
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->about(), "hwmon: ina3221/VDD_IN");
  EXPECT_GE(meter->joules(), 0);
}

TEST_F(EnergyTest, CountersOfSocketsWithoutTheirCores) {
  put("hwmon/hwmon2/name", "amd_energy");
  for (int i = 1; i <= 3; ++i) {
    put("hwmon/hwmon2/energy" + std::to_string(i) + "_label", i < 3 ? "Ecore00" + std::to_string(i) : "Esocket0");
    put("hwmon/hwmon2/energy" + std::to_string(i) + "_input", "7000000");
  }
  const auto meter = open();
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->about(), "hwmon: amd_energy/Esocket0");
  put("hwmon/hwmon2/energy1_input", "9000000");
  put("hwmon/hwmon2/energy3_input", "7250000");
  EXPECT_DOUBLE_EQ(meter->joules(), 0.25);
  put("hwmon/hwmon2/energy3_input", "1000");  // set back: nothing is taken off
  EXPECT_DOUBLE_EQ(meter->joules(), 0.25);
  put("hwmon/hwmon2/energy3_input", "1001000");
  EXPECT_DOUBLE_EQ(meter->joules(), 1.25);
}

TEST_F(EnergyTest, GpusWhereTheyAreAskedFor) {
  EXPECT_FALSE(open_energy_meter("auto", places_).ok());
  const auto meter = open("nvml");
  ASSERT_TRUE(meter);
  EXPECT_EQ(meter->source(), "nvml");
  EXPECT_EQ(meter->about(), "NVML: 1 GPU, idle power included");
  EXPECT_DOUBLE_EQ(meter->joules(), 1.5);
  EXPECT_DOUBLE_EQ(meter->joules(), 3);
}

TEST(EnergyModel, IsLinear) {
  const EnergyModel m{2, 5};
  EXPECT_DOUBLE_EQ(m.joules(10, 3), 35);
  EXPECT_GT(default_energy_model().active_watts_per_core, 0);
}

}  // namespace
}  // namespace verge::os
