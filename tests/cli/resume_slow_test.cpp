// Killed at any moment, the same command with --resume gives the same bytes.
#include "prunus/base/progress.h"

#include "cli/fixture.h"

namespace prunus::test_cli::resume_slow_test {
namespace {

class Resume : public CliTest {
 protected:
  // Enough layers that a kill falls between two of them.
  Resume() {
    save({.hidden = 64,
          .head_dim = 8,
          .q_heads = 8,
          .kv_heads = 4,
          .ffn = 192,
          .vocab = kVocab,
          .layers = 24});
  }

  Arguments command(const std::string& to, const Arguments& options,
                    const Arguments& more = {}) const {
    Arguments all{"prune",          model, "--out",   to,          "--calib", text,
                  "--calib-tokens", "64",  "--quiet", "--threads", "1"};
    all.insert(all.end(), options.begin(), options.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  static void expect_same_result(const std::string& got, const std::string& wanted) {
    for (const char* name : {"/model.safetensors", "/plan.json", "/config.json"}) {
      EXPECT_EQ(read(got + name), read(wanted + name)) << name;
    }
  }

  std::string text = file("text.txt", some_text(400));
};

TEST_F(Resume, AfterAKillAtAnyMomentGivesTheSameBytes) {
  const std::vector<Arguments> jobs = {
      {"--taylor", "param_mix"},
      {"--structure", "channel", "--ratio", "0.2", "--taylor", "param_first"},
      {"--global", "--steps", "2", "--ram", "1KiB"}};
  int interrupted = 0;
  for (const Arguments& job : jobs) {
    const Timer timer;
    ASSERT_EQ(prunus(command(out, job)).exit_code, 0);
    double seconds = timer.seconds();
    for (const double part : {0.45, 0.6, 0.75, 0.9}) {
      const std::string other = dir / "other";
      const bool killed = stopped_after(part * seconds, command(other, job));
      interrupted += killed;
      if (!killed) seconds *= 0.7;  // that first run had been disturbed
      if (const Arguments more = options_to_resume(other); !more.empty()) {
        const Outcome resumed = prunus(command(other, job, more));
        ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
      }
      expect_same_result(other, out);
      EXPECT_FALSE(fs::exists(other + ".work"));
      fs::remove_all(other);
    }
    fs::remove_all(out);
  }
  EXPECT_GT(interrupted, 3);
}

TEST_F(Resume, AnInterruptedRunIsNotThrownAwayUnasked) {
  const Timer timer;
  ASSERT_EQ(prunus(command(out, {})).exit_code, 0);
  const double seconds = timer.seconds();
  const std::string other = dir / "other";
  // Kill until one falls between the first finished block and the end.
  for (double part = 0.5; !fs::exists(other + ".work/step-0") && part < 1; part += 0.05) {
    fs::remove_all(other + ".work");
    stopped_after(part * seconds, command(other, {}));
    fs::remove_all(other);
  }
  ASSERT_TRUE(fs::exists(other + ".work/step-0"));
  const Outcome again = prunus(command(other, {}));
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("--resume"));
  const Outcome different = prunus(command(other, {"--ratio", "0.5"}, {"--resume"}));
  EXPECT_EQ(different.exit_code, 2);
  EXPECT_THAT(different.err, HasSubstr("ratio = 0.25"));
  EXPECT_EQ(prunus(command(other, {}, {"--force"})).exit_code, 0);
  expect_same_result(other, out);
}

}  // namespace
}  // namespace prunus::test_cli::resume_slow_test
