#include "bench/arrivals.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "report/text.h"

namespace verge::bench {
namespace {

constexpr double kMostRate = 1e8;

uint64_t mix(uint64_t& x) {
  uint64_t z = (x += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

constexpr uint64_t turned(uint64_t x, int k) { return x << k | x >> (64 - k); }

}  // namespace

Random::Random(uint64_t seed) {
  for (uint64_t& s : s_) s = mix(seed);
}

uint64_t Random::next() {
  const uint64_t out = turned(s_[1] * 5, 7) * 9, t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = turned(s_[3], 45);
  return out;
}

double Random::exponential(double mean) { return -mean * std::log1p(-uniform()); }

std::string_view arrival_name(ArrivalKind k) {
  switch (k) {
    case ArrivalKind::kClosed: return "closed";
    case ArrivalKind::kUniform: return "uniform";
    case ArrivalKind::kPoisson: return "poisson";
    case ArrivalKind::kBursts: return "bursts";
    case ArrivalKind::kReplay: return "replay";
  }
  return "closed";
}

Result<ArrivalKind> arrival_from_name(std::string_view name) {
  for (const ArrivalKind k : {ArrivalKind::kClosed, ArrivalKind::kUniform, ArrivalKind::kPoisson, ArrivalKind::kBursts, ArrivalKind::kReplay})
    if (arrival_name(k) == name) return k;
  return invalid_argument("arrivals '" + std::string(name) + "': must be closed, uniform, poisson, bursts or replay");
}

std::string ArrivalSpec::text() const {
  const std::string at = ", " + report::significant(rate, 4) + "/s";
  switch (kind) {
    case ArrivalKind::kClosed: return "closed loop, " + std::to_string(in_flight) + " in flight";
    case ArrivalKind::kUniform: return "even gaps" + at;
    case ArrivalKind::kPoisson: return "Poisson" + at;
    case ArrivalKind::kBursts:
      return "bursts" + at + " (" + report::significant(burst_factor, 3) + " times the rate for " + report::significant(burst_seconds, 3) + " s, pauses of " +
             report::significant(pause_seconds, 3) + " s)";
    case ArrivalKind::kReplay: {
      const double own = trace ? trace_rate(*trace) : 0;
      return "replay of " + std::to_string(trace ? trace->size() : 0) + " arrivals" + (rate > 0 ? at : ", " + report::significant(own, 4) + "/s");
    }
  }
  return {};
}

double trace_rate(const std::vector<double>& t) { return t.size() < 2 || t.back() <= 0 ? 0 : static_cast<double>(t.size() - 1) / t.back(); }

Status check_arrivals(const ArrivalSpec& s) {
  if (s.kind == ArrivalKind::kClosed) {
    if (s.in_flight < 1 || s.in_flight > 65536) return invalid_argument("in flight: must be 1 to 65536");
    return {};
  }
  if (s.kind == ArrivalKind::kReplay) {
    if (!s.trace || s.trace->size() < 2 || trace_rate(*s.trace) <= 0) return invalid_argument("replay needs a trace with two arrivals at different times (--trace FILE)");
    if (!(s.rate >= 0 && s.rate <= kMostRate)) return invalid_argument("rate: must be 0 to 1e8 a second");
    return {};
  }
  if (!(s.rate > 0 && s.rate <= kMostRate)) return invalid_argument(std::string(arrival_name(s.kind)) + " arrivals need a rate above 0 (--rate)");
  if (s.kind == ArrivalKind::kBursts && !(s.burst_factor >= 1 && s.burst_seconds > 0 && s.pause_seconds > 0 && s.burst_seconds < 1e6 && s.pause_seconds < 1e6))
    return invalid_argument("bursts: the factor must be at least 1, both lengths above 0 s");
  return {};
}

Arrivals::Arrivals(const ArrivalSpec& spec, uint64_t seed) : spec_(spec), random_(seed) {
  if (spec_.kind == ArrivalKind::kReplay && spec_.rate > 0) scale_ = trace_rate(*spec_.trace) / spec_.rate;
}

uint64_t Arrivals::next() {
  switch (spec_.kind) {
    case ArrivalKind::kClosed: return 0;
    case ArrivalKind::kUniform: now_ += 1 / spec_.rate; break;
    case ArrivalKind::kPoisson: now_ += random_.exponential(1 / spec_.rate); break;
    case ArrivalKind::kBursts: {
      // Two states, each a Poisson process; the mean over both is the rate.
      const double whole = spec_.burst_seconds + spec_.pause_seconds, low = spec_.rate * whole / (spec_.burst_factor * spec_.burst_seconds + spec_.pause_seconds);
      while (true) {
        const double gap = random_.exponential(1 / (burst_ ? low * spec_.burst_factor : low));
        if (now_ + gap < state_until_) {
          now_ += gap;
          break;
        }
        // Without memory: what is left of the gap in the next state is drawn anew.
        now_ = state_until_;
        burst_ = !burst_;
        state_until_ = now_ + random_.exponential(burst_ ? spec_.burst_seconds : spec_.pause_seconds);
      }
      break;
    }
    case ArrivalKind::kReplay: {
      const std::vector<double>& t = *spec_.trace;
      if (at_ == t.size()) {
        at_ = 0;
        offset_ += t.back() + 1 / trace_rate(t);
      }
      now_ = (offset_ + t[at_++]) * scale_;
    }
  }
  return static_cast<uint64_t>(now_ * 1e9);
}

Source::Source(const ArrivalSpec& spec, std::vector<uint32_t> tenants, const std::vector<double>& weights, uint64_t seed)
    : arrivals_(spec, seed), choice_(seed ^ 0x5bd1e995u), tenants_(std::move(tenants)), closed_(spec.kind == ArrivalKind::kClosed) {
  double sum = 0;
  for (const double w : weights) until_.push_back(sum += w);
  for (double& u : until_) u /= sum;
}

uint32_t Source::pick() {
  if (tenants_.size() == 1) return tenants_[0];
  const double u = choice_.uniform();
  size_t i = 0;
  while (i + 1 < tenants_.size() && u >= until_[i]) ++i;
  return tenants_[i];
}

}  // namespace verge::bench
