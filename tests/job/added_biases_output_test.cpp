// Models with added biases, written and read again, of every family.
// With PRUNUS_KEEP_BIASED set to a folder, what is written stays there, for
// tools/check_added_biases.py.
#include <cstdlib>
#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/graph/shrink.h"
#include "prunus/io/hf_directory.h"
#include "prunus/job/output.h"
#include "prunus/model/added_biases.h"

#include "support/golden_models.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::added_biases_output_test {
namespace {

using Roles = std::set<Role>;

// Random biases of these projections in every layer, outside of experts.
Model compensated(const Model& model, const Roles& projections) {
  at::Generator generator = at::detail::createCPUGenerator(5);
  std::map<BiasPlace, at::Tensor> biases;
  for (const TensorInfo& tensor : model.tensors()) {
    if (!projections.contains(tensor.spec->role) || tensor.stored.experts > 0) continue;
    biases[{tensor.layer, tensor.spec->role}] =
        0.5 * at::randn({tensor.shape[0]}, generator, at::kFloat);
  }
  return with_biases(model, biases);
}

// One unit of each set less.
Model cut(const Model& model) {
  std::vector<Keep> keeps;
  for (const GroupSet& set : find_groups(model)) {
    const bool cut = set.label == AxisLabel::Ffn || set.label == AxisLabel::Hidden;
    if (!cut || set.units_per_share() < 2) continue;
    Keep keep{set.label, set.layer, {}};
    for (int64_t unit = 0; unit < set.units; ++unit) {
      if (unit % set.units_per_share() != 1) keep.units.push_back(unit);
    }
    keeps.push_back(keep);
  }
  return shrink(model, keeps);
}

class AddedBiasesOutput : public testing::TestWithParam<std::string> {
 protected:
  const std::string golden_ = golden_dir(GetParam());
  const Model model_ = open_model(golden_);
  const at::Tensor ids_ = random_ids(model_, 2, 12);
  const TempDir scratch_;

  std::string folder(const std::string& name) const {
    const char* kept = std::getenv("PRUNUS_KEEP_BIASED");
    const std::string dir =
        (kept == nullptr ? scratch_.path() : std::string(kept) + "/" + GetParam()) + "/" + name;
    std::filesystem::create_directories(dir);
    return dir;
  }

  void expect_round_trip(const Model& model, const std::string& dir) const {
    write_model(model, golden_, dir);
    EXPECT_EQ(check_output(model, dir, ids_, at::kCPU).max_abs_diff, 0) << dir;
    const Model again = open_model(dir);
    EXPECT_EQ(again.parameters(), model.parameters()) << dir;
    EXPECT_EQ(again.config().biases, model.config().biases) << dir;
    EXPECT_EQ(rewrite_config(read_config(dir), again.config()), read_config(dir)) << dir;
  }
};

TEST_P(AddedBiasesOutput, ReadsBackTheSame) {
  expect_round_trip(compensated(model_, {Role::OProj}), folder("o"));
  expect_round_trip(compensated(model_, {Role::OProj, Role::DownProj}), folder("o_down"));
}

TEST_P(AddedBiasesOutput, ReadsBackTheSameWhenCutBeforeOrAfter) {
  const Roles projections = {Role::OProj, Role::DownProj};
  expect_round_trip(compensated(cut(model_), projections), folder("cut_o_down"));
  expect_round_trip(cut(compensated(model_, projections)), folder("o_down_cut"));
}

INSTANTIATE_TEST_SUITE_P(Families, AddedBiasesOutput, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::added_biases_output_test
