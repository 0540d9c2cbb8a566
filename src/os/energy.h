// Energy that the machine uses: counters behind one interface, and the model that stands in for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"

namespace verge::os {

// Counts joules. One thread at a time.
class EnergyMeter {
 public:
  virtual ~EnergyMeter() = default;
  // Since it was opened; differences count. Negative where it cannot be read any more. Of a meter that shows power alone it is what was added up
  // from call to call: call it often.
  virtual double joules() = 0;
  virtual std::string_view source() const = 0;  // "rapl", "hwmon", "nvml"
  virtual const std::string& about() const = 0;   // what is measured, for a person
};

// Where meters are looked for; tests give a folder tree and a library of their own.
struct EnergyPlaces {
  std::string powercap = "/sys/class/powercap";
  std::string hwmon = "/sys/class/hwmon";
  std::string nvml = "libnvidia-ml.so.1";
};

// RAPL counts the whole processor packages; hwmon stands for INA power monitors, ACPI's, and devices that count energy; NVML counts NVIDIA GPUs alone.
// `wanted`: the source() of the one to take, or "auto": the first of rapl and hwmon that can be read. kUnavailable, with what each lacks, where there is
// none.
Result<std::unique_ptr<EnergyMeter>> open_energy_meter(std::string_view wanted = "auto", const EnergyPlaces& places = {});

// What stands in for a meter: declared, not measured.
struct EnergyModel {
  double idle_watts = 0;             // of the machine, whatever it does
  double active_watts_per_core = 0;  // on top of that, of a core that works
  bool declared() const { return idle_watts > 0 || active_watts_per_core > 0; }
  double joules(double seconds, double busy_core_seconds) const { return idle_watts * seconds + active_watts_per_core * busy_core_seconds; }
};
// Middling figures of this kind of processor.
EnergyModel default_energy_model();

}  // namespace verge::os
