#pragma once
#include <string>
#include <string_view>

namespace prunus::text {

/// RFC 4648, with padding.
std::string encode_base64(std::string_view bytes);

/// The bytes of `text`, whose padding may be missing. `where` names it. Throws Corrupt.
std::string decode_base64(std::string_view text, const std::string& where);

}  // namespace prunus::text
