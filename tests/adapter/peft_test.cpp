// Adapters of stock PEFT (tools/make_lora_goldens.py) and Prunus' own, in PEFT's files.
#include "prunus/adapter/peft.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include <ATen/ATen.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/base/json.h"
#include "prunus/io/checkpoint_writer.h"
#include "prunus/io/safetensors.h"

#include "support/expect_error.h"
#include "support/paths.h"
#include "support/tiny_model.h"

namespace prunus::test::peft_test {
namespace {

const std::string kQ0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const std::string kDown1 = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";

std::string base_dir(const std::string& name) { return source_path("tests/model/golden/") + name; }
std::string golden_dir(const std::string& name) {
  return source_path("tests/adapter/golden/") + name;
}

at::Tensor stored(const std::string& path, const std::string& name) {
  const auto file = SafetensorsFile::open(path);
  return file->view(*file->find(name)).clone();
}

// W + s·B·A in FP64, written into a copy of the weights.
Model merged(const Model& model, const LoraAdapter& adapter) {
  auto weights = copy_weights(model);
  for (const auto& [place, pair] : adapter.pairs) {
    at::Tensor& weight = weights->tensors.at(model.tensor(place.second, place.first).name);
    const at::Tensor update = at::mm(pair.b.to(at::kDouble), pair.a.to(at::kDouble)) * pair.scale;
    weight = (weight.to(at::kDouble) + update).to(at::kFloat);
  }
  return Model(model.config(), weights);
}

double sum_of_sizes(const LoraAdapter& adapter) {
  double sum = 0;
  for (const auto& [place, pair] : adapter.pairs) {
    sum += pair.a.abs().sum(at::kDouble).item<double>();
    sum += pair.b.abs().sum(at::kDouble).item<double>();
  }
  return sum;
}

// Read with the safetensors package: A[2, 5], B[7, 3] of layer 1's k_proj, Σ|·| of all factors.
struct Expected {
  const char* dir;
  float a, b;
  double sum;
};

class PeftGolden : public testing::TestWithParam<Expected> {};

TEST_P(PeftGolden, IsReadValueByValue) {
  const std::string dir = GetParam().dir;
  const Model model = open_model(base_dir(dir.substr(0, dir.find('/'))));
  const LoraAdapter adapter = read_peft(golden_dir(dir), model);
  EXPECT_EQ(adapter.options.r, 4);
  EXPECT_EQ(adapter.options.alpha, 8);
  EXPECT_EQ(adapter.options.dropout, 0);
  EXPECT_FALSE(adapter.options.rslora);
  EXPECT_EQ(adapter.options.targets, "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj");
  ASSERT_EQ(adapter.pairs.size(), 14u);
  for (const auto& [place, pair] : adapter.pairs) EXPECT_EQ(pair.scale, 2);
  const LoraPair& pair = adapter.pairs.at({1, Role::KProj});
  EXPECT_EQ(pair.a[2][5].item<float>(), GetParam().a);
  EXPECT_EQ(pair.b[7][3].item<float>(), GetParam().b);
  EXPECT_NEAR(sum_of_sizes(adapter), GetParam().sum, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(
    Files, PeftGolden,
    testing::Values(Expected{"llama_gqa/initial", 0.05686654895544052f, 0, 165.6038070532013},
                    Expected{"llama_gqa/trained", 0.029607973992824554f, 8.171131776180118e-05f,
                             208.32003370925668},
                    Expected{"qwen2/initial", 0.10257115960121155f, 0, 164.30160253776467},
                    Expected{"qwen2/trained", 0.11550957709550858f, -0.020028583705425262f,
                             211.14185263712716}));

TEST(Peft, ATrainedAdapterOfPeftGivesPeftsLogits) {
  for (const std::string name : {"llama_gqa", "qwen2"}) {
    const Model model = open_model(base_dir(name));
    const std::string golden = golden_dir(name);
    const at::Tensor ids = stored(golden + "/batches.safetensors", "ids")[0][0].to(at::kLong);
    const at::Tensor got = logits_of(merged(model, read_peft(golden + "/trained", model)), ids);
    for (const char* tensor : {"adapted", "merged"}) {
      const at::Tensor expected = stored(golden + "/logits.safetensors", tensor);
      EXPECT_LT(relative_error(got, expected), 1e-5) << name << " " << tensor;
      EXPECT_GT(relative_error(logits_of(model, ids), expected), 1e-2);
    }
  }
}

// As a pruned model: the second layer is narrower.
Model uneven_model() {
  ModelConfig config = tiny_model({}).config();
  config.layers[1].num_attention_heads = config.layers[1].num_key_value_heads = 2;
  config.layers[1].intermediate_size = 5;
  return Model(config, std::make_shared<MemorySource>());
}

void expect_equal(const LoraAdapter& got, const LoraAdapter& expected) {
  EXPECT_EQ(got.options.r, expected.options.r);
  EXPECT_EQ(got.options.alpha, expected.options.alpha);
  EXPECT_EQ(got.options.rslora, expected.options.rslora);
  EXPECT_EQ(got.options.dropout, expected.options.dropout);
  EXPECT_EQ(got.options.init, expected.options.init);
  ASSERT_EQ(got.pairs.size(), expected.pairs.size());
  for (const auto& [place, pair] : expected.pairs) {
    const LoraPair& other = got.pairs.at(place);
    EXPECT_TRUE(at::equal(other.a, pair.a));
    EXPECT_TRUE(at::equal(other.b, pair.b));
    EXPECT_DOUBLE_EQ(other.scale, pair.scale);
  }
}

LoraAdapter random_adapter(const Model& model, const LoraOptions& options) {
  LoraAdapter adapter = LoraAdapter::make(model, options, 3, at::kCPU);
  at::manual_seed(4);
  for (auto& [place, pair] : adapter.pairs) pair.b.normal_();
  return adapter;
}

TEST(Peft, ReturnsWhatWasWritten) {
  const Model model = uneven_model();
  const LoraAdapter adapter = random_adapter(model, {.r = 3,
                                                     .alpha = 4.5,
                                                     .rslora = true,
                                                     .dropout = 0.05,
                                                     .init = LoraOptions::Init::Gaussian,
                                                     .targets = "k_proj,up_proj"});
  const TempDir dir;
  write_peft(adapter, model, "pruned", dir.path());
  expect_equal(read_peft(dir.path(), model), adapter);
  const Json config = read_json(dir / "adapter_config.json");
  EXPECT_EQ(config.at("base_model_name_or_path"), "pruned");
  EXPECT_EQ(config.at("target_modules"), Json::parse(R"(["k_proj", "up_proj"])"));
  EXPECT_FALSE(std::filesystem::exists(dir / "model.safetensors"));
}

TEST(Peft, ReturnsPairsOfDifferentRankAndScale) {
  const Model model = uneven_model();
  LoraAdapter adapter = random_adapter(model, {.r = 2, .alpha = 6});
  LoraAdapter other = random_adapter(model, {.r = 7, .alpha = 49});
  adapter.pairs.at({0, Role::OProj}) = other.pairs.at({0, Role::OProj});
  adapter.pairs.at({1, Role::KProj}).scale = 0.3;
  adapter.pairs.erase({1, Role::DownProj});
  const TempDir dir;
  write_peft(adapter, model, "pruned", dir.path());
  expect_equal(read_peft(dir.path(), model), adapter);
  const Json config = read_json(dir / "adapter_config.json");
  EXPECT_EQ(config.at("rank_pattern").dump(), R"({"model.layers.0.self_attn.o_proj":7})");
  EXPECT_EQ(config.at("alpha_pattern").size(), 2u);
  EXPECT_EQ(config.at("alpha_pattern").at("model.layers.0.self_attn.o_proj"), 49);
  EXPECT_EQ(config.at("target_modules").dump(),
            R"(["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj",)"
            R"("model.layers.0.mlp.down_proj"])");
}

TEST(Peft, OverwritesAnAdapterThatIsStillInUse) {
  const Model model = uneven_model();
  const TempDir dir;
  write_peft(random_adapter(model, {.r = 2}), model, "", dir.path());
  LoraAdapter adapter = read_peft(dir.path(), model);
  for (auto& [place, pair] : adapter.pairs) pair.a.add_(1);  // writable memory of its own
  write_peft(adapter, model, "", dir.path());
  expect_equal(read_peft(dir.path(), model), adapter);
}

// A good adapter of a tiny model, to be spoilt in one place.
struct Files {
  Model model = tiny_model({});
  LoraAdapter adapter = random_adapter(model, {.r = 2});
  TempDir dir;
  Json config;
  std::map<std::string, at::Tensor> tensors;

  Files() {
    write_peft(adapter, model, "tiny", dir.path());
    config = read_json(dir / "adapter_config.json");
    const auto file = SafetensorsFile::open(dir / "adapter_model.safetensors");
    for (const TensorEntry& entry : file->entries()) {
      tensors[entry.name] = file->view(entry).clone();
    }
  }
  LoraAdapter read() const {
    std::vector<TensorPlan> plan;
    for (const auto& [name, tensor] : tensors) {
      plan.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    }
    CheckpointWriter writer(dir.path(), plan, uint64_t{1} << 30, "adapter_model");
    for (const TensorPlan& next : writer.order()) writer.write(next.name, tensors.at(next.name));
    writer.finish();
    write_file(dir / "adapter_config.json", config.dump());
    return read_peft(dir.path(), model);
  }
  // Keeps the factors of the modules that `keep` accepts.
  void keep_only(const std::function<bool(const std::string&)>& keep) {
    std::erase_if(tensors, [&](const auto& entry) { return !keep(entry.first); });
  }
};

TEST(Peft, HalfPrecisionBecomesSingle) {
  for (const auto type : {at::kHalf, at::kBFloat16}) {
    Files files;
    for (auto& [name, tensor] : files.tensors) tensor = tensor.to(type);
    const LoraPair pair = files.read().pairs.at({0, Role::QProj});
    EXPECT_TRUE(at::equal(pair.a, files.tensors.at(kQ0).to(at::kFloat)));
    EXPECT_EQ(pair.b.scalar_type(), at::kFloat);
  }
}

TEST(Peft, ModulesMayBeNamedInEveryWayPeftKnows) {
  Files files;
  files.config["target_modules"] = "all-linear";
  EXPECT_EQ(files.read().pairs.size(), 14u);
  files.config["target_modules"] = {"mlp.down_proj", "layers.0.self_attn.q_proj", "fc1", "proj"};
  files.keep_only([](const std::string& name) {
    return name.find("down_proj") != name.npos || name.find("0.self_attn.q_proj") != name.npos;
  });
  const LoraAdapter adapter = files.read();
  EXPECT_EQ(adapter.pairs.size(), 3u);
  EXPECT_EQ(adapter.options.targets, "q_proj,down_proj");
}

TEST(Peft, LayersToTransformLeavesOthersOut) {
  for (const Json& layers : {Json(1), Json::array({1})}) {
    Files files;
    files.config["layers_to_transform"] = layers;
    files.config["layers_pattern"] = "layers";
    files.keep_only([](const std::string& name) { return name.find("layers.1.") != name.npos; });
    const LoraAdapter adapter = files.read();
    EXPECT_EQ(adapter.pairs.size(), 7u);
    EXPECT_TRUE(adapter.pairs.contains({1, Role::QProj}));
  }
  Files files;
  files.config["layers_to_transform"] = Json::array();  // as null
  EXPECT_EQ(files.read().pairs.size(), 14u);
}

TEST(Peft, AModuleNamedInFullIsMeantWhateverTheLayers) {
  Files files;
  files.config["target_modules"] = {"model.layers.0.self_attn.q_proj", "down_proj"};
  files.config["layers_to_transform"] = 1;
  files.keep_only([](const std::string& name) {
    return name == kDown1 || name.find("0.self_attn.q_proj") != name.npos ||
           name.find("1.mlp.down_proj") != name.npos;
  });
  EXPECT_EQ(files.read().pairs.size(), 2u);
}

TEST(Peft, TheFirstPatternThatFitsSetsRankAndScale) {
  Files files;  // r 2, alpha 16
  files.config["alpha_pattern"] = {{"^model.layers.0.self_attn.q_proj", 3},
                                   {"^layers.0.self_attn.k_proj", 100},
                                   {"q_proj", 5},
                                   {"layers.1.self_attn.q_proj", 7},
                                   {"wn_proj", 100}};
  files.config["rank_pattern"] = {{"layers.1.mlp.down_proj", 1}};
  files.tensors[kDown1] = files.tensors[kDown1].narrow(1, 0, 1).contiguous();
  auto& a = files.tensors["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"];
  a = a.narrow(0, 0, 1).contiguous();
  const LoraAdapter adapter = files.read();
  EXPECT_EQ(adapter.pairs.at({0, Role::QProj}).scale, 1.5);
  EXPECT_EQ(adapter.pairs.at({1, Role::QProj}).scale, 2.5);
  EXPECT_EQ(adapter.pairs.at({0, Role::KProj}).scale, 8);
  EXPECT_EQ(adapter.pairs.at({0, Role::DownProj}).scale, 8);
  EXPECT_EQ(adapter.pairs.at({1, Role::DownProj}).scale, 16);
}

struct Fault {
  const char* name;
  ErrorKind kind;
  const char* message;
  std::function<void(Files&)> spoil;
};

void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.name; }

class PeftFault : public testing::TestWithParam<Fault> {};

TEST_P(PeftFault, IsRefused) {
  Files files;
  files.read();  // in order so far
  GetParam().spoil(files);
  expect_error(GetParam().kind, GetParam().message, [&] { files.read(); });
}

Fault field(const char* name, ErrorKind kind, const char* key, Json value, const char* message) {
  return {name, kind, message, [=](Files& files) { files.config[key] = value; }};
}

constexpr auto kCorrupt = ErrorKind::Corrupt;
constexpr auto kUnsupported = ErrorKind::Unsupported;

INSTANTIATE_TEST_SUITE_P(
    Fields, PeftFault,
    testing::Values(
        field("type", kUnsupported, "peft_type", "IA3", "'peft_type' is 'IA3'"),
        field("task", kUnsupported, "task_type", "SEQ_CLS", "'task_type' is 'SEQ_CLS'"),
        field("dora", kCorrupt, "use_dora", true, "lora_magnitude_vector.weight' is missing"),
        field("factor_bias", kCorrupt, "lora_bias", true, "lora_B.bias' is missing"),
        field("bias", kCorrupt, "bias", "some", "'bias' is 'some'"),
        field("saved", kCorrupt, "modules_to_save", {"lm_head"},
              "lm_head.weight' is missing, although 'modules_to_save'"),
        field("saved_numbers", kCorrupt, "modules_to_save", {3}, "'modules_to_save' is [3]"),
        field("regex", kUnsupported, "target_modules", "(q", "missing closing parenthesis"),
        field("excluded", kCorrupt, "exclude_modules", "model.*q_proj", "belongs to no weight"),
        field("qalora", kUnsupported, "use_qalora", true, "'use_qalora' = true"),
        field("tokens", kUnsupported, "trainable_token_indices", {1, 2},
              "'trainable_token_indices' = [1,2]"),
        field("parameters", kUnsupported, "target_parameters", {"experts"}, "'target_parameters'"),
        field("no_modules", kUnsupported, "target_modules", nullptr, "'target_modules'"),
        field("new_field", kUnsupported, "use_quantum", 1, "'use_quantum' = 1"),
        field("pissa", kUnsupported, "init_lora_weights", "pissa", "\"pissa\""),
        field("pattern", kUnsupported, "rank_pattern", {{"q_proj)", 2}}, "'rank_pattern'"),
        field("rank", kCorrupt, "r", 0, "'r' is 0"),
        field("alpha", kCorrupt, "lora_alpha", "8", "'lora_alpha'"),
        field("dropout", kCorrupt, "lora_dropout", 1.0, "'lora_dropout' is 1.0"),
        field("modules", kCorrupt, "target_modules", 3, "'target_modules' is number"),
        field("layers", kCorrupt, "layers_to_transform", {"0"}, "'layers_to_transform' holds"),
        field("other_rank", kCorrupt, "r", 3, "is [2, 16], expected [3, 16]")),
    [](const auto& one) { return std::string(one.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Tensors, PeftFault,
    testing::Values(
        Fault{"blocks", kCorrupt, "belongs to no weight",
              [](Files& files) {
                files.config["layers_to_transform"] = 0;
                files.config["layers_pattern"] = "h";
              }},
        Fault{"missing", kCorrupt, "lora_B.weight' is missing",
              [](Files& files) { files.tensors.erase(kDown1); }},
        Fault{"shape", kCorrupt, "does not fit its pruned one",
              [](Files& files) {
                files.tensors[kQ0] = at::zeros({2, 17});
              }},
        Fault{"infinite", kCorrupt, "q_proj.lora_A.weight",
              [](Files& files) {
                files.tensors[kQ0][1][2] = std::numeric_limits<float>::infinity();
              }},
        Fault{"untargeted", kCorrupt, "belongs to no weight",
              [](Files& files) { files.config["target_modules"] = {"q_proj"}; }},
        Fault{"more_layers", kCorrupt, "belongs to no weight",
              [](Files& files) {
                files.tensors["base_model.model.model.layers.2.mlp.up_proj.lora_A.weight"] =
                    at::zeros({2, 16});
              }},
        Fault{"layers_of_regex", kCorrupt, "needs a list of names",
              [](Files& files) {
                files.config["target_modules"] = ".*_proj";
                files.config["layers_to_transform"] = 0;
              }},
        Fault{"magnitude", kCorrupt, "lora_magnitude_vector' is [3], expected [16]",
              [](Files& files) {
                files.config["use_dora"] = true;
                for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
                  const std::string path = "base_model.model.model.layers.0.self_attn.";
                  files.tensors[path + name + ".lora_magnitude_vector"] = at::ones({3});
                }
              }},
        Fault{"whole", kCorrupt, "self_attn.q_proj.weight' belongs to no weight",
              [](Files& files) {
                files.tensors["base_model.model.model.layers.0.self_attn.q_proj.weight"] =
                    at::ones({16, 16});
              }},
        Fault{"resized", kCorrupt, "lm_head.weight' is [40, 16], expected [29, 16]",
              [](Files& files) {
                files.tensors["base_model.model.lm_head.weight"] = at::ones({40, 16});
              }},
        Fault{"head", kCorrupt, "lm_head.lora_A.weight",
              [](Files& files) {
                files.tensors["base_model.model.lm_head.lora_A.weight"] = at::zeros({2, 16});
              }},
        Fault{"nothing", kCorrupt, "names no module",
              [](Files& files) {
                files.config["target_modules"] = {"fc1"};
                files.tensors.clear();
              }}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(Peft, RefusesNumbersThatAreNoFloats) {
  const Files files;
  std::string header =
      c10::str(R"({")", kQ0, R"(":{"dtype":"U8","shape":[2,16],)", R"("data_offsets":[0,32]}})");
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_file(files.dir / "adapter_model.safetensors", bytes + header + std::string(32, '\1'));
  expect_error(kUnsupported, "has dtype U8", [&] { read_peft(files.dir.path(), files.model); });
}

TEST(Peft, SaysWhichFileIsNotThere) {
  const Files files;
  std::filesystem::remove(files.dir / "adapter_model.safetensors");
  const auto read = [&] { read_peft(files.dir.path(), files.model); };
  expect_error(ErrorKind::NotFound, "adapter_model.safetensors", read);
  write_file(files.dir / "adapter_model.bin", "");
  expect_error(ErrorKind::NotFound, "is a pickle", read);
  std::filesystem::remove(files.dir / "adapter_config.json");
  expect_error(ErrorKind::NotFound, "adapter_config.json", read);
}

TEST(Peft, WritingIntoNoDirectoryIsAnIoError) {
  const Files files;
  expect_error(ErrorKind::Io, "adapter_model.safetensors",
               [&] { write_peft(files.adapter, files.model, "", files.dir / "absent"); });
}

}  // namespace
}  // namespace prunus::test::peft_test
