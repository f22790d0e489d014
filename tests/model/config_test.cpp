#include "prunus/model/config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/model/stock_fields.h"

#include "support/tiny_model.h"

namespace prunus::test::config_test {
namespace {

void expect_refused(const Json& json, ErrorKind kind, const std::string& part) {
  try {
    parse_config(json, "config.json");
    ADD_FAILURE() << "accepted: " << json.dump();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(ParseConfig, ReadsBothSpellingsOfTheRopeFields) {
  Json v4 = tiny_config({});
  v4["rope_theta"] = 500000.0;
  v4["rope_scaling"] = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32}};
  Json v5 = tiny_config({});
  v5.erase("rope_theta");
  v5["rope_parameters"] = v4["rope_scaling"];
  v5["rope_parameters"]["rope_theta"] = 500000.0;
  for (const Json& json : {v4, v5}) {
    const Rope rope = parse_config(json, "c").rope;
    EXPECT_EQ(rope.kind, Rope::Kind::Llama3);
    EXPECT_EQ(rope.theta, 500000.0);
    EXPECT_EQ(rope.factor, 8.0);
    EXPECT_EQ(rope.original_max_position_embeddings, 32);
  }
}

TEST(ParseConfig, RefusesFieldsThatChangeTheMathsByName) {
  const auto with = [](const char* key, const Json& value) {
    Json json = tiny_config({});
    json[key] = value;
    return json;
  };
  expect_refused(with("is_causal", false), ErrorKind::Unsupported,
                 "field 'is_causal' = false changes what the stock class of model_type 'llama' "
                 "computes (its default is true)");
  expect_refused(with("text_config", {{"hidden_size", 8}}), ErrorKind::Unsupported, "text_config");
  Json remote = with("use_rope", false);
  remote["model_type"] = "baichuan";
  remote["architectures"] = {"BaiChuanForCausalLM"};
  expect_refused(remote, ErrorKind::Unsupported, "field 'use_rope' = false may change");
  expect_refused(with("hidden_act", "xielu"), ErrorKind::Unsupported, "hidden_act");
  expect_refused(with("quantization_config", {{"bits", 4}}), ErrorKind::Unsupported,
                 "the weights are quantised (of no known method)");
  expect_refused(with("rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}}),
                 ErrorKind::Unsupported, "rope_type");
  expect_refused(with("model_type", "mamba"), ErrorKind::Unsupported, "model_type");
  Json remote_type = with("model_type", "mamba");
  remote_type["auto_map"] = {{"AutoModelForCausalLM", "modeling_x.X"}};
  expect_refused(remote_type, ErrorKind::Unsupported, "auto_map names code");
}

TEST(ParseConfig, RefusesLongropeWithoutAFactorForEveryPair) {
  Json json = tiny_config({});
  json["rope_scaling"] = {{"rope_type", "longrope"},
                          {"short_factor", {1.0, 1.0}},
                          {"long_factor", {2.0}},
                          {"original_max_position_embeddings", 32}};
  expect_refused(json, ErrorKind::Corrupt, "must hold 2 numbers");
  json["rope_scaling"]["long_factor"] = {2.0, 4.0};
  EXPECT_EQ(parse_config(json, "c").rope.kind, Rope::Kind::Longrope);
  json["rope_scaling"]["long_factor"] = {2.0, -4.0};
  expect_refused(json, ErrorKind::Corrupt, "long_factor");
}

TEST(ParseConfig, TellsFamiliesOfOneTypeApartByTheirKeys) {
  Json json = tiny_config({});
  json["model_type"] = "baichuan";
  json["architectures"] = {"BaichuanForCausalLM"};
  json.erase("num_key_value_heads");
  json.erase("head_dim");
  json.erase("rope_theta");
  const auto alibi = [&] { return parse_config(json, "c").family->positions == Positions::Alibi; };
  EXPECT_FALSE(alibi());  // 2-7B
  EXPECT_TRUE(parse_config(json, "c").family->normalised_head);
  json.erase("max_position_embeddings");
  json["model_max_length"] = 64;
  EXPECT_TRUE(alibi());  // 13B
  EXPECT_FALSE(parse_config(json, "c").family->normalised_head);
  json["z_loss_weight"] = 0;
  EXPECT_TRUE(alibi());  // 2-13B
  EXPECT_TRUE(parse_config(json, "c").family->normalised_head);
  json["architectures"] = {"BaiChuanForCausalLM"};
  json.erase("model_max_length");
  EXPECT_FALSE(alibi());  // 7B
}

TEST(ParseConfig, RefusesAFamilysOptionsThatAreNotImplemented) {
  Json json = {{"architectures", {"GPT2LMHeadModel"}},
               {"model_type", "gpt2"},
               {"vocab_size", 9},
               {"n_embd", 8},
               {"n_layer", 1},
               {"n_head", 2},
               {"n_positions", 16}};
  EXPECT_EQ(parse_config(json, "c").layers[0].intermediate_size, 32);  // 4 · n_embd
  json["scale_attn_by_inverse_layer_idx"] = true;
  expect_refused(json, ErrorKind::Unsupported, "scale_attn_by_inverse_layer_idx is true");
}

using Names = std::vector<std::string>;

TEST(ParseConfig, PassesOverFieldsThatTheStockClassDoesNotReadAndNamesThem) {
  Json json = tiny_config({});
  json["is_causal"] = true;  // the stock default
  json["another"] = nullptr;
  json["temperature"] = 0.9;  // of generation
  json["problem_type"] = "regression";
  EXPECT_EQ(parse_config(json, "c").passed_over, Names{});
  json["use_rope"] = false;
  json["transformers.js_config"] = {{"kv_cache_dtype", "float16"}};
  json["auto_map"] = {{"AutoModelForCausalLM", "modeling_x.X"}};
  json["partial_rotary_factor"] = 0.5;
  testing::internal::CaptureStderr();
  const ModelConfig config = parse_config(json, "c/config.json");
  EXPECT_EQ(config.passed_over,
            (Names{"partial_rotary_factor", "use_rope", "transformers.js_config", "auto_map"}));
  EXPECT_EQ(config.rotary_dim, 0);
  parse_config(json, "again/config.json");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("warning: c/config.json: passed over, as the stock class of model_type "
                      "'llama' does not read it: partial_rotary_factor, use_rope"),
            std::string::npos)
      << said;
  EXPECT_NE(said.find("auto_map names code"), std::string::npos) << said;
  EXPECT_EQ(said.find("again"), std::string::npos) << said;
}

// Where a config leaves a field out, the stock class takes its own default; so must we.
TEST(Families, HaveTheDefaultsOfTheirStockClasses) {
  int compared = 0;
  for (const Family* family : families::all()) {
    const Json* stock = stock_fields(family->model_type);
    if (stock == nullptr) continue;
    const auto same = [&](std::string_view keys, const Json& ours) {
      for (const std::string& key : alternatives_of(keys)) {
        const auto row = stock->find(key);
        if (keys.empty() || row == stock->end() || row->at(0).is_null()) continue;
        EXPECT_EQ(row->at(0), ours) << family->model_type << ": " << key;
        ++compared;
      }
    };
    for (const Switch* rule :
         {&family->qkv_bias, &family->out_bias, &family->mlp_bias, &family->tied, &family->qk_norm,
          &family->final_norm, &family->pre_norm, &family->parallel_residual,
          &family->renormalised_router}) {
      same(rule->key, rule->value);
    }
    same(family->keys.positions, family->default_max_position_embeddings);
    same(family->keys.eps, family->default_rms_norm_eps);
    same(family->score_divisor_key, family->default_score_divisor);
    same(family->attention_softcap_key, family->default_attention_softcap);
    same(family->logit_softcap_key, family->default_logit_softcap);
    same("original_max_position_embeddings", family->default_original_positions);
    if (family->default_kv_heads != 0) same(family->keys.kv_heads, family->default_kv_heads);
    if (family->default_head_dim != 0) same(family->keys.head_dim, family->default_head_dim);
    if (family->mixture) same("num_experts_per_tok", family->default_experts_per_token);
    if (family->default_sliding_window) same("sliding_window", *family->default_sliding_window);
  }
  EXPECT_GT(compared, 60);
}

TEST(ParseConfig, TakesGemmasGeluForItsTanhForm) {
  Json json = tiny_config({.family = "gemma"});
  json["hidden_act"] = "gelu";
  EXPECT_EQ(parse_config(json, "c").activation, Activation::GeluTanh);
  json = tiny_config({.family = "gemma2"});
  json["hidden_act"] = "gelu";  // what counts there is hidden_activation
  EXPECT_EQ(parse_config(json, "c").activation, Activation::GeluTanh);
  json["hidden_activation"] = "silu";
  EXPECT_EQ(parse_config(json, "c").activation, Activation::Silu);
}

TEST(ParseConfig, KnowsAModelSavedWithoutItsHeadByItsBaseClass) {
  Json json = tiny_config({});
  json["architectures"] = {"LlamaModel"};
  const Json written = rewrite_config(json, parse_config(json, "c"));
  EXPECT_EQ(written["architectures"], Json({"LlamaForCausalLM"}));
  json = tiny_config({.family = "gemma3_text"});
  json["architectures"] = {"Gemma3TextModel"};
  EXPECT_EQ(rewrite_config(json, parse_config(json, "c"))["architectures"],
            Json({"Gemma3ForCausalLM"}));
}

TEST(RewriteConfig, SaysWhetherTheHeadIsTied) {
  for (const char* family : {"llama", "gemma", "qwen2"}) {
    const Json original = tiny_config({.family = family, .tied = true});
    ModelConfig config = parse_config(original, "c");
    EXPECT_EQ(rewrite_config(original, config)["tie_word_embeddings"], true) << family;
    config.tie_word_embeddings = false;
    EXPECT_EQ(rewrite_config(original, config)["tie_word_embeddings"], false) << family;
    Json silent = original;
    silent.erase("tie_word_embeddings");
    config = parse_config(silent, "c");
    EXPECT_FALSE(rewrite_config(silent, config).contains("tie_word_embeddings")) << family;
    config.tie_word_embeddings = !config.tie_word_embeddings;
    EXPECT_EQ(rewrite_config(silent, config)["tie_word_embeddings"], config.tie_word_embeddings);
  }
}

TEST(RewriteConfig, WritesExpertsUnderTheNameThatWasThere) {
  for (const char* family : {"qwen3_moe", "qwen2_moe", "mixtral"}) {
    Json json = {{"model_type", family},       {"vocab_size", 9},
                 {"hidden_size", 8},           {"intermediate_size", 8},
                 {"moe_intermediate_size", 8}, {"shared_expert_intermediate_size", 8},
                 {"num_hidden_layers", 1},     {"num_attention_heads", 2},
                 {"num_key_value_heads", 2},   {"head_dim", 4},
                 {"num_experts_per_tok", 1},   {"num_local_experts", 4}};
    ModelConfig config = parse_config(json, "c");
    config.layers[0].experts = 3;
    const Json written = rewrite_config(json, config);
    EXPECT_EQ(written["num_local_experts"], 3) << family;
    // The stock class of Qwen2-MoE reads num_experts alone.
    EXPECT_EQ(written.contains("num_experts"), family == std::string("qwen2_moe")) << family;
  }
}

TEST(ParseConfig, RefusesImpossibleSizes) {
  const auto with = [](const char* key, const Json& value) {
    Json json = tiny_config({});
    json[key] = value;
    return json;
  };
  expect_refused(with("hidden_size", 0), ErrorKind::Corrupt, "hidden_size");
  expect_refused(with("hidden_size", "16"), ErrorKind::Corrupt, "hidden_size");
  expect_refused(with("num_hidden_layers", 1e9), ErrorKind::Corrupt, "num_hidden_layers");
  expect_refused(with("num_hidden_layers", uint64_t{1} << 63), ErrorKind::Corrupt,
                 "num_hidden_layers");
  expect_refused(with("num_key_value_heads", 3), ErrorKind::Corrupt, "key/value");
  expect_refused(with("head_dim", 5), ErrorKind::Corrupt, "odd");
  expect_refused(with("rms_norm_eps", -1), ErrorKind::Corrupt, "rms_norm_eps");
  expect_refused(with("layer_intermediate_size", {4}), ErrorKind::Corrupt, "list of 2");
}

TEST(RewriteConfig, KeepsAUniformModelStockAndListsALayeredOne) {
  const Json original = tiny_config({.q_heads = 4, .kv_heads = 2});
  ModelConfig config = parse_config(original, "c");
  for (LayerShape& layer : config.layers) layer.intermediate_size = 8;
  const Json uniform = rewrite_config(original, config);
  EXPECT_EQ(uniform.at("intermediate_size"), 8);
  EXPECT_FALSE(uniform.contains("layer_intermediate_size"));
  EXPECT_EQ(uniform.at("model_type"), "llama");
  config.layers[1].num_attention_heads = 2;
  config.layers[1].num_key_value_heads = 1;
  const Json layered = rewrite_config(original, config);
  EXPECT_EQ(layered.at("layer_num_attention_heads"), Json({4, 2}));
  EXPECT_EQ(layered.at("num_attention_heads"), 4);
  EXPECT_EQ(parse_config(layered, "c").layers, config.layers);
}

TEST(RewriteConfig, WritesLlamaWithIndivisibleHeadsAsMistral) {
  Json original = tiny_config({});  // hidden 16, 4 heads
  original.erase("max_position_embeddings");
  ModelConfig config = parse_config(original, "c");
  for (LayerShape& layer : config.layers) layer.num_attention_heads = layer.num_key_value_heads = 3;
  const Json json = rewrite_config(original, config);
  EXPECT_EQ(json.at("model_type"), "mistral");
  EXPECT_TRUE(json.at("sliding_window").is_null());
  EXPECT_EQ(json.at("head_dim"), 4);
  const ModelConfig back = parse_config(json, "c");
  EXPECT_EQ(back.layers, config.layers);
  EXPECT_EQ(back.max_position_embeddings, 2048);  // Llama's default, not Mistral's
}

TEST(ParseConfig, AppliesEachFamilysWindowRule) {
  Json mistral = tiny_config({.family = "mistral"});
  mistral["sliding_window"] = 8;
  EXPECT_EQ(parse_config(mistral, "c").layers[0].sliding_window, 8);
  mistral.erase("sliding_window");
  EXPECT_EQ(parse_config(mistral, "c").layers[0].sliding_window, 4096);
  Json qwen = tiny_config({.family = "qwen2"});
  qwen["sliding_window"] = 8;
  EXPECT_FALSE(parse_config(qwen, "c").layers[1].sliding_window.has_value());
  qwen["use_sliding_window"] = true;
  qwen["max_window_layers"] = 1;
  EXPECT_FALSE(parse_config(qwen, "c").layers[0].sliding_window.has_value());
  EXPECT_EQ(parse_config(qwen, "c").layers[1].sliding_window, 8);
}

// The configuration without some of its layers.
ModelConfig without(ModelConfig config, const std::vector<size_t>& dropped) {
  for (size_t i = dropped.size(); i-- > 0;) {
    config.layers.erase(config.layers.begin() + static_cast<std::ptrdiff_t>(dropped[i]));
  }
  return config;
}

TEST(RewriteConfig, WritesANarrowerResidualStream) {
  const Json original = tiny_config({.kv_heads = 2});
  ModelConfig config = parse_config(original, "c");
  config.hidden_size = 12;
  const Json json = rewrite_config(original, config);
  EXPECT_EQ(json.at("hidden_size"), 12);
  EXPECT_EQ(json.at("head_dim"), 4);  // no longer hidden_size / num_attention_heads
  EXPECT_EQ(json.at("model_type"), "llama");
  EXPECT_EQ(parse_config(json, "c").hidden_size, 12);
  config.hidden_size = 13;  // four heads do not divide it: stock Llama would refuse
  EXPECT_EQ(rewrite_config(original, config).at("model_type"), "mistral");
  EXPECT_EQ(parse_config(rewrite_config(original, config), "c").hidden_size, 13);
}

TEST(RewriteConfig, WritesFewerLayers) {
  const Json original = tiny_config({.layers = 5});
  const ModelConfig config = parse_config(original, "c");
  const Json json = rewrite_config(original, without(config, {0, 3}));
  EXPECT_EQ(json.at("num_hidden_layers"), 3);
  EXPECT_EQ(parse_config(json, "c").layers.size(), 3u);
  // Layers of two widths: the list loses its entries with them.
  ModelConfig layered = config;
  for (size_t i = 0; i < 5; ++i) layered.layers[i].intermediate_size = 4 + static_cast<int64_t>(i);
  const Json lists = rewrite_config(original, layered);
  const Json fewer = rewrite_config(lists, without(layered, {1, 4}));
  EXPECT_EQ(fewer.at("layer_intermediate_size"), Json({4, 6, 7}));
  EXPECT_EQ(fewer.at("intermediate_size"), 7);
  EXPECT_EQ(parse_config(fewer, "c").layers, without(layered, {1, 4}).layers);
  // One layer is uniform again: no lists.
  const Json one = rewrite_config(lists, without(layered, {0, 1, 3, 4}));
  EXPECT_FALSE(one.contains("layer_intermediate_size"));
  EXPECT_EQ(one.at("intermediate_size"), 6);
}

TEST(RewriteConfig, KeepsTheWindowOfEveryLayerThatIsLeft) {
  Json original = tiny_config({.family = "qwen2", .layers = 5});
  original["sliding_window"] = 8;
  original["use_sliding_window"] = true;
  original["max_window_layers"] = 3;  // layers 3 and 4 slide
  const ModelConfig config = parse_config(original, "c");
  const std::vector<std::pair<std::vector<size_t>, int>> choices = {
      {{0}, 2}, {{0, 1, 2}, 0}, {{3}, 3}, {{3, 4}, 3}, {{1, 3}, 2}};
  for (const auto& [dropped, first] : choices) {
    const Json json = rewrite_config(original, without(config, dropped));
    EXPECT_EQ(json.at("max_window_layers"), first);
    EXPECT_EQ(parse_config(json, "c").layers, without(config, dropped).layers);
  }
}

TEST(RewriteConfig, KeepsTheTypeOfEveryLayerThatIsLeft) {
  Json original = tiny_config({.family = "qwen2", .layers = 4});
  original["sliding_window"] = 8;
  original["use_sliding_window"] = true;
  original["max_window_layers"] = 2;
  const char* full = "full_attention";
  const char* slides = "sliding_attention";
  original["layer_types"] = {slides, full, slides, full};
  const ModelConfig config = parse_config(original, "c");
  const Json json = rewrite_config(original, without(config, {1}));
  EXPECT_EQ(json.at("layer_types"), Json({slides, slides, full}));
  EXPECT_EQ(parse_config(json, "c").layers, without(config, {1}).layers);
  const Json none = rewrite_config(original, without(config, {0, 2}));
  EXPECT_EQ(none.at("layer_types"), Json({full, full}));
  EXPECT_EQ(parse_config(none, "c").layers, without(config, {0, 2}).layers);
}

TEST(RewriteConfig, NamesTheTypesOfLayersWhereAPatternNoLongerSays) {
  Json original = tiny_config({.family = "gemma2", .layers = 4});
  original["sliding_window"] = 8;  // layers 0 and 2
  const ModelConfig config = parse_config(original, "c");
  EXPECT_FALSE(rewrite_config(original, without(config, {2, 3})).contains("layer_types"));
  const Json json = rewrite_config(original, without(config, {1}));
  const char* slides = "sliding_attention";
  EXPECT_EQ(json.at("layer_types"), Json({slides, slides, "full_attention"}));
  EXPECT_EQ(parse_config(json, "c").layers, without(config, {1}).layers);
  original["sliding_window"] = nullptr;
  EXPECT_FALSE(
      rewrite_config(original, without(parse_config(original, "c"), {1})).contains("layer_types"));
}

TEST(RewriteConfig, ForgetsTheStepOfDenseLayersWithTheLastOfThem) {
  Json original = tiny_config({.family = "qwen2_moe", .layers = 4});
  original.update({{"num_experts", 4},
                   {"moe_intermediate_size", 4},
                   {"shared_expert_intermediate_size", 4},
                   {"decoder_sparse_step", 2}});
  const ModelConfig config = parse_config(original, "c");
  EXPECT_EQ(config.layers[0].experts, 0);
  const ModelConfig left = without(config, {0, 2});
  EXPECT_EQ(parse_config(rewrite_config(original, left), "c").layers, left.layers);
}

// Three of four pairs stay, others in each layer.
ModelConfig cut_heads(const Json& original) {
  ModelConfig config = parse_config(original, "c");
  config.rope_head_dim = config.head_dim;
  config.head_dim = 6;
  config.layers[0].rope_pairs = {0, 1, 3};
  config.layers[1].rope_pairs = {1, 2, 3};
  return config;
}

TEST(RewriteConfig, WritesHeadsThatLostChannelsUnderATypeOfItsOwn) {
  for (const char* family : {"llama", "mistral", "qwen2"}) {
    const Json original = tiny_config({.family = family, .head_dim = 8});
    const ModelConfig config = cut_heads(original);
    const Json json = rewrite_config(original, config);
    EXPECT_EQ(json.at("model_type"), std::string("prunus_") + family);
    EXPECT_EQ(json.at("head_dim"), 6);
    EXPECT_EQ(json.at("rope_head_dim"), 8);
    EXPECT_EQ(json.at("layer_rope_pairs"), Json({{0, 1, 3}, {1, 2, 3}}));
    const ModelConfig back = parse_config(json, "c");
    EXPECT_EQ(back.family->model_type, family);
    EXPECT_EQ(back.head_dim, 6);
    EXPECT_EQ(back.rope_head_dim, 8);
    EXPECT_EQ(back.layers, config.layers);
    // Written once more, without a layer.
    const Json again = rewrite_config(json, without(back, {0}));
    EXPECT_EQ(again.at("model_type"), std::string("prunus_") + family);
    EXPECT_EQ(again.at("layer_rope_pairs"), Json::array({{1, 2, 3}}));
    EXPECT_EQ(parse_config(again, "c").layers, without(back, {0}).layers);
  }
}

TEST(ParseConfig, RefusesRopePairsThatMakeNoSense) {
  const Json original = tiny_config({.head_dim = 8});
  const Json good = rewrite_config(original, cut_heads(original));
  const auto refuse = [&](const char* key, const Json& value, const std::string& part,
                          ErrorKind kind = ErrorKind::Corrupt) {
    Json json = good;
    json[key] = value;
    expect_refused(json, kind, part);
  };
  const Json second = {1, 2, 3};
  const auto first = [&](const Json& list) { return Json::array({list, second}); };
  refuse("layer_rope_pairs", nullptr, "one list for each of 2");
  refuse("layer_rope_pairs", {0, 1, 3}, "one list for each of 2");
  refuse("layer_rope_pairs", "0,1,3", "one list for each of 2");
  refuse("layer_rope_pairs", Json::array({second}), "one list for each of 2");
  refuse("layer_rope_pairs", {{"0", {0, 1, 3}}, {"1", {1, 2, 3}}}, "one list for each of 2");
  refuse("layer_rope_pairs", {1, 2},
         "layer_rope_pairs[0] is 1, expected a list");  // numbers in place of lists
  refuse("layer_rope_pairs", first({{"a", 0}, {"b", 1}, {"c", 2}}), "layer_rope_pairs[0] is {");
  refuse("layer_rope_pairs", first({0, 1}), "has 2 pairs, head_dim 6 needs 3");
  refuse("layer_rope_pairs", first({0, 1, 2, 3}), "has 4 pairs");
  refuse("layer_rope_pairs", first(Json::array()), "has 0 pairs");
  refuse("layer_rope_pairs", first({0, 1, 4}), "holds 4");
  refuse("layer_rope_pairs", first({-1, 1, 2}), "holds -1");
  refuse("layer_rope_pairs", first({0, 0, 1}), "holds 0");
  refuse("layer_rope_pairs", first({2, 1, 3}), "holds 1");
  refuse("layer_rope_pairs", first({0, 1.5, 3}), "holds 1.5");
  refuse("layer_rope_pairs", first({0, 1, "3"}), "holds \"3\"");
  refuse("layer_rope_pairs", first({0, 1, uint64_t{1} << 63}), "holds 9223372036854775808");
  refuse("layer_rope_pairs", first({0, 1, ~uint64_t{0}}), "holds 18446744073709551615");
  refuse("rope_head_dim", 6, "expected ascending integers below 3");
  refuse("rope_head_dim", 0, "rope_head_dim");
  refuse("rope_head_dim", 9, "rope_head_dim 9 is odd");
  refuse("rope_head_dim", "8", "rope_head_dim");
  refuse("rope_head_dim", -8, "rope_head_dim");
  refuse("rope_head_dim", uint64_t{1} << 63, "rope_head_dim");
  refuse("head_dim", 8, "head_dim 8 needs 4");
  refuse("head_dim", 5, "odd");
  refuse("model_type", "llama", "needs a model_type that begins with prunus_");
  refuse("model_type", "prunus_mamba", "mamba", ErrorKind::Unsupported);
  Json json = good;
  json.erase("rope_head_dim");
  expect_refused(json, ErrorKind::Corrupt, "rope_head_dim");
  json = good;
  json.erase("layer_rope_pairs");
  expect_refused(json, ErrorKind::Corrupt, "layer_rope_pairs");
  json = tiny_config({});  // only one of the two, under the stock type
  json["rope_head_dim"] = 8;
  EXPECT_EQ(parse_config(json, "c").passed_over,
            Names{"rope_head_dim"});  // as the stock class does
}

}  // namespace
}  // namespace prunus::test::config_test
