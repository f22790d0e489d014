#include "prunus/job/inspect.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/run_schema.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::inspect_test {
namespace {

TEST(Inspect, OfAModelIsTheSameAsItsRecordSays) {
  const TempDir dir;
  const TinySizes sizes;
  save_model(tiny_model(sizes), tiny_config(sizes), dir / "m");
  const Json record = run_inspect(dir / "m");
  EXPECT_NO_THROW(check_run(record, "record"));
  const Json report = inspect(open_for_inspection(dir / "m"));
  for (const auto& [key, value] : report.items()) EXPECT_EQ(record.at(key), value) << key;
  // Embedding and head 29·16 each, a layer 4·16² + 3·12·16 + 2·16, the last norm 16.
  EXPECT_EQ(report.at("parameters"), 2 * 464 + 2 * 1632 + 16);
}

TEST(Inspect, ReadsNoWeights) {
  const TempDir dir;
  const TinySizes sizes;
  save_model(tiny_model(sizes), tiny_config(sizes), dir / "m");
  const InspectedModel config = open_for_inspection(dir / "m/config.json");
  EXPECT_EQ(config.dtype_source, "assumed");
  EXPECT_ANY_THROW(config.model.source().read(config.model.tensors()[0]));
  EXPECT_EQ(inspect(config).at("layers").size(), 2U);
  expect_error(ErrorKind::NotFound, "absent", [&] { run_inspect(dir / "absent"); });
}

}  // namespace
}  // namespace prunus::test::inspect_test
