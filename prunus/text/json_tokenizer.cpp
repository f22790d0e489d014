#include "prunus/text/json_tokenizer.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/byte_level.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

const nlohmann::json kNull;

JsonView optional_part(const JsonView& document, const char* key) {
  return document.has(key) ? document.at(key) : JsonView(kNull, document.where());
}

}  // namespace

JsonTokenizer::JsonTokenizer(const JsonView& document, const SidecarFiles& files,
                             const StockTokens& tokens)
    : model_(read_model(document.at("model"))),
      normalizer_(optional_part(document, "normalizer")),
      pre_tokenizer_(optional_part(document, "pre_tokenizer")),
      decoder_(optional_part(document, "decoder")) {
  vocab_size_ = model_->id_limit();
  add_all(document, tokens, files.dir());
  find_added_tokens();
  const IdOf find = [this](std::string_view token) { return id_of(token); };
  const auto stock = template_ids(optional_part(document, "post_processor"), find);
  special_ = tokens.resolve(stock, find, vocab_size_);
}

void JsonTokenizer::add_all(const JsonView& document, const StockTokens& tokens,
                            const std::string& dir) {
  std::vector<AddedToken> in_file;
  if (document.has("added_tokens")) {
    std::set<std::string> seen;
    for (const auto& node : document.at("added_tokens").elements()) {
      AddedToken token = read_added_token(node);
      token.id = node.integer("id");
      PRUNUS_CHECK(!token.content.empty(), Corrupt, node.where(), ": empty added token");
      PRUNUS_CHECK(token.id >= 0, Corrupt, node.where(), ": id ", token.id, " is out of range [0, ",
                   kMaxTokenId, "]");
      PRUNUS_CHECK(seen.insert(token.content).second, Corrupt, node.where(), ": '", token.content,
                   "' is given twice");
      if (tokens.keeps_file_tokens()) add(token, node.where());
      in_file.push_back(std::move(token));
    }
  }
  for (const AddedToken& token : tokens.to_add(in_file)) add(token, dir);
}

// As tokenizers gives an id: a token of the vocabulary keeps its own, another comes after all.
int64_t JsonTokenizer::next_id() const {
  const int64_t pieces = model_->size();
  return added_.empty() ? pieces : std::max(pieces, added_.rbegin()->first + 1);
}

void JsonTokenizer::add(AddedToken token, const std::string& where) {
  const auto known = id_of(token.content);
  const int64_t id = known ? *known : next_id();
  if (token.id < 0) token.id = id;
  PRUNUS_CHECK(token.id <= kMaxTokenId, Corrupt, where, ": id ", token.id, " of '", token.content,
               "' is out of range [0, ", kMaxTokenId, "]");
  const std::string* in_vocab = model_->token_of(token.id);
  PRUNUS_CHECK(in_vocab == nullptr || *in_vocab == token.content, Corrupt, where, ": id ", token.id,
               " is '", token.content, "' here and '", *in_vocab, "' in the vocabulary");
  const auto vocab_id = model_->id_of(token.content);
  PRUNUS_CHECK(!vocab_id || *vocab_id == token.id, Corrupt, where, ": '", token.content,
               "' has id ", token.id, " here and ", *vocab_id, " in the vocabulary");
  const auto taken = added_.find(token.id);
  PRUNUS_CHECK(taken == added_.end() || taken->second.content == token.content, Corrupt, where,
               ": id ", token.id, " is given twice");
  PRUNUS_CHECK(token.id == id, Corrupt, where, ": added token '", token.content, "' has id ",
               token.id, ", but stock software gives it ", id,
               ": added tokens follow the vocabulary and each other without holes");
  if (taken == added_.end()) added_order_.push_back(token.id);
  added_[token.id] = token;
  added_ids_[token.content] = token.id;
  vocab_size_ = std::max(vocab_size_, token.id + 1);
}

void JsonTokenizer::find_added_tokens() {
  for (const int64_t id : added_order_) {
    const AddedToken& token = added_.at(id);
    if (token.normalized) {
      in_normalized_text_.add(token, normalizer_.apply(token.content));
    } else {
      in_raw_text_.add(token, token.content);
    }
  }
}

std::vector<AddedToken> JsonTokenizer::added_tokens() const {
  std::vector<AddedToken> tokens;
  for (const auto& [id, token] : added_) tokens.push_back(token);
  return tokens;
}

std::optional<int64_t> JsonTokenizer::id_of(std::string_view token) const {
  const auto found = added_ids_.find(token);
  return found != added_ids_.end() ? found->second : model_->id_of(token);
}

std::string_view JsonTokenizer::kind() const {
  const bool bytes = pre_tokenizer_.byte_level() && model_->kind() == "bpe";
  return bytes ? "byte-level-bpe" : model_->kind();
}

std::vector<int64_t> JsonTokenizer::encode(std::string_view text) const {
  const auto bad = first_invalid_utf8(text);
  PRUNUS_CHECK(!bad, InvalidArgument, "text to tokenize is not valid UTF-8 at byte ", *bad);
  SharedWordCache::Lease lease(cache_);
  std::vector<int64_t> ids;
  ids.reserve(text.size() / 4 + 8);
  for (const auto& part : in_raw_text_.split(text)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    std::string_view plain = text.substr(part.begin, part.end - part.begin);
    if (normalizer_.changes_nothing()) {
      encode_plain(plain, part.begin == 0, lease.cache(), ids);
    } else {
      encode_plain(normalizer_.apply(plain), part.begin == 0, lease.cache(), ids);
    }
  }
  return ids;
}

void JsonTokenizer::encode_plain(std::string_view text, bool at_start, WordCache& cache,
                                 std::vector<int64_t>& ids) const {
  for (const auto& part : in_normalized_text_.split(text)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    const auto plain = text.substr(part.begin, part.end - part.begin);
    const Words words = pre_tokenizer_.split(plain, at_start && part.begin == 0);
    for (const auto& word : words.words) encode_word(word.text, cache, ids);
  }
}

// Cuts a word where no merge can reach across (BpeModel::cuts_at_marks), so that a vocabulary
// without a pre-tokenizer, for which a whole book is one word, profits from the cache too.
void JsonTokenizer::encode_word(std::string_view word, WordCache& cache,
                                std::vector<int64_t>& ids) const {
  size_t begin = 0;
  if (model_->cuts_at_marks() && !pre_tokenizer_.byte_level()) {
    size_t after_mark = 0;
    for (size_t at = 0; (at = word.find(kSpaceMark, at)) != word.npos; after_mark = at) {
      if (at > after_mark) {  // what comes before is not a mark
        encode_piece(word.substr(begin, at - begin), cache, ids);
        begin = at;
      }
      at += kSpaceMark.size();
    }
  }
  encode_piece(word.substr(begin), cache, ids);
}

void JsonTokenizer::encode_piece(std::string_view piece, WordCache& cache,
                                 std::vector<int64_t>& ids) const {
  if (const auto known = cache.find(piece); !known.empty()) {
    ids.insert(ids.end(), known.begin(), known.end());
    return;
  }
  const size_t before = ids.size();
  if (pre_tokenizer_.byte_level()) {
    model_->tokenize(spell_bytes(piece), ids);
  } else {
    model_->tokenize(piece, ids);
  }
  cache.insert(piece, std::span(ids).subspan(before));
}

std::string JsonTokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    if (const auto added = added_.find(id); added != added_.end()) {
      if (!(skip_special && added->second.special)) tokens.push_back(added->second.content);
    } else if (const std::string* token = model_->token_of(id)) {
      tokens.push_back(*token);
    }
  }
  return decoder_.decode(std::move(tokens));
}

}  // namespace prunus::text
