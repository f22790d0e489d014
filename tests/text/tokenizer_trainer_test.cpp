#include "prunus/text/tokenizer_trainer.h"

#include <array>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include <gmock/gmock.h>

#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/text/tokenizer_writer.h"
#include "prunus/text/training_words.h"

#include "fixture.h"

namespace prunus::text::tokenizer_trainer_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kStory =
    "Once upon a time there was a small fox named Ned. He lived in the wood, and he was glad.\n"
    "One day he found 3 plums and 14 nuts.  \"They are mine!\" he said.\n\n"
    "\tBut the others said: \"There were 30 plums; where are they?\" Ned ran home, home, home.\n"
    "Zoë saw a 猫 and the 猫 saw her. Été, été!   Then they all sang: la la la la 😀.\n";

// Text that the trainer has and has not seen.
const std::vector<std::string>& samples() {
  static const std::vector<std::string> texts = {
      "",
      " ",
      "   ",
      "a",
      " a",
      "  two spaces  inside and behind  ",
      "Once upon a time there was a fox.",
      "line\nline\n\nline\r\n",
      "\n",
      "\tx\t",
      "0123456789 3.14 -7 1,000",
      "😀 👩‍👩‍👧 🇩🇪",
      "猫と犬 漢字。한국어",
      "Zoë naïve Ωmega Привет مرحبا",
      "aaaaaaaaaaaaaaaa lalalalalala",
      "unseen: @#$%^&*()_+{}|[]\\<>~`",
      "<0x0A> <0x41> is spelled out",
      "\xEF\xBF\xBD \xEF\xBF\xBE \xF4\x8F\xBF\xBF \xE2\x96\x85",  // U+FFFD FFFE 10FFFF 2585
      std::string("nul\0nul", 7),
      std::string(40, ' ') + "x" + std::string(33, '\n')};
  return texts;
}

TrainedTokenizer train(const std::vector<std::string>& documents, const TestDirectory& dir,
                       TokenizerTrainOptions options) {
  set_verbosity(Verbosity::Quiet);
  return train_tokenizer(documents, options, dir.path());
}

// What another directory makes of tokenizer.model alone.
std::unique_ptr<Tokenizer> load_model_alone(const TestDirectory& dir) {
  const std::string alone = dir.path() + "/alone";
  std::filesystem::create_directories(alone);
  std::filesystem::copy_file(dir.path() + "/tokenizer.model", alone + "/tokenizer.model",
                             std::filesystem::copy_options::overwrite_existing);
  return load_tokenizer(alone);
}

json tokenizer_json(const TestDirectory& dir) {
  return json::parse(read_file(dir.path() + "/tokenizer.json"));
}

std::vector<std::string> pieces_by_id(const TestDirectory& dir) {
  std::map<int64_t, std::string> by_id;
  const json document = tokenizer_json(dir);
  for (const auto& [piece, id] : document["model"]["vocab"].items()) by_id[id] = piece;
  std::vector<std::string> pieces;
  for (const auto& [id, piece] : by_id) {
    EXPECT_EQ(id, static_cast<int64_t>(pieces.size())) << "a hole in front of " << piece;
    pieces.push_back(piece);
  }
  return pieces;
}

// Words " ab", " ab", "ab": a b is there 3 times, then the mark and ab twice.
TEST(TokenizerTrainer, LearnsTheCommonestPairFirst) {
  const TestDirectory dir;
  const auto trained = train({"ab ab\nab"}, dir, {.vocab_size = 264});
  EXPECT_EQ(trained.pieces, 264);
  EXPECT_EQ(trained.characters, 3);
  EXPECT_EQ(trained.learned, 2);
  const auto pieces = pieces_by_id(dir);
  ASSERT_EQ(pieces.size(), 264U);
  EXPECT_THAT(std::vector<std::string>(pieces.begin() + 259, pieces.end()),
              ElementsAre("ab", "▁ab", "a", "b", "▁"));
  EXPECT_EQ(tokenizer_json(dir)["model"]["merges"], (json{"a b", "▁ ab"}));
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_THAT(tokenizer->encode("ab\nab  b"), ElementsAre(260, 3 + 10, 259, 263, 263, 262));
}

TEST(TokenizerTrainer, WritesTheFixedPiecesOfLlama2) {
  const TestDirectory dir;
  train({kStory}, dir, {.vocab_size = 400});
  const auto pieces = pieces_by_id(dir);
  ASSERT_EQ(pieces.size(), 400U);
  EXPECT_EQ(pieces[0], "<unk>");
  EXPECT_EQ(pieces[1], "<s>");
  EXPECT_EQ(pieces[2], "</s>");
  EXPECT_EQ(pieces[3], "<0x00>");
  EXPECT_EQ(pieces[3 + 0x0A], "<0x0A>");
  EXPECT_EQ(pieces[258], "<0xFF>");
  EXPECT_EQ(std::set<std::string>(pieces.begin(), pieces.end()).size(), 400U);
}

TEST(TokenizerTrainer, BothFilesAddBosAndKnowEos) {
  const TestDirectory dir;
  train({kStory}, dir, {.vocab_size = 400});
  for (const auto& tokenizer : {load_tokenizer(dir.path()), load_model_alone(dir)}) {
    SCOPED_TRACE(tokenizer->kind());
    EXPECT_EQ(tokenizer->vocab_size(), 400);
    EXPECT_EQ(tokenizer->bos_id(), 1);
    EXPECT_EQ(tokenizer->eos_id(), 2);
    EXPECT_TRUE(tokenizer->adds_bos());
    EXPECT_THAT(tokenizer->encode("</s>"), ElementsAre(2));
  }
}

TEST(TokenizerTrainer, BothFilesGiveEqualIdsAndTheTextBack) {
  const TestDirectory dir;
  for (const int64_t vocab_size : {330, 400, 480}) {
    train({kStory, "a second text"}, dir, {.vocab_size = vocab_size});
    const auto fast = load_tokenizer(dir.path());
    const auto model = load_model_alone(dir);
    ASSERT_EQ(fast->kind(), "bpe");
    ASSERT_EQ(model->kind(), "sentencepiece");
    auto texts = samples();
    texts.emplace_back(kStory);
    for (const std::string& text : texts) {
      SCOPED_TRACE(text);
      const auto ids = fast->encode(text);
      EXPECT_EQ(ids, model->encode(text));
      EXPECT_EQ(fast->decode(ids), text);
      EXPECT_EQ(model->decode(ids), text);
    }
  }
}

TEST(TokenizerTrainer, BothFilesGiveEqualIdsOfRandomText) {
  const TestDirectory dir;
  const std::vector<std::string> letters = {"a", "a",  "a",  "b", "b", "é",
                                            " ", "  ", "\n", "7", "猫"};
  std::mt19937 random(5);
  const auto some_text = [&](int length) {
    std::string text;
    for (int i = 0; i < length; ++i) text += letters[random() % letters.size()];
    return text;
  };
  train({some_text(6000)}, dir, {.vocab_size = 600});
  const auto fast = load_tokenizer(dir.path());
  const auto model = load_model_alone(dir);
  for (int i = 0; i < 500; ++i) {
    const std::string text = some_text(1 + static_cast<int>(random() % 60));
    const auto ids = fast->encode(text);
    EXPECT_EQ(ids, model->encode(text)) << text;
    EXPECT_EQ(fast->decode(ids), text);
  }
}

// Every two pieces that make up a third: a merge, in the order of the third, then of the parts.
TEST(TokenizerTrainer, WritesEveryMergeOfTwoPieces) {
  const TestDirectory dir;
  train({kStory}, dir, {.vocab_size = 450});
  const auto pieces = pieces_by_id(dir);
  std::map<std::string, size_t> ids;
  for (size_t id = 259; id < pieces.size(); ++id) ids[pieces[id]] = id;
  std::set<std::array<size_t, 3>> expected;
  for (const auto& [left, left_id] : ids) {
    for (const auto& [right, right_id] : ids) {
      const auto made = ids.find(left + right);
      if (made != ids.end()) expected.insert({made->second, left_id, right_id});
    }
  }
  json merges = json::array();
  for (const auto& [id, left, right] : expected)
    merges.push_back(pieces[left] + " " + pieces[right]);
  EXPECT_GE(merges.size(), 100U);
  EXPECT_EQ(tokenizer_json(dir)["model"]["merges"], merges);
}

TEST(TokenizerTrainer, SplitsOfOnePieceAreOrderedByTheirParts) {
  std::vector<std::string> pieces(259, "fixed");
  pieces.insert(pieces.end(), {"aa", "aaa", "b", "a"});  // 259 …
  EXPECT_THAT(merges_of(pieces), ElementsAre("a a", "aa a", "a aa"));
}

TEST(TokenizerTrainer, WritesTheSameBytesAgain) {
  const TestDirectory dir;
  std::vector<std::map<std::string, std::string>> runs;
  for (int run = 0; run < 3; ++run) {
    train({kStory, kStory + std::string("more")}, dir, {.vocab_size = 500});
    auto& files = runs.emplace_back();
    for (const auto& item : std::filesystem::directory_iterator(dir.path())) {
      files[item.path().filename()] = read_file(item.path());
    }
  }
  EXPECT_EQ(runs[0].size(), 4U);
  EXPECT_EQ(runs[1], runs[0]);
  EXPECT_EQ(runs[2], runs[0]);
}

TEST(TokenizerTrainer, ControlCharactersAndMarksAreNeverLearned) {
  const TestDirectory dir;
  std::string text;
  for (int i = 0; i < 50; ++i) text.append("x\ty\0z", 5).append("\r\nq▁▁q▅q ");
  train({text}, dir, {.vocab_size = 265});
  const auto pieces = pieces_by_id(dir);
  for (size_t id = 259; id < pieces.size(); ++id) {
    EXPECT_EQ(pieces[id].find_first_of(std::string("\t\0\r\n", 4)), std::string::npos) << id;
    EXPECT_EQ(pieces[id].find("▅"), std::string::npos) << id;
    EXPECT_EQ(pieces[id].find("▁▁"), std::string::npos) << id;
  }
  const auto tokenizer = load_tokenizer(dir.path());
  const auto ids = tokenizer->encode(std::string("\n\t\0", 3));
  EXPECT_THAT(ids, ElementsAre(testing::Ge(259), 3 + 10, 3 + 9, 3));
  // As with Llama 2, a mark in the text comes back as the space it stands for.
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("q▁q")), "q q");
}

// Characters that stand nowhere else make no piece; sentencepiece ends the process over them.
TEST(TokenizerTrainer, SpecialAndBytePiecesInTheTextAreNotLearned) {
  const TestDirectory dir;
  std::string text;
  for (int i = 0; i < 20; ++i) text += "a <s>b</s> <0x41>a<unk> <0x4 <0xAG>\n";
  // The space, a, b and <0x4AG> one by one.
  EXPECT_EQ(train({text}, dir, {.vocab_size = 274}).characters, 10);
  const auto fast = load_tokenizer(dir.path());
  EXPECT_EQ(fast->encode("<0x41>"), load_model_alone(dir)->encode("<0x41>"));
  EXPECT_EQ(fast->decode(fast->encode("<0x41>")), "<0x41>");
}

TEST(TokenizerTrainer, EveryDigitIsAPieceUnlessToldOtherwise) {
  const TestDirectory dir;
  const std::string text = "77 77 77 77 77";
  train({text}, dir, {.vocab_size = 261});
  EXPECT_EQ(load_tokenizer(dir.path())->encode("77").size(), 3U);
  train({text}, dir, {.vocab_size = 263, .split_digits = false});
  EXPECT_EQ(load_tokenizer(dir.path())->encode("77").size(), 1U);
}

TEST(TokenizerTrainer, RareCharactersAreSpelledAsBytes) {
  const TestDirectory dir;
  const std::string text = std::string(998, 'a') + "é";  // with the space in front: 1000 characters
  EXPECT_EQ(train({text}, dir, {.vocab_size = 263, .character_coverage = 0.999}).characters, 2);
  EXPECT_EQ(load_tokenizer(dir.path())->encode("é").size(), 3U);  // the mark and two bytes
  EXPECT_EQ(train({text}, dir, {.vocab_size = 263, .character_coverage = 1}).characters, 3);
  EXPECT_EQ(load_tokenizer(dir.path())->encode("é").size(), 2U);
}

TEST(TokenizerTrainer, ATextWithoutSpacesStillGetsTheSpace) {
  const TestDirectory dir;
  std::string text;
  for (int i = 0; i < 5000; ++i) text += i % 3 == 0 ? "猫" : "犬";
  train({text}, dir, {.vocab_size = 270});
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->encode(" ").size(), 2U);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("猫 犬 a")), "猫 犬 a");
}

TEST(TokenizerTrainer, AWordOfAnyLengthCanBeLearnedFrom) {
  const TestDirectory dir;
  std::string text;
  for (int64_t i = 0; i < 70'000; ++i) text += static_cast<char>('a' + i * i % 7 % 3);
  EXPECT_EQ(train({text}, dir, {.vocab_size = 300}).learned, 300 - 259 - 4);
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST(TokenizerTrainer, NamesTheLeastVocabulary) {
  const TestDirectory dir;
  const std::string text = "some words of text";  // space d e f m o r s t w x: 11 characters
  for (const int64_t size : {260, 269}) {
    expect_error(ErrorKind::InvalidArgument, "at least 270",
                 [&] { train({text}, dir, {.vocab_size = size, .character_coverage = 1}); });
  }
  EXPECT_EQ(train({text}, dir, {.vocab_size = 270, .character_coverage = 1}).learned, 0);
}

TEST(TokenizerTrainer, NamesTheLargestVocabulary) {
  const TestDirectory dir;
  std::string message;
  try {
    train({kStory}, dir, {.vocab_size = 5000});
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    message = error.what();
  }
  ASSERT_THAT(message, HasSubstr("got 5000, but the text has words for "));
  const int64_t most = std::stoll(message.substr(message.find("words for ") + 10));
  expect_error(ErrorKind::InvalidArgument, c10::str("words for ", most, " pieces at most"),
               [&] { train({kStory}, dir, {.vocab_size = most + 1}); });
  EXPECT_EQ(train({kStory}, dir, {.vocab_size = most}).pieces, most);
}

TEST(TokenizerTrainer, RefusesWhatMakesNoSense) {
  const TestDirectory dir;
  const auto refuse = [&](const std::string& part, const std::vector<std::string>& documents,
                          TokenizerTrainOptions options) {
    expect_error(ErrorKind::InvalidArgument, part, [&] { train(documents, dir, options); });
  };
  for (const int64_t size : {int64_t{-1}, int64_t{0}, int64_t{259}, int64_t{1} << 40}) {
    refuse("vocab_size", {kStory}, {.vocab_size = size});
  }
  for (const double coverage : {0.0, -1.0, 1.5, std::nan("")}) {
    refuse("character_coverage", {kStory}, {.character_coverage = coverage});
  }
  refuse("model_max_length", {kStory}, {.model_max_length = 0});
  refuse("the text is empty", {}, {});
  refuse("the text is empty", {"", ""}, {});
  refuse("document 1 is not valid UTF-8 at byte 2", {"good", "ab\xFF"}, {});
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(TrainingWordsOfATest, AreCutAtSpacesAndControlCharacters) {
  const auto words = count_words({"a bb  a\nbb\tc", "", " a"}, 1);
  EXPECT_EQ(words.counts, (std::map<std::string, int64_t>{
                              {" a", 1}, {" bb", 1}, {"  a", 2}, {"bb", 1}, {"c", 1}}));
  EXPECT_EQ(words.characters, " bac");  // 6 spaces, 4 b, 3 a, 1 c
  EXPECT_EQ(words.character_count, 4);
}

TEST(TrainingWordsOfATest, AreCutAtCharactersWithoutAPiece) {
  // 10 characters, the space among them; half of them are covered by the space and b.
  const auto words = count_words({"bbbxbacad"}, 0.5);
  EXPECT_EQ(words.counts, (std::map<std::string, int64_t>{{" bbb", 1}, {"b", 1}}));
  EXPECT_EQ(words.characters, " b");
}

}  // namespace
}  // namespace prunus::text::tokenizer_trainer_test
