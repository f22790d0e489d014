// What `prunus inspect` says, with and without weights.
#include <cmath>

#include "cli/fixture.h"

namespace prunus::test_cli::inspect_test {
namespace {

constexpr const char* kLlama31 = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16"})";

class Inspect : public CliTest {
 protected:
  /// The report on a config.json of this content.
  Json report_on(const std::string& config) const { return report(file("config.json", config)); }

  Json report(const std::string& path) const {
    const Outcome outcome = run({"inspect", path, "--json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return parse_json(outcome.out, "stdout");
  }

  std::string text(const std::string& path, Arguments more = {}) const {
    Arguments all{"inspect", path};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  }

  void expect_refused(const std::string& path, int code, const std::string& message) const {
    expect_failed(run({"inspect", path}), code, message);
  }
};

Json with(const char* key, const Json& value) {
  Json config = parse_json(kLlama31, "test");
  config[key] = value;
  return config;
}

/// The first entry of a list whose `key` is `value`.
Json entry(const Json& list, const char* key, const Json& value) {
  for (const Json& one : list) {
    if (one.at(key) == value) return one;
  }
  ADD_FAILURE() << "no entry with " << key << " = " << value;
  return {};
}

int count_lines_with(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_F(Inspect, KnowsLlama31FromItsConfigAlone) {
  const Json report = report_on(kLlama31);
  EXPECT_EQ(report.at("family"), "llama");
  EXPECT_EQ(report.at("parameters"), 8030261248);
  EXPECT_EQ(report.at("bytes"), 16060522496);
  EXPECT_EQ(report.at("dtype"), "BF16");
  EXPECT_EQ(report.at("dtype_source"), "config.json");
  EXPECT_EQ(entry(report.at("parts"), "part", "embedding").at("parameters"), 525336576);
  EXPECT_EQ(entry(report.at("parts"), "part", "FFN down").at("bytes"), 2 * 1879048192LL);
  ASSERT_EQ(report.at("layers").size(), 32U);
  EXPECT_EQ(report.at("layers")[7].at("parameters"), 218112000);
  EXPECT_EQ(report.at("layers")[7].at("sliding_window"), nullptr);
  double share = 0;
  for (const Json& part : report.at("parts")) share += part.at("share").get<double>();
  EXPECT_NEAR(share, 1, 1e-12);
}

TEST_F(Inspect, PrintsThePublishedMemoryOfLlama31) {
  const Json memory = report_on(kLlama31).at("memory");
  EXPECT_EQ(entry(memory.at("weights"), "format", "FP16").at("bytes"), 16060522496);
  EXPECT_EQ(entry(memory.at("weights"), "format", "FP8").at("bytes"), 8030261248);
  EXPECT_EQ(entry(memory.at("weights"), "format", "INT4").at("bytes"), 4015130624);
  const Json cache = entry(memory.at("kv_cache"), "tokens", 128000);
  EXPECT_EQ(cache.at("fp16_bytes"), 131072LL * 128000);
  EXPECT_EQ(cache.at("fp8_bytes"), 65536LL * 128000);
  EXPECT_EQ(memory.at("fine_tuning").at("full_bf16_bytes"), 8 * 8030261248);
  EXPECT_EQ(memory.at("fine_tuning").at("full_mixed_bytes"), 16 * 8030261248);
  EXPECT_EQ(memory.at("fine_tuning").at("lora_parameters"), 41943040);
  EXPECT_EQ(memory.at("fine_tuning").at("lora_bytes"), 2 * 8030261248 + 16 * 41943040);
  const std::string screen = text(dir / "config.json");
  for (const char* part : {"16.06 GB", "15.62 GiB", "64.24 GB", "128.48 GB", "16.73 GB", "6.37 GB"})
    EXPECT_THAT(screen, HasSubstr(part));
}

TEST_F(Inspect, FindsTheGroupsOfEveryAxis) {
  const Json report = report_on(kLlama31);
  const Json heads = entry(report.at("groups"), "name", "layers.5.kv_group");
  EXPECT_EQ(heads.at("units"), 8);
  // Four query heads in q and o, the key head and the value head, 128 rows each of 4096.
  EXPECT_EQ(heads.at("parameters_per_unit"), (4 + 4 + 1 + 1) * 128 * 4096);
  EXPECT_EQ(heads.at("bytes_per_unit"), 2 * heads.at("parameters_per_unit").get<int64_t>());
  const Json ffn = entry(report.at("groups"), "name", "layers.31.ffn");
  EXPECT_EQ(ffn.at("units"), 14336);
  EXPECT_EQ(ffn.at("parameters_per_unit"), 3 * 4096);
  EXPECT_EQ(ffn.at("layer"), 31);
  const Json hidden = entry(report.at("groups"), "name", "hidden");
  EXPECT_EQ(hidden.at("units"), 4096);
  EXPECT_EQ(hidden.at("parameters"), 8030261248);
  EXPECT_EQ(hidden.at("share"), 1.0);
  EXPECT_EQ(hidden.at("layer"), nullptr);
}

TEST_F(Inspect, CountsMacsBothWays) {
  Json config = with("num_key_value_heads", 32);
  config["vocab_size"] = 32000;
  config["intermediate_size"] = 11008;
  const Json macs = report_on(config.dump()).at("macs");
  EXPECT_EQ(macs.at("tokens"), 64);
  EXPECT_EQ(macs.at("llm_pruner"), 424021065728);  // LLaMA-7B, published as 424.02 G
  const Json& exact = macs.at("exact");
  EXPECT_EQ(exact.at("attention"), 32LL * 2 * 4096 * (64 * 65 / 2));
  EXPECT_EQ(exact.at("head"), 64LL * 4096 * 32000);
  EXPECT_THAT(text(dir / "config.json"), HasSubstr("424.02 G"));
}

TEST_F(Inspect, TakesADirectoryOrTheFileWithoutWeights) {
  fs::create_directory(dir / "bare");
  put(dir / "bare/config.json", kLlama31);
  put(dir / "bare/model.safetensors.index.json", "{}");  // as after downloading *.json only
  Json from_dir = report(dir / "bare");
  Json from_file = report(dir / "bare/config.json");
  EXPECT_EQ(from_dir.at("model"), dir / "bare");
  for (const char* key : {"model", "options", "stages", "places", "peak_memory_bytes"}) {
    from_dir.erase(key);
    from_file.erase(key);
  }
  EXPECT_EQ(from_dir, from_file);
  EXPECT_THAT(text(dir / "bare"), HasSubstr("as config.json says"));
}

TEST_F(Inspect, ShowsWeightsAsTheyAreStored) {
  const Json stored = report(model);
  EXPECT_EQ(stored.at("dtype"), "F32");
  EXPECT_EQ(stored.at("dtype_source"), "weights");
  EXPECT_EQ(stored.at("bytes"), 4 * stored.at("parameters").get<int64_t>());
  EXPECT_EQ(entry(stored.at("groups"), "name", "layers.0.ffn").at("bytes_per_unit"), 3 * 16 * 4);
  EXPECT_THAT(text(model), HasSubstr("in F32, as stored"));
}

TEST_F(Inspect, AssumesSixteenBitsWhereNothingSaysMore) {
  Json config = parse_json(kLlama31, "test");
  config.erase("torch_dtype");
  EXPECT_EQ(report_on(config.dump()).at("bytes"), 16060522496);
  EXPECT_THAT(text(dir / "config.json"), HasSubstr("16 bit, assumed"));
  config["dtype"] = "float32";
  EXPECT_EQ(report_on(config.dump()).at("dtype"), "F32");
  config["dtype"] = "float8_e4m3fn";
  EXPECT_EQ(report_on(config.dump()).at("dtype_source"), "assumed");
}

TEST_F(Inspect, FoldsEqualLayersUnlessAskedNotTo) {
  EXPECT_EQ(prune({"--layers", "0:1"}).exit_code, 0);
  const std::string pruned = text(out);
  EXPECT_EQ(count_lines_with(pruned, "\n  0-1 "), 0);
  EXPECT_EQ(count_lines_with(pruned, "\n  ffn "), 2);
  const std::string whole = text(model);
  EXPECT_EQ(count_lines_with(whole, "\n  0-1 "), 1);
  EXPECT_EQ(count_lines_with(whole, "\n  ffn "), 1);
  const std::string every = text(model, {"--every-layer"});
  EXPECT_EQ(count_lines_with(every, "\n  0-1 "), 0);
  EXPECT_EQ(count_lines_with(every, "\n  ffn "), 2);
}

TEST_F(Inspect, SaysWhereTheHeadIsTiedAndWindowsCapTheCache) {
  Json config = with("tie_word_embeddings", true);
  config["architectures"] = {"MistralForCausalLM"};
  config["model_type"] = "mistral";
  config["sliding_window"] = 4096;
  const Json report = report_on(config.dump());
  EXPECT_EQ(report.at("parameters"), 8030261248 - 525336576);
  const Json& caches = report.at("memory").at("kv_cache");
  EXPECT_EQ(entry(caches, "tokens", 128000).at("fp16_bytes"), 131072LL * 4096);
  EXPECT_EQ(entry(caches, "tokens", 1000).at("fp16_bytes"), 131072LL * 1000);
  const std::string screen = text(dir / "config.json");
  EXPECT_THAT(screen, HasSubstr("tied to the embedding"));
  EXPECT_THAT(screen, HasSubstr("A layer with a window"));
}

TEST_F(Inspect, LinesFitATerminal) {
  fs::create_directory(dir / "bare");
  put(dir / "bare/config.json", kLlama31);
  std::istringstream lines(text(dir / "bare"));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

TEST_F(Inspect, RefusesWhatIsNoModel) {
  expect_refused(dir / "absent", 3, "no such directory");
  fs::create_directory(dir / "empty");
  expect_refused(dir / "empty", 3, "has no config.json");
  expect_refused(file("broken.json", "{\"model_type\": "), 3, "broken.json");
  expect_refused(file("list.json", "[]"), 3, "expected a JSON object");
  expect_refused(file("mamba.json", with("model_type", "mamba").dump()), 4, "'mamba'");
  expect_refused(file("no_size.json", with("hidden_size", nullptr).dump()), 3, "hidden_size");
  EXPECT_EQ(run({"inspect"}).exit_code, 2);
}

TEST_F(Inspect, RefusesDamagedWeightsButNotTheConfigBesideThem) {
  fs::resize_file(model + "/model.safetensors", 100);
  expect_refused(model, 3, "model.safetensors");
  EXPECT_EQ(report(model + "/config.json").at("dtype_source"), "assumed");
}

TEST_F(Inspect, RefusesSizesThatNoModelHas) {
  Json config = with("hidden_size", 1 << 24);
  config["num_attention_heads"] = 1 << 24;
  config["head_dim"] = 1 << 24;
  config["num_key_value_heads"] = 1;
  expect_refused(file("config.json", config.dump()), 3, "no model is that large");
}

}  // namespace
}  // namespace prunus::test_cli::inspect_test
