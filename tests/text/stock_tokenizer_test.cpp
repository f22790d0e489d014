// Tokenizers against AutoTokenizer of transformers 5.24, where the files beside the tokenizer and
// its class decide (tools/make_stock_tokenizer_goldens.py).
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/json_tokenizer.h"

#include "fixture.h"
#include "support/paths.h"

namespace prunus::text::stock_tokenizer_test {
namespace {

namespace fs = std::filesystem;

const std::string kTexts = test::source_path("tests/text/");

const Json& golden() {
  static const Json file = read_json(kTexts + "stock/cases.json");
  return file;
}

// A directory as the golden was made with.
void build(const std::string& dir, const Json& one) {
  fs::create_directories(dir);
  const std::string base = one.at("base").get<std::string>();
  if (base == "sentencepiece") {
    fs::copy(kTexts + "stock/sentencepiece.model", dir + "/tokenizer.model");
  }
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt"}) {
    const std::string file = kTexts + "golden/" + base + "/" + name;
    if (fs::exists(file)) fs::copy(file, dir + "/" + name);
  }
  if (!one.at("tokenizer_json").empty()) {
    Json document = read_json(dir + "/tokenizer.json");
    document.update(one.at("tokenizer_json"));
    write_file(dir + "/tokenizer.json", document.dump());
  }
  for (const auto& [name, content] : one.at("files").items()) {
    write_file(dir + "/" + name, content.dump());
  }
  write_file(dir + "/config.json", Json{{"model_type", one.at("model_type")}}.dump());
}

std::vector<std::vector<int64_t>> ids_of(const Tokenizer& tokenizer) {
  std::vector<std::vector<int64_t>> all;
  for (const Json& text : golden().at("texts")) {
    std::vector<int64_t> ids = tokenizer.prefix_ids();
    const auto inner = tokenizer.encode(text.get<std::string>());
    ids.insert(ids.end(), inner.begin(), inner.end());
    ids.insert(ids.end(), tokenizer.suffix_ids().begin(), tokenizer.suffix_ids().end());
    all.push_back(std::move(ids));
  }
  return all;
}

class StockTokenizer : public testing::TestWithParam<size_t> {
 protected:
  const Json& one() const { return golden().at("cases")[GetParam()]; }
};

// A tokenizer.json is read by its own parts (docs/tokenizer.md); what the named class makes of it
// is written where a result has another model_type, and that must give stock software's ids.
TEST_P(StockTokenizer, GivesTheIdsOfAutoTokenizer) {
  SCOPED_TRACE(one().at("name").get<std::string>());
  const test::TempDir temp;
  const std::string dir = temp / "model";
  build(dir, one());
  if (const auto document = generic_tokenizer_json(dir)) {
    write_file(dir + "/tokenizer.json", document->dump());
    const std::string path = dir + "/tokenizer_config.json";
    Json config = fs::exists(path) ? read_json(path) : Json::object();
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    write_file(path, config.dump());
    write_file(dir + "/config.json", R"({"model_type": "prunus_other"})");
  }
  const auto got = ids_of(*load_tokenizer(dir));
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i], one().at("ids")[i].get<std::vector<int64_t>>())
        << golden().at("texts")[i].dump();
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, StockTokenizer,
                         testing::Range(size_t{0}, golden().at("cases").size()));

}  // namespace
}  // namespace prunus::text::stock_tokenizer_test
