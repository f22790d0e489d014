#include "prunus/pipeline/vocabulary.h"

#include <algorithm>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/export/export_job.h"
#include "prunus/io/gguf.h"
#include "prunus/pipeline/run.h"
#include "prunus/text/tokenizer.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::vocabulary_test {
namespace {

constexpr const char* kText = "the cat and the hat that sat; the rat sat and the bat sat.\n";

// A tiny model whose tokenizer is one of Qwen's kind: bytes, and words in the order of their ids.
class Vocabulary : public testing::Test {
 protected:
  explicit Vocabulary(bool tied = false) : sizes_{.hidden = 32, .head_dim = 8, .tied = tied} {
    std::filesystem::copy(source_path("tests/text/golden/qwen2"), dir(),
                          std::filesystem::copy_options::recursive);
    sizes_.vocab = load_tokenizer(dir())->vocab_size() + 3;  // rows without a token
    Json config = tiny_config(sizes_);
    config["eos_token_id"] = load_tokenizer(dir())->vocab_size() - 1;
    const TempDir bare;
    save_model(tiny_model(sizes_), config, bare.path());
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::filesystem::copy(bare / name, from_ / name);
    }
    write_file(text_ / "text.txt", kText);
  }

  const std::string& dir() const { return from_.path(); }
  PruneJob job(const std::string& out) const {
    PruneJob job;
    job.model_dir = dir();
    job.calib_file = text_ / "text.txt";
    job.out_dir = out;
    job.options.structure = Structure::Vocab;
    return job;
  }
  std::vector<int64_t> kept(const std::string& plan) const {
    return read_json(plan).at("groups").at(0).at("keep").get<std::vector<int64_t>>();
  }

  TinySizes sizes_;
  TempDir from_;
  TempDir text_;
  TempDir out_;
};

class TiedVocabulary : public Vocabulary {
 protected:
  TiedVocabulary() : Vocabulary(true) {}
};

// Ids of a text, and logits of the kept rows, before and after.
void expect_same(const std::string& before, const std::string& after,
                 const std::vector<int64_t>& keep) {
  const std::vector<int64_t> old = load_tokenizer(before)->encode(kText);
  std::vector<int64_t> meant;
  for (const int64_t id : old) {
    const auto found = std::lower_bound(keep.begin(), keep.end(), id);
    ASSERT_TRUE(found != keep.end() && *found == id) << id;
    meant.push_back(found - keep.begin());
  }
  const std::vector<int64_t> now = load_tokenizer(after)->encode(kText);
  EXPECT_EQ(now, meant);
  const at::Tensor dense = logits_of(open_model(before), at::tensor(old, at::kLong).view({1, -1}));
  const at::Tensor cut = logits_of(open_model(after), at::tensor(now, at::kLong).view({1, -1}));
  EXPECT_TRUE(at::equal(cut, dense.index_select(2, at::tensor(keep, at::kLong))));
}

TEST_F(Vocabulary, LosesWhatTheTextDoesNotUseAndNothingElse) {
  PruneJob one = job(out_ / "small");
  one.options.min_count = 1;
  const Json record = run_prune(one);
  const std::vector<int64_t> keep = kept(out_ / "small/plan.json");
  EXPECT_LT(static_cast<int64_t>(keep.size()), sizes_.vocab / 2);
  EXPECT_EQ(read_json(out_ / "small/config.json").at("vocab_size"), keep.size());
  EXPECT_EQ(read_json(out_ / "small/config.json").at("eos_token_id"), keep.size() - 1);
  expect_same(dir(), out_ / "small", keep);
  const Json& text = record.at("vocabulary").at("text");
  EXPECT_EQ(text.at("kept"), text.at("tokens_before"));
  EXPECT_EQ(text.at("tokens"), text.at("tokens_before"));
  const Json before = record.at("source");
  EXPECT_EQ(
      before.at("parameters").get<int64_t>() - record.at("result").at("parameters").get<int64_t>(),
      (sizes_.vocab - static_cast<int64_t>(keep.size())) * sizes_.hidden * 2);

  const auto left = load_tokenizer(out_ / "small");
  const std::string other = "Übermäßig quixotic 日本語\t🙂 <|im_end|>";
  EXPECT_EQ(left->decode(left->encode(other), false), other);
}

TEST_F(TiedVocabulary, KeepsTheHeadTied) {
  PruneJob one = job(out_ / "small");
  one.options.min_count = 1;
  run_prune(one);
  expect_same(dir(), out_ / "small", kept(out_ / "small/plan.json"));
  EXPECT_TRUE(open_model(out_ / "small").config().tie_word_embeddings);
}

TEST_F(Vocabulary, KeepsAsManyAsAsked) {
  PruneJob one = job(out_ / "half");
  one.options.ratio = 0.4;
  one.options.round_to = 64;
  one.dry_run = true;
  run_prune(one);
  const int64_t wanted =
      sizes_.vocab - static_cast<int64_t>(0.4 * static_cast<double>(sizes_.vocab));
  const auto count = static_cast<int64_t>(kept(out_ / "half/plan.json").size());
  EXPECT_GE(count, wanted);
  EXPECT_LT(count, wanted + 64);
  EXPECT_EQ(count % 64, 0);
}

TEST_F(Vocabulary, IsAppliedByThePlanToTheSameBytes) {
  PruneJob one = job(out_ / "small");
  one.options.ratio = 0.3;
  run_prune(one);
  run_apply({.model_dir = dir(), .plan_file = out_ / "small/plan.json", .out_dir = out_ / "again"});
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json", "plan.json"}) {
    EXPECT_EQ(read_file(out_ / "small/" + name), read_file(out_ / "again/" + name)) << name;
  }
  Json plan = read_json(out_ / "small/plan.json");
  plan["groups"][0]["keep"].erase(0);
  write_file(text_ / "plan.json", plan.dump());
  expect_error(ErrorKind::InvalidArgument, "which must stay", [&] {
    run_apply({.model_dir = dir(), .plan_file = text_ / "plan.json", .out_dir = out_ / "not"});
  });
  EXPECT_FALSE(std::filesystem::exists(out_ / "not"));
}

// As a GGUF file, and from one: the same ids and logits on every way.
TEST_F(Vocabulary, OfGgufFilesIsTheSame) {
  PruneJob to_file = job(out_ / "small.gguf");
  to_file.options.min_count = 1;
  run_prune(to_file);
  const std::vector<int64_t> keep = kept(out_ / "small.plan.json");
  expect_same(dir(), out_ / "small.gguf", keep);

  ExportJob dense;
  dense.model_dir = dir();
  dense.out_dir = out_ / "dense.gguf";
  run_export(dense);
  for (const char* name : {"from.gguf", "from"}) {
    PruneJob one = job(out_ / name);
    one.model_dir = out_ / "dense.gguf";
    one.options.min_count = 1;
    run_prune(one);
    expect_same(out_ / "dense.gguf", out_ / name, keep);
  }
}

TEST_F(Vocabulary, CopiesTheBlocksOfRowsThatStay) {
  ExportJob dense;
  dense.model_dir = dir();
  dense.quant = "q8_0";
  dense.out_dir = out_ / "dense.gguf";
  run_export(dense);
  PruneJob one = job(out_ / "small.gguf");
  one.model_dir = out_ / "dense.gguf";
  one.options.min_count = 1;
  const Json record = run_prune(one);
  EXPECT_TRUE(record.at("gguf").at("requantised").empty());
  const std::vector<int64_t> keep = kept(out_ / "small.plan.json");
  const auto before = GgufFile::open(out_ / "dense.gguf");
  const auto after = GgufFile::open(out_ / "small.gguf");
  for (const char* name : {"token_embd.weight", "output.weight"}) {
    const auto old = before->bytes(*before->find(name));
    const auto now = after->bytes(*after->find(name));
    const size_t row = old.size() / static_cast<size_t>(sizes_.vocab);
    ASSERT_EQ(now.size(), row * keep.size());
    for (size_t i = 0; i < keep.size(); ++i) {
      const auto from = old.subspan(static_cast<size_t>(keep[i]) * row, row);
      EXPECT_TRUE(std::ranges::equal(now.subspan(i * row, row), from)) << name << " row " << i;
    }
  }
  expect_same(out_ / "dense.gguf", out_ / "small.gguf", keep);
}

TEST_F(Vocabulary, RoundsDownForATarget) {
  const int64_t whole = open_model(dir()).parameters();
  PruneJob one = job(out_ / "small");
  one.options.target_params = whole - 1;
  one.options.round_to = 8;
  run_prune(one);
  EXPECT_LT(open_model(out_ / "small").parameters(), whole);
  EXPECT_EQ(kept(out_ / "small/plan.json").size() % 8, 0U);
}

TEST_F(Vocabulary, RefusesWhatMakesNoSense) {
  const auto refuse = [&](const std::string& part, const std::function<void(PruneJob&)>& change) {
    PruneJob one = job(out_ / "not");
    change(one);
    expect_error(ErrorKind::InvalidArgument, part, [&] { run_prune(one); });
    EXPECT_FALSE(std::filesystem::exists(out_ / "not"));
  };
  refuse("give one of --ratio, --min-count", [](PruneJob&) {});
  refuse("must: bytes or characters", [](PruneJob& one) { one.options.ratio = 0.99; });
  refuse("pass --calib FILE", [](PruneJob& one) {
    one.options.ratio = 0.5;
    one.calib_file.clear();
  });
  refuse("--min-count removes tokens", [](PruneJob& one) {
    one.options.structure = Structure::Block;
    one.options.min_count = 2;
  });
  refuse("no steps", [](PruneJob& one) {
    one.options.ratio = 0.5;
    one.options.steps = 2;
  });
  refuse("--solver bias", [](PruneJob& one) {
    one.options.ratio = 0.5;
    one.options.solver = "bias";
  });
  std::filesystem::remove(from_ / "tokenizer.json");
  write_file(from_ / "tokenizer.model", "pieces");
  PruneJob one = job(out_ / "not");
  one.options.ratio = 0.5;
  EXPECT_ANY_THROW(run_prune(one));
}

}  // namespace
}  // namespace prunus::test::vocabulary_test
