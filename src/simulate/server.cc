#include "simulate/server.h"

#include <algorithm>

#include "simulate/virtual_server.h"

namespace verge::simulate {

VirtualServer::VirtualServer(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& o, size_t slots)
    : plan_(plan), models_(models), o_(o), machine_(o.disturbances, static_cast<uint64_t>(plan.warm_up * 1e9)) {
  // The server knows tenants by their tokens; those without are one.
  std::vector<std::string> tokens = {""};
  for (const bench::TenantSpec& t : plan.tenants) {
    auto at = std::find(tokens.begin(), tokens.end(), t.token_file);
    if (at == tokens.end()) at = tokens.insert(at, t.token_file);
    server_tenant_.push_back(static_cast<uint32_t>(at - tokens.begin()));
  }
  for (const SimModel& m : models) {
    Table table{&m, static_cast<uint32_t>(variants_.size()), {}, 0, false, false};
    for (const SimVariant& v : m.variants) {
      variants_.push_back(&v);
      table.staged |= !v.exits.empty();
      table.family |= v.model != m.name;
    }
    rank(table);
    tables_.push_back(std::move(table));
  }
  const std::vector<double> weights(tokens.size(), 1);
  for (int i = 0; i < std::max(o.lanes, 1); ++i) lanes_.push_back(std::make_unique<SimLane>(weights, variants_));
  for (size_t i = 0; i < plan.tenants.size(); ++i) result_.tallies.emplace_back(slots, std::max<uint64_t>(1, static_cast<uint64_t>(plan.seconds * 1e9) / std::max<size_t>(slots, 1)));
  front_is_lane_ = o.lanes == 0;
  half_ns_ = o.request_ns / 2;
  read_ns_ = o.lane_ns / 2;
  warm_ns_ = static_cast<uint64_t>(plan.warm_up * 1e9);
  end_ns_ = warm_ns_ + static_cast<uint64_t>(plan.seconds * 1e9);
}

Status VirtualServer::prepare() {
  for (const bench::TenantSpec& t : plan_.tenants) {
    VERGE_ASSIGN(SimDemand d, demand_of(t, models_));
    demands_.push_back(std::move(d));
  }
  for (const SimDemand& d : demands_)
    for (const Table& t : tables_)
      if (t.model == d.model) table_of_.push_back(&t);
  return {};
}

SimResult VirtualServer::run() {
  auto sources = bench::make_sources(plan_);
  const std::vector<int> closed = bench::closed_loops(plan_);
  std::vector<bench::Source::Arrival> ahead(sources.size());
  for (uint32_t s = 0; s < sources.size(); ++s) {
    if (!closed[s]) ahead[s] = sources[s].next();
    for (int i = 0; i < closed[s]; ++i) again_.push({0, s});
  }
  uint64_t last_intended = warm_ns_;
  while (true) {
    // The next of: an arrival, a closed loop's next request, a lane's event.
    uint64_t arrival = kNever;
    uint32_t from = 0;
    for (uint32_t s = 0; s < sources.size(); ++s)
      if (!closed[s] && ahead[s].ns < arrival) arrival = ahead[s].ns, from = s;
    bool repeated = false;
    if (!again_.empty() && again_.top().ns < arrival) arrival = again_.top().ns, from = again_.top().source, repeated = true;
    if (stopped_ || arrival >= end_ns_) arrival = kNever;
    SimLane* lane = nullptr;
    for (auto& l : lanes_)
      if (l->event_at != kNever && (!lane || l->event_at < lane->event_at)) lane = l.get();
    if (arrival == kNever && !lane) break;
    ++result_.events;
    if (arrival != kNever && (!lane || arrival + half_ns_ <= lane->event_at)) {
      const uint32_t tenant = repeated ? sources[from].pick() : ahead[from].tenant;
      if (repeated) again_.pop();
      else ahead[from] = sources[from].next();
      if (arrival >= warm_ns_) {
        if (plan_.requests && measured_ >= plan_.requests) {
          stopped_ = true;
          continue;
        }
        ++measured_;
        last_intended = arrival;
      }
      arrive(arrival, tenant, from, closed[from] != 0);
    } else {
      now_ = lane->event_at;
      lane->event_at = kNever;
      expire();
      on_event(*lane);
    }
  }
  result_.seconds = stopped_ ? std::max(1e-9, static_cast<double>(last_intended - warm_ns_) * 1e-9) : plan_.seconds;
  const double span = static_cast<double>(std::max<uint64_t>(now_, 1)) * static_cast<double>(lanes_.size());
  for (auto& l : lanes_) result_.busy += static_cast<double>(l->busy_ns) / span;
  return std::move(result_);
}

void VirtualServer::rank(Table& t) const {
  std::vector<policy::Candidate> known;
  for (uint32_t v = 0; v < t.model->variants.size(); ++v) {
    const SimVariant& variant = t.model->variants[v];
    policy::Candidate c;
    for (uint32_t k = 0; k < variant.stages.size(); ++k) {
      const auto& cell = variant.stages[k].cells().front();
      c.typical_ns += cell.p50_ns;
      c.cautious_ns += cell.p99_ns ? cell.p99_ns : cell.p50_ns + cell.p50_ns * 3 / 10;
      c.accuracy = variant.exits.empty() ? variant.accuracy : variant.exits[k].accuracy;
      if (!metric_larger_is_better(t.model->metric)) c.accuracy = -1;
      t.options.push_back({t.first + v, k, c.accuracy});
      known.push_back(c);
    }
  }
  std::vector<uint8_t> dominated(known.size());
  policy::mark_dominated(known, dominated);
  for (size_t i = 0; i < known.size(); ++i) {
    t.options[i].dominated = dominated[i] != 0;
    t.worth += !dominated[i];
  }
}

Job* VirtualServer::take_job() {
  Job* j;
  if (spare_.empty()) {
    j = &jobs_.emplace_back();
  } else {
    j = spare_.back();
    spare_.pop_back();
    *j = Job();
  }
  j->serial = ++serial_;
  return j;
}

void VirtualServer::recycle(Job* j) {
  j->serial = 0;
  spare_.push_back(j);
}

uint64_t VirtualServer::actual(const Job& j, uint32_t variant, uint32_t stage, int64_t rows) const {
  return variants_[variant]->stages[stage].at(rows, fixed_uniform(o_.seed, j.number, variant * 16 + stage));
}

Result<SimResult> run_simulation(const bench::Plan& plan, const std::vector<SimModel>& models, const ServerOptions& options, size_t slots) {
  if (options.lanes < 0 || options.lanes > 256) return invalid_argument("lanes: must be 0 to 256");
  VirtualServer server(plan, models, options, slots);
  VERGE_RETURN_IF_ERROR(server.prepare());
  return server.run();
}

}  // namespace verge::simulate
