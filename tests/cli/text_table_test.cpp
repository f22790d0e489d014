#include "prunus/cli/text_table.h"

#include <gtest/gtest.h>

namespace prunus::test_cli::text_table_test {
namespace {

TEST(TextTable, AlignsColumnsAndEndsLinesWithoutBlanks) {
  TextTable table({{"name", TextTable::Align::Left}, {"size"}, {"", TextTable::Align::Left}});
  table.add({"a", "1,000", "first"});
  table.add({"longer", "2", ""});
  EXPECT_EQ(table.text(),
            "  name     size\n"
            "  a       1,000  first\n"
            "  longer      2\n");
}

TEST(TextTable, LeavesOutHeadersWhereThereAreNone) {
  TextTable table({{"", TextTable::Align::Left}, {""}});
  table.add({"a", "1"});
  EXPECT_EQ(table.text(), "  a  1\n");
}

TEST(Numbers, HaveCommasBetweenThousands) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(8030261248), "8,030,261,248");
  EXPECT_EQ(with_commas(-123456), "-123,456");
}

TEST(Numbers, ComeWithUnitsOfOneWidth) {
  EXPECT_EQ(decimal_bytes(999), "999  B");
  EXPECT_EQ(decimal_bytes(4096), "4.10 kB");
  EXPECT_EQ(decimal_bytes(16060522496), "16.06 GB");
  EXPECT_EQ(decimal_bytes(3.2468e12), "3.25 TB");
  EXPECT_EQ(binary_bytes(512), "512   B");
  EXPECT_EQ(binary_bytes(125 * 1024 * 1024), "125.00 MiB");
  EXPECT_EQ(binary_bytes(1000.0 * 1024 * 1024), "0.98 GiB");
  EXPECT_EQ(decimal_count(424.021e9), "424.02 G");
}

TEST(Numbers, ThatVanishSayThatTheyAreNotZero) {
  EXPECT_EQ(percent(0.0654), "6.54 %");
  EXPECT_EQ(percent(0.00003), "<0.01 %");
  EXPECT_EQ(percent(0), "0.00 %");
  EXPECT_EQ(percent(1), "100.00 %");
}

}  // namespace
}  // namespace prunus::test_cli::text_table_test
