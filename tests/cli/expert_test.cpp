// `prune --structure expert --method reap`: whole experts of a mixture.
#include "prunus/model/model.h"

#include "cli/fixture.h"
#include "support/paths.h"

namespace prunus::test_cli::expert_test {
namespace {

class Experts : public CliTest {
 protected:
  // A tiny mixture: two layers, two of four experts; its tokens are the bytes up to `\`.
  void save_mixture(const std::string& name) const {
    const std::string golden = test::source_path("tests/model/golden/") + name;
    fs::remove_all(model);
    test::save_model(open_model(golden), json_of(golden + "/config.json"), model);
  }

  Outcome reap(const std::string& to, Arguments more) const {
    Arguments all{"prune",          model, "--out",   to,  "--method", "reap",
                  "--calib-tokens", "16",  "--calib", text};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }

  static std::string capitals() {
    std::string letters = some_text(60);
    std::transform(letters.begin(), letters.end(), letters.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return letters;
  }

  std::string text = file("text.txt", capitals());
  const Arguments whole{"--structure", "expert", "--ratio", "0.5"};
};

TEST_F(Experts, GoByTheirRouterWeightedOutput) {
  for (const auto& [name, key] :
       {std::pair{"mixtral", "num_local_experts"}, std::pair{"qwen2_moe", "num_experts"}}) {
    SCOPED_TRACE(name);
    save_mixture(name);
    expect_model(reap(out, whole), out);
    EXPECT_EQ(json_of(out + "/config.json").at(key), 2);
    const Json record = json_of(out + "/run.json");
    EXPECT_EQ(record.at("options").at("criterion"), "expert_output");
    EXPECT_GT(record.at("calibration_loss"), 0);
    for (const Json& group : json_of(out + "/plan.json").at("groups")) {
      EXPECT_EQ(group.at("axis"), "expert");
      const auto scores = group.at("scores").get<std::vector<double>>();
      const auto keep = group.at("keep").get<std::vector<size_t>>();
      ASSERT_EQ(scores.size(), 4U);
      ASSERT_EQ(keep.size(), 2U);
      std::vector<double> ordered = scores;
      std::sort(ordered.begin(), ordered.end());
      for (const size_t unit : keep) EXPECT_GE(scores.at(unit), ordered[2]);
    }
    fs::remove_all(out);
  }
}

TEST_F(Experts, GoAlikeEveryTimeAndWithResumeWhereNothingWasFinished) {
  save_mixture("mixtral");
  const Arguments steps{"--structure", "expert", "--target-params", "0.8x", "--steps", "2"};
  expect_model(reap(out, steps), out);
  Arguments resumed = steps;
  resumed.push_back("--resume");
  expect_model(reap(dir / "again", resumed), dir / "again");
  for (const char* name : {"/model.safetensors", "/plan.json"}) {
    EXPECT_EQ(read(out + name), read(dir / "again" + name)) << name;
  }
}

TEST_F(Experts, AreWhatTheMethodIsForAndNothingElse) {
  expect_failed(reap(out, whole), 2, "model_type 'llama' has no experts");
  save_mixture("mixtral");
  expect_failed(reap(out, {"--structure", "block"}), 2, "add --structure expert");
  expect_failed(reap(out, {"--structure", "expert", "--reduction", "max"}), 2, "drop --reduction");
  expect_failed(run({"prune", model, "--out", out, "--method", "reap", "--structure", "expert"}), 2,
                "pass --calib FILE");
}

TEST_F(Experts, AreNamedInTheHelp) {
  const std::string help = prunus({"prune", "--help"}).out;
  EXPECT_THAT(help, HasSubstr("reap: "));
  EXPECT_THAT(help, HasSubstr("expert: "));
}

}  // namespace
}  // namespace prunus::test_cli::expert_test
