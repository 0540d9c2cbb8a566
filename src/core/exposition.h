// Lines of Prometheus' text exposition format, as /metrics answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace verge::exposition {

// What stands before a family's samples. `type`: "counter", "gauge" or "histogram".
void head(std::string& out, std::string_view name, std::string_view type, std::string_view help);
// One sample. `labels`: a="b",c="d", without braces; may be empty.
void line(std::string& out, std::string_view name, std::string_view labels, std::string_view value);
void line(std::string& out, std::string_view name, std::string_view labels, uint64_t value);
// A label's value between its quotes.
std::string escaped(std::string_view value);
// A number, or seconds of nanoseconds, with nine digits that count.
std::string decimal(double value);
std::string seconds(uint64_t ns);

}  // namespace verge::exposition
