// A killed run goes on by a recipe that says the same as its flags, and the other way round.
#include "prunus/base/progress.h"

#include "cli/fixture.h"

namespace prunus::test_cli::recipe_slow_test {
namespace {

class RecipeResume : public CliTest {
 protected:
  RecipeResume() { save({.hidden = 64, .ffn = 192, .vocab = kVocab, .layers = 24}); }

  Arguments by_flags(const std::string& to, const Arguments& more = {}) const {
    Arguments all{"prune",   model,      "--out",       to,          "--calib",
                  text,      "--taylor", "param_first", "--ram",     "1KiB",
                  "--steps", "2",        "--quiet",     "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Arguments by_recipe(const std::string& to, const Arguments& more = {}) const {
    Arguments all{"prune", "--config", recipe, "--out", to};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::string text = file("text.txt", some_text(400));
  std::string recipe =
      file("recipe.toml", "[prune]\nmodel = \"" + model + "\"\ncalib = \"" + text +
                              "\"\ntaylor = \"param_first\"\nram = \"1KiB\"\nsteps = 2\n"
                              "quiet = true\nthreads = 1\n");
};

TEST_F(RecipeResume, GoesOnWithEither) {
  const Timer timer;
  ASSERT_EQ(prunus(by_flags(out)).exit_code, 0);
  double seconds = timer.seconds();
  int resumed = 0;
  for (const double part : {0.5, 0.6, 0.7, 0.8}) {
    const bool flags_first = part < 0.65;
    const std::string other = dir / "other";
    const bool killed =
        stopped_after(part * seconds, flags_first ? by_flags(other) : by_recipe(other));
    if (!killed) seconds *= 0.7;
    if (const Arguments more = options_to_resume(other); !more.empty()) {
      const Outcome went_on = prunus(flags_first ? by_recipe(other, more) : by_flags(other, more));
      ASSERT_EQ(went_on.exit_code, 0) << went_on.err;
      resumed += json_of(other + "/run.json").contains("resumed");
    }
    for (const char* name : {"/model.safetensors", "/plan.json"}) {
      EXPECT_EQ(read(other + name), read(out + name)) << name;
    }
    fs::remove_all(other);
  }
  EXPECT_GE(resumed, 1);
}

}  // namespace
}  // namespace prunus::test_cli::recipe_slow_test
