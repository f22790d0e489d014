#include "prunus/text/dataset.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/json.h"
#include "prunus/base/rng.h"
#include "prunus/text/reference_windows.h"
#include "prunus/text/tokenizer.h"

namespace prunus {
namespace {

constexpr size_t kPieceBytes = size_t{64} << 10;

std::string document_text(const Json& record, const std::string& where) {
  PRUNUS_CHECK(record.is_object(), Corrupt, where, ": is ", record.type_name(),
               ", expected an object with a \"text\"");
  const auto text = record.find("text");
  PRUNUS_CHECK(
      text != record.end() && text->is_string(), Corrupt, where,
      ": has no string \"text\"; a record here is an object with one (records of instructions "
      "and conversations are for prunus recover --data)");
  return text->get<std::string>();
}

// Where the piece that begins at `begin` ends: after the last line end, else after the last space,
// else before the last character that fits.
size_t piece_end(std::string_view text, size_t begin, size_t limit) {
  if (text.size() - begin <= limit) return text.size();
  const std::string_view window = text.substr(begin, limit);
  for (const char mark : {'\n', ' '}) {
    if (const size_t found = window.rfind(mark); found != window.npos) return begin + found + 1;
  }
  size_t end = begin + limit;
  while (end > begin + 1 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

std::vector<std::string> cut(const std::string& text, size_t limit) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t end = piece_end(text, at, limit);
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

// A document and the slots of it that no window has taken yet.
class TextSource {
 public:
  // `begins`: the text is the beginning of its document, where BOS stands.
  TextSource(std::string text, bool begins) : text_(std::move(text)), begins_(begins) {}

  // The ids of a random free slot; empty where none is left.
  std::vector<int64_t> take(const Tokenizer& tokenizer, size_t slot, PythonRandom& random) {
    if (!opened_) open(tokenizer, slot, random);
    if (free_.empty()) return {};
    const size_t pick = random.below(free_.size());
    const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(phase_ + free_[pick] * slot);
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(pick));
    std::vector<int64_t> window(first, first + static_cast<std::ptrdiff_t>(slot));
    if (free_.empty()) ids_ = {};
    return window;
  }

 private:
  void open(const Tokenizer& tokenizer, size_t slot, PythonRandom& random) {
    opened_ = true;
    ids_ = tokenizer.encode(text_);
    if (begins_) {
      const auto start = tokenizer.document_start();
      ids_.insert(ids_.begin(), start.begin(), start.end());
    }
    text_ = {};
    free_.resize(ids_.size() / slot);
    std::iota(free_.begin(), free_.end(), size_t{0});
    if (free_.empty()) {
      ids_ = {};
    } else {
      phase_ = random.below(ids_.size() % slot + 1);
    }
  }

  std::string text_;
  bool begins_;
  std::vector<int64_t> ids_;
  std::vector<size_t> free_;
  size_t phase_ = 0;
  bool opened_ = false;
};

std::vector<TextSource> shuffled_sources(const TextFile& file, const WindowOptions& options,
                                         PythonRandom& random) {
  auto documents = documents_of(file);
  const bool pieces = !file.is_json();
  if (pieces) {
    documents =
        cut(documents.front(), std::max(kPieceBytes, static_cast<size_t>(options.tokens) * 16));
  }
  std::vector<TextSource> sources;
  sources.reserve(documents.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    sources.emplace_back(std::move(documents[i]), !pieces || i == 0);
  }
  random.shuffle(sources);
  return sources;
}

}  // namespace

std::vector<std::string> documents_of(const TextFile& file) {
  std::vector<std::string> documents;
  if (file.is_json()) {
    for_each_record(file, [&](const Json& record, const std::string& where) {
      documents.push_back(document_text(record, where));
    });
  } else {
    documents.push_back(file.content);
  }
  const bool empty = std::all_of(documents.begin(), documents.end(),
                                 [](const std::string& text) { return text.empty(); });
  PRUNUS_CHECK(!empty, Corrupt, file.path, ": holds no text");
  return documents;
}

std::vector<std::string> read_documents(const std::string& path) {
  return documents_of(read_text_file(path));
}

std::vector<std::vector<int64_t>> sample_windows(const Tokenizer& tokenizer, const TextFile& file,
                                                 const WindowOptions& options) {
  PRUNUS_CHECK(options.samples >= 1, InvalidArgument, "calibration samples: got ", options.samples,
               ", expected at least 1");
  PRUNUS_CHECK(options.tokens >= 2 && options.tokens <= kMaxWindowTokens, InvalidArgument,
               "calibration tokens: got ", options.tokens, ", expected 2 to ", kMaxWindowTokens);
  PythonRandom random(options.seed);
  auto sources = shuffled_sources(file, options, random);
  const auto slot = static_cast<size_t>(options.tokens);
  const auto wanted = static_cast<size_t>(options.samples);
  std::vector<std::vector<int64_t>> windows;
  for (bool found = true; found && windows.size() < wanted;) {
    found = false;
    for (size_t i = 0; i < sources.size() && windows.size() < wanted; ++i) {
      auto window = sources[i].take(tokenizer, slot, random);
      if (window.empty()) continue;
      found = true;
      windows.push_back(std::move(window));
    }
  }
  const size_t needed = options.fewest > 0 ? static_cast<size_t>(options.fewest) : wanted;
  PRUNUS_CHECK(windows.size() >= std::min(needed, wanted), InvalidArgument, file.path,
               ": has text for ", windows.size(), " windows of ", options.tokens, " tokens, but ",
               needed,
               " were asked for; lower --calib-samples or --calib-tokens, or give more text");
  return windows;
}

}  // namespace prunus
