// The parameters of an answer: which variant answered and, where there was something to choose, what was chosen and why.
#pragma once

#include <cmath>
#include <string_view>

#include "runtime/api.h"

namespace verge::net {

// Calls text(name, value) and number(name, value) for each, in an order that does not change. What is unknown is left out.
template <typename Text, typename Number>
void each_answer_parameter(const runtime::Request& answered, Text text, Number number) {
  const auto known_text = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) text(name, value);
  };
  const auto known_number = [&](std::string_view name, double value) {
    if (value >= 0 && std::isfinite(value)) number(name, value);
  };
  known_text("verge.variant", answered.answered_variant);
  const runtime::Chosen& chosen = answered.chosen;
  if (!chosen.said) return;
  known_text("verge.model", chosen.model);
  known_text("verge.exit", chosen.exit);
  known_text("verge.rule", chosen.rule);
  known_text("verge.reason", chosen.reason);
  known_number("verge.expected_accuracy", chosen.accuracy);
  known_number("verge.predicted_ms", chosen.predicted_ms);
  known_number("verge.measured_ms", chosen.measured_ms);
  known_number("verge.confidence", chosen.confidence);
  known_number("verge.energy_mj", chosen.energy_mj);
  if (chosen.energy_mj >= 0) text("verge.energy_source", chosen.energy_measured ? "measured" : "modelled");
  known_text("verge.trace", chosen.trace);
}

}  // namespace verge::net
