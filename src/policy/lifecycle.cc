#include "policy/lifecycle.h"

namespace verge::policy {

std::string_view state_name(VariantState s) {
  switch (s) {
    case VariantState::kAbsent: return "absent";
    case VariantState::kLoading: return "loading";
    case VariantState::kWarming: return "warming";
    case VariantState::kResident: return "resident";
    case VariantState::kUnloading: return "unloading";
  }
  return "invalid";
}

std::string_view event_name(LifeEvent e) {
  switch (e) {
    case LifeEvent::kLoad: return "load";
    case LifeEvent::kLoaded: return "loaded";
    case LifeEvent::kWarm: return "warm";
    case LifeEvent::kFailed: return "failed";
    case LifeEvent::kUnload: return "unload";
    case LifeEvent::kReleased: return "released";
  }
  return "invalid";
}

std::optional<VariantState> next_state(VariantState s, LifeEvent e) {
  switch (s) {
    case VariantState::kAbsent:
      if (e == LifeEvent::kLoad) return VariantState::kLoading;
      break;
    case VariantState::kLoading:
      if (e == LifeEvent::kLoaded) return VariantState::kWarming;
      if (e == LifeEvent::kFailed) return VariantState::kAbsent;
      break;
    case VariantState::kWarming:
      if (e == LifeEvent::kWarm) return VariantState::kResident;
      if (e == LifeEvent::kFailed) return VariantState::kUnloading;
      break;
    case VariantState::kResident:
      if (e == LifeEvent::kUnload) return VariantState::kUnloading;
      break;
    case VariantState::kUnloading:
      if (e == LifeEvent::kReleased) return VariantState::kAbsent;
      break;
  }
  return std::nullopt;
}

}  // namespace verge::policy
