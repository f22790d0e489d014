#include "prunus/pipeline/reduction.h"

#include <cmath>

#include <ATen/ATen.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prunus/pipeline/conventions.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace prunus::test::reduction_test {
namespace {

using testing::ElementsAre;

std::vector<double> values_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  EXPECT_EQ(flat.scalar_type(), at::kDouble);
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

at::Tensor two_by_two(double a, double b, double c, double d) {
  return at::tensor({a, b, c, d}, at::kDouble).view({2, 2});
}

// Two members, two units, two places in each.
std::vector<double> reduced(Reduction reduction) {
  return values_of(reduce({two_by_two(1, 2, 3, 4), two_by_two(5, 0, 2, 10)}, reduction));
}

TEST(Reduce, TakesOverTheMembersThenAddsUpInsideTheUnit) {
  EXPECT_THAT(reduced(Reduction::Sum), ElementsAre(6 + 2, 5 + 14));
  EXPECT_THAT(reduced(Reduction::Mean), ElementsAre(3 + 1, 2.5 + 7));
  EXPECT_THAT(reduced(Reduction::Max), ElementsAre(5 + 2, 3 + 10));
  EXPECT_THAT(reduced(Reduction::First), ElementsAre(1 + 2, 3 + 4));
  EXPECT_THAT(reduced(Reduction::Second), ElementsAre(5 + 0, 2 + 10));
  EXPECT_THAT(reduced(Reduction::Last), ElementsAre(5 + 0, 2 + 10));
}

TEST(Reduce, GivesProductsAsLogarithms) {
  const std::vector<double> products = reduced(Reduction::Prod);
  // 1·5 + 2·0 (a zero counts as 2.2e-308) and 3·2 + 4·10.
  EXPECT_NEAR(products[0], std::log(5.0), 1e-12);
  EXPECT_NEAR(products[1], std::log(46.0), 1e-12);
}

TEST(Reduce, StaysInRangeWhereProductsDoNot) {
  // 300 members of 1e-5 and 1e5: 1e±1500.
  const at::Tensor small = at::full({1, 2}, 1e-5, at::kDouble);
  const std::vector<at::Tensor> low(300, small);
  const std::vector<at::Tensor> high(300, 1 / small);
  const double expected = 1500 * std::log(10.0);
  EXPECT_NEAR(values_of(reduce(low, Reduction::Prod))[0], -expected + std::log(2.0), 1e-9);
  EXPECT_NEAR(values_of(reduce(high, Reduction::Prod))[0], expected + std::log(2.0), 1e-9);
  const std::vector<at::Tensor> zeros(3, at::zeros({1, 1}, at::kDouble));
  const double log_zero = std::log(2.2250738585072014e-308);
  EXPECT_NEAR(values_of(reduce(zeros, Reduction::Prod))[0], 3 * log_zero, 1e-9);
}

TEST(Reduce, RefusesASecondMemberThatIsNotThere) {
  const std::vector<at::Tensor> one = {two_by_two(1, 2, 3, 4)};
  expect_error(ErrorKind::InvalidArgument, "second", [&] { reduce(one, Reduction::Second); });
  EXPECT_THAT(values_of(reduce(one, Reduction::Last)), ElementsAre(3, 7));
}

TEST(ParseReduction, KnowsItsNames) {
  for (const char* name : {"sum", "mean", "max", "prod", "first", "second", "last"}) {
    EXPECT_EQ(reduction_name(parse_reduction(name)), name);
  }
  expect_error(ErrorKind::InvalidArgument, "known: sum, mean, max, prod, first, second, last",
               [] { parse_reduction("median"); });
}

GroupSet set_of(const Model& model, AxisLabel label) {
  for (const GroupSet& set : find_groups(model)) {
    if (set.label == label) return set;
  }
  throw std::logic_error("no such set");
}

const GroupMember& member_of(const GroupSet& set, Role role) {
  for (const GroupMember& member : set.members) {
    if (member.tensor.spec->role == role) return member;
  }
  throw std::logic_error("no such member");
}

// Four query heads of two channels, two KV heads: query heads 0 and 1 read KV head 0.
TEST(Fold, CountsAQueryHeadForTheGroupItIsRemovedWith) {
  const Model model = tiny_model({.head_dim = 2, .kv_heads = 2});
  const GroupSet set = set_of(model, AxisLabel::KvGroup);
  const at::Tensor q = at::tensor({1, 2, 30, 40, 500, 600, 7000, 8000}, at::kFloat);
  EXPECT_THAT(values_of(conventions::own.fold(q, set, member_of(set, Role::QProj))),
              ElementsAre(1 + 30, 2 + 40, 500 + 7000, 600 + 8000));
  // The reference credits query head h to KV head h mod 2.
  EXPECT_THAT(values_of(conventions::llm_pruner.fold(q, set, member_of(set, Role::QProj))),
              ElementsAre(1 + 500, 2 + 600, 30 + 7000, 40 + 8000));
  const at::Tensor k = at::tensor({1, 2, 30, 40}, at::kFloat);
  for (const Conventions* compat : {&conventions::own, &conventions::llm_pruner}) {
    EXPECT_THAT(values_of(compat->fold(k, set, member_of(set, Role::KProj))),
                ElementsAre(1, 2, 30, 40));
  }
}

TEST(Fold, ChangesNothingWhereEveryUnitHasItsOwnSlices) {
  const Model model = tiny_model({.head_dim = 2, .q_heads = 2, .kv_heads = 2});
  const at::Tensor slices = at::tensor({1, 2, 3, 4}, at::kFloat);
  const GroupSet heads = set_of(model, AxisLabel::KvGroup);
  for (const Conventions* compat : {&conventions::own, &conventions::llm_pruner}) {
    EXPECT_THAT(values_of(compat->fold(slices, heads, member_of(heads, Role::QProj))),
                ElementsAre(1, 2, 3, 4));
  }
}

TEST(Fold, AddsUpWhereverAUnitOfHeadChannelsIs) {
  const Model model = tiny_model({.head_dim = 4, .q_heads = 2, .kv_heads = 1});
  const at::Tensor slices = at::tensor({1, 2, 3, 4, 50, 60, 70, 80}, at::kFloat);
  const GroupSet pairs = set_of(model, AxisLabel::RopePair);  // channels p and p + 2
  EXPECT_THAT(values_of(conventions::own.fold(slices, pairs, member_of(pairs, Role::QProj))),
              ElementsAre(1 + 3 + 50 + 70, 2 + 4 + 60 + 80));
  const GroupSet channels = set_of(model, AxisLabel::ValueDim);  // read by both query heads
  EXPECT_THAT(values_of(conventions::own.fold(slices, channels, member_of(channels, Role::OProj))),
              ElementsAre(1 + 50, 2 + 60, 3 + 70, 4 + 80));
  const GroupSet heads = set_of(model, AxisLabel::QueryHead);  // four places in each of two units
  EXPECT_THAT(values_of(conventions::own.fold(slices, heads, member_of(heads, Role::QProj))),
              ElementsAre(1, 2, 3, 4, 50, 60, 70, 80));
}

std::vector<Role> order_of(const TinySizes& sizes, AxisLabel label, const Conventions& by) {
  const Model model = tiny_model(sizes);
  const GroupSet set = set_of(model, label);
  std::vector<Role> roles;
  std::vector<size_t> members = scored_members(set);
  if (by.order != nullptr) by.order(set, members);
  for (const size_t i : members) {
    roles.push_back(set.members[i].tensor.spec->role);
  }
  return roles;
}

TEST(ScoredMembers, AreTheMatricesInTheOrderOfTheTable) {
  // Biases and the norms inside the heads are cut but not scored.
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    for (const int64_t kv_heads : {4, 2}) {
      const TinySizes sizes{.family = family, .kv_heads = kv_heads};
      EXPECT_THAT(order_of(sizes, AxisLabel::KvGroup, conventions::own),
                  ElementsAre(Role::QProj, Role::KProj, Role::VProj, Role::OProj));
      EXPECT_THAT(order_of(sizes, AxisLabel::RopePair, conventions::own),
                  ElementsAre(Role::QProj, Role::KProj));
      EXPECT_THAT(order_of(sizes, AxisLabel::Ffn, conventions::own),
                  ElementsAre(Role::GateProj, Role::UpProj, Role::DownProj));
    }
  }
}

TEST(ScoredMembers, FollowTheReferencesGraphUnderCompat) {
  EXPECT_THAT(order_of({}, AxisLabel::KvGroup, conventions::llm_pruner),
              ElementsAre(Role::QProj, Role::OProj, Role::VProj, Role::KProj));
  EXPECT_THAT(order_of({.kv_heads = 2}, AxisLabel::KvGroup, conventions::llm_pruner),
              ElementsAre(Role::KProj, Role::OProj, Role::VProj, Role::QProj));
  EXPECT_THAT(order_of({}, AxisLabel::Ffn, conventions::llm_pruner),
              ElementsAre(Role::GateProj, Role::UpProj, Role::DownProj));
}

TEST(ScoredMembers, OfTheHiddenDimensionIncludeTheNormsOverIt) {
  const TinySizes one_layer{.family = "qwen3", .layers = 1};
  EXPECT_THAT(order_of(one_layer, AxisLabel::Hidden, conventions::own),
              ElementsAre(Role::EmbedTokens, Role::AttnNorm, Role::QProj, Role::KProj, Role::VProj,
                          Role::OProj, Role::MlpNorm, Role::GateProj, Role::UpProj, Role::DownProj,
                          Role::FinalNorm, Role::LmHead));
  EXPECT_THAT(order_of(one_layer, AxisLabel::Hidden, conventions::llm_pruner),
              ElementsAre(Role::FinalNorm, Role::EmbedTokens, Role::AttnNorm, Role::QProj,
                          Role::KProj, Role::VProj, Role::OProj, Role::MlpNorm, Role::GateProj,
                          Role::UpProj, Role::DownProj, Role::LmHead));
}

}  // namespace
}  // namespace prunus::test::reduction_test
