#include "prunus/export/model_output.h"

#include "prunus/io/gguf.h"

namespace prunus {

ModelOutput::ModelOutput(StagedDirectory::Options options) {
  if (is_gguf_path(options.path)) {
    file_.emplace(
        StagedFile::Options{std::move(options.path), options.replace, std::move(options.inputs)});
  } else {
    directory_.emplace(std::move(options));
  }
}

}  // namespace prunus
