#include "prunus/cli/families_text.h"

#include <gtest/gtest.h>

#include "prunus/base/files.h"

#include "support/paths.h"

namespace prunus::test::families_text_test {
namespace {

TEST(FamiliesPage, IsTheOneInDocs) {
  EXPECT_EQ(families_page(), read_file(source_path("docs/families.md")))
      << "run: prunus families > docs/families.md";
}

TEST(FamiliesPage, SaysWhatMayNotBeCut) {
  const std::string page = families_page();
  const auto row = [&](const std::string& type) {
    const auto begin = page.find("| `" + type + "` |");
    return page.substr(begin, page.find('\n', begin) - begin);
  };
  EXPECT_NE(row("llama").find("`rope_pair`"), std::string::npos);
  EXPECT_EQ(row("qwen3").find("`rope_pair`"), std::string::npos);     // norm over each head
  EXPECT_EQ(row("gpt_neox").find("`rope_pair`"), std::string::npos);  // partly rotated
  EXPECT_NE(row("mixtral").find("`expert`"), std::string::npos);
}

TEST(FamiliesPage, SaysWhatIsTrained) {
  const std::string page = families_page();
  const std::string section = page.substr(page.find("## What can be trained"));
  const auto row = [&](const std::string& type) {
    const auto begin = section.find("| `" + type + "` |");
    return section.substr(begin, section.find('\n', begin) - begin);
  };
  EXPECT_NE(row("gpt2").find("positions, biases, biases of norms too"), std::string::npos);
  EXPECT_NE(row("mixtral").find("| all but experts | yes; router too |"), std::string::npos);
  EXPECT_NE(row("llama").find("| yes | yes; biases too | yes | yes | – |"), std::string::npos);
  EXPECT_NE(row("mistral").find("| yes | yes | yes | yes | – |"), std::string::npos);
}

}  // namespace
}  // namespace prunus::test::families_text_test
