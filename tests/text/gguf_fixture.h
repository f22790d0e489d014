#pragma once
// Tokenizers of GGUF files in small, whose ids can be worked out by hand.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "prunus/io/gguf_entry.h"
#include "prunus/text/gguf_tokenizer_json.h"
#include "prunus/text/gguf_vocabulary.h"
#include "prunus/text/token_model.h"

#include "tests/io/gguf_fixture.h"

namespace prunus::text {

/// Entries by key, without "tokenizer.ggml." in front of the key.
class GgufParts {
 public:
  GgufParts& set(GgufEntry entry) {
    const std::string key = entry.key();
    entries_.insert_or_assign(key, std::move(entry));
    return *this;
  }
  GgufParts& flag(const std::string& name, bool value) {
    return set(GgufEntry::boolean(kFront + name, value));
  }
  GgufParts& id(const std::string& name, uint32_t id) {
    return set(GgufEntry::uint32(kFront + name + "_token_id", id));
  }
  GgufParts& text(const std::string& name, const std::string& value) {
    return set(GgufEntry::text(kFront + name, value));
  }
  GgufParts& drop(const std::string& name) {
    entries_.erase(kFront + name);
    return *this;
  }
  GgufMetadata metadata() const {
    GgufMetadata values;
    for (const auto& [key, entry] : entries_) values.emplace(key, entry.value());
    return values;
  }
  GgufVocabulary vocabulary() const { return read_gguf_vocabulary(metadata(), "x.gguf"); }
  std::unique_ptr<Tokenizer> tokenizer() const {
    return make_gguf_tokenizer(vocabulary(), "x.gguf");
  }
  /// A whole file without tensors.
  std::string bytes() const {
    testing_io::GgufParts parts;
    for (const auto& [key, entry] : entries_) parts.metadata.push_back(testing_io::encoded(entry));
    return parts.bytes();
  }

  inline static const std::string kFront = "tokenizer.ggml.";

 private:
  std::map<std::string, GgufEntry> entries_;
};

/// <unk>=0 <s>=1 </s>=2 <0x00>…<0xFF>=3…258 ▁=259 a=260 b=261 ▁a=262 ab=263 <think>=264; "ab" is
/// joined before "▁a".
inline GgufParts spm_parts() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<float> scores = {0, 0, 0};
  std::vector<int32_t> types = {2, 3, 3};
  const auto add = [&](const std::string& token, float score, int32_t type) {
    tokens.push_back(token);
    scores.push_back(score);
    types.push_back(type);
  };
  for (size_t byte = 0; byte < 256; ++byte) add(byte_token(byte), 0, 6);
  add("▁", -10, 1);
  add("a", -11, 1);
  add("b", -12, 1);
  add("▁a", -2, 1);
  add("ab", -1, 1);
  add("<think>", -1000, 4);
  GgufParts parts;
  parts.text("model", "llama").text("pre", "default");
  parts.set(GgufEntry::texts(GgufParts::kFront + "tokens", tokens));
  parts.set(GgufEntry::float32s(GgufParts::kFront + "scores", scores));
  parts.set(GgufEntry::int32s(GgufParts::kFront + "token_type", types));
  return parts.id("bos", 1).id("eos", 2).id("unknown", 0);
}

/// a=0 b=1 1=2 2=3 12=4 Ġ=5 ab=6 <|end|>=7 ba=8 <think>=9; nothing is joined to "ba".
inline GgufParts bpe_parts(const std::string& pre) {
  GgufParts parts;
  parts.text("model", "gpt2").text("pre", pre);
  parts.set(GgufEntry::texts(GgufParts::kFront + "tokens",
                             {"a", "b", "1", "2", "12", "Ġ", "ab", "<|end|>", "ba", "<think>"}));
  parts.set(GgufEntry::int32s(GgufParts::kFront + "token_type", {1, 1, 1, 1, 1, 1, 1, 3, 1, 4}));
  parts.set(GgufEntry::texts(GgufParts::kFront + "merges", {"a b", "1 2"}));
  return parts.id("eos", 7);
}

/// <pad>=0 </s>=1 <unk>=2 ▁a=3 ▁=4 b=5 ab=6
inline GgufParts unigram_parts() {
  GgufParts parts;
  parts.text("model", "t5").text("pre", "default");
  parts.set(GgufEntry::texts(GgufParts::kFront + "tokens",
                             {"<pad>", "</s>", "<unk>", "▁a", "▁", "b", "ab"}));
  parts.set(GgufEntry::float32s(GgufParts::kFront + "scores", {0, 0, 0, -1, -2, -2, -1.5f}));
  parts.set(GgufEntry::int32s(GgufParts::kFront + "token_type", {3, 3, 2, 1, 1, 1, 1}));
  return parts;
}

}  // namespace prunus::text
