// prunus export, and prune in the forms of other software.
#include "cli/fixture.h"

namespace prunus::test_cli::export_test {
namespace {

using ::testing::HasSubstr;

class Export : public CliTest {
 protected:
  // A model whose layers have different widths.
  std::string uneven() const {
    const std::string path = dir / "uneven";
    const Outcome done = run({"prune", model, "--out", path, "--method", "l2", "--ratio", "0.5",
                              "--ffn-layers", "0:1", "--attn-ratio", "0"});
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return path;
  }
};

TEST_F(Export, AFormThatCannotHoldTheModelEndsWithItsReasonAndNothingWritten) {
  const Outcome done = run({"export", uneven(), "--form", "stock", "--out", out});
  expect_failed(done, 4, "layers of different sizes");
  EXPECT_THAT(done.err, HasSubstr("nearest form that holds it: --format hf --form"));
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(Export, AnUnknownFormIsAnsweredWithTheNearest) {
  expect_failed(run({"export", model, "--form", "remote", "--out", out}), 2,
                "did you mean 'remote-code'");
}

TEST_F(Export, ShowsWhoOpensTheResult) {
  const Outcome done = run({"export", uneven(), "--form", "remote-code", "--out", out});
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("no: layers of different sizes"));
  EXPECT_TRUE(fs::exists(out + "/modeling_prunus.py"));
  EXPECT_THAT(run({"inspect", out}).out, HasSubstr("trust_remote_code=True"));
}

TEST_F(Export, PruneWritesAFormAtOnce) {
  const Outcome done = run({"prune", model, "--out", out, "--method", "l2", "--ratio", "0.5",
                            "--ffn-layers", "0:1", "--attn-ratio", "0", "--form", "shell"});
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(json_of(out + "/run.json").at("options").at("form"), "shell");
  EXPECT_FALSE(json_of(out + "/config.json").contains("layer_intermediate_size"));
  const std::string code = dir / "code";
  ASSERT_EQ(run({"prune", model, "--out", code, "--method", "l2", "--remote-code"}).exit_code, 0);
  EXPECT_EQ(json_of(code + "/config.json").at("model_type"), "prunus");
  // And is pruned again like any other.
  ASSERT_EQ(run({"prune", code, "--out", dir / "again", "--method", "l2"}).exit_code, 0);
  EXPECT_FALSE(json_of(dir / "again/config.json").contains("auto_map"));
}

TEST_F(Export, PruneRefusesAFormBeforeItWorks) {
  expect_failed(run({"prune", model, "--out", out, "--method", "l2", "--form", "nothing"}), 2,
                "--form 'nothing' is not known");
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace prunus::test_cli::export_test
