#include "prunus/pipeline/plan_state.h"

#include <filesystem>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/files.h"
#include "prunus/base/progress.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/stopping_source.h"
#include "support/tiny_model.h"

namespace prunus::test::plan_state_test {
namespace {

constexpr const char* kJob = R"({"method": "llm-pruner", "seed": 3})";

// Leaves the state that an interrupted run leaves: one block's hidden states.
void interrupt(const std::string& path, const std::string& identity = kJob) {
  WorkFolder folder({.path = path, .identity = identity, .is_state = is_plan_state});
  plan_context(folder, -1, {}).store(0)->put("hidden-1", {at::ones({2})});
  EXPECT_TRUE(folder.holds_state());
}

bool exists(const std::string& path) { return std::filesystem::exists(path); }

TEST(WorkFolder, LeavesNothingWhereThereIsNoState) {
  const TempDir dir;
  {
    const WorkFolder folder(
        {.path = dir / "out.work", .identity = kJob, .is_state = is_plan_state});
    EXPECT_TRUE(exists(dir / "out.work"));
    EXPECT_FALSE(folder.holds_state());
    EXPECT_FALSE(folder.resumed());
  }
  EXPECT_FALSE(exists(dir / "out.work"));
}

TEST(WorkFolder, StaysWhereThereIsStateUnlessItIsDiscarded) {
  const TempDir dir;
  interrupt(dir / "w");
  EXPECT_TRUE(exists(dir / "w/step-0/hidden-1.tensors"));
  {
    WorkFolder folder(
        {.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
    EXPECT_TRUE(folder.resumed());
    EXPECT_EQ(plan_context(folder, -1, {}).store(0)->last("hidden-"), 1);
  }
  ASSERT_TRUE(exists(dir / "w"));
  {
    WorkFolder folder(
        {.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
    folder.discard();
  }
  EXPECT_FALSE(exists(dir / "w"));
}

TEST(WorkFolder, TouchesNothingInAFolderThatIsNotItsOwn) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "w");
  write_file(dir / "w/thesis.txt", "ten years of work");
  for (const bool force : {false, true}) {
    expect_error(ErrorKind::InvalidArgument, "not of an interrupted prunus run", [&] {
      WorkFolder({.path = dir / "w", .identity = kJob, .force = force, .is_state = is_plan_state});
    });
  }
  EXPECT_EQ(read_file(dir / "w/thesis.txt"), "ten years of work");
}

// What a run that left no trail had spilled must not be taken for the state of the next one.
TEST(WorkFolder, BeginsEmptyWhereThereIsNoJob) {
  const TempDir dir;
  interrupt(dir / "w");
  std::filesystem::remove(dir / "w/job.json");
  const WorkFolder folder(
      {.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
  EXPECT_FALSE(folder.resumed());
  EXPECT_FALSE(exists(dir / "w/step-0"));
}

TEST(WorkFolder, RefusesStateWithoutResumeAndForceThrowsItAway) {
  const TempDir dir;
  interrupt(dir / "w");
  expect_error(ErrorKind::InvalidArgument, "pass --resume to go on with it, or --force", [&] {
    WorkFolder({.path = dir / "w", .identity = kJob, .is_state = is_plan_state});
  });
  EXPECT_TRUE(exists(dir / "w/step-0/hidden-1.tensors"));
  {
    WorkFolder folder({.path = dir / "w",
                       .identity = R"({"method": "another"})",
                       .force = true,
                       .is_state = is_plan_state});
    EXPECT_FALSE(folder.resumed());
    EXPECT_FALSE(exists(dir / "w/step-0"));
    plan_context(folder, -1, {}).store(0)->put("hidden-5", {at::ones({2})});
  }
  // What is there now is the other job's.
  const WorkFolder folder({.path = dir / "w",
                           .identity = R"({"method": "another"})",
                           .resume = true,
                           .is_state = is_plan_state});
  EXPECT_TRUE(folder.resumed());
}

TEST(WorkFolder, NamesWhatDiffersFromTheInterruptedJob) {
  const TempDir dir;
  interrupt(dir / "w");
  const auto refuse = [&](const std::string& identity, const std::string& part) {
    expect_error(ErrorKind::InvalidArgument, part, [&] {
      WorkFolder(
          {.path = dir / "w", .identity = identity, .resume = true, .is_state = is_plan_state});
    });
  };
  refuse(R"({"method": "llm-pruner", "seed": 4})", "had seed = 3, this one 4");
  refuse(R"({"method": "l1", "seed": 3})", "had method = \"llm-pruner\", this one \"l1\"");
  refuse(R"({"method": "llm-pruner", "seed": 3, "ratio": 0.5})",
         "had ratio = nothing, this one 0.5");
  // --force does not go on with another job's state either.
  expect_error(ErrorKind::InvalidArgument, "had seed", [&] {
    WorkFolder({.path = dir / "w",
                .identity = R"({"seed": 4})",
                .resume = true,
                .force = true,
                .is_state = is_plan_state});
  });
  EXPECT_TRUE(
      WorkFolder({.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state})
          .resumed());
}

TEST(WorkFolder, StartsFromTheBeginningWhereThereIsNothingToResume) {
  const TempDir dir;
  const WorkFolder folder(
      {.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
  EXPECT_FALSE(folder.resumed());
}

TEST(WorkFolder, IsForOneAtATime) {
  const TempDir dir;
  {
    WorkFolder folder({.path = dir / "w", .identity = kJob, .is_state = is_plan_state});
    plan_context(folder, -1, {}).store(0)->put("hidden-1", {at::ones({2})});
    for (const bool force : {false, true}) {
      expect_error(ErrorKind::InvalidArgument, "another prunus is at work", [&] {
        WorkFolder({.path = dir / "w",
                    .identity = kJob,
                    .resume = true,
                    .force = force,
                    .is_state = is_plan_state});
      });
    }
    EXPECT_TRUE(exists(dir / "w/step-0/hidden-1.tensors"));
  }
  EXPECT_TRUE(
      WorkFolder({.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state})
          .resumed());
}

TEST(WorkFolder, SaysWhatIsLeftWhateverEndsTheRun) {
  const TempDir dir;
  const auto folder = std::make_unique<WorkFolder>(
      WorkFolder::Options{.path = dir / "w", .identity = kJob, .is_state = is_plan_state});
  const auto last_words = [&](const std::unique_ptr<WorkFolder>& work,
                              ErrorKind kind) -> std::string {
    try {
      with_last_words(work, [&] { throw Error(kind, "failed"); });
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(last_words(nullptr, ErrorKind::Io), "failed");
  EXPECT_EQ(last_words(folder, ErrorKind::Corrupt), "failed");
  EXPECT_EQ(last_words(folder, ErrorKind::Interrupted), "failed; nothing was written");
  std::filesystem::create_directory(dir / "w/step-0");
  write_file(dir / "w/step-0/hidden-1.tensors", "");
  for (const ErrorKind kind :
       {ErrorKind::Interrupted, ErrorKind::OutputCheck, ErrorKind::Corrupt, ErrorKind::Io}) {
    EXPECT_NE(last_words(folder, kind).find("state is kept in " + (dir / "w")), std::string::npos);
  }
  EXPECT_THROW(with_last_words(folder, [] { throw std::bad_alloc(); }), std::bad_alloc);
  EXPECT_EQ(with_last_words(folder, [] { return 3; }), 3);
}

TEST(WorkFolder, IsOnlyAPlaceToSpillToWhereNothingCanBeResumed) {
  const TempDir dir;
  {
    WorkFolder folder(
        {.path = dir / "w", .identity = kJob, .resumable = false, .is_state = is_plan_state});
    const PlanContext context = plan_context(folder, 0, {});
    const auto store = context.store(0);
    store->put("hidden-1", {at::ones({2})});
    EXPECT_TRUE(exists(dir / "w/step-0/hidden-1.tensors"));
    EXPECT_FALSE(store->resumable());
    EXPECT_FALSE(context.finished);
    EXPECT_FALSE(folder.holds_state());
  }
  EXPECT_FALSE(exists(dir / "w"));
}

TEST(WorkFolder, RemembersFinishedSteps) {
  const TempDir dir;
  PlanResult result;
  result.plan.entries = {{{AxisLabel::Ffn, 0, {1, 3}}, 4, {0.1, 1.0 / 3, 1e-300, 4}}};
  result.calibration_loss = 2.0 / 3;
  result.ratio = 0.1;
  {
    WorkFolder folder({.path = dir / "w", .identity = kJob, .is_state = is_plan_state});
    const PlanContext context = plan_context(folder, -1, {});
    context.store(0)->put("hidden-1", {at::ones({2})});
    EXPECT_FALSE(context.finished(0).has_value());
    context.finish(0, result);
    EXPECT_FALSE(exists(dir / "w/step-0"));  // its blocks are of no use any more
  }
  WorkFolder folder(
      {.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
  EXPECT_TRUE(folder.resumed());
  const PlanContext context = plan_context(folder, -1, {});
  EXPECT_FALSE(context.finished(1).has_value());
  const PlanResult back = context.finished(0).value();
  EXPECT_EQ(back.calibration_loss, result.calibration_loss);
  EXPECT_EQ(back.ratio, result.ratio);
  ASSERT_EQ(back.plan.entries.size(), 1u);
  EXPECT_EQ(back.plan.entries[0].keep.units, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(back.plan.entries[0].scores, result.plan.entries[0].scores);
}

TEST(WorkFolder, SaysSoWhereItsOwnFilesAreDamaged) {
  const TempDir dir;
  interrupt(dir / "w");
  write_file(dir / "w/step-0.json", "{\"plan\": 7}");
  {
    WorkFolder folder(
        {.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
    const PlanContext context = plan_context(folder, -1, {});
    expect_error(ErrorKind::Corrupt, "step-0.json", [&] { context.finished(0); });
    write_file(dir / "w/step-0.json", "[]");
    expect_error(ErrorKind::Corrupt, "step-0.json", [&] { context.finished(0); });
  }
  write_file(dir / "w/job.json", "[7]");
  expect_error(ErrorKind::InvalidArgument, "had method = nothing", [&] {
    WorkFolder({.path = dir / "w", .identity = kJob, .resume = true, .is_state = is_plan_state});
  });
}

void expect_same(const PlanResult& a, const PlanResult& b, int64_t stop) {
  EXPECT_EQ(a.calibration_loss, b.calibration_loss) << stop;
  EXPECT_EQ(a.ratio, b.ratio) << stop;
  ASSERT_EQ(a.plan.entries.size(), b.plan.entries.size()) << stop;
  for (size_t i = 0; i < a.plan.entries.size(); ++i) {
    EXPECT_EQ(a.plan.entries[i].keep.units, b.plan.entries[i].keep.units) << stop;
    EXPECT_EQ(a.plan.entries[i].scores, b.plan.entries[i].scores) << stop;  // bit for bit
  }
}

// A run of two steps, stopped at one read after another, goes on to the very same plan.
TEST(WorkFolder, TakesAnInterruptedPlanUpAtAnyPoint) {
  const Model whole = tiny_model({.kv_heads = 2, .tied = true});
  const auto source = std::make_shared<StoppingSource>(whole.shared_source());
  const Model model(whole.config(), source);
  const auto text = [&](int64_t step) {
    return std::vector<TokenBatch>{{random_ids(whole, 2, 6, static_cast<uint64_t>(step))},
                                   {random_ids(whole, 1, 6, 7)}};
  };
  set_verbosity(Verbosity::Quiet);
  const PruneOptions kinds[] = {
      {.taylor = "param_mix", .ratio = 0.5, .steps = 2},
      {.structure = Structure::Channel, .ratio = 0.5, .steps = 2},
      {.target_params = whole.parameters() * 8 / 10, .global = true, .steps = 2}};
  for (const PruneOptions& options : kinds) {
    const TempDir dir;
    const auto run = [&](bool resume) {
      WorkFolder folder(
          {.path = dir / "w", .identity = kJob, .resume = resume, .is_state = is_plan_state});
      const PlanResult result = make_plan(model, plan_context(folder, -1, text), options);
      folder.discard();
      return result;
    };
    source->layers.clear();
    const PlanResult expected = run(false);
    const auto reads = static_cast<int64_t>(source->layers.size());
    ASSERT_GT(reads, 2 * 2 * 2 * 9);  // steps × passes × layers × tensors
    for (int64_t stop = 0; stop < reads; stop += 7) {
      source->reads_left = stop;
      EXPECT_THROW(run(false), Stop) << stop;
      source->reads_left = int64_t{1} << 40;
      source->layers.clear();
      expect_same(run(true), expected, stop);
      EXPECT_FALSE(exists(dir / "w"));
      // No more than one layer, the head or the embedding is done twice.
      EXPECT_LE(static_cast<int64_t>(source->layers.size()) + stop, reads + 9 + 4) << stop;
    }
  }
  set_verbosity(Verbosity::Normal);
}

}  // namespace
}  // namespace prunus::test::plan_state_test
