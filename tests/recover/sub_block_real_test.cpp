// Sub-block repair of real models, pruned by half, on text that the judging stories are not in.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/adapter/merge.h"
#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/base/progress.h"
#include "prunus/calib/stream.h"
#include "prunus/eval/perplexity.h"
#include "prunus/graph/shrink.h"
#include "prunus/pipeline/prune.h"
#include "prunus/solve/sub_block.h"
#include "prunus/text/dataset.h"
#include "prunus/train/train_data.h"

#include "support/paths.h"

namespace prunus::test::sub_block_real_test {
namespace {

struct Case {
  const char* model;
  double closed;  // share of the gap in nats a token that must be closed, at least
};

constexpr int64_t kRowTokens = 256;
constexpr size_t kRows = 64;

// The second half of the sequences that the model's published quality was measured on.
std::vector<Json> judging_stories(const std::string& model_dir) {
  std::ifstream file(model_dir + "/quality.jsonl");
  std::vector<Json> stories;
  for (std::string line; std::getline(file, line);) stories.push_back(Json::parse(line));
  stories.erase(stories.begin(), stories.begin() + static_cast<std::ptrdiff_t>(stories.size() / 2));
  return stories;
}

// All of them begin in the file of stories, where ends are not marked: what follows each beginning,
// longer than most stories, is taken out. A beginning not found any more went with another story.
std::string other_text(const std::string& path, const std::vector<Json>& stories) {
  constexpr size_t kStory = 1500, kBeginning = 80;
  std::string text = read_file(path);
  for (const Json& story : stories) {
    const size_t begin = text.find(story.at("text").get<std::string>().substr(0, kBeginning));
    if (begin != std::string::npos) text.erase(begin, kStory);
  }
  return text;
}

Model pruned_by_half(const Model& model, const Tokenizer& tokenizer, const std::string& text_path) {
  PruneOptions options;
  options.taylor = "param_second";
  options.ratio = 0.5;
  const auto windows =
      sample_windows(tokenizer, read_text_file(text_path), {.samples = 32, .tokens = 64});
  return shrink(model, make_plan(model, make_batches(windows), options).plan.keeps());
}

std::vector<TokenBatch> rows_of(const Tokenizer& tokenizer, const std::string& text_path) {
  const DataSplit split =
      read_train_data(read_text_file(text_path), tokenizer, {.row_tokens = kRowTokens});
  std::vector<std::vector<int64_t>> rows;
  for (const TrainRow& row : split.train) {
    if (rows.size() < kRows && row.ids.size() == kRowTokens) rows.push_back(row.ids);
  }
  return make_batches(rows);
}

double nll(const Model& model, const std::vector<Json>& stories) {
  std::vector<std::vector<int64_t>> sequences;
  for (const Json& story : stories) {
    sequences.push_back(story.at("ids").get<std::vector<int64_t>>());
  }
  return std::log(score_sequences(model, sequences, at::kCPU).ppl());
}

class RealRepair : public testing::TestWithParam<Case> {};

TEST_P(RealRepair, ClosesMostOfTheGapToTheDenseModelOnOtherText) {
  const std::string shared = shared_dir();
  PRUNUS_NEED_SHARED(shared);
  const std::string model_dir = shared + "/models/" + GetParam().model;
  const auto stories = judging_stories(model_dir);
  const TempDir dir;
  const std::string text_path = dir / "text.txt";
  write_file(text_path,
             other_text(shared + "/corpora/tinystories/tinystories.singlenl.txt", stories));
  const auto tokenizer = load_tokenizer(model_dir);
  const Model dense = open_model(model_dir);
  const Model pruned = pruned_by_half(dense, *tokenizer, text_path);
  std::vector<int64_t> layers(static_cast<size_t>(dense.layer_count()));
  std::iota(layers.begin(), layers.end(), int64_t{0});
  std::map<std::string, at::Tensor> tensors;
  const Timer timer;
  const auto results = repair_sub_blocks(pruned, dense, layers, rows_of(*tokenizer, text_path),
                                         at::kCPU, {}, [&](int, const auto& list) {
                                           for (const OverlayTensor& one : list)
                                             tensors[one.tensor->name] = one.value;
                                         });
  const double seconds = timer.seconds();
  for (const SubBlockResult& one : results) {
    EXPECT_TRUE(one.kept) << one.layer << " " << one.part;
    EXPECT_LT(one.error_after, 0.9 * one.error_before) << one.layer << " " << one.part;
  }
  const Model repaired(pruned.config(),
                       std::make_shared<OverlaySource>(pruned.shared_source(), tensors));
  const double whole = nll(dense, stories);
  const double cut = nll(pruned, stories);
  const double after = nll(repaired, stories);
  std::printf("%s: perplexity %.3f dense, %.2f pruned, %.2f repaired in %.0f s: %.0f %% closed\n",
              GetParam().model, std::exp(whole), std::exp(cut), std::exp(after), seconds,
              100 * (cut - after) / (cut - whole));
  EXPECT_GT(cut, whole + 1);
  EXPECT_GT((cut - after) / (cut - whole), GetParam().closed);
}

INSTANTIATE_TEST_SUITE_P(Models, RealRepair,
                         testing::Values(Case{"babyllama-105", 0.7}, Case{"stories260K", 0.5}),
                         [](const auto& one) {
                           const std::string name = one.param.model;
                           return name.substr(0, name.find('-'));
                         });

}  // namespace
}  // namespace prunus::test::sub_block_real_test
