// prunus recover, merge and train as a user runs them.
#include <algorithm>

#include <ATen/ATen.h>

#include "prunus/io/checkpoint.h"

#include "cli/fixture.h"

namespace prunus::test_cli::recover_test {
namespace {

class Recover : public CliTest {
 protected:
  /// `prunus recover model --out TO --data text` and more.
  Outcome recover(const std::string& to, const Arguments& more = {}) const {
    Arguments all{"recover", model, "--out", to, "--data", text, "--max-steps", "6"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }

  /// A pruned model beside its dense one.
  std::string pruned() const {
    const std::string smaller = dir / "smaller";
    EXPECT_EQ(run({"prune", model, "--out", smaller, "--method", "l2", "--ratio", "0.5"}).exit_code,
              0);
    return smaller;
  }

  /// Sets half of one matrix of the model to zero.
  void make_sparse() const {
    const Model dense = open_model(model);
    const auto weights = test::copy_weights(dense);
    at::Tensor& up = weights->tensors.at("model.layers.0.mlp.up_proj.weight");
    up.masked_fill_(at::arange(up.numel()).view_as(up) % 2 == 0, 0.0);
    const Model sparse(dense.config(), weights);
    const Json config = json_of(model + "/config.json");
    fs::remove_all(model);
    test::save_model(sparse, config, model);
  }

  static double valid_loss(const std::string& path) {
    return json_of(path + "/run.json").at("valid_loss_written").get<double>();
  }

  std::string text = file("text.txt", some_text(60));
};

TEST_F(Recover, ThreeArgumentsAreEnough) {
  const Outcome done = run({"recover", model, "--out", out, "--data", text});
  expect_model(done, out);
  EXPECT_THAT(done.out, HasSubstr("validation after"));
  const Json record = json_of(out + "/run.json");
  EXPECT_LT(record.at("training").at("valid_loss"), record.at("training").at("valid_loss_before"));
  EXPECT_NEAR(record.at("valid_loss_written").get<double>(),
              record.at("training").at("valid_loss").get<double>(), 1e-4);
  EXPECT_GT(record.at("memory_plan").at("bytes").get<int64_t>(), 0);
  EXPECT_FALSE(fs::exists(out + ".work"));
  const std::string log = read(out + "/train.jsonl");
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'),
            record.at("training").at("steps").get<int64_t>() + 1);
}

TEST_F(Recover, AnAdapterAloneIsMergedToTheSameBytes) {
  const Outcome done = recover(out, {"--adapter-only", "--lora-r", "4"});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_TRUE(fs::exists(out + "/adapter_model.safetensors"));
  EXPECT_FALSE(fs::exists(out + "/model.safetensors"));
  EXPECT_EQ(json_of(out + "/adapter_config.json").at("r"), 4);
  const std::string merged = dir / "merged";
  expect_model(run({"merge", model, "--adapter", out, "--out", merged}), merged);
  const std::string whole = dir / "whole";
  expect_model(recover(whole, {"--lora-r", "4"}), whole);
  EXPECT_EQ(read(merged + "/model.safetensors"), read(whole + "/model.safetensors"));
}

TEST_F(Recover, AdaptersGoOnFromAnAdapter) {
  ASSERT_EQ(recover(out, {"--adapter-only"}).exit_code, 0);
  const std::string more = dir / "more";
  const Outcome done = recover(more, {"--adapter-only", "--adapter", out});
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto before = json_of(out + "/run.json").at("training").at("valid_loss").get<double>();
  const Json after = json_of(more + "/run.json").at("training");
  EXPECT_NEAR(after.at("valid_loss_before").get<double>(), before, 1e-5);
}

TEST_F(Recover, AllWeightsLearnFromATeacher) {
  const std::string smaller = pruned();
  const Outcome done = run({"recover", smaller, "--out", out, "--data", text, "--teacher", model,
                            "--full", "--lr", "1e-2", "--epochs", "4", "--kd-top-k", "16"});
  expect_model(done, out);
  EXPECT_LT(valid_loss(out), json_of(out + "/run.json").at("training").at("valid_loss_before"));
  EXPECT_TRUE(fs::exists(out + "/plan.json"));
}

TEST_F(Recover, SubBlocksAreRepairedAfterTheTeacher) {
  const std::string smaller = pruned();
  const Outcome done =
      run({"recover", smaller, "--out", out, "--data", text, "--teacher", model, "--sub-block"});
  expect_model(done, out);
  const Json record = json_of(out + "/run.json");
  ASSERT_EQ(record.at("sub_blocks").size(), 4U);
  for (const Json& part : record.at("sub_blocks")) {
    EXPECT_LE(part.at("error_after").get<double>(), part.at("error_before").get<double>());
  }
  EXPECT_NE(read(out + "/model.safetensors"), read(smaller + "/model.safetensors"));
}

TEST_F(Recover, TextDrawnFromTheModelWillDo) {
  const Outcome done = run(
      {"recover", model, "--out", out, "--data", "self", "--self-rows", "12", "--max-steps", "3"});
  expect_model(done, out);
  EXPECT_EQ(json_of(out + "/run.json").at("data").at("documents"), 12);
}

TEST_F(Recover, SparseWeightsKeepTheirZeros) {
  make_sparse();
  const at::Tensor before = Checkpoint::open(model).read("model.layers.0.mlp.up_proj.weight");
  for (const Arguments& how :
       {Arguments{}, Arguments{"--full"}, Arguments{"--full", "--optimizer", "muon"}}) {
    const Outcome done = recover(out, how);
    expect_model(done, out);
    const at::Tensor after = Checkpoint::open(out).read("model.layers.0.mlp.up_proj.weight");
    EXPECT_TRUE(at::equal(before == 0, after == 0));
    EXPECT_FALSE(at::equal(before, after));
    EXPECT_EQ(json_of(out + "/run.json").at("sparse_weights"), 1);
    fs::remove_all(out);
  }
}

TEST_F(Recover, InstructionRecordsAreMasked) {
  std::string records = "[";
  for (int i = 0; i < 12; ++i) {
    records += std::string(i == 0 ? "" : ",") +
               R"({"instruction": "a", "input": "", "output": "bcd efg"})";
  }
  const std::string data = file("records.json", records + "]");
  save({.family = "llama", .vocab = kVocab});
  // The template is longer than the tiny context of 64 ids: nothing is left to learn.
  expect_failed(run({"recover", model, "--out", out, "--data", data}), 3, "records.json");
}

TEST_F(Recover, TooHighARateStopsWithADiagnosisAndALowerOneGoesOnFromTheKeptState) {
  const Arguments too_high{"--full", "--lr", "1e30", "--clip", "0", "--warmup", "0"};
  const Outcome failed = recover(out, too_high);
  EXPECT_EQ(failed.exit_code, 5);
  EXPECT_THAT(failed.err, HasSubstr("training step"));
  EXPECT_THAT(failed.err, HasSubstr("Lower --lr"));
  EXPECT_THAT(failed.err, HasSubstr("the last good state, after step 0, stays"));
  EXPECT_THAT(failed.err, HasSubstr("out.work"));
  EXPECT_TRUE(fs::exists(out + ".work/state.json"));
  EXPECT_FALSE(fs::exists(out));
  // Nothing is thrown away unasked.
  EXPECT_EQ(recover(out).exit_code, 2);
  // An option that is part of what was done may not differ.
  const Outcome other = recover(out, {"--full", "--batch", "3", "--resume"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("training.batch_rows = 16, this one 3"));
  ASSERT_TRUE(fs::exists(out + ".work/state.json"));
  expect_model(recover(out, {"--full", "--lr", "0.001", "--warmup", "0", "--resume"}), out);
  EXPECT_EQ(json_of(out + "/run.json").at("resumed_with"),
            Json::parse(R"([{"step": 0, "clip": [0.0, 1.0], "lr": [1e30, 0.001]}])"));
  EXPECT_EQ(recover(out, {"--full", "--lr", "1e30", "--clip", "0", "--force"}).exit_code, 5);
  expect_model(recover(out, {"--force"}), out);
}

// Conversations are written by the model's template, which a resumed run must have as it was.
TEST_F(Recover, LearnsFromConversations) {
  std::string lines;
  for (int i = 0; i < 12; ++i) {
    lines += R"({"messages": [{"role": "user", "content": "a"}, )"
             R"({"role": "assistant", "content": "b"}]})"
             "\n";
  }
  const std::string chats = file("chats.jsonl", lines);
  const auto learn = [&](const std::string& to, const Arguments& more) {
    Arguments all{"recover", model, "--out", to, "--data", chats, "--max-steps", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  };
  expect_failed(learn(out, {}), 3, "has no chat template");
  // A template that nothing would be written by is a mistake.
  expect_failed(recover(out, {"--chat-template", "chatml"}), 2, "holds no conversations");
  const std::string own = file("own.jinja",
                               "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}{% endfor %}"
                               "{% if add_generation_prompt %}[a]{% endif %}");
  const Outcome failed = learn(
      out, {"--full", "--lr", "1e30", "--clip", "0", "--warmup", "0", "--chat-template", own});
  EXPECT_EQ(failed.exit_code, 5) << failed.err;
  const Arguments again{"--full", "--warmup", "0", "--resume", "--chat-template"};
  const auto resume_by = [&](const std::string& how) {
    Arguments all = again;
    all.push_back(how);
    return learn(out, all);
  };
  const Outcome other = resume_by("chatml");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("chat_template_sha256"));
  expect_model(resume_by(own), out);
  const Json data = json_of(out + "/run.json").at("data");
  EXPECT_EQ(data.at("read_as"), "chat");
  EXPECT_EQ(data.at("chat_template").at("source"), own);
}

TEST_F(Recover, WrongRequestsAreRefused) {
  const std::string smaller = dir / "narrow";
  test::TinySizes narrow = tiny();
  narrow.vocab = 300;
  test::save_model(test::tiny_model(narrow), test::tiny_config(narrow), smaller);
  struct Case {
    Arguments more;
    int code;
    const char* message;
  };
  for (const Case& one :
       {Case{{"--full", "--sub-block"}, 2, "choose one"},
        Case{{"--sub-block"}, 2, "needs --teacher"},
        Case{{"--kd-weight", "1"}, 2, "needs --teacher"},
        Case{{"--teacher", smaller}, 2, "vocabulary of 300"},
        Case{{"--full", "--adapter-only"}, 2, "--adapter-only"},
        Case{{"--preset", "best"}, 2, "llm-pruner"},
        Case{{"--row-tokens", "65"}, 2, "context of 64"},
        Case{{"--lora-targets", "lm_head"}, 4, "q_proj"},
        Case{{"--lora-r", "0"}, 2, "--lora-r: got '0', expected a whole number from 1"},
        Case{{"--lr", "-1"}, 2, "--lr"},
        Case{{"--batch", "0"}, 2, "--batch: got '0', expected a whole number from 1"},
        Case{{"--schedule", "square"}, 2, "cosine"},
        Case{{"--full", "--base-dtype", "int8"}, 2, "adapters"},
        Case{{"--adapter", dir / "none"}, 3, "none"},
        Case{{"--valid", dir / "none.txt"}, 3, "none.txt"}}) {
    expect_failed(recover(out, one.more), one.code, one.message);
  }
}

TEST_F(Recover, AnAdapterOfTheDenseModelDoesNotFitThePrunedOne) {
  const std::string adapter = dir / "adapter";
  ASSERT_EQ(recover(adapter, {"--adapter-only"}).exit_code, 0);
  const std::string smaller = pruned();
  expect_failed(run({"merge", smaller, "--adapter", adapter, "--out", out}), 3, "dense");
}

class Train : public CliTest {
 protected:
  std::string text = file("text.txt", some_text(200));

  Outcome train(const Arguments& more) const {
    Arguments all{"train", "--config", model, "--data", text, "--out", out, "--batch", "4"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }
};

TEST_F(Train, AModelFromAConfigurationLearnsItsText) {
  for (const char* optimizer : {"muon", "adamw"}) {
    const Outcome done = train({"--max-steps", "100", "--lr", "1e-2", "--optimizer", optimizer});
    expect_model(done, out);
    const Json training = json_of(out + "/run.json").at("training");
    // Without knowledge: ln 259.
    EXPECT_NEAR(training.at("valid_loss_before").get<double>(), std::log(259.0), 0.05);
    EXPECT_LT(training.at("valid_loss").get<double>(), 3.0) << optimizer;
    EXPECT_EQ(json_of(out + "/config.json").at("torch_dtype"), "bfloat16");
    EXPECT_TRUE(fs::exists(out + "/tokenizer.json"));
    EXPECT_EQ(run({"generate", out, "--prompt", "The old", "--max-tokens", "4"}).exit_code, 0);
    fs::remove_all(out);
  }
}

TEST_F(Train, SameSeedSameBytesAndAnotherSeedOthers) {
  const Arguments steps{"--max-steps", "3"};
  ASSERT_EQ(train(steps).exit_code, 0);
  const std::string first = read(out + "/model.safetensors");
  fs::remove_all(out);
  ASSERT_EQ(train(steps).exit_code, 0);
  EXPECT_EQ(read(out + "/model.safetensors"), first);
  fs::remove_all(out);
  ASSERT_EQ(train({"--max-steps", "3", "--seed", "1"}).exit_code, 0);
  EXPECT_NE(read(out + "/model.safetensors"), first);
}

TEST_F(Train, AVocabularyThatIsTooSmallIsRefused) {
  Json config = json_of(model + "/config.json");
  config["vocab_size"] = 100;
  const std::string path = file("config.json", config.dump());
  expect_failed(
      run({"train", "--config", path, "--tokenizer", model, "--data", text, "--out", out}), 2,
      "vocab_size is 100");
}

}  // namespace
}  // namespace prunus::test_cli::recover_test
