#include "prunus/calib/stream_store.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/files.h"
#include "prunus/calib/gradient_collector.h"
#include "prunus/calib/stream.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/stopping_source.h"
#include "support/tiny_model.h"

namespace prunus::test::stream_store_test {
namespace {

std::vector<at::Tensor> samples() {
  return {at::tensor({1.5f, -2.0f, 0.0f, 3e38f, 1e-40f, -0.0f}).view({2, 3}),
          at::tensor({1.0 / 3}, at::kDouble).squeeze(0),
          at::tensor({int64_t{1} << 62, int64_t{-7}}, at::kLong), at::empty({0, 4}, at::kFloat)};
}

// Bit for bit, dtype and shape included.
void expect_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].scalar_type(), b[i].scalar_type());
    ASSERT_EQ(a[i].sizes(), b[i].sizes());
    const at::Tensor x = a[i].contiguous();
    const at::Tensor y = b[i].contiguous();
    if (x.nbytes() == 0) continue;
    EXPECT_EQ(std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()), 0);
  }
}

std::vector<std::string> files_in(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(StreamStore, HoldsInRamWhatFitsAndSpillsTheRest) {
  const TempDir dir;
  StreamStore store({.dir = dir.path(), .ram_bytes = 40});
  const std::vector<at::Tensor> eight = {at::arange(2, at::kFloat)};   // 8 bytes
  const std::vector<at::Tensor> forty = {at::arange(5, at::kDouble)};  // 40 bytes
  store.put("a", eight);
  EXPECT_EQ(store.spilled_bytes(), 0);
  EXPECT_TRUE(files_in(dir.path()).empty());
  store.put("b", forty);
  EXPECT_EQ(store.spilled_bytes(), 40);
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"b.tensors"});
  expect_same(store.get("a", at::kCPU), eight);
  expect_same(store.get("b", at::kCPU), forty);
  // What is dropped makes room.
  store.drop("a");
  EXPECT_FALSE(store.has("a"));
  expect_error(ErrorKind::NotFound, "a.tensors", [&] { store.get("a", at::kCPU); });
  store.put("b", forty);
  EXPECT_EQ(store.spilled_bytes(), 40);
  EXPECT_TRUE(files_in(dir.path()).empty());
  expect_same(store.get("b", at::kCPU), forty);
  store.put("b", eight);  // the same name again: no 48 bytes
  store.put("c", eight);
  EXPECT_EQ(store.spilled_bytes(), 40);
  EXPECT_TRUE(store.has("c"));
}

// $TMPDIR for a scope.
struct TemporaryFolder {
  explicit TemporaryFolder(const std::string& dir) { ::setenv("TMPDIR", dir.c_str(), 1); }
  ~TemporaryFolder() {
    if (before.empty()) {
      ::unsetenv("TMPDIR");
    } else {
      ::setenv("TMPDIR", before.c_str(), 1);
    }
  }
  std::string before = std::getenv("TMPDIR") == nullptr ? "" : std::getenv("TMPDIR");
};

TEST(StreamStore, RemovesItsTemporaryFolderButNeverAGivenOne) {
  const TempDir dir;
  {
    const TemporaryFolder here(dir.path());
    StreamStore store({.ram_bytes = 0});
    EXPECT_TRUE(files_in(dir.path()).empty());  // made when needed
    store.put("a", samples());
    ASSERT_EQ(files_in(dir.path()).size(), 1u);
    expect_same(store.get("a", at::kCPU), samples());
  }
  EXPECT_TRUE(files_in(dir.path()).empty());
  {
    StreamStore store({.dir = dir / "given", .ram_bytes = 0});
    store.put("a", samples());
  }
  EXPECT_EQ(files_in(dir / "given"), std::vector<std::string>{"a.tensors"});
}

TEST(StreamStore, LeavesATrailForTheNextProcess) {
  const TempDir dir;
  {
    StreamStore store({.dir = dir.path(), .resumable = true});
    EXPECT_FALSE(store.last("hidden-").has_value());
    for (const char* name : {"hidden-2", "hidden-10", "hidden-9"}) store.put(name, samples());
    store.record("gradient-4", samples());
    EXPECT_EQ(store.last("hidden-"), 10);
    EXPECT_EQ(store.first("hidden-"), 2);
  }
  // Not of the trail: unfinished, foreign, or not a number.
  for (const char* name : {"hidden-99.tensors.partial", "hidden-1x.tensors", "hidden-.tensors",
                           "hidden-77", "other-88.tensors"}) {
    write_file(dir / name, "x");
  }
  StreamStore next({.dir = dir.path(), .resumable = true});
  EXPECT_EQ(next.last("hidden-"), 10);
  EXPECT_EQ(next.first("hidden-"), 2);
  EXPECT_EQ(next.first("gradient-"), 4);
  expect_same(next.get("hidden-9", at::kCPU), samples());
  next.drop("hidden-10");
  EXPECT_EQ(next.last("hidden-"), 9);
}

TEST(StreamStore, RecordsNothingUnlessResumable) {
  const TempDir dir;
  StreamStore store({.dir = dir.path()});
  store.record("gradient-1", samples());
  EXPECT_FALSE(store.has("gradient-1"));
  store.put("hidden-1", samples());
  EXPECT_FALSE(store.last("hidden-").has_value());
}

using Gradients = std::map<std::pair<int, Role>, at::Tensor>;

// Keeps every gradient, as a scorer keeps its scores: what came after the last finished layer is
// lost with the process. Stops after a layer is done, if told to.
class Keeper : public GradientCollector {
 public:
  Keeper(Gradients& gradients, bool all, std::optional<int> stop_after)
      : GradientCollector(
            Needs{.statistics = {&stats::gradient}},
            [all](int layer, Role) { return all || layer >= 0; },
            [this](const LinearSite& site, const WeightStats& stats) {
              seen.insert(site.layer);
              at::Tensor& sum = gradients_[{site.layer, site.role}];
              const at::Tensor gradient = gradient_of(stats.of(stats::gradient));
              // The head and the embedding come in parts.
              sum = sum.defined() ? at::cat({sum, gradient}) : gradient.clone();
            }),
        gradients_(gradients),
        stop_after_(stop_after) {}

  void on_layer_done(int layer) override {
    if (layer == stop_after_) throw Stop();
  }
  void on_resume(int layer) override { resumed = layer; }

  std::set<int> seen;
  std::optional<int> resumed;

 private:
  Gradients& gradients_;
  std::optional<int> stop_after_;
};

void expect_same(const Gradients& a, const Gradients& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (const auto& [site, gradient] : b) {
    ASSERT_TRUE(a.contains(site)) << what;
    EXPECT_TRUE(at::equal(a.at(site), gradient)) << what << ", layer " << site.first;
  }
}

constexpr int kLayers = 3;

// A model and calibration text, and runs over them with one folder or none.
struct Job {
  bool tied = false;
  LayerRange range{0, kLayers};
  int64_t ram_bytes = int64_t{1} << 40;
  Model whole = tiny_model({.kv_heads = 2, .layers = kLayers, .tied = tied});
  std::shared_ptr<StoppingSource> source = std::make_shared<StoppingSource>(whole.shared_source());
  Model model{whole.config(), source};
  std::vector<TokenBatch> batches{{random_ids(whole, 2, 7)}, {random_ids(whole, 1, 7, 9)}};

  // False if it was stopped.
  bool run(const std::string& dir, Keeper& keeper) {
    source->layers.clear();
    StreamStore store({.dir = dir, .ram_bytes = ram_bytes, .resumable = true});
    try {
      loss = BlockStream(model, at::kCPU).backward(batches, range, keeper, store);
      return true;
    } catch (const Stop&) {
      return false;
    }
  }
  double loss = 0;

  Gradients uninterrupted() {
    const TempDir dir;
    Gradients gradients;
    Keeper keeper(gradients, range.begin == 0, std::nullopt);
    EXPECT_TRUE(run(dir.path(), keeper));
    return gradients;
  }

  // What is left of an interrupted run's gradients: those of layers that it finished.
  static Gradients finished(Gradients gradients, std::optional<int> resumed) {
    std::erase_if(gradients, [&](const auto& one) {
      const auto [layer, role] = one.first;
      if (!resumed) return true;
      return layer < 0 ? role == Role::EmbedTokens : layer < *resumed;
    });
    return gradients;
  }
};

TEST(BlockStreamResume, GoesOnAfterEveryLayerOfTheBackwardPassAndRepeatsNone) {
  for (const bool tied : {false, true}) {
    for (const LayerRange range : {LayerRange{0, kLayers}, LayerRange{1, kLayers}}) {
      Job job{.tied = tied, .range = range};
      const Gradients expected = job.uninterrupted();
      const double loss = job.loss;
      // The head counts as layer kLayers. Stopped in on_layer_done(k), before k is recorded.
      for (int stop = kLayers; stop >= range.begin; --stop) {
        const TempDir dir;
        Gradients gradients;
        Keeper stopped(gradients, range.begin == 0, stop);
        EXPECT_FALSE(job.run(dir.path(), stopped));
        Keeper second(gradients, range.begin == 0, std::nullopt);
        const std::optional<int> resumed =
            stop == kLayers ? std::nullopt : std::optional<int>(stop + 1);
        gradients = Job::finished(std::move(gradients), resumed);
        job.loss = 0;
        EXPECT_TRUE(job.run(dir.path(), second));
        EXPECT_EQ(second.resumed, resumed);
        expect_same(gradients, expected, "stopped after layer " + std::to_string(stop));
        EXPECT_EQ(job.loss, loss);
        for (const int layer : second.seen) {
          EXPECT_TRUE(!resumed || layer < *resumed) << "layer " << layer << " was done again";
        }
        // No forward pass either: of the layers, only those that are left are read, once.
        std::map<int, int> reads;
        for (const int layer : job.source->layers) ++reads[layer];
        for (int layer = 0; resumed && layer < kLayers; ++layer) {
          const bool left = layer < *resumed && range.contains(layer);
          EXPECT_EQ(reads[layer], left ? 9 : 0) << "layer " << layer;  // seven matrices, two norms
        }
      }
    }
  }
}

// A read stops the run wherever it is: in the forward pass, the head, a layer, the embedding.
TEST(BlockStreamResume, GoesOnAfterAnyReadAndIsTheSameBitForBit) {
  const std::pair<bool, LayerRange> kinds[] = {
      {false, {0, kLayers}}, {true, {0, kLayers}}, {false, {1, 2}}};
  for (const auto& [tied, range] : kinds) {
    Job job{.tied = tied, .range = range};
    const Gradients expected = job.uninterrupted();
    const auto reads = static_cast<int64_t>(job.source->layers.size());
    ASSERT_GT(reads, 9 * kLayers);
    for (int64_t stop = 0; stop < reads; ++stop) {
      const TempDir dir;
      Gradients gradients;
      Keeper stopped(gradients, range.begin == 0, std::nullopt);
      job.source->reads_left = stop;
      ASSERT_FALSE(job.run(dir.path(), stopped)) << stop;
      job.source->reads_left = int64_t{1} << 40;
      const int64_t before = static_cast<int64_t>(job.source->layers.size());
      EXPECT_EQ(before, stop);
      const auto next_gradient =
          StreamStore({.dir = dir.path(), .resumable = true}).first("gradient-");
      const std::optional<int> resumed =
          next_gradient ? std::optional<int>(static_cast<int>(*next_gradient)) : std::nullopt;
      gradients = Job::finished(std::move(gradients), resumed);
      Keeper second(gradients, range.begin == 0, std::nullopt);
      ASSERT_TRUE(job.run(dir.path(), second)) << stop;
      EXPECT_EQ(second.resumed, resumed);
      expect_same(gradients, expected, "stopped at read " + std::to_string(stop));
      // At most one layer, or the head, is begun again.
      EXPECT_LE(static_cast<int64_t>(job.source->layers.size()) + stop, reads + 9 + 4);
    }
  }
}

TEST(BlockStreamResume, GoesOnAfterTwoStopsAndOfARunThatIsDone) {
  Job job{.ram_bytes = 0};  // everything spilled besides
  const Gradients expected = job.uninterrupted();
  const TempDir dir;
  Gradients gradients;
  Keeper first(gradients, true, 2);
  EXPECT_FALSE(job.run(dir.path(), first));
  gradients = Job::finished(std::move(gradients), 3);
  Keeper second(gradients, true, 1);
  EXPECT_FALSE(job.run(dir.path(), second));
  gradients = Job::finished(std::move(gradients), 2);
  Keeper third(gradients, true, std::nullopt);
  EXPECT_TRUE(job.run(dir.path(), third));
  expect_same(gradients, expected, "after two stops");
  // Everything but the embedding, which leaves no trail of its own, is there already.
  gradients = Job::finished(std::move(gradients), 0);
  Keeper fourth(gradients, true, std::nullopt);
  EXPECT_TRUE(job.run(dir.path(), fourth));
  EXPECT_EQ(fourth.resumed, 0);
  EXPECT_EQ(fourth.seen, std::set<int>{-1});
  expect_same(gradients, expected, "of a run that is done");
}

TEST(BlockStreamResume, SaysWhichFileIsDamaged) {
  Job job;
  const TempDir dir;
  Gradients gradients;
  Keeper first(gradients, true, 1);
  EXPECT_FALSE(job.run(dir.path(), first));
  const std::string file = dir / "gradient-2.tensors";
  write_file(file, read_file(file).substr(0, 100));
  Keeper second(gradients, true, std::nullopt);
  expect_error(ErrorKind::Corrupt, "gradient-2.tensors", [&] { job.run(dir.path(), second); });
}

}  // namespace
}  // namespace prunus::test::stream_store_test
