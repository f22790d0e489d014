// What training must do for every family, on the tiny models of tests/model/golden: nothing here
// knows one.
#include <cmath>
#include <filesystem>
#include <numeric>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "prunus/adapter/merge.h"
#include "prunus/graph/groups.h"
#include "prunus/job/output.h"
#include "prunus/model/lm_head.h"
#include "prunus/recover/pretrain.h"
#include "prunus/recover/recover.h"
#include "prunus/train/mean_nll.h"

#include "solve/sub_block_fixture.h"
#include "support/golden_models.h"
#include "support/paths.h"

namespace prunus::test::train_family_test {
namespace {

constexpr double kDeviation = 0.02;  // of weights that are to be trained from the start

std::vector<TrainRow> random_rows(const Model& model, int64_t count, int64_t length) {
  const at::Tensor ids = random_ids(model, count, length, 5);
  std::vector<TrainRow> rows;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* row = ids[i].const_data_ptr<int64_t>();
    rows.push_back({.ids = {row, row + length},
                    .scored = std::vector<uint8_t>(static_cast<size_t>(length), 1)});
    rows.back().scored.front() = 0;
  }
  return rows;
}

TrainBatch batch_of(const std::vector<TrainRow>& rows) {
  std::vector<int64_t> numbers(rows.size());
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  return make_train_batches(rows, numbers, static_cast<int64_t>(rows.size())).at(0);
}

// Every third channel of the feed-forward parts and every second group of heads are gone.
Model pruned_from(const Model& dense) {
  std::vector<Keep> keeps;
  for (const GroupSet& set : find_groups(dense)) {
    const bool ffn = set.label == AxisLabel::Ffn || set.label == AxisLabel::SharedFfn;
    if (!ffn && set.label != AxisLabel::KvGroup) continue;
    const int64_t every = ffn ? 3 : 2;
    std::vector<int64_t> kept;
    for (int64_t unit = 0; unit < set.units; ++unit) {
      if (unit % set.units_per_share() % every != 1) kept.push_back(unit);
    }
    if (static_cast<int64_t>(kept.size()) < set.units)
      keeps.push_back({set.label, set.layer, kept});
  }
  return shrink(dense, keeps);
}

// Writes the model, opens it again and compares; its mean loss on the rows.
double written_loss(const Model& model, const std::string& source_dir,
                    const std::vector<TrainRow>& rows) {
  const TempDir scratch;
  write_model(model, source_dir, scratch.path());
  const at::Tensor ids = random_ids(model, 2, 12);
  // Written in the file's dtype by both; what is read again is the same to the bit.
  EXPECT_EQ(check_output(model, scratch.path(), ids, at::kCPU).max_abs_diff, 0);
  return mean_nll(open_model(scratch.path()), rows, at::kCPU);
}

class TrainFamily : public testing::TestWithParam<std::string> {
 protected:
  const std::string dir_ = golden_dir(GetParam());
  const Model model_ = open_model(dir_);
  const std::vector<TrainRow> rows_ = random_rows(model_, 4, 12);

  // A few updates on all of the rows, which the loss of these rows must feel.
  void expect_training_helps(const Model& start) {
    TrainModel trained(start, at::kCPU, {});
    DataSplit data;
    data.train = rows_;
    TrainerOptions options;
    options.max_steps = 2;
    options.batch_rows = static_cast<int64_t>(rows_.size());
    options.micro_rows = 3;
    options.schedule = {.kind = ScheduleKind::Constant, .lr = 1e-3, .total_steps = 2};
    Trainer(trained, data, nullptr, options).run();
    const double before = mean_nll(start, rows_, at::kCPU);
    EXPECT_LT(written_loss(trained.result(), dir_, rows_), before - 1e-3);
  }
};

class ExactSource : public MemorySource {
 public:
  explicit ExactSource(const Model& model) {
    tensors = copy_weights(model)->tensors;
    for (auto& [name, value] : tensors) value = value.to(at::kDouble);
  }
  at::ScalarType dtype(const TensorInfo&) const override { return at::kDouble; }
};

// The loss of the model in FP64, streamed, by the code that evaluates: nothing of training is in
// it.
double exact_loss(const ModelConfig& config, const std::shared_ptr<ExactSource>& weights,
                  const std::vector<TrainRow>& rows) {
  Model model(config, weights);
  model.set_precision(at::kDouble);
  return mean_nll(model, rows, at::kCPU);
}

// Central differences in FP64 along one random direction of each weight.
TEST_P(TrainFamily, EveryWeightHasTheGradientOfTheLoss) {
  TrainModel trained(model_, at::kCPU, {});
  const TrainBatch batch = batch_of(rows_);
  const double scale = 1 / static_cast<double>(batch.targets);
  const LossSums sums = trained.run(batch, {.weights = {}, .seams = {}, .scale = scale});
  const auto weights = std::make_shared<ExactSource>(model_);
  EXPECT_NEAR(sums.ce * scale, exact_loss(model_.config(), weights, rows_), 1e-5);
  std::set<std::string> names;
  at::manual_seed(7);
  for (const Parameter& parameter : trained.parameters()) {
    names.insert(parameter.name);
    ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
    const at::Tensor grad = parameter.value.grad().to(at::kDouble);
    const at::Tensor direction = at::randn(grad.sizes(), at::kDouble);
    const at::Tensor at_rest = weights->tensors.at(parameter.name);
    constexpr double kStep = 1e-6;
    weights->tensors[parameter.name] = at_rest + kStep * direction;
    const double above = exact_loss(model_.config(), weights, rows_);
    weights->tensors[parameter.name] = at_rest - kStep * direction;
    const double below = exact_loss(model_.config(), weights, rows_);
    weights->tensors[parameter.name] = at_rest;
    const double slope = (above - below) / (2 * kStep);
    // A key's bias moves all scores of a query alike: its gradient is rounding.
    const double size = grad.norm().item<double>();
    EXPECT_NEAR((grad * direction).sum().item<double>(), slope, 3e-7 + 1e-4 * size)
        << parameter.name;
  }
  for (const TensorInfo& tensor : model_.tensors()) {
    EXPECT_TRUE(names.contains(tensor.name)) << tensor.name << " is not trained";
  }
}

TEST_P(TrainFamily, RecomputedLayersGiveTheSameGradients) {
  const TrainBatch batch = batch_of(rows_);
  TrainModel kept(model_, at::kCPU, {});
  TrainModel again(model_, at::kCPU, {.checkpoint_blocks = true});
  for (TrainModel* one : {&kept, &again}) {
    one->run(batch, {.weights = {}, .seams = {}, .scale = 1});
  }
  for (size_t i = 0; i < kept.parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(kept.parameters()[i].value.grad(), again.parameters()[i].value.grad()))
        << kept.parameters()[i].name;
  }
}

TEST_P(TrainFamily, FullTrainingOfAPrunedModelHelpsAndIsWritten) {
  expect_training_helps(pruned_from(model_));
}

TEST_P(TrainFamily, ATeacherOfTheFamilyIsLearntFrom) {
  const Model pruned = pruned_from(model_);
  const Teacher teacher(model_, at::kCPU, false);
  const TrainBatch batch = batch_of(rows_);
  const auto states = teacher.run({batch});
  const LossWeights weights{.ce = 0, .kl = 1};
  const TrainModel::Pass pass{
      .weights = weights, .teacher = &teacher, .states = &states[0], .seams = {}, .scale = 0};
  // Σ p·(log p − log q) over the scored places, by the logits that evaluation computes.
  const at::Tensor p = logits_of(model_, batch.ids).narrow(1, 0, 11).log_softmax(-1);
  const at::Tensor q = logits_of(pruned, batch.ids).narrow(1, 0, 11).log_softmax(-1);
  const double want = (p.exp() * (p - q)).sum(at::kDouble).item<double>();
  TrainModel student(pruned, at::kCPU, {});
  EXPECT_GT(want, 1e-3);
  EXPECT_NEAR(student.run(batch, pass).kl, want, 1e-3 * want);
  TrainModel itself(model_, at::kCPU, {});
  EXPECT_LT(std::abs(itself.run(batch, pass).kl), 1e-4);
}

TEST_P(TrainFamily, AModelFromTheStartKnowsNothingAndLearns) {
  const auto source = std::make_shared<InitialSource>(model_.config(), kDeviation, 1, at::kFloat);
  const Model start(model_.config(), source);
  const double nothing = std::log(static_cast<double>(model_.config().vocab_size));
  // Logits of a normalised state and small rows are small; only a head of rows as long as one is
  // not.
  if (!model_.config().family->normalised_head) {
    EXPECT_NEAR(mean_nll(start, rows_, at::kCPU), nothing, 0.1);
  }
  for (const TensorInfo& tensor : start.tensors()) {
    if (tensor.spec->rank != 1) continue;
    const bool bias = tensor.stored.file_tensor.ends_with("bias");
    const bool plus_one = model_.config().family->norm == NormKind::RmsPlusOne;
    const double want = bias || plus_one ? 0 : 1;
    EXPECT_TRUE(start.source().read(tensor).eq(want).all().item<bool>()) << tensor.name;
  }
  expect_training_helps(start);
}

TEST_P(TrainFamily, SubBlocksOfAPrunedModelAreRepairedAndWritten) {
  const Model pruned = pruned_from(model_);
  std::vector<TokenBatch> rows;
  for (const TrainRow& row : rows_) rows.push_back({at::tensor(row.ids, at::kLong).unsqueeze(0)});
  const SubBlockOptions options{.epochs = 3, .batch_rows = 4, .lr = 1e-3, .valid_fraction = 0};
  const Outcome outcome = repair(pruned, model_, rows, options);
  int kept = 0;
  for (const SubBlockResult& one : outcome.results) {
    EXPECT_TRUE(std::isfinite(one.error_after)) << one.layer << " " << one.part;
    kept += one.kept;
  }
  EXPECT_GT(kept, 0);
  const Model repaired = repaired_model(pruned, outcome);
  EXPECT_NE(written_loss(repaired, dir_, rows_), mean_nll(pruned, rows_, at::kCPU));
}

// Errors of the feed-forward parts by hand. With β = 1 they are to give what makes the layer's
// output the dense model's, wherever they stand; with β = 0 the dense part's output on what they
// read.
void expect_errors_by_hand(const Model& model, double beta) {
  const Model pruned = pruned_from(model);
  const std::vector<TokenBatch> rows = {{random_ids(model, 3, 10)}};
  const Outcome outcome = repair(
      pruned, model, rows,
      {.epochs = 2, .batch_rows = 3, .lr = 1e-3, .residual_correction = beta, .valid_fraction = 0});
  const Model repaired = repaired_model(pruned, outcome);
  const Decoder dense(model.config());
  const Decoder decoder(repaired.config());
  at::Tensor x = embed(model, rows[0].ids, at::kCPU);
  at::Tensor mine = embed(repaired, rows[0].ids, at::kCPU);
  for (int layer = 0; layer < static_cast<int>(model.layer_count()); ++layer) {
    const BlockWeights weights = repaired.load_block(layer, at::kCPU);
    const BlockWeights wanted = model.load_block(layer, at::kCPU);
    const at::Tensor middle = mine + decoder.attention_part(layer, weights, mine);
    const at::Tensor read = model.config().parallel_residual ? mine : middle;
    x = dense.block(layer, wanted, x);
    mine = decoder.block(layer, weights, mine);
    const double want = beta == 1
                            ? relative_square(x - middle, mine - middle)
                            : relative_square(dense.feed_forward_part(layer, wanted, read),
                                              decoder.feed_forward_part(layer, weights, read));
    const SubBlockResult& ffn = outcome.results[static_cast<size_t>(2 * layer + 1)];
    EXPECT_NEAR(ffn.error_after, want, 1e-7 + 1e-3 * want) << layer << ", correction " << beta;
  }
}

TEST_P(TrainFamily, ErrorsOfSubBlocksAreThoseOfTheirPlaceInTheLayer) {
  expect_errors_by_hand(model_, 0);
  expect_errors_by_hand(model_, 1);
}

// What adapters train against: norm, projection and cap are evaluation's.
TEST_P(TrainFamily, AFrozenHeadGivesTheLossAndGradientOfEvaluation) {
  const TrainBatch batch = batch_of(rows_);
  const ScoredPlaces scored = scored_places(batch, at::kCPU);
  at::manual_seed(4);
  const at::Tensor hidden = at::randn({4, 12, model_.config().hidden_size});
  const LmHead head(model_, at::kCPU);
  const LmHead::Loss want = head.loss_and_gradient(
      hidden.flatten(0, 1).index_select(0, scored.places), scored.targets, 0.5);
  LossHead::Weights weights;
  if (model_.config().final_norm) {
    weights.norm = model_.load(model_.tensor(Role::FinalNorm), at::kCPU);
    const bool biased = model_.config().family->norm == NormKind::Layer;
    if (biased) weights.norm_bias = model_.load(model_.tensor(Role::FinalNormBias), at::kCPU);
  }
  const at::NoGradGuard no_grad;
  const LossHead frozen(model_, at::kCPU, at::kFloat, weights);
  at::Tensor grad;
  const LossSums sums = frozen.run(hidden, scored, {}, {}, 0.5, &grad);
  EXPECT_NEAR(sums.ce, want.nll_sum, 1e-4 * want.nll_sum);
  const at::Tensor got = grad.flatten(0, 1).index_select(0, scored.places);
  EXPECT_LT(relative_error(got, want.grad_hidden), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Families, TrainFamily, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace prunus::test::train_family_test
