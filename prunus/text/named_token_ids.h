#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "prunus/base/json.h"

namespace prunus::text {

/// Shows `visit` every token id that a config.json, generation_config.json or the like names, at
/// any depth, to be read or changed: whole numbers, alone or in lists, of keys such as
/// eos_token_id, suppress_tokens and bad_words_ids. Negative ones stand for none and are passed
/// over. Throws Unsupported, naming `where`, for settings that name tokens in other ways
/// (forced_decoder_ids, sequence_bias).
void visit_named_ids(Json& config, const std::string& where,
                     const std::function<void(int64_t& id)>& visit);

}  // namespace prunus::text
