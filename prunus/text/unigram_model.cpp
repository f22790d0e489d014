#include "prunus/text/unigram_model.h"

#include <algorithm>
#include <limits>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

constexpr double kUnknownPenalty = 10;

}  // namespace

// The best way to cut the word up to some byte.
struct UnigramModel::Best {
  double score = 0;
  int32_t begin = -1;  // of the last piece; -1 where no cut is known
  int32_t id = -1;
};

UnigramModel::UnigramModel(const JsonView& model) : where_(model.where()) {
  read_vocab(model.at("vocab"));
  unk_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  byte_fallback_ = model.flag("byte_fallback", false);
  if (model.has("unk_id")) {
    const int64_t id = model.integer("unk_id");
    PRUNUS_CHECK(id >= 0 && id < id_limit(), Corrupt, where_, ".unk_id: ", id,
                 " is out of range [0, ", id_limit(), ")");
    unk_ = static_cast<int32_t>(id);
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = ids_.find(byte_token(byte));
    byte_ids_[byte] = found == ids_.end() ? -1 : found->second;
  }
}

void UnigramModel::read_vocab(const JsonView& vocab) {
  const auto& entries = vocab.raw();
  PRUNUS_CHECK(entries.is_array() && !entries.empty(), Corrupt, vocab.where(), ": is ",
               entries.type_name(), ", expected an array of [piece, score], not empty");
  PRUNUS_CHECK(entries.size() <= size_t{kMaxTokenId}, Corrupt, vocab.where(), ": has ",
               entries.size(), " pieces, more than ", kMaxTokenId);
  size_t bytes = 0;
  for (const auto& entry : entries) {
    PRUNUS_CHECK(
        entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number(),
        Corrupt, vocab.where(), ": entry ", pieces_.size(), " is not [piece, score]");
    pieces_.push_back(entry[0].get<std::string>());
    scores_.push_back(entry[1].get<double>());
    ids_[pieces_.back()] = static_cast<int32_t>(pieces_.size() - 1);
    bytes += pieces_.back().size();
  }
  PRUNUS_CHECK(bytes < (size_t{1} << 28), Corrupt, vocab.where(), ": pieces have ", bytes,
               " bytes together");
  edges_.reset(bytes);
  node_ids_.assign(1, -1);
  for (const auto& [piece, id] : ids_) add_to_trie(piece, id);
}

void UnigramModel::add_to_trie(std::string_view piece, int32_t id) {
  if (piece.empty()) return;
  int32_t node = 0;
  for (const char byte : piece) {
    const auto label = static_cast<int32_t>(static_cast<uint8_t>(byte));
    if (const Merge* edge = edges_.find(node, label)) {
      node = edge->merged;
      continue;
    }
    const auto next = static_cast<int32_t>(node_ids_.size());
    edges_.insert(node, label, {0, next});
    node_ids_.push_back(-1);
    node = next;
  }
  node_ids_[static_cast<size_t>(node)] = id;
}

std::optional<int64_t> UnigramModel::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* UnigramModel::token_of(int64_t id) const {
  return id >= 0 && id < id_limit() ? &pieces_[static_cast<size_t>(id)] : nullptr;
}

std::vector<UnigramModel::Best> UnigramModel::best_cuts(std::string_view word) const {
  std::vector<Best> best(word.size() + 1);
  for (size_t begin = 0, next = 0; begin < word.size(); begin = next) {
    next = begin + code_point_at(word, begin).bytes;
    const double before = best[begin].score;
    const auto offer = [&](size_t end, double score, int32_t id) {
      Best& so_far = best[end];  // of equals the one that begins first stays
      if (so_far.begin >= 0 && score <= so_far.score) return;
      so_far = {score, static_cast<int32_t>(begin), id};
    };
    bool stands_alone = false;
    int32_t node = 0;
    for (size_t end = begin; end < word.size();) {
      const Merge* edge = edges_.find(node, static_cast<uint8_t>(word[end]));
      if (edge == nullptr) break;
      node = edge->merged;
      ++end;
      const int32_t id = node_ids_[static_cast<size_t>(node)];
      if (id < 0) continue;
      offer(end, scores_[static_cast<size_t>(id)] + before, id);
      stands_alone = stands_alone || end == next;
    }
    if (stands_alone) continue;
    PRUNUS_CHECK(unk_, InvalidArgument, where_, ": '", word.substr(begin, next - begin),
                 "' is in no piece, and the vocabulary has no unk_id");
    offer(next, unk_score_ + before, *unk_);
  }
  return best;
}

void UnigramModel::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  PRUNUS_CHECK(word.size() < size_t{std::numeric_limits<int32_t>::max()}, InvalidArgument,
               "a word of ", word.size(), " bytes is too long to tokenize; cut the text");
  const auto best = best_cuts(word);
  std::vector<std::string_view> pieces;
  bool after_unknown = false;
  for (size_t end = word.size(); end > 0;) {
    const auto begin = static_cast<size_t>(best[end].begin);
    const bool unknown = unk_ && best[end].id == *unk_;
    if (unknown && after_unknown) {
      pieces.back() = word.substr(begin, end - begin + pieces.back().size());
    } else {
      pieces.push_back(word.substr(begin, end - begin));
    }
    after_unknown = unknown;
    end = begin;
  }
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) append(*piece, ids);
}

void UnigramModel::append(std::string_view piece, std::vector<int64_t>& ids) const {
  if (const auto id = id_of(piece)) {
    ids.push_back(*id);
    return;
  }
  const auto id_of_byte = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  const bool spelled = byte_fallback_ && std::all_of(piece.begin(), piece.end(), [&](char byte) {
                         return id_of_byte(byte) >= 0;
                       });
  if (spelled) {
    for (const char byte : piece) ids.push_back(id_of_byte(byte));
  } else {
    ids.push_back(*unk_);  // only unknown pieces are not in the vocabulary
  }
}

std::vector<int64_t> UnigramModel::indispensable() const {
  std::vector<int64_t> ids = spelling_ids(*this, byte_fallback_, byte_ids_);
  if (unk_) ids.push_back(*unk_);
  // What an unknown character costs is counted from it.
  ids.push_back(std::min_element(scores_.begin(), scores_.end()) - scores_.begin());
  return ids;
}

}  // namespace prunus::text
