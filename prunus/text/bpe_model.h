#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/json_view.h"
#include "prunus/text/merge_table.h"
#include "prunus/text/string_map.h"
#include "prunus/text/token_model.h"

namespace prunus::text {

/// Byte-pair encoding: the `model` of a tokenizer.json. A word begins as its characters; then,
/// again and again, the neighbouring pair with the lowest rank (the leftmost of equals) becomes one
/// token. Source: Sennrich et al., ACL 2016, arXiv:1508.07909; as in Hugging Face tokenizers.
class BpeModel : public TokenModel {
 public:
  /// Reads vocab, merges ("a b" or ["a","b"]), unk_token, fuse_unk, byte_fallback and
  /// ignore_merges. Throws Unsupported for dropout, subword prefixes and suffixes;
  /// Corrupt for ids out of range or used twice and for merges of tokens that do not exist.
  explicit BpeModel(const JsonView& model);

  std::optional<int64_t> id_of(std::string_view token) const override;
  const std::string* token_of(int64_t id) const override;
  int64_t id_limit() const override { return static_cast<int64_t>(tokens_.size()); }
  int64_t size() const override { return static_cast<int64_t>(ids_.size()); }
  /// Cost: O(n log n) in the length of the word.
  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  /// True where the mark is a token, ignore_merges is off, and no merge joins a token that ends
  /// otherwise to one that begins with the mark: then that boundary is in the way of every merge
  /// from beginning to end.
  bool cuts_at_marks() const override { return cuts_at_marks_; }
  TokenMaking making_of(int64_t id) const override;
  std::vector<int64_t> indispensable() const override;
  std::string_view kind() const override { return "bpe"; }

 private:
  struct Symbol;
  void read_options(const JsonView& model);
  void read_vocab(const JsonView& vocab);
  void read_merges(const JsonView& merges);
  void add_merge(std::string_view left, std::string_view right, uint32_t rank);
  std::vector<Symbol> first_symbols(std::string_view word) const;
  bool add_bytes(std::string_view character, std::vector<Symbol>& symbols) const;
  std::optional<std::pair<int64_t, int64_t>> merge_all(std::vector<Symbol>& symbols) const;

  std::string where_;
  StringMap<int32_t> ids_;
  std::vector<const std::string*> tokens_;  // points at the keys of ids_
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_{};  // of <0x00> to <0xFF>, -1 where there is none
  std::optional<int32_t> unk_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool cuts_at_marks_ = false;
};

}  // namespace prunus::text
