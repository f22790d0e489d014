#pragma once
// A scratch directory with a tiny model, and what every run of the program must keep to.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/json.h"

#include "cli/process.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test_cli {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// Three special tokens and every byte.
constexpr int64_t kVocab = 259;

inline std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline void put(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline Json json_of(const std::string& path) { return parse_json(read(path), path); }

/// Names in a directory, sorted.
inline std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(dir)) names.push_back(item.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

/// English enough for a byte tokenizer: `lines` different lines of 44 to 46 bytes.
inline std::string some_text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text += "The old plum tree bears fruit in summer " + std::to_string(i * 37 % 101) + ".\n";
  }
  return text;
}

inline test::TinySizes tiny(const std::string& family = "llama") {
  return {.family = family, .vocab = kVocab};
}

/// Runs the program and sends the signal after so many seconds. Whether that ended it, and not the
/// run's own end before.
inline bool stopped_after(double seconds, const Arguments& command, int signal = SIGKILL) {
  Process process(command);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  process.send(signal);
  const Outcome ended = process.wait();
  return ended.signal == signal || ended.exit_code == 130;
}

/// What takes up a run to `out` that was killed; nothing where it had come to its end. A kill when
/// the result is in its place but the state not yet removed leaves both.
inline Arguments options_to_resume(const std::string& out) {
  if (!fs::exists(out)) return {"--resume"};
  return fs::exists(out + ".work") ? Arguments{"--resume", "--force"} : Arguments{};
}

/// A directory per test: `model` is a tiny model, `out` does not exist.
class CliTest : public ::testing::Test {
 protected:
  CliTest() { save(tiny()); }

  void save(const test::TinySizes& sizes) const {
    fs::remove_all(model);
    test::save_model(test::tiny_model(sizes), test::tiny_config(sizes), model);
  }

  /// Writes a text file beside the model.
  std::string file(const std::string& name, const std::string& bytes) const {
    put(dir / name, bytes);
    return dir / name;
  }

  /// `prune model --out out --method l2`, which needs no calibration text.
  Outcome prune(Arguments more = {}, const Surroundings& around = {}) const {
    Arguments all{"prune", model, "--out", out, "--method", "l2", "--quiet", "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return prunus(all, around);
  }

  /// Any other command, quietly on one thread.
  Outcome run(Arguments all) const {
    all.insert(all.end(), {"--quiet", "--threads", "1"});
    return prunus(all);
  }

  /// The run failed as promised: one clear line, one of the exit codes, nothing left behind.
  void expect_failed(const Outcome& run, const std::set<int>& codes) const {
    EXPECT_EQ(run.signal, 0);
    EXPECT_TRUE(codes.contains(run.exit_code)) << "exit code " << run.exit_code;
    EXPECT_THAT(run.err, ::testing::StartsWith("prunus: "));
    EXPECT_THAT(run.err, ::testing::Not(HasSubstr("terminate called")));
    EXPECT_EQ(run.err.find_first_of("\n\r\033"), run.err.size() - 1)
        << "more than a line: " << run.err;
    EXPECT_EQ(run.out, "");
    for (const std::string& name : names_in(dir.path())) {
      EXPECT_FALSE(name.starts_with("out")) << name << " was left behind";
      EXPECT_EQ(name.find(".partial"), name.npos) << name << " was left behind";
    }
  }

  void expect_failed(const Outcome& run, int code, const std::string& message) const {
    expect_failed(run, {code});
    EXPECT_THAT(run.err, HasSubstr(message));
  }

  /// The run succeeded and `path` holds a model that opens.
  void expect_model(const Outcome& run, const std::string& path) const {
    EXPECT_EQ(run.exit_code, 0) << run.err;
    ASSERT_TRUE(fs::exists(path + "/run.json"));
    EXPECT_LT(json_of(path + "/run.json").at("output_check").at("max_abs_diff"), 1e-5);
    EXPECT_NO_THROW(open_model(path));
    for (const std::string& name : names_in(dir.path()))
      EXPECT_EQ(name.find(".partial"), name.npos);
  }

  test::TempDir dir;
  std::string model = dir / "model";
  std::string out = dir / "out";
};

}  // namespace prunus::test_cli
