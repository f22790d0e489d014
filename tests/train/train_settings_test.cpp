#include "prunus/train/train_settings.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace prunus::train_settings_test {
namespace {

TEST(TrainSettings, OnlyWhatDiffersIsAChange) {
  TrainerOptions before;
  TrainerOptions now = before;
  now.schedule.lr = 0.25;
  now.patience = 3;
  now.save_every = 7;  // decides nothing about the result
  const auto changes = changed_settings(changeable_settings(before), changeable_settings(now), 40);
  EXPECT_EQ(to_text(changes), "lr 0.0001 -> 0.25, patience 0 -> 3");
  EXPECT_EQ(to_json(changes),
            Json::parse(R"([{"step": 40, "lr": [0.0001, 0.25], "patience": [0, 3]}])"));
  EXPECT_TRUE(changed_settings({}, changeable_settings(now), 0).empty());
}

TEST(TrainSettings, ChangesAtOneStepComeToOneAndThereAndBackToNone) {
  std::vector<OptionChange> all = {{8, "lr", "1.0", "2.0"}, {9, "lr", "2.0", "3.0"}};
  add_changes(all, {{9, "lr", "3.0", "4.0"}, {9, "clip", "1.0", "0.0"}});
  EXPECT_EQ(to_json(all), Json::parse(R"([{"step": 8, "lr": [1.0, 2.0]},
                                          {"step": 9, "lr": [2.0, 4.0], "clip": [1.0, 0.0]}])"));
  add_changes(all, {{9, "lr", "4.0", "2.0"}});
  EXPECT_EQ(to_text(all), "lr 1.0 -> 2.0, clip 1.0 -> 0.0");
}

}  // namespace
}  // namespace prunus::train_settings_test
