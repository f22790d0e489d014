#include "prunus/text/pre_tokenizer.h"

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/normalizer.h"
#include "prunus/text/utf8.h"

namespace prunus::text {
namespace {

// What GPT-2 calls a word, and ByteLevel with `use_regex`.
constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::vector<Span> find_string(std::string_view text, std::string_view wanted) {
  std::vector<Span> found;
  for (size_t at = 0; (at = text.find(wanted, at)) != text.npos; at += wanted.size()) {
    found.push_back({at, at + wanted.size()});
  }
  return found;
}

// Every character of which `is_one` holds, each on its own.
std::vector<Span> find_characters(std::string_view text, bool (*is_one)(char32_t)) {
  std::vector<Span> found;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (is_one(c.value)) found.push_back({at, at + c.bytes});
    at += c.bytes;
  }
  return found;
}

// \w+ and [^\w\s]+
std::vector<Span> find_words(std::string_view text) {
  enum class Class { None, Space, Word, Other };
  std::vector<Span> found;
  Class before = Class::None;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const Class now = is_white_space(c.value) ? Class::Space
                      : is_word(c.value)      ? Class::Word
                                              : Class::Other;
    if (now != Class::Space && now == before) {
      found.back().end = at + c.bytes;
    } else if (now != Class::Space) {
      found.push_back({at, at + c.bytes});
    }
    before = now;
    at += c.bytes;
  }
  return found;
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonView& node) {
  if (!node.is_null()) read(node);
}

void PreTokenizer::read(const JsonView& node) {
  const std::string type = node.text("type");
  if (type == "Sequence") {
    for (const auto& part : node.at("pretokenizers").elements()) read(part);
    return;
  }
  PRUNUS_CHECK(!byte_level_, Unsupported, node.where(), ": ", type,
               " after ByteLevel is not supported");
  if (type == "ByteLevel") {
    byte_level_ = true;
    Step step = read_byte_level(node);
    if (step.cuts || step.prepend != Prepend::Never) steps_.push_back(std::move(step));
  } else if (type == "Split") {
    steps_.push_back(read_split(node));
  } else if (type == "Metaspace") {
    steps_.push_back(read_metaspace(node));
  } else {
    steps_.push_back(read_plain(type, node));
  }
}

PreTokenizer::Step PreTokenizer::read_plain(const std::string& type, const JsonView& node) {
  if (type == "Digits") {
    const bool individual = node.flag("individual_digits", false);
    return {.kind = Kind::Digits,
            .behavior = individual ? Behavior::Isolated : Behavior::Contiguous};
  }
  if (type == "Punctuation") {
    const bool given = node.has("behavior");
    return {.kind = Kind::Punctuation,
            .behavior = given ? read_behavior(node) : Behavior::Isolated};
  }
  if (type == "WhitespaceSplit") return {.kind = Kind::Spaces, .behavior = Behavior::Removed};
  if (type == "Whitespace") {
    return {.kind = Kind::Words, .behavior = Behavior::Removed, .invert = true};
  }
  PRUNUS_CHECK(type == "CharDelimiterSplit", Unsupported, node.where(), ": pre-tokenizer type '",
               type, "' is not supported");
  const nlohmann::json pattern = {{"String", node.text("delimiter")}};
  Step step{.kind = Kind::Split, .behavior = Behavior::Removed};
  step.pattern.emplace(JsonView(pattern, node.where()));
  return step;
}

PreTokenizer::Step PreTokenizer::read_byte_level(const JsonView& node) {
  Step step{.kind = Kind::ByteLevel};
  step.cuts = node.flag("use_regex", true);
  const nlohmann::json words = {{"Regex", kGpt2Words}};
  if (step.cuts) step.pattern.emplace(JsonView(words, node.where()));
  if (node.flag("add_prefix_space", true)) step.prepend = Prepend::Always;
  return step;
}

PreTokenizer::Behavior PreTokenizer::read_behavior(const JsonView& node) {
  static const std::map<std::string, Behavior> behaviors = {
      {"Removed", Behavior::Removed},
      {"Isolated", Behavior::Isolated},
      {"MergedWithPrevious", Behavior::MergedWithPrevious},
      {"MergedWithNext", Behavior::MergedWithNext},
      {"Contiguous", Behavior::Contiguous}};
  const std::string name = node.text("behavior");
  const auto behavior = behaviors.find(name);
  PRUNUS_CHECK(behavior != behaviors.end(), Unsupported, node.where(), ": behavior '", name,
               "' is not supported");
  return behavior->second;
}

PreTokenizer::Step PreTokenizer::read_split(const JsonView& node) {
  Step step{.kind = Kind::Split, .behavior = read_behavior(node)};
  step.invert = node.flag("invert", false);
  step.pattern.emplace(node.at("pattern"));
  return step;
}

PreTokenizer::Step PreTokenizer::read_metaspace(const JsonView& node) {
  Step step{.kind = Kind::Metaspace, .behavior = Behavior::MergedWithNext};
  step.mark = node.text("replacement");
  PRUNUS_CHECK(!step.mark.empty() && code_point_at(step.mark, 0).bytes == step.mark.size(), Corrupt,
               node.where(), ": replacement '", step.mark, "' is not one character");
  step.cuts = node.flag("split", true);
  // Files older than prepend_scheme say the same with a flag.
  std::string scheme = node.flag("add_prefix_space", true) ? "always" : "never";
  if (node.has("prepend_scheme")) scheme = node.text("prepend_scheme");
  PRUNUS_CHECK(scheme == "always" || scheme == "first" || scheme == "never", Unsupported,
               node.where(), ": prepend_scheme '", scheme, "' is not supported");
  step.prepend = scheme == "always"  ? Prepend::Always
                 : scheme == "first" ? Prepend::First
                                     : Prepend::Never;
  return step;
}

Words PreTokenizer::split(std::string_view text, bool at_start) const {
  Words current;
  if (!text.empty()) current.words.push_back({text, at_start});
  for (const auto& step : steps_) {
    std::vector<Words::Word> before;
    before.swap(current.words);
    for (const auto& word : before) run(step, word, current);
  }
  return current;
}

std::string_view PreTokenizer::prepare(const Step& step, const Words::Word& word, Words& out) {
  const bool metaspace = step.kind == Kind::Metaspace;
  const std::string_view mark = metaspace ? std::string_view(step.mark) : " ";
  const bool wanted =
      step.prepend == Prepend::Always || (step.prepend == Prepend::First && word.at_start);
  std::string_view text = word.text;
  if (metaspace && text.find(' ') != text.npos) {
    text = out.arena.emplace_back(replace_all(text, " ", mark));
  }
  if (wanted && !text.starts_with(mark)) {
    text = out.arena.emplace_back(std::string(mark).append(text));
  }
  return text;
}

std::vector<Span> PreTokenizer::find(const Step& step, std::string_view text) {
  switch (step.kind) {
    case Kind::Digits:
      return find_characters(text, is_numeric);
    case Kind::Spaces:
      return find_characters(text, is_white_space);
    case Kind::Punctuation:
      return find_characters(text, is_punctuation);
    case Kind::Words:
      return find_words(text);
    case Kind::Metaspace:
      return find_string(text, step.mark);
    default:
      return step.pattern->find_all(text);
  }
}

std::vector<PreTokenizer::Match> PreTokenizer::matches(const Step& step, std::string_view text) {
  const std::vector<Span> found = find(step, text);
  std::vector<Match> all;
  all.reserve(found.size() * 2 + 1);
  size_t done = 0;
  for (const Span& span : found) {
    if (span.begin > done) all.push_back({{done, span.begin}, step.invert});
    all.push_back({span, !step.invert});
    done = span.end;
  }
  if (done < text.size()) all.push_back({{done, text.size()}, step.invert});
  return all;
}

void PreTokenizer::run(const Step& step, const Words::Word& word, Words& out) {
  const std::string_view text = prepare(step, word, out);
  if (!step.cuts) {
    out.words.push_back({text, word.at_start});
    return;
  }
  std::vector<Span> spans;
  bool previous = false;
  const auto push = [&](const Match& match, bool joins) {
    if (joins && !spans.empty()) {
      spans.back().begin = std::min(spans.back().begin, match.span.begin);
      spans.back().end = std::max(spans.back().end, match.span.end);
    } else {
      spans.push_back(match.span);
    }
    previous = match.hit;
  };
  auto all = matches(step, text);
  if (step.behavior == Behavior::MergedWithNext) std::reverse(all.begin(), all.end());
  spans.reserve(all.size());
  for (const Match& match : all) {
    switch (step.behavior) {
      case Behavior::Removed:
        if (!match.hit) push(match, false);
        break;
      case Behavior::Isolated:
        push(match, false);
        break;
      case Behavior::Contiguous:
        push(match, match.hit == previous);
        break;
      default:
        push(match, match.hit && !previous);
    }
  }
  if (step.behavior == Behavior::MergedWithNext) std::reverse(spans.begin(), spans.end());
  for (const Span& span : spans) {
    out.words.push_back(
        {text.substr(span.begin, span.end - span.begin), word.at_start && span.begin == 0});
  }
}

}  // namespace prunus::text
