// Loading a JsonTokenizer from either set of files it may come in.
#include <algorithm>
#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/stand_in.h"
#include "prunus/text/json_tokenizer.h"

namespace prunus::text {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr uint64_t kMaxMergesBytes = uint64_t{64} << 20;

// Qwen 2's words; the class, not a file, says so where there is no tokenizer.json.
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

json read_merges_txt(const std::string& path) {
  const std::string content = read_file(path, kMaxMergesBytes);
  check_no_stand_in(content, path);
  json merges = json::array();
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string line = content.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) merges.push_back(std::move(line));
    at = end + 1;
  }
  return merges;
}

// Gives special tokens that only the sidecar files name the places they have in the stock class.
json added_token_list(const SidecarFiles& sidecar, const json& vocab) {
  json list = json::array();
  std::vector<std::string> listed;
  const auto add = [&](const AddedToken& token) {
    if (std::count(listed.begin(), listed.end(), token.content) > 0) return;
    listed.push_back(token.content);
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"special", token.special},
                    {"normalized", token.normalized},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"single_word", token.single_word}});
  };
  for (const auto& token : sidecar.added_tokens()) add(token);
  auto names = sidecar.named_tokens();
  names.emplace_back("<|endoftext|>");
  for (const auto& name : names) {
    const auto found = vocab.find(name);
    if (found == vocab.end() || !found->is_number_integer()) continue;
    AddedToken token{.id = found->get<int64_t>(), .content = name};
    token.special = true;
    add(token);
  }
  return list;
}

json byte_level(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"use_regex", use_regex}};
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& model_dir) {
  const std::string path = (fs::path(model_dir) / "tokenizer.json").string();
  const json document = read_large_json(path);
  return std::make_unique<JsonTokenizer>(JsonView(document, path), SidecarFiles(model_dir));
}

std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& model_dir) {
  static constexpr std::array kGpt2Like = {"",
                                           "GPT2Tokenizer",
                                           "RobertaTokenizer",
                                           "BartTokenizer",
                                           "CodeGenTokenizer",
                                           "GPTNeoXTokenizer",
                                           "PreTrainedTokenizer"};
  const SidecarFiles sidecar(model_dir);
  const std::string name = sidecar.tokenizer_class();
  const bool qwen2 = name == "Qwen2Tokenizer";
  PRUNUS_CHECK(qwen2 || std::count(kGpt2Like.begin(), kGpt2Like.end(), name) > 0, Unsupported,
               model_dir, "/tokenizer_config.json: tokenizer_class '", name,
               "' with vocab.json and merges.txt is not supported; save the tokenizer as "
               "tokenizer.json (AutoTokenizer.from_pretrained(...).save_pretrained(...))");
  const fs::path dir(model_dir);
  json vocab = read_large_json((dir / "vocab.json").string());
  json document;
  document["added_tokens"] = added_token_list(sidecar, vocab);
  document["decoder"] = byte_level(false, true);
  const bool prefix = sidecar.flag("add_prefix_space").value_or(false);
  document["pre_tokenizer"] = byte_level(prefix, !qwen2);
  if (qwen2) {
    document["normalizer"] = {{"type", "NFC"}};
    const json split = {
        {"type", "Split"}, {"pattern", {{"Regex", kQwen2Words}}}, {"behavior", "Isolated"}};
    document["pre_tokenizer"] = {
        {"type", "Sequence"}, {"pretokenizers", json::array({split, document["pre_tokenizer"]})}};
  }
  document["model"] = {{"type", "BPE"},
                       {"merges", read_merges_txt((dir / "merges.txt").string())},
                       {"vocab", std::move(vocab)}};
  return std::make_unique<JsonTokenizer>(JsonView(document, (dir / "vocab.json").string()),
                                         sidecar);
}

}  // namespace prunus::text
