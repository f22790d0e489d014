#include "prunus/text/bpe_model.h"

#include <algorithm>
#include <limits>
#include <queue>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

struct Candidate {
  uint32_t rank;
  int32_t position;
  int32_t merged;
  // priority_queue gives the greatest first; the greatest is the lowest rank, then the leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

// One token of a word under work; a linked list, so that a merge costs O(1).
struct BpeModel::Symbol {
  int32_t id;  // -1 once merged into the symbol before
  int32_t previous;
  int32_t next;  // -1 at the end
};

BpeModel::BpeModel(const JsonView& model) : where_(model.where()) {
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    model.require_unset(key);
  }
  read_vocab(model.at("vocab"));
  read_options(model);
  read_merges(model.at("merges"));
}

void BpeModel::read_options(const JsonView& model) {
  fuse_unk_ = model.flag("fuse_unk", false);
  byte_fallback_ = model.flag("byte_fallback", false);
  ignore_merges_ = model.flag("ignore_merges", false);
  if (model.has("unk_token")) {
    const std::string token = model.text("unk_token");
    const auto found = ids_.find(token);
    PRUNUS_CHECK(found != ids_.end(), Corrupt, where_, ".unk_token: '", token,
                 "' is not in the vocabulary");
    unk_ = found->second;
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = ids_.find(byte_token(byte));
    byte_ids_[byte] = found == ids_.end() ? -1 : found->second;
  }
  const bool mark_is_unk = unk_ && tokens_[static_cast<size_t>(*unk_)]->ends_with(kSpaceMark);
  cuts_at_marks_ = ids_.contains(kSpaceMark) && !ignore_merges_ && !mark_is_unk;
}

void BpeModel::read_vocab(const JsonView& vocab) {
  const auto& entries = vocab.raw();
  PRUNUS_CHECK(entries.is_object() && !entries.empty(), Corrupt, vocab.where(), ": is ",
               entries.type_name(), ", expected an object from tokens to ids, not empty");
  ids_.reserve(entries.size());
  for (const auto& [token, value] : entries.items()) {
    PRUNUS_CHECK(value.is_number_integer(), Corrupt, vocab.where(), ": id of '", token,
                 "' is not an integer");
    const bool in_range = value.is_number_unsigned()
                              ? value.get<uint64_t>() <= uint64_t{kMaxTokenId}
                              : value.get<int64_t>() >= 0 && value.get<int64_t>() <= kMaxTokenId;
    PRUNUS_CHECK(in_range, Corrupt, vocab.where(), ": id ", value.dump(), " of '", token,
                 "' is out of range [0, ", kMaxTokenId, "]");
    const auto id = value.get<int32_t>();
    const auto slot = static_cast<size_t>(id);
    if (slot >= tokens_.size()) tokens_.resize(slot + 1, nullptr);
    PRUNUS_CHECK(tokens_[slot] == nullptr, Corrupt, vocab.where(), ": id ", id,
                 " belongs to both '", *tokens_[slot], "' and '", token, "'");
    tokens_[slot] = &ids_.emplace(token, id).first->first;
  }
}

void BpeModel::read_merges(const JsonView& merges) {
  const auto& entries = merges.raw();
  PRUNUS_CHECK(entries.is_array(), Corrupt, merges.where(), ": is ", entries.type_name(),
               ", expected an array");
  PRUNUS_CHECK(entries.size() <= std::numeric_limits<int32_t>::max(), Corrupt, merges.where(),
               ": too many merges");
  merges_.reset(entries.size());
  uint32_t rank = 0;
  for (const auto& entry : entries) {
    if (entry.is_string()) {
      const std::string_view line = entry.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      const size_t space = line.find(' ');
      PRUNUS_CHECK(space != line.npos && line.find(' ', space + 1) == line.npos, Corrupt,
                   merges.where(), ": merge ", rank, " is '", line, "', expected two tokens");
      add_merge(line.substr(0, space), line.substr(space + 1), rank);
    } else {
      PRUNUS_CHECK(
          entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string(),
          Corrupt, merges.where(), ": merge ", rank, " is not a pair of tokens");
      add_merge(entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>(),
                rank);
    }
    ++rank;
  }
}

void BpeModel::add_merge(std::string_view left, std::string_view right, uint32_t rank) {
  const auto id = [&](std::string_view token) {
    const auto found = ids_.find(token);
    PRUNUS_CHECK(found != ids_.end(), Corrupt, where_, ".merges: merge ", rank, " ('", left, "' '",
                 right, "') needs '", token, "', which is not in the vocabulary");
    return found->second;
  };
  const int32_t merged = id(std::string(left).append(right));
  merges_.insert(id(left), id(right), {rank, merged});
  if (right.starts_with(kSpaceMark) && !left.ends_with(kSpaceMark)) cuts_at_marks_ = false;
}

std::optional<int64_t> BpeModel::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* BpeModel::token_of(int64_t id) const {
  return id >= 0 && id < id_limit() ? tokens_[static_cast<size_t>(id)] : nullptr;
}

void BpeModel::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  PRUNUS_CHECK(word.size() < size_t{std::numeric_limits<int32_t>::max()}, InvalidArgument,
               "a word of ", word.size(), " bytes is too long to tokenize; cut the text");
  if (ignore_merges_) {
    if (const auto whole = id_of(word)) {
      ids.push_back(*whole);
      return;
    }
  }
  auto symbols = first_symbols(word);
  merge_all(symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

bool BpeModel::add_bytes(std::string_view character, std::vector<Symbol>& symbols) const {
  if (!byte_fallback_) return false;
  for (const char byte : character) {
    if (byte_ids_[static_cast<uint8_t>(byte)] < 0) return false;
  }
  for (const char byte : character) {
    symbols.push_back({byte_ids_[static_cast<uint8_t>(byte)], 0, 0});
  }
  return true;
}

std::vector<BpeModel::Symbol> BpeModel::first_symbols(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  // An unknown token waits, so that the next can join it; bytes overtake it, as in Hugging Face.
  bool unk_waits = false;
  const auto add_unk = [&] {
    if (unk_waits) symbols.push_back({*unk_, 0, 0});
  };
  for (size_t at = 0; at < word.size();) {
    const auto character = word.substr(at, code_point_at(word, at).bytes);
    at += character.size();
    if (const auto found = ids_.find(character); found != ids_.end()) {
      add_unk();
      unk_waits = false;
      symbols.push_back({found->second, 0, 0});
    } else if (!add_bytes(character, symbols) && unk_) {
      if (!fuse_unk_) add_unk();
      unk_waits = true;
    }
  }
  add_unk();
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)].previous = i - 1;
    symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  return symbols;
}

// → the tokens that were joined last; nothing where none were.
std::optional<std::pair<int64_t, int64_t>> BpeModel::merge_all(std::vector<Symbol>& symbols) const {
  std::optional<std::pair<int64_t, int64_t>> last;
  const auto at = [&](int32_t position) -> Symbol& {
    return symbols[static_cast<size_t>(position)];
  };
  std::vector<Candidate> found;
  const auto candidate = [&](int32_t position) -> std::optional<Candidate> {
    if (position < 0 || at(position).next < 0) return std::nullopt;
    const Merge* merge = merges_.find(at(position).id, at(at(position).next).id);
    if (merge == nullptr) return std::nullopt;
    return Candidate{merge->rank, position, merge->merged};
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (const auto next = candidate(static_cast<int32_t>(i))) found.push_back(*next);
  }
  std::priority_queue<Candidate> queue({}, std::move(found));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = at(best.position);
    // Stale where one of the two has been merged since: the pair now makes a longer token.
    const auto now = left.id < 0 ? std::nullopt : candidate(best.position);
    if (!now || now->rank != best.rank) continue;
    Symbol& right = at(left.next);
    last = {left.id, right.id};
    left.id = best.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) at(left.next).previous = best.position;
    for (const int32_t position : {left.previous, best.position}) {
      if (const auto next = candidate(position)) queue.push(*next);
    }
  }
  return last;
}

TokenMaking BpeModel::making_of(int64_t id) const {
  const std::string* token = token_of(id);
  if (token == nullptr) return {.reachable = false, .parts = std::nullopt};
  std::vector<Symbol> symbols = first_symbols(*token);
  const auto last = merge_all(symbols);
  const bool whole = !symbols.empty() && symbols[0].id == id && symbols[0].next < 0;
  return {.reachable = whole || ignore_merges_, .parts = whole ? last : std::nullopt};
}

std::vector<int64_t> BpeModel::indispensable() const {
  std::vector<int64_t> ids = spelling_ids(*this, byte_fallback_, byte_ids_);
  if (unk_) ids.push_back(*unk_);
  return ids;
}

}  // namespace prunus::text
