#include "bench/tally.h"

#include <algorithm>
#include <cmath>

namespace verge::bench {

void NameCounts::add(std::string_view name, uint64_t n) {
  for (Entry& e : entries_) {
    if (e.name == name) {
      e.count += n;
      return;
    }
  }
  // What a foreign server sends is bounded.
  constexpr size_t kMostNames = 256;
  if (entries_.size() >= kMostNames) name = "(others)";
  if (entries_.size() > kMostNames) {
    entries_.back().count += n;
    return;
  }
  entries_.push_back({std::string(name.substr(0, 200)), n});
}

void NameCounts::add(const NameCounts& o) {
  for (const Entry& e : o.entries_) add(e.name, e.count);
}

uint64_t NameCounts::of(std::string_view name) const {
  for (const Entry& e : entries_)
    if (e.name == name) return e.count;
  return 0;
}

void TimeSlot::record(uint64_t ns) {
  if (latencies.empty()) latencies.resize(kPerOctave * kOctaves);
  const double us = static_cast<double>(ns) * 1e-3;
  const int at = us <= 1 ? 0 : static_cast<int>(std::log2(us) * kPerOctave);
  ++latencies[static_cast<size_t>(std::min(at, kPerOctave * kOctaves - 1))];
}

double TimeSlot::quantile_us(double q) const {
  uint64_t all = 0, seen = 0;
  for (const uint32_t n : latencies) all += n;
  if (!all) return 0;
  const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(q * static_cast<double>(all))));
  for (size_t i = 0; i < latencies.size(); ++i)
    if ((seen += latencies[i]) >= wanted) return std::exp2((static_cast<double>(i) + 0.5) / kPerOctave);
  return 0;
}

void Tally::record(const Outcome& o) {
  ++offered;
  TimeSlot* slot = slots.empty() ? nullptr : &slots[std::min<size_t>(o.intended / slot_ns, slots.size() - 1)];
  if (slot) ++slot->offered;
  if (o.end == End::kUnsent) {
    ++unsent;
    return;
  }
  ++sent;
  client_wait.record(o.sent - std::min(o.sent, o.intended));
  if (o.end == End::kUnanswered) {
    ++unanswered;
    codes.add(o.code.empty() ? "no answer" : o.code);
    return;
  }
  const uint64_t took = o.done - std::min(o.done, o.intended);
  if (o.end == End::kRefused) {
    ++refused;
    codes.add(o.code);
    refusals.record(took);
    if (slot) ++slot->refused;
    return;
  }
  ++answered;
  const bool timely = !o.deadline_ns || took <= o.deadline_ns;
  in_time += timely;
  nearly_in_time += !o.deadline_ns || took <= o.deadline_ns + o.deadline_ns / 10;
  if (!timely && late.size() < kMostLate) late.push_back({o.intended, o.sent - std::min(o.sent, o.intended), took, o.measured_ms});
  from_intended.record(took);
  from_sending.record(o.done - std::min(o.done, o.sent));
  samples += static_cast<uint64_t>(o.samples);
  right += static_cast<uint64_t>(o.right);
  if (timely) right_in_time += static_cast<uint64_t>(o.right);
  if (!o.variant.empty()) variants.add(o.variant);
  if (!o.exit.empty()) exits.add(o.exit);
  expected_accuracy.add(o.expected_accuracy);
  predicted_ms.add(o.predicted_ms);
  measured_ms.add(o.measured_ms);
  energy_mj.add(o.energy_mj);
  energies_measured += o.energy_mj >= 0 && o.energy_measured;
  if (slot) {
    ++slot->answered;
    slot->in_time += timely;
    slot->record(took);
  }
}

void Tally::add(const Tally& o) {
  for (auto field : {&Tally::offered, &Tally::sent, &Tally::answered, &Tally::in_time, &Tally::nearly_in_time, &Tally::refused, &Tally::unsent, &Tally::unanswered,
                     &Tally::samples, &Tally::right, &Tally::right_in_time, &Tally::energies_measured})
    this->*field += o.*field;
  for (auto field : {&Tally::from_intended, &Tally::from_sending, &Tally::client_wait, &Tally::refusals}) (this->*field).add(o.*field);
  for (auto field : {&Tally::codes, &Tally::variants, &Tally::exits}) (this->*field).add(o.*field);
  for (auto field : {&Tally::expected_accuracy, &Tally::predicted_ms, &Tally::measured_ms, &Tally::energy_mj}) {
    (this->*field).sum += (o.*field).sum;
    (this->*field).n += (o.*field).n;
  }
  late.insert(late.end(), o.late.begin(), o.late.begin() + static_cast<std::ptrdiff_t>(std::min(o.late.size(), kMostLate - std::min(late.size(), kMostLate))));
  if (slots.size() < o.slots.size()) {
    slots.resize(o.slots.size());
    slot_ns = o.slot_ns;
  }
  for (size_t i = 0; i < o.slots.size(); ++i) {
    TimeSlot& s = slots[i];
    const TimeSlot& from = o.slots[i];
    s.offered += from.offered;
    s.answered += from.answered;
    s.in_time += from.in_time;
    s.refused += from.refused;
    if (!from.latencies.empty()) s.latencies.resize(from.latencies.size());
    for (size_t k = 0; k < from.latencies.size(); ++k) s.latencies[k] += from.latencies[k];
  }
}

}  // namespace verge::bench
