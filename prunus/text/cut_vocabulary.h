#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace prunus {

/// New numbers of tokens where some are gone: those that stay follow each other from 0 in their
/// old order; ids beyond the embedding follow them.
class TokenNumbers {
 public:
  /// `keep`: ascending, below `rows`.
  TokenNumbers(int64_t rows, const std::vector<int64_t>& keep);

  /// −1 where the token is gone.
  int64_t of(int64_t id) const {
    if (id < 0) return -1;
    if (id < static_cast<int64_t>(numbers_.size())) return numbers_[static_cast<size_t>(id)];
    return id - static_cast<int64_t>(numbers_.size()) + kept_;
  }

 private:
  std::vector<int64_t> numbers_;
  int64_t kept_;
};

/// Writes what stands beside the weights of a model without the tokens that are gone: companions
/// (copy_companions()) and config.json of `source_dir`, in `out_dir`, which exists and is empty.
/// Vocabulary, merges and ids are rewritten in tokenizer.json, vocab.json, merges.txt,
/// added_tokens.json, tokenizer_config.json, generation_config.json and config.json (where
/// vocab_size stays as it is: rewrite_config() has that), and in a tokenizer.model whose pieces
/// are the tokens of tokenizer.json by number. Other forms of the vocabulary (tekken.json, …) are
/// left out.
/// → names of those. Throws Corrupt, Unsupported (visit_named_ids()), Io.
std::vector<std::string> write_cut_vocabulary(const std::string& source_dir,
                                              const TokenNumbers& numbers,
                                              const std::string& out_dir);

}  // namespace prunus
