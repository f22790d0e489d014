#include "prunus/job/run_record.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/run_schema.h"
#include "prunus/job/last_words.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::run_record_test {
namespace {

TEST(RunRecord, BeginsWithWhatEveryRecordHasAndEndsWithThePeak) {
  RunRecord record("compare", {{"a", 1}});
  EXPECT_EQ(record.stage("add", [] { return 2 + 2; }), 4);
  record.set(run_key::kModels, Json::array());
  record.set(run_key::kRows, Json::array());
  const Json json = record.json();
  EXPECT_NO_THROW(check_run(json, "record"));
  EXPECT_EQ(json.begin().key(), "format");
  EXPECT_EQ(json.back(), json.at("peak_memory_bytes"));
  EXPECT_EQ(json.at("options"), (Json{{"a", 1}}));
  EXPECT_EQ(json.at("stages")[0].at("name"), "add");
}

TEST(RunRecord, AStageThatFailsHasItsTimeToo) {
  RunRecord record("eval", Json::object());
  EXPECT_THROW(record.stage("tasks", [] { throw Error(ErrorKind::Io, "disk full"); }), Error);
  EXPECT_EQ(record.json().at("stages").size(), 1U);
}

TEST(RunRecord, WrittenItNamesEveryFileOfItsFolder) {
  const TempDir dir;
  write_file(dir / "b.txt", "");
  RunRecord record("tokenizer", Json::object());
  record.write(dir.path());
  EXPECT_EQ(read_json(dir / "run.json").at("files"), (Json{"b.txt", "run.json"}));
}

TEST(LastWords, SayWhatIsKeptWhateverEndsTheWork) {
  std::string kept;
  const auto end_of = [&](ErrorKind kind) -> std::string {
    try {
      with_last_words([&] { return kept; }, [&] { throw Error(kind, "failed"); });
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(end_of(ErrorKind::Io), "failed");
  EXPECT_EQ(end_of(ErrorKind::Interrupted), "failed; nothing was written");
  kept = "x.work";
  for (const ErrorKind kind : {ErrorKind::Io, ErrorKind::Interrupted, ErrorKind::Numeric}) {
    EXPECT_EQ(end_of(kind),
              "failed; the state is kept in x.work: the same command with --resume goes on from "
              "there");
  }
  EXPECT_EQ(with_last_words([&] { return kept; }, [] { return 3; }), 3);
}

}  // namespace
}  // namespace prunus::test::run_record_test
