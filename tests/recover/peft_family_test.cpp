// Adapters of every family: those of stock PEFT (tools/make_peft_goldens.py), and Prunus' own.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/adapter/merge.h"
#include "prunus/adapter/peft.h"
#include "prunus/base/json.h"
#include "prunus/io/safetensors.h"
#include "prunus/model/layout.h"
#include "prunus/recover/recover.h"
#include "prunus/train/train_model.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::peft_family_test {
namespace {

const std::string kPeft = source_path("tests/adapter/golden/peft");

std::vector<std::string> peft_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kPeft)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

at::Tensor stored(const std::string& path, const std::string& name) {
  const auto file = SafetensorsFile::open(path);
  return file->view(*file->find(name)).clone();
}

class PeftMerge : public testing::TestWithParam<std::string> {
 protected:
  const std::string dir = kPeft + "/" + GetParam();
  const std::string base =
      golden_dir(read_json(dir + "/adapter_config.json").at("base_model_name_or_path"));
  const at::Tensor ids = stored(dir + "/logits.safetensors", "ids").to(at::kLong);
  const at::Tensor logits = stored(dir + "/logits.safetensors", "logits");
};

TEST_P(PeftMerge, GivesTheLogitsOfPeft) {
  const TempDir out;
  run_merge({.model_dir = base, .adapter_dir = dir, .out_dir = out / "merged"});
  const Model merged = open_model(out / "merged");
  const double error = relative_error(logits_of(merged, ids), logits);
  EXPECT_LT(error, 1e-5);
  EXPECT_GT(relative_error(logits_of(open_model(base), ids), logits), 0.1);
  std::printf("[   error  ] %.1e (relative)\n", error);
}

INSTANTIATE_TEST_SUITE_P(Adapters, PeftMerge, testing::ValuesIn(peft_names()),
                         [](const auto& one) { return one.param; });

TEST(PeftTied, AnAdapterOnTheHeadAloneGivesTheResultAHeadOfItsOwn) {
  const TempDir out;
  for (const std::string name : {"tied_head", "tied_embedding", "gpt2_embeddings"}) {
    const std::string dir = kPeft + "/" + name;
    const std::string base =
        golden_dir(read_json(dir + "/adapter_config.json").at("base_model_name_or_path"));
    EXPECT_TRUE(open_model(base).config().tie_word_embeddings);
    run_merge({.model_dir = base, .adapter_dir = dir, .out_dir = out / name});
    EXPECT_FALSE(open_model(out / name).config().tie_word_embeddings) << name;
    EXPECT_EQ(read_json(out / name + "/config.json").at("tie_word_embeddings"), false);
  }
}

TEST(PeftTrain, WhatCanOnlyBeMergedIsRefusedByName) {
  const auto refused = [](const std::string& name, const std::string& base,
                          const std::string& part) {
    const Model model = open_model(golden_dir(base));
    const LoraAdapter adapter = read_peft(kPeft + "/" + name, untied(model));
    expect_error(ErrorKind::Unsupported, part, [&] { adapter.check_trainable("here"); });
  };
  refused("qwen2_dora", "qwen2", "here: has DoRA magnitudes on q_proj of layer 0");
  refused("llama_saved", "llama_mha", "here: brings the whole tensor 'lm_head.weight'");
  refused("opt_biases", "opt", "here: brings the whole tensor 'model.decoder");
  refused("llama_lora_bias", "llama_bias", "here: adds to the bias 'model.layers.0.mlp.up_proj");
  refused("tied_head", "llama_gqa", "here: has an adapter on lm_head");
  read_peft(kPeft + "/gpt_neox_fused", open_model(golden_dir("gpt_neox"))).check_trainable("");
}

class LoraFamily : public testing::TestWithParam<std::string> {
 protected:
  const Model model = open_model(golden_dir(GetParam()));

  LoraAdapter adapter() const {
    LoraAdapter made = LoraAdapter::make(model, {.r = 3, .alpha = 5}, 1, at::kCPU);
    at::manual_seed(2);
    for (auto& [place, pair] : made.pairs) pair.b.normal_(0, 0.1);
    return made;
  }
};

TEST_P(LoraFamily, ReadsBackEveryPairThatItWrites) {
  const LoraAdapter written = adapter();
  const TempDir dir;
  write_peft(written, model, "base", dir.path());
  const LoraAdapter again = read_peft(dir.path(), model);
  ASSERT_EQ(again.pairs.size(), written.pairs.size());
  for (const auto& [place, pair] : written.pairs) {
    const LoraPair& other = again.pairs.at(place);
    EXPECT_TRUE(at::equal(other.a, pair.a)) << role_name(place.second);
    EXPECT_TRUE(at::equal(other.b, pair.b)) << role_name(place.second);
    EXPECT_NEAR(other.scale, pair.scale, 1e-12);
  }
}

// What PEFT does with the file: each module's tensor gets scale·B·A, transposed where it is.
TEST_P(LoraFamily, TheWrittenFactorsAreThoseOfTheFilesTensors) {
  const LoraAdapter written = adapter();
  const TempDir dir;
  write_peft(written, model, "base", dir.path());
  const auto file = SafetensorsFile::open(dir / "adapter_model.safetensors");
  const MergedSource merged(model.shared_source(), written);
  const double alpha = 5.0;
  size_t found = 0;
  for (const FileTensor& tensor : file_tensors(model.tensors())) {
    const std::string path =
        "base_model.model." + tensor.name.substr(0, tensor.name.rfind('.')) + ".lora_";
    if (file->find(path + "A.weight") == nullptr || !tensor.name.ends_with(".weight")) continue;
    ++found;
    const at::Tensor a = file->view(*file->find(path + "A.weight"));
    const at::Tensor b = file->view(*file->find(path + "B.weight"));
    const at::Tensor update = at::mm(b, a) * (alpha / 3);  // the rank of one part, not of all
    const bool transposed = tensor.parts[0]->stored.transposed;
    const at::Tensor expected =
        file_value(tensor, model.source()) + (transposed ? update.t() : update);
    EXPECT_LT(relative_error(file_value(tensor, merged), expected), 1e-6) << tensor.name;
  }
  EXPECT_EQ(found * 2, file->entries().size());
}

TEST_P(LoraFamily, TrainsTheFunctionThatIsMerged) {
  TrainModel trained(model, at::kCPU, {}, adapter());
  TrainBatch batch{random_ids(model, 2, 9), at::ones({2, 9}, at::kBool), 16};
  batch.scored.select(1, 0).fill_(false);
  const LossSums sums =
      trained.run(batch, {.weights = {}, .teacher = {}, .states = {}, .seams = {}});
  const auto loss_of = [&](const Model& one) {
    const at::Tensor logits = logits_of(one, batch.ids).narrow(1, 0, 8).flatten(0, 1);
    const at::Tensor next = batch.ids.narrow(1, 1, 8).flatten();
    return at::cross_entropy_loss(logits, next).item<double>();
  };
  const double loss = sums.ce / static_cast<double>(sums.targets);
  EXPECT_NEAR(loss, loss_of(trained.result()), 2e-5 * loss);
  EXPECT_GT(std::abs(loss - loss_of(model)), 2e-4 * loss);  // the adapter does say something
}

TEST_P(LoraFamily, EveryPairGetsAGradient) {
  TrainModel trained(model, at::kCPU, {}, adapter());
  TrainBatch batch{random_ids(model, 2, 9), at::ones({2, 9}, at::kBool), 16};
  batch.scored.select(1, 0).fill_(false);
  trained.run(batch, {.weights = {}, .teacher = {}, .states = {}, .seams = {}, .scale = 1});
  for (const Parameter& one : trained.parameters()) {
    ASSERT_TRUE(one.value.grad().defined()) << one.name;
    EXPECT_GT(one.value.grad().abs().max().item<float>(), 0) << one.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, LoraFamily, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

TEST(LoraNames, AreTheFamilysModulesAsPeftFindsThem) {
  const auto names = [](const std::string& name, const std::string& targets = "all") {
    const Model model = open_model(golden_dir(name));
    const TempDir dir;
    write_peft(LoraAdapter::make(model, {.targets = targets}, 0, at::kCPU), model, "", dir.path());
    return read_json(dir / "adapter_config.json");
  };
  const auto targets = [&](const auto&... given) {
    return names(given...).at("target_modules").dump();
  };
  EXPECT_EQ(targets("opt"), R"(["q_proj","k_proj","v_proj","out_proj","fc1","fc2"])");
  EXPECT_EQ(targets("gpt2"), R"(["c_attn","c_proj","c_fc"])");
  EXPECT_EQ(targets("gpt2", "o_proj"), R"(["attn.c_proj"])");
  EXPECT_EQ(targets("gpt_neox"), R"(["query_key_value","dense","dense_h_to_4h","dense_4h_to_h"])");
  EXPECT_EQ(targets("baichuan_7b", "v_proj"), R"(["W_pack"])");
  EXPECT_EQ(targets("mixtral"), R"(["q_proj","k_proj","v_proj","o_proj"])");
  EXPECT_EQ(targets("qwen2_moe", "shared_up_proj"), R"(["shared_expert.up_proj"])");
  EXPECT_EQ(targets("llama_mha", ".*0.*up_proj"), R"(["model.layers.0.mlp.up_proj"])");
  EXPECT_EQ(names("gpt2").at("fan_in_fan_out"), true);
  EXPECT_EQ(names("opt").at("fan_in_fan_out"), false);
  EXPECT_EQ(names("gpt2").at("rank_pattern").dump(), R"({"c_attn":24})");
  EXPECT_EQ(names("gpt2").at("alpha_pattern").dump(), R"({"c_attn":48})");
  EXPECT_EQ(names("gpt2", "q_proj").at("rank_pattern").dump(), "{}");
  EXPECT_EQ(names("phi3").at("rank_pattern").dump(), R"({"qkv_proj":24,"gate_up_proj":16})");
}

TEST(LoraFused, AnAdapterThatSpansThePartsKeepsItsRankForEach) {
  const Model model = open_model(golden_dir("gpt_neox"));
  const LoraAdapter adapter = read_peft(kPeft + "/gpt_neox_fused", model);
  for (const Role role : {Role::QProj, Role::KProj, Role::VProj}) {
    const LoraPair& pair = adapter.pairs.at({0, role});
    EXPECT_EQ(pair.a.size(0), 2);
    EXPECT_TRUE(at::equal(pair.a, adapter.pairs.at({0, Role::QProj}).a));
  }
}

TEST(LoraFused, APartWithoutValuesYetIsReadBackAsTheSameUpdate) {
  const Model model = open_model(golden_dir("phi3"));
  LoraAdapter adapter = LoraAdapter::make(model, {}, 0, at::kCPU);  // B is zero
  const TempDir dir;
  write_peft(adapter, model, "", dir.path());
  check_written_peft(adapter, model, dir.path());
  adapter.pairs.at({1, Role::KProj}).b.fill_(0.5);
  expect_error(ErrorKind::OutputCheck, "the adapter on k_proj of layer 1 reads back differently",
               [&] { check_written_peft(adapter, model, dir.path()); });
  write_peft(adapter, model, "", dir.path());
  check_written_peft(adapter, model, dir.path());
}

TEST(LoraFused, PartsOfDifferentScaleAreWrittenWithTheQuotientInB) {
  const Model model = open_model(golden_dir("gpt2"));
  LoraAdapter adapter = LoraAdapter::make(model, {}, 0, at::kCPU);
  for (auto& [place, pair] : adapter.pairs) pair.b.fill_(0.25);
  adapter.pairs.at({0, Role::VProj}).scale = 0.3;
  const TempDir dir;
  write_peft(adapter, model, "", dir.path());
  check_written_peft(adapter, model, dir.path());
}

}  // namespace
}  // namespace prunus::test::peft_family_test
