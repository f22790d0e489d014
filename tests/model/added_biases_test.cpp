#include "prunus/model/added_biases.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/graph/shrink.h"
#include "prunus/io/hf_directory.h"
#include "prunus/model/decoder.h"
#include "prunus/model/layout.h"
#include "prunus/model/lm_head.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::added_biases_test {
namespace {

using Biases = std::map<BiasPlace, at::Tensor>;
using Roles = std::set<Role>;

constexpr Role kProjections[] = {Role::QProj,    Role::KProj,  Role::VProj,   Role::OProj,
                                 Role::GateProj, Role::UpProj, Role::DownProj};

// Places outside of experts whose weights the model has.
std::vector<BiasPlace> places(const Model& model, const Roles& projections) {
  std::vector<BiasPlace> found;
  for (const TensorInfo& tensor : model.tensors()) {
    const bool asked = projections.contains(tensor.spec->role) && tensor.stored.experts == 0;
    if (asked) found.push_back({tensor.layer, tensor.spec->role});
  }
  return found;
}

Biases random_biases(const Model& model, const Roles& projections) {
  at::Generator generator = at::detail::createCPUGenerator(11);
  Biases biases;
  for (const BiasPlace& place : places(model, projections)) {
    const int64_t rows = model.tensor(place.projection, place.layer).shape[0];
    biases[place] = 0.5 * at::randn({rows}, generator, at::kFloat);
  }
  return biases;
}

// Adds the biases of one layer behind its products.
class AddingHook : public LinearHook {
 public:
  AddingHook(const Biases& biases, int layer) : biases_(biases), layer_(layer) {}
  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) override {
    at::Tensor out = at::matmul(input, weight.t());
    if (bias.defined()) out = out + bias;
    const auto added = biases_.find({layer_, role});
    return added == biases_.end() ? out : out + added->second;
  }

 private:
  const Biases& biases_;
  int layer_;
};

// Logits of the model with these added where they belong, computed product by product.
at::Tensor logits_with(const Model& model, const Biases& biases, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const Decoder decoder(model.config());
  at::Tensor hidden = embed(model, ids, at::kCPU);
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    AddingHook hook(biases, layer);
    hidden = decoder.block(layer, model.load_block(layer, at::kCPU), hidden, &hook);
  }
  return LmHead(model, at::kCPU).logits(hidden.flatten(0, 1)).view({ids.size(0), ids.size(1), -1});
}

class AddedBiases : public testing::TestWithParam<std::string> {
 protected:
  const Model model_ = open_model(golden_dir(GetParam()));
  const at::Tensor ids_ = random_ids(model_, 2, 12);
};

TEST_P(AddedBiases, AreAddedBehindTheirProducts) {
  const Roles choices[] = {{Role::OProj},
                           {Role::OProj, Role::DownProj},
                           {std::begin(kProjections), std::end(kProjections)}};
  for (const Roles& projections : choices) {
    const Biases biases = random_biases(model_, projections);
    const at::Tensor wanted = logits_with(model_, biases, ids_);
    EXPECT_GT(relative_error(logits_of(model_, ids_), wanted), 1e-3);
    EXPECT_LT(relative_error(logits_of(with_biases(model_, biases), ids_), wanted), 1e-5);
  }
}

TEST_P(AddedBiases, OfZerosChangeNothing) {
  const Model room = with_zero_biases(model_, {Role::OProj, Role::VProj});
  EXPECT_LT(relative_error(logits_of(room, ids_), logits_of(model_, ids_)), 1e-6);
  for (const TensorInfo& tensor : room.tensors()) EXPECT_TRUE(room.source().has(tensor));
}

TEST_P(AddedBiases, ASecondTimeAreSummedUp) {
  const Biases once = random_biases(model_, {Role::OProj});
  Biases twice = once;
  for (auto& [place, bias] : twice) bias = 2 * bias;
  const Model summed = with_biases(with_biases(model_, once), once);
  EXPECT_LT(relative_error(logits_of(summed, ids_), logits_of(with_biases(model_, twice), ids_)),
            1e-5);
  EXPECT_EQ(summed.parameters(), with_biases(model_, twice).parameters());
}

// Every second unit of the sets with this label.
std::vector<Keep> halves(const Model& model, AxisLabel label) {
  std::vector<Keep> keeps;
  for (const GroupSet& set : find_groups(model)) {
    if (set.label != label || set.units_per_share() < 2) continue;
    Keep keep{set.label, set.layer, {}};
    for (int64_t unit = 0; unit < set.units; ++unit) {
      if (unit % set.units_per_share() % 2 == 1) keep.units.push_back(unit);
    }
    keeps.push_back(keep);
  }
  return keeps;
}

// Biases that hold a column of their weights lose the rows that these lose.
TEST_P(AddedBiases, AreCutWithTheRowsOfTheirWeights) {
  const Roles all(std::begin(kProjections), std::end(kProjections));
  auto weights = copy_weights(model_);
  for (const TensorInfo& tensor : model_.tensors()) {
    if (projection_of(tensor.spec->role)) weights->tensors.at(tensor.name).zero_();
  }
  const Model plain(model_.config(), weights);
  Biases columns;
  for (const BiasPlace& place : places(plain, all)) {
    columns[place] = plain.source().read(plain.tensor(place.projection, place.layer)).select(1, 0);
  }
  const Model biased = with_biases(plain, columns);
  const auto expect_rows = [&](AxisLabel label, const Roles& cut) {
    const Model left = shrink(biased, halves(biased, label));
    EXPECT_EQ(left.source().read(left.tensor(Role::OBias, 0)).size(0), left.config().hidden_size);
    for (const BiasPlace& place : places(left, cut)) {
      const TensorInfo& bias = left.tensor(*bias_of(place.projection), place.layer);
      const at::Tensor column =
          left.source().read(left.tensor(place.projection, place.layer)).select(1, 0);
      EXPECT_TRUE(at::equal(left.source().read(bias), column)) << bias.name;
    }
  };
  expect_rows(AxisLabel::KvGroup, {Role::QProj, Role::KProj, Role::VProj});
  expect_rows(AxisLabel::QueryHead, {Role::QProj, Role::KProj, Role::VProj});
  expect_rows(AxisLabel::Ffn, {Role::GateProj, Role::UpProj});
  expect_rows(AxisLabel::Hidden, {Role::OProj, Role::DownProj});
}

TEST_P(AddedBiases, GoWithTheirLayers) {
  const Biases biases = random_biases(model_, {Role::OProj});
  const Model biased = with_biases(model_, biases);
  const Model last = shrink(biased, {{AxisLabel::Layer, -1, {model_.layer_count() - 1}}});
  const TensorInfo& whole = biased.tensor(Role::OBias, static_cast<int>(model_.layer_count()) - 1);
  EXPECT_TRUE(
      at::equal(last.source().read(last.tensor(Role::OBias, 0)), biased.source().read(whole)));
}

INSTANTIATE_TEST_SUITE_P(Families, AddedBiases, testing::ValuesIn(golden_names()),
                         [](const auto& one) { return one.param; });

// config.json of the golden model with these biases.
Json written(const std::string& golden, const Roles& projections) {
  const std::string dir = golden_dir(golden);
  return rewrite_config(read_config(dir), with_zero_biases(open_model(dir), projections).config());
}

const Roles kCompensated = {Role::OProj, Role::DownProj};

// The same of the golden model as it is.
Json rewritten(const std::string& golden) {
  const std::string dir = golden_dir(golden);
  return rewrite_config(read_config(dir), open_model(dir).config());
}

TEST(AddedBiasesInConfig, AreStockWhereTheFamilysKeysSwitchThem) {
  Json llama = rewritten("llama_gqa");
  llama["attention_bias"] = true;
  EXPECT_EQ(written("llama_gqa", {Role::OProj}), llama);
  llama["mlp_bias"] = true;
  EXPECT_EQ(written("llama_gqa", kCompensated), llama);
  for (const char* golden : {"gemma", "gemma2", "gemma3_text", "olmo2", "qwen3", "qwen3_moe"}) {
    const Json json = written(golden, {Role::OProj});
    EXPECT_EQ(json.at("model_type"), read_config(golden_dir(golden)).at("model_type")) << golden;
    EXPECT_EQ(json.at("attention_bias"), true) << golden;
  }
  for (const char* golden : {"gpt2", "bloom", "opt", "gpt_neox", "llama_bias"}) {
    EXPECT_EQ(written(golden, kCompensated), rewritten(golden)) << golden;
  }
}

TEST(AddedBiasesInConfig, AreOurOwnWhereNoKeySwitchesThem) {
  for (const auto& [golden, own] : {std::pair{"mistral_sliding", "prunus_mistral"},
                                    {"phi3", "prunus_phi3"},
                                    {"qwen3", "prunus_qwen3"},
                                    {"gemma2", "prunus_gemma2"},
                                    {"baichuan_7b", "prunus_baichuan"}}) {
    const Json json = written(golden, kCompensated);
    EXPECT_EQ(json.at("model_type"), own);
    EXPECT_EQ(json.at("prunus_biases"), Json({"o_proj", "down_proj"})) << golden;
    EXPECT_EQ(parse_config(json, "c").biases, (Roles{Role::OBias, Role::DownBias})) << golden;
  }
  EXPECT_EQ(written("qwen2", {Role::OProj}).at("prunus_biases"),
            Json({"q_proj", "k_proj", "v_proj", "o_proj"}));
}

TEST(AddedBiasesInConfig, BringTheirCompanyAlong) {
  const auto names = [](const char* golden, Role projection) {
    const Model model = with_zero_biases(open_model(golden_dir(golden)), {projection});
    std::vector<std::string> found;
    for (const Role bias : model.config().biases) found.push_back(role_name(bias));
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("llama_gqa", Role::OProj), (Names{"q_bias", "k_bias", "v_bias", "o_bias"}));
  EXPECT_EQ(names("llama_gqa", Role::DownProj), (Names{"gate_bias", "up_bias", "down_bias"}));
  EXPECT_EQ(names("mistral_sliding", Role::DownProj), (Names{"down_bias"}));
  EXPECT_EQ(names("phi3", Role::UpProj), (Names{"gate_bias", "up_bias"}));  // gate_up_proj
  EXPECT_EQ(names("baichuan_7b", Role::VProj), (Names{"q_bias", "k_bias", "v_bias"}));  // W_pack
}

TEST(AddedBiasesInConfig, AreSaidToBeBeyondStockSoftware) {
  using Reasons = std::vector<std::string>;
  const auto reasons = [](const Model& model) { return stock_obstacles(model.config()); };
  const Model llama = open_model(golden_dir("llama_gqa"));
  EXPECT_EQ(reasons(llama), Reasons{});
  EXPECT_EQ(reasons(with_zero_biases(llama, kCompensated)), Reasons{});
  testing::internal::CaptureStderr();
  const Model mistral = with_zero_biases(open_model(golden_dir("mistral_sliding")), kCompensated);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("only Prunus will read what is written, since the stock class of model_type "
                      "'mistral' has no place for biases of o_proj, down_proj"),
            std::string::npos)
      << said;
  EXPECT_EQ(reasons(mistral), Reasons{"biases of o_proj, down_proj"});
  const Model qwen = with_zero_biases(open_model(golden_dir("qwen2")), kCompensated);
  EXPECT_EQ(reasons(qwen), Reasons{"biases of o_proj, down_proj"});  // q, k, v have theirs
  ModelConfig three = with_zero_biases(tiny_model({}), {Role::OProj}).config();
  for (LayerShape& layer : three.layers) layer.num_attention_heads = layer.num_key_value_heads = 3;
  EXPECT_EQ(stock_obstacles(three),
            Reasons{"biases in a llama whose hidden_size 16 is no multiple of its 3 heads"});
}

TEST(AddedBiasesInConfig, AreRefusedWhereTheListIsNotOne) {
  const Json good = written("mistral_sliding", kCompensated);
  const auto refuse = [&](const char* key, const Json& value, const char* what) {
    Json json = good;
    json[key] = value;
    expect_error(ErrorKind::Corrupt, what, [&] { parse_config(json, "c"); });
  };
  refuse("model_type", "mistral", "needs a model_type that begins with prunus_");
  refuse("prunus_biases", "o_proj", "expected a list");
  refuse("prunus_biases", {"o_proj", "router"}, "router");
  refuse("prunus_biases", {"o_proj", 3}, "3; the projections of this family are q_proj");
}

TEST(AddedBiasesInConfig, OfDenseLayersStandBesideExperts) {
  const Model model = open_model(golden_dir("qwen2_moe_mixed"));
  int dense = 0;
  while (model.config().layers[static_cast<size_t>(dense)].experts > 0) ++dense;
  const int64_t hidden = model.config().hidden_size;
  const Model biased = with_biases(model, {{{dense, Role::DownProj}, at::ones({hidden})}});
  EXPECT_TRUE(
      at::equal(biased.source().read(biased.tensor(Role::DownBias, dense)), at::ones({hidden})));
  EXPECT_EQ(rewrite_config(read_config(golden_dir("qwen2_moe_mixed")), biased.config())
                .at("prunus_biases"),
            Json({"q_proj", "k_proj", "v_proj", "down_proj"}));
}

class HalfSource : public WeightSource {
 public:
  explicit HalfSource(std::shared_ptr<const WeightSource> inner) : inner_(std::move(inner)) {}
  at::Tensor read(const TensorInfo& tensor) const override {
    return inner_->read(tensor).to(at::kHalf);
  }
  at::ScalarType dtype(const TensorInfo&) const override { return at::kHalf; }
  void prefetch(const TensorInfo&) const override {}
  void release(const TensorInfo&) const override {}

 private:
  std::shared_ptr<const WeightSource> inner_;
};

TEST(AddedBiasesInHalfPrecision, HaveTheDtypeOfTheWeightAndAreRoundedOnce) {
  const Model tiny = tiny_model({.family = "qwen2"});
  const Model model(tiny.config(), std::make_shared<HalfSource>(tiny.shared_source()));
  const at::Tensor given = at::full({16}, 0.1, at::kDouble);
  const Model biased = with_biases(model, {{{0, Role::QProj}, given}, {{1, Role::OProj}, given}});
  const TensorInfo& q = biased.tensor(Role::QBias, 0);
  EXPECT_TRUE(at::equal(
      biased.source().read(q),
      (model.source().read(model.tensor(Role::QBias, 0)).to(at::kDouble) + given).to(at::kHalf)));
  const TensorInfo& o = biased.tensor(Role::OBias, 1);
  EXPECT_TRUE(at::equal(biased.source().read(o), given.to(at::kHalf)));
  const TensorInfo& none = biased.tensor(Role::OBias, 0);
  EXPECT_TRUE(at::equal(biased.source().read(none), at::zeros({16}, at::kHalf)));
}

TEST(AddedBiasesInHalfPrecision, AreRefusedWhereTheyDoNotFit) {
  const Model tiny = tiny_model({});
  const Model model(tiny.config(), std::make_shared<HalfSource>(tiny.shared_source()));
  expect_error(ErrorKind::Numeric, "the largest is 70000", [&] {
    with_biases(model, {{{0, Role::OProj}, at::full({16}, 70000.0)}});
  });
  expect_error(ErrorKind::Numeric, "o_proj.bias", [&] {
    with_biases(model, {{{0, Role::OProj}, at::full({16}, NAN)}});
  });
}

TEST(WithBiases, SaysWhatItCannotAdd) {
  const Model model = tiny_model({});
  const auto refuse = [](const Model& of, BiasPlace place, const at::Tensor& value, ErrorKind kind,
                         const char* what) {
    expect_error(kind, what, [&] { with_biases(of, {{place, value}}); });
  };
  const at::Tensor ones = at::ones({16});
  refuse(model, {2, Role::OProj}, ones, ErrorKind::InvalidArgument, "layers 0 to 1");
  refuse(model, {0, Role::OProj}, at::ones({15}), ErrorKind::InvalidArgument,
         "bias of o_proj in layer 0: shape [15], expected [16]");
  refuse(model, {0, Role::OProj}, at::ones({16}, at::kLong), ErrorKind::InvalidArgument,
         "floating");
  refuse(model, {0, Role::LmHead}, ones, ErrorKind::InvalidArgument, "a bias of lm_head");
  refuse(open_model(golden_dir("gpt2")), {0, Role::GateProj}, ones, ErrorKind::InvalidArgument,
         "gate_proj");
  const Model experts = open_model(golden_dir("mixtral"));
  refuse(experts, {0, Role::DownProj}, at::ones({experts.config().hidden_size}),
         ErrorKind::Unsupported, "experts have no biases");
  expect_error(ErrorKind::Unsupported, "experts in every layer",
               [&] { with_zero_biases(experts, {Role::DownProj}); });
}

}  // namespace
}  // namespace prunus::test::added_biases_test
