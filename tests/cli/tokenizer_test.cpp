// prunus tokenizer, as a user runs it.
#include "prunus/text/tokenizer.h"

#include "cli/fixture.h"

namespace prunus::test_cli::tokenizer_test {
namespace {

class TokenizerCommand : public CliTest {
 protected:
  Outcome learn(Arguments more) const {
    Arguments all{"tokenizer", "--data", text, "--out", out};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }

  std::string text = file("text.txt", some_text(40));
};

TEST_F(TokenizerCommand, WritesATokenizerAndSaysWhatIsInIt) {
  const Outcome made = learn({"--vocab-size", "320", "--model-max-length", "64", "--json"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.err, "");
  EXPECT_EQ(names_in(out),
            (std::vector<std::string>{"run.json", "special_tokens_map.json", "tokenizer.json",
                                      "tokenizer.model", "tokenizer_config.json"}));
  EXPECT_EQ(json_of(out + "/tokenizer_config.json").at("model_max_length"), 64);
  const auto tokenizer = load_tokenizer(out);
  EXPECT_EQ(tokenizer->vocab_size(), 320);
  const std::string content = read(text);
  const Json result = parse_json(made.out, "stdout");
  const std::set<char> characters(content.begin(), content.end());  // the line break is a byte
  EXPECT_EQ(result.at("pieces"), 320);
  EXPECT_EQ(result.at("characters"), characters.size() - 1);
  EXPECT_EQ(result.at("learned"), 320 - 259 - (characters.size() - 1));
  EXPECT_EQ(result.at("documents"), 1);
  EXPECT_EQ(result.at("text_bytes"), content.size());
  const size_t tokens = tokenizer->encode(content).size();
  EXPECT_EQ(result.at("tokens"), tokens);
  EXPECT_DOUBLE_EQ(result.at("bytes_per_token"),
                   static_cast<double>(content.size()) / static_cast<double>(tokens));
  EXPECT_EQ(result.at("out"), out);
}

TEST_F(TokenizerCommand, TellsPeopleWhatItDoesAndDid) {
  const Outcome made =
      prunus({"tokenizer", "--data", text, "--out", out, "--vocab-size", "320", "--threads", "1"});
  EXPECT_EQ(made.exit_code, 0);
  EXPECT_THAT(made.err, HasSubstr("different words"));
  EXPECT_THAT(made.out, HasSubstr("320: 3 special, 256 bytes, "));
  EXPECT_THAT(made.out, HasSubstr("bytes per token"));
  EXPECT_THAT(made.out, HasSubstr(out));
}

TEST_F(TokenizerCommand, ReadsSeveralFilesOfEitherKind) {
  const std::string lines =
      file("lines.jsonl", Json{{"text", "one"}}.dump() + "\n" + Json{{"text", "two"}}.dump());
  const Outcome made = prunus({"tokenizer", "--data", text, lines, "--data", text, "--out", out,
                               "--vocab-size", "310", "--json", "--quiet"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  const Json result = parse_json(made.out, "stdout");
  EXPECT_EQ(result.at("documents"), 4);
  EXPECT_EQ(result.at("text_bytes"), 2 * read(text).size() + 6);
}

TEST_F(TokenizerCommand, TheSameTextGivesTheSameBytes) {
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(
        run({"tokenizer", "--data", text, "--out", dir / name, "--vocab-size", "330"}).exit_code,
        0);
  }
  for (const std::string& name : names_in(dir / "a")) {
    if (name == "run.json") continue;  // holds paths and times
    EXPECT_EQ(read(dir / "a/" + name), read(dir / "b/" + name)) << name;
  }
}

TEST_F(TokenizerCommand, DigitsAreJoinedOnRequest) {
  const std::string digits = file("digits.txt", "77 77 77");
  const Outcome made = run({"tokenizer", "--data", digits, "--out", out, "--vocab-size", "263",
                            "--join-digits"});  // 77 and the mark with it, 7, the mark
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(load_tokenizer(out)->encode("77").size(), 1U);
}

TEST_F(TokenizerCommand, ReplacesItsResultOnlyByForce) {
  const auto line = [&](const std::string& size, Arguments more) {
    Arguments all{"tokenizer", "--data", text, "--out", out, "--vocab-size", size};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  EXPECT_EQ(run(line("320", {})).exit_code, 0);
  const Outcome again = run(line("330", {}));
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("--force"));
  EXPECT_EQ(load_tokenizer(out)->vocab_size(), 320);
  EXPECT_EQ(run(line("330", {"--force"})).exit_code, 0);
  EXPECT_EQ(load_tokenizer(out)->vocab_size(), 330);
}

TEST_F(TokenizerCommand, NeverReplacesAModelOfOthers) {
  const std::string config = read(model + "/config.json");
  expect_failed(
      run({"tokenizer", "--data", text, "--out", model, "--vocab-size", "320", "--force"}), 2,
      "no prunus run has written");
  EXPECT_EQ(read(model + "/config.json"), config);
}

TEST_F(TokenizerCommand, RefusesInOneLineAndLeavesNothing) {
  expect_failed(learn({"--vocab-size", "100000"}), 2, "pieces at most; lower --vocab-size");
  expect_failed(learn({"--vocab-size", "262"}), 2, "raise --vocab-size");
  expect_failed(learn({"--character-coverage", "2"}), 2, "character_coverage");
  expect_failed(run({"tokenizer", "--data", file("empty.txt", ""), "--out", out}), 3, "no text");
  expect_failed(run({"tokenizer", "--data", text, file("bad.txt", "ab\xFF"), "--out", out}), 3,
                "UTF-8");
  EXPECT_EQ(run({"tokenizer", "--out", out}).exit_code, 2);
}

}  // namespace
}  // namespace prunus::test_cli::tokenizer_test
