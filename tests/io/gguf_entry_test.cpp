#include "prunus/io/gguf_entry.h"

#include "prunus/io/gguf_header.h"

#include "tests/io/fixture.h"
#include "tests/io/gguf_fixture.h"

namespace prunus::gguf_entry_test {
namespace {

using namespace testing_io;
using ::testing::ElementsAre;

TEST(GgufEntry, HasTheBytesOfTheFormat) {
  EXPECT_EQ(encoded(GgufEntry::boolean("k", true)), text("k") + u32(7) + '\1');
  EXPECT_EQ(encoded(GgufEntry::uint32("k", 0x01020304)), text("k") + u32(4) + "\4\3\2\1");
  EXPECT_EQ(encoded(GgufEntry::uint64("k", 7)), text("k") + u32(10) + u64(7));
  EXPECT_EQ(encoded(GgufEntry::float32("k", 1.0f)), text("k") + u32(6) + u32(0x3F800000));
  EXPECT_EQ(encoded(GgufEntry::text("k", "plum")), text("k") + u32(8) + text("plum"));
  EXPECT_EQ(encoded(GgufEntry::booleans("k", {true, false})),
            text("k") + u32(9) + u32(7) + u64(2) + std::string("\1\0", 2));
  EXPECT_EQ(encoded(GgufEntry::int32s("k", {-1})),
            text("k") + u32(9) + u32(5) + u64(1) + u32(0xFFFFFFFF));
  EXPECT_EQ(encoded(GgufEntry::uint32s("k", {2, 3})),
            text("k") + u32(9) + u32(4) + u64(2) + u32(2) + u32(3));
  EXPECT_EQ(encoded(GgufEntry::float32s("k", {-2.0f})),
            text("k") + u32(9) + u32(6) + u64(1) + u32(0xC0000000));
  EXPECT_EQ(encoded(GgufEntry::texts("k", {"a", ""})),
            text("k") + u32(9) + u32(8) + u64(2) + text("a") + text(""));
}

TEST(GgufEntry, IsReadBackAsItWasGiven) {
  const auto words = GgufEntry::texts("words", {"plum", "tree"});
  EXPECT_THAT(words.value().texts(), ElementsAre("plum", "tree"));
  const auto copy = GgufEntry::copy("more", words.value());
  EXPECT_EQ(copy.key(), "more");
  EXPECT_THAT(copy.value().texts(), ElementsAre("plum", "tree"));
  EXPECT_THAT(GgufEntry::int32s("k", {1, -2}).value().integers(), ElementsAre(1, -2));
  EXPECT_EQ(GgufEntry::float32("k", 0.5f).value().number(), 0.5);
  EXPECT_TRUE(GgufEntry::boolean("k", true).value().boolean());
}

TEST(GgufEntry, MakesAFileThatTheReaderTakes) {
  const GgufParts parts{.metadata = {encoded(GgufEntry::text("a", "b")),
                                     encoded(GgufEntry::float32s("c", {1.0f, 2.0f}))}};
  const std::string bytes = parts.bytes();
  const auto header = parse_gguf_header(std::as_bytes(std::span(bytes)), "file");
  EXPECT_EQ(header.metadata.at("a").text(), "b");
  EXPECT_THAT(header.metadata.at("c").numbers(), ElementsAre(1.0, 2.0));
}

}  // namespace
}  // namespace prunus::gguf_entry_test
