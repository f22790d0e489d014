#include "prunus/text/reference_windows.h"

#include <set>

#include <gmock/gmock.h>

#include "prunus/base/json.h"
#include "prunus/base/rng.h"
#include "prunus/text/text_file.h"

#include "fixture.h"
#include "support/paths.h"

namespace prunus::reference_windows_test {
namespace {

using testing::ElementsAre;
using text::expect_error;
using text::TestDirectory;
using Ids = std::vector<int64_t>;

// One id a byte.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(std::optional<int64_t> bos) { special_.bos = bos; }
  Ids encode(std::string_view text) const override { return {text.begin(), text.end()}; }
  std::string decode(std::span<const int64_t>, bool) const override { return ""; }
  std::string_view kind() const override { return "bytes"; }
};

// Drawn by CPython itself: tools/make_reference_windows.py.
TEST(ReferenceWindows, AreThoseOfLlmPrunerCallAfterCall) {
  const Json cases = read_json(test::source_path("tests/text/golden/reference_windows.json"));
  ASSERT_EQ(cases.size(), 4u);
  for (const Json& one : cases) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    const auto rows = one.at("rows").get<std::vector<Ids>>();
    PythonRandom random(one.at("seed").get<uint64_t>());
    for (const Json& call : one.at("calls")) {
      const WindowCounts counts{call.at("samples").get<int64_t>(),
                                call.at("tokens").get<int64_t>()};
      EXPECT_EQ(sample_reference_windows(
                    rows.size(), [&](size_t row) { return rows[row]; }, counts, random),
                call.at("windows").get<std::vector<Ids>>());
    }
    EXPECT_EQ(random.next32(), one.at("next32").get<uint32_t>());
  }
}

TEST(ReferenceWindows, TakeARowOncePerCallAndTokenizeItOnce) {
  std::multiset<size_t> asked;
  const RowIds ids_of_row = [&](size_t row) {
    asked.insert(row);
    return Ids(row % 2 == 0 ? 3 : 2, static_cast<int64_t>(row));
  };
  PythonRandom random(1);
  const auto windows = sample_reference_windows(20, ids_of_row, {10, 3}, random);
  std::set<int64_t> rows;
  for (const Ids& window : windows) rows.insert(window.front());
  EXPECT_EQ(rows, (std::set<int64_t>{0, 2, 4, 6, 8, 10, 12, 14, 16, 18}));
  EXPECT_EQ(asked.size(), std::set<size_t>(asked.begin(), asked.end()).size());
}

TEST(ReferenceWindows, CountBosAsATokenOfTheRow) {
  PythonRandom random(0);
  const std::vector<std::string> rows{"abc"};
  EXPECT_THAT(sample_reference_windows(ByteTokenizer(1), rows, {1, 4}, random),
              ElementsAre(Ids{1, 'a', 'b', 'c'}));
  EXPECT_THAT(sample_reference_windows(ByteTokenizer({}), rows, {1, 3}, random),
              ElementsAre(Ids{'a', 'b', 'c'}));
  expect_error(ErrorKind::InvalidArgument, "0 of its 1 rows have 4 tokens", [&] {
    sample_reference_windows(ByteTokenizer({}), rows, {1, 4}, random);
  });
}

TEST(ReferenceWindows, EndWhereTooFewRowsAreLongEnough) {
  const RowIds ids_of_row = [](size_t row) { return Ids(row < 3 ? 8 : 7); };
  PythonRandom random(0);
  expect_error(ErrorKind::InvalidArgument,
               "3 of its 100 rows have 8 tokens or more, but 4 rows are needed", [&] {
                 sample_reference_windows(100, ids_of_row, {4, 8}, random);
               });
  expect_error(ErrorKind::InvalidArgument, "--calib-tokens", [&] {
    sample_reference_windows(0, ids_of_row, {1, 8}, random);
  });
}

TEST(ReferenceWindows, RefuseCountsOutOfRange) {
  const RowIds ids_of_row = [](size_t) { return Ids(8); };
  PythonRandom random(0);
  expect_error(ErrorKind::InvalidArgument, "samples: got 0,", [&] {
    sample_reference_windows(9, ids_of_row, {0, 8}, random);
  });
  for (const int64_t tokens : {int64_t{-1}, int64_t{1}, int64_t{1} << 40}) {
    expect_error(ErrorKind::InvalidArgument, "tokens: got", [&] {
      sample_reference_windows(9, ids_of_row, {1, tokens}, random);
    });
  }
}

TEST(ReadRows, GivesTheLinesOfAPlainFileThatHoldText) {
  const TestDirectory dir;
  EXPECT_THAT(read_rows(read_text_file(dir.write("a.txt", "\n one \r\n\t \r\n\ntwo"))),
              ElementsAre(" one ", "two"));
  expect_error(ErrorKind::Corrupt, "no text",
               [&] { read_rows(read_text_file(dir.write("a.txt", " \n\n"))); });
  expect_error(ErrorKind::NotFound, "none",
               [&] { read_rows(read_text_file(dir.path() + "/none")); });
}

TEST(ReadRows, GivesTheDocumentsOfAJsonlFile) {
  const TestDirectory dir;
  const auto path = dir.write("a.jsonl", "{\"text\": \"one\\ntwo\"}\n\n{\"text\": \"\"}\n");
  EXPECT_THAT(read_rows(read_text_file(path)), ElementsAre("one\ntwo", ""));
}

}  // namespace
}  // namespace prunus::reference_windows_test
