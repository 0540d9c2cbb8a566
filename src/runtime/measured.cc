// What resident variants have taken on their lanes so far, for /metrics: in buckets fine enough for a simulation of this server's next minutes to be fed by them.
#include <cmath>
#include <string>

#include "core/exposition.h"
#include "runtime/table.h"

namespace verge::runtime {
namespace {

using exposition::decimal;
using exposition::escaped;
using exposition::head;
using exposition::line;
using policy::QuantileCurve;
using policy::ServiceCounts;

const std::string kName = "verge_run_seconds";

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
    line(out, kName + "_bucket", labels + ",le=\"" + decimal(std::exp2((b + 1) / 8.0) * 1e-6) + "\"", seen);
  }
  if (seen == 0) return;
  for (uint32_t lane = 0; lane < lanes; ++lane) sum_ns += resident.predictor(lane, part).counts(size).sum_ns();
  line(out, kName + "_bucket", labels + ",le=\"+Inf\"", seen);
  line(out, kName + "_sum", labels, exposition::seconds(sum_ns));
  line(out, kName + "_count", labels, seen);
}

}  // namespace

std::string measured_text(const Table& table, uint32_t lanes) {
  std::string out;
  head(out, kName, "histogram", "Time that runs held their lane, by samples (the next power of two); of multi-exit models by stage.");
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
