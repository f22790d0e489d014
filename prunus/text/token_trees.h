#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "prunus/text/token_model.h"
#include "prunus/text/tokenizer.h"

namespace prunus {

/// A vocabulary as what can be left out of it. A token that merges make is a tree: two tokens that
/// the last merge joins, each made the same way. A choice of tokens is closed where it holds, with
/// a token, its whole tree: then a text whose tokens are all kept has the same tokens without the
/// others, for the merges inside each are those that were done before, in the same order, and no
/// other was possible. Unigram models have no trees: the best way to cut a word stays the best.
class TokenTrees {
 public:
  /// `dir`: a Hugging Face directory with tokenizer.json, or vocab.json and merges.txt. `rows`: of
  /// the embedding; ids from there on are of no interest.
  /// Throws as load_tokenizer; NotFound where there is none; Unsupported for tokenizers that are
  /// only a sentencepiece model, or a class of Python of the model's own, and as
  /// visit_named_ids().
  TokenTrees(const std::string& dir, int64_t rows);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  int64_t rows() const { return rows_; }

  /// Whether each id must stay, [rows]: what spells any text (TokenModel::indispensable), special
  /// and added tokens, what stands around a text, and every id that config.json,
  /// generation_config.json or the tokenizer's files name; with their trees.
  const std::vector<bool>& required() const { return required_; }
  int64_t required_count() const;

  /// Uses of each token, from how often each comes out: once for each tree that it is part of.
  /// counts [rows] → [rows]; no part has fewer than what is made of it.
  std::vector<int64_t> uses(const std::vector<int64_t>& counts) const;

  /// `count` tokens, ascending: the required ones, then by uses; of equals those that words can
  /// become first, then by the lower id. Closed: where a token's tree has no room any more, the
  /// next is taken. required_count() ≤ count ≤ rows.
  std::vector<int64_t> choose(const std::vector<int64_t>& uses, int64_t count) const;

  /// Throws InvalidArgument, naming the tokens, where `keep` (ascending, below rows) lacks a
  /// required one, or one of a kept token's tree.
  void check(const std::vector<int64_t>& keep) const;

 private:
  void require(const std::string& dir);
  std::string name(int64_t id) const;
  // `id` and what of its tree is not in `kept`.
  std::vector<int64_t> missing(int64_t id, const std::vector<bool>& kept) const;

  int64_t rows_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<text::TokenModel> model_;
  std::vector<text::TokenMaking> making_;
  std::vector<bool> added_;
  std::vector<bool> required_;
};

}  // namespace prunus
