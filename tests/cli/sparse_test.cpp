// Zeros instead of cuts, from the command line.
#include <ATen/ATen.h>

#include "prunus/model/model.h"

#include "cli/fixture.h"

namespace prunus::test_cli::sparse_test {
namespace {

class Sparse : public CliTest {
 protected:
  std::string text = file("text.txt", some_text(60));

  // The share of zeros of every matrix of the layers.
  static std::vector<double> sparsities(const std::string& path) {
    const Model written = open_model(path);
    std::vector<double> shares;
    for (const TensorInfo& tensor : written.tensors()) {
      if (tensor.layer < 0 || tensor.spec->rank != 2) continue;
      const at::Tensor weight = written.source().read(tensor);
      shares.push_back(weight.eq(0).to(at::kDouble).mean().item<double>());
    }
    return shares;
  }
};

TEST_F(Sparse, KeepsTheShapesAndCountsTheZeros) {
  const Outcome outcome = run({"prune", model, "--out", out, "--method", "l1", "--structure",
                               "weight", "--pattern", "1:4"});
  expect_model(outcome, out);
  EXPECT_THAT(outcome.out, HasSubstr("(75.0 %), pattern 1:4"));
  for (const double share : sparsities(out)) EXPECT_EQ(share, 0.75);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("parameters_removed"), 0);
  EXPECT_EQ(record.at("mask").at("zeros").get<int64_t>() * 4,
            record.at("mask").at("weights").get<int64_t>() * 3);
}

TEST_F(Sparse, ApplyRepeatsAPlanWithItsMasks) {
  const Arguments wanda = {"--method", "wanda-sp", "--structure", "weight",         "--sparsity",
                           "0.6",      "--calib",  text,          "--calib-tokens", "16"};
  const auto with = [&](Arguments arguments) {
    arguments.insert(arguments.end(), wanda.begin(), wanda.end());
    return run(arguments);
  };
  expect_model(with({"prune", model, "--out", out}), out);
  ASSERT_EQ(with({"prune", model, "--out", dir / "plan", "--dry-run"}).exit_code, 0);
  const std::string plan = dir / "plan/plan.json";
  EXPECT_EQ(read(plan), read(out + "/plan.json"));
  expect_model(run({"apply", model, "--plan", plan, "--out", dir / "again"}), dir / "again");
  for (const char* name : {"/model.safetensors", "/plan.json", "/masks/mask-0.tensors"}) {
    EXPECT_EQ(read(dir / "again" + name), read(out + name)) << name;
  }
}

// Zeros that a solver chooses are found again by the plan's text.
TEST_F(Sparse, ApplySolvesAPlanAgain) {
  for (const char* method : {"sparsegpt", "prunus-sparse"}) {
    const auto with = [&](Arguments arguments) {
      for (const char* one : {"--method", method, "--sparsity", "0.5", "--calib", text.c_str(),
                              "--calib-tokens", "16"}) {
        arguments.emplace_back(one);
      }
      return run(arguments);
    };
    const std::string made = dir / method;
    const Outcome outcome = with({"prune", model, "--out", made});
    expect_model(outcome, made);
    EXPECT_THAT(outcome.out, HasSubstr("(50.0 %), pattern"));
    ASSERT_EQ(with({"prune", model, "--out", made + "-plan", "--dry-run"}).exit_code, 0);
    const std::string plan = made + "-plan/plan.json";
    EXPECT_EQ(read(plan), read(made + "/plan.json"));
    expect_model(run({"apply", model, "--plan", plan, "--out", made + "-again"}), made + "-again");
    EXPECT_EQ(read(made + "-again/model.safetensors"), read(made + "/model.safetensors"));
    const Json record = json_of(made + "/run.json");
    EXPECT_EQ(record.at("options").at("method"), method);
    EXPECT_EQ(record.at("sparse").at("matrices").size(), sparsities(made).size());
    EXPECT_EQ(record.at("mask").at("zeros").get<int64_t>(),
              record.at("mask").at("weights").get<int64_t>() / 2);
  }
}

TEST_F(Sparse, ApplyRefusesMasksThatAreMissingOrOthers) {
  const std::string made = dir / "made";
  ASSERT_EQ(
      run({"prune", model, "--out", made, "--method", "l1", "--structure", "weight", "--dry-run"})
          .exit_code,
      0);
  const auto apply = [&] {
    return run({"apply", model, "--plan", made + "/plan.json", "--out", dir / "again"});
  };
  const std::string mask = made + "/masks/mask-1.tensors";
  const std::string good = read(mask);
  std::string other = good;
  other.back() = static_cast<char>(other.back() ^ 1);
  put(mask, other);
  expect_failed(apply(), 3, "not the masks that the plan was made with");
  put(mask, good.substr(0, good.size() - 1));
  expect_failed(apply(), 3, "mask-1.tensors");
  fs::remove_all(made + "/masks");
  expect_failed(apply(), 3, "masks/ beside it");
  EXPECT_FALSE(fs::exists(dir / "again"));
}

TEST_F(Sparse, ABitmaskIsOpenedByEveryCommandAsTheSameModel) {
  // Rows long enough for masks and offsets to take less than the zeros.
  save({.family = "llama", .hidden = 64, .head_dim = 16, .ffn = 128, .vocab = kVocab});
  ASSERT_EQ(run({"prune", model, "--out", out, "--method", "l1", "--structure", "weight",
                 "--pattern", "2:4"})
                .exit_code,
            0);
  const std::string dense = dir / "dense", packed = dir / "packed", pruned = dir / "pruned";
  ASSERT_EQ(run({"export", out, "--dtype", "bf16", "--out", dense}).exit_code, 0);
  const Outcome exported =
      run({"export", out, "--dtype", "bf16", "--format", "bitmask", "--out", packed});
  expect_model(exported, packed);
  EXPECT_THAT(exported.out, HasSubstr("14 matrices, 50.0 % of their weights"));
  EXPECT_THAT(exported.out, HasSubstr("logits equal"));
  const auto perplexity = [&](const std::string& path) {
    const Outcome done = run({"eval", path, "--ppl", text, "--seqlen", "32", "--json"});
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return parse_json(done.out, "eval").at("results").at(0).at("nll_per_token");
  };
  EXPECT_EQ(perplexity(packed), perplexity(dense));
  const auto words = [&](const std::string& path) {
    return run({"generate", path, "--prompt", "The old", "--max-tokens", "8", "--temperature", "0",
                "--dtype", "float32"})
        .out;
  };
  EXPECT_EQ(words(packed), words(dense));
  EXPECT_EQ(run({"verify", dense, packed}).exit_code, 0);
  EXPECT_EQ(run({"inspect", packed}).exit_code, 0);
  expect_model(run({"prune", packed, "--out", pruned, "--method", "l2", "--ratio", "0.25"}),
               pruned);
  EXPECT_FALSE(json_of(pruned + "/config.json").contains("quantization_config"));
}

TEST_F(Sparse, WhatDoesNotGoTogetherIsSaid) {
  expect_failed(run({"prune", model, "--out", out, "--sparsity", "0.5"}), 2, "--structure weight");
  expect_failed(run({"prune", model, "--out", out, "--method", "l1", "--structure", "weight",
                     "--pattern", "2"}),
                2, "N:M");
}

}  // namespace
}  // namespace prunus::test_cli::sparse_test
