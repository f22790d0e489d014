#include "prunus/text/token_trees.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/json_tokenizer.h"
#include "prunus/text/named_token_ids.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxNamingBytes = uint64_t{1} << 28;

text::JsonTokenizerFile read(const std::string& dir) {
  PRUNUS_CHECK(!text::SidecarFiles(dir).own_class(), Unsupported, dir,
               ": the tokenizer is a Python class of the model's own, whose vocabulary Prunus "
               "cannot rewrite");
  auto file = text::read_json_tokenizer(dir);
  if (!file) load_tokenizer(dir);  // says what is missing
  PRUNUS_CHECK(file, Unsupported, dir,
               ": the tokenizer is a sentencepiece model alone, from which Prunus cannot take "
               "tokens; save it as tokenizer.json first "
               "(AutoTokenizer.from_pretrained(...).save_pretrained(...))");
  return std::move(*file);
}

}  // namespace

TokenTrees::TokenTrees(const std::string& dir, int64_t rows) : rows_(rows) {
  text::JsonTokenizerFile file = read(dir);
  model_ = text::read_model(text::JsonView(*file.document, dir + "/tokenizer.json").at("model"));
  for (int64_t id = 0; id < rows; ++id) {
    making_.push_back(model_->making_of(id));
    auto& parts = making_.back().parts;
    // Without rows for its parts the model could not have been trained on it.
    if (parts && std::max(parts->first, parts->second) >= rows) making_.back() = {false, {}};
  }
  added_.resize(static_cast<size_t>(rows));
  for (const text::AddedToken& token : file.tokenizer->added_tokens()) {
    if (token.id < rows) added_[static_cast<size_t>(token.id)] = true;
  }
  tokenizer_ = std::move(file.tokenizer);
  require(dir);
}

void TokenTrees::require(const std::string& dir) {
  required_ = added_;
  const auto add = [this](int64_t id) {
    if (id < 0 || id >= rows_ || required_[static_cast<size_t>(id)]) return;
    for (const int64_t one : missing(id, required_)) required_[static_cast<size_t>(one)] = true;
  };
  for (const int64_t id : model_->indispensable()) add(id);
  for (const int64_t id : tokenizer_->prefix_ids()) add(id);
  for (const int64_t id : tokenizer_->suffix_ids()) add(id);
  add(tokenizer_->bos_id().value_or(-1));
  add(tokenizer_->eos_id().value_or(-1));
  for (const char* name : {"config.json", "generation_config.json", "tokenizer_config.json"}) {
    const std::string path = (fs::path(dir) / name).string();
    if (!fs::exists(path)) continue;
    Json config = read_json(path, kMaxNamingBytes);
    text::visit_named_ids(config, path, [&](int64_t& id) { add(id); });
  }
}

int64_t TokenTrees::required_count() const {
  return std::count(required_.begin(), required_.end(), true);
}

std::string TokenTrees::name(int64_t id) const {
  const std::string* token = model_->token_of(id);
  return token == nullptr ? c10::str(id) : c10::str(id, " '", *token, "'");
}

std::vector<int64_t> TokenTrees::missing(int64_t id, const std::vector<bool>& kept) const {
  std::vector<int64_t> found = {id};
  for (size_t next = 0; next < found.size(); ++next) {
    const auto& parts = making_[static_cast<size_t>(found[next])].parts;
    if (!parts) continue;
    for (const int64_t part : {parts->first, parts->second}) {
      const bool known = kept[static_cast<size_t>(part)] ||
                         std::find(found.begin(), found.end(), part) != found.end();
      if (!known) found.push_back(part);
    }
  }
  return found;
}

std::vector<int64_t> TokenTrees::uses(const std::vector<int64_t>& counts) const {
  TORCH_INTERNAL_ASSERT(static_cast<int64_t>(counts.size()) == rows_);
  std::vector<int64_t> longest_first;
  for (int64_t id = 0; id < rows_; ++id) {
    if (making_[static_cast<size_t>(id)].parts) longest_first.push_back(id);
  }
  // A part is shorter than the whole.
  std::stable_sort(longest_first.begin(), longest_first.end(), [this](int64_t one, int64_t other) {
    return model_->token_of(one)->size() > model_->token_of(other)->size();
  });
  std::vector<int64_t> uses = counts;
  for (const int64_t id : longest_first) {
    const auto& parts = *making_[static_cast<size_t>(id)].parts;
    for (const int64_t part : {parts.first, parts.second}) {
      uses[static_cast<size_t>(part)] += uses[static_cast<size_t>(id)];
    }
  }
  return uses;
}

std::vector<int64_t> TokenTrees::choose(const std::vector<int64_t>& uses, int64_t count) const {
  TORCH_INTERNAL_ASSERT(required_count() <= count && count <= rows_);
  std::vector<int64_t> order(static_cast<size_t>(rows_));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const auto one = static_cast<size_t>(a);
    const auto other = static_cast<size_t>(b);
    if (uses[one] != uses[other]) return uses[one] > uses[other];
    if (making_[one].reachable != making_[other].reachable) return making_[one].reachable;
    return (model_->token_of(a) != nullptr) > (model_->token_of(b) != nullptr);
  });
  std::vector<bool> kept = required_;
  int64_t room = count - required_count();
  // A tree that had no room may be all but there when its parts have come in for themselves.
  while (room > 0) {
    for (const int64_t id : order) {
      if (room == 0) break;
      if (kept[static_cast<size_t>(id)]) continue;
      const std::vector<int64_t> tree = missing(id, kept);
      if (static_cast<int64_t>(tree.size()) > room) continue;
      for (const int64_t one : tree) kept[static_cast<size_t>(one)] = true;
      room -= static_cast<int64_t>(tree.size());
    }
  }
  std::vector<int64_t> keep;
  for (int64_t id = 0; id < rows_; ++id) {
    if (kept[static_cast<size_t>(id)]) keep.push_back(id);
  }
  return keep;
}

void TokenTrees::check(const std::vector<int64_t>& keep) const {
  std::vector<bool> kept(static_cast<size_t>(rows_));
  for (const int64_t id : keep) kept[static_cast<size_t>(id)] = true;
  for (int64_t id = 0; id < rows_; ++id) {
    const auto at = static_cast<size_t>(id);
    PRUNUS_CHECK(kept[at] || !required_[at], InvalidArgument, "the plan drops token ", name(id),
                 ", which must stay: it is a byte or character that spells other text, or a "
                 "special token, or named by the model's files");
    if (!kept[at] || added_[at] || !making_[at].parts) continue;
    const auto& parts = *making_[at].parts;
    for (const int64_t part : {parts.first, parts.second}) {
      PRUNUS_CHECK(kept[static_cast<size_t>(part)], InvalidArgument, "the plan keeps token ",
                   name(id), " but not token ", name(part),
                   ", which it is made of; keep both or drop both");
    }
  }
}

}  // namespace prunus
