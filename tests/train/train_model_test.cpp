#include "prunus/train/train_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace prunus::train_model_test {
namespace {

constexpr LossWeights kDistil{.ce = 0.4, .kl = 0.8, .temperature = 1.5};

TrainBatch batch_of(const Model& model) {
  TrainBatch batch;
  batch.ids = test::random_ids(model, 3, 9);
  at::manual_seed(11);
  batch.scored = at::rand({3, 9}) > 0.4;
  batch.scored.select(1, 0).fill_(false);
  batch.targets = batch.scored.sum().item<int64_t>();
  return batch;
}

// The same loss by one graph over the whole model, in the plainest way: weights are leaves, the
// adapter is added to them.
class Plain {
 public:
  Plain(const Model& model, const LoraAdapter* adapter) : model_(model) {
    for (const TensorInfo& info : model.tensors()) {
      leaves_[info.name] = model.source().read(info).clone().requires_grad_(adapter == nullptr);
      at::Tensor weight = leaves_[info.name];
      if (adapter != nullptr) {
        const auto found = adapter->pairs.find({info.layer, info.spec->role});
        if (found != adapter->pairs.end()) {
          const LoraPair& pair = found->second;
          at::Tensor a = pair.a.detach().clone().requires_grad_(true);
          at::Tensor b = pair.b.detach().clone().requires_grad_(true);
          leaves_[lora_tensor_name(info, 'A')] = a;
          leaves_[lora_tensor_name(info, 'B')] = b;
          weight = weight + pair.scale * at::mm(b, a);
        }
      }
      weights_[info.name] = weight;
    }
  }

  at::Tensor hidden(const TrainBatch& batch, std::vector<at::Tensor>* outputs = nullptr) {
    at::Tensor state = at::embedding(of(Role::EmbedTokens, -1), batch.ids);
    const Decoder decoder(model_.config());
    for (int layer = 0; layer < model_.layer_count(); ++layer) {
      BlockWeights block;
      for (const TensorInfo& info : model_.tensors()) {
        if (info.layer == layer) block[info.spec->role] = weights_.at(info.name);
      }
      state = decoder.block(layer, block, state);
      if (outputs != nullptr) outputs->push_back(state);
    }
    return state;
  }

  at::Tensor logits(const TrainBatch& batch) {
    const at::Tensor normed = Decoder(model_.config()).norm(hidden(batch), of(Role::FinalNorm, -1));
    const at::Tensor all = at::matmul(normed, of(Role::LmHead, -1).t());
    return all.narrow(1, 0, all.size(1) - 1)
        .masked_select(batch.scored.narrow(1, 1, all.size(1) - 1).unsqueeze(2))
        .view({-1, all.size(2)});
  }

  at::Tensor loss(const TrainBatch& batch, const LossWeights& weights, const at::Tensor& teacher) {
    const at::Tensor s = logits(batch);
    const at::Tensor targets =
        batch.ids.narrow(1, 1, 8).masked_select(batch.scored.narrow(1, 1, 8));
    at::Tensor value = -weights.ce * at::log_softmax(s, 1).gather(1, targets.unsqueeze(1)).sum();
    if (teacher.defined()) {
      const double t = weights.temperature;
      const at::Tensor log_p = at::log_softmax(teacher / t, 1);
      const at::Tensor log_q = at::log_softmax(s / t, 1);
      value = value + weights.kl * t * t * (log_p.exp() * (log_p - log_q)).sum();
    }
    return value;
  }

  const at::Tensor& of(Role role, int layer) const {
    return weights_.at(model_.tensor(role, layer).name);
  }
  std::map<std::string, at::Tensor> leaves_;

 private:
  const Model& model_;
  std::map<std::string, at::Tensor> weights_;
};

LoraAdapter random_adapter(const Model& model) {
  LoraAdapter adapter = LoraAdapter::make(model, {.r = 3, .alpha = 6}, 4, at::kCPU);
  at::manual_seed(2);
  for (auto& [place, pair] : adapter.pairs) pair.b.normal_(0, 0.1);
  return adapter;
}

void expect_gradients(TrainModel& model, Plain& plain, double scale) {
  ASSERT_FALSE(model.parameters().empty());
  for (const Parameter& parameter : model.parameters()) {
    const at::Tensor want = plain.leaves_.at(parameter.name).grad() * scale;
    ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
    EXPECT_LT(test::relative_error(parameter.value.grad(), want), 2e-5) << parameter.name;
  }
}

// One pass of TrainModel against one graph of everything.
void compare(const test::TinySizes& sizes, bool full, bool checkpoint) {
  const Model model = test::tiny_model(sizes);
  const Model dense = test::tiny_model(sizes, 77);
  const TrainBatch batch = batch_of(model);
  const Teacher teacher(dense, at::kCPU, false);
  const auto states = teacher.run({batch});
  Plain of_teacher(dense, nullptr);
  const at::Tensor teacher_logits = of_teacher.logits(batch).detach();
  const TrainModelOptions options{.checkpoint_blocks = checkpoint};
  const TrainModel::Pass pass{
      .weights = kDistil, .teacher = &teacher, .states = &states[0], .seams = {}, .scale = 0.5};
  const LoraAdapter adapter = random_adapter(model);
  Plain plain(model, full ? nullptr : &adapter);
  const at::Tensor want = plain.loss(batch, kDistil, teacher_logits);
  want.backward();
  TrainModel trained = full ? TrainModel(model, at::kCPU, options)
                            : TrainModel(model, at::kCPU, options, random_adapter(model));
  const LossSums sums = trained.run(batch, pass);
  EXPECT_NEAR(sums.objective, want.item<double>(), 1e-5 * want.item<double>());
  EXPECT_EQ(sums.targets, batch.targets);
  expect_gradients(trained, plain, pass.scale);
}

TEST(TrainModel, AdaptersHaveTheGradientsOfOneWholeGraph) {
  compare({.kv_heads = 2}, false, false);
}

TEST(TrainModel, AllWeightsHaveTheGradientsOfOneWholeGraph) {
  compare({.kv_heads = 2}, true, false);
}

TEST(TrainModel, ATiedHeadAddsToTheEmbedding) { compare({.tied = true}, true, false); }

TEST(TrainModel, BiasesAndHeadNormsAreTrainedToo) {
  compare({.family = "qwen2"}, true, false);
  compare({.family = "qwen3"}, true, false);
}

TEST(TrainModel, RecomputedLayersGiveTheSameGradients) {
  compare({}, false, true);
  compare({}, true, true);
}

TEST(TrainModel, RecomputingChangesNoBitAlsoUnderDropout) {
  const Model model = test::tiny_model({});
  const TrainBatch batch = batch_of(model);
  std::vector<at::Tensor> first;
  for (const bool checkpoint : {false, true}) {
    LoraAdapter adapter = random_adapter(model);
    adapter.options.dropout = 0.3;
    TrainModel trained(model, at::kCPU, {.checkpoint_blocks = checkpoint}, std::move(adapter));
    trained.run(batch, {.weights = {}, .seams = {}, .scale = 1, .dropout_seed = 5});
    for (size_t i = 0; i < trained.parameters().size(); ++i) {
      const at::Tensor& grad = trained.parameters()[i].value.grad();
      if (!checkpoint) {
        first.push_back(grad);
      } else {
        EXPECT_TRUE(at::equal(grad, first[i])) << trained.parameters()[i].name;
      }
    }
  }
}

TEST(TrainModel, WithoutAScaleLeavesNoGradientAndDropsNothing) {
  const Model model = test::tiny_model({});
  const TrainBatch batch = batch_of(model);
  LoraAdapter adapter = random_adapter(model);
  adapter.options.dropout = 0.5;
  Plain plain(model, &adapter);
  TrainModel trained(model, at::kCPU, {}, std::move(adapter));
  const LossSums sums = trained.run(batch, {});
  EXPECT_NEAR(sums.ce, plain.loss(batch, {}, {}).item<double>(), 1e-4);
  for (const Parameter& one : trained.parameters()) EXPECT_FALSE(one.value.grad().defined());
}

TEST(TrainModel, SeamsPullTheHiddenStateTowardsTheTeachers) {
  const Model model = test::tiny_model({});
  const Model dense = test::tiny_model({.layers = 4}, 77);
  const TrainBatch batch = batch_of(model);
  const Teacher teacher(dense, at::kCPU, false, {2});
  const auto states = teacher.run({batch});
  const LossWeights weights{.ce = 1, .seam = 0.7};
  TrainModel trained(model, at::kCPU, {});
  const LossSums sums = trained.run(batch, {.weights = weights,
                                            .teacher = &teacher,
                                            .states = &states[0],
                                            .seams = {{0, 2}},
                                            .scale = 1});
  Plain plain(model, nullptr);
  std::vector<at::Tensor> outputs;
  plain.hidden(batch, &outputs);
  // Tokens up to a row's last scored one count.
  at::Tensor counts = at::zeros({3, 9, 1});
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t last = batch.scored[row].nonzero().max().item<int64_t>();
    counts[row].narrow(0, 0, last + 1).fill_(1);
  }
  const at::Tensor& meant = states[0].seams[0];
  const at::Tensor energy = (meant.square() * counts).sum() / counts.sum();
  const at::Tensor seam = ((outputs[0] - meant) * counts).square().sum() / energy;
  const at::Tensor want = plain.loss(batch, {}, {}) + 0.7 * seam;
  want.backward();
  EXPECT_NEAR(sums.seam, seam.item<double>(), 1e-4 * seam.item<double>());
  EXPECT_NEAR(sums.objective, want.item<double>(), 1e-5 * want.item<double>());
  expect_gradients(trained, plain, 1);
}

TEST(TrainModel, FullTrainingKeepsTheZerosOfASparseWeight) {
  const Model model = test::tiny_model({});
  auto weights = test::copy_weights(model);
  const TensorInfo& info = model.tensor(Role::UpProj, 1);
  weights->tensors[info.name].masked_fill_(at::rand(info.shape) > 0.5, 0.0);
  const Model sparse(model.config(), weights);
  TrainModel trained(sparse, at::kCPU, {});
  EXPECT_EQ(trained.sparse_weights(), 1);
  trained.run(batch_of(sparse), {.weights = {}, .seams = {}, .scale = 1});
  trained.mask_gradients();
  const at::Tensor zero = weights->tensors[info.name] == 0;
  for (const Parameter& one : trained.parameters()) {
    if (one.name != info.name) continue;
    EXPECT_EQ(one.value.grad().masked_select(zero).abs().max().item<float>(), 0);
    EXPECT_GT(one.value.grad().abs().max().item<float>(), 0);
  }
}

TEST(TrainModel, AdaptersOfASparseWeightMergeToWhatWasTrained) {
  const Model model = test::tiny_model({});
  auto weights = test::copy_weights(model);
  for (const Role role : {Role::UpProj, Role::QProj}) {
    const TensorInfo& info = model.tensor(role, 0);
    at::manual_seed(3);
    weights->tensors[info.name].masked_fill_(at::rand(info.shape) > 0.5, 0.0);
  }
  const Model sparse(model.config(), weights);
  TrainModel trained(sparse, at::kCPU, {}, random_adapter(sparse));
  const TrainBatch batch = batch_of(sparse);
  const Model merged = trained.result();
  const at::Tensor up = merged.source().read(merged.tensor(Role::UpProj, 0));
  const at::Tensor before = weights->tensors[model.tensor(Role::UpProj, 0).name];
  EXPECT_TRUE(at::equal(up == 0, before == 0));
  EXPECT_FALSE(at::equal(up, before));
  TrainModel again(merged, at::kCPU, {});
  EXPECT_NEAR(trained.run(batch, {}).ce, again.run(batch, {}).ce, 1e-4);
}

TEST(TrainModel, MergedLogitsAreTheAdaptersWithin1e5) {
  const Model model = test::tiny_model({.kv_heads = 2});
  TrainModel trained(model, at::kCPU, {}, random_adapter(model));
  Plain plain(model, &*trained.adapter());
  const TrainBatch batch = batch_of(model);
  const at::Tensor merged = test::logits_of(trained.result(), batch.ids);
  const at::Tensor scored = merged.narrow(1, 0, 8)
                                .masked_select(batch.scored.narrow(1, 1, 8).unsqueeze(2))
                                .view({-1, merged.size(2)});
  EXPECT_LT(test::relative_error(scored, plain.logits(batch).detach()), 1e-5);
}

TEST(TrainModel, BFloat16ProductsComeCloseToFp32) {
  const Model model = test::tiny_model({.hidden = 32, .ffn = 48});
  const TrainBatch batch = batch_of(model);
  TrainModel exact(model, at::kCPU, {}, random_adapter(model));
  TrainModel rough(model, at::kCPU, {.compute = at::kBFloat16}, random_adapter(model));
  const TrainModel::Pass pass{.weights = {}, .seams = {}, .scale = 1};
  const double want = exact.run(batch, pass).ce;
  EXPECT_NEAR(rough.run(batch, pass).ce, want, 0.02 * want);
  for (size_t i = 0; i < exact.parameters().size(); ++i) {
    EXPECT_LT(test::relative_error(rough.parameters()[i].value.grad(),
                                   exact.parameters()[i].value.grad()),
              0.2)
        << exact.parameters()[i].name;
    EXPECT_EQ(rough.parameters()[i].value.grad().scalar_type(), at::kFloat);
  }
}

TEST(TrainModel, Int8BaseGivesNearlyTheSameLoss) {
  const Model model = test::tiny_model({.hidden = 32, .ffn = 48});
  const TrainBatch batch = batch_of(model);
  TrainModel exact(model, at::kCPU, {}, random_adapter(model));
  TrainModel rough(model, at::kCPU, {.int8_base = true}, random_adapter(model));
  const double want = exact.run(batch, {}).ce;
  const double got = rough.run(batch, {}).ce;
  EXPECT_NE(got, want);
  EXPECT_NEAR(got, want, 0.02 * want);
}

// Weights that INT8 rounds to zero are as free as the others: merging goes by the file.
TEST(TrainModel, AnInt8BaseIsTrainedWithTheMaskThatMergingUses) {
  const Model model = test::tiny_model({.hidden = 32, .ffn = 48});
  auto weights = test::copy_weights(model);
  at::Tensor up = weights->tensors[model.tensor(Role::UpProj, 0).name];
  at::manual_seed(3);
  const at::Tensor drawn = at::rand(up.sizes());
  up.masked_fill_(drawn < 0.3, 0.0).masked_fill_(drawn > 0.5, 1e-5);
  const Model sparse(model.config(), weights);
  const TrainBatch batch = batch_of(sparse);
  LoraAdapter adapter = random_adapter(sparse);
  adapter.pairs.at({0, Role::UpProj}).b.mul_(10);
  TrainModel trained(sparse, at::kCPU, {.int8_base = true}, std::move(adapter));
  ASSERT_EQ(trained.sparse_weights(), 1);
  const Model result = trained.result();
  TrainModel merged(result, at::kCPU, {});
  const double want = merged.run(batch, {}).ce;
  EXPECT_NEAR(trained.run(batch, {}).ce, want, 0.01 * want);
}

TEST(TrainModel, NamesTheLayerWhereNumbersEnd) {
  const Model model = test::tiny_model({});
  auto weights = test::copy_weights(model);
  weights->tensors[model.tensor(Role::DownProj, 1).name].fill_(1e38);
  const Model broken(model.config(), weights);
  TrainModel trained(broken, at::kCPU, {}, random_adapter(broken));
  EXPECT_EQ(trained.first_bad_place(batch_of(broken)), "layer 1");
}

}  // namespace
}  // namespace prunus::train_model_test
