#pragma once
#include <string>
#include <string_view>

namespace prunus {

/// Text from an untrusted file, fit for a message: in single quotes, at most `max_bytes` of it,
/// with control characters shown as '?' (so that a name cannot redraw the user's terminal).
std::string quote(std::string_view text, size_t max_bytes = 100);

}  // namespace prunus
