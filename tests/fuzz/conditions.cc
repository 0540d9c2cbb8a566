// Conditions for exits as a request or a configuration writes them, and the bounds of a tenant as JSON.
#include "fuzz.h"
#include "net/bounds.h"
#include "policy/exit_conditions.h"
#include "policy/exit_rule.h"

using namespace verge;
using verge::fuzz::require;

namespace {

void bounds(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return;
  const auto read = net::bounds_from_json(json);
  if (!read.ok()) return;
  const Json said = net::bounds_to_json(*read);
  const auto again = net::bounds_from_json(said);
  require(again.ok(), "what is set can be set:", said.dump(-1, ' ', false, Json::error_handler_t::replace));
  require(net::bounds_to_json(*again) == said, "what is set is said again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::text_of(data, size));
  const uint8_t how = choices.byte();
  const std::string text(choices.rest());
  if (how & 1) {
    bounds(text);
    return 0;
  }
  static policy::ExitConditions c;
  const Status status = parse_exit_conditions(text, c);
  if (!status.ok()) {
    require(!status.message().empty(), "an error says where");
    return 0;
  }
  require(text.size() <= policy::ExitConditions::kMostText && c.entry_count <= policy::ExitConditions::kMostEntries, "what is accepted is bounded");
  require(c.comparison_count <= policy::ExitConditions::kMostComparisons, "comparisons are bounded");
  static const policy::StageKnown stages[] = {{"exit1", 0.5, 1, 1000, 2000}, {"exit2", 0.9, 2, 2000, 4000}};
  for (uint16_t i = 0; i < c.entry_count; ++i) {
    const auto& entry = c.entries[i];
    require(entry.first + entry.count <= c.comparison_count && entry.count > 0, "an entry has comparisons");
    require(entry.exit.data() >= text.data() && entry.exit.data() + entry.exit.size() <= text.data() + text.size() && !entry.exit.empty(), "names are of the text");
    require(c.comparisons[entry.first].begins, "an entry begins an alternative");
    require(c.find(entry.exit) != nullptr, "an entry can be found");
    policy::ExitState state;
    state.stages = stages;
    state.exit = how >> 1 & 1;
    state.elapsed_ns = uint64_t{how} << 16;
    state.confidence = how / 256.0;
    static_cast<void>(c.holds(entry, state));
  }
  return 0;
}
