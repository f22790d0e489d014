#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "prunus/base/json.h"

namespace prunus::text {

/// The text of messages, with or without a prompt for the assistant's next turn; nothing where the
/// template refuses them.
using RenderMessages =
    std::function<std::optional<std::string>(const Json& messages, bool with_prompt)>;

/// First and past-the-last byte of message `turn` in `whole`, which is all messages rendered:
/// between the messages before it with the prompt for it, and the messages up to it. Some templates
/// write a turn otherwise once others follow (they drop thoughts); there the turn is found by
/// rendering a mark in its place. Nothing where that does not show it either.
std::optional<std::pair<size_t, size_t>> span_of_turn(const RenderMessages& render,
                                                      const Json& messages, size_t turn,
                                                      const std::string& whole);

}  // namespace prunus::text
