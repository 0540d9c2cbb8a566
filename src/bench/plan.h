// What a run asks for: tenants with their bounds, when their requests come, and for how long. The same for a live and a simulated run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/arrivals.h"
#include "core/json.h"
#include "core/status.h"

namespace verge::bench {

// A value sent as a request parameter, typed.
struct Parameter {
  enum class Kind { kString, kInteger, kNumber, kBoolean };
  std::string name;
  Kind kind = Kind::kString;
  std::string text;  // as it was written
  int64_t integer = 0;
  double number = 0;
  bool flag = false;
  Json json() const;
};

struct TenantSpec {
  std::string name = "default";
  std::string model, version;
  double share = 1;          // of the run's common arrivals
  bool own_arrivals = false; // has a source of its own
  ArrivalSpec arrivals;      // of that source
  double deadline_ms = 0;    // from the intended sending; 0: none
  std::vector<Parameter> parameters;  // "verge.min_accuracy", …, and whatever else a server takes
  std::string token_file;
  int64_t batch = 1;         // samples a request
  const Parameter* parameter(std::string_view name) const;
};

struct Plan {
  ArrivalSpec arrivals;   // what tenants without arrivals of their own share
  std::vector<TenantSpec> tenants;
  double seconds = 10, warm_up = 1;
  uint64_t requests = 0;  // measured at most; 0: only the time counts
  uint64_t seed = 1;
  std::string trace_file; // for the record
};

// "name=a,model=m,share=2,rate=50,deadline_ms=20,min_accuracy=0.85,…" onto a tenant that begins as `base`. Keys: see kTenantKeys; keys with a
// dot ("verge.rule", "my.key") are parameters. `trace` is the run's, for tenants that replay it at a rate of their own.
Result<TenantSpec> parse_tenant(std::string_view text, const TenantSpec& base, const ArrivalSpec& common);
// A file with a list `tenants:` of maps of the same keys.
Result<std::vector<TenantSpec>> parse_plan_file(std::string_view yaml, const std::string& file, const TenantSpec& base, const ArrivalSpec& common);
extern const char* const kTenantKeys;

Status check_plan(const Plan& plan);
Json plan_json(const Plan& plan);
Json tenant_json(const TenantSpec& t);

// The run's arrival processes: one of all tenants that share, and one of each that has its own.
std::vector<Source> make_sources(const Plan& plan);
// In flight of each source that is a closed loop, in the order of make_sources(); 0 for open ones.
std::vector<int> closed_loops(const Plan& plan);

}  // namespace verge::bench
