// What resident variants have taken on their lanes so far, for /metrics: in buckets fine enough for a simulation of this server's next minutes to be fed by them.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "runtime/table.h"

namespace verge::runtime {
namespace {

using policy::QuantileCurve;
using policy::ServiceCounts;

constexpr const char* kName = "verge_run_seconds";

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", v);
  return text;
}

std::string escaped(const std::string& s) {
  std::string out;
  for (const char c : s) {
    if (c == '\\' || c == '"') out.push_back('\\');
    if (c == '\n') out.append("\\n");
    else out.push_back(c);
  }
  return out;
}

// One stage's times with one number of samples, of all lanes together.
void add(std::string& out, const Resident& resident, uint32_t lanes, uint32_t part, int size, const std::string& of) {
  uint64_t seen = 0, sum_ns = 0;
  const std::string labels = of + ",stage=\"" + std::to_string(part + 1) + "\",rows=\"" + std::to_string(int64_t{1} << size) + "\"";
  for (int b = 0; b < ServiceCounts::kBuckets; ++b) {
    uint64_t n = 0;
    for (uint32_t lane = 0; lane < lanes; ++lane) n += resident.predictor(lane, part).counts(size).count(b);
    if (n == 0) continue;
    seen += n;
    // Only edges of buckets that hold something: the others say what the next lower one does.
    out.append(kName).append("_bucket{").append(labels).append(",le=\"").append(number(std::exp2((b + 1) / 8.0) * 1e-6)).append("\"} ").append(std::to_string(seen)).append("\n");
  }
  if (seen == 0) return;
  for (uint32_t lane = 0; lane < lanes; ++lane) sum_ns += resident.predictor(lane, part).counts(size).sum_ns();
  out.append(kName).append("_bucket{").append(labels).append(",le=\"+Inf\"} ").append(std::to_string(seen)).append("\n");
  out.append(kName).append("_sum{").append(labels).append("} ").append(number(static_cast<double>(sum_ns) * 1e-9)).append("\n");
  out.append(kName).append("_count{").append(labels).append("} ").append(std::to_string(seen)).append("\n");
}

}  // namespace

std::string measured_text(const Table& table, uint32_t lanes) {
  std::string out = std::string("# HELP ") + kName + " Time that runs held their lane, by samples (the next power of two); of multi-exit models by stage.\n# TYPE " + kName + " histogram\n";
  for (const auto& [name, model] : table.models)
    for (const auto& [number, version] : model.versions) {
      if (version->served == nullptr) continue;
      const Manifest& m = version->served->manifest();
      for (size_t v = 0; v < version->variants.size() && v < m.variants.size(); ++v) {
        const auto& resident = version->variants[v].resident;
        if (resident == nullptr || resident->predictors == nullptr) continue;
        const std::string labels = "model=\"" + escaped(name) + "\",version=\"" + std::to_string(number) + "\",variant=\"" + escaped(m.variants[v].id) + "\"";
        for (uint32_t part = 0; part < resident->parts; ++part)
          for (int size = 0; size < QuantileCurve::kSizes; ++size) add(out, *resident, lanes, part, size, labels);
      }
    }
  return out;
}

}  // namespace verge::runtime
