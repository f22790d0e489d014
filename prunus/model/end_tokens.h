#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace prunus {

/// The ids at which transformers' generate ends a text: eos_token_id, one id or a list, of
/// generation_config.json; of config.json only where there is no generation_config.json.
/// Empty where that file has none. Throws Corrupt, naming file and field, for anything else.
std::vector<int64_t> end_tokens(const std::string& model_dir);

}  // namespace prunus
