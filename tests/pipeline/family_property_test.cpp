// What must hold for every family, on the tiny models of tests/model/golden: nothing here knows
// one.
#include <algorithm>
#include <filesystem>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/calib/gradient_collector.h"
#include "prunus/calib/stream.h"
#include "prunus/eval/request.h"
#include "prunus/graph/shrink.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/model/layout.h"

#include "graph/fixture.h"
#include "support/golden_models.h"
#include "support/paths.h"

namespace prunus::test::family_property_test {
namespace {

class FamilyProperty : public testing::TestWithParam<std::string> {
 protected:
  const Model model_ = open_model(golden_dir(GetParam()));
  const at::Tensor ids_ = random_ids(model_, 2, 12);

  double scale_of(int64_t kept, int64_t all) const {
    return std::sqrt(static_cast<double>(kept) / static_cast<double>(all));
  }
};

// A quarter of the units of every share, at least one; none where only one is there.
std::vector<int64_t> a_quarter(const GroupSet& set) {
  std::vector<int64_t> removed;
  const int64_t per_share = set.units_per_share();
  if (per_share < 2) return removed;
  const int64_t count = std::max<int64_t>(1, per_share / 4);
  for (int64_t share = 0; share < set.shares; ++share) {
    for (int64_t i = 0; i < count; ++i) {
      // Not the same place in every share: each chooses its own.
      removed.push_back(share * per_share + (3 * i + 1 + share) % per_share);
    }
  }
  std::sort(removed.begin(), removed.end());
  removed.erase(std::unique(removed.begin(), removed.end()), removed.end());
  return removed;
}

// Norms that run over what is cut see fewer channels: the mean of squares grows by all / kept.
void make_up_for_norms(const Model& model, const GroupSet& set, double scale,
                       MemorySource& weights) {
  const double offset = model.config().family->norm == NormKind::RmsPlusOne ? 1.0 : 0.0;
  const std::set<Role> hidden_norms = {Role::AttnNorm, Role::MlpNorm, Role::FinalNorm,
                                       Role::PostAttnNorm, Role::PostMlpNorm};
  for (const GroupMember& member : set.members) {
    const Role role = member.tensor.spec->role;
    const bool row_norm = (role == Role::QNorm || role == Role::KNorm) &&
                          model.config().family->qk_norm_rows && set.label != AxisLabel::Hidden;
    if (!row_norm && !(set.label == AxisLabel::Hidden && hidden_norms.contains(role))) continue;
    at::Tensor& weight = weights.tensors.at(member.tensor.name);
    weight = (weight + offset) * scale - offset;
  }
}

bool cut_by_zeroing(const Model& model, AxisLabel label) {
  switch (label) {
    case AxisLabel::Ffn:
    case AxisLabel::KvGroup:
    case AxisLabel::QueryHead:
    case AxisLabel::SharedFfn:
      return true;
    case AxisLabel::Hidden:  // LayerNorm's mean has no such remedy; stock transformers judges that
      return model.config().family->norm != NormKind::Layer;
    default:
      return false;
  }
}

TEST_P(FamilyProperty, ShrunkLogitsEqualMaskedLogits) {
  std::set<AxisLabel> seen;
  for (const GroupSet& set : find_groups(model_)) {
    if (!cut_by_zeroing(model_, set.label)) continue;
    const std::vector<int64_t> removed = a_quarter(set);
    if (removed.empty()) continue;
    seen.insert(set.label);
    const std::vector<int64_t> kept = all_but(set.units, removed);
    const Model shrunk = shrink(model_, {{set.label, set.layer, kept}});
    auto weights = copy_weights(model_);
    for (const int64_t unit : removed) {
      for (const GroupMember& member : set.members) {
        zero(*weights, member.tensor.name, member.dim, slices_of(set, member, unit));
      }
    }
    const double scale = scale_of(static_cast<int64_t>(kept.size()), set.units);
    make_up_for_norms(model_, set, scale, *weights);
    ModelConfig config = model_.config();
    if (set.label == AxisLabel::Hidden) config.norm_eps *= scale * scale;
    const Model masked(config, weights);
    EXPECT_LT(relative_error(logits_of(shrunk, ids_), logits_of(masked, ids_)), 1e-4) << set.name();
    EXPECT_EQ(model_.parameters() - shrunk.parameters(),
              set.parameters_per_unit() * static_cast<int64_t>(removed.size()))
        << set.name();
  }
  EXPECT_TRUE(seen.contains(AxisLabel::Ffn));
}

// A tensor left out of a group would keep the size of what it feeds or reads.
TEST_P(FamilyProperty, EveryDimensionBelongsToAGroup) {
  std::set<std::pair<std::string, int>> covered;
  for (const GroupSet& set : find_groups(model_)) {
    for (const GroupMember& member : set.members) covered.insert({member.tensor.name, member.dim});
  }
  // A tensor's axis is in no set only where nothing may cut it.
  for (const TensorInfo& tensor : model_.tensors()) {
    for (int dim = 0; dim < tensor.spec->rank; ++dim) {
      const Factor first = tensor.spec->axes[static_cast<size_t>(dim)].factors[0];
      const bool fixed =
          first == Factor::Whole || first == Factor::Position || first == Factor::One;
      EXPECT_EQ(covered.contains({tensor.name, dim}), !fixed) << tensor.name << " " << dim;
    }
  }
}

std::vector<Keep> quarter_of(const Model& model, const std::set<AxisLabel>& labels) {
  std::vector<Keep> keeps;
  for (const GroupSet& set : find_groups(model)) {
    if (!labels.contains(set.label)) continue;
    const std::vector<int64_t> removed = a_quarter(set);
    if (!removed.empty()) keeps.push_back({set.label, set.layer, all_but(set.units, removed)});
  }
  return keeps;
}

TEST_P(FamilyProperty, WhatIsWrittenReadsBackTheSame) {
  const TempDir scratch;
  const std::set<AxisLabel> choices[] = {{},
                                         {AxisLabel::Ffn},
                                         {AxisLabel::KvGroup},
                                         {AxisLabel::Hidden},
                                         {AxisLabel::Expert},
                                         {AxisLabel::Ffn, AxisLabel::KvGroup, AxisLabel::Hidden}};
  int number = 0;
  for (const auto& labels : choices) {
    const Model left = shrink(model_, quarter_of(model_, labels));
    const std::string dir = c10::str(scratch.path(), "/", number++);
    std::filesystem::create_directories(dir);
    write_model(left, golden_dir(GetParam()), dir);
    EXPECT_EQ(check_output(left, dir, ids_, at::kCPU).max_abs_diff, 0) << number;
    const Model again = open_model(dir);
    EXPECT_EQ(again.parameters(), left.parameters());
    // What is written by one run is what another reads and writes.
    EXPECT_EQ(rewrite_config(read_config(dir), again.config()), read_config(dir)) << number;
  }
}

// As an edited plan may have it.
TEST_P(FamilyProperty, LayersMayKeepDifferentNumbersOfExperts) {
  std::vector<Keep> keeps = quarter_of(model_, {AxisLabel::Expert});
  if (keeps.size() < 2) return;
  keeps.resize(1);
  const Model left = shrink(model_, keeps);
  const TempDir scratch;
  write_model(left, golden_dir(GetParam()), scratch.path());
  EXPECT_EQ(check_output(left, scratch.path(), ids_, at::kCPU).max_abs_diff, 0);
}

TEST_P(FamilyProperty, UnprunedWeightsAreWrittenBitForBit) {
  const TempDir scratch;
  write_model(model_, golden_dir(GetParam()), scratch.path());
  const Checkpoint before = Checkpoint::open(golden_dir(GetParam()));
  const Checkpoint after = Checkpoint::open(scratch.path());
  for (const std::string& name : after.names()) {
    const std::string bare = name.starts_with("transformer.") ? name.substr(12) : name;
    const std::string there = before.contains(name) ? name : bare;
    EXPECT_TRUE(at::equal(after.read(name), before.read(there))) << name;
  }
}

// Rows of unequal length in a batch, contexts computed once for several continuations.
TEST_P(FamilyProperty, ScoresOfUnequalSequencesEqualThoseOfEachAlone) {
  const auto ids = random_ids(model_, 1, 40, 9).flatten();
  const auto piece = [&](int64_t begin, int64_t count) {
    const int64_t* data = ids.const_data_ptr<int64_t>();
    return std::vector<int64_t>(data + begin, data + begin + count);
  };
  std::vector<ScoreRequest> requests;
  for (const auto& [context, begin, count] :
       {std::tuple{3, 20, 2}, {3, 25, 4}, {11, 20, 3}, {11, 30, 1}, {7, 22, 5}, {1, 21, 1}}) {
    requests.push_back({piece(0, context), piece(begin, count)});
  }
  const auto results = score_requests(model_, requests, at::kCPU, {});
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<int64_t> all = requests[i].context;
    all.insert(all.end(), requests[i].continuation.begin(), requests[i].continuation.end());
    const at::Tensor log_p =
        logits_of(model_, at::tensor(all, at::kLong).unsqueeze(0))[0].log_softmax(-1);
    double sum = 0;
    for (size_t at = requests[i].context.size(); at < all.size(); ++at) {
      sum += log_p[static_cast<int64_t>(at) - 1][all[at]].item<double>();
    }
    EXPECT_NEAR(results[i].log_likelihood, sum, 1e-3) << i;
  }
}

// First-order Taylor: a row's saliency is the loss's derivative by a factor on the row, its bias
// included. Central differences in FP64.
TEST_P(FamilyProperty, SaliencyIsTheDerivativeOfTheLossByTheRow) {
  Model model(model_.config(), copy_weights(model_));
  model.set_precision(at::kDouble);
  const std::vector<TokenBatch> batches = {{ids_}};
  const int layer = 0;
  std::map<Role, at::Tensor> rows;
  const std::set<Role> wanted = {Role::UpProj, Role::VProj, Role::OProj};
  GradientCollector collector(
      Needs{.statistics = {&stats::saliency}},
      [&](int l, Role role) { return l == layer && wanted.contains(role); },
      [&](const LinearSite& site, const WeightStats& stats) {
        rows[site.role] = row_saliency_of(stats.of(stats::saliency), stats.weight).clone();
      });
  BlockStream(model, at::kCPU)
      .backward(batches, {0, static_cast<int>(model.layer_count())}, collector);
  const auto loss = [&](Role role, int64_t row, double factor) {
    auto weights = copy_weights(model_);
    const auto bias = std::map<Role, Role>{
        {Role::UpProj, Role::UpBias}, {Role::VProj, Role::VBias}, {Role::OProj, Role::OBias}};
    for (auto& [name, tensor] : weights->tensors) tensor = tensor.to(at::kDouble);
    for (const TensorInfo& info : model_.tensors()) {
      if (info.layer != layer || (info.spec->role != role && info.spec->role != bias.at(role)))
        continue;
      weights->tensors.at(info.name)[row] *= factor;
    }
    Model changed(model_.config(), weights);
    changed.set_precision(at::kDouble);
    Collector nothing;
    return BlockStream(changed, at::kCPU).backward(batches, {0, 1}, nothing);
  };
  for (const Role role : wanted) {
    for (const int64_t row : {0, 5}) {
      constexpr double kStep = 1e-4;
      const double slope = (loss(role, row, 1 + kStep) - loss(role, row, 1 - kStep)) / (2 * kStep);
      const double got = rows.at(role)[row].item<double>();
      EXPECT_NEAR(got, slope, 1e-6 + 1e-4 * std::abs(slope)) << role_name(role) << " row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyProperty, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

TEST(FamilyCatalogue, EveryFamilyHasAGoldenModel) {
  std::set<const Family*> seen;
  for (const std::string& name : golden_names())
    seen.insert(open_model(golden_dir(name)).config().family);
  for (const Family* family : families::all()) {
    EXPECT_TRUE(seen.contains(family)) << family->model_type << ": " << family->description;
  }
}

}  // namespace
}  // namespace prunus::test::family_property_test
