#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "prunus/text/special_ids.h"

namespace prunus::text {

/// A tokenizer class of stock transformers 5 that takes vocabulary and merges out of the files and
/// builds everything else by its own rules, whatever normalizer, pre_tokenizer and decoder a
/// tokenizer.json beside them has. (The generic class takes the file as it is.)
struct StockClass {
  /// What stands around a text.
  enum class Around {
    File,        ///< what post_processor says; without a tokenizer.json the flags
    Flags,       ///< the flags; a tokenizer.json turns them off
    Bos,         ///< BOS, unless there is no tokenizer.json and add_bos_token is false
    ClassAndSep  ///< cls_token in front, sep_token behind
  };
  std::string_view name;  ///< without "Fast"
  /// Named special tokens where no file names them: {"bos_token", "<s>"}.
  std::vector<std::pair<std::string, std::string>> special;
  /// normalizer, pre_tokenizer, decoder, and `model` with the options that the class sets.
  nlohmann::json (*parts)(const SidecarFiles& files);
  Around around = Around::File;
  bool adds_special_again = false;  ///< with default flags, after everything else
};

/// The class that AutoTokenizer of transformers 5.24 (without mistral-common) picks, or null for
/// the generic one and for those that Prunus has no rules of. `byte_level`: tokenizer.json has a
/// ByteLevel part.
const StockClass* stock_class(const SidecarFiles& files, bool byte_level);

/// The same for a model type that is not that of the files' config.json.
const StockClass* stock_class_for(const SidecarFiles& files, std::string_view model_type,
                                  bool byte_level);

/// The class of this name (without "Fast"), or null.
const StockClass* find_stock_class(std::string_view name);

}  // namespace prunus::text
