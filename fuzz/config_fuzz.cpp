// config.json. What is accepted must be written again as a config of the same meaning.
#include <nlohmann/json.hpp>

#include "prunus/model/config.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(text) {
  using namespace prunus;
  const Json json = parse_json(text, "config.json");
  const ModelConfig config = parse_config(json, "config.json");
  const ModelConfig again = parse_config(rewrite_config(json, config), "rewritten");
  fuzz::require(again.layers == config.layers && again.hidden_size == config.hidden_size &&
                    again.rope == config.rope,
                "a config that is written again says the same");
}
