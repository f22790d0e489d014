#pragma once
#include <string>
#include <vector>

#include "prunus/base/json.h"

namespace prunus {

/// Throws NotFound, with a hint for the usual mistakes, unless `dir` is a directory.
void check_model_directory(const std::string& dir);

/// Names of the regular files (links followed) at the top level of `dir`, sorted.
/// Throws NotFound, Io.
std::vector<std::string> regular_files(const std::string& dir);

/// config.json of a Hugging Face directory, keys in the file's order.
/// Throws NotFound where the directory or the file is missing; Corrupt where it is no JSON object.
Json read_config(const std::string& dir);

/// Names of the files that go next to new weights untouched, sorted: tokenizer, generation
/// settings, chat templates (also those in additional_chat_templates/), licence. The list is in
/// docs/formats/config.md; nothing else travels: other weights, adapters, training states and the
/// README belong to the model as it was. Throws NotFound, Io.
std::vector<std::string> companion_files(const std::string& dir);

enum class Companions {
  All,
  OfText,  ///< but for what says how images are prepared: of a model that loses their part
};

/// Copies companion_files(from_dir) into `to_dir`, which exists; replaces files of the same name.
/// The copies are writable by their owner. Throws NotFound, Io.
void copy_companions(const std::string& from_dir, const std::string& to_dir,
                     Companions which = Companions::All);

}  // namespace prunus
