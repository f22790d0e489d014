#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace prunus {

// Amounts as people write them on a command line: a decimal number such as 12, 5.4 or 1.2e9, then a
// unit, nothing before, between or after. Upper and lower case are the same. `option` names the
// option in messages. All throw InvalidArgument for anything else, for what is not positive or does
// not fit into an int64, and for a fraction without a unit (1.5 was hardly meant).
// A fraction of a unit is rounded to the nearest whole.

/// A count: 1234567, 12K (10³), 350M (10⁶), 5.4B or 424G (10⁹), 1.2T (10¹²), 1.2e9.
int64_t parse_count(std::string_view text, const std::string& option);

/// Bytes: 1024, 64KiB, 64MiB, 4GiB, 2TiB (powers of 1024), 500MB, 3.5GB (powers of 1000). A single
/// letter is refused: it could mean either.
int64_t parse_bytes(std::string_view text, const std::string& option);

/// What to shrink something to: a part of the original such as 0.8x, or a count.
/// `original` is at least 1. The result is in [1, original]; throws InvalidArgument otherwise too.
int64_t parse_target(std::string_view text, int64_t original, const std::string& option);

/// A part of the original such as 0.6x, above 0 and below 1. Throws InvalidArgument otherwise.
double parse_share(std::string_view text, const std::string& option);

/// "1.10 B", "936.4 K": counts for people.
std::string human_count(int64_t count);
/// "2.05 GiB": sizes for people.
std::string human_bytes(int64_t bytes);

}  // namespace prunus
