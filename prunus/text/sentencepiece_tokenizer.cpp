#include "prunus/text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include <sentencepiece_processor.h>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/stand_in.h"
#include "prunus/text/added_tokens.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/sentencepiece_pieces.h"
#include "prunus/text/stock_tokens.h"
#include "prunus/text/token_model.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

constexpr uint64_t kMaxModelBytes = uint64_t{256} << 20;

std::optional<int64_t> present(int id) {
  return id >= 0 ? std::optional<int64_t>(id) : std::nullopt;
}

// "IQ== 0": base64, a space, a rank.
bool looks_like_ranks(std::string_view content) {
  const std::string_view line = content.substr(0, std::min(content.find('\n'), size_t{4096}));
  const size_t space = line.find(' ');
  if (space == 0 || space == line.npos || space + 1 == line.size()) return false;
  const auto base64 = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/' || c == '=';
  };
  const auto digit = [](char c) { return (c >= '0' && c <= '9') || c == '\r'; };
  return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(space), base64) &&
         std::all_of(line.begin() + static_cast<std::ptrdiff_t>(space) + 1, line.end(), digit);
}

// The library reports most faults of a file by its status, and some (an empty piece) by exceptions
// of the libraries under it.
void load(sentencepiece::SentencePieceProcessor& processor, std::string_view content,
          const std::string& path) {
  std::string fault;
  try {
    const auto status = processor.LoadFromSerializedProto({content.data(), content.size()});
    if (!status.ok()) fault = status.ToString();
  } catch (const std::exception& error) {
    fault = error.what();
  }
  PRUNUS_CHECK(fault.empty(), Corrupt, path, ": not a sentencepiece model: ", fault);
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& path, std::string_view content,
                         const SidecarFiles& files);

  std::vector<int64_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int64_t> ids, bool skip_special) const override;
  std::string_view kind() const override { return "sentencepiece"; }

 private:
  void add(AddedToken token, const std::string& where);
  SpecialIds around_a_text(const SidecarFiles& files);
  std::vector<int64_t> add_chatglm_commands();
  std::optional<int64_t> id_of(std::string_view token) const;

  sentencepiece::SentencePieceProcessor processor_;
  std::map<int64_t, AddedToken> added_;
  AddedTokens in_text_;
};

SentencePieceTokenizer::SentencePieceTokenizer(const std::string& path, std::string_view content,
                                               const SidecarFiles& files) {
  load(processor_, content, path);
  read_pieces(content, path);  // for its checks
  vocab_size_ = processor_.GetPieceSize();
  PRUNUS_CHECK(vocab_size_ > 0 && vocab_size_ <= kMaxTokenId, Corrupt, path, ": has ", vocab_size_,
               " pieces");
  const StockTokens tokens(files, nullptr);
  for (const AddedToken& token : tokens.to_add({})) {
    // A model's own Python class looks only for what a file lists.
    if (token.id >= 0 || !files.own_class()) add(token, files.dir());
  }
  for (const int id : {processor_.unk_id(), processor_.bos_id(), processor_.eos_id()}) {
    if (id < 0 || added_.contains(id)) continue;
    AddedToken token{.id = id, .content = processor_.IdToPiece(id)};
    token.special = true;
    add(token, path);
  }
  SpecialIds found = around_a_text(files);
  const IdOf find = [this](std::string_view token) { return id_of(token); };
  special_ = tokens.resolve(found, find, vocab_size_);
  if (found.adds_bos) special_.prefix.clear();
  special_.adds_bos = found.adds_bos && special_.bos;
  if (special_.adds_bos) special_.prefix = {*special_.bos};
  if (!found.suffix.empty()) special_.suffix.clear();
  if (!found.suffix.empty() && special_.eos) special_.suffix = {*special_.eos};
}

// The generic class goes by the flags alone; a model's own class, and a sentencepiece model of
// which nothing else is known, put BOS in front unless the flag is false.
SpecialIds SentencePieceTokenizer::around_a_text(const SidecarFiles& files) {
  SpecialIds ids{.bos = present(processor_.bos_id()), .eos = present(processor_.eos_id())};
  if (files.tokenizer_class() == "ChatGLMTokenizer") {
    ids.prefix = add_chatglm_commands();
    if (!files.flag("add_bos_token").value_or(true)) ids.prefix.clear();
    return ids;
  }
  const bool nameless = files.tokenizer_class().empty() && files.model_type().empty();
  ids.adds_bos = files.flag("add_bos_token").value_or(nameless || files.own_class());
  if (ids.adds_bos && ids.bos) ids.prefix = {*ids.bos};
  if (ids.eos && files.flag("add_eos_token").value_or(false)) ids.suffix = {*ids.eos};
  return ids;
}

void SentencePieceTokenizer::add(AddedToken token, const std::string& where) {
  PRUNUS_CHECK(!token.content.empty(), Corrupt, where, ": added token ", token.id, " is empty");
  const auto known = id_of(token.content);
  if (token.id < 0) token.id = known.value_or(vocab_size_);
  const auto piece = static_cast<int>(token.id);
  PRUNUS_CHECK(
      token.id >= processor_.GetPieceSize() || processor_.IdToPiece(piece) == token.content,
      Corrupt, where, ": id ", token.id, " is '", processor_.IdToPiece(piece),
      "', but a file beside it says '", token.content, "'");
  const bool is_new = !added_.contains(token.id);
  PRUNUS_CHECK(is_new || added_.at(token.id).content == token.content, Corrupt, where, ": id ",
               token.id, " is both '", token.content, "' and another added token");
  added_[token.id] = token;
  if (is_new) in_text_.add(token, token.content);
  vocab_size_ = std::max(vocab_size_, token.id + 1);
}

// ChatGLM 2 and 3 have tokens behind the pieces that only the Python class knows. It puts two of
// them in front of a text and finds none of them in one, unless a file beside it lists them.
std::vector<int64_t> SentencePieceTokenizer::add_chatglm_commands() {
  int64_t id = processor_.GetPieceSize();
  for (const char* name : {"[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>",
                           "<|assistant|>", "<|observation|>"}) {
    AddedToken token{.id = id++, .content = name};
    token.special = true;
    added_.emplace(token.id, token);
  }
  vocab_size_ = std::max(vocab_size_, id);
  return {processor_.GetPieceSize() + 1, processor_.GetPieceSize() + 3};
}

std::optional<int64_t> SentencePieceTokenizer::id_of(std::string_view token) const {
  for (const auto& [id, added] : added_) {
    if (added.content == token) return id;
  }
  const int id = processor_.PieceToId({token.data(), token.size()});
  if (processor_.IdToPiece(id) != token) return std::nullopt;  // PieceToId says UNK otherwise
  return id;
}

std::vector<int64_t> SentencePieceTokenizer::encode(std::string_view text) const {
  const auto bad = first_invalid_utf8(text);
  PRUNUS_CHECK(!bad, InvalidArgument, "text to tokenize is not valid UTF-8 at byte ", *bad);
  std::vector<int64_t> ids;
  for (const auto& part : in_text_.split(text)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    std::vector<int> pieces;
    const auto status =
        processor_.Encode({text.data() + part.begin, part.end - part.begin}, &pieces);
    PRUNUS_CHECK(status.ok(), InvalidArgument, "sentencepiece: ", status.ToString());
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  }
  return ids;
}

std::string SentencePieceTokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::string text;
  std::vector<int> pieces;
  const auto flush = [&] {
    std::string decoded;
    const auto status = processor_.Decode(pieces, &decoded);
    PRUNUS_CHECK(status.ok(), InvalidArgument, "sentencepiece: ", status.ToString());
    text += decoded;
    pieces.clear();
  };
  for (const int64_t id : ids) {
    if (const auto added = added_.find(id); added != added_.end()) {
      if (skip_special && added->second.special) continue;
      flush();
      text += added->second.content;
    } else if (id >= 0 && id < processor_.GetPieceSize()) {
      pieces.push_back(static_cast<int>(id));
    }
  }
  flush();
  return repair_utf8(text);  // bytes are pieces, too, and a model's pieces are anything
}

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& model_dir) {
  const std::string path = (std::filesystem::path(model_dir) / "tokenizer.model").string();
  const std::string content = read_file(path, kMaxModelBytes);
  check_no_stand_in(content, path);
  PRUNUS_CHECK(
      !looks_like_ranks(content), Unsupported, path,
      ": is a tiktoken rank file, not sentencepiece; put the model's tokenizer.json beside it");
  const SidecarFiles files(model_dir);
  if (const StockClass* stock = stock_class(files, false)) {
    if (auto rebuilt = load_rebuilt_sentencepiece(path, content, files, *stock)) return rebuilt;
  }
  return std::make_unique<SentencePieceTokenizer>(path, content, files);
}

}  // namespace prunus::text
