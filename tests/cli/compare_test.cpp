// Which figures `prunus compare` puts into one row, and its four formats.
#include "prunus/cli/compare_table.h"

#include "cli/fixture.h"
#include "support/expect_error.h"

namespace prunus::test_cli::compare_test {
namespace {

constexpr const char* kBigEval = R"({"model": "big", "parameters": 2000, "results": [
    {"file": "a/valid.txt", "sha256": "0123456789abcdef", "protocol": "chunked-128",
     "ppl": 10.5, "tokens": 1270, "seconds": 1.5}]})";
// The same text under another path, and a second length.
constexpr const char* kSmallEval = R"({"model": "small", "parameters": 1500, "results": [
    {"file": "b/valid.txt", "sha256": "0123456789abcdef", "protocol": "chunked-128",
     "ppl": 12.25, "tokens": 1270},
    {"file": "b/valid.txt", "sha256": "0123456789abcdef", "protocol": "chunked-64",
     "ppl": 14, "tokens": 1270}],
    "tasks": {"boolq": {"acc": 0.5, "acc_norm": 0.25, "items": 8, "few_shot": 0},
              "llm_pruner_table": {"mean": 0.5, "boolq": 0.5}},
    "kl": {"to": "big", "tokens": 99, "mean": 0.125}})";
constexpr const char* kSmallBench = R"({"format": "prunus-bench", "version": 1, "device": "cpu",
    "threads": 2, "peak_memory_bytes": 3000000, "models": [{"model": "./small/",
    "parameters": 1500, "bytes": 6000, "resident_dtype": "float32", "macs_64_tokens": 91000.0,
    "cases": [{"batch": 1, "prompt_tokens": 32, "new_tokens": 16,
               "prefill_tokens_per_second": {"median": 400.5, "min": 1, "max": 500},
               "first_token_ms": {"median": 80, "min": 1, "max": 99},
               "decode_tokens_per_second": {"median": 33.25, "min": 1, "max": 50}}]}]})";

class Compare : public CliTest {
 protected:
  std::string table(Arguments arguments) const {
    arguments.insert(arguments.begin(), "compare");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  }

  Json rows(Arguments arguments) const {
    arguments.insert(arguments.end(), {"--format", "json"});
    const Json json = parse_json(table(arguments), "stdout");
    Json by_name = Json::object();
    for (const Json& row : json.at("rows")) {
      by_name[row.at("figure").get<std::string>()] = row.at("values");
    }
    return by_name;
  }

  std::string big = file("big.json", kBigEval);
  std::string small = file("small.json", kSmallEval);
  std::string speed = file("speed.json", kSmallBench);
};

TEST_F(Compare, PrintsAlignedText) {
  EXPECT_EQ(
      table({big, small, speed}),
      R"(                                                                              big    small
  parameters                                                                2,000    1,500
  bytes of weights                                                              -  6.00 kB
  parameters, of the first                                               100.00 %  75.00 %
  MACs, 64 tokens                                                               -  91.00 K
  ppl chunked-128 valid.txt, sha256 0123456789ab, 1270 tokens             10.5000  12.2500
  ppl chunked-64 valid.txt, sha256 0123456789ab, 1270 tokens                    -  14.0000
  boolq acc, 8 items, 0-shot                                                    -  50.00 %
  boolq acc_norm, 8 items, 0-shot                                               -  25.00 %
  llm_pruner_table mean, 8 items, tasks 74021d5cc62f                            -  50.00 %
  llm_pruner_table boolq, 8 items, tasks 74021d5cc62f                           -  50.00 %
  kl mean, to big, tokens 99                                                    -   0.1250
  prefill tokens/s, batch 1, prompt 32 (cpu, 2 threads, float32)                -   400.50
  first token ms, batch 1, prompt 32 (cpu, 2 threads, float32)                  -    80.00
  decode tokens/s, batch 1, prompt 32, 16 new (cpu, 2 threads, float32)         -    33.25
  peak memory of bench (cpu, 2 threads, float32)                                -  3.00 MB
)");
}

TEST_F(Compare, WritesMarkdown) {
  const std::string odd =
      file("odd.json", R"({"model": "a|b", "parameters": 1500, "results": []})");
  EXPECT_EQ(table({big, odd, "--format", "markdown"}),
            "| figure | big | a\\|b |\n|---|--:|--:|\n"
            "| parameters | 2,000 | 1,500 |\n"
            "| parameters, of the first | 100.00 % | 75.00 % |\n"
            "| ppl chunked-128 valid.txt, sha256 0123456789ab, 1270 tokens | 10.5000 | - |\n");
}

TEST_F(Compare, WritesCsvOfRawValues) {
  const std::string odd =
      file("odd.json", R"({"model": "a\"b", "parameters": 1500, "results": []})");
  EXPECT_EQ(table({big, odd, "--format", "csv", "--out", dir / "table.csv"}),
            "figure,big,\"a\"\"b\"\n"
            "parameters,2000,1500\n"
            "\"parameters, of the first\",1.0,0.75\n"
            "\"ppl chunked-128 valid.txt, sha256 0123456789ab, 1270 tokens\",10.5,\n");
  EXPECT_THAT(read(dir / "table.csv"), ::testing::StartsWith("figure,big,"));
}

TEST_F(Compare, WritesJsonWithNullForWhatIsNotKnown) {
  EXPECT_EQ(parse_json(table({big, speed, "--format", "json"}), "stdout").at("models"),
            (Json{"big", "./small/"}));
  EXPECT_EQ(rows({big, speed}).at("bytes of weights"), (Json{nullptr, 6000}));
}

TEST_F(Compare, DifferentTextsOrTokenCountsAreDifferentRows) {
  const auto other = [&](const char* name, const std::string& from, const std::string& to) {
    std::string text = kBigEval;
    text.replace(text.find("big"), 3, name);
    text.replace(text.find(from), from.size(), to);
    return file(std::string(name) + ".json", text);
  };
  const Json all =
      rows({big, other("hash", "0123456789ab", "ba9876543210"), other("tokens", "1270", "1271"),
            other("seqlen", "128", "256"), other("path", R"("sha256": "0123456789abcdef",)", "")});
  int count = 0;
  for (const auto& [name, values] : all.items()) {
    if (!name.starts_with("ppl ")) continue;
    ++count;
    EXPECT_EQ(std::count(values.begin(), values.end(), nullptr), 4) << name;
  }
  EXPECT_EQ(count, 5);
}

TEST_F(Compare, ReadsADirectoryAndItsRunJson) {
  expect_model(prune({"--ratio", "0.5"}), out);
  const Json all = rows({model, out});
  EXPECT_EQ(all.at("parameters"), (Json{2 * 4144 + 2 * 1632 + 16, 2 * 4144 + 2 * 832 + 16}));
  // Two layers of q, k, v, o 65536, FFN 36864, attention 32·(64·65/2), and the head.
  EXPECT_EQ(all.at("MACs, 64 tokens")[0], 2.0 * (65536 + 36864 + 66560) + 64 * 16 * 259);
  EXPECT_EQ(all.at("made by"), (Json{nullptr, "prune l2"}));
  EXPECT_DOUBLE_EQ(all.at("parameters removed by the run")[1].get<double>(), 1600.0 / 11568);
  // The record alone tells the same.
  EXPECT_EQ(rows({out + "/run.json"}).at("parameters")[0], all.at("parameters")[1]);
}

TEST_F(Compare, ShowsTheLossesOfARecovery) {
  fs::create_directory(out);
  put(out + "/run.json", R"({"format": "prunus-run", "version": 1, "command": "recover",
      "options": {"mode": "lora"}, "data": {"sha256": "feedfacecafebeef"},
      "training": {"valid_loss_before": 3.5, "valid_loss": 1.5, "valid_loss_last": 1.75}})");
  const Json all = rows({out});
  EXPECT_EQ(all.at("made by")[0], "recover lora");
  EXPECT_EQ(all.at("validation loss before, data feedfacecafe")[0], 3.5);
  EXPECT_EQ(all.at("validation loss after, data feedfacecafe")[0], 1.5);
}

TEST_F(Compare, MeasuresAPerplexityAsEvalDoes) {
  const std::string text = file("text.txt", some_text(20));
  const Outcome eval = run({"eval", model, "--ppl", text, "--seqlen", "64", "--json"});
  ASSERT_EQ(eval.exit_code, 0) << eval.err;
  const double expected = parse_json(eval.out, "stdout").at("results")[0].at("ppl").get<double>();
  int found = 0;
  const Json all = rows({model, "--measure", "ppl=" + text});
  for (const auto& [name, values] : all.items()) {
    if (!name.starts_with("ppl ")) continue;
    ++found;
    EXPECT_THAT(name, HasSubstr("text.txt, sha256 "));
    EXPECT_NEAR(values[0].get<double>(), expected, 1e-6 * expected);
  }
  EXPECT_EQ(found, 1);
}

TEST_F(Compare, ASecondMeasurementOfASpeedStandsInItsOwnRows) {
  std::string text = kSmallBench;
  text.replace(text.find("33.25"), 5, "44.50");
  const std::string again = file("again.json", text);
  const Json all = rows({speed, again});
  const std::string name = "decode tokens/s, batch 1, prompt 32, 16 new (cpu, 2 threads, float32)";
  EXPECT_EQ(all.at(name)[0], 33.25);
  EXPECT_EQ(all.at(name + " in " + again)[0], 44.5);
}

TEST_F(Compare, RefusesFilesThatContradictOneAnother) {
  std::string text = kSmallEval;
  text.replace(text.find("12.25"), 5, "12.75");
  expect_failed(run({"compare", small, file("again.json", text)}), 2, "is 12.75, but 12.25");
}

TEST_F(Compare, RefusesWhatItCannotRead) {
  const auto refuses = [&](const std::string& content, const std::string& message) {
    CompareTable table;
    const std::string path = file("x.json", content);
    test::expect_error(ErrorKind::Corrupt, message, [&] { add_argument(table, path); });
  };
  refuses("{}", "expected a file written by");
  refuses("[1]", "not a JSON object");
  refuses(R"({"model": 3, "results": []})", "not as prunus writes it");
  refuses(R"({"format": "prunus-bench"})", "models");
  refuses(
      R"({"model": "m", "results": [], "tasks": {"boolq": {"items": 2e72}, "p": {"boolq": 1}}})",
      "boolq: items: is 2e+72, expected a whole number");
  CompareTable table;
  test::expect_error(ErrorKind::NotFound, "no such directory or file",
                     [&] { add_argument(table, dir / "absent"); });
}

TEST_F(Compare, RefusesOptionsItDoesNotKnow) {
  expect_failed(run({"compare", big, "--format", "xml"}), 2, "known: text, json, markdown, csv");
  expect_failed(run({"compare", big, "--measure", "acc=x"}), 2, "expected ppl=FILE");
  EXPECT_EQ(run({"compare"}).exit_code, 2);
}

}  // namespace
}  // namespace prunus::test_cli::compare_test
