#include "prunus/io/model_place.h"

#include <map>
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/io/checkpoint.h"
#include "prunus/io/hf_directory.h"

#include "tests/io/fixture.h"

namespace prunus::model_place_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::file_bytes;
using testing_io::put;
using testing_io::TempDir;
using namespace std::literals;

const std::string kCommit(40, 'a');
const std::string kOther(40, 'b');

/// Environment variables for as long as the object lives; nothing: not set.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::optional<std::string>>& values) {
    for (const auto& [name, value] : values) {
      const char* before = std::getenv(name.c_str());
      before_[name] = before == nullptr ? std::nullopt : std::optional<std::string>(before);
      set(name, value);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_) set(name, value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  static void set(const std::string& name, const std::optional<std::string>& value) {
    if (value) {
      ::setenv(name.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name.c_str());
    }
  }
  std::map<std::string, std::optional<std::string>> before_;
};

void write(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  put(path.string(), bytes);
}

const std::string kWeights =
    file_bytes(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "\0\0\0\0"sv);

/// A cache as huggingface_hub lays it: blobs, snapshots of links into them, references.
class HubCache {
 public:
  HubCache() : environment_({{"HF_HUB_CACHE", root_.path()}}) {
    write(folder() / "blobs/1", R"({"model_type": "llama"})");
    write(folder() / "blobs/2", kWeights);
    for (const std::string& commit : {kCommit, kOther}) {
      fs::create_directories(snapshot(commit));
      fs::create_symlink("../../blobs/1", snapshot(commit) / "config.json");
      fs::create_symlink("../../blobs/2", snapshot(commit) / "model.safetensors");
    }
    write(folder() / "refs/main", kCommit);
    write(folder() / "refs/v1.0", kOther);
    write(folder() / "refs/refs/pr/3", kOther);
  }
  fs::path folder() const { return fs::path(root_.path()) / "models--org--Name-1.5_x"; }
  fs::path snapshot(const std::string& commit) const { return folder() / "snapshots" / commit; }
  const std::string& root() const { return root_.path(); }

 private:
  TempDir root_;
  Environment environment_;
};

TEST(ModelPlace, FindsAHubNameInTheCache) {
  const HubCache cache;
  const ModelPlace place = locate_model("org/Name-1.5_x");
  EXPECT_EQ(place.asked, "org/Name-1.5_x");
  EXPECT_EQ(place.path, cache.snapshot(kCommit));
  EXPECT_EQ(place.hub_name, "org/Name-1.5_x");
  EXPECT_EQ(place.commit, kCommit);
  // Links into blobs are read as the files that they are.
  EXPECT_EQ(read_config(place.path).at("model_type"), "llama");
  EXPECT_TRUE(Checkpoint::open(place.path).contains("w"));
}

TEST(ModelPlace, TakesABranchATagAPullRequestOrACommit) {
  const HubCache cache;
  for (const std::string& revision : {std::string("v1.0"), std::string("refs/pr/3"), kOther}) {
    const ModelPlace place = locate_model("org/Name-1.5_x@" + revision);
    EXPECT_EQ(place.path, cache.snapshot(kOther)) << revision;
    EXPECT_EQ(place.commit, kOther) << revision;
    EXPECT_EQ(place.hub_name, "org/Name-1.5_x") << revision;
  }
  EXPECT_EQ(locate_model("org/Name-1.5_x@main").commit, kCommit);
}

TEST(ModelPlace, TakesTheModelsFolderOfTheCacheForItsMain) {
  const HubCache cache;
  for (const char* end : {"", "/"}) {
    const ModelPlace place = locate_model(cache.folder().string() + end);
    EXPECT_EQ(place.path, cache.snapshot(kCommit));
    EXPECT_EQ(place.commit, kCommit);
  }
}

TEST(ModelPlace, KnowsASnapshotByItsPath) {
  const HubCache cache;
  for (const char* end : {"", "/"}) {
    const std::string path = cache.snapshot(kOther).string() + end;
    for (const ModelPlace& place : {locate_model(path), place_of(path)}) {
      EXPECT_EQ(place.path, path);
      EXPECT_EQ(place.hub_name, "org/Name-1.5_x");
      EXPECT_EQ(place.commit, kOther);
    }
  }
  EXPECT_EQ(place_of("/models/llama").commit, "");
  EXPECT_EQ(place_of("/cache/snapshots/" + kCommit).commit, "");
}

TEST(ModelPlace, AnExistingDirectoryOrFileWins) {
  const HubCache cache;
  const TempDir here;
  const fs::path before = fs::current_path();
  fs::current_path(here.path());
  fs::create_directories("org/Name-1.5_x");
  put("model.gguf", "GGUF");
  const ModelPlace directory = locate_model("org/Name-1.5_x");
  const ModelPlace file = locate_model("model.gguf");
  fs::current_path(before);
  EXPECT_EQ(directory.path, "org/Name-1.5_x");
  EXPECT_EQ(directory.commit, "");
  EXPECT_EQ(file.path, "model.gguf");
}

TEST(ModelPlace, SaysHowToDownloadWhatIsNotThere) {
  const HubCache cache;
  const auto missing = error_of([&] { locate_model("meta-llama/Llama-3.2-1B"); });
  EXPECT_EQ(missing.kind(), ErrorKind::NotFound);
  EXPECT_THAT(missing.what(), HasSubstr("not in the Hugging Face cache " + cache.root()));
  EXPECT_TRUE(std::string(missing.what()).ends_with(": hf download meta-llama/Llama-3.2-1B"))
      << missing.what();
  const auto tagged = error_of([&] { locate_model("meta-llama/Llama-3.2-1B@v2"); });
  EXPECT_TRUE(
      std::string(tagged.what()).ends_with(": hf download meta-llama/Llama-3.2-1B --revision v2"))
      << tagged.what();
  const auto revision = error_of([&] { locate_model("org/Name-1.5_x@v2"); });
  EXPECT_EQ(revision.kind(), ErrorKind::NotFound);
  EXPECT_THAT(revision.what(), HasSubstr("other revisions only (main, refs/pr/3, v1.0)"));
  EXPECT_THAT(revision.what(), HasSubstr("hf download org/Name-1.5_x --revision v2"));
  fs::remove_all(cache.snapshot(kCommit));  // a reference without its snapshot
  EXPECT_THAT(error_of([&] { locate_model("org/Name-1.5_x"); }).what(),
              HasSubstr("hf download org/Name-1.5_x"));
}

TEST(ModelPlace, NamesThatNoHubHasAreMissingDirectories) {
  const HubCache cache;
  for (const char* name : {"", "/no/such/place", "./models/x", "a/b/c", "org/na me", "../x",
                           "org/..", "a--b/c", "org/name@", "org/name@../../x", "org/name@/etc"}) {
    const auto error = error_of([&] { locate_model(name); });
    EXPECT_EQ(error.kind(), ErrorKind::NotFound) << name;
    EXPECT_THAT(error.what(), HasSubstr("no such directory or file; expected")) << name;
  }
}

TEST(ModelPlace, AReferenceThatIsNoCommitIsCorrupt) {
  const HubCache cache;
  for (const char* text : {"", "../../../etc", "abc", "{}"}) {
    write(cache.folder() / "refs/main", text);
    const auto error = error_of([&] { locate_model("org/Name-1.5_x"); });
    EXPECT_EQ(error.kind(), ErrorKind::Corrupt) << text;
    EXPECT_THAT(error.what(), HasSubstr("expected a commit")) << text;
  }
  write(cache.folder() / "refs/main", kCommit + "\n");
  EXPECT_EQ(locate_model("org/Name-1.5_x").commit, kCommit);
}

TEST(ModelPlace, TheCacheLiesWhereHuggingFaceSoftwareHasIt) {
  const std::map<std::string, std::optional<std::string>> none = {
      {"HF_HUB_CACHE", {}},   {"HUGGINGFACE_HUB_CACHE", {}}, {"HF_HOME", {}},
      {"XDG_CACHE_HOME", {}}, {"HOME", "/home/me"},          {"DISK", "/disk"}};
  const auto with = [&](const std::map<std::string, std::optional<std::string>>& some) {
    auto all = none;
    for (const auto& [name, value] : some) all[name] = value;
    const Environment environment(all);
    return hub_cache_folder();
  };
  EXPECT_EQ(with({}), "/home/me/.cache/huggingface/hub");
  EXPECT_EQ(with({{"XDG_CACHE_HOME", "/x"}}), "/x/huggingface/hub");
  EXPECT_EQ(with({{"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "/h"}}), "/h/hub");
  EXPECT_EQ(with({{"HF_HOME", "/h"}, {"HUGGINGFACE_HUB_CACHE", "/old"}}), "/old");
  EXPECT_EQ(with({{"HUGGINGFACE_HUB_CACHE", "/old"}, {"HF_HUB_CACHE", "/new"}}), "/new");
  EXPECT_EQ(with({{"HF_HOME", "~/models"}}), "/home/me/models/hub");
  EXPECT_EQ(with({{"HF_HUB_CACHE", "$DISK/hub"}}), "/disk/hub");
  EXPECT_EQ(with({{"HF_HUB_CACHE", "${DISK}s/$NOT_SET/hub"}}), "/disks/$NOT_SET/hub");
}

// What a directory's path may look like.
TEST(ModelPlace, LinksSlashesSpacesLettersAndReadOnlyDirectoriesWork) {
  const TempDir root;
  const std::string dir = root / "mein Modell größer 模型";
  fs::create_directory(dir);
  put(dir + "/config.json", R"({"model_type": "llama"})");
  put(dir + "/model.safetensors", kWeights);
  fs::permissions(dir, fs::perms::owner_read | fs::perms::owner_exec);
  fs::create_directory_symlink(dir, root / "link");
  for (const std::string& path :
       {dir, dir + "/", dir + "//", root / "link", root / "link/", root / "link/."}) {
    const ModelPlace place = locate_model(path);
    EXPECT_EQ(place.path, path);
    EXPECT_EQ(read_config(place.path).at("model_type"), "llama") << path;
    EXPECT_TRUE(Checkpoint::open(place.path).contains("w")) << path;
    const TempDir copies;
    copy_companions(place.path, copies.path());
  }
  fs::permissions(dir, fs::perms::owner_all);
}

}  // namespace
}  // namespace prunus::model_place_test
