#include "prunus/train/train_data.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/text/chat_format.h"

#include "support/expect_error.h"
#include "support/paths.h"

namespace prunus::test::train_data_test {
namespace {

DataSplit read_train_data(const std::string& path, const Tokenizer& tokenizer,
                          const DataOptions& options) {
  return prunus::read_train_data(read_text_file(path), tokenizer, options);
}

using testing::ElementsAre;
using Ids = std::vector<int64_t>;
using Scored = std::vector<uint8_t>;

constexpr int64_t kBos = 1000;
constexpr int64_t kEos = 1001;
constexpr int64_t kQr = 1002;

// One id a byte, but "qr" is one id and '$' is EOS.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(bool adds_bos = true, bool has_eos = true, const Ids& prefix = {}) {
    special_.prefix = prefix;
    special_.bos = kBos;
    if (has_eos) special_.eos = kEos;
    special_.adds_bos = adds_bos;
    vocab_size_ = 1003;
  }
  Ids encode(std::string_view text) const override {
    Ids ids;
    for (const char letter : text) {
      if (letter == 'r' && !ids.empty() && ids.back() == 'q') {
        ids.back() = kQr;
      } else {
        ids.push_back(letter == '$' ? kEos : letter);
      }
    }
    return ids;
  }
  std::string decode(std::span<const int64_t>, bool) const override { return ""; }
  std::string_view kind() const override { return "bytes"; }
};

class ReadTrainData : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& content) const {
    write_file(dir_ / name, content);
    return dir_ / name;
  }
  std::string documents(const std::vector<std::string>& texts) const {
    std::string lines;
    for (const auto& text : texts) lines += Json{{"text", text}}.dump() + "\n";
    return write("a.jsonl", lines);
  }
  std::string records(const std::vector<std::pair<std::string, std::string>>& texts) const {
    Json array = Json::array();
    for (const auto& [prompt, response] : texts) {
      array.push_back({{"prompt", prompt}, {"response", response}});
    }
    return write("a.json", array.dump());
  }

  // Options for conversations that a template writes so: "<u>", "<a>" before what is said.
  DataOptions chat(const std::string& body = "{{ m.content }}") {
    write("tokenizer_config.json",
          Json{{"chat_template", "{% for m in messages %}<{{ m.role[0] }}>" + body +
                                     "{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"}}
              .dump());
    return {.chat = std::make_shared<const ChatFormat>(dir_.path())};
  }

  TempDir dir_;
  ByteTokenizer tokenizer_;
};

std::vector<Ids> ids_of(const std::vector<TrainRow>& rows) {
  std::vector<Ids> ids;
  for (const TrainRow& row : rows) ids.push_back(row.ids);
  return ids;
}

std::vector<Scored> scored_of(const std::vector<TrainRow>& rows) {
  std::vector<Scored> scored;
  for (const TrainRow& row : rows) scored.push_back(row.scored);
  return scored;
}

TEST_F(ReadTrainData, PacksDocumentsAndPutsBosInFrontOfRowsThatBeginInsideOne) {
  const auto split = read_train_data(documents({"abc", "", "de"}), tokenizer_, {.row_tokens = 4});
  EXPECT_EQ(split.format, DataFormat::Text);
  EXPECT_EQ(split.documents, 3);
  EXPECT_EQ(split.cut, 0);
  EXPECT_EQ(split.unscored, 1);  // the empty document
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{kBos, 'a', 'b', 'c'}, Ids{kBos, kEos, kBos, 'd'},
                                               Ids{kBos, 'e', kEos}));
  EXPECT_THAT(scored_of(split.train),
              ElementsAre(Scored{0, 1, 1, 1}, Scored{0, 1, 1, 1}, Scored{0, 1, 1}));
  EXPECT_TRUE(split.valid.empty());
}

TEST_F(ReadTrainData, AddsNoSecondBosWhereARowBeginsWithADocument) {
  const auto split = read_train_data(documents({"ab", "cd"}), tokenizer_, {.row_tokens = 4});
  EXPECT_THAT(ids_of(split.train),
              ElementsAre(Ids{kBos, 'a', 'b', kEos}, Ids{kBos, 'c', 'd', kEos}));
}

TEST_F(ReadTrainData, AddsNoBosWhereTheTokenizerAddsNone) {
  const auto split =
      read_train_data(documents({"abc", "de"}), ByteTokenizer(false), {.row_tokens = 4});
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{'a', 'b', 'c', kEos}, Ids{'d', 'e', kEos}));
  EXPECT_THAT(scored_of(split.train), ElementsAre(Scored{0, 1, 1, 1}, Scored{0, 1, 1}));
}

TEST_F(ReadTrainData, LeavesOutALastRowOfOneIdSinceNothingPredictsIt) {
  const auto split = read_train_data(documents({"abc", "de"}), ByteTokenizer(false),
                                     {.row_tokens = 2, .append_eos = false});
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{'a', 'b'}, Ids{'c', 'd'}));
  EXPECT_EQ(split.unscored, 1);
}

TEST_F(ReadTrainData, AppendsEosOnlyWhereThereIsOneAndItIsWantedAndNotThereYet) {
  const auto ids = [&](const std::string& text, const Tokenizer& tokenizer, bool append) {
    return read_train_data(documents({text}), tokenizer, {.append_eos = append}).train.at(0).ids;
  };
  EXPECT_EQ(ids("ab", tokenizer_, true), (Ids{kBos, 'a', 'b', kEos}));
  EXPECT_EQ(ids("ab$", tokenizer_, true), (Ids{kBos, 'a', 'b', kEos}));
  EXPECT_EQ(ids("ab", ByteTokenizer(true, false), true), (Ids{kBos, 'a', 'b'}));
  EXPECT_EQ(ids("ab", tokenizer_, false), (Ids{kBos, 'a', 'b'}));
}

TEST_F(ReadTrainData, PutsEveryIdOfTheStreamIntoOneRow) {
  std::vector<std::string> texts;
  Ids stream;
  for (size_t i = 1; i < 40; ++i) {
    texts.emplace_back((i * i) % 23 + 1, static_cast<char>('A' + i % 26));
    stream.push_back(kBos);
    stream.insert(stream.end(), texts.back().begin(), texts.back().end());
    stream.push_back(kEos);
  }
  const auto path = documents(texts);
  for (const int64_t row_tokens : {2, 3, 7, 16, 1000}) {
    const auto split = read_train_data(path, tokenizer_, {.row_tokens = row_tokens});
    Ids joined;
    for (size_t i = 0; i < split.train.size(); ++i) {
      const Ids& ids = split.train[i].ids;
      const bool last = i + 1 == split.train.size();
      EXPECT_TRUE(last ? std::ssize(ids) <= row_tokens : std::ssize(ids) == row_tokens);
      EXPECT_EQ(ids.front(), kBos);
      const bool begins = stream[joined.size()] == kBos;
      joined.insert(joined.end(), ids.begin() + (begins ? 0 : 1), ids.end());
    }
    EXPECT_EQ(joined, stream) << row_tokens;
  }
}

TEST_F(ReadTrainData, GivesUnpackedDocumentsARowEachAndCutsThem) {
  const auto split = read_train_data(documents({"abc", "de", ""}), tokenizer_,
                                     {.packing = Packing::Pad, .row_tokens = 4});
  EXPECT_THAT(ids_of(split.train),
              ElementsAre(Ids{kBos, 'a', 'b', 'c'}, Ids{kBos, 'd', 'e', kEos}));
  EXPECT_EQ(split.cut, 1);
  EXPECT_EQ(split.unscored, 1);
}

TEST_F(ReadTrainData, TakesAPlainFileForOneDocument) {
  const auto split = read_train_data(write("a.txt", "[a\nb"), tokenizer_, {});
  EXPECT_EQ(split.documents, 1);
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{kBos, '[', 'a', '\n', 'b', kEos}));
}

TEST_F(ReadTrainData, ScoresOnlyTheResponseAndEosOfARecord) {
  const auto path = records({{"pq", "st"}, {"p", "s$"}});
  const auto split = read_train_data(path, tokenizer_, {});
  EXPECT_EQ(split.format, DataFormat::Instruct);
  EXPECT_EQ(split.documents, 2);
  EXPECT_THAT(ids_of(split.train),
              ElementsAre(Ids{kBos, 'p', 'q', 's', 't', kEos}, Ids{kBos, 'p', 's', kEos}));
  EXPECT_THAT(scored_of(split.train), ElementsAre(Scored{0, 0, 0, 1, 1, 1}, Scored{0, 0, 1, 1}));
  const auto all = read_train_data(path, tokenizer_, {.train_on_prompt = true});
  EXPECT_THAT(scored_of(all.train), ElementsAre(Scored{0, 1, 1, 1, 1, 1}, Scored{0, 1, 1, 1}));
}

TEST_F(ReadTrainData, MeasuresThePromptAloneAlsoWhereATokenSpansItsEnd) {
  // Together B p qr E; the prompt alone is B p q, three ids, so the spanning token is not scored.
  const auto split = read_train_data(records({{"pq", "r"}}), tokenizer_, {});
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{kBos, 'p', kQr, kEos}));
  EXPECT_THAT(scored_of(split.train), ElementsAre(Scored{0, 0, 0, 1}));
}

TEST_F(ReadTrainData, ScoresTheSameWithoutBos) {
  const auto split = read_train_data(records({{"pq", "s"}, {"", "st"}}), ByteTokenizer(false), {});
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{'p', 'q', 's', kEos}, Ids{'s', 't', kEos}));
  EXPECT_THAT(scored_of(split.train), ElementsAre(Scored{0, 0, 1, 1}, Scored{0, 1, 1}));
}

TEST_F(ReadTrainData, LeavesOutRecordsInWhichNothingIsScored) {
  // Cut at four: B p q s | B p q 1, nothing of its response left | an empty response | B p s E.
  const auto path = records({{"pq", "st"}, {"pq1", "s"}, {"p", ""}, {"p", "s"}});
  const auto split = read_train_data(path, tokenizer_, {.row_tokens = 4});
  EXPECT_THAT(ids_of(split.train),
              ElementsAre(Ids{kBos, 'p', 'q', 's'}, Ids{kBos, 'p', 's', kEos}));
  EXPECT_THAT(scored_of(split.train), ElementsAre(Scored{0, 0, 0, 1}, Scored{0, 0, 1, 1}));
  EXPECT_EQ(split.documents, 4);
  EXPECT_EQ(split.cut, 1);
  EXPECT_EQ(split.unscored, 2);
  const auto all = read_train_data(path, tokenizer_, {.row_tokens = 4, .train_on_prompt = true});
  EXPECT_EQ(all.train.size(), 4u);
  EXPECT_EQ(all.cut, 2);
  EXPECT_EQ(all.unscored, 0);
}

TEST_F(ReadTrainData, PacksRecordsWithTheirMasks) {
  // Stream B p s E B p t E, of which s E and t E are scored.
  const auto split = read_train_data(records({{"p", "s"}, {"p", "t"}}), tokenizer_,
                                     {.packing = Packing::Pack, .row_tokens = 3});
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{kBos, 'p', 's'}, Ids{kBos, kEos, kBos},
                                               Ids{kBos, 'p', 't'}, Ids{kBos, kEos}));
  EXPECT_THAT(scored_of(split.train),
              ElementsAre(Scored{0, 0, 1}, Scored{0, 1, 0}, Scored{0, 0, 1}, Scored{0, 1}));
}

TEST_F(ReadTrainData, LeavesOutPackedRowsThatHoldOnlyAPrompt) {
  // B p p | B p p | B s E: the first two hold nothing to predict.
  const auto split = read_train_data(records({{"pppp", "s"}}), tokenizer_,
                                     {.packing = Packing::Pack, .row_tokens = 3});
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{kBos, 's', kEos}));
  EXPECT_EQ(split.unscored, 2);
}

TEST_F(ReadTrainData, FillBeginsARowWithEveryDocumentAndGoesOnWithTheNext) {
  const auto split = read_train_data(documents({"ab", "cdefgh", "i"}), tokenizer_,
                                     {.packing = Packing::Fill, .row_tokens = 5});
  // BOS a b EOS | BOS c d e f g h EOS | BOS i EOS; the long one goes on behind BOS.
  EXPECT_THAT(ids_of(split.train),
              ElementsAre(Ids{kBos, 'a', 'b', kEos, kBos}, Ids{kBos, 'c', 'd', 'e', 'f'},
                          Ids{kBos, 'g', 'h', kEos, kBos}, Ids{kBos, 'i', kEos, kBos, 'a'}));
  for (const TrainRow& row : split.train) EXPECT_EQ(row.scored, (Scored{0, 1, 1, 1, 1}));
}

TEST_F(ReadTrainData, PutsAllOfATokenizersPrefixInFront) {
  const ByteTokenizer two(true, true, {kBos, 'p'});
  const std::string path = documents({"ab", "cdefgh"});
  const auto packed = read_train_data(path, two, {.packing = Packing::Pack, .row_tokens = 6});
  EXPECT_THAT(ids_of(packed.train),
              ElementsAre(Ids{kBos, 'p', 'a', 'b', kEos, kBos}, Ids{kBos, 'p', 'p', 'c', 'd', 'e'},
                          Ids{kBos, 'p', 'f', 'g', 'h', kEos}));
  const auto filled = read_train_data(path, two, {.packing = Packing::Fill, .row_tokens = 6});
  EXPECT_THAT(ids_of(filled.train),
              ElementsAre(Ids{kBos, 'p', 'a', 'b', kEos, kBos}, Ids{kBos, 'p', 'c', 'd', 'e', 'f'},
                          Ids{kBos, 'p', 'g', 'h', kEos, kBos}));
  const auto asked =
      read_train_data(records({{"p", "s"}}), two, {.packing = Packing::Pad, .row_tokens = 64});
  const TrainRow& row = asked.train.at(0);
  EXPECT_THAT(Ids(row.ids.begin(), row.ids.begin() + 2), ElementsAre(kBos, 'p'));
  // Only the response, s, and EOS are to be predicted.
  EXPECT_EQ(std::count(row.scored.begin(), row.scored.end(), 1), 2);
  expect_error(ErrorKind::InvalidArgument, "puts 2 ids in front of every text",
               [&] { read_train_data(path, two, {.packing = Packing::Pack, .row_tokens = 2}); });
}

TEST_F(ReadTrainData, TellsTheFormatFromTheFirstRecordUnlessItIsGiven) {
  const auto path = write("a.jsonl", R"({"instruction": "a", "output": "b", "text": "xy"})");
  const auto text = read_train_data(path, tokenizer_, {});
  EXPECT_EQ(text.format, DataFormat::Text);
  EXPECT_THAT(ids_of(text.train), ElementsAre(Ids{kBos, 'x', 'y', kEos}));
  const auto instruct = read_train_data(path, tokenizer_, {.format = DataFormat::Instruct});
  EXPECT_EQ(instruct.format, DataFormat::Instruct);
  const Ids& ids = instruct.train.at(0).ids;
  EXPECT_THAT(Ids(ids.end() - 3, ids.end()), ElementsAre('\n', 'b', kEos));
  expect_error(ErrorKind::Corrupt, "record 1: has no string", [&] {
    read_train_data(records({{"p", "s"}}), tokenizer_, {.format = DataFormat::Text});
  });
}

// Document i is i + 1 times its own letter.
std::vector<std::string> letters(size_t count) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) texts.emplace_back(i + 1, static_cast<char>('A' + i));
  return texts;
}

std::set<int64_t> letters_in(const std::vector<TrainRow>& rows) {
  std::set<int64_t> found;
  for (const TrainRow& row : rows) found.insert(row.ids.begin(), row.ids.end());
  found.erase(kBos);
  found.erase(kEos);
  return found;
}

bool ascending(const std::vector<TrainRow>& rows) {
  return std::is_sorted(rows.begin(), rows.end(), [](const TrainRow& a, const TrainRow& b) {
    return a.ids.size() < b.ids.size();
  });
}

TEST_F(ReadTrainData, DrawsTheShareOfDocumentsForValidationAndKeepsTheirOrder) {
  const auto path = documents(letters(40));
  for (const auto& [fraction, count] :
       std::vector<std::pair<double, size_t>>{{0, 0}, {0.001, 1}, {0.25, 10}, {0.999, 39}}) {
    const auto split = read_train_data(
        path, tokenizer_, {.packing = Packing::Pad, .valid_fraction = fraction, .seed = 5});
    EXPECT_EQ(split.valid.size(), count);
    EXPECT_EQ(split.train.size(), 40 - count);
    EXPECT_TRUE(ascending(split.train) && ascending(split.valid));
    auto both = letters_in(split.train);
    both.merge(letters_in(split.valid));
    EXPECT_EQ(both.size(), 40u);
  }
}

TEST_F(ReadTrainData, DrawsOtherDocumentsForAnotherSeed) {
  const auto path = documents(letters(40));
  const auto drawn = [&](uint64_t seed) {
    return letters_in(
        read_train_data(path, tokenizer_, {.valid_fraction = 0.2, .seed = seed}).valid);
  };
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
}

TEST_F(ReadTrainData, PutsNoDocumentIntoBothPartsWhenItPacks) {
  const auto split = read_train_data(documents(letters(40)), tokenizer_,
                                     {.row_tokens = 16, .valid_fraction = 0.3});
  const auto valid = letters_in(split.valid);
  EXPECT_EQ(valid.size(), 12u);
  for (const int64_t letter : letters_in(split.train)) EXPECT_EQ(valid.count(letter), 0u);
  EXPECT_EQ(letters_in(split.train).size(), 28u);
}

TEST_F(ReadTrainData, StopsDrawingDocumentsWhereTheyFillTheRowsAllowed) {
  const auto path = documents(letters(40));
  const auto padded = read_train_data(
      path, tokenizer_, {.packing = Packing::Pad, .valid_fraction = 0.5, .max_valid_rows = 3});
  EXPECT_EQ(padded.valid.size(), 3u);
  EXPECT_EQ(padded.train.size(), 37u);
  // Ten documents of nine ids with BOS and EOS; two fill the twelve ids of two rows of six.
  const auto packed =
      read_train_data(documents(std::vector<std::string>(10, "1234567")), tokenizer_,
                      {.row_tokens = 6, .valid_fraction = 0.5, .max_valid_rows = 2});
  EXPECT_EQ(packed.valid.size(), 2u);
  size_t begun = 0;
  for (const TrainRow& row : packed.train) begun += std::count(row.ids.begin(), row.ids.end(), '1');
  EXPECT_EQ(begun, 8u);
}

TEST_F(ReadTrainData, DrawsRowsWhereThereIsOneDocument) {
  std::string text;
  for (char letter = '0'; letter < '0' + 50; ++letter) text += letter;
  const auto path = write("a.txt", text);
  const ByteTokenizer tokenizer(false, false);
  const auto split = read_train_data(path, tokenizer, {.row_tokens = 5, .valid_fraction = 0.2});
  EXPECT_EQ(split.valid.size(), 2u);
  EXPECT_EQ(split.train.size(), 8u);
  std::set<int64_t> firsts;
  for (const auto* part : {&split.train, &split.valid}) {
    for (const TrainRow& row : *part) firsts.insert(row.ids.front());
  }
  EXPECT_EQ(firsts.size(), 10u);
  const auto whole = read_train_data(path, tokenizer, {.row_tokens = 50, .valid_fraction = 0.2});
  EXPECT_EQ(whole.train.size(), 1u);
  EXPECT_TRUE(whole.valid.empty());
}

TEST_F(ReadTrainData, ScoresWhatTheAssistantSays) {
  const auto path = write("a.jsonl", R"({"messages": [{"role": "user", "content": "x"},
      {"role": "assistant", "content": "yz"}, {"role": "user", "content": "v"},
      {"role": "assistant", "content": "w"}]})");
  std::string line = read_file(path);
  std::replace(line.begin(), line.end(), '\n', ' ');
  write("a.jsonl", line);
  const auto split = read_train_data(path, tokenizer_, chat());
  EXPECT_EQ(split.format, DataFormat::Chat);
  // Neither BOS nor EOS: whatever a conversation begins and ends with is the template's.
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{'<', 'u', '>', 'x', '<', 'a', '>', 'y', 'z', '<',
                                                   'u', '>', 'v', '<', 'a', '>', 'w'}));
  EXPECT_THAT(scored_of(split.train),
              ElementsAre(Scored{0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1}));
  DataOptions all = chat();
  all.train_on_prompt = true;
  EXPECT_EQ(read_train_data(path, tokenizer_, all).train[0].scored,
            (Scored{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}));
}

TEST_F(ReadTrainData, ScoresATokenThatHoldsSomeOfATurn) {
  const auto path = write("a.jsonl", R"({"prompt": [{"role": "user", "content": "x"}], )"
                                     R"("completion": [{"role": "assistant", "content": "r"}, )"
                                     R"({"role": "assistant", "content": "q"}, )"
                                     R"({"role": "user", "content": "s"}]})");
  // <u>x <a>[qr]t <a>[qr] …: the template writes q before and r behind, and each pair is one token.
  const auto split = read_train_data(
      path, tokenizer_,
      chat("{% if m.role == 'assistant' %}{% if m.content == 'r' %}q{% endif %}"
           "{% generation %}{{ m.content }}{% endgeneration %}"
           "{% if m.content == 'q' %}r{% endif %}{% else %}{{ m.content }}{% endif %}"));
  EXPECT_THAT(ids_of(split.train), ElementsAre(Ids{'<', 'u', '>', 'x', '<', 'a', '>', kQr, '<', 'a',
                                                   '>', kQr, '<', 'u', '>', 's'}));
  EXPECT_THAT(scored_of(split.train),
              ElementsAre(Scored{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}));
}

TEST_F(ReadTrainData, MakesTurnsOfInstructionsWhereAskedTo) {
  const auto path = records({{"p", "s"}});
  EXPECT_EQ(read_train_data(path, tokenizer_, chat()).format, DataFormat::Instruct);
  DataOptions options = chat();
  options.format = DataFormat::Chat;
  EXPECT_THAT(ids_of(read_train_data(path, tokenizer_, options).train),
              ElementsAre(Ids{'<', 'u', '>', 'p', '<', 'a', '>', 's'}));
}

TEST_F(ReadTrainData, NamesTheConversationThatIsWrong) {
  const auto path = write("a.json", R"([{"messages": [{"role": "user", "content": "x"}]},
                                        {"messages": [{"role": "user"}]}])");
  expect_error(ErrorKind::Corrupt, "record 2: messages[0]",
               [&] { read_train_data(path, tokenizer_, chat()); });
  expect_error(ErrorKind::InvalidArgument, "chat template",
               [&] { read_train_data(path, tokenizer_, {}); });
  expect_error(ErrorKind::Corrupt, "is plain text", [&] {
    DataOptions options = chat();
    options.format = DataFormat::Chat;
    read_train_data(write("a.txt", "x"), tokenizer_, options);
  });
}

TEST_F(ReadTrainData, RefusesOptionsOutOfRange) {
  const auto path = documents({"abc"});
  const auto refuses = [&](const std::string& part, const DataOptions& options) {
    expect_error(ErrorKind::InvalidArgument, part,
                 [&] { read_train_data(path, tokenizer_, options); });
  };
  refuses("row tokens: got 1,", {.row_tokens = 1});
  refuses("share: got -0.1,", {.valid_fraction = -0.1});
  refuses("share: got 1,", {.valid_fraction = 1});
  refuses("share: got nan,", {.valid_fraction = std::nan("")});
  refuses("rows: got 0,", {.max_valid_rows = 0});
  expect_error(ErrorKind::InvalidArgument, "auto, text, instruct, chat",
               [] { parse_data_format("x"); });
  expect_error(ErrorKind::InvalidArgument, "auto, pack, pad, fill", [] { parse_packing(""); });
}

TEST_F(ReadTrainData, NamesWhatIsWrongWithTheFile) {
  const auto fails = [&](ErrorKind kind, const std::string& part, const std::string& path) {
    expect_error(kind, part, [&] { read_train_data(path, tokenizer_, {}); });
  };
  fails(ErrorKind::NotFound, "none.json", dir_ / "none.json");
  fails(ErrorKind::Corrupt, "record 2: has no \"output\"",
        write("b.json", R"([{"prompt": "a", "response": "b"}, {"instruction": "c"}])"));
  fails(ErrorKind::Corrupt, "line 2", write("c.jsonl", "{\"text\": \"a\"}\n{\"text\": 1}"));
  fails(ErrorKind::Corrupt, "byte 1", write("d.txt", "a\xFF"));
  fails(ErrorKind::Corrupt, "none of its 2 records", records({{"a", ""}, {"b", ""}}));
}

TEST(DataFormatNames, AreThoseOfTheCommandLine) {
  EXPECT_EQ(parse_data_format("auto"), DataFormat::Auto);
  EXPECT_EQ(parse_data_format("text"), DataFormat::Text);
  EXPECT_EQ(parse_data_format("instruct"), DataFormat::Instruct);
  EXPECT_EQ(parse_data_format("chat"), DataFormat::Chat);
  EXPECT_EQ(data_format_name(DataFormat::Chat), "chat");
  EXPECT_EQ(parse_packing("auto"), Packing::Auto);
  EXPECT_EQ(parse_packing("pack"), Packing::Pack);
  EXPECT_EQ(parse_packing("pad"), Packing::Pad);
}

}  // namespace
}  // namespace prunus::test::train_data_test
