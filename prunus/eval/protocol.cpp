#include "prunus/eval/protocol.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <span>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/named.h"
#include "prunus/eval/wikitext.h"
#include "prunus/text/dataset.h"

namespace prunus {
namespace {

constexpr size_t kC4Documents = 1100;
constexpr size_t kC4Chunks = 256;

constexpr std::pair<std::string_view, PerplexityRule> kRules[] = {
    {"paper", PerplexityRule::Paper},
    {"llm-pruner", PerplexityRule::LlmPruner},
    {"lm-eval-word", PerplexityRule::LmEvalWord},
};

constexpr std::pair<std::string_view, NamedText> kTexts[] = {
    {"wikitext2", NamedText::WikiText2}, {"ptb", NamedText::Ptb}, {"c4", NamedText::C4}};

constexpr std::string_view kWikiFiles[] = {"wiki.test.raw", "wiki.test.joined.txt"};
constexpr std::string_view kPtbFiles[] = {"ptb.valid.txt", "ptb.test.txt", "ptb.valid.txt"};
constexpr std::string_view kC4Files[] = {"c4-validation.jsonl", "c4-validation.json",
                                         "c4-validation.00000-of-00008.json"};

std::span<const std::string_view> files_of(NamedText text, PerplexityRule rule) {
  const std::span wiki(kWikiFiles);
  const std::span ptb(kPtbFiles);
  switch (text) {
    case NamedText::WikiText2:
      return rule == PerplexityRule::LmEvalWord ? wiki.first(1) : wiki;
    case NamedText::Ptb:
      return rule == PerplexityRule::LlmPruner ? ptb.first(1) : ptb.subspan(1);
    case NamedText::C4:
      return kC4Files;
    case NamedText::None:
      break;
  }
  return {};
}

// Rows of a file whose lines are those of WikiText's own files.
bool holds_rows(std::string path) {
  for (const std::string_view packed : {".gz", ".zst"}) {
    if (path.ends_with(packed)) path.erase(path.size() - packed.size());
  }
  return path.ends_with(".raw") || path.ends_with(".tokens");
}

std::string join(std::span<const std::string> rows, std::string_view between) {
  std::string text;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i > 0) text += between;
    text += rows[i];
  }
  return text;
}

std::vector<std::string> stripped_lines(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos) {
      lines.emplace_back();
    } else {
      lines.emplace_back(line.substr(first, line.find_last_not_of(" \t\r") + 1 - first));
    }
    at = end + 1;
  }
  return lines;
}

// The one string that the chunked rules tokenise.
std::string joined_text(NamedText text, PerplexityRule rule, const std::string& path) {
  const TextFile file = read_text_file(path);
  const std::vector<std::string> documents = documents_of(file);
  const bool llm_pruner = rule == PerplexityRule::LlmPruner;
  switch (text) {
    case NamedText::WikiText2:
      return join(holds_rows(path) && !file.is_json() ? wikitext_rows(documents[0]) : documents,
                  "\n\n");
    case NamedText::Ptb:
      return join(file.is_json() ? documents : stripped_lines(documents[0]),
                  llm_pruner ? "\n\n" : " ");
    case NamedText::C4:
      return join(std::span(documents).first(std::min(kC4Documents, documents.size())), " ");
    case NamedText::None:
      break;
  }
  return join(documents, "\n\n");
}

std::string protocol_name(NamedText text, PerplexityRule rule, int64_t length) {
  const std::string prefix =
      rule == PerplexityRule::Paper ? "" : c10::str(name_of(kRules, rule), ":");
  if (text != NamedText::None) return c10::str(prefix, name_of(kTexts, text), "@", length);
  return prefix.empty() ? c10::str("chunked-", length) : c10::str(prefix, "text@", length);
}

EvalText chunked(const TextRequest& request, PerplexityRule rule, const Tokenizer& tokenizer,
                 int64_t length) {
  const std::string whole = joined_text(request.text, rule, request.path);
  EvalText text;
  text.protocol = protocol_name(request.text, rule, length);
  text.seqlen = length;
  text.sha256 = sha256(whole);
  text.sequences = chunks_of(tokenizer, whole, length, request.path);
  if (request.text == NamedText::C4 && text.sequences.size() > kC4Chunks) {
    text.sequences.resize(kC4Chunks);
  }
  return text;
}

// A document as it is scored and as it is counted.
struct Document {
  std::string scored;
  std::string counted;
};

std::vector<Document> scored_documents(const TextRequest& request) {
  const TextFile file = read_text_file(request.path);
  std::vector<std::string> texts = documents_of(file);
  const bool wiki = request.text == NamedText::WikiText2;
  if (wiki && !file.is_json()) texts = wikitext_pages(texts[0]);
  if (request.text == NamedText::Ptb && !file.is_json()) {
    texts = {join(stripped_lines(texts[0]), " ")};
  }
  std::vector<Document> documents;
  for (std::string& text : texts) {
    if (text.empty()) continue;
    std::string scored = wiki ? detokenise_wikitext(text) : text;
    documents.push_back({std::move(scored), std::move(text)});
  }
  return documents;
}

// The ids that are predicted. BOS among them, where the tokenizer adds it, is the harness's way.
std::vector<int64_t> predicted_ids(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = tokenizer.encode(text);
  const auto bos = tokenizer.bos_id();
  const bool begins = bos && !ids.empty() && ids.front() == *bos;
  const std::vector<int64_t> prefix = tokenizer.prefix_ids();
  if (!begins) ids.insert(ids.begin(), prefix.begin(), prefix.end());
  ids.insert(ids.end(), tokenizer.suffix_ids().begin(), tokenizer.suffix_ids().end());
  return ids;
}

// Windows of at most `length` inputs: each begins where the one before ended, but for the last,
// which reaches back to be full.
int64_t add_windows(const std::vector<int64_t>& ids, int64_t prefix, int64_t length,
                    EvalText& text) {
  std::vector<int64_t> all{prefix};
  all.insert(all.end(), ids.begin(), ids.end());
  const auto count = static_cast<int64_t>(ids.size());
  int64_t windows = 0;
  for (int64_t done = 0; done < count; ++windows) {
    const int64_t scored = std::min(length, count - done);
    const int64_t end = done + scored;
    const int64_t begin = std::max<int64_t>(0, end - length);
    text.sequences.emplace_back(all.begin() + begin, all.begin() + end + 1);
    text.scored.push_back(scored);
    done = end;
  }
  return windows;
}

EvalText rolling(const TextRequest& request, const Tokenizer& tokenizer, int64_t length) {
  const auto prefix = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
  PRUNUS_CHECK(prefix, InvalidArgument,
               "lm-eval-word: the tokenizer has neither BOS nor EOS to predict a first id from");
  EvalText text;
  text.protocol = protocol_name(request.text, PerplexityRule::LmEvalWord, length);
  text.seqlen = length;
  std::string whole;
  for (const Document& document : scored_documents(request)) {
    const std::vector<int64_t> ids = predicted_ids(tokenizer, document.scored);
    const int64_t windows = add_windows(ids, *prefix, length, text);
    if (windows == 0) continue;
    whole += document.scored + '\n';
    text.documents.push_back(
        {windows, count_words(document.counted), static_cast<int64_t>(document.counted.size())});
  }
  PRUNUS_CHECK(!text.sequences.empty(), Corrupt, request.path, ": no document has a token");
  text.sha256 = sha256(whole);
  return text;
}

}  // namespace

PerplexityRule parse_perplexity_rule(std::string_view name) {
  return parse_named(kRules, name, "--protocol");
}

std::string_view name_of_rule(PerplexityRule rule) { return name_of(kRules, rule); }

TextRequest parse_text_request(const std::string& argument) {
  const size_t end = std::min(argument.find_first_of("@="), argument.size());
  const std::string_view name = std::string_view(argument).substr(0, end);
  const auto known = std::find_if(std::begin(kTexts), std::end(kTexts),
                                  [&](const auto& one) { return one.first == name; });
  if (known == std::end(kTexts)) return {.text = NamedText::None, .path = argument, .seqlen = {}};
  TextRequest request{.text = known->second, .path = {}, .seqlen = {}};
  const size_t equals = std::min(argument.find('=', end), argument.size());
  if (equals < argument.size()) {
    request.path = argument.substr(equals + 1);
    PRUNUS_CHECK(!request.path.empty(), InvalidArgument, "'", argument, "': no file after '='");
  }
  if (end == equals) return request;
  int64_t length = 0;
  const char* last = argument.data() + equals;
  const auto parsed = std::from_chars(argument.data() + end + 1, last, length);
  PRUNUS_CHECK(parsed.ec == std::errc() && parsed.ptr == last, InvalidArgument, "'", argument,
               "': expected a number of tokens after '@', such as ", name, "@2048");
  request.seqlen = length;
  return request;
}

std::string find_text(const TextRequest& request, const ProtocolOptions& options) {
  if (!request.path.empty()) return request.path;
  const std::string_view name = name_of(kTexts, request.text);
  PRUNUS_CHECK(!options.text_dir.empty(), InvalidArgument, name,
               ": say where the text is: --text-dir DIR, or ", name, "@N=FILE");
  std::string looked_for;
  for (const std::string_view file : files_of(request.text, options.rule)) {
    const std::string path = c10::str(options.text_dir, "/", file);
    if (std::filesystem::exists(path)) return path;
    looked_for += c10::str(looked_for.empty() ? "" : ", ", file);
  }
  PRUNUS_FAIL(NotFound, options.text_dir, ": no text for ", name, "; looked for ", looked_for);
}

EvalText make_eval_text(const TextRequest& request, const ProtocolOptions& options,
                        const Tokenizer& tokenizer, int64_t context) {
  TextRequest found = request;
  found.path = find_text(request, options);
  const std::optional<int64_t> seqlen = request.seqlen ? request.seqlen : options.seqlen;
  if (options.rule == PerplexityRule::LmEvalWord) {
    return rolling(found, tokenizer, checked_seqlen(seqlen, context, context));
  }
  if (options.rule == PerplexityRule::Paper && request.text == NamedText::None) {
    return read_eval_text(found.path, tokenizer, seqlen, context);
  }
  return chunked(found, options.rule, tokenizer, checked_seqlen(seqlen, kDefaultChunk, context));
}

}  // namespace prunus
