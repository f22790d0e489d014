#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "prunus/text/merge_table.h"
#include "prunus/text/string_map.h"
#include "prunus/text/token_model.h"

namespace prunus::text {

/// Unigram language model: of all ways to cut a word into pieces, the one with the largest sum of
/// scores. A character that is no piece of its own may stand alone as unknown, at 10 below the
/// lowest score; neighbouring unknown characters become one unknown piece, or their bytes.
/// Sources: Kudo, ACL 2018, arXiv:1804.10959; Viterbi as in Hugging Face tokenizers, in double.
class UnigramModel : public TokenModel {
 public:
  /// Reads vocab ([piece, score] by id), unk_id and byte_fallback; of a piece listed twice the
  /// later one counts. Throws Corrupt for a malformed or empty vocab and unk_id out of range.
  explicit UnigramModel(const JsonView& model);

  std::optional<int64_t> id_of(std::string_view token) const override;
  const std::string* token_of(int64_t id) const override;
  int64_t id_limit() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t size() const override { return id_limit(); }
  /// Cost: O(n · length of the longest piece). Throws InvalidArgument also for a character without
  /// a piece where there is no unk_id.
  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  std::vector<int64_t> indispensable() const override;
  std::string_view kind() const override { return "unigram"; }

 private:
  struct Best;
  void read_vocab(const JsonView& vocab);
  void add_to_trie(std::string_view piece, int32_t id);
  std::vector<Best> best_cuts(std::string_view word) const;
  void append(std::string_view piece, std::vector<int64_t>& ids) const;

  std::string where_;
  StringMap<int32_t> ids_;
  std::vector<std::string> pieces_;
  std::vector<double> scores_;
  MergeTable edges_;               // (node, byte) -> node; node 0 is the root
  std::vector<int32_t> node_ids_;  // the piece that ends at a node, -1 for none
  std::array<int32_t, 256> byte_ids_{};
  std::optional<int32_t> unk_;
  double unk_score_ = 0;
  bool byte_fallback_ = false;
};

}  // namespace prunus::text
