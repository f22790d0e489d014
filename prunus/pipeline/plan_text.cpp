#include "prunus/pipeline/plan_text.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/whole_number.h"
#include "prunus/calib/stream.h"
#include "prunus/text/dataset.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

std::string windows_sha256(const std::vector<std::vector<int64_t>>& windows) {
  return sha256(Json(windows).dump());
}

Json to_json(const PlanText& text) {
  return {{"file", text.file},
          {"samples", text.samples},
          {"tokens", text.tokens},
          {"seed", text.seed},
          {"windows_sha256", text.windows_sha256}};
}

PlanText plan_text_from(const Json& json, const std::string& where) {
  PlanText text;
  text.file = json.at("file").get<std::string>();
  text.samples = whole_number(json, "samples", where);
  text.tokens = whole_number(json, "tokens", where);
  text.seed = json.at("seed").get<uint64_t>();
  text.windows_sha256 = json.at("windows_sha256").get<std::string>();
  PRUNUS_CHECK(text.samples >= 1 && text.tokens >= 2, Corrupt, where, ": ", text.samples,
               " samples of ", text.tokens, " tokens, expected at least 1 of 2");
  return text;
}

std::vector<TokenBatch> rows_of(const PlanText& text, const std::string& file,
                                const std::string& model_dir) {
  const std::string& path = file.empty() ? text.file : file;
  PRUNUS_CHECK(std::filesystem::exists(path), NotFound, path,
               ": no such file; the plan was given this text, pass --calib FILE if it lies "
               "elsewhere");
  const auto windows =
      sample_windows(*load_tokenizer(model_dir), read_text_file(path),
                     {.samples = text.samples, .tokens = text.tokens, .seed = text.seed});
  PRUNUS_CHECK(windows_sha256(windows) == text.windows_sha256, InvalidArgument, path,
               ": this is not the text, or not the tokenizer, that the plan was given: windows "
               "drawn from it have another hash; pass --calib FILE");
  return make_batches(windows);
}

}  // namespace prunus
