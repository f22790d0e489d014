// prunus recover and train, killed at any moment: the same command with --resume gives the same
// weights.
#include "prunus/base/progress.h"

#include "cli/fixture.h"

namespace prunus::test_cli::recover_resume_slow_test {
namespace {

class RecoverResume : public CliTest {
 protected:
  RecoverResume() {
    save({.hidden = 64, .head_dim = 16, .ffn = 192, .vocab = kVocab, .layers = 6});
    prune({"--ratio", "0.3"});
    fs::rename(out, smaller);
  }

  Arguments command(const std::string& to, const Arguments& job, const Arguments& more = {}) const {
    Arguments all = job;
    all.insert(all.end(), {"--out", to, "--data", text, "--quiet", "--threads", "1"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  // Runs to the end; returns the seconds.
  double whole(const Arguments& job) const {
    fs::remove_all(out);
    const Timer timer;
    const Outcome done = prunus(command(out, job));
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return timer.seconds();
  }

  std::string smaller = dir / "smaller";
  std::string text = file("text.txt", some_text(400));
};

TEST_F(RecoverResume, AfterAKillAtAnyMomentTheWeightsAreTheSame) {
  const std::vector<Arguments> jobs = {
      {"recover", smaller, "--lora-dropout", "0.1", "--max-steps", "30", "--batch", "4",
       "--save-every", "3"},
      {"recover", smaller, "--full", "--teacher", model, "--max-steps", "20", "--batch", "4",
       "--save-every", "3"},
      {"recover", smaller, "--sub-block", "--teacher", model, "--sub-block-rows", "24"},
      {"train", "--config", model, "--max-steps", "20", "--batch", "4", "--save-every", "3"}};
  int interrupted = 0;
  for (const Arguments& job : jobs) {
    double seconds = whole(job);
    for (const double part : {0.4, 0.6, 0.8}) {
      const std::string other = dir / "other";
      const bool killed =
          stopped_after(part * seconds, command(other, job), part == 0.6 ? SIGTERM : SIGKILL);
      interrupted += killed;
      if (!killed) seconds *= 0.7;  // that first run had been disturbed
      if (const Arguments more = options_to_resume(other); !more.empty()) {
        const Outcome resumed = prunus(command(other, job, more));
        ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
      }
      EXPECT_EQ(read(other + "/model.safetensors"), read(out + "/model.safetensors"))
          << job[0] << " at " << part;
      EXPECT_FALSE(fs::exists(other + ".work"));
      fs::remove_all(other);
    }
  }
  EXPECT_GT(interrupted, 6);
}

}  // namespace
}  // namespace prunus::test_cli::recover_resume_slow_test
