// The life of a variant in a server, as a state machine.
#pragma once

#include <optional>
#include <string_view>

namespace verge::policy {

enum class VariantState { kAbsent, kLoading, kWarming, kResident, kUnloading };
std::string_view state_name(VariantState s);  // "absent", "loading", …

enum class LifeEvent {
  kLoad,      // somebody asked for it, and its memory is reserved
  kLoaded,    // the engine has it
  kWarm,      // every lane has run it once
  kFailed,    // loading or warming ended with an error
  kUnload,    // nobody is given it any more; those who run it finish
  kReleased,  // the last run ended and the engine has given its memory back
};
std::string_view event_name(LifeEvent e);

// The state after `e`; nothing where the event cannot happen in this state.
//
//   absent ─load→ loading ─loaded→ warming ─warm→ resident ─unload→ unloading ─released→ absent
//                    └─failed→ absent   └─failed→ unloading
std::optional<VariantState> next_state(VariantState s, LifeEvent e);

}  // namespace verge::policy
