// Numbers and foreign text as a person reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace verge::report {

// Three significant digits and a unit: "67.2 µs", "1.16 ms", "97.1 kB". A negative value is "–": not measured.
std::string time_us(double us);
std::string tick_us(double us);  // as short as it goes: "10 ms", "2.5 ms"
std::string bytes(double n);
std::string rate(double per_second);      // "39,700"
std::string significant(double v, int digits);  // without an exponent where that is short
std::string fraction(double v);           // four decimals: "0.8810"
std::string signed_fraction(double v);    // "+0.0012", "−0.0108", "±0"
std::string difference(double v);         // "3e-07", "0.0081"; "NaN" for what no number can say
std::string times(double ratio);          // "×7.6"

// Foreign text without what could act on a terminal or a page's layout: control characters and direction overrides become U+FFFD, and so
// does whatever is not UTF-8. Line ends become spaces.
std::string clean(std::string_view s);
std::string html(std::string_view s);      // clean, then escaped for text and quoted attributes, of HTML and of SVG in it
std::string markdown(std::string_view s);  // clean, then escaped for a table's cell
std::string csv(std::string_view s);       // clean, quoted where needed, never a formula

int columns(std::string_view s);  // terminal columns of clean text
std::string shortened(std::string_view s, int max_columns);  // ends with "…" where it was cut

}  // namespace verge::report
