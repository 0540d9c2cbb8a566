#include "os/energy.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "os/files.h"
#include "os/process.h"

namespace verge::os {
namespace {

// A small file of the kernel's with one number in it, kept open: reading it costs a system call.
class NumberFile {
 public:
  explicit NumberFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  NumberFile(NumberFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  NumberFile& operator=(NumberFile&&) = delete;
  ~NumberFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  // Negative where there is none.
  double read() const {
    char text[40];
    const ssize_t n = fd_ < 0 ? -1 : ::pread(fd_, text, sizeof text, 0);
    if (n <= 0) return -1;
    double v = -1;
    return std::from_chars(text, text + n, v).ec == std::errc() ? v : -1;
  }

 private:
  int fd_;
};

std::string word_in(const std::string& path) {
  auto text = read_file(path, 4096);
  if (!text.ok()) return "";
  return text->substr(0, text->find_last_not_of(" \n") + 1);
}

// --- RAPL ---

class Rapl final : public EnergyMeter {
 public:
  struct Zone {
    NumberFile counter;
    double range;  // where it wraps, in microjoules
    double last;
  };
  explicit Rapl(std::vector<Zone> zones) : zones_(std::move(zones)) {
    about_ = "RAPL: " + std::to_string(zones_.size()) + (zones_.size() == 1 ? " processor package" : " processor packages") + ", idle power included";
  }
  double joules() override {
    for (Zone& z : zones_) {
      const double now = z.counter.read();
      if (now < 0) return -1;
      total_ += (now >= z.last ? now - z.last : now + std::max(z.range, z.last) - z.last) / 1e6;
      z.last = now;
    }
    return total_;
  }
  std::string_view source() const override { return "rapl"; }
  const std::string& about() const override { return about_; }

 private:
  std::vector<Zone> zones_;
  std::string about_;
  double total_ = 0;
};

using Opened = Result<std::unique_ptr<EnergyMeter>>;

Opened open_rapl(const std::string& root) {
  std::vector<Rapl::Zone> zones;
  const auto names = list_dir(root);
  if (names.ok()) {
    for (const std::string& name : *names) {
      // "intel-rapl:0" is a package; "intel-rapl:0:1" is a part of it. AMD's counters carry the same name.
      if (!name.starts_with("intel-rapl:") || std::count(name.begin(), name.end(), ':') != 1) continue;
      const std::string zone = join(root, name), path = join(zone, "energy_uj");
      NumberFile counter(path);
      const double now = counter.read();
      if (now < 0) return unavailable(path + " cannot be read by this user");
      zones.push_back({std::move(counter), NumberFile(join(zone, "max_energy_range_uj")).read(), now});
    }
  }
  if (zones.empty()) return unavailable("no RAPL counters in " + root);
  return std::unique_ptr<EnergyMeter>(std::make_unique<Rapl>(std::move(zones)));
}

// --- hwmon ---

// One thing that is measured: a counter of microjoules, microwatts, or millivolts and milliamperes.
struct Rail {
  enum Kind { kEnergy, kPower, kVoltage } kind;
  NumberFile value;
  NumberFile current;  // kVoltage
  std::string name;
  double last = 0;     // microjoules, or watts

  double watts() const {
    const double v = value.read();
    if (kind == kPower) return v < 0 ? -1 : v / 1e6;
    const double i = current.read();
    return v < 0 || i < 0 ? -1 : v * i / 1e6;
  }
};

class Hwmon final : public EnergyMeter {
 public:
  explicit Hwmon(std::vector<Rail> rails) : rails_(std::move(rails)), last_ns_(monotonic_ns()) {
    about_ = "hwmon:";
    for (Rail& r : rails_) {
      about_ += " " + r.name;
      r.last = r.kind == Rail::kEnergy ? r.value.read() : r.watts();
    }
  }
  double joules() override {
    const uint64_t now = monotonic_ns();
    const double seconds = static_cast<double>(now - std::exchange(last_ns_, now)) / 1e9;
    for (Rail& r : rails_) {
      const double v = r.kind == Rail::kEnergy ? r.value.read() : r.watts();
      if (v < 0) return -1;
      // Counters are of 64 bits, or were set back. Power is taken as straight between two readings.
      total_ += r.kind == Rail::kEnergy ? std::max(0.0, v - r.last) / 1e6 : (v + r.last) / 2 * seconds;
      r.last = v;
    }
    return total_;
  }
  std::string_view source() const override { return "hwmon"; }
  const std::string& about() const override { return about_; }

 private:
  std::vector<Rail> rails_;
  uint64_t last_ns_;
  std::string about_;
  double total_ = 0;
};

// The rails of one device. Drives, batteries and graphics cards show power there too, which is not that of what runs models: only power monitors (INA,
// ACPI's) and counters of energy are taken.
void add_rails(const std::string& dir, std::vector<Rail>* rails) {
  const std::string device = word_in(join(dir, "name"));
  auto add = [&](Rail::Kind kind, const std::string& value, const std::string& current, const std::string& label) {
    Rail r{kind, NumberFile(join(dir, value)), NumberFile(current.empty() ? "" : join(dir, current)), device + (label.empty() ? "" : "/" + label)};
    if ((kind == Rail::kEnergy ? r.value.read() : r.watts()) >= 0) rails->push_back(std::move(r));
  };
  constexpr int kMostChannels = 256;  // AMD's counts each core
  const size_t before = rails->size();
  for (int i = 1; i <= kMostChannels; ++i) {
    const std::string n = std::to_string(i);
    if (!exists(join(dir, "energy" + n + "_input"))) break;
    const std::string label = word_in(join(dir, "energy" + n + "_label"));
    // Cores are parts of the sockets.
    if (!label.starts_with("Ecore")) add(Rail::kEnergy, "energy" + n + "_input", "", label);
  }
  if (rails->size() > before) return;
  if (device.starts_with("ina")) {
    if (exists(join(dir, "power1_input"))) return add(Rail::kPower, "power1_input", "", "");
    for (int i = 1; i <= 3; ++i) {
      const std::string n = std::to_string(i);
      add(Rail::kVoltage, "in" + n + "_input", "curr" + n + "_input", word_in(join(dir, "in" + n + "_label")));
    }
  } else if (device == "power_meter") {
    add(Rail::kPower, "power1_average", "", "");
  }
}

Opened open_hwmon(const std::string& root) {
  std::vector<Rail> rails;
  if (const auto names = list_dir(root); names.ok())
    for (const std::string& name : *names) add_rails(join(root, name), &rails);
  // Boards name the rail that feeds all the others.
  const auto whole = std::find_if(rails.begin(), rails.end(), [](const Rail& r) { return r.name.ends_with("_IN"); });
  if (whole != rails.end()) {
    std::vector<Rail> one;
    one.push_back(std::move(*whole));
    rails.swap(one);
  }
  if (rails.empty()) return unavailable("no power monitor in " + root);
  return std::unique_ptr<EnergyMeter>(std::make_unique<Hwmon>(std::move(rails)));
}

// --- NVML ---

class Nvml final : public EnergyMeter {
 public:
  static Opened open(const std::string& library) {
    auto out = std::unique_ptr<Nvml>(new Nvml);
    VERGE_RETURN_IF_ERROR(out->start(library));
    return std::unique_ptr<EnergyMeter>(std::move(out));
  }
  ~Nvml() override {
    if (shutdown_ != nullptr) shutdown_();
    if (library_ != nullptr) ::dlclose(library_);
  }
  double joules() override {
    double total = 0;
    for (size_t i = 0; i < devices_.size(); ++i) {
      unsigned long long now = 0;
      if (energy_(devices_[i], &now) != 0) return -1;
      total += static_cast<double>(now - first_[i]) / 1e3;
    }
    return total;
  }
  std::string_view source() const override { return "nvml"; }
  const std::string& about() const override { return about_; }

 private:
  using Device = void*;
  Status start(const std::string& name) {
    library_ = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) return unavailable("no " + name);
    auto find = [&](const char* symbol, auto& fn) { return (fn = reinterpret_cast<std::remove_reference_t<decltype(fn)>>(::dlsym(library_, symbol))) != nullptr; };
    int (*init)() = nullptr;
    int (*shutdown)() = nullptr;
    int (*count)(unsigned*) = nullptr;
    int (*handle)(unsigned, Device*) = nullptr;
    if (!find("nvmlInit_v2", init) || !find("nvmlShutdown", shutdown) || !find("nvmlDeviceGetCount_v2", count) || !find("nvmlDeviceGetHandleByIndex_v2", handle) ||
        !find("nvmlDeviceGetTotalEnergyConsumption", energy_))
      return unavailable(name + " lacks a function");
    if (const int e = init(); e != 0) return unavailable(name + " does not start: error " + std::to_string(e));
    shutdown_ = shutdown;
    unsigned devices = 0;
    if (count(&devices) != 0) devices = 0;
    for (unsigned i = 0; i < std::min(devices, 64u); ++i) {
      Device device = nullptr;
      unsigned long long now = 0;
      if (handle(i, &device) != 0 || energy_(device, &now) != 0) continue;
      devices_.push_back(device);
      first_.push_back(now);
    }
    if (devices_.empty()) return unavailable(name + " has no GPU that counts energy");
    about_ = "NVML: " + std::to_string(devices_.size()) + (devices_.size() == 1 ? " GPU" : " GPUs") + ", idle power included";
    return {};
  }
  void* library_ = nullptr;
  int (*shutdown_)() = nullptr;
  int (*energy_)(Device, unsigned long long*) = nullptr;  // millijoules since the driver was loaded
  std::vector<Device> devices_;
  std::vector<unsigned long long> first_;
  std::string about_;
};

}  // namespace

Result<std::unique_ptr<EnergyMeter>> open_energy_meter(std::string_view wanted, const EnergyPlaces& places) {
  const bool any = wanted == "auto";
  std::string lacking;
  auto tried = [&](Opened opened) {
    if (!opened.ok()) lacking += (lacking.empty() ? "" : "; ") + opened.status().message();
    return opened;
  };
  if (any || wanted == "rapl") {
    if (Opened o = tried(open_rapl(places.powercap)); o.ok()) return o;
  }
  if (any || wanted == "hwmon") {
    if (Opened o = tried(open_hwmon(places.hwmon)); o.ok()) return o;
  }
  if (wanted == "nvml") {
    if (Opened o = tried(Nvml::open(places.nvml)); o.ok()) return o;
  }
  return unavailable(lacking.empty() ? "there is no energy meter '" + std::string(wanted) + "'; known are rapl, hwmon, nvml" : lacking);
}

EnergyModel default_energy_model() {
#if defined(__x86_64__)
  return {10, 5};
#else
  return {2, 1};
#endif
}

}  // namespace verge::os
