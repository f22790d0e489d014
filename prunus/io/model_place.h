#pragma once
#include <string>
#include <string_view>

#include "prunus/base/json.h"

namespace prunus {

/// Where a model lies, as `locate_model` found it.
struct ModelPlace {
  std::string asked;  ///< as it was given
  std::string path;   ///< a directory, or a file such as model.gguf
  /// Of a snapshot in the Hugging Face cache: "org/name" and the commit; else empty.
  std::string hub_name = {};
  std::string commit = {};
};

/// Finds the model that `asked` names. In this order:
/// 1. a directory or file of this name: itself, as it is written; if it is a model's folder of the
///    Hugging Face cache (models--org--name), its snapshot of `main`;
/// 2. a name of the Hub, "org/name" or "org/name@revision" (a branch, tag or commit; none: main),
///    that is in the local Hugging Face cache (hub_cache_folder()): the snapshot's directory.
///    Nothing is ever downloaded.
/// Throws NotFound, with the command that downloads a model of the Hub; Corrupt for a reference of
/// the cache that names no commit.
ModelPlace locate_model(const std::string& asked);

/// What the path itself says: hub_name and commit where it is a snapshot of a Hugging Face cache
/// (…/models--org--name/snapshots/COMMIT); `asked` and `path` are `path`.
ModelPlace place_of(const std::string& path);

/// The first that is set: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub,
/// $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. A leading ~ and variables ($NAME,
/// ${NAME}) are expanded, as huggingface_hub does.
std::string hub_cache_folder();

/// "hf download org/name", with " --revision R" where one is given.
std::string download_command(std::string_view hub_name, std::string_view revision = {});

}  // namespace prunus
