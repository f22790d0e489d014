// `prunus verify` as a user runs it.
#include "prunus/base/run_schema.h"

#include "cli/fixture.h"

namespace prunus::test_cli::verify_test {
namespace {

class Verify : public CliTest {
 protected:
  Verify() { expect_model(prune({"--ratio", "0.25"}), out); }

  Json figures(Arguments more, int exit_code = 0) const {
    Arguments all{"verify", model, out, "--json"};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome done = run(all);
    EXPECT_EQ(done.exit_code, exit_code) << done.err;
    const Json record = parse_json(done.out, "stdout");
    EXPECT_NO_THROW(check_run(record, "verify"));
    return record.at("verify");
  }
};

TEST_F(Verify, AModelIsItself) {
  const Outcome done = run({"verify", model, model, "--tolerance", "0", "--json"});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  const Json verify = parse_json(done.out, "stdout").at("verify");
  EXPECT_EQ(verify.at("max_abs_diff"), 0.0);
  EXPECT_EQ(verify.at("mean_kl"), 0.0);
  EXPECT_EQ(verify.at("top1_agreement"), 1.0);
  EXPECT_EQ(verify.at("passed"), true);
  EXPECT_EQ(verify.at("tokenizer").at("same_ids"), true);
  EXPECT_EQ(verify.at("text"), "own");
  EXPECT_EQ(verify.at("vocab_size"), (Json{kVocab, kVocab}));
}

TEST_F(Verify, ADifferentModelExitsWithSixAboveTheTolerance) {
  const Json free = figures({});
  EXPECT_EQ(free.at("passed"), nullptr);
  const double most = free.at("max_abs_diff");
  EXPECT_GT(most, 0.01);
  EXPECT_GT(free.at("mean_kl"), 0.0);
  EXPECT_LE(free.at("mean_abs_diff"), most);
  EXPECT_LT(free.at("top1_agreement"), 1.0);
  EXPECT_EQ(figures({"--tolerance", std::to_string(most * 0.99)}, 6).at("passed"), false);
  EXPECT_EQ(figures({"--tolerance", std::to_string(most * 1.01)}).at("passed"), true);
  const Outcome told = run({"verify", model, out, "--tolerance", "0"});
  EXPECT_EQ(told.exit_code, 6);
  EXPECT_THAT(told.out, HasSubstr("max |logit difference|"));
  EXPECT_THAT(told.err, HasSubstr(out + ": not the same model: logits differ"));
}

TEST_F(Verify, TakesATextAndItsFirstTokens) {
  const std::string text = file("text.txt", some_text(20));
  const Json verify = figures({"--data", text, "--tokens", "100", "--seqlen", "16"});
  EXPECT_EQ(verify.at("text"), text);
  EXPECT_EQ(verify.at("seqlen"), 16);
  // 100 ids are six sequences of 16 and one of 4, each compared at all places but its last.
  EXPECT_EQ(verify.at("tokens"), 6 * 15 + 3);
}

TEST_F(Verify, DrawnIdsNeedNoTokenizer) {
  for (const std::string& one : {model, out}) {
    fs::remove(one + "/tokenizer.json");
    fs::remove(one + "/tokenizer_config.json");
  }
  const Outcome without = run({"verify", model, out});
  EXPECT_EQ(without.exit_code, 3);
  EXPECT_THAT(without.err, HasSubstr("neither has a tokenizer to make ids of a text; --random"));
  const Json verify = figures({"--random", "--tokens", "64"});
  EXPECT_EQ(verify.at("text"), "random");
  EXPECT_FALSE(verify.contains("tokenizer"));
  EXPECT_EQ(figures({"--random", "--tokens", "64"}), verify);
  EXPECT_NE(figures({"--random", "--tokens", "64", "--seed", "1"}), verify);
}

TEST_F(Verify, OtherTokenizersDoNotPass) {
  Json tokenizer = json_of(out + "/tokenizer.json");
  Json& vocab = tokenizer.at("model").at("vocab");
  std::swap(vocab.at("a"), vocab.at("b"));
  put(out + "/tokenizer.json", tokenizer.dump());
  const Json verify = figures({"--tolerance", "1000"}, 6);
  EXPECT_EQ(verify.at("tokenizer").at("same_ids"), false);
  EXPECT_GE(verify.at("tokenizer").at("first_difference"), 0);
  EXPECT_EQ(verify.at("passed"), false);
}

TEST_F(Verify, WritesItsRecord) {
  const std::string record = dir / "verify.json";
  EXPECT_EQ(run({"verify", model, out, "--out", record}).exit_code, 0);
  const Json json = json_of(record);
  EXPECT_EQ(json.at("command"), "verify");
  EXPECT_EQ(json.at("models").size(), 2U);
  EXPECT_EQ(json.at("models")[1].at("model"), out);
  EXPECT_EQ(json.at("places").at("other").at("path"), out);
  EXPECT_EQ(run({"verify", model, out, "--out", record}).exit_code, 2);  // stands already
  EXPECT_EQ(run({"verify", model, out, "--random", "--data", record}).exit_code, 2);
}

}  // namespace
}  // namespace prunus::test_cli::verify_test
