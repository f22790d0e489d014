#include "prunus/io/hf_directory.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"

#include "tests/io/fixture.h"

namespace prunus::hf_directory_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_io::error_of;
using testing_io::put;
using testing_io::TempDir;

TEST(HfDirectory, ReadsTheConfigInTheFilesOrder) {
  const TempDir dir;
  put(dir / "config.json", R"({"vocab_size": 7, "architectures": ["LlamaForCausalLM"]})");
  EXPECT_EQ(read_config(dir.path()).dump(),
            R"({"vocab_size":7,"architectures":["LlamaForCausalLM"]})");
}

TEST(HfDirectory, ExplainsAMissingOrBrokenConfig) {
  const TempDir dir;
  const auto missing = error_of([&] { read_config(dir.path()); });
  EXPECT_EQ(missing.kind(), ErrorKind::NotFound);
  EXPECT_THAT(missing.what(), HasSubstr("has no config.json"));
  EXPECT_THAT(error_of([&] { read_config("meta-llama/Llama-2-7b"); }).what(),
              HasSubstr("download the model first"));
  EXPECT_EQ(error_of([&] { read_config(""); }).kind(), ErrorKind::NotFound);
  EXPECT_EQ(error_of([&] { read_config(put(dir / "file", "")); }).kind(), ErrorKind::NotFound);
  for (const char* text : {"[]", "", "{", "1"}) {
    put(dir / "config.json", text);
    EXPECT_EQ(error_of([&] { read_config(dir.path()); }).kind(), ErrorKind::Corrupt) << text;
  }
}

TEST(HfDirectory, KnowsWhichFilesTravelWithNewWeights) {
  const TempDir dir;
  for (const char* name : {"tokenizer.json",
                           "tokenizer.model",
                           "generation_config.json",
                           "chat_template.jinja",
                           "LICENSE",
                           "model.safetensors",
                           "model-00001-of-00002.safetensors",
                           "model.safetensors.index.json",
                           "config.json",
                           "run.json",
                           "plan.json",
                           "pytorch_model.bin",
                           "pytorch_model-00001-of-00002.bin",
                           "pytorch_model.bin.index.json",
                           "consolidated.00.pth",
                           "consolidated.safetensors",
                           "consolidated.json",
                           "adapter_config.json",
                           "model.onnx",
                           "rust_model.ot",
                           "optimizer.bin",
                           "training_args.bin",
                           "trainer_state.json",
                           "model.safetensors.bak",
                           "merges.txt",
                           "x.pt",
                           "x.gguf",
                           "x.ckpt",
                           "tf_model.h5",
                           "flax_model.msgpack",
                           "README.md",
                           ".gitattributes"}) {
    put(dir / name, name);
  }
  fs::create_directory(dir / "original");
  fs::create_directory(dir / "additional_chat_templates");
  put(dir / "additional_chat_templates/tool_use.jinja", "");
  put(dir / "additional_chat_templates/notes.txt", "");
  fs::create_symlink(dir / "LICENSE", dir / "vocab.json");  // as in the Hugging Face cache
  fs::create_symlink(dir / "nowhere", dir / "dangling.txt");
  EXPECT_EQ(companion_files(dir.path()),
            (std::vector<std::string>{"LICENSE", "additional_chat_templates/tool_use.jinja",
                                      "chat_template.jinja", "generation_config.json", "merges.txt",
                                      "tokenizer.json", "tokenizer.model", "vocab.json"}));
}

TEST(HfDirectory, CopiesCompanionsByteForByte) {
  const TempDir from;
  const TempDir to;
  const std::string bytes("a\0\r\n\xff", 5);
  fs::permissions(put(from / "tokenizer.model", bytes), fs::perms::owner_read);
  fs::create_symlink(from / "tokenizer.model", from / "vocab.json");
  put(from / "model.safetensors", "");
  fs::create_directory(from / "additional_chat_templates");
  put(from / "additional_chat_templates/rag.jinja", "rag");
  put(to / "vocab.json", "old");
  copy_companions(from.path(), to.path());
  EXPECT_EQ(read_file(to / "tokenizer.model"), bytes);
  EXPECT_EQ(read_file(to / "vocab.json"), bytes);
  EXPECT_FALSE(fs::is_symlink(to / "vocab.json"));
  EXPECT_FALSE(fs::exists(to / "model.safetensors"));
  EXPECT_EQ(read_file(to / "additional_chat_templates/rag.jinja"), "rag");
  EXPECT_NE(fs::status(to / "tokenizer.model").permissions() & fs::perms::owner_write,
            fs::perms::none);
  EXPECT_EQ(error_of([&] { copy_companions(from.path(), to / "none"); }).kind(), ErrorKind::Io);
}

}  // namespace
}  // namespace prunus::hf_directory_test
