// What `prunus bench` measures and how it says so.
#include "cli/fixture.h"

namespace prunus::test_cli::bench_test {
namespace {

class Bench : public CliTest {
 protected:
  Outcome bench(Arguments more) const {
    Arguments all{"bench",        model, "--prompt-tokens", "3,8", "--batch", "1,2",
                  "--new-tokens", "4",   "--repeat",        "3"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }
};

void expect_spread(const Json& spread) {
  EXPECT_GT(spread.at("min"), 0);
  EXPECT_LE(spread.at("min"), spread.at("median"));
  EXPECT_LE(spread.at("median"), spread.at("max"));
}

TEST_F(Bench, MeasuresEveryBatchWithEveryPrompt) {
  const Outcome outcome = bench({"--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json report = parse_json(outcome.out, "stdout");
  EXPECT_EQ(report.at("format"), "prunus-run");
  EXPECT_EQ(report.at("command"), "bench");
  EXPECT_EQ(report.at("threads"), 1);
  EXPECT_EQ(report.at("options").at("repeat"), 3);
  EXPECT_GT(report.at("peak_memory_bytes"), 1 << 20);
  EXPECT_FALSE(report.contains("ratios"));
  ASSERT_EQ(report.at("models").size(), 1u);
  const Json& one = report.at("models")[0];
  EXPECT_EQ(one.at("resident_dtype"), "float32");
  // Embedding and head 259·16 each, layers 2·(4·16² + 3·12·16 + 2·16), norm 16; without the
  // embedding in memory.
  EXPECT_EQ(one.at("parameters"), 2 * 4144 + 2 * 1632 + 16);
  EXPECT_EQ(one.at("resident_bytes"), 4 * (4144 + 2 * 1632 + 16));
  Json settings = Json::array();
  for (const Json& setting : one.at("cases")) {
    settings.push_back({setting.at("batch"), setting.at("prompt_tokens")});
    EXPECT_EQ(setting.at("decode_tokens"), 4 * setting.at("batch").get<int64_t>());
    for (const char* key :
         {"prefill_tokens_per_second", "first_token_ms", "decode_tokens_per_second"}) {
      expect_spread(setting.at(key));
    }
    // The first token comes after the prefill: its time cannot be shorter.
    const double prompt_tokens =
        setting.at("batch").get<double>() * setting.at("prompt_tokens").get<double>();
    EXPECT_GE(
        setting.at("first_token_ms").at("max").get<double>(),
        1e3 * prompt_tokens / setting.at("prefill_tokens_per_second").at("max").get<double>());
    EXPECT_GT(setting.at("breakdown").at("decode_step").at("ffn_ms"), 0);
  }
  EXPECT_EQ(settings, Json::parse("[[1,3],[1,8],[2,3],[2,8]]"));
}

TEST_F(Bench, HoldsTwoModelsAgainstTheIdeal) {
  expect_model(prune({"--ratio", "0.5"}), out);
  const Outcome outcome = bench({"--vs", out, "--json", "--out", dir / "bench.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json report = parse_json(outcome.out, "stdout");
  EXPECT_EQ(json_of(dir / "bench.json"), report);
  ASSERT_EQ(report.at("models").size(), 2u);
  EXPECT_EQ(report.at("models")[1].at("model"), out);
  ASSERT_EQ(report.at("ratios").size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const Json& ratio = report.at("ratios")[i];
    const Json& first = report.at("models")[0].at("cases")[i];
    const Json& second = report.at("models")[1].at("cases")[i];
    for (const char* what : {"prefill", "first_token", "decode"}) expect_spread(ratio.at(what));
    EXPECT_DOUBLE_EQ(ratio.at("decode").at("ideal_bytes"),
                     first.at("step_bytes").get<double>() / second.at("step_bytes").get<double>());
    EXPECT_GT(ratio.at("prefill").at("ideal_macs"), 1);
  }
}

TEST_F(Bench, PrintsTablesForPeople) {
  const Outcome outcome = bench({"--vs", model});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* part : {"cpu, 1 threads", "float32", "decode tokens/s", "feed-forward",
                           "norms and the rest", "ideal (bytes)", "1.00x", "both models"}) {
    EXPECT_THAT(outcome.out, HasSubstr(part));
  }
}

TEST_F(Bench, RefusesWhatMakesNoSense) {
  expect_failed(bench({"--prompt-tokens", "63"}), 2, "context of 64");
  expect_failed(bench({"--dtype", "int4"}), 2, "known: auto, float32, bfloat16, float16, file");
  expect_failed(bench({"--vs", dir / "absent"}), 3, "absent");
  expect_failed(bench({"--out", dir / "no/such.json"}), 2, "no such folder");
  for (const char* option : {"--batch", "--new-tokens", "--repeat", "--prompt-tokens"}) {
    const Outcome zero = run({"bench", model, option, "0"});
    EXPECT_EQ(zero.exit_code, 2);
    EXPECT_THAT(zero.err, HasSubstr(option));
  }
  EXPECT_EQ(run({"bench"}).exit_code, 2);
}

}  // namespace
}  // namespace prunus::test_cli::bench_test
