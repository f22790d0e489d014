// Real instruction files and a real tokenizer.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/instruct.h"
#include "prunus/train/train_data.h"

#include "support/paths.h"

namespace prunus::test::train_data_real_test {
namespace {

// What LLM-Pruner's generate_and_tokenize_prompt makes of a record: input ids of prompt and
// response together with BOS, cut, EOS if there is room; labels from the prompt's length on.
TrainRow reference_row(const Tokenizer& tokenizer, const InstructText& text, size_t cutoff) {
  const auto tokenize = [&](const std::string& full) {
    auto ids = tokenizer.encode(full);
    ids.insert(ids.begin(), tokenizer.bos_id().value());
    if (ids.size() > cutoff) ids.resize(cutoff);
    return ids;
  };
  TrainRow row{.ids = tokenize(text.prompt + text.response), .scored = {}};
  if (row.ids.size() < cutoff) row.ids.push_back(tokenizer.eos_id().value());
  const size_t prompt = tokenize(text.prompt).size();
  for (size_t i = 0; i < row.ids.size(); ++i) row.scored.push_back(i >= prompt ? 1 : 0);
  return row;
}

// Another project's file, whose prompts were made from the same template.
TEST(AlpacaTemplate, IsThatOfTheDollyPrompts) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::string path = shared + "/corpora/instruct/dolly_hhrlhf_train_small.jsonl";
  const std::string mark = "### Instruction:\n";
  const std::string end = "\n\n### Response:\n";
  std::vector<std::string> prompts;
  Json records = Json::array();
  for (const InstructText& text : instructions_of(read_text_file(path))) {
    const size_t begin = text.prompt.find(mark) + mark.size();
    const size_t length = text.prompt.rfind(end) - begin;
    prompts.push_back(text.prompt);
    records.push_back({{"instruction", text.prompt.substr(begin, length)}, {"output", ""}});
  }
  const TempDir dir;
  write_file(dir / "a.json", records.dump());
  const auto rebuilt = instructions_of(read_text_file(dir / "a.json"));
  ASSERT_EQ(rebuilt.size(), 1000u);
  for (size_t i = 0; i < rebuilt.size(); ++i) EXPECT_EQ(rebuilt[i].prompt, prompts[i]);
}

class RealInstructions : public testing::TestWithParam<const char*> {};

TEST_P(RealInstructions, BecomeTheRowsThatTheReferenceMakes) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const auto tokenizer = load_tokenizer(shared + "/models/sapling-5m");
  const std::string path = shared + "/corpora/instruct/" + GetParam();
  const auto split = read_train_data(read_text_file(path), *tokenizer, {});
  EXPECT_EQ(split.format, DataFormat::Instruct);
  const auto texts = instructions_of(read_text_file(path));
  EXPECT_EQ(split.documents, std::ssize(texts));
  size_t kept = 0;
  int64_t full = 0;
  for (const InstructText& text : texts) {
    const TrainRow row = reference_row(*tokenizer, text, 256);
    const bool scored = std::count(row.scored.begin(), row.scored.end(), 1) > 0;
    if (!scored || text.response.empty()) continue;
    ASSERT_LT(kept, split.train.size());
    EXPECT_EQ(split.train[kept].ids, row.ids);
    EXPECT_EQ(split.train[kept].scored, row.scored);
    full += row.ids.size() == 256 ? 1 : 0;
    ++kept;
  }
  EXPECT_EQ(kept, split.train.size());
  EXPECT_EQ(static_cast<int64_t>(kept) + split.unscored, split.documents);
  // A row may fill 256 tokens without having been cut.
  EXPECT_LE(split.cut, full);
  EXPECT_GE(split.cut, full - 10);
  std::printf("%s: %ld records, %zu rows, %ld cut, %ld left out\n", GetParam(),
              static_cast<long>(split.documents), kept, static_cast<long>(split.cut),
              static_cast<long>(split.unscored));
}

INSTANTIATE_TEST_SUITE_P(Files, RealInstructions,
                         testing::Values("code_alpaca_2k.json", "dolly_hhrlhf_train_small.jsonl"),
                         [](const auto& one) {
                           std::string name = one.param;
                           return name.substr(0, name.find('_'));
                         });

}  // namespace
}  // namespace prunus::test::train_data_real_test
