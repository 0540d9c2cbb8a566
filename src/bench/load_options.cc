#include "bench/load_options.h"

#include <algorithm>
#include <cstdio>

#include "os/files.h"

namespace verge::bench {
namespace {

constexpr size_t kMostTraceBytes = size_t{2} << 30;

constexpr double kSeconds = 10, kClosedSeconds = 60;

// How long the wanted number of requests may take: some more than at the mean rate. A closed loop's rate is the server's.
double seconds_for(const Plan& p) {
  double rate = 0;
  bool shared = false, closed = false;
  auto add = [&](const ArrivalSpec& a) {
    closed |= a.kind == ArrivalKind::kClosed;
    rate += a.kind == ArrivalKind::kReplay && a.rate <= 0 && a.trace ? trace_rate(*a.trace) : a.kind == ArrivalKind::kClosed ? 0 : a.rate;
  };
  for (const TenantSpec& t : p.tenants) {
    if (t.own_arrivals) add(t.arrivals);
    else shared = true;
  }
  if (shared) add(p.arrivals);
  return closed || rate <= 0 ? kClosedSeconds : std::min(2 * static_cast<double>(p.requests) / rate + 1, 604800.0);
}

}  // namespace

size_t slots_of(double seconds) { return static_cast<size_t>(std::clamp(seconds * 4, 10.0, 240.0)); }

Result<Plan> plan_of(const LoadOptions& o, int64_t batch) {
  Plan p;
  p.requests = o.requests;
  p.seed = o.seed;
  ArrivalSpec& a = p.arrivals;
  a.rate = o.rate;
  a.burst_factor = o.burst_factor;
  a.burst_seconds = o.burst_seconds;
  a.pause_seconds = o.pause_seconds;
  a.in_flight = o.in_flight > 0 ? o.in_flight : 1;
  if (!o.trace.empty()) {
    VERGE_ASSIGN(const std::string text, os::read_file(o.trace, kMostTraceBytes));
    VERGE_ASSIGN(std::vector<double> times, parse_trace(text, o.trace_column, o.trace_unit, o.trace));
    a.trace = std::make_shared<const std::vector<double>>(std::move(times));
    p.trace_file = os::base_name(o.trace);
  }
  if (!o.arrivals.empty()) {
    VERGE_ASSIGN(a.kind, arrival_from_name(o.arrivals));
  } else {
    a.kind = a.trace ? ArrivalKind::kReplay : o.rate > 0 ? ArrivalKind::kPoisson : ArrivalKind::kClosed;
  }
  if (o.in_flight > 0 && a.kind != ArrivalKind::kClosed) return invalid_argument("--in-flight is a closed loop's, --rate and --trace an open one's: give one of them");
  TenantSpec base;
  base.model = o.model;
  base.version = o.version;
  base.batch = batch;
  base.deadline_ms = o.deadline_ms;
  if (!o.plan.empty()) {
    VERGE_ASSIGN(const std::string text, os::read_file(o.plan, size_t{1} << 20));
    VERGE_ASSIGN(p.tenants, parse_plan_file(text, o.plan, base, a));
  }
  for (size_t i = 0; i < o.tenants.size(); ++i) {
    TenantSpec numbered = base;
    if (o.tenants.size() > 1 || !p.tenants.empty()) numbered.name = "tenant" + std::to_string(p.tenants.size() + 1);
    VERGE_ASSIGN(TenantSpec t, parse_tenant(o.tenants[i], numbered, a));
    p.tenants.push_back(std::move(t));
  }
  if (p.tenants.empty()) p.tenants.push_back(base);
  p.seconds = o.seconds > 0 ? o.seconds : o.requests ? seconds_for(p) : kSeconds;
  p.warm_up = o.warm_up >= 0 ? o.warm_up : std::min(p.seconds / 10, 2.0);
  VERGE_RETURN_IF_ERROR(check_plan(p));
  return p;
}

Status show(const Record& r, const LoadOptions& o) {
  if (o.json == "-") {
    std::fputs(print_json(record_json(r)).c_str(), stdout);
    return o.html.empty() ? Status() : os::write_file_atomic(o.html, record_page(r));
  }
  if (!o.quiet) std::fputs(record_text(r).c_str(), stdout);
  if (!o.json.empty()) VERGE_RETURN_IF_ERROR(os::write_file_atomic(o.json, print_json(record_json(r))));
  if (o.compare.empty()) return o.html.empty() ? Status() : os::write_file_atomic(o.html, record_page(r));
  VERGE_ASSIGN(const Record other, read_record(o.compare));
  if (!o.quiet) std::printf("\n%s", compare_text(r, other).c_str());
  return o.html.empty() ? Status() : os::write_file_atomic(o.html, record_page(r, &other));
}

}  // namespace verge::bench
