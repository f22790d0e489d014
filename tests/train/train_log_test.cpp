#include "prunus/train/train_log.h"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"

#include "support/paths.h"

namespace prunus::train_log_test {
namespace {

using test::TempDir;

TEST(TrainLog, OfAStepThatWasDoneAgainTheLastLineCountsAndLaterOnesOfAnotherRunDoNot) {
  const TempDir dir;
  {
    TrainLog log(dir / "log", false);
    for (int step = 0; step < 5; ++step) log.add({{"step", step}, {"loss", 1}});
  }
  TrainLog log(dir / "log", true);
  log.add({{"step", 2}, {"loss", 7}});
  log.add({{"step", 3}, {"loss", 8}});
  log.copy_to(dir / "copy", 3);
  EXPECT_EQ(read_file(dir / "copy"),
            "{\"step\":0,\"loss\":1}\n{\"step\":1,\"loss\":1}\n"
            "{\"step\":2,\"loss\":7}\n{\"step\":3,\"loss\":8}\n");
}

TEST(TrainLog, HalfALineThatAKilledProcessLeftDoesNotSwallowTheNextOne) {
  const TempDir dir;
  std::ofstream(dir / "log") << "{\"step\":0}\n{\"step\":1,\"lo";
  TrainLog log(dir / "log", true);
  log.add({{"step", 1}});
  log.copy_to(dir / "copy", 1);
  EXPECT_EQ(read_file(dir / "copy"), "{\"step\":0}\n{\"step\":1}\n");
}

}  // namespace
}  // namespace prunus::train_log_test
