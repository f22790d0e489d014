// MODEL as the Hub's name of a model in the local cache, and what else a path may be.
#include "cli/fixture.h"

namespace prunus::test_cli::model_place_test {
namespace {

const std::string kCommit(40, 'c');

class ModelPlaces : public CliTest {
 protected:
  ModelPlaces() {
    fs::create_directories(snapshot_);
    fs::create_directories(folder_ / "blobs");
    for (const std::string& name : names_in(model)) {
      fs::rename(model + "/" + name, folder_ / "blobs" / name);
      fs::create_symlink("../../blobs/" + name, snapshot_ / name);
    }
    fs::create_directories(folder_ / "refs");
    put((folder_ / "refs/main").string(), kCommit);
    ::setenv("HF_HUB_CACHE", (dir / "cache").c_str(), 1);
  }
  ~ModelPlaces() override { ::unsetenv("HF_HUB_CACHE"); }

  const fs::path folder_ = fs::path(dir / "cache") / "models--org--tiny";
  const fs::path snapshot_ = folder_ / "snapshots" / kCommit;
  const Json place_ = {{"path", snapshot_.string()}, {"hub_name", "org/tiny"}, {"commit", kCommit}};
};

TEST_F(ModelPlaces, AHubNameIsPrunedAndRecorded) {
  model = "org/tiny@main";
  expect_model(prune(), out);
  const Json record = json_of(out + "/run.json");
  EXPECT_EQ(record.at("options").at("model"), "org/tiny@main");
  EXPECT_EQ(record.at("places"), (Json{{"model", place_}}));
  // What is written are files, no links into the cache.
  for (const std::string& name : names_in(out)) EXPECT_FALSE(fs::is_symlink(out + "/" + name));
  const Outcome applied =
      run({"apply", "org/tiny", "--plan", out + "/plan.json", "--out", dir / "again"});
  expect_model(applied, dir / "again");
  EXPECT_EQ(json_of(dir / "again/run.json").at("places").at("model"), place_);
}

TEST_F(ModelPlaces, EveryCommandTakesAHubName) {
  const std::string text = file("text.txt", some_text(40));
  const std::vector<Arguments> commands = {
      {"inspect", "org/tiny"},
      {"logits", "org/tiny", "--ids", "1,2"},
      {"generate", "org/tiny", "--prompt", "The", "--max-tokens", "2"},
      {"eval", "org/tiny", "--ppl", text, "--seqlen", "16"},
      {"eval", snapshot_.string(), "--kl-to", "org/tiny", "--text", text, "--seqlen", "16"},
      {"bench", "org/tiny", "--vs", "org/tiny@main", "--prompt-tokens", "4", "--batch", "1",
       "--new-tokens", "2", "--repeat", "1"},
      {"compare", "org/tiny", snapshot_.string()},
      {"verify", "org/tiny", "org/tiny@" + kCommit},
      {"recover", "org/tiny", "--out", dir / "recovered", "--data", text, "--teacher", "org/tiny",
       "--max-steps", "1"},
      {"train", "--config", snapshot_.string(), "--tokenizer", "org/tiny", "--data", text, "--out",
       dir / "trained", "--max-steps", "1"}};
  for (const Arguments& command : commands) {
    const Outcome done = run(command);
    EXPECT_EQ(done.exit_code, 0) << command[0] << ": " << done.err;
  }
  const Json places = json_of(dir / "recovered/run.json").at("places");
  EXPECT_EQ(places, (Json{{"model", place_}, {"teacher", place_}}));
  EXPECT_EQ(json_of(dir / "recovered/run.json").at("options").at("teacher"), "org/tiny");
}

TEST_F(ModelPlaces, WhatIsNotThereCanBeDownloadedByTheErrorsLastWords) {
  model = "org/other@v2";
  const Outcome done = prune();
  expect_failed(done, 3, "not in the Hugging Face cache " + (dir / "cache"));
  EXPECT_THAT(done.err, ::testing::EndsWith(": hf download org/other --revision v2\n"));
  fs::remove(snapshot_ / "model.safetensors");
  model = "org/tiny";
  expect_failed(prune(), 3, "hf download org/tiny --revision " + kCommit);
}

TEST_F(ModelPlaces, APickleAloneIsConvertedByTheLineInTheError) {
  fs::remove(snapshot_ / "model.safetensors");
  for (const char* name : {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin"}) {
    put((snapshot_ / name).string(), "a pickle");
    model = snapshot_.string();
    expect_failed(prune(), 3, "can run code when read");
    expect_failed(prune(), 3, "save_pretrained(o); T.from_pretrained(d)");
    fs::remove(snapshot_ / name);
  }
}

TEST_F(ModelPlaces, LinksBlanksLettersAndReadOnlyDirectoriesWork) {
  const std::string odd = dir / "mein Modell größer 模型";
  fs::copy(snapshot_, odd);  // follows the links
  fs::permissions(odd, fs::perms::owner_read | fs::perms::owner_exec);
  fs::create_directory_symlink(odd, dir / "link");
  int number = 0;
  for (const std::string& path : {odd, odd + "/", dir / "link", dir / "link/"}) {
    model = path;
    const std::string to = out + std::to_string(++number);
    const Outcome done = run({"prune", path, "--out", to, "--method", "l2"});
    expect_model(done, to);
    EXPECT_EQ(json_of(to + "/run.json").at("options").at("model"), path);
  }
  fs::permissions(odd, fs::perms::owner_all);
}

}  // namespace
}  // namespace prunus::test_cli::model_place_test
