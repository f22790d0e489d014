#include "prunus/base/run_schema.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"

namespace prunus::test::run_schema_test {
namespace {

Json comparison() {
  return parse_json(R"({"format": "prunus-run", "version": 1, "prunus": "0.1.0",
      "command": "compare", "options": {}, "threads": 2,
      "stages": [{"name": "read", "seconds": 0.5, "peak_memory_bytes": 9}],
      "peak_memory_bytes": 10, "models": ["m"],
      "rows": [{"figure": "parameters", "values": [5]}]})",
                    "test");
}

void refuses(const Json& run, const std::string& part) {
  expect_error(ErrorKind::Corrupt, part, [&] { check_run(run, "x.json"); });
}

TEST(RunSchema, TakesARecordThatIsWhole) { EXPECT_NO_THROW(check_run(comparison(), "x.json")); }

TEST(RunSchema, NamesTheFirstKeyThatIsMissing) {
  for (const char* key : {"format", "version", "prunus", "command", "options", "threads", "stages",
                          "peak_memory_bytes", "models", "rows"}) {
    Json run = comparison();
    run.erase(key);
    refuses(run, std::string("x.json: ") + key + " is missing, expected a");
  }
}

TEST(RunSchema, NamesTheKeyOfAnotherTypeByItsPath) {
  Json run = comparison();
  run["stages"][0]["seconds"] = "long";
  refuses(run, R"(x.json: stages[0].seconds is "long", expected a number)");
  run = comparison();
  run["rows"].push_back(3);
  refuses(run, "x.json: rows[1] is 3, expected an object");
  run = comparison();
  run["threads"] = 1.5;
  refuses(run, "threads is 1.5, expected a whole number");
  run["threads"] = nullptr;
  refuses(run, "threads is null");
  refuses(Json::array(), "x.json: is [], expected an object");
}

TEST(RunSchema, RefusesAnotherFormatVersionOrCommand) {
  Json run = comparison();
  run["format"] = "prunus-plan";
  refuses(run, R"(format is "prunus-plan", expected "prunus-run")");
  run = comparison();
  run["version"] = 2;
  refuses(run, "version is 2, expected 1");
  run = comparison();
  run["command"] = "distil";
  refuses(run, "command is 'distil'");
}

TEST(RunSchema, NullStandsOnlyWhereAFigureMayBeUnknown) {
  Json training = parse_json(R"({"steps": 1, "kept_after_step": 1, "stopped_early": false,
      "resumed": false, "train_loss": 1.5, "valid_loss_before": null, "valid_loss": null,
      "valid_loss_last": null, "tokens": 8, "targets": 7, "seconds": 0.5, "tokens_per_second": 16,
      "mfu": 0.1})",
                             "test");
  Json run = comparison();
  run["command"] = "train";
  run["data"] = parse_json(
      R"({"documents": 1, "train_rows": 1, "valid_rows": 0, "cut": 0, "unscored": 0})", "test");
  run["memory_plan"] = parse_json(R"({"bytes": 1, "parts": {}, "flops_per_step": 2.5})", "test");
  run["training"] = training;
  refuses(run, "output_check is missing");  // all before it is as it should be
  run["training"]["mfu"] = nullptr;
  refuses(run, "training.mfu is null, expected a number");
}

TEST(RunSchema, LetsUnknownKeysPassAndTellsThem) {
  Json run = comparison();
  EXPECT_TRUE(unknown_run_keys(run).empty());
  run["colour"] = "plum";
  EXPECT_NO_THROW(check_run(run, "x.json"));
  EXPECT_EQ(unknown_run_keys(run), std::vector<std::string>{"colour"});
}

TEST(RunSchema, ARunSaysOfItselfThatItIsOne) {
  EXPECT_TRUE(is_run(comparison()));
  EXPECT_FALSE(is_run(Json{{"format", "prunus-bench"}}));
  EXPECT_FALSE(is_run(Json::array()));
  EXPECT_FALSE(is_run(Json{{"format", 3}}));
}

}  // namespace
}  // namespace prunus::test::run_schema_test
