#include "prunus/text/dataset.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>

#include "fixture.h"

namespace prunus::dataset_test {
namespace {

using testing::ElementsAre;
using text::expect_error;
using text::TestDirectory;

// One id a byte; line k of a test file holds bytes that only it has.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(std::optional<int64_t> bos) {
    special_.bos = bos;
    vocab_size_ = 1001;
  }
  std::vector<int64_t> encode(std::string_view text) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(std::span<const int64_t>, bool) const override { return ""; }
  std::string_view kind() const override { return "bytes"; }
};

TEST(ReadDocuments, GivesAPlainFileWhole) {
  const TestDirectory dir;
  EXPECT_THAT(read_documents(dir.write("a.txt", "one\n\ntwo\n")), ElementsAre("one\n\ntwo\n"));
}

TEST(ReadDocuments, GivesTheTextOfEachJsonLine) {
  const TestDirectory dir;
  const auto path =
      dir.write("a.jsonl", "{\"text\": \"one\"}\n\n \r\n{\"x\": 1, \"text\": \"é\\n\"}");
  EXPECT_THAT(read_documents(path), ElementsAre("one", "é\n"));
}

TEST(ReadDocuments, NamesTheLineThatIsWrong) {
  const TestDirectory dir;
  const std::string good = "{\"text\": \"one\"}\n\n";
  for (const char* bad : {"{\"text\": 1}", "{\"txt\": \"\"}", "[1]", "{\"text\": \"x", "7"}) {
    const auto path = dir.write("a.jsonl", good + bad + "\n");
    expect_error(ErrorKind::Corrupt, "line 3", [&] { read_documents(path); });
  }
}

TEST(ReadDocuments, RefusesInvalidUtf8AndNothing) {
  const TestDirectory dir;
  expect_error(ErrorKind::Corrupt, "byte 2", [&] { read_documents(dir.write("a", "ab\xC0\x80")); });
  expect_error(ErrorKind::Corrupt, "no text", [&] { read_documents(dir.write("a", "")); });
  expect_error(ErrorKind::Corrupt, "no text", [&] { read_documents(dir.write("a.jsonl", "\n")); });
  expect_error(ErrorKind::NotFound, "none", [&] { read_documents(dir.path() + "/none"); });
}

std::string lines_of_letters() {
  std::string lines;
  for (char letter = 'a'; letter <= 'e'; ++letter) {
    lines += "{\"text\": \"" + std::string(23, letter) + "\"}\n";
  }
  return lines + "{\"text\": \"zz\"}\n";
}

TEST(SampleWindows, GoRoundTheDocumentsAndHoldBosOnlyAtTheirBeginning) {
  const TestDirectory dir;
  const auto path = dir.write("a.jsonl", lines_of_letters());
  const auto windows =
      sample_windows(ByteTokenizer(1000), read_text_file(path), {.samples = 10, .tokens = 11});
  ASSERT_EQ(windows.size(), 10u);
  std::multiset<int64_t> letters;
  for (const auto& window : windows) {
    ASSERT_EQ(window.size(), 11u);
    // BOS at most in front; after it one document's one letter.
    EXPECT_EQ(std::count(window.begin() + 1, window.end(), 1000), 0);
    EXPECT_EQ(std::set<int64_t>(window.begin() + 1, window.end()).size(), 1u);
    letters.insert(window.back());
  }
  // Two slots of eleven fit BOS and 23 letters; the first round takes one of each line.
  for (int64_t letter = 'a'; letter <= 'e'; ++letter) EXPECT_EQ(letters.count(letter), 2u);
  std::set<int64_t> first_round;
  for (int i = 0; i < 5; ++i) first_round.insert(windows[static_cast<size_t>(i)].back());
  EXPECT_EQ(first_round.size(), 5u);
}

TEST(SampleWindows, BeginWithBosWhereTheyTakeTheWholeDocument) {
  const TestDirectory dir;
  const auto path = dir.write("a.jsonl", lines_of_letters());
  for (const auto& window :
       sample_windows(ByteTokenizer(1000), read_text_file(path), {.samples = 5, .tokens = 24})) {
    EXPECT_EQ(window.front(), 1000);
  }
}

TEST(SampleWindows, AreConsecutiveAndNeverOverlap) {
  const TestDirectory dir;
  std::string text;
  for (char c = 33; c < 127; ++c) text += c;  // 94 different bytes, one document
  const auto path = dir.write("a.txt", text);
  const auto windows = sample_windows(ByteTokenizer({}), read_text_file(path),
                                      {.samples = 9, .tokens = 10, .seed = 3});
  std::set<int64_t> seen;
  for (const auto& window : windows) {
    for (size_t i = 0; i < window.size(); ++i) {
      EXPECT_EQ(window[i], window[0] + static_cast<int64_t>(i));
      EXPECT_TRUE(seen.insert(window[i]).second);
    }
  }
  EXPECT_EQ(seen.size(), 90u);
}

TEST(SampleWindows, DependOnTheSeedAlone) {
  const TestDirectory dir;
  const auto path = dir.write("a.jsonl", lines_of_letters());
  const auto draw = [&](uint64_t seed) {
    return sample_windows(ByteTokenizer(1000), read_text_file(path),
                          {.samples = 4, .tokens = 8, .seed = seed});
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(SampleWindows, CutAPlainFileAtLineEnds) {
  const TestDirectory dir;
  std::string text;
  for (int line = 0; line < 30000; ++line) text += "0123456789\n";  // 330,000 bytes
  const auto path = dir.write("a.txt", text);
  // 64 KiB hold 5,957 whole lines, 65,527 bytes: sixteen windows of 4,000 in each of five pieces
  // and none in the rest. The file in one piece would give 82.
  const ByteTokenizer tokenizer({});
  EXPECT_EQ(sample_windows(tokenizer, read_text_file(path), {.samples = 80, .tokens = 4000}).size(),
            80u);
  expect_error(ErrorKind::InvalidArgument, "for 80 windows", [&] {
    sample_windows(tokenizer, read_text_file(path), {.samples = 81, .tokens = 4000});
  });
}

TEST(SampleWindows, AreFewerWhereFewerAreEnough) {
  const TestDirectory dir;
  const auto path = dir.write("a.jsonl", lines_of_letters());
  const auto draw = [&](int64_t samples, int64_t fewest) {
    return sample_windows(ByteTokenizer(1000), read_text_file(path),
                          {.samples = samples, .tokens = 11, .seed = 5, .fewest = fewest});
  };
  EXPECT_EQ(draw(12, 3), draw(10, 0));  // all ten that there are
  EXPECT_EQ(draw(4, 3).size(), 4u);
  expect_error(ErrorKind::InvalidArgument, "for 10 windows of 11 tokens, but 11",
               [&] { draw(12, 11); });
}

TEST(SampleWindows, SayWhatIsMissing) {
  const TestDirectory dir;
  const auto path = dir.write("a.jsonl", lines_of_letters());
  expect_error(ErrorKind::InvalidArgument, "for 10 windows of 11 tokens, but 12", [&] {
    sample_windows(ByteTokenizer(1000), read_text_file(path), {.samples = 12, .tokens = 11});
  });
  expect_error(ErrorKind::InvalidArgument, "--calib-tokens", [&] {
    sample_windows(ByteTokenizer(1000), read_text_file(path), {.samples = 1, .tokens = 64});
  });
  expect_error(ErrorKind::InvalidArgument, "got 1,", [&] {
    sample_windows(ByteTokenizer(1000), read_text_file(path), {.samples = 1, .tokens = 1});
  });
  expect_error(ErrorKind::InvalidArgument, "got 0,", [&] {
    sample_windows(ByteTokenizer(1000), read_text_file(path), {.samples = 0, .tokens = 9});
  });
}

}  // namespace
}  // namespace prunus::dataset_test
