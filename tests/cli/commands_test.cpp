// The command lines that the documentation promises.
#include "cli/fixture.h"

namespace prunus::test_cli::commands_test {
namespace {

class Commands : public CliTest {
 protected:
  // Ten windows of sixteen tokens, of either kind of file.
  Outcome calibrated(const std::string& to, Arguments more) const {
    Arguments all{"prune", model, "--out", to, "--calib-tokens", "16"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }

  std::string text = file("text.txt", some_text(60));
};

std::string weights(const std::string& dir) { return read(dir + "/model.safetensors"); }

Json sizes(const std::string& dir) {
  const Json config = json_of(dir + "/config.json");
  return {config.at("num_attention_heads"), config.at("num_key_value_heads"),
          config.at("intermediate_size"), config.at("head_dim"), config.at("hidden_size")};
}

TEST_F(Commands, EveryMethodPrunesAQuarterByDefault) {
  const std::vector<Arguments> methods = {
      {"--method", "llm-pruner", "--calib", text},
      {"--method", "llm-pruner", "--taylor", "param_first", "--calib", text},
      {"--method", "llm-pruner", "--taylor", "vectorize", "--calib", text},
      {"--method", "l1"},
      {"--method", "l2"},
      {"--method", "random"}};
  for (const Arguments& method : methods) {
    SCOPED_TRACE(method[1]);
    expect_model(calibrated(out, method), out);
    // 4 heads and 12 channels lose a quarter: 1 and 3.
    EXPECT_EQ(sizes(out), (Json{3, 3, 9, 4, 16}));
    fs::remove_all(out);
  }
}

TEST_F(Commands, TheRatioSaysHowManyUnitsGo) {
  expect_model(prune({"--ratio", "0.5"}), out);
  EXPECT_EQ(sizes(out), (Json{2, 2, 6, 4, 16}));
  fs::remove_all(out);
  expect_model(prune({"--ratio", "0"}), out);
  EXPECT_EQ(weights(out), weights(model));
}

TEST_F(Commands, AGroupedModelLosesWholeGroups) {
  save({.family = "llama", .q_heads = 4, .kv_heads = 2, .vocab = kVocab});
  expect_model(prune({"--ratio", "0.5"}), out);
  EXPECT_EQ(sizes(out), (Json{2, 1, 6, 4, 16}));
}

TEST_F(Commands, PlainTextAndJsonLinesBothCalibrate) {
  std::string lines;
  for (int i = 0; i < 12; ++i) lines += Json{{"text", some_text(i + 1)}}.dump() + "\n";
  expect_model(calibrated(out, {"--calib", file("text.jsonl", lines), "--calib-samples", "12"}),
               out);
  const Json windows = json_of(out + "/run.json").at("calibration").at("windows");
  EXPECT_EQ(windows.size(), 12U);
  for (const Json& window : windows) EXPECT_EQ(window.size(), 16U);
}

TEST_F(Commands, GradientsGetMoreTextThanTheirPaperGaveThem) {
  std::string rows;
  for (int i = 0; i < 80; ++i) rows += Json{{"text", some_text(4 + i % 7)}}.dump() + "\n";
  const std::string much = file("much.jsonl", rows);
  const auto windows = [&](const Arguments& more, const char* said) {
    Arguments all{"prune", model, "--out", out, "--calib", much, "--dry-run"};
    all.insert(all.end(), more.begin(), more.end());
    all.insert(all.end(), {"--threads", "1"});
    const Outcome outcome = prunus(all);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find(said), std::string::npos) << outcome.err;
    const Json drawn = json_of(out + "/run.json").at("calibration").at("windows");
    fs::remove_all(out);
    return std::pair(drawn.size(), drawn[0].size());
  };
  using Size = std::pair<size_t, size_t>;
  // The model's context is 64 tokens.
  EXPECT_EQ(windows({}, "64 windows of 64 tokens, 4096 in all; gradients"), Size(64, 64));
  EXPECT_EQ(windows({"--method", "shortened-llama", "--taylor", "plus", "--ratio", "0"},
                    "64 windows of 64"),
            Size(64, 64));
  EXPECT_EQ(windows({"--method", "shortened-llama"}, "10 windows of 64 tokens, 640 in all"),
            Size(10, 64));
  EXPECT_EQ(windows({"--compat", "llm-pruner"}, "10 windows of 64"), Size(10, 64));
  EXPECT_EQ(windows({"--calib-tokens", "8", "--calib-samples", "3"}, "3 windows of 8"), Size(3, 8));
}

TEST_F(Commands, ATextWithFewWindowsIsEnoughWhereNobodyAskedForMore) {
  const std::string little = file("little.txt", some_text(14));
  expect_model(calibrated(out, {"--calib", little}), out);
  const size_t windows = json_of(out + "/run.json").at("calibration").at("windows").size();
  EXPECT_GE(windows, 10U);
  EXPECT_LT(windows, 64U);
  fs::remove_all(out);
  expect_failed(calibrated(dir / "more", {"--calib", little, "--calib-samples", "64"}), 2,
                "but 64 were asked for");
}

TEST_F(Commands, TheSameSeedGivesTheSameBytes) {
  for (const char* name : {"a", "b"}) {
    expect_model(calibrated(dir / name, {"--calib", text, "--seed", "7"}), dir / name);
  }
  for (const char* name : {"/model.safetensors", "/plan.json", "/config.json"}) {
    EXPECT_EQ(read(dir / "a" + name), read(dir / "b" + name)) << name;
  }
}

TEST_F(Commands, AnotherSeedGivesAnotherRandomChoice) {
  expect_model(calibrated(dir / "a", {"--method", "random", "--seed", "1"}), dir / "a");
  expect_model(calibrated(dir / "b", {"--method", "random", "--seed", "2"}), dir / "b");
  EXPECT_NE(weights(dir / "a"), weights(dir / "b"));
}

TEST_F(Commands, AnotherSeedDrawsOtherWindows) {
  for (const char* seed : {"1", "2"}) {
    const Outcome run = calibrated(dir / seed, {"--calib", text, "--seed", seed, "--dry-run"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
  }
  const auto windows = [&](const char* seed) {
    return json_of(dir / seed + "/run.json").at("calibration").at("windows");
  };
  EXPECT_NE(windows("1"), windows("2"));
}

TEST_F(Commands, ADryRunAppliedEqualsTheDirectRun) {
  const Outcome dry = calibrated(dir / "dry", {"--calib", text, "--dry-run"});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_EQ(names_in(dir / "dry"), (std::vector<std::string>{"plan.json", "run.json"}));
  expect_model(run({"apply", model, "--plan", dir / "dry/plan.json", "--out", dir / "applied"}),
               dir / "applied");
  expect_model(calibrated(out, {"--calib", text}), out);
  for (const char* name : {"/model.safetensors", "/plan.json", "/config.json"}) {
    EXPECT_EQ(read(dir / "applied" + name), read(out + name)) << name;
  }
}

TEST_F(Commands, AnEditedPlanIsExecutedAsItStands) {
  EXPECT_EQ(prune({"--dry-run"}).exit_code, 0);
  Json plan = json_of(out + "/plan.json");
  for (Json& group : plan["groups"]) {
    group.erase("scores");
    group["keep"] = group["axis"] == "ffn" ? Json{0, 11} : Json{3};
  }
  const std::string edited = file("edited.json", plan.dump());
  expect_model(run({"apply", model, "--plan", edited, "--out", dir / "applied"}), dir / "applied");
  EXPECT_EQ(sizes(dir / "applied"), (Json{1, 1, 2, 4, 16}));
}

TEST_F(Commands, AUniformModelHasItsTrueSizesInTheStockKeys) {
  Json config_in = json_of(model + "/config.json");
  config_in.erase("head_dim");
  put(model + "/config.json", config_in.dump());
  expect_model(prune(), out);
  const Json config = json_of(out + "/config.json");
  EXPECT_EQ(sizes(out), (Json{3, 3, 9, 4, 16}));
  for (const auto& [key, value] : config.items()) EXPECT_FALSE(key.starts_with("layer_")) << key;
  // Stock Llama insists that the heads divide hidden_size; three do not divide 16, Mistral's may.
  EXPECT_EQ(config.at("model_type"), "mistral");
}

TEST_F(Commands, SomeLayersOnlyGiveListsThatReopen) {
  expect_model(prune({"--layers", "0:1"}), out);
  const Json config = json_of(out + "/config.json");
  EXPECT_EQ(config.at("layer_num_attention_heads"), (Json{3, 4}));
  EXPECT_EQ(config.at("layer_num_key_value_heads"), (Json{3, 4}));
  EXPECT_EQ(config.at("layer_intermediate_size"), (Json{9, 12}));
  const Outcome eval = run({"eval", out, "--ppl", text, "--seqlen", "16", "--json"});
  EXPECT_EQ(eval.exit_code, 0) << eval.err;
  expect_model(run({"prune", out, "--out", dir / "twice", "--method", "l1"}), dir / "twice");
}

TEST_F(Commands, CompanionFilesAreCopiedAndForeignWeightsAreNot) {
  put(model + "/LICENSE", "be kind");
  put(model + "/generation_config.json", "{}");
  put(model + "/pytorch_model.bin", "a pickle");
  expect_model(prune(), out);
  EXPECT_EQ(names_in(out),
            (std::vector<std::string>{"LICENSE", "config.json", "generation_config.json",
                                      "model.safetensors", "plan.json", "run.json",
                                      "tokenizer.json", "tokenizer_config.json"}));
  for (const char* name : {"/LICENSE", "/tokenizer.json", "/tokenizer_config.json"}) {
    EXPECT_EQ(read(out + name), read(model + name)) << name;
  }
}

TEST_F(Commands, EveryFamilyIsPruned) {
  for (const char* family : {"mistral", "qwen2", "qwen3"}) {
    SCOPED_TRACE(family);
    save(tiny(family));
    expect_model(calibrated(out, {"--calib", text}), out);
    EXPECT_EQ(sizes(out), (Json{3, 3, 9, 4, 16}));
    EXPECT_EQ(json_of(out + "/config.json").at("model_type"), family);
    fs::remove_all(out);
  }
}

TEST_F(Commands, PruneSaysWhatItDidAndInJsonTheWholeRecord) {
  const Outcome said = prune();
  EXPECT_THAT(said.out, HasSubstr("FFN channels               12  ->  9"));
  EXPECT_EQ(said.err, "");
  const Outcome json = prune({"--json", "--force"});
  const Json record = parse_json(json.out, "stdout");
  EXPECT_EQ(record.at("result").at("intermediate_size"), (Json{9, 9}));
  EXPECT_EQ(record.at("options").at("method"), "l2");
}

TEST_F(Commands, EveryStructureAndGranularityGivesAModelThatOpens) {
  save({.family = "llama", .q_heads = 4, .kv_heads = 2, .vocab = kVocab, .layers = 3});
  const Arguments calib{"--calib", text};
  const auto pruned = [&](Arguments more) {
    expect_model(calibrated(out, more), out);
    const Json config = json_of(out + "/config.json");
    fs::remove_all(out);
    return config;
  };
  const Json channel = pruned(
      {"--structure", "channel", "--ratio", "0.25", "--taylor", "param_mix", "--calib", text});
  EXPECT_EQ(channel.at("hidden_size"), 12);
  const Json queries = pruned({"--granularity", "query-head", "--ratio", "0.5", "--calib", text});
  EXPECT_EQ(queries.at("num_attention_heads"), 2);
  EXPECT_EQ(queries.at("num_key_value_heads"), 2);
  const Json dims = pruned({"--granularity", "head-dim", "--ratio", "0.5", "--calib", text});
  EXPECT_EQ(dims.at("head_dim"), 2);
  EXPECT_EQ(dims.at("model_type"), "prunus_llama");  // no other loader may pass over the rest
  const Json layers = pruned({"--structure", "layer", "--drop-layers", "0,2"});
  EXPECT_EQ(layers.at("num_hidden_layers"), 1);
  expect_failed(calibrated(out, {"--structure", "layer", "--drop-layers", "0", "--ratio", "0.1"}),
                2, "--ratio");
}

TEST_F(Commands, ATargetIsSolvedForAndMet) {
  const auto parameters = [&](const char* of) {
    const Json record = json_of(out + "/run.json");
    return record.at(of).at("parameters").get<int64_t>();
  };
  for (const Arguments& more : {Arguments{}, Arguments{"--global", "--normalize", "params"}}) {
    Arguments all{"--target-params", "0.9x", "--calib", text, "--steps", "2"};
    all.insert(all.end(), more.begin(), more.end());
    expect_model(calibrated(out, all), out);
    EXPECT_LE(parameters("result"), 0.9 * static_cast<double>(parameters("source")));
    EXPECT_GT(parameters("result"), 0.8 * static_cast<double>(parameters("source")));
    fs::remove_all(out);
  }
  const Outcome both =
      calibrated(out, {"--target-params", "0.9x", "--ratio", "0.5", "--calib", text});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.err, HasSubstr("excludes"));
  expect_failed(calibrated(out, {"--target-bytes", "1KiB", "--method", "l2"}), 2, "out of reach");
}

TEST_F(Commands, CompatDrawsRowsAsTheReference) {
  const std::string rows =
      file("rows.txt", "short\n" + std::string(40, 'a') + "\n\nxy\n" + std::string(30, 'b') + "\n");
  expect_model(calibrated(out, {"--compat", "llm-pruner", "--calib", rows, "--calib-samples", "2"}),
               out);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("options").at("seed"), 42);
  EXPECT_EQ(record.at("calibration").at("windows").size(), 2U);
  fs::remove_all(out);
  expect_failed(
      calibrated(out, {"--compat", "llm-pruner", "--calib", rows, "--calib-samples", "3"}), 2, "2");
}

TEST_F(Commands, PerplexityIsPrintedAsATableOrAsJson) {
  const Outcome table = run({"eval", model, "--ppl", text, "--seqlen", "16"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("protocol"));
  EXPECT_THAT(table.out, HasSubstr("chunked-16"));
  const std::string two = file("two.jsonl", "{\"text\": \"plum\"}\n{\"text\": \"tree\"}\n");
  const Outcome json =
      run({"eval", model, "--ppl", text, "--ppl", two, "--seqlen", "16", "--json"});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  const Json results = parse_json(json.out, "stdout").at("results");
  EXPECT_EQ(results[0].at("protocol"), "chunked-16");
  // BOS and one token a byte, cut into chunks of 16 of which 15 tokens are predicted.
  EXPECT_EQ(results[0].at("tokens"), (some_text(60).size() + 1) / 16 * 15);
  EXPECT_GT(results[0].at("ppl"), 1.0);
  // BOS and four bytes each: four predicted tokens a document.
  EXPECT_EQ(results[1].at("protocol"), "documents-16");
  EXPECT_EQ(results[1].at("tokens"), 8);
}

TEST_F(Commands, GenerationRepeatsItselfWhereItShould) {
  const auto generate = [&](Arguments more) {
    Arguments all{"generate", model, "--prompt", "plum", "--max-tokens", "12"};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome done = run(all);
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return done.out;
  };
  const std::string greedy = generate({"--temperature", "0", "--seed", "1"});
  EXPECT_THAT(greedy, HasSubstr("plum"));
  EXPECT_EQ(generate({"--temperature", "0", "--seed", "2"}), greedy);
  const std::string drawn = generate({"--temperature", "1", "--seed", "1"});
  EXPECT_EQ(generate({"--temperature", "1", "--seed", "1"}), drawn);
  EXPECT_NE(generate({"--temperature", "1", "--seed", "2"}), drawn);
  const Json json = parse_json(generate({"--temperature", "0", "--json"}), "stdout");
  EXPECT_EQ(json.at("prompt_tokens"), 5);
  EXPECT_LE(json.at("new_ids").size(), 12U);
}

}  // namespace
}  // namespace prunus::test_cli::commands_test
