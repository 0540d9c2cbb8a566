#include "policy/exit_conditions.h"

#include <charconv>
#include <cmath>
#include <string>

#include "policy/exit_rule.h"

namespace verge::policy {
namespace {

constexpr std::string_view kQuantities = "elapsed, confidence, entropy, accuracy, energy, computation, exit";

bool name_character(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/' || c == '*'; }

class Parser {
 public:
  Parser(std::string_view text, ExitConditions& out) : text_(text), out_(out) {}

  Status parse() {
    if (text_.size() > ExitConditions::kMostText) return invalid_argument("conditions: longer than " + std::to_string(ExitConditions::kMostText) + " characters");
    out_.entry_count = out_.comparison_count = 0;
    while (true) {
      skip();
      if (at_ == text_.size()) break;
      VERGE_RETURN_IF_ERROR(entry());
      skip();
      if (at_ == text_.size()) break;
      if (text_[at_] != ';') return wrong("';', 'and' or 'or'");
      ++at_;
    }
    if (out_.entry_count == 0) return invalid_argument("conditions: empty; write \"EXIT: QUANTITY > NUMBER; …\"");
    return {};
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }
  std::string_view word() {
    skip();
    const size_t begin = at_;
    while (at_ < text_.size() && name_character(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  bool take_word(std::string_view what) {
    const size_t before = at_;
    const std::string_view w = word();
    if (w.size() == what.size()) {
      bool same = true;
      for (size_t i = 0; i < w.size(); ++i) same &= (w[i] | 0x20) == what[i];
      if (same) return true;
    }
    at_ = before;
    return false;
  }
  Status wrong(const std::string& expected) const {
    const std::string found = at_ < text_.size() ? "'" + std::string(text_.substr(at_, 16)) + "'" : "the end";
    return invalid_argument("conditions: at character " + std::to_string(at_ + 1) + ": " + expected + " expected, not " + found);
  }

  Status entry() {
    const std::string_view name = word();
    if (name.empty()) return wrong("an exit's name");
    for (uint16_t i = 0; i < out_.entry_count; ++i) {
      if (out_.entries[i].exit == name) return invalid_argument("conditions: exit '" + std::string(name.substr(0, 64)) + "' has two entries");
    }
    if (out_.entry_count == ExitConditions::kMostEntries) return invalid_argument("conditions: more than " + std::to_string(ExitConditions::kMostEntries) + " exits");
    skip();
    if (at_ == text_.size() || text_[at_] != ':') return wrong("':' after the exit's name");
    ++at_;
    ExitConditions::Entry& e = out_.entries[out_.entry_count++];
    e.exit = name;
    e.first = out_.comparison_count;
    VERGE_RETURN_IF_ERROR(comparison(true));
    while (true) {
      if (take_word("and")) {
        VERGE_RETURN_IF_ERROR(comparison(false));
      } else if (take_word("or")) {
        VERGE_RETURN_IF_ERROR(comparison(true));
      } else {
        break;
      }
    }
    e.count = static_cast<uint16_t>(out_.comparison_count - e.first);
    return {};
  }

  Status comparison(bool begins) {
    using Q = ExitConditions::Quantity;
    using O = ExitConditions::Operator;
    if (out_.comparison_count == ExitConditions::kMostComparisons) {
      return invalid_argument("conditions: more than " + std::to_string(ExitConditions::kMostComparisons) + " comparisons");
    }
    ExitConditions::Comparison& c = out_.comparisons[out_.comparison_count];
    c.begins = begins;
    static constexpr struct {
      std::string_view name;
      Q quantity;
    } kNames[] = {{"elapsed", Q::kElapsed}, {"confidence", Q::kConfidence}, {"entropy", Q::kEntropy},         {"accuracy", Q::kAccuracy},
                  {"energy", Q::kEnergy},   {"exit", Q::kExit},             {"computation", Q::kComputation}};
    bool found = false;
    skip();
    for (const auto& n : kNames) {
      if (take_word(n.name)) {
        c.quantity = n.quantity;
        found = true;
        break;
      }
    }
    if (!found) return wrong("one of " + std::string(kQuantities));
    skip();
    const auto take = [&](std::string_view op) {
      if (text_.substr(at_, op.size()) != op) return false;
      at_ += op.size();
      return true;
    };
    if (take("<=")) c.op = O::kLessEqual;
    else if (take("<")) c.op = O::kLess;
    else if (take(">=")) c.op = O::kGreaterEqual;
    else if (take(">")) c.op = O::kGreater;
    else if (take("==")) c.op = O::kEqual;
    else return wrong("one of < <= > >= ==");
    skip();
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), c.value);
    if (error != std::errc() || !std::isfinite(c.value)) return wrong("a number");
    at_ = static_cast<size_t>(end - text_.data());
    ++out_.comparison_count;
    return {};
  }

  const std::string_view text_;
  ExitConditions& out_;
  size_t at_ = 0;
};

double value_of(ExitConditions::Quantity q, const ExitState& s) {
  using Q = ExitConditions::Quantity;
  switch (q) {
    case Q::kElapsed: return static_cast<double>(s.elapsed_ns) / 1e6;
    case Q::kConfidence: return s.confidence;
    case Q::kEntropy: return s.entropy;
    case Q::kAccuracy: return s.stages[s.exit].accuracy;
    case Q::kEnergy: return s.energy_mj;
    case Q::kComputation: return s.computed();
    case Q::kExit: return s.exit + 1;
  }
  return -1;
}

}  // namespace

const ExitConditions::Entry* ExitConditions::find(std::string_view exit) const {
  const Entry* any = nullptr;
  for (uint16_t i = 0; i < entry_count; ++i) {
    if (entries[i].exit == exit) return &entries[i];
    if (entries[i].exit == "*") any = &entries[i];
  }
  return any;
}

bool ExitConditions::holds(const Entry& entry, const ExitState& state) const {
  bool all = false;
  for (uint16_t i = entry.first; i < entry.first + entry.count; ++i) {
    const Comparison& c = comparisons[i];
    if (c.begins) {
      if (i != entry.first && all) return true;
      all = true;
    }
    const double v = value_of(c.quantity, state);
    // What is not known (below 0) fulfils no condition.
    bool holds = v >= 0;
    switch (c.op) {
      case Operator::kLess: holds &= v < c.value; break;
      case Operator::kLessEqual: holds &= v <= c.value; break;
      case Operator::kGreater: holds &= v > c.value; break;
      case Operator::kGreaterEqual: holds &= v >= c.value; break;
      case Operator::kEqual: holds &= v == c.value; break;
    }
    all &= holds;
  }
  return all;
}

Status parse_exit_conditions(std::string_view text, ExitConditions& out) { return Parser(text, out).parse(); }

}  // namespace verge::policy
