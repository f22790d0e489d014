#include "prunus/base/nearest.h"

#include <gtest/gtest.h>

namespace prunus::nearest_test {
namespace {

const std::vector<std::string> kCommands = {"apply",    "bench",   "compare",   "eval",
                                            "generate", "inspect", "logits",    "merge",
                                            "prune",    "recover", "tokenizer", "train"};
const std::vector<std::string> kOptions = {"--out",          "--ratio", "--attn-ratio",
                                           "--calib-tokens", "--seed",  "--round-to"};

TEST(Nearest, FindsTheWordWithAFewLettersWrong) {
  EXPECT_EQ(nearest("prunne", kCommands), "prune");  // one more
  EXPECT_EQ(nearest("prne", kCommands), "prune");    // one less
  EXPECT_EQ(nearest("pruen", kCommands), "prune");   // two changed places: one slip
  EXPECT_EQ(nearest("PRUNE", kCommands), "prune");   // capitals
  EXPECT_EQ(nearest("tokeniser", kCommands), "tokenizer");
  EXPECT_EQ(nearest("recoverr", kCommands), "recover");
  EXPECT_EQ(nearest("--raito", kOptions), "--ratio");
  EXPECT_EQ(nearest("--round_to", kOptions), "--round-to");
  EXPECT_EQ(nearest("-seed", kOptions), "--seed");
}

TEST(Nearest, FindsBeginningsAndParts) {
  EXPECT_EQ(nearest("--output", kOptions), "--out");
  EXPECT_EQ(nearest("evaluate", kCommands), "eval");
  EXPECT_EQ(nearest("insp", kCommands), "inspect");
  EXPECT_EQ(nearest("--tokens", kOptions), "--calib-tokens");
}

TEST(Nearest, NamesNothingForAWordFromElsewhere) {
  EXPECT_EQ(nearest("frobnicate", kCommands), "");
  EXPECT_EQ(nearest("quantize", kCommands), "");
  EXPECT_EQ(nearest("", kCommands), "");
  EXPECT_EQ(nearest("--", kOptions), "");
  EXPECT_EQ(nearest("x", kCommands), "");
  EXPECT_EQ(nearest(std::string(100'000, 'p'), kCommands), "");
  EXPECT_EQ(nearest("prune", {}), "");
}

TEST(Nearest, OfTwoAsNearTheEarlierIsNamed) {
  const std::vector<std::string> known = {"l1", "l2"};
  EXPECT_EQ(nearest("l3", known), "l1");
  EXPECT_EQ(nearest("l22", known), "l2");
}

TEST(Nearest, MakesTheEndOfAMessage) {
  const std::vector<std::string> known = {"sum", "mean"};
  EXPECT_EQ(did_you_mean("maen", known), "; did you mean 'mean'?");
  EXPECT_EQ(did_you_mean("median", known), "");
  EXPECT_EQ(unknown_word("maen", known),
            "'maen' is not known; known: sum, mean; did you mean 'mean'?");
}

}  // namespace
}  // namespace prunus::nearest_test
